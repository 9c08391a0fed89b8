"""docs/decisions.md §6 "Webhooks": who may give a hint, and that a hint is all that it is. Over a real socket.

What each forge sends is taken from its published description of webhooks.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import pytest

from gitops_rollouts.tasks import cancel
from gitops_rollouts.web.door import Door, peer_of
from gitops_rollouts.web.server import WebServer
from gitops_rollouts.web.webhooks import MAX_BODY, webhooks_app

SECRET = b"0123456789abcdef0123456789abcdef"
BODY = b'{"ref": "refs/heads/main", "after": "0000"}'


@dataclass
class Receiver:
    """A running one, the hints that it gave and what it was asked of secrets."""

    port: int = 0
    hints: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    now: float = 100.0
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    secrets: dict[str, bytes | None] = field(default_factory=lambda: {"prod": SECRET})

    async def secret(self, name: str) -> bytes | None:
        self.asked.append(name)
        return self.secrets.get(name, b"")

    async def post(
        self, headers: dict[str, str], body: bytes = BODY, path: str = "/webhooks/prod", by: str = "127.0.0.1"
    ) -> int:
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(local_addr=(by, 0))) as session,
            session.post(f"http://127.0.0.1:{self.port}{path}", data=body, headers=headers) as answer,
        ):
            assert SECRET.decode() not in await answer.text()
            return answer.status


@asynccontextmanager
async def receiving(door: Door | None = None) -> AsyncIterator[Receiver]:
    made = Receiver()
    app = webhooks_app(made.secret, made.hints.append, lambda: made.now)
    server = WebServer(app, "127.0.0.1", 0, door or Door())
    made.port = server.port
    task = asyncio.create_task(server.run())
    try:
        yield made
    finally:
        for writer in made.writers:
            writer.transport.abort()
        server.stop()
        await asyncio.wait_for(task, 30)


def hexadecimal(body: bytes = BODY, secret: bytes = SECRET) -> str:
    return hmac.new(secret, body, hashlib.sha256).hexdigest()


def standard(body: bytes = BODY, key: bytes = SECRET) -> dict[str, str]:
    """As GitLab signs with a signing token: Standard Webhooks."""
    value = base64.b64encode(hmac.new(key, b"msg_1.1700000000." + body, hashlib.sha256).digest()).decode()
    return {"webhook-id": "msg_1", "webhook-timestamp": "1700000000", "webhook-signature": f"v1a,AAAA v1,{value}"}


SIGNED: dict[str, Callable[[bytes, bytes], dict[str, str]]] = {
    "github": lambda body, key: {
        "X-GitHub-Event": "push",
        "X-Hub-Signature": "sha1=" + hmac.new(key, body, hashlib.sha1).hexdigest(),
        "X-Hub-Signature-256": "sha256=" + hexadecimal(body, key),
    },
    "gitea": lambda body, key: {"X-Gitea-Event": "push", "X-Gitea-Signature": hexadecimal(body, key)},
    "forgejo": lambda body, key: {"X-Forgejo-Event": "push", "X-Forgejo-Signature": hexadecimal(body, key)},
    "bitbucket": lambda body, key: {"X-Event-Key": "repo:push", "X-Hub-Signature": "sha256=" + hexadecimal(body, key)},
    "gitlab_secret_token": lambda _body, key: {"X-Gitlab-Event": "Push Hook", "X-Gitlab-Token": key.decode()},
    "gitlab_signing_token": standard,
}


@pytest.mark.parametrize("forge", SIGNED)
async def test_a_hint_of_each_forge_is_taken_and_a_forged_one_is_not_published_shapes(forge: str) -> None:
    sign = SIGNED[forge]
    async with receiving() as receiver:
        assert await receiver.post(sign(BODY, SECRET)) == 202
        assert receiver.hints == ["prod"]
        assert await receiver.post(sign(BODY, b"another secret of somebody else")) == 401
        if forge != "gitlab_secret_token":  # which signs nothing, and needs TLS for that
            assert await receiver.post(sign(BODY, SECRET), BODY + b" ") == 401
        assert await receiver.post(sign(BODY, SECRET), path="/webhooks/staging") == 401
        assert receiver.hints == ["prod"]


async def test_a_key_as_standard_webhooks_shows_it_is_decoded_published_shapes() -> None:
    key = b"\x00\xff a key that is no text ........"
    async with receiving() as receiver:
        receiver.secrets["prod"] = b"whsec_" + base64.b64encode(key)
        assert await receiver.post(standard(key=key)) == 202


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Hub-Signature-256": ""},
        {"X-Hub-Signature-256": "sha256="},
        {"X-Hub-Signature-256": hexadecimal()},
        {"X-Hub-Signature": "sha1=" + hmac.new(SECRET, BODY, hashlib.sha1).hexdigest()},
        {"X-Gitea-Signature": "\u00e9" * 64},
        {"X-Gitlab-Token": "\u00e9"},
        {"webhook-signature": "v1,"},
        {"webhook-signature": " ".join(["v1,AAAA"] * 1000)},
        {**standard(), "webhook-signature": standard()["webhook-signature"].replace("v1,", "v2,")},
        {**standard(), "webhook-id": "msg_2"},
        {"Authorization": f"Bearer {SECRET.decode()}"},
    ],
)
async def test_anything_else_is_no_signature(headers: dict[str, str]) -> None:
    async with receiving() as receiver:
        assert await receiver.post(headers) == 401
        assert receiver.hints == []


async def test_nothing_is_taken_for_a_gitsync_without_a_secret_not_even_of_an_empty_key() -> None:
    async with receiving() as receiver:
        receiver.secrets["prod"] = b""
        assert await receiver.post({"X-Gitea-Signature": hexadecimal(secret=b"")}) == 401
        assert await receiver.post({"X-Gitlab-Token": ""}) == 401
        assert receiver.hints == []


async def test_a_secret_that_cannot_be_read_now_is_no_refusal() -> None:
    """A forge gives up on a webhook that is refused, so a cluster that is down for a moment isn't told as one."""
    async with receiving() as receiver:
        receiver.secrets["prod"] = None
        assert await receiver.post({"X-Gitea-Signature": hexadecimal()}) == 503
        assert receiver.hints == []


async def test_who_signs_nothing_costs_no_request_of_ours() -> None:
    async with receiving() as receiver:
        assert await receiver.post({}) == 401
        assert receiver.asked == []


@pytest.mark.parametrize("chunked", [False, True], ids=["said", "chunked"])
async def test_a_body_larger_than_a_mebibyte_is_not_read_to_its_end(chunked: bool) -> None:
    large = b"x" * (MAX_BODY + 1)

    async def parts() -> AsyncIterator[bytes]:
        yield large[:MAX_BODY]
        yield large[MAX_BODY:]

    async with receiving() as receiver, aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{receiver.port}/webhooks/prod"
        headers = {"X-Gitea-Signature": hexadecimal(large)}
        async with session.post(url, data=parts() if chunked else large, headers=headers) as answer:
            assert answer.status == 413
        assert await receiver.post({"X-Gitea-Signature": hexadecimal(large[:-1])}, large[:-1]) == 202
        assert (receiver.asked, receiver.hints) == (["prod"], ["prod"])


async def test_so_many_a_second_and_no_more_whoever_asks() -> None:
    """Of one address; another one has a share of its own, until all together are too many."""
    good, bad = {"X-Gitea-Signature": hexadecimal()}, {"X-Gitea-Signature": hexadecimal(secret=b"of somebody else")}
    async with receiving() as receiver:
        assert {await receiver.post({}) for _ in range(61)} == {401}, "who signs nothing uses up nothing"
        answers = [await receiver.post(bad) for _ in range(61)]
        assert answers == [401] * 60 + [503]
        assert await receiver.post(good, by="127.0.0.2") == 202
        receiver.now += 0.125
        assert await receiver.post(good) == 202
        assert await receiver.post(good) == 503


async def open_connection(receiver: Receiver, said: bytes, by: str = "127.0.0.1") -> asyncio.StreamReader:
    reader, writer = await asyncio.open_connection("127.0.0.1", receiver.port, local_addr=(by, 0))
    writer.write(said)
    await writer.drain()
    receiver.writers.append(writer)
    return reader


async def closed(reader: asyncio.StreamReader) -> bool:
    """Whether the connection ends soon, without or with an answer."""
    try:
        await asyncio.wait_for(reader.read(), 20)
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


HALF_A_HEAD = b"POST /webhooks/prod HTTP/1.1\r\nHost: x\r\nX-Gitea-Sig"
HALF_A_BODY = (
    b"POST /webhooks/prod HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\nX-Gitea-Signature: " + b"0" * 64 + b"\r\n\r\n{"
)


@pytest.mark.parametrize("said", [b"", HALF_A_HEAD, HALF_A_BODY], ids=["nothing", "half a head", "half a body"])
async def test_however_many_slow_senders_there_are_a_forge_comes_through(said: bytes) -> None:
    """Every place is taken and none would come free by itself for long. Whoever is slow makes room, oldest first of
    whoever has most; the forge that calls at once is answered each time."""
    async with receiving(Door(most=16, patience=300)) as receiver:
        slow = [await open_connection(receiver, said) for _ in range(40)]
        other = await open_connection(receiver, said, by="127.0.0.3")
        for _ in range(20):
            assert await receiver.post({"X-Gitea-Signature": hexadecimal()}, by="127.0.0.2") == 202
        assert all([await closed(reader) for reader in slow[:24]])
        newest = asyncio.create_task(closed(slow[-1]))
        lonely = asyncio.create_task(closed(other))
        done, _ = await asyncio.wait([newest, lonely], timeout=0.5)
        assert done == set(), "no more go than is needed"
        await cancel([newest, lonely])


async def test_who_says_nothing_or_too_little_is_not_waited_for() -> None:
    async with receiving(Door(patience=0.5)) as receiver:
        assert await closed(await open_connection(receiver, b""))
        assert await closed(await open_connection(receiver, HALF_A_HEAD))
        answered = await open_connection(
            receiver, b"POST /webhooks/prod HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
        )
        assert (await answered.readline()).split()[1] == b"401"
        assert await closed(answered), "what was refused isn't read to its end"
        slow = await open_connection(receiver, HALF_A_BODY)
        assert (await asyncio.wait_for(slow.readline(), 20)).split()[1] == b"408"
        assert await receiver.post({"X-Gitea-Signature": hexadecimal()}) == 202


@pytest.mark.parametrize(
    ("address", "peer"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("", ""),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_whom_an_address_stands_for(address: str, peer: str) -> None:
    assert peer_of(address) == peer


@pytest.mark.parametrize("path", ["/", "/webhooks", "/webhooks/", "/webhooks/a/b", "/healthz", "/metrics"])
async def test_nothing_else_is_answered_on_this_port(path: str) -> None:
    async with receiving() as receiver:
        assert await receiver.post({"X-Gitea-Signature": hexadecimal()}, path=path) == 404
        assert receiver.hints == []


async def test_only_post_is_answered() -> None:
    async with (
        receiving() as receiver,
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{receiver.port}/webhooks/prod") as answer,
    ):
        assert answer.status == 405
