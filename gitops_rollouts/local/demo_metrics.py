"""What the demo's shop tells of its requests: an exporter, and the Prometheus that scrapes it where that is installed.

Pods are played, so nobody asks them anything: requests are made up from the ReplicaSets that the cluster has. A version
whose tag says ``faulty`` answers three of ten with an error.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from gitops_rollouts.api.names import POD_TEMPLATE_HASH
from gitops_rollouts.errors import KubeError, LocalClusterError
from gitops_rollouts.local.api_server import ApiServer
from gitops_rollouts.local.ports import hold_port

REQUESTS_A_SECOND: Final = 50.0
"""Of each ready pod."""
FAULTY: Final = "faulty"
_SHARE_OF_ERRORS: Final = 0.3
_USUAL_SHARE: Final = 0.002
_LOOK_SECONDS: Final = 0.5
_WINDOW_SECONDS: Final = 10.0
_READY_SECONDS: Final = 30.0


class ShopMetrics:
    """Serves ``/metrics`` for Prometheus, and ``/error-rate?version=HASH`` as JSON for the web provider."""

    def __init__(self, api: ApiServer, namespace: str) -> None:
        self._path = f"/apis/apps/v1/namespaces/{namespace}/replicasets"
        self._api = api
        self._lock = threading.Lock()
        self._totals: dict[tuple[str, str], tuple[float, float]] = {}
        """Requests and errors since the start, by app and version."""
        self._past: list[tuple[float, dict[tuple[str, str], tuple[float, float]]]] = []
        self._stop = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._threads = [
            threading.Thread(target=each, daemon=True) for each in (self._server.serve_forever, self._count)
        ]

    @property
    def port(self) -> int:
        """The port on 127.0.0.1."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Serve and count until `close`."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End both."""
        self._stop.set()
        self._server.shutdown()
        self._server.server_close()

    def exposition(self) -> str:
        """All counters in Prometheus' text format."""
        lines = ["# TYPE http_requests_total counter"]
        with self._lock:
            totals = sorted(self._totals.items())
        for (app, version), (requests, errors) in totals:
            for code, value in (("200", requests - errors), ("500", errors)):
                labels = f'app="{app}",version="{version}",code="{code}"'
                lines.append(f"http_requests_total{{{labels}}} {value:.3f}")
        return "\n".join(lines) + "\n"

    def error_rate(self, app: str, version: str) -> float | None:
        """The share of errors in the last seconds; None: there was no request."""
        with self._lock:
            now = self._totals.get((app, version), (0.0, 0.0))
            before = self._past[0][1].get((app, version), (0.0, 0.0)) if self._past else (0.0, 0.0)
        requests = now[0] - before[0]
        return round((now[1] - before[1]) / requests, 4) if requests > 0 else None

    def _count(self) -> None:
        last = time.monotonic()
        while not self._stop.wait(_LOOK_SECONDS):
            now = time.monotonic()
            try:
                items = self._api.request("GET", self._path)["items"]
            except (KubeError, LocalClusterError, OSError):
                items = []
            with self._lock:
                self._past.append((now, dict(self._totals)))
                while now - self._past[0][0] > _WINDOW_SECONDS:
                    self._past.pop(0)
                for each in items:
                    self._add(each, now - last)
            last = now

    def _add(self, replica_set: dict[str, Any], seconds: float) -> None:
        labels = replica_set["metadata"].get("labels") or {}
        ready = (replica_set.get("status") or {}).get("readyReplicas") or 0
        image = str(replica_set["spec"]["template"]["spec"]["containers"][0]["image"])
        key = str(labels.get("app", "")), str(labels.get(POD_TEMPLATE_HASH, ""))
        if not all(key):
            return
        requests, errors = self._totals.get(key, (0.0, 0.0))
        more = ready * REQUESTS_A_SECOND * seconds
        share = _SHARE_OF_ERRORS if FAULTY in image.rpartition(":")[2] else _USUAL_SHARE
        self._totals[key] = requests + more, errors + more * share


def _handler(shop: ShopMetrics) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            asked = {key: values[0] for key, values in parse_qs(url.query).items()}
            if url.path == "/metrics":
                self._answer(200, "text/plain; version=0.0.4", shop.exposition())
            elif url.path == "/error-rate":
                rate = shop.error_rate(asked.get("app", ""), asked.get("version", ""))
                self._answer(200 if rate is not None else 404, "application/json", json.dumps({"rate": rate}))
            else:
                self._answer(404, "text/plain", "")

        def _answer(self, status: int, kind: str, text: str) -> None:
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    return Handler


def has_prometheus() -> bool:
    """Whether a Prometheus is installed on this machine."""
    return shutil.which("prometheus") is not None


class PrometheusChild:
    """A Prometheus that scrapes the shop every second. Its data and log are in ``folder``."""

    def __init__(self, folder: Path, target_port: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        with hold_port() as holder:
            port = holder.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.log = folder / "prometheus.log"
        config = folder / "prometheus.yml"
        scrape = {"job_name": "shop", "static_configs": [{"targets": [f"127.0.0.1:{target_port}"]}]}
        intervals = {"scrape_interval": "1s", "scrape_timeout": "1s"}
        config.write_text(json.dumps({"global": intervals, "scrape_configs": [scrape]}))
        tied = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    *tied, "prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn",
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def wait(self, wait: Callable[[Callable[[], object], str, float], None]) -> None:
        """Wait until it answers, as the demo waits."""
        wait(self._answers, f"Prometheus to answer (its log: {self.log})", _READY_SECONDS)

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _answers(self) -> bool:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"{self.url}/-/ready", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False
