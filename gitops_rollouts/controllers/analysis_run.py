"""AnalysisRuns: a key → what is known → `engine.analysis.step` → status, calls, events → when to look again.

A run that is over costs nothing but its place in the cache; only one with a time to live is looked at once more.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, Protocol

import structlog

from gitops_rollouts.analysis.hiding import Hider
from gitops_rollouts.analysis.provider import Order
from gitops_rollouts.analysis.secrets import Secrets
from gitops_rollouts.api.analysis import AnalysisRun, Metric, RunStatus
from gitops_rollouts.api.meta import Raw, encode
from gitops_rollouts.api.names import ARGO_API_VERSION
from gitops_rollouts.api.status import status_patch
from gitops_rollouts.controllers.execute_runs import act_on_run
from gitops_rollouts.controllers.measurements import MeasurementCalls, Task, taken_of
from gitops_rollouts.controllers.observe import is_ours
from gitops_rollouts.controllers.passes import GUARD, Key, Passes, Written
from gitops_rollouts.controllers.prepared_runs import (
    UNRESOLVED,
    Prepared,
    SecretValues,
    prepare,
    read_secrets,
    with_secrets,
)
from gitops_rollouts.controllers.queue import DelayQueue
from gitops_rollouts.controllers.run_caches import LiveRun, RunCaches
from gitops_rollouts.engine.analysis.observed import Call, CollectGarbage, GiveUp, ObservedRun, RunPlan
from gitops_rollouts.engine.analysis.step import step_run
from gitops_rollouts.engine.plan import DeleteRun, EmitEvent
from gitops_rollouts.errors import KubeError, RoutingError, TemplateError
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.events import About
from gitops_rollouts.kube.lease import Fence
from gitops_rollouts.kube.resources import ANALYSIS_RUNS
from gitops_rollouts.telemetry import Metrics

RUN_WORKERS: Final = 32
"""Most of a pass is one request to the API server, whose time under load then limits how many runs are served."""
ANSWERS_SECONDS: Final = 0.05
"""Metrics of one run are often answered together: one status write tells of all."""
_FEW_METRICS: Final = 20
_SECONDS_A_METRIC: Final = 0.005
"""A pass costs by the metrics that a run has: one with very many is looked at that much less often."""
_LONGEST_PAUSE: Final = 5.0

log = structlog.get_logger(__name__)


class JobsSeen(Protocol):
    """What a watch of metrics' Jobs knows."""

    def over(self, run: AnalysisRun) -> frozenset[str]:
        """The metrics of a run whose Job has ended or is gone."""
        ...


class AnalysisRunController:
    """Runs every AnalysisRun of this instance. Call `run` once the caches are in sync."""

    def __init__(
        self,
        client: Client,
        caches: RunCaches,
        fence: Fence,
        calls: MeasurementCalls,
        secrets: Secrets,
        emit: Callable[[About, EmitEvent], None],
        clock: Callable[[], datetime],
        metrics: Metrics,
        queue: DelayQueue[Key],
        *,
        jobs: JobsSeen | None = None,
        instance_id: str = "",
        workers: int = RUN_WORKERS,
        resync_seconds: float,
    ) -> None:
        self.queue = queue
        self._client = client
        self._runs = caches.runs
        self._fence = fence
        self._calls = calls
        self._secrets = secrets
        self._emit = emit
        self._clock = clock
        self._metrics = metrics
        self._instance_id = instance_id
        self._jobs = jobs
        self._prepared: dict[str, Prepared] = {}
        self._keys: dict[str, Key] = {}
        """Of the runs that aren't over, by uid."""
        self._last: dict[str, float] = {}
        """When a run of many metrics was looked at last, on the loop's clock, by uid."""
        self._written = Written(lambda: {ANALYSIS_RUNS: self._runs.position})
        self._passes = Passes(
            queue,
            self.reconcile,
            workers=workers,
            resync_seconds=resync_seconds,
            every=self._unfinished,
            failed=self._failed,
            timed=self._timed,
        )
        self._runs.on_change(self._changed)

    async def run(self) -> None:
        """Work until the queue is closed and the passes under way are over. Raises `LeadershipLost`."""
        await self._passes.run()

    def _changed(self, key: Key, old: LiveRun | None, new: LiveRun | None) -> None:
        """A run appeared, changed or went; what is over and stays needs no pass."""
        if old is not None and (new is None or new.metadata.uid != old.metadata.uid):
            self._forget(key, old.metadata.uid)
        if new is None:
            return
        if new.run.status.completed and new.run.spec.ttl_strategy is None:
            self._forget(key, new.metadata.uid)
        elif is_ours(new, self._instance_id):
            self._keys[new.metadata.uid] = key
            self.queue.add(key)

    def look_at(self, uid: str) -> None:
        """Something that a measurement of this run waits for has happened."""
        if uid in self._keys:
            self.queue.add(self._keys[uid])

    def _unfinished(self) -> Iterator[Key]:
        """The runs that are looked at once in a while though nothing changed."""
        for key, live in self._runs.items():
            over = live.run.status.completed and live.run.spec.ttl_strategy is None
            if not over and is_ours(live, self._instance_id):
                yield key

    def _forget(self, key: Key, uid: str) -> None:
        if self._keys.pop(uid, None) is None:
            # over before we saw it: there is nothing of it
            return
        self.queue.forget(key)
        self._written.forget(key)
        self._prepared.pop(uid, None)
        self._last.pop(uid, None)
        self._calls.forget(uid)
        self._metrics.run_over(*key)

    async def reconcile(self, key: Key) -> timedelta | None:
        """One pass over one run. Returns when to look again if nothing changes before."""
        live = self._runs.get(*key)
        if live is None:
            return None
        if not is_ours(live, self._instance_id):
            self._forget(key, live.metadata.uid)
            return None
        if not self._written.caught_up(key):
            return GUARD
        pause = self._pause(live)
        if pause > 0:
            return timedelta(seconds=pause)
        uid = live.metadata.uid
        if live.run.status.completed or live.metadata.deletion_timestamp is not None:
            self._prepared.pop(uid, None)
            self._calls.forget(uid)
            prepared = Prepared(live.spec)
        else:
            prepared = self._prepare(live)
        observed = ObservedRun(
            live.run,
            prepared.metrics,
            prepared.problem,
            prepared.dry,
            prepared.retention,
            self._calls.answers(uid, live.run.status),
            self._calls.busy(uid),
            self._jobs.over(live.run) if self._jobs is not None else frozenset(),
        )
        plan, secrets = await self._decide(live, prepared, observed)
        await self._execute(key, live, prepared, observed, plan, secrets)
        return plan.look_again

    def _pause(self, live: LiveRun) -> float:
        """How many seconds this pass is too early. What brings a run back may come many times a second."""
        count = len(live.run.spec.metrics)
        if count <= _FEW_METRICS or live.run.status.completed:
            return 0.0
        now, uid = asyncio.get_running_loop().time(), live.metadata.uid
        pause = self._last.get(uid, -math.inf) + min(count * _SECONDS_A_METRIC, _LONGEST_PAUSE) - now
        if pause <= 0:
            self._last[uid] = now
        return pause

    def _prepare(self, live: LiveRun) -> Prepared:
        known = self._prepared.get(live.metadata.uid)
        if known is None or known.raw != live.spec:
            known = self._prepared[live.metadata.uid] = prepare(live)
        return known

    async def _decide(
        self, live: LiveRun, prepared: Prepared, observed: ObservedRun
    ) -> tuple[RunPlan, SecretValues | None]:
        """The plan, and the values from Secrets if it makes calls; a run whose Secrets are missing ends (§17.2)."""
        now = self._clock()
        plan = step_run(observed, now)
        operations = {action.operation for action in plan.actions if isinstance(action, Call)}
        first = live.run.status.started_at is None and plan.status is not None
        if not prepared.secrets or not (first or operations):
            return plan, {}
        try:
            return plan, await read_secrets(self._secrets, live.metadata.namespace, prepared.secrets)
        except TemplateError as error:
            if operations == {"Terminate"}:
                # what was begun is ended all the same, as far as that goes without the Secret
                return plan, None
            return step_run(replace(observed, problem=UNRESOLVED + error.message), now), None

    async def _execute(
        self,
        key: Key,
        live: LiveRun,
        prepared: Prepared,
        observed: ObservedRun,
        plan: RunPlan,
        secrets: SecretValues | None,
    ) -> None:
        """The status first: no call is begun from a state that somebody else has changed meanwhile."""
        meta, status = live.metadata, plan.status
        await self._write(key, live, status)
        self._calls.consumed(meta.uid, observed.answers)
        for action in plan.actions:
            match action:
                case GiveUp():
                    self._calls.give_up(meta.uid, action.metric)
                case Call():
                    self._calls.begin(task_of(live, prepared, status, action.metric, secrets, action))
                case CollectGarbage():
                    task = task_of(live, prepared, status, action.metric, secrets)
                    self._calls.collect(task, action.limit)
                case DeleteRun():
                    self._fence.fence()
                    log.info("analysis run deleted, its time to live is over", namespace=key[0], name=key[1])
                    await act_on_run(self._client, key[0], {}, action)
        if plan.events:
            self._fence.fence()
            about = About(ARGO_API_VERSION, "AnalysisRun", *key, meta.uid, meta.resource_version)
            for event in plan.events:
                self._emit(about, event)
        if status is not None and status.completed:
            self._calls.forget(meta.uid)
            log.info("analysis run ended", namespace=key[0], name=key[1], phase=status.phase, message=status.message)

    async def _write(self, key: Key, live: LiveRun, status: RunStatus | None) -> None:
        """Only the keys that changed, onto the version that was observed. The kind has no status subresource."""
        if status is None or status == live.run.status:
            return
        patch = status_patch(live.status, encode(status))
        if patch is None:
            return
        self._fence.fence()
        body = {"metadata": {"resourceVersion": live.metadata.resource_version, "uid": live.metadata.uid}, **patch}
        answer = await self._client.patch(ANALYSIS_RUNS, key[0], key[1], body)
        version = str((answer.get("metadata") or {}).get("resourceVersion") or "")
        if version.isdigit():
            self._written.note(key, {ANALYSIS_RUNS: int(version)})

    def _failed(self, key: Key, error: KubeError | RoutingError) -> None:
        """Passes of runs that fail are told in the log only; the run's own status tells what became of it."""

    def _timed(self, key: Key, seconds: float, failed: bool) -> None:
        self._metrics.run_reconciled(*key, seconds, failed=failed)


def task_of(
    live: LiveRun,
    prepared: Prepared,
    status: RunStatus | None,
    name: str,
    secrets: SecretValues | None,
    call: Call | None = None,
) -> Task:
    """A call of the provider of one metric; ``secrets`` None: they can't be read."""
    index, shown = next((i, metric) for i, metric in enumerate(prepared.metrics) if metric.name == name)
    metric = with_secrets(live.run.spec, index, shown, secrets) if prepared.secrets and secrets else shown
    status = status or live.run.status
    before = next((result for result in status.metric_results if result.name == name), None)
    operation = "Measure" if call is None else call.operation
    hider = Hider((secrets or {}).values())

    def asked(filled: Metric) -> Order:
        body = _body(live, prepared, index, filled, status) if filled.provider.plugin else None
        meta = live.metadata
        return Order(meta.namespace, meta.name, meta.uid, filled, status.started_at, taken_of(before), body)

    return Task(operation, asked(metric), asked(shown), hider, before)


def _body(live: LiveRun, prepared: Prepared, index: int, metric: Metric, status: RunStatus) -> Raw:
    """The whole run for a plugin, with this metric's arguments filled in; the others' from Secrets stay hidden."""
    metrics = (*prepared.metrics[:index], metric, *prepared.metrics[index + 1 :])
    spec = live.run.spec.model_copy(update={"metrics": metrics})
    return live.run.model_copy(update={"spec": spec, "status": status}).encode()
