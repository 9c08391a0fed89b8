"""The controller of Experiments: from caches to a plan and its execution, one pass a key (docs/behaviour.md §19)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from gitops_rollouts.controllers.execute_experiments import Done, Emit, ExperimentExecutor, about
from gitops_rollouts.controllers.experiment_caches import ExperimentCaches
from gitops_rollouts.controllers.observe import Key, is_ours
from gitops_rollouts.controllers.passes import GUARD, Passes, Written
from gitops_rollouts.controllers.queue import DelayQueue
from gitops_rollouts.controllers.run_caches import LiveExperiment
from gitops_rollouts.engine.experiments.step import step
from gitops_rollouts.engine.plan import EmitEvent
from gitops_rollouts.errors import CreateRefused, KubeError, KubeUnreachable, NameTaken, RoutingError
from gitops_rollouts.telemetry import Metrics

WORKERS: Final = 8


class ExperimentController:
    """Runs the rules over every Experiment of this instance. Call `run` once the caches are in sync."""

    def __init__(
        self,
        caches: ExperimentCaches,
        executor: ExperimentExecutor,
        emit: Emit,
        clock: Callable[[], datetime],
        metrics: Metrics,
        queue: DelayQueue[Key],
        *,
        instance_id: str = "",
        workers: int = WORKERS,
        resync_seconds: float,
    ) -> None:
        self.queue = queue
        self._caches = caches
        self._executor = executor
        self._emit = emit
        self._clock = clock
        self._metrics = metrics
        self._instance_id = instance_id
        self._written = Written(caches.positions)
        self._taken_runs: dict[Key, set[str]] = {}
        self._uids: dict[Key, str] = {}
        self._passes = Passes(
            queue,
            self.reconcile,
            workers=workers,
            resync_seconds=resync_seconds,
            every=self._ours,
            failed=self._failed,
            timed=self._timed,
        )

    async def run(self) -> None:
        """Work until the queue is closed and the passes under way are over. Raises `LeadershipLost`."""
        await self._passes.run()

    async def reconcile(self, key: Key) -> timedelta | None:
        """One pass over one Experiment. Returns when to look again if nothing changes before."""
        live = self._caches.get(key)
        if live is None or not is_ours(live, self._instance_id):
            self._forget(key)
            return None
        if self._uids.get(key) != live.metadata.uid:
            # created anew between two passes: what is remembered is of the former one
            self._forget(key)
            self._uids[key] = live.metadata.uid
        if not self._written.caught_up(key):
            return GUARD
        return await self._pass(key, live)

    async def _pass(self, key: Key, live: LiveExperiment) -> timedelta | None:
        """Decide and do it. What can't be created is part of what is decided on, so it is decided anew then."""
        now = self._clock()
        observed = self._caches.observe(live, self._taken_runs.get(key, ()))
        done = Done()
        try:
            while True:
                plan = step(observed, now)
                try:
                    await self._executor.execute(live, plan, done)
                except CreateRefused as refused:
                    known = (refused.kind, refused.name)
                    if known in observed.refused:
                        raise
                    observed = replace(observed, refused={**observed.refused, known: refused.message})
                else:
                    return plan.look_again
        except NameTaken as taken:
            self._taken_runs.setdefault(key, set()).add(taken.name)
            raise
        finally:
            self._written.note(key, done.written)

    def _ours(self) -> Iterator[Key]:
        every = self._caches.runs.experiments.items()
        return (key for key, live in every if is_ours(live, self._instance_id))

    def _forget(self, key: Key) -> None:
        self.queue.forget(key)
        self._written.forget(key)
        self._taken_runs.pop(key, None)
        if self._uids.pop(key, None) is not None:
            self._metrics.run_over(*key, kind="experiment")

    def _timed(self, key: Key, seconds: float, failed: bool) -> None:
        live = self._caches.get(key)
        if live is None or key not in self._uids:
            return
        self._metrics.run_reconciled(*key, seconds, failed=failed, kind="experiment")
        if live.experiment.status.completed:
            self._metrics.run_over(*key, kind="experiment")

    def _failed(self, key: Key, error: KubeError | RoutingError) -> None:
        live = self._caches.get(key)
        if live is not None and not isinstance(error, KubeUnreachable):
            message = f"Reconciliation failed with error: {error.message}"
            self._emit(about(live), EmitEvent("ReconciliationError", message, "Warning"))
