"""A little HTTP server whose answers are metrics, and AnalysisRuns that ask it."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from gitops_rollouts.api.analysis import COMPLETED
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import ANALYSIS_RUNS, EVENTS
from http_server import Reply, Seen, serving
from waiting import eventually

Raw = dict[str, Any]


@dataclass
class MetricSite:
    """``/value/N`` answers ``{"value": N}``, ``/status/N`` with that status, ``/token`` with the token that it got."""

    url: str = ""
    asked: Counter[str] = field(default_factory=Counter)

    def answer(self, request: Seen) -> Reply:
        self.asked[request.query.get("run", "")] += 1
        what, _, value = request.path.lstrip("/").partition("/")
        if what == "status":
            return Reply(status=int(value))
        if what == "token":
            return Reply.of({"value": request.headers.get("X-Token")})
        return Reply.of({"value": float(value)})

    def metric(self, run: str, path: str = "value/1", *, name: str = "m", **spec: Any) -> Raw:
        """A metric of the run ``run``; keys as in the API."""
        provider = {"web": {"url": f"{self.url}/{path}?run={run}", "jsonPath": "{$.value}"}}
        return {"name": name, "provider": provider, **spec}


@asynccontextmanager
async def metric_site() -> AsyncIterator[MetricSite]:
    """A server on the loopback address for as long as the context lasts."""
    site = MetricSite()
    async with serving(site.answer) as server:
        site.url = server.url
        yield site


@dataclass
class ShownRun:
    """AnalysisRuns as people see them."""

    client: Client
    namespace: str

    async def create(self, name: str, *metrics: Raw, labels: dict[str, str] | None = None, **spec: Any) -> None:
        meta = {"name": name, "labels": labels or {}}
        body = {"apiVersion": ANALYSIS_RUNS.api_version, "kind": "AnalysisRun", "metadata": meta}
        await self.client.create(ANALYSIS_RUNS, self.namespace, {**body, "spec": {"metrics": list(metrics), **spec}})

    async def status(self, name: str) -> Raw:
        found: Raw = (await self.client.get(ANALYSIS_RUNS, self.namespace, name)).get("status") or {}
        return found

    async def ended(self, name: str, phase: str) -> Raw:
        """Wait for the end; its status."""

        async def over() -> Raw | None:
            status = await self.status(name)
            return status if status.get("phase") in COMPLETED else None

        status = await eventually(over, deadline=60, what=f"the end of {name}")
        assert status is not None
        assert status["phase"] == phase, status
        return status

    async def measured(self, name: str, count: int) -> Raw:
        """Wait for so many measurements of its first metric; the metric's result."""

        async def there() -> Raw | None:
            results: list[Raw] = (await self.status(name)).get("metricResults") or []
            return results[0] if results and results[0].get("count", 0) >= count else None

        found = await eventually(there, deadline=60, what=f"{count} measurements of {name}")
        assert found is not None
        return found

    async def end(self, name: str) -> None:
        """As `kubectl argo rollouts terminate analysisrun`."""
        await self.client.patch(ANALYSIS_RUNS, self.namespace, name, {"spec": {"terminate": True}})

    async def events(self, name: str) -> list[str]:
        """Types and reasons of the run's events, oldest first."""
        found = [e for e in await self.client.list(EVENTS, self.namespace) if e["involvedObject"]["name"] == name]
        found.sort(key=lambda event: int(event["metadata"]["resourceVersion"]))
        return [f"{event['type'][0]} {event['reason']}" for event in found]
