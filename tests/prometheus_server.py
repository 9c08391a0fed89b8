"""A real Prometheus of a test, scraping an exporter of the test. Skips by name where Prometheus isn't installed.

    with prometheus(tmp_path) as server:
        server.set('errors_total{app="web"}', 3)
        server.shows('errors_total{app="web"}', 3)

Take the fixture ``prometheus_server`` by importing it in a ``conftest.py``.
"""

from __future__ import annotations

import base64
import json
import shutil
import ssl
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from gitops_rollouts.local.ports import hold_port
from tied import tied
from waiting import wait_for

USER, PASSWORD = "gor", "let-me-in"
_PASSWORD_BCRYPT = "$2b$04$abcdefghijklmnopqrstuudxA/1BY5FxPYA69jUrJOJFmTyoe9T1a"


class _Page(BaseHTTPRequestHandler):
    """What is exposed now, in Prometheus' text format."""

    def do_GET(self) -> None:
        exporter = self.server
        assert isinstance(exporter, _Exporter)
        body = "".join(f"{series} {value}\n" for series, value in exporter.values.copy().items()).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


class _Exporter(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Page)
        self.values: dict[str, float] = {}


@dataclass
class PrometheusServer:
    """A running one. ``url``: its address; it scrapes every half second."""

    url: str
    exporter: _Exporter
    headers: dict[str, str] = field(default_factory=dict)
    trust: ssl.SSLContext | None = None

    def set(self, series: str, value: float) -> None:
        """Expose a value of a series, such as ``errors{app="web"}``, from the next scrape on."""
        self.exporter.values[series] = value

    def remove(self, series: str) -> None:
        """Expose a series no more."""
        self.exporter.values.pop(series, None)

    def query(self, query: str) -> Any:
        """``data`` of an instant query, by a client of the test's own."""
        return self._get(f"/api/v1/query?{urlencode({'query': query})}")["data"]

    def shows(self, query: str, value: float, deadline: float = 30) -> None:
        """Wait until the query has one result of this value."""

        def found() -> bool:
            result = self.query(query)["result"]
            return len(result) == 1 and float(result[0]["value"][1]) == value

        wait_for(found, deadline, what=f"{query} to be {value}", ignore=(urllib.error.URLError, OSError))

    def ready(self) -> bool:
        """Whether it answers queries."""
        try:
            return self._get("/api/v1/query?query=1")["status"] == "success"
        except (urllib.error.URLError, OSError, ValueError):
            return False

    def _get(self, path: str) -> Any:
        request = urllib.request.Request(self.url + path, headers=self.headers)  # noqa: S310  its own address
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self.trust)
        )
        with opener.open(request, timeout=10) as answer:
            return json.load(answer)


@contextmanager
def prometheus(folder: Path, *, certificate: tuple[Path, Path] | None = None) -> Iterator[PrometheusServer]:
    """Run one in this folder. ``certificate``: file and key; it then serves TLS alone and asks for `USER`."""
    if shutil.which("prometheus") is None:
        pytest.skip("the Debian package prometheus is not installed")
    exporter = _Exporter()
    threading.Thread(target=exporter.serve_forever, daemon=True).start()
    with hold_port() as holder:
        port = holder.getsockname()[1]
    process = _start(folder, port, exporter.server_address[1], certificate)
    server = PrometheusServer(f"{'https' if certificate else 'http'}://127.0.0.1:{port}", exporter)
    if certificate:
        server.trust = ssl.create_default_context(cafile=str(certificate[0]))
        identity = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        server.headers["Authorization"] = f"Basic {identity}"

    def up() -> bool:
        assert process.poll() is None, f"Prometheus ended: {(folder / 'prometheus.log').read_text()[-2000:]}"
        return server.ready()

    try:
        wait_for(up, deadline=60, what="Prometheus to be ready")
        yield server
    finally:
        process.kill()
        process.wait()
        exporter.shutdown()
        exporter.server_close()


def _start(
    folder: Path, port: int, exporter_port: int, certificate: tuple[Path, Path] | None
) -> subprocess.Popen[bytes]:
    config = {
        "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms"},
        "scrape_configs": [{"job_name": "test", "static_configs": [{"targets": [f"127.0.0.1:{exporter_port}"]}]}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))
    arguments = [
        "prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn",
    ]  # fmt: skip
    if certificate:
        file, key = certificate
        web = {
            "tls_server_config": {"cert_file": str(file), "key_file": str(key)},
            "basic_auth_users": {USER: _PASSWORD_BCRYPT},
        }
        (folder / "web.yml").write_text(json.dumps(web))
        arguments.append(f"--web.config.file={folder / 'web.yml'}")
    with (folder / "prometheus.log").open("wb") as log:
        return subprocess.Popen([*tied(), *arguments], stdout=log, stderr=log, cwd=folder)


@pytest.fixture(scope="session")
def prometheus_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    """One of this worker process, shared by its tests: let each use series of its own."""
    with prometheus(tmp_path_factory.mktemp("prometheus")) as server:
        yield server
