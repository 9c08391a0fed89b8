"""A real HTTP server of a test, for providers of metrics: it answers as the test says and keeps what it was asked."""

from __future__ import annotations

import asyncio
import json
import shutil
import ssl
import subprocess
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from aiohttp import web


@dataclass(frozen=True)
class Seen:
    """A request that the server got."""

    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: bytes
    target: str = ""
    """Path and query as they were sent, nothing decoded."""

    @property
    def form(self) -> dict[str, str]:
        """A body of ``application/x-www-form-urlencoded``."""
        return dict(parse_qsl(self.body.decode(), keep_blank_values=True))

    @property
    def json(self) -> Any:
        """A JSON body."""
        return json.loads(self.body)


@dataclass
class Reply:
    """An answer. ``after``: seconds to wait first; ``cut``: close the connection half-way through the body."""

    body: bytes | str = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    after: float = 0
    cut: bool = False

    @classmethod
    def of(cls, value: Any, status: int = 200) -> Reply:
        """An answer of JSON."""
        return cls(json.dumps(value), status, {"Content-Type": "application/json"})


Handler = Callable[[Seen], Reply | Awaitable[Reply]]


@dataclass
class HttpServer:
    """A running one. ``seen``: what it was asked, oldest first; ``answer`` may be replaced at any time."""

    url: str
    answer: Handler
    seen: list[Seen] = field(default_factory=list)
    connections: set[int] = field(default_factory=set)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        seen = Seen(
            request.method, request.path, dict(request.query), request.headers, await request.read(), request.raw_path
        )
        self.seen.append(seen)
        self.connections.add(id(request.transport))
        given = self.answer(seen)
        reply = given if isinstance(given, Reply) else await given
        await asyncio.sleep(reply.after)
        body = reply.body.encode() if isinstance(reply.body, str) else reply.body
        if reply.cut:
            response = web.StreamResponse(status=reply.status, headers={"Content-Length": str(len(body) + 10)})
            await response.prepare(request)
            await response.write(body)
            assert request.transport is not None
            request.transport.close()
            return response
        return web.Response(body=body, status=reply.status, headers=reply.headers)


@dataclass(frozen=True)
class Certificate:
    """A self-signed certificate for 127.0.0.1 and localhost."""

    file: Path
    key: Path

    @property
    def context(self) -> ssl.SSLContext:
        """For a server."""
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(self.file, self.key)
        return made


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """One that nobody trusts unless told to, as by $SSL_CERT_FILE."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("certificate")
    made = Certificate(folder / "tls.crt", folder / "tls.key")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-keyout", str(made.key), "-out", str(made.file), "-days", "2", "-subj", "/CN=test",
         "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"],
        check=True, capture_output=True,
    )  # fmt: skip
    return made


@asynccontextmanager
async def serving(answer: Handler, certificate: Certificate | None = None) -> AsyncIterator[HttpServer]:
    """A server on a free port of 127.0.0.1, with TLS if there is a certificate."""
    server = HttpServer("", answer)
    runner = web.ServerRunner(web.Server(server.handle), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=certificate.context if certificate else None)
    await site.start()
    host, port = runner.addresses[0][:2]
    server.url = f"{'https' if certificate else 'http'}://{host}:{port}"
    try:
        yield server
    finally:
        await runner.cleanup()


@contextmanager
def serving_in_thread(answer: Handler, certificate: Certificate | None = None) -> Iterator[HttpServer]:
    """The same for a test that blocks: ``answer`` is called in a thread of the server's."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    served = serving(answer, certificate)
    try:
        yield asyncio.run_coroutine_threadsafe(served.__aenter__(), loop).result(10)
    finally:
        asyncio.run_coroutine_threadsafe(served.__aexit__(None, None, None), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
