"""The loop: a key → observe → `engine.step` → execute → when to look again.

Nothing is remembered between passes but what guards against a late cache: the versions that were written and not yet
seen back, and ReplicaSet names that turned out to be taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, Protocol

import structlog

from gitops_rollouts.api.evidence import Evidence
from gitops_rollouts.api.names import POD_TEMPLATE_HASH
from gitops_rollouts.api.validation import FieldError
from gitops_rollouts.controllers.authority import AuthorityReader, Reading
from gitops_rollouts.controllers.coalesce import Patience
from gitops_rollouts.controllers.execute import Executor, Outcome
from gitops_rollouts.controllers.facts import facts_of, finished_update
from gitops_rollouts.controllers.observe import Caches, Key, LiveRollout, is_ours
from gitops_rollouts.controllers.passes import GUARD, Passes, Written
from gitops_rollouts.controllers.pods import PodReader
from gitops_rollouts.controllers.queue import DelayQueue
from gitops_rollouts.controllers.routing import RouterCalls
from gitops_rollouts.controllers.step_plugins import StepPluginCalls
from gitops_rollouts.controllers.untold import explained
from gitops_rollouts.controllers.workloads import Workloads
from gitops_rollouts.engine.observed import Authority, Observed, RoutersSeen, Workload
from gitops_rollouts.engine.plan import EmitEvent, Plan
from gitops_rollouts.engine.step import create_failed, routing_failed, runs_refused, step
from gitops_rollouts.errors import (
    CreateRefused,
    KubeError,
    KubeUnreachable,
    NameTaken,
    RoutingError,
    StillRouting,
)
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.events import About
from gitops_rollouts.kube.resources import ANALYSIS_RUNS, EXPERIMENTS, REPLICA_SETS, ROLLOUTS, SERVICES, Resource
from gitops_rollouts.telemetry import Metrics

Clock = Callable[[], datetime]
"""The one source of "now": aware, UTC."""

WORKERS: Final = 16
RESYNC_SECONDS: Final = 900.0
_ROUTING_SECONDS: Final = 60.0
"""When a router still hasn't answered: its answer itself brings the Rollout back earlier."""
COALESCE_SECONDS: Final = 0.05
"""Replica counts of a ReplicaSet that grows change many times a second; one pass tells clients of several."""

log = structlog.get_logger(__name__)


class WantSink(Protocol):
    """Is told after each pass of a Rollout that a GitSync applies, and when one is gone.

    ``live`` is what the pass saw; a pass that wrote something is followed by another. ``evidence``: what the metrics of
    its present version came to.
    """

    def observed(self, live: LiveRollout, authority: Authority, evidence: tuple[Evidence, ...]) -> None: ...

    def gone(self, key: Key) -> None: ...


@dataclass(slots=True)
class _Taken:
    """Names that turned out to belong to something else."""

    replica_sets: set[str] = field(default_factory=set)
    runs: set[str] = field(default_factory=set)


class RolloutController:
    """Runs the engine over every Rollout of this instance. Call `run` once the caches are in sync."""

    def __init__(
        self,
        client: Client,
        caches: Caches,
        executor: Executor,
        emit: Callable[[About, EmitEvent], None],
        clock: Clock,
        metrics: Metrics,
        queue: DelayQueue[Key],
        workloads: Workloads,
        *,
        instance_id: str = "",
        authority: AuthorityReader | None = None,
        wants: WantSink | None = None,
        routers: RouterCalls | None = None,
        plugins: StepPluginCalls | None = None,
        workers: int = WORKERS,
        resync_seconds: float = RESYNC_SECONDS,
    ) -> None:
        self.queue = queue
        self._pods = PodReader(client)
        self._workloads = workloads
        self._caches = caches
        self._executor = executor
        self._emit = emit
        self._clock = clock
        self._metrics = metrics
        self._instance_id = instance_id
        self._authority = authority
        self._wants = wants
        self._routers = routers
        self._plugins = plugins
        self._patience = Patience()
        self._written = Written(self._positions)
        self._taken: dict[Key, _Taken] = {}
        self._uids: dict[Key, About] = {}
        self._passes = Passes(
            queue,
            self._look,
            workers=workers,
            resync_seconds=resync_seconds,
            every=self._ours,
            failed=self._failed,
            timed=self._timed,
        )

    async def run(self) -> None:
        """Work until the queue is closed and the passes under way are over. Raises `LeadershipLost`."""
        await self._passes.run()

    async def _look(self, key: Key) -> timedelta | None:
        try:
            return await self.reconcile(key)
        except StillRouting:
            return timedelta(seconds=_ROUTING_SECONDS)

    def _timed(self, key: Key, seconds: float, failed: bool) -> None:
        if key in self._uids:
            self._metrics.reconciled(*key, seconds, failed=failed)

    async def reconcile(self, key: Key) -> timedelta | None:
        """One pass over one Rollout. Returns when to look again if nothing changes before."""
        live = self._caches.rollouts.get(*key)
        if live is None:
            self._gone(key)
            return None
        if not is_ours(live.rollout, self._instance_id):
            self._forget(key)
            return None
        self._introduce(key, live)
        if not self._written.caught_up(key):
            return GUARD
        if live.rollout.metadata.deletion_timestamp is not None:
            return None
        now = self._clock()
        workload = await self._workloads.get(live.rollout)
        reading = self._authority.read(live, now, workload) if self._authority else Reading()
        if reading.wait is not None:
            return reading.wait
        observed, unread = await self._observe(key, live, workload, reading.authority, now)
        plan = step(observed, now)
        if unread is not None and not _aborts(live, plan):
            raise unread
        plan = self._patience.hold(key, live.rollout.status, plan)
        plan = await self._execute(key, live, observed, plan, now)
        if self._wants is not None and reading.authority is not None and not _lifts_abort(live, plan):
            live = explained(live, observed.analysis_runs, observed.evidence)
            self._wants.observed(live, reading.authority, self._caches.evidence_under_way(live))
        return plan.look_again

    async def _execute(self, key: Key, live: LiveRollout, observed: Observed, plan: Plan, now: datetime) -> Plan:
        """Returns the plan that was carried out in the end."""
        outcome = Outcome()
        try:
            plan = await self._carry_out(live, observed, plan, now, outcome)
        except NameTaken as taken:
            known = self._taken.setdefault(key, _Taken())
            (known.replica_sets if taken.kind == REPLICA_SETS.kind else known.runs).add(taken.name)
            raise
        finally:
            self._written.note(key, outcome.written)
        status = outcome.status if outcome.status is not None else live.rollout.status
        self._metrics.rollout(*key, facts_of(live.rollout, status))
        ended = finished_update(live.rollout.status, status, now)
        if ended is not None and outcome.status is not None:
            self._metrics.update_finished(ended.status, ended.total, ended.paused)
        return plan

    async def _carry_out(
        self, live: LiveRollout, observed: Observed, plan: Plan, now: datetime, outcome: Outcome
    ) -> Plan:
        """What the API server doesn't take is told in the status; a run that it doesn't take ends no pass."""
        try:
            await self._executor.execute(live, plan, outcome)
        except StillRouting:
            raise
        except RoutingError as failed:
            if outcome.status is None:
                await self._executor.execute(live, routing_failed(observed, now, str(failed)), outcome)
            raise
        except CreateRefused as refused:
            if refused.kind == REPLICA_SETS.kind:
                told = create_failed(observed, now, refused.name, refused.message)
                await self._executor.execute(live, told, outcome)
                raise
            if refused.name in observed.refused_runs or outcome.status is not None:
                raise
            known = {**observed.refused_runs, refused.name: str(refused)}
            observed = replace(observed, refused_runs=known)
            return await self._carry_out(live, observed, runs_refused(observed, now), now, outcome)
        return plan

    async def _observe(
        self, key: Key, live: LiveRollout, workload: Workload | None, authority: Authority | None, now: datetime
    ) -> tuple[Observed, KubeError | None]:
        """What is there, and why the routed objects can't be read: only an abort goes on without knowing them."""
        taken = self._taken.get(key, _Taken())
        observed = self._caches.observe(
            live,
            taken_names=taken.replica_sets,
            authority=authority,
            workload=workload,
        )
        if taken.runs:
            observed = replace(observed, taken_runs=frozenset(taken.runs))
        if self._plugins is not None:
            answers, disabled = self._plugins.answers(live), self._plugins.disabled
            observed = replace(observed, plugin_answers=answers, disabled_plugins=disabled)
        unread: KubeError | None = None
        if self._routers is not None:
            refused = self._routers.refused(live)
            try:
                wrong = () if refused else await self._routers.problems(live)
            except KubeError as error:
                unread, wrong = error, (FieldError("spec.strategy.canary.trafficRouting", error.message),)
            seen = RoutersSeen() if refused or wrong else await self._routers.seen(live, old_pods=_old_pods(observed))
            observed = replace(observed, refused=refused, routers=seen, route_errors=wrong)
        return await self._pods.read(key, observed, now), unread

    def _positions(self) -> dict[Resource, int]:
        caches = self._caches
        positions = {
            ROLLOUTS: caches.rollouts.position,
            REPLICA_SETS: caches.replica_sets.position,
            SERVICES: caches.services.position,
        }
        if caches.runs is not None:
            positions |= {ANALYSIS_RUNS: caches.runs.runs.position, EXPERIMENTS: caches.runs.experiments.position}
        return positions

    def _ours(self) -> Iterator[Key]:
        return (key for key, live in self._caches.rollouts.items() if is_ours(live.rollout, self._instance_id))

    def _introduce(self, key: Key, live: LiveRollout) -> None:
        meta = live.rollout.metadata
        known = self._uids.get(key)
        if known is not None and known.uid == meta.uid:
            return
        if known is not None:
            # deleted and created anew between two passes: what is remembered is of the former one
            self._gone(key)
        about = About(live.rollout.api_version, "Rollout", *key, meta.uid, meta.resource_version)
        self._uids[key] = about
        message = f"Rollout resource added to informer: {key[0]}/{key[1]}"
        self._emit(about, EmitEvent("RolloutAddedToInformer", message))

    def _gone(self, key: Key) -> None:
        about = self._uids.get(key)
        if about is not None:
            self._emit(about, EmitEvent("RolloutDeleted", f"Rollout {key[1]}/{key[0]} is deleted."))
        self._forget(key)

    def _forget(self, key: Key) -> None:
        """It is deleted, or another instance's from now on."""
        self.queue.forget(key)
        self._written.forget(key)
        self._taken.pop(key, None)
        self._patience.forget(key)
        self._pods.forget(key)
        if self._routers is not None:
            self._routers.forget(key)
        if self._authority is not None:
            self._authority.forget(key)
        about = self._uids.pop(key, None)
        if about is not None:
            if self._plugins is not None:
                self._plugins.forget(about.uid)
            self._metrics.rollout_gone(*key)
            if self._wants is not None:
                self._wants.gone(key)

    def _failed(self, key: Key, error: KubeError | RoutingError) -> None:
        about = self._uids.get(key)
        if about is None or isinstance(error, KubeUnreachable):
            return
        if isinstance(error, RoutingError):
            self._emit(about, EmitEvent("TrafficRoutingError", error.message, "Warning"))
            return
        message = f"Reconciliation failed with error: {error.message}"
        self._emit(about, EmitEvent("ReconciliationError", message, "Warning"))


def _old_pods(observed: Observed) -> bool:
    """Whether other versions than the one that the status shows have pods."""
    here = observed.rollout.status.current_pod_hash
    return any(one.replicas > 0 and one.labels.get(POD_TEMPLATE_HASH) != here for one in observed.replica_sets)


def _aborts(live: LiveRollout, plan: Plan) -> bool:
    """Whether the Rollout goes back, or begins to."""
    return live.rollout.status.abort or (plan.status is not None and plan.status.abort)


def _lifts_abort(live: LiveRollout, plan: Plan) -> bool:
    """Whether the pass ended an abort: what it saw is of no interest to Git any more, the next pass follows."""
    return live.rollout.status.abort and plan.status is not None and not plan.status.abort
