"""``POST /webhooks/<gitsync>``: a forge's word that there is something new (docs/decisions.md §6 "Webhooks").

A hint and nothing more. The secret proves who sends it, what is in it is never read, and all that it does is that Git
and the forge are asked now rather than at the next interval. A hint that is lost or refused costs an interval.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import structlog
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from gitops_rollouts.web.door import peer_of

MAX_BODY: Final = 1024 * 1024
"""Bytes; forges that send more are answered 413."""
_GRACE_SECONDS: Final = 3.0
_LEAST_RATE: Final = 64 * 1024
"""Bytes a second: a body may take the grace and then so long for its size."""
_OF_ONE: Final = (60, 10.0)
_OF_ALL: Final = (300, 50.0)
"""So many calls at once, and then so many a second."""
_PEERS: Final = 1024
_HEX_HEADERS: Final = (
    ("x-hub-signature-256", "sha256="),  # GitHub; Gitea and Forgejo send it too
    ("x-hub-signature", "sha256="),  # Bitbucket; GitHub's has sha1= and doesn't count
    ("x-gitea-signature", ""),
    ("x-forgejo-signature", ""),
)
_GITLAB_HEADER: Final = "x-gitlab-token"
_STANDARD_HEADERS: Final = ("webhook-id", "webhook-timestamp", "webhook-signature")
"""Standard Webhooks, which GitLab's signing tokens follow."""
_STANDARD_PREFIX: Final = "whsec_"

Secrets = Callable[[str], Awaitable[bytes | None]]
"""The webhook secret of a GitSync; empty: it has none, or there is no such GitSync. None: that can't be told now."""

log = structlog.get_logger(__name__)


def webhooks_app(secret: Secrets, hint: Callable[[str], None], monotonic: Callable[[], float]) -> Starlette:
    """The receiver. ``hint`` is told the name of a GitSync for which somebody who knows its secret has called.

    202: taken. 401: the signature is missing or wrong, or there is no such GitSync. 413: larger than `MAX_BODY`.
    408: too slow. 503: too many, or the secret can't be read now: a forge that gives up on a webhook which refuses
    calls doesn't on one that is down for a moment. How many come at once is the `Door`'s matter, and who hasn't sent a
    whole call yet uses up nobody's share.
    """
    buckets = _Buckets(monotonic)

    async def receive(request: Request) -> Response:
        name = request.path_params["gitsync"]
        if not _signed_at_all(request.headers):
            return _answer(401, "no signature")
        body = await _body(request)
        if isinstance(body, Response):
            return body
        if not buckets.take(peer_of(request.client.host if request.client else "")):
            return _answer(503, "too many at once", {"Retry-After": "1"})
        key = await secret(name)
        if key is None:
            return _answer(503, "the secret can't be read now", {"Retry-After": "10"})
        if not key or not is_signed(request.headers, body, key):
            log.info("a webhook was refused", gitsync=name[:253])
            return _answer(401, "the signature is wrong, or no GitSync of this name takes webhooks")
        hint(name)
        return _answer(202, "thanks")

    return Starlette(routes=[Route("/webhooks/{gitsync}", receive, methods=["POST"])])


def is_signed(headers: Mapping[str, str], body: bytes, secret: bytes) -> bool:
    """Whether who sent this knows the secret. All comparisons take the same time for every wrong value."""
    digest = hmac.new(secret, body, hashlib.sha256).hexdigest().encode()
    good = False
    for header, prefix in _HEX_HEADERS:
        given = headers.get(header, "")
        if given.startswith(prefix):
            good |= _same(given.removeprefix(prefix).lower(), digest)
    good |= _same(headers.get(_GITLAB_HEADER, ""), secret)
    return good | _standard(headers, body, secret)


def _standard(headers: Mapping[str, str], body: bytes, secret: bytes) -> bool:
    """The signature of Standard Webhooks: of the id, the time and the body. A replay is a hint like another."""
    identity, moment, signatures = (headers.get(name, "") for name in _STANDARD_HEADERS)
    signed = b".".join((_bytes(identity), _bytes(moment), body))
    wanted = base64.b64encode(hmac.new(_standard_key(secret), signed, hashlib.sha256).digest())
    good = False
    for given in signatures.split(" ")[:8]:
        version, _, value = given.partition(",")
        good |= _same(value, wanted) and version == "v1"
    return good


def _standard_key(secret: bytes) -> bytes:
    """``whsec_`` and base64 is how such keys are shown; anything else is the key itself."""
    text = secret.decode("utf-8", "replace")
    if not text.startswith(_STANDARD_PREFIX):
        return secret
    try:
        return base64.b64decode(text.removeprefix(_STANDARD_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return secret


def _same(given: str, wanted: bytes) -> bool:
    return hmac.compare_digest(_bytes(given), wanted)


def _bytes(header: str) -> bytes:
    """What was sent: the server decodes headers as Latin-1."""
    return header.encode("latin-1", "replace")


def _signed_at_all(headers: Mapping[str, str]) -> bool:
    names = (*(name for name, _ in _HEX_HEADERS), _GITLAB_HEADER, "webhook-signature")
    return any(headers.get(name) for name in names)


async def _body(request: Request) -> bytes | Response:
    """The body, or what is answered for it."""
    try:
        begun = asyncio.get_running_loop().time()
        async with asyncio.timeout_at(begun + _GRACE_SECONDS) as deadline:
            body = await _read(request, lambda size: deadline.reschedule(begun + _GRACE_SECONDS + size / _LEAST_RATE))
    except TimeoutError:
        return _answer(408, "too slow")
    except ClientDisconnect:
        return _answer(400, "cut off")
    return _answer(413, f"larger than {MAX_BODY // 1024} KiB") if body is None else body


async def _read(request: Request, came: Callable[[int], None]) -> bytes | None:
    """The body; None if it is too large. ``came``: told how much is there. Raises `ClientDisconnect`."""
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length[:20]) > MAX_BODY:
        return None
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_BODY:
            return None
        parts.append(part)
        came(size)
    return b"".join(parts)


def _answer(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    return PlainTextResponse(text, status_code=status, headers=dict(headers or {}))


class _Buckets:
    """So many calls of one sender, and so many of all: nobody has proven anything yet when this is asked."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._all = _Bucket(*_OF_ALL, monotonic())
        self._peers: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, peer: str) -> bool:
        now = self._monotonic()
        own = self._peers.setdefault(peer, _Bucket(*_OF_ONE, now))
        self._peers.move_to_end(peer)
        while len(self._peers) > _PEERS:
            self._peers.popitem(last=False)
        return own.take(now) and self._all.take(now)


class _Bucket:
    def __init__(self, burst: int, per_second: float, now: float) -> None:
        self._burst = float(burst)
        self._per_second = per_second
        self._left = self._burst
        self._at = now

    def take(self, now: float) -> bool:
        self._left = min(self._burst, self._left + (now - self._at) * self._per_second)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
