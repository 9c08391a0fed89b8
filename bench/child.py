"""``gor run`` as a child process, and what it costs: CPU, peak memory, requests to the API server."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from gitops_rollouts.errors import LocalClusterError

START_SECONDS = 60
STOP_SECONDS = 30
_REQUESTS = "controller_clientset_k8s_request_total"


@dataclass(frozen=True)
class Cost:
    """What a process has used since it started. ``requests``: to the API server, by (verb, kind)."""

    cpu_seconds: float
    peak_bytes: int
    requests: Counter[tuple[str, str]]

    def since(self, earlier: Cost) -> Cost:
        """The difference; the peak is that of the whole life."""
        return Cost(self.cpu_seconds - earlier.cpu_seconds, self.peak_bytes, self.requests - earlier.requests)

    def by_verb(self) -> Counter[str]:
        """Requests by verb. A watch counts once for each time that it was opened."""
        verbs: Counter[str] = Counter()
        for (verb, _kind), count in self.requests.items():
            verbs[verb] += count
        return verbs


class GorRun:
    """A running ``gor run``, its metrics and health endpoints on two ports of this machine."""

    def __init__(self, process: asyncio.subprocess.Process, metrics_port: int, healthz_port: int, log: Path) -> None:
        self._process = process
        self._metrics_port = metrics_port
        self._healthz_port = healthz_port
        self._log = log

    async def cost(self) -> Cost:
        """What it has used up to now, its own children (git, kubectl) included once they have ended."""
        return Cost(*_cpu_and_peak(self._process.pid), await self._requests())

    async def wait_ready(self) -> None:
        """Return when ``/readyz`` says 200. Raises `LocalClusterError` if the process ends or takes too long."""
        deadline = asyncio.get_running_loop().time() + START_SECONDS
        while True:
            if self._process.returncode is not None or asyncio.get_running_loop().time() > deadline:
                end = self._log.read_text(errors="replace")[-2000:]
                raise LocalClusterError(f"gor run didn't get ready: {end}")
            try:
                if await _get(self._healthz_port, "/readyz"):
                    return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.05)

    async def stop(self) -> None:
        """Ask it to end, and wait; kill it if it doesn't."""
        if self._process.returncode is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def _requests(self) -> Counter[tuple[str, str]]:
        found: Counter[tuple[str, str]] = Counter()
        for family in text_string_to_metric_families(await _get(self._metrics_port, "/metrics")):
            for sample in family.samples:
                if sample.name == _REQUESTS:
                    found[sample.labels["verb"], sample.labels["kind"]] += int(sample.value)
        return found


@asynccontextmanager
async def gor_run(kubeconfig: Path, folder: Path, *flags: str) -> AsyncIterator[GorRun]:
    """Start ``gor run`` against a cluster, with its log in ``folder``; it ends with the block."""
    metrics_port, healthz_port = _free_port(), _free_port()
    log = folder / "gor-run.log"
    command: Sequence[str] = [
        sys.executable, "-m", "gitops_rollouts.cli.main", "run",
        "--kubeconfig", str(kubeconfig),
        "--metrics-port", str(metrics_port), "--healthz-port", str(healthz_port), *flags,
    ]  # fmt: skip
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(*command, stdout=output, stderr=output)
    running = GorRun(process, metrics_port, healthz_port, log)
    try:
        await running.wait_ready()
        yield running
    finally:
        await running.stop()


async def _get(port: int, path: str) -> str:
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session,
        session.get(f"http://127.0.0.1:{port}{path}") as response,
    ):
        return await response.text() if response.status == 200 else ""


def _cpu_and_peak(pid: int) -> tuple[float, int]:
    """Seconds in user and kernel mode, ended children included; the largest resident size in bytes."""
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = sum(int(field) for field in stat[11:15])
    status = Path(f"/proc/{pid}/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    return ticks / os.sysconf("SC_CLK_TCK"), peak * 1024


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
