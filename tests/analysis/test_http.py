"""docs/behaviour.md §18: what every provider's requests keep to, against real servers."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import socket
import ssl
import threading
from ipaddress import ip_network

import pytest

from gitops_rollouts.analysis import addresses
from gitops_rollouts.analysis import http as client
from gitops_rollouts.analysis.addresses import is_metadata, proxy_of
from gitops_rollouts.analysis.http import Http, Request, shown
from gitops_rollouts.errors import MetricError
from http_server import Certificate, Reply, Seen, serving

SECRET = "s3cr3t-token"


async def test_answers_come_with_status_headers_and_body_and_our_headers_arrive(http: Http) -> None:
    async with serving(lambda seen: Reply("nein", 418, {"X-Kind": "pot"})) as server:
        asked = Request(f"{server.url}/a/b?x=1", "POST", (("x-a", "1"), ("X-A", "2"), ("Host", "elsewhere")), b"body")
        answer = await http.send(asked)
    assert (answer.status, answer.text, answer.headers["x-kind"], answer.ok) == (418, "nein", "pot", False)
    (seen,) = server.seen
    assert (seen.method, seen.path, seen.query, seen.body) == ("POST", "/a/b", {"x": "1"}, b"body")
    assert seen.headers["X-A"] == "2"
    assert seen.headers["User-Agent"] == "gitops-rollouts"
    assert seen.headers["Host"] in server.url


@pytest.mark.parametrize(
    ("headers", "told"),
    [((("a b", "x"),), "can't be the name of a header"), ((("a", f"{SECRET}\r\nb: c"),), "control character")],
)
async def test_a_header_that_would_be_two_is_never_sent(
    http: Http, headers: tuple[tuple[str, str], ...], told: str
) -> None:
    async with serving(lambda seen: Reply()) as server:
        with pytest.raises(MetricError, match=told) as caught:
            await http.send(Request(server.url, headers=headers))
    assert not server.seen
    assert SECRET not in str(caught.value)


async def test_user_info_is_sent_as_basic_auth_and_shown_to_nobody(http: Http) -> None:
    async with serving(lambda seen: Reply("x" * 30, cut=True)) as server:
        address = server.url.replace("://", f"://me:{SECRET}@") + f"/p?token={SECRET}#{SECRET}"
        with pytest.raises(MetricError, match="half-way") as caught:
            await http.send(Request(address))
    assert server.seen[0].headers["Authorization"].startswith("Basic ")
    assert SECRET not in str(caught.value)
    assert str(caught.value).startswith(f"no answer from {server.url}/p: ")


@pytest.mark.parametrize(
    "url",
    ["", "ftp://a/b", "file:///etc/passwd", "//x", f"http://me:{SECRET}@[/", f"a@b:{SECRET}@c?{SECRET}", "http://"],
)
async def test_only_http_urls_are_asked(http: Http, url: str) -> None:
    with pytest.raises(MetricError, match="no http or https URL") as caught:
        await http.send(Request(url))
    assert SECRET not in str(caught.value)


async def test_no_answer_in_time_no_server_and_no_such_name_say_so(http: Http) -> None:
    async with serving(lambda seen: Reply(after=30)) as server:
        with pytest.raises(MetricError, match=r"no answer from .* within 0\.1 seconds"):
            await http.send(Request(server.url, seconds=0.1))
    with pytest.raises(MetricError, match="no answer from"):
        await http.send(Request(server.url))
    with pytest.raises(MetricError, match="can't be resolved"):
        await http.send(Request("http://nowhere.invalid/"))


async def test_what_is_no_http_is_an_error(http: Http) -> None:
    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"220 mail ready\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(nonsense, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        with pytest.raises(MetricError, match="can't be read") as caught:
            await http.send(Request(f"http://127.0.0.1:{port}/?q={SECRET}"))
    assert SECRET not in str(caught.value)


async def test_an_answer_is_bounded_after_decompression(http: Http, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = gzip.compress(b"\0" * (client.LARGEST_ANSWER + 1))
    async with serving(lambda seen: Reply(bomb, headers={"Content-Encoding": "gzip"})) as server:
        with pytest.raises(MetricError, match="larger than 8 MiB"):
            await http.send(Request(server.url))


async def test_redirects_are_followed_a_few_times_and_credentials_stay_with_their_server(http: Http) -> None:
    async with serving(lambda seen: Reply("there")) as other:

        def answer(seen: Seen) -> Reply:
            if seen.path == "/loop":
                return Reply(status=302, headers={"Location": "/loop"})
            if seen.path == "/near":
                return Reply(status=302, headers={"Location": "/here"})
            if seen.path == "/file":
                return Reply(status=302, headers={"Location": "file:///etc/passwd"})
            if seen.path == "/metadata":
                return Reply(status=302, headers={"Location": "http://169.254.169.254/latest"})
            if seen.path == "/here":
                return Reply("here")
            return Reply(status=307, headers={"Location": f"{other.url}/x"})

        async with serving(answer) as server:
            given = (("Authorization", "x"), ("DD-API-KEY", SECRET), ("Accept", "application/json"))
            assert (await http.send(Request(f"{server.url}/near", "POST", given, b"body"))).text == "here"
            assert [(one.method, one.body) for one in server.seen] == [("POST", b"body"), ("GET", b"")]
            assert server.seen[1].headers["DD-API-KEY"] == SECRET
            assert (await http.send(Request(f"{server.url}/far", headers=given))).text == "there"
            for path, told in (
                ("loop", "more than 5"),
                ("file", "redirects to something that is no URL|no http"),
                ("metadata", "not asked"),
            ):
                with pytest.raises(MetricError, match=told):
                    await http.send(Request(f"{server.url}/{path}"))
            with pytest.raises(MetricError, match="redirects a body to another server"):
                await http.send(Request(f"{server.url}/far", "POST", given, b"body"))
    assert "Authorization" not in other.seen[0].headers
    assert "DD-API-KEY" not in other.seen[0].headers
    assert other.seen[0].headers["Accept"] == "application/json"
    assert len(other.seen) == 1


async def test_certificates_are_verified_unless_insecure_or_trusted(
    http: Http, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(lambda seen: Reply("safe"), certificate) as server:
        with pytest.raises(MetricError, match="its certificate is not trusted"):
            await http.send(Request(server.url))
        assert (await http.send(Request(server.url, insecure=True))).text == "safe"
        with pytest.raises(MetricError, match="its certificate is not trusted"):
            await http.send(Request(server.url))
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.file))
        trusting = Http(environ={})
        assert (await trusting.send(Request(server.url))).text == "safe"
        await trusting.close()
    assert len(server.seen) == 2


async def test_https_is_never_left_for_http(http: Http, certificate: Certificate) -> None:
    async with (
        serving(lambda seen: Reply("plain")) as plain,
        serving(lambda seen: Reply(status=302, headers={"Location": plain.url}), certificate) as server,
    ):
        with pytest.raises(MetricError, match="from https to http"):
            await http.send(Request(server.url, insecure=True))
    assert not plain.seen


async def test_an_idle_connection_that_was_closed_is_replaced_once_and_only_for_what_may_be_repeated(
    http: Http,
) -> None:
    """The server answers one request a connection and closes it when the next one comes on it."""
    asked = 0

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        for turn in itertools.count():
            head = await reader.readuntil(b"\r\n\r\n")
            asked += 1
            if turn:
                break
            if b"content-length: 1" in head.lower():
                await reader.readexactly(1)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(once, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server:
        for _ in range(2):
            assert (await http.send(Request(url, "POST", body=b"x", repeatable=True))).text == "ok"
        assert asked == 3
        with pytest.raises(MetricError, match="closed the connection without an answer"):
            await http.send(Request(url, "POST", body=b"x"))
        assert asked == 4


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "fe80::1", "fe80::1%eth0", "[fe80::1]",
        "fd00:ec2::254", "fd20:ce::254", "::ffff:169.254.169.254", "::ffff:a9fe:a9fe", "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1", "::169.254.169.254", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518",
        "169.254.169.254.",
    ],
)  # fmt: skip
def test_every_notation_of_a_metadata_address_is_known(host: str) -> None:
    assert is_metadata(host)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "::1", "10.0.0.1", "100.100.100.201", "fd00::1", "localhost", "", "a:b", "1", "9x"]
)
def test_other_addresses_are_not_refused(host: str) -> None:
    assert not is_metadata(host)


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data", "http://[fe80::1]/", "http://[::ffff:169.254.169.254]/",
        "http://[fd00:ec2::254]/", "http://2852039166/", "http://0xa9fea9fe/", "http://169.254.43518/",
    ],
)  # fmt: skip
async def test_metadata_is_not_asked_however_it_is_written(http: Http, url: str) -> None:
    with pytest.raises(MetricError, match=r"not asked|can't be (resolved|used)") as caught:
        await http.send(Request(url, seconds=5))
    assert "not asked" not in str(caught.value) or "--allow-metadata-addresses" in str(caught.value)


async def test_a_name_that_resolves_to_metadata_is_refused_where_the_connection_is_made(
    http: Http, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No matter what DNS says first and what later: the address of the socket is what counts."""
    real = socket.getaddrinfo

    def rebound(host: str, *args: object, **more: object) -> object:
        return real("169.254.169.254" if host == "innocent.example" else host, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", rebound)
    with pytest.raises(MetricError, match=r"innocent\.example is a link-local or cloud metadata address: not asked"):
        await http.send(Request("http://innocent.example/", seconds=5))


async def test_silent_name_servers_hold_up_metrics_alone(http: Http, monkeypatch: pytest.MonkeyPatch) -> None:
    """The controller's own look-ups have threads of their own."""
    answered, real = threading.Event(), socket.getaddrinfo

    def silent(host: str, *args: object, **more: object) -> object:
        if host.endswith(".silent"):
            answered.wait(30)
        return real("127.0.0.1" if host.endswith(".silent") else host, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    asking = [http.send(Request(f"http://{number}.silent:1/", seconds=0.3)) for number in range(50)]
    told = await asyncio.gather(*asking, return_exceptions=True)
    assert all("within 0.3 seconds" in str(one) for one in told)
    assert await asyncio.wait_for(asyncio.get_running_loop().getaddrinfo("localhost", 80), 5)
    answered.set()


async def test_metadata_may_be_allowed(http: Http, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback plays the part of a metadata address here, so that something answers."""
    monkeypatch.setattr(addresses, "_FORBIDDEN", (ip_network("127.0.0.0/8"),))
    allowing = Http(allow_metadata=True, environ={})
    async with serving(lambda seen: Reply("credentials")) as server:
        with pytest.raises(MetricError, match=r"127\.0\.0\.1 is a link-local or cloud metadata address: not asked"):
            await http.send(Request(server.url))
        with pytest.raises(MetricError, match="localhost is a link-local or cloud metadata address: not asked"):
            await http.send(Request(server.url.replace("127.0.0.1", "localhost")))
        assert (await allowing.send(Request(server.url))).text == "credentials"
    await allowing.close()


@pytest.mark.parametrize(
    ("url", "no_proxy", "proxy"),
    [
        ("http://prometheus.monitoring:9090/x", "", "http://proxy:3128"),
        ("https://api.example.com/", "", "https://secure:3129"),
        ("http://api.example.com/", "example.com", None),
        ("http://api.example.com/", ".example.com", None),
        ("http://example.com/", ".example.com", "http://proxy:3128"),
        ("http://notexample.com/", "example.com", "http://proxy:3128"),
        ("http://10.1.2.3/", "10.0.0.0/8,example.com", None),
        ("http://11.1.2.3/", "10.0.0.0/8", "http://proxy:3128"),
        ("http://a:8080/", "a:8080", None),
        ("http://a:8081/", "a:8080", "http://proxy:3128"),
        ("http://a/", "*", None),
        ("http://localhost:1/", "", None),
        ("http://127.0.0.1:1/", "", None),
        ("http://a.svc/", "x, *.svc ", None),
    ],
)
def test_proxies_are_those_of_the_environment(url: str, no_proxy: str, proxy: str | None) -> None:
    environ = {"HTTP_PROXY": "proxy:3128", "https_proxy": "https://secure:3129", "NO_PROXY": no_proxy}
    assert proxy_of(url, environ) == proxy


async def test_a_proxy_is_asked_for_what_the_environment_says() -> None:
    async with serving(lambda seen: Reply("by proxy")) as proxy:
        http = Http(environ={"HTTP_PROXY": proxy.url})
        assert (await http.send(Request("http://nowhere.invalid/x"))).text == "by proxy"
        with pytest.raises(MetricError, match="not asked"):
            await http.send(Request("http://169.254.169.254/"))
        await http.close()
    assert proxy.seen[0].headers["Host"] == "nowhere.invalid"
    http = Http(environ={"HTTP_PROXY": f"socks5://me:{SECRET}@127.0.0.1:1"})
    with pytest.raises(MetricError, match="no HTTP proxy") as caught:
        await http.send(Request("http://nowhere.invalid/x"))
    await http.close()
    assert SECRET not in str(caught.value)


async def test_credentials_of_a_proxy_are_sent_to_it_alone() -> None:
    async with serving(lambda seen: Reply("by proxy")) as proxy:
        http = Http(environ={"HTTP_PROXY": proxy.url.replace("://", f"://me:{SECRET}@")})
        await http.send(Request("http://nowhere.invalid/x"))
        await http.close()
    assert proxy.seen[0].headers["Proxy-Authorization"].startswith("Basic ")
    assert "Authorization" not in proxy.seen[0].headers


def test_shown_hides_what_may_be_secret() -> None:
    assert shown(f"https://u:{SECRET}@h.example:8443/p/q?t={SECRET}#{SECRET}") == "https://h.example:8443/p/q"
    assert shown("http://[::1]:9090/") == "http://[::1]:9090/"
    assert SECRET not in shown(f"http://u:{SECRET}@[bad?{SECRET}")


def test_the_default_trust_is_that_of_the_machine() -> None:
    assert Http(environ={})._trust().verify_mode is ssl.CERT_REQUIRED
