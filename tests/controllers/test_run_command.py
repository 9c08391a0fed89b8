"""``gor run`` as a process: ready, useful, gone in good order."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from controllers.running import Shown, rollout
from gitops_rollouts.api.names import LOCK_NAME
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import LEASES, ROLLOUTS
from waiting import eventually

pytestmark = pytest.mark.cluster


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@asynccontextmanager
async def _gor_run(*flags: str) -> AsyncIterator[asyncio.subprocess.Process]:
    argv = [sys.executable, "-m", "gitops_rollouts.cli.main", "run", *flags]
    environment = {k: v for k, v in os.environ.items() if k not in {"KUBECONFIG", "POD_NAMESPACE"}}
    process = await asyncio.create_subprocess_exec(*argv, stderr=asyncio.subprocess.PIPE, env=environment)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _answer(port: int, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as answer:
        return answer.status, await answer.text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_ready_then_ended_by_a_signal(
    kubeconfig: Path, client: Client, web: Shown, number: signal.Signals
) -> None:
    health, metrics = _free_port(), _free_port()
    flags = ["--kubeconfig", str(kubeconfig), "--namespace", web.namespace]
    ports = ["--healthz-port", str(health), "--metrics-port", str(metrics)]
    async with _gor_run(*flags, *ports, "--log-format", "json") as process:

        async def ready() -> bool:
            return (await _answer(health, "/readyz"))[0] == 200

        await eventually(ready, ignore=(aiohttp.ClientError,))
        assert await _answer(health, "/healthz") == (200, "ok")
        await client.create(ROLLOUTS, web.namespace, rollout())
        await web.phase("Healthy")
        _, text = await _answer(metrics, "/metrics")
        assert f'rollout_info_replicas_desired{{name="web",namespace="{web.namespace}"}} 4.0' in text
        assert "controller_clientset_k8s_request_total" in text
        assert 'workqueue_adds_total{name="Rollouts"}' in text
        lease = await client.get(LEASES, web.namespace, LOCK_NAME)
        assert lease["spec"]["holderIdentity"]
        process.send_signal(number)
        _, logged = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, logged.decode()
    assert b"Traceback" not in logged
    lease = await client.get(LEASES, web.namespace, LOCK_NAME)
    assert not lease["spec"].get("holderIdentity")


async def test_a_cluster_that_isnt_there_is_said_in_a_sentence(tmp_path: Path) -> None:
    async with _gor_run("--kubeconfig", str(tmp_path / "absent")) as process:
        _, logged = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode not in {0, None}
    assert b"There is no kubeconfig at" in logged
    assert b"Traceback" not in logged


async def test_a_port_that_is_taken_is_said_in_a_sentence(kubeconfig: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with _gor_run("--kubeconfig", str(kubeconfig), "--healthz-port", str(port)) as process:
            _, logged = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode not in {0, None}
    assert b"choose another port" in logged
