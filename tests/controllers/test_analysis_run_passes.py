"""How often a run is looked at (docs/behaviour.md §17.3)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from engine.lab import metric
from gitops_rollouts.api.meta import Raw
from gitops_rollouts.controllers.analysis_run import AnalysisRunController
from gitops_rollouts.controllers.measurements import MeasurementCalls
from gitops_rollouts.controllers.queue import DelayQueue
from gitops_rollouts.controllers.run_caches import project_run
from gitops_rollouts.kube.lease import NoElection
from gitops_rollouts.telemetry import Metrics

KEY = ("ns", "run")


class _Cache:
    """The run as the API server has it, seen at once; also what writes it."""

    def __init__(self, metrics: int) -> None:
        spec = {"metrics": [metric(f"m{index}", interval="1s") for index in range(metrics)]}
        self.raw: Raw = {
            "metadata": {"name": "run", "namespace": "ns", "uid": "u", "resourceVersion": "1"},
            "spec": spec,
        }
        self.runs = self
        self.position = 1
        self.patches = 0

    def get(self, *_key: str) -> Any:
        return project_run(self.raw)

    def on_change(self, _told: Any) -> None:
        """Nobody but the test changes it."""

    async def patch(self, _resource: Any, _namespace: str, _name: str, body: Raw) -> Raw:
        self.patches += 1
        self.raw = {**self.raw, "status": {**self.raw.get("status", {}), **body["status"]}}
        return self.raw


class _Silent:
    """Servers that never answer."""

    def of(self, _metric: Any) -> Any:
        raise AssertionError("no measurement gets its turn")


def _controller(cache: _Cache) -> AnalysisRunController:
    calls = MeasurementCalls(_Silent(), lambda _key: None, _now, NoElection(), at_once=0)
    queue: DelayQueue[tuple[str, str]] = DelayQueue("AnalysisRuns")
    anything = cast("Any", cache)
    return AnalysisRunController(
        anything,
        anything,
        NoElection(),
        calls,
        anything,
        lambda *_: None,
        _now,
        Metrics("1"),
        queue,
        resync_seconds=900,
    )


def _now() -> datetime:
    return datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(("metrics", "pause"), [(5, 0.0), (200, 1.0), (1200, 5.0)])
async def test_a_run_of_many_metrics_is_not_looked_at_all_the_time(
    monkeypatch: pytest.MonkeyPatch, metrics: int, pause: float
) -> None:
    """Hundreds of metrics that are answered one after the other would keep the process busy with one run."""
    time = 100.0
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: time)
    cache = _Cache(metrics)
    controller = _controller(cache)
    await controller.reconcile(KEY)
    assert cache.patches == 1
    cache.raw = {**cache.raw, "spec": {**cache.raw["spec"], "terminate": True}}
    if pause:
        assert await controller.reconcile(KEY) == timedelta(seconds=pause)
        assert (cache.raw["status"]["phase"], cache.patches) == ("Running", 1)
    time += pause
    await controller.reconcile(KEY)
    assert (cache.raw["status"]["phase"], cache.patches) == ("Successful", 2)
