"""All that AnalysisRuns need on the replica that leads: providers, their calls, the controller, the watch of Jobs."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any

from prometheus_client.registry import Collector

from gitops_rollouts.analysis.registry import Providers, context
from gitops_rollouts.controllers.analysis_run import ANSWERS_SECONDS, AnalysisRunController
from gitops_rollouts.controllers.facts import facts_of_experiments, facts_of_runs, facts_of_templates
from gitops_rollouts.controllers.measurements import MeasurementCalls
from gitops_rollouts.controllers.metric_jobs import MetricJobs
from gitops_rollouts.controllers.passes import Key
from gitops_rollouts.controllers.queue import DelayQueue
from gitops_rollouts.controllers.run_caches import RunCaches
from gitops_rollouts.engine.plan import EmitEvent
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.events import About
from gitops_rollouts.kube.lease import Fence
from gitops_rollouts.plugins.pool import Plugins
from gitops_rollouts.telemetry import Metrics


class Analyses:
    """``namespace``: the one that this process works in, None: all. ``own_namespace``: where its own Secrets are.

    ``allow_metadata``: metrics may be asked of link-local and cloud metadata addresses (docs/behaviour.md §18).
    """

    def __init__(
        self,
        client: Client,
        caches: RunCaches,
        fence: Fence,
        plugins: Plugins,
        emit: Callable[[About, EmitEvent], None],
        clock: Callable[[], datetime],
        metrics: Metrics,
        *,
        namespace: str | None,
        own_namespace: str,
        allow_metadata: bool,
        instance_id: str,
        resync_seconds: float,
    ) -> None:
        self.queue: DelayQueue[Key] = DelayQueue("AnalysisRuns", metrics=metrics)
        given = context(client, plugins, namespace=own_namespace, allow_metadata=allow_metadata)
        self._providers = Providers(given)
        self._calls = MeasurementCalls(
            self._providers, lambda key: self.queue.add_after(key, ANSWERS_SECONDS), clock, fence
        )
        self._jobs = MetricJobs(given.jobs, namespace, self._look_at)
        self._controller = AnalysisRunController(
            client,
            caches,
            fence,
            self._calls,
            given.secrets,
            emit,
            clock,
            metrics,
            self.queue,
            jobs=self._jobs,
            instance_id=instance_id,
            resync_seconds=resync_seconds,
        )
        self._metrics = metrics
        self._series: Collector | None = metrics.watch_runs(
            lambda: facts_of_runs(caches), lambda: facts_of_templates(caches), lambda: facts_of_experiments(caches)
        )

    def _look_at(self, uid: str) -> None:
        self._controller.look_at(uid)

    def watches(self) -> dict[str, Coroutine[Any, Any, None]]:
        """What has to run from the start, by name; nobody waits for it."""
        return {"watch of metrics' jobs": self._jobs.run()}

    async def run(self) -> None:
        """Work until the queue is closed and the passes under way are over. Raises `LeadershipLost`."""
        await self._controller.run()

    async def close(self) -> None:
        """End the calls and their connections. May be called again."""
        await self._calls.close()
        await self._providers.close()
        if self._series is not None:
            self._metrics.unwatch_runs(self._series)
            self._series = None
