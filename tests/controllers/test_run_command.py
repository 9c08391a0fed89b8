"""``gor run`` as a process: ready, useful, gone in good order."""

from __future__ import annotations

import asyncio
import signal
import socket
from pathlib import Path

import aiohttp
import pytest

from controllers.child import answer, free_port, gor_run
from controllers.running import Shown, rollout
from gitops_rollouts.api.names import LOCK_NAME
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import LEASES, ROLLOUTS
from waiting import eventually

pytestmark = pytest.mark.cluster


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_ready_then_ended_by_a_signal(
    kubeconfig: Path, client: Client, web: Shown, number: signal.Signals
) -> None:
    health, metrics = free_port(), free_port()
    flags = ["--kubeconfig", str(kubeconfig), "--namespace", web.namespace]
    ports = ["--healthz-port", str(health), "--metrics-port", str(metrics)]
    async with gor_run(*flags, *ports, "--log-format", "json") as process:

        async def ready() -> bool:
            return (await answer(health, "/readyz"))[0] == 200

        await eventually(ready, ignore=(aiohttp.ClientError,))
        assert await answer(health, "/healthz") == (200, "ok")
        await client.create(ROLLOUTS, web.namespace, rollout())
        await web.phase("Healthy")
        _, text = await answer(metrics, "/metrics")
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
    async with gor_run("--kubeconfig", str(tmp_path / "absent")) as process:
        _, logged = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode not in {0, None}
    assert b"There is no kubeconfig at" in logged
    assert b"Traceback" not in logged


async def test_a_port_that_is_taken_is_said_in_a_sentence(kubeconfig: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with gor_run("--kubeconfig", str(kubeconfig), "--healthz-port", str(port)) as process:
            _, logged = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode not in {0, None}
    assert b"choose another port" in logged
