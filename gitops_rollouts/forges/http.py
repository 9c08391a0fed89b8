"""How forges are asked (docs/decisions.md §2): blocking, bounded in time and size, the token to its own API alone.

Each call has a connection of its own: none can turn out to be closed half-way through a call that makes something.
"""

from __future__ import annotations

import base64
import http.client
import re
import socket
import ssl
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlencode, urljoin, urlsplit

import orjson
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from gitops_rollouts.errors import (
    ConfigError,
    ForgeDenied,
    ForgeError,
    ForgeLimited,
    ForgeMissing,
    ForgeRefused,
    ForgeUnreachable,
)
from gitops_rollouts.forges.budget import SHARED, Budget
from gitops_rollouts.forges.fields import CHECK_URL, at, rows, text
from gitops_rollouts.forges.forge import ForgeSettings

CONNECT_SECONDS: Final = 10.0
ALL_SECONDS: Final = 30.0
LARGEST_ANSWER: Final = 8 * 1024 * 1024
_CHUNK: Final = 64 * 1024
_LONGEST_WAIT: Final = 3600.0
_PAGES: Final = 100
_REDIRECTS: Final = 3
_KEPT_ANSWERS: Final = 64
_KEPT_BYTES: Final = 16 * 1024 * 1024
_SAID: Final = 300
_NEXT: Final = re.compile(r'<([^<>]{1,4096})>\s*;[^,]*\brel="?next"?')
_REFUSED: Final = frozenset({400, 405, 406, 409, 412, 413, 415, 422, 423})
_NOBODY: Final = frozenset({"", "git", "x-token-auth"})
"""User names beside an access token, which has none: ``git`` is what a Secret with a token alone counts as."""
_RIGHTS: Final = "give spec.forge.secretRef a token that is valid and has the rights of docs/forges.md"


@dataclass(frozen=True, slots=True)
class Answer:
    """A 2xx. ``data``: its JSON, None if it had no body. ``headers``: names in lower case."""

    status: int
    data: Any
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Raw:
    status: int
    body: bytes
    headers: Mapping[str, str]


class ForgeHttp:
    """One API, opened by one token. ``title``: how messages call it. ``headers``: what every request has.

    A path begins with ``/`` and goes below ``settings.api``; a full URL is asked only if it is of the same origin.
    Raises `ForgeError` alone, which never holds the token; and `ConfigError` when made with a bad CA certificate.
    """

    def __init__(
        self,
        settings: ForgeSettings,
        title: str,
        *,
        headers: Mapping[str, str] | None = None,
        budget: Budget = SHARED,
        seconds: float = ALL_SECONDS,
    ) -> None:
        self.title: Final = title
        self._api = settings.api
        self._origin = _origin(settings.api)
        self._token = settings.token
        self._headers = {
            "Accept": "application/json",
            "User-Agent": "gitops-rollouts",
            "Accept-Encoding": "gzip",
            "Authorization": _authorization(settings),
            **(headers or {}),
        }
        self._trust = _trust(settings.ca_certificate) if self._origin.startswith("https:") else None
        self._budget = budget
        self._seconds = seconds
        self._quiet_until = 0.0
        self._kept: OrderedDict[str, tuple[str, _Raw]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, path: str, *, query: Mapping[str, str] | None = None) -> Answer:
        """Ask. What hasn't changed since it was asked last comes from memory, if the forge says so (ETag)."""
        url = self._url(path, query)
        with self._lock:
            kept = self._kept.get(url)
        raw = self._follow("GET", url, None, {"If-None-Match": kept[0]} if kept else {})
        if raw.status == 304 and kept is not None:
            raw = kept[1]
        else:
            self._check(raw, f"GET {urlsplit(url).path}")
            self._keep(url, raw)
        return self._read(raw)

    def post(
        self, path: str, *, query: Mapping[str, str] | None = None, json: Any = None, spare: bool = False
    ) -> Answer:
        """Make something. ``spare``: all other changes go before it."""
        return self._change("POST", path, query, json, spare=spare)

    def put(self, path: str, *, query: Mapping[str, str] | None = None, json: Any = None) -> Answer:
        """Make or replace something."""
        return self._change("PUT", path, query, json)

    def patch(self, path: str, *, query: Mapping[str, str] | None = None, json: Any = None) -> Answer:
        """Change something."""
        return self._change("PATCH", path, query, json)

    def delete(self, path: str, *, query: Mapping[str, str] | None = None) -> Answer:
        """Take something away."""
        return self._change("DELETE", path, query, None)

    def pages(
        self,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        most: int = 1000,
        values: str = "",
        enough: Callable[[Any], bool] = lambda _: False,
    ) -> list[Any]:
        """All rows of a list, at most ``most``, and no page after one with a row that is ``enough``.

        The next page is where the ``Link`` header says. ``values``: the key that holds the rows where an object does,
        and ``next`` beside it the next page's address.
        """
        found: list[Any] = []
        where, asked = path, query
        for _ in range(_PAGES):
            answer = self.get(where, query=asked)
            page = rows(at(answer.data, values) if values else answer.data, self.title)
            found += page
            if len(found) >= most or any(map(enough, page)):
                break
            follows = text(answer.data, "next", most=4096) if values else _next(answer.headers)
            if not follows:
                break
            where, asked = urljoin(self._url(where, None), follows), None
        return found[:most]

    def _change(
        self, method: str, path: str, query: Mapping[str, str] | None, json: Any, *, spare: bool = False
    ) -> Answer:
        url = self._url(path, query)
        self._stay_quiet()
        wait = self._budget.take(self._origin, spare=spare)
        if wait:
            raise ForgeLimited(f"{self.title} has been asked to change as much as it is in a minute", retry_after=wait)
        body = None if json is None else orjson.dumps(json)
        raw = self._follow(method, url, body, {"Content-Type": "application/json"} if body is not None else {})
        self._check(raw, f"{method} {urlsplit(url).path}")
        return self._read(raw)

    def _url(self, path: str, query: Mapping[str, str] | None) -> str:
        url = f"{self._api}{path}" if path.startswith("/") else path
        if _origin(url) != self._origin:
            raise ForgeUnreachable(f"{self.title} sent us to another server: the token isn't sent there")
        if query:
            url += ("&" if urlsplit(url).query else "?") + urlencode(query)
        return url

    def _stay_quiet(self) -> None:
        wait = self._quiet_until - self._budget.monotonic()
        if wait > 0:
            raise ForgeLimited(f"{self.title} has asked for fewer requests", retry_after=wait)

    def _follow(self, method: str, url: str, body: bytes | None, more: Mapping[str, str]) -> _Raw:
        """Within the API's origin alone. Another method than GET goes on only where it stays what it is."""
        self._stay_quiet()
        for _ in range(_REDIRECTS):
            raw = self._send(method, url, body, {**self._headers, **more})
            if raw.status not in (301, 302, 307, 308):
                return raw
            if method != "GET" and raw.status in (301, 302):
                break
            url = self._url(urljoin(url, raw.headers.get("location", "")), None)
        raise ForgeMissing(
            f"{self.title} says that {urlsplit(url).path[:200]} has moved", remedy="set spec.forge.project or .url anew"
        )

    def _send(self, method: str, url: str, body: bytes | None, headers: Mapping[str, str]) -> _Raw:
        parts = urlsplit(url)
        connection = self._connection(parts.hostname or "", parts.port)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        try:
            with _in_time(connection, self._seconds) as cut:
                try:
                    connection.connect()
                    if connection.sock is not None:
                        connection.sock.settimeout(self._seconds)
                    connection.request(method, target or "/", body=body, headers=headers, preload_content=False)
                    return self._raw(connection.getresponse(), cut)
                except (HTTPError, http.client.HTTPException, OSError, ValueError) as error:
                    why = f"no answer within {self._seconds:g} seconds" if cut.is_set() else _why(error)
                    raise ForgeUnreachable(f"{self.title} at {self._origin} can't be asked: {why}") from None
        finally:
            connection.close()

    def _connection(self, host: str, port: int | None) -> HTTPConnection:
        timeout = min(CONNECT_SECONDS, self._seconds)
        if self._trust is None:
            return HTTPConnection(host, port, timeout=timeout)
        return HTTPSConnection(host, port, timeout=timeout, ssl_context=self._trust)

    def _raw(self, response: BaseHTTPResponse, cut: threading.Event) -> _Raw:
        parts = bytearray()
        while chunk := response.read(_CHUNK, decode_content=True):
            parts += chunk
            if len(parts) > LARGEST_ANSWER:
                raise ForgeUnreachable(f"{self.title} answered with more than {LARGEST_ANSWER >> 20} MiB")
        if cut.is_set():
            raise TimeoutError
        return _Raw(response.status, bytes(parts), {name.lower(): value for name, value in response.headers.items()})

    def _check(self, raw: _Raw, asked: str) -> None:
        if 200 <= raw.status < 300:
            return
        said = self._said(raw.body)
        message = f"{self.title} answered {raw.status} to {asked[:300]}" + (f": {said}" if said else "")
        if raw.status == 429 or (raw.status == 403 and _is_limit(raw.headers, said)):
            wait = _retry_after(raw.headers)
            self._quiet_until = self._budget.monotonic() + wait
            raise ForgeLimited(message, retry_after=wait)
        raise _failure(raw.status, message)

    def _said(self, body: bytes) -> str:
        """The forge's own words: one printable line, never with the token."""
        try:
            data = orjson.loads(body)
        except orjson.JSONDecodeError:
            return ""
        found = " ".join(_words(data))
        plain = "".join(each if each.isprintable() else " " for each in found[: 4 * _SAID])
        for secret in (self._token, self._headers["Authorization"].partition(" ")[2]):
            plain = plain.replace(secret, "…") if secret else plain
        return " ".join(plain.split())[:_SAID]

    def _read(self, raw: _Raw) -> Answer:
        if not raw.body.strip():
            return Answer(raw.status, None, raw.headers)
        try:
            return Answer(raw.status, orjson.loads(raw.body), raw.headers)
        except orjson.JSONDecodeError:
            raise ForgeUnreachable(f"{self.title} answered with something that is no JSON", remedy=CHECK_URL) from None

    def _keep(self, url: str, raw: _Raw) -> None:
        tag = raw.headers.get("etag", "")
        with self._lock:
            self._kept.pop(url, None)
            if raw.status == 200 and 0 < len(tag) <= 256 and tag.isprintable():
                self._kept[url] = (tag, raw)
            while len(self._kept) > _KEPT_ANSWERS or sum(len(one.body) for _, one in self._kept.values()) > _KEPT_BYTES:
                self._kept.popitem(last=False)


def _authorization(settings: ForgeSettings) -> str:
    if settings.kind == "bitbucket" and settings.username not in _NOBODY:
        pair = f"{settings.username}:{settings.token}".encode()
        return f"Basic {base64.b64encode(pair).decode()}"
    if not settings.token.isascii() or not settings.token.isprintable():
        raise ConfigError("the forge's token has characters that no token has", remedy="look at spec.forge.secretRef")
    return f"Bearer {settings.token}"


def _trust(certificate: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cadata=certificate or None)
    except (ssl.SSLError, ValueError):
        raise ConfigError("the forge's ca.crt holds no certificate in PEM", remedy="look at its Secret") from None


def _origin(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return ""
    if parts.username is not None or parts.password is not None:
        return ""
    return f"{parts.scheme}://{(parts.hostname or '').lower()}:{port}"


@contextmanager
def _in_time(connection: HTTPConnection, seconds: float) -> Iterator[threading.Event]:
    """Ends a conversation that takes too long as a whole, as a read's own time-out doesn't; the event tells."""
    cut = threading.Event()

    def end() -> None:
        cut.set()
        sock = connection.sock
        if sock is not None:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                return

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield cut
    finally:
        timer.cancel()


def _why(error: Exception) -> str:
    """The kind of failure, without what an exception may quote of an address or a header."""
    reason = getattr(error, "reason", None)
    cause = reason if isinstance(reason, Exception) else error
    cause = cause.__cause__ if isinstance(cause.__cause__, OSError) else cause
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate isn't trusted ({cause.verify_message})"
    if isinstance(cause, TimeoutError) or "Timeout" in type(cause).__name__:
        return "it took too long"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return type(cause).__name__


def _is_limit(headers: Mapping[str, str], said: str) -> bool:
    return headers.get("x-ratelimit-remaining") == "0" or "retry-after" in headers or "rate limit" in said.lower()


def _retry_after(headers: Mapping[str, str]) -> float:
    """Seconds, counted by the forge's own clock where it names a time: ours may be another."""
    given = headers.get("retry-after", "") or headers.get("ratelimit-reset", "") or headers.get("x-ratelimit-reset", "")
    wait = 60.0
    if given.isascii() and given.isdecimal() and len(given) <= 12:
        wait = float(given)
        if wait > 1e9:
            sent = _moment(headers.get("date", ""))
            wait = wait - sent if sent else 60.0
    elif given:
        at_last, sent = _moment(given), _moment(headers.get("date", ""))
        wait = at_last - sent if at_last and sent else 60.0
    return min(max(wait, 1.0), _LONGEST_WAIT)


def _moment(given: str) -> float:
    try:
        return parsedate_to_datetime(given[:64]).timestamp()
    except (ValueError, TypeError, OverflowError):
        return 0.0


def _failure(status: int, message: str) -> ForgeError:
    if status in (401, 403):
        return ForgeDenied(message, remedy=_RIGHTS)
    if status in (404, 410):
        return ForgeMissing(message, remedy="check spec.forge.project, and that the token can see it")
    if status in _REFUSED:
        return ForgeRefused(message)
    return ForgeUnreachable(message)


def _words(data: Any, depth: int = 0) -> Iterator[str]:
    """What an error says, in the places where GitHub, GitLab, Gitea and Bitbucket say it."""
    if isinstance(data, str):
        yield data
    elif depth < 4 and isinstance(data, list):
        for each in data[:5]:
            yield from _words(each, depth + 1)
    elif depth < 4 and isinstance(data, dict):
        for key in ("message", "error", "errors", "detail", "error_description"):
            if key in data:
                yield from _words(data[key], depth + 1)


def _next(headers: Mapping[str, str]) -> str:
    found = _NEXT.search(headers.get("link", "")[:16_384])
    return found[1] if found else ""
