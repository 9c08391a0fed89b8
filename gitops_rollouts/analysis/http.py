"""The HTTP client of every provider of metrics (docs/behaviour.md §18).

Bounded in connections, time, size and redirects; it keeps no cookies, reads no ``.netrc``, and asks no metadata
service. What it raises names the server, never what stood in the query, in a header or in the user info.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, Final

import aiohttp
import orjson
from multidict import CIMultiDict
from yarl import URL

from gitops_rollouts.analysis.addresses import REFUSAL, guarded_socket, is_metadata, proxy_of
from gitops_rollouts.analysis.hiding import note_secret
from gitops_rollouts.analysis.large_answers import LARGE, Room
from gitops_rollouts.analysis.resolver import Resolver
from gitops_rollouts.errors import MetricError

LARGEST_ANSWER: Final = 8 * 1024 * 1024
"""Bytes, after decompression."""
LONGEST_SECONDS: Final = 600.0
_LARGE_SECONDS: Final = 60.0
"""For the rest of a large answer, which takes room from others meanwhile."""
_BUFFER: Final = 32 * 1024
_CONNECT_SECONDS: Final = 10.0
_CONNECTIONS: Final = 900
"""More than there are measurements at once (controllers/measurements.py): those wait for their turn, not here."""
_IDLE_SECONDS: Final = 15.0
_REDIRECTS: Final = 5
_LONGEST_URL: Final = 64 * 1024
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_OURS: Final = frozenset({"content-length", "transfer-encoding", "connection", "upgrade", "expect", "host"})
_HARMLESS: Final = frozenset({"accept", "content-type", "user-agent"})
"""Headers that also go where a redirect to another server leads."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request. A later header of the same name replaces an earlier one. ``seconds``: for all of it.

    ``insecure``: the server's certificate isn't verified. ``repeatable``: it may be sent again if an idle connection
    turns out to have been closed by the server; so is every GET.
    """

    url: str
    method: str = "GET"
    headers: Sequence[tuple[str, str]] = ()
    body: bytes | None = None
    seconds: float = 10.0
    insecure: bool = False
    repeatable: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered, with whatever status."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str
    """Where it came from, as messages may show it."""

    @property
    def ok(self) -> bool:
        """2xx."""
        return 200 <= self.status < 300

    @property
    def text(self) -> str:
        """The body; what is no UTF-8 is replaced."""
        return self.body.decode(errors="replace")

    def json(self) -> Any:
        """The decoded body. Raises `MetricError`."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError as error:
            raise MetricError(f"the answer of {self.url} is no JSON") from error


class Http:
    """The connections that all providers share. ``allow_metadata``: link-local and metadata addresses may be asked."""

    def __init__(self, *, allow_metadata: bool = False, environ: Mapping[str, str] | None = None) -> None:
        self._allow_metadata = allow_metadata
        self._environ = os.environ if environ is None else environ
        self._session: aiohttp.ClientSession | None = None
        self._resolver: Resolver | None = None
        self._verified: ssl.SSLContext | None = None
        self._room = Room()

    async def send(self, request: Request) -> Answer:
        """The answer, redirects followed.

        Raises `MetricError`: a URL or header that can't be sent, no connection, no trust, no answer in time, one that
        is too large, an address that is refused.
        """
        seconds = min(max(request.seconds, 0.001), LONGEST_SECONDS)
        try:
            async with asyncio.timeout(seconds):
                return await self._follow(request)
        except TimeoutError as error:
            if isinstance(error, aiohttp.ConnectionTimeoutError):
                raise MetricError(f"no connection to {shown(request.url)}: it took too long") from None
            raise MetricError(f"no answer from {shown(request.url)} within {seconds:g} seconds") from None

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None
        if self._resolver is not None:
            await self._resolver.close()
            self._resolver = None

    async def _follow(self, request: Request) -> Answer:
        url = self._address(request.url)
        headers = _headers(request.headers, url)
        for _ in range(_REDIRECTS + 1):
            answer = await self._exchange(request, url.with_user(None), headers)
            location = answer.headers.get("Location")
            if answer.status not in {301, 302, 303, 307, 308} or not location:
                return answer
            target = self._redirected(url, location)
            if answer.status in {301, 302, 303} and request.method not in {"GET", "HEAD"}:
                request = replace(request, method="GET", body=None)
                headers.pop("Content-Type", None)
            if target.origin() != url.origin():
                if request.body is not None:
                    raise MetricError(f"{answer.url} redirects a body to another server, {shown(str(target))}")
                headers = CIMultiDict((k, v) for k, v in headers.items() if k.lower() in _HARMLESS)
            url = target
        raise MetricError(f"{shown(request.url)} redirects more than {_REDIRECTS} times")

    def _redirected(self, url: URL, location: str) -> URL:
        try:
            target = url.join(URL(location)).with_fragment(None)
        except ValueError:
            raise MetricError(f"{shown(str(url))} redirects to something that is no URL") from None
        if url.scheme == "https" and target.scheme != "https":
            raise MetricError(f"{shown(str(url))} redirects from https to {target.scheme}: not followed")
        return self._address(str(target)).with_user(None)

    def _address(self, text: str) -> URL:
        """The URL, if it is one that may be asked. Raises `MetricError`."""
        if len(text) > _LONGEST_URL:
            raise MetricError(f"the URL is longer than {_LONGEST_URL // 1024} KiB")
        try:
            url = URL(text.strip())
            usable = url.scheme in {"http", "https"} and bool(url.host) and url.port is not None
        except ValueError:
            usable = False
        if not usable:
            raise MetricError(f"{shown(text)!r} is no http or https URL")
        if not self._allow_metadata and is_metadata(url.host or ""):
            raise _refused(url.host or "")
        return url

    async def _exchange(self, request: Request, url: URL, headers: CIMultiDict[str]) -> Answer:
        """Request and answer, again at once if an idle connection had been closed meanwhile."""
        repeatable = request.repeatable or request.method == "GET"
        trace = SimpleNamespace(reused=False)
        try:
            try:
                return await self._once(request, url, headers, trace)
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
                if not (trace.reused and repeatable) or isinstance(error, aiohttp.ClientConnectorError):
                    raise
                return await self._once(request, url, headers, SimpleNamespace())
        except TimeoutError:
            raise
        except (aiohttp.ClientError, OSError, ValueError, UnicodeError) as error:
            raise self._failure(url, error) from None

    async def _once(self, request: Request, url: URL, headers: CIMultiDict[str], trace: SimpleNamespace) -> Answer:
        proxy = proxy_of(str(url), self._environ)
        if proxy and not proxy.lower().startswith(("http://", "https://")):
            raise MetricError(f"{shown(str(url))} can't be asked: the proxy of the environment is no HTTP proxy")
        response = await self._connected().request(
            request.method,
            url,
            headers=headers,
            data=request.body,
            allow_redirects=False,
            ssl=False if request.insecure else self._trust(),
            proxy=proxy,
            trace_request_ctx=trace,
        )
        where = shown(str(url))
        async with response:
            trace.reused = False  # from here on there is an answer: never ask twice
            body = await _read(response, bytearray(), LARGE)
            if len(body) > LARGE:
                body = await self._large(response, body, where)
            return Answer(response.status, response.headers, bytes(body), where)

    async def _large(self, response: aiohttp.ClientResponse, body: bytearray, where: str) -> bytearray:
        """All of a large answer, once there is room for it."""
        ours = await self._room.wait()
        try:
            async with asyncio.timeout(_LARGE_SECONDS):
                body = await _read(response, body, LARGEST_ANSWER)
        except TimeoutError:
            raise MetricError(
                f"the answer of {where} is large, and did not come in {_LARGE_SECONDS:g} seconds"
            ) from None
        finally:
            if ours:
                self._room.give_back()
        if len(body) > LARGEST_ANSWER:
            raise MetricError(f"the answer of {where} is larger than {LARGEST_ANSWER // 1024 // 1024} MiB")
        return body

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            noting = aiohttp.TraceConfig()
            noting.on_connection_reuseconn.append(_note_reuse)
            self._resolver = Resolver()
            connector = aiohttp.TCPConnector(
                limit=_CONNECTIONS,
                keepalive_timeout=_IDLE_SECONDS,
                resolver=self._resolver,
                socket_factory=None if self._allow_metadata else guarded_socket,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                read_bufsize=_BUFFER,
                trace_configs=[noting],
            )
        return self._session

    def _trust(self) -> ssl.SSLContext:
        """The machine's authorities, or those of $SSL_CERT_FILE and $SSL_CERT_DIR."""
        if self._verified is None:
            self._verified = ssl.create_default_context()
        return self._verified

    def _failure(self, url: URL, error: Exception) -> MetricError:
        where = shown(str(url))
        if REFUSAL in str(getattr(error, "os_error", error)):
            return _refused(url.host or "")
        match error:
            case aiohttp.ClientConnectorCertificateError():
                why = f"its certificate is not trusted: {error.certificate_error}"
            case aiohttp.ClientConnectorDNSError():
                why = "its name can't be resolved"
            case aiohttp.ClientConnectorError():
                why = str(error.os_error) or "the connection failed"
            case aiohttp.ServerDisconnectedError():
                why = "the server closed the connection without an answer"
            case aiohttp.ClientResponseError():
                why = f"its answer can't be read: {error.message}"
            case aiohttp.ClientPayloadError():
                why = "its answer ends half-way"
            case aiohttp.InvalidURL() | UnicodeError():
                why = "the URL can't be used"
            case _:
                why = str(error) if isinstance(error, OSError) else type(error).__name__
        return MetricError(f"no answer from {where}: {why}")


async def _read(response: aiohttp.ClientResponse, body: bytearray, most: int) -> bytearray:
    """What of the body comes until it is longer than ``most``."""
    while len(body) <= most and (chunk := await response.content.readany()):
        body += chunk
    return body


async def _note_reuse(_session: aiohttp.ClientSession, context: SimpleNamespace, _params: Any) -> None:
    context.trace_request_ctx.reused = True


def _headers(given: Sequence[tuple[str, str]], url: URL) -> CIMultiDict[str]:
    headers: CIMultiDict[str] = CIMultiDict({"User-Agent": "gitops-rollouts", "Accept": "*/*"})
    if url.user is not None:
        headers["Authorization"] = basic_auth(url.user, url.password or "")
    for key, value in given:
        if not _TOKEN.fullmatch(key):
            raise MetricError(f"{key[:60]!r} can't be the name of a header")
        if _CONTROL.search(value):
            raise MetricError(f"the value of the header {key} has a line break or another control character")
        if key.lower() not in _OURS:
            headers[key] = value
    return headers


def basic_auth(name: str, password: str) -> str:
    """The value of the header ``Authorization`` for a name and a password, or a token as the name."""
    encoded = base64.b64encode(f"{name}:{password}".encode(errors="replace")).decode()
    note_secret(password or name, encoded)
    return f"Basic {encoded}"


def _refused(host: str) -> MetricError:
    return MetricError(
        f"{host} {REFUSAL}: not asked",
        remedy="start the controller with --allow-metadata-addresses if metrics really are there",
    )


def shown(url: str) -> str:
    """A URL as messages may show it: without user info, query and fragment, which may hold a secret."""
    try:
        parts = URL(url.strip())
        if parts.scheme in {"http", "https"} and parts.host:
            port = "" if parts.explicit_port is None else f":{parts.explicit_port}"
            return f"{parts.scheme}://{parts.host_subcomponent}{port}{parts.path}"[:200]
    except ValueError:
        pass
    return re.split(r"[?#]", url, maxsplit=1)[0].rpartition("@")[2][:200]
