"""Health and metrics over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from gitops_rollouts.errors import ConfigError
from gitops_rollouts.telemetry import Metrics, RolloutFacts
from gitops_rollouts.web.endpoints import health_app, metrics_app
from gitops_rollouts.web.server import WebServer


@asynccontextmanager
async def _serving(app: Any) -> AsyncIterator[WebServer]:
    server = WebServer(app, "127.0.0.1", 0)
    task = asyncio.create_task(server.run())
    try:
        yield server
    finally:
        server.stop()
        await asyncio.wait_for(task, 30)


async def _get(server: WebServer, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{server.port}{path}") as answer:
        return answer.status, await answer.text()


async def test_health_and_readiness() -> None:
    why = "the caches are not in sync yet"
    async with _serving(health_app(lambda: why)) as server:
        assert await _get(server, "/healthz") == (200, "ok")
        assert await _get(server, "/readyz") == (503, why)
        why = ""
        assert await _get(server, "/readyz") == (200, "ok")
        assert (await _get(server, "/metrics"))[0] == 404


async def test_metrics() -> None:
    metrics = Metrics("1.2.3")
    metrics.rollout("shop", "web", RolloutFacts("canary", "Paused", desired=5))
    async with _serving(metrics_app(metrics.text)) as server:
        status, text = await _get(server, "/metrics")
    assert status == 200
    assert 'argo_rollouts_controller_info{version="1.2.3"} 1.0' in text
    assert 'rollout_info_replicas_desired{name="web",namespace="shop"} 5.0' in text
    assert "process_resident_memory_bytes" in text


async def test_a_port_that_is_taken_is_a_config_error() -> None:
    async with _serving(health_app(str)) as server:
        with pytest.raises(ConfigError, match=str(server.port)):
            WebServer(health_app(str), "127.0.0.1", server.port)
