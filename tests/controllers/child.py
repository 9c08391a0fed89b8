"""``gor run`` as a process of its own."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from waiting import eventually


def free_port() -> int:
    """One that nobody listens at now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


async def answer(port: int, path: str) -> tuple[int, str]:
    """Status and body of a GET."""
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as got:
        return got.status, await got.text()


@asynccontextmanager
async def gor_run(*flags: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process with these flags; killed at the end if it still runs."""
    argv = [sys.executable, "-m", "gitops_rollouts.cli.main", "run", *flags]
    environment = {k: v for k, v in os.environ.items() if k not in {"KUBECONFIG", "POD_NAMESPACE"}}
    process = await asyncio.create_subprocess_exec(*argv, stderr=asyncio.subprocess.PIPE, env=environment)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@dataclass
class Child:
    """A ``gor run`` that answers health and metrics, and what it logged."""

    process: asyncio.subprocess.Process
    health: int
    metrics: int
    log: list[str]

    async def ready(self) -> None:
        """Wait until it works, or waits for the Lease."""

        async def so() -> bool:
            assert self.process.returncode is None, "\n".join(self.log)
            return (await answer(self.health, "/readyz"))[0] == 200

        await eventually(so, deadline=60, ignore=(aiohttp.ClientError,))

    async def ended(self) -> int:
        """Wait for its end; its exit code."""
        return await asyncio.wait_for(self.process.wait(), 60)

    async def metric(self, series: str) -> float | None:
        """The value of one series as it is served, None if it isn't there."""
        _, text = await answer(self.metrics, "/metrics")
        found = [line for line in text.splitlines() if line.startswith(f"{series} ")]
        return float(found[0].rpartition(" ")[2]) if found else None


@asynccontextmanager
async def child(kubeconfig: Path, namespace: str, *flags: str) -> AsyncIterator[Child]:
    """A ready ``gor run`` over one namespace."""
    health, metrics = free_port(), free_port()
    ports = ("--healthz-port", str(health), "--metrics-port", str(metrics))
    where = ("--kubeconfig", str(kubeconfig), "--namespace", namespace, "--log-format", "json")
    async with gor_run(*where, *ports, *flags) as process:
        log: list[str] = []
        reading = asyncio.create_task(_read(process, log))
        one = Child(process, health, metrics, log)
        await one.ready()
        yield one
    await asyncio.wait_for(reading, 10)


async def _read(process: asyncio.subprocess.Process, log: list[str]) -> None:
    assert process.stderr is not None
    async for line in process.stderr:
        log.append(line.decode(errors="replace").rstrip())  # noqa: PERF401 it is read while it grows
