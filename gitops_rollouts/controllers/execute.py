"""A `Plan` → requests, in order, the first failure ends it. Only requests that change something are sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog

from gitops_rollouts.api.meta import Raw
from gitops_rollouts.api.names import ARGO_API_VERSION, MANAGED_BY_ROLLOUTS, OUTBOX, OUTBOX_MANAGER, POD_TEMPLATE_HASH
from gitops_rollouts.api.status import RolloutStatus, encode_status, status_patch
from gitops_rollouts.controllers.batches import at_once, batches
from gitops_rollouts.controllers.execute_owned import (
    create_owned,
    is_refusal,
    is_refused_run,
    owner_reference,
    replica_set_patch,
    version_of,
)
from gitops_rollouts.controllers.execute_runs import act_on_run
from gitops_rollouts.controllers.observe import LiveRollout
from gitops_rollouts.controllers.outbox import Outbox
from gitops_rollouts.engine.plan import (
    Action,
    AdoptReplicaSet,
    CallStepPlugin,
    CreateReplicaSet,
    CreateRun,
    DeleteReplicaSet,
    DeleteRun,
    EmitEvent,
    EvictPod,
    ForgetPromotions,
    PatchPod,
    PatchReplicaSet,
    PatchRollout,
    Plan,
    PointService,
    RecordAbort,
    RecordPromotion,
    ReleaseReplicaSet,
    RemoveManagedRoutes,
    RouteTraffic,
    ScaleWorkload,
    TerminateRun,
)
from gitops_rollouts.errors import (
    AlreadyExists,
    Conflict,
    CreateRefused,
    KubeError,
    NameTaken,
    NotFound,
    TooManyRequests,
)
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.events import About
from gitops_rollouts.kube.lease import Fence
from gitops_rollouts.kube.resources import DEPLOYMENTS, PODS, REPLICA_SETS, ROLLOUTS, SERVICES, Resource

Emit = Callable[[About, EmitEvent], None]

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Outcome:
    """What was written: the newest resourceVersion a resource, and the status as it is stored now."""

    written: dict[Resource, int] = field(default_factory=dict)
    status: RolloutStatus | None = None
    """The new status if one was written."""


class Routers(Protocol):
    """The traffic routers of a Rollout, one after the other in the order of docs/behaviour.md §2.6."""

    async def route(self, live: LiveRollout, action: RouteTraffic | RemoveManagedRoutes) -> None:
        """Make it true. Raises a `GorError` if a router can't."""
        ...


class StepPlugins(Protocol):
    """Calls step plugins beside the passes; their answers come to a later one."""

    def call(self, live: LiveRollout, action: CallStepPlugin) -> None: ...


class Executor:
    """Carries plans out. ``fence`` is asked before each request; ``emit`` sends events.

    Without ``routers`` or ``plugins``, nothing that needs them may be asked for: the Rollout is refused before.
    """

    def __init__(
        self,
        client: Client,
        fence: Fence,
        emit: Emit,
        *,
        routers: Routers | None = None,
        plugins: StepPlugins | None = None,
    ) -> None:
        self._client = client
        self._fence = fence
        self._emit = emit
        self._routers = routers
        self._plugins = plugins

    async def execute(self, live: LiveRollout, plan: Plan, outcome: Outcome) -> None:
        """Do it. ``outcome`` is filled in as things are written, so that it holds after a failure too.

        Raises `KubeError` (`NameTaken` and `CreateRefused` among them) and `LeadershipLost`.
        """
        run = _Run(self._client, self._fence, self._emit, live, outcome, self._routers, self._plugins)
        # an abort is laid down before it takes effect, whichever comes first of status and actions
        for action in plan.actions:
            if isinstance(action, RecordAbort):
                await run.outbox.abort(action)
        if plan.status_first:
            await run.write_status(plan.status)
        for alike in batches(plan.actions):
            if len(alike) == 1:
                await run.act(alike[0])
            else:
                await at_once([run.act(action) for action in alike])
        if not plan.status_first:
            await run.write_status(plan.status)
        for event in plan.events:
            run.emit(event)


class _Run:
    """One plan on its way."""

    def __init__(
        self,
        client: Client,
        fence: Fence,
        emit: Emit,
        live: LiveRollout,
        outcome: Outcome,
        routers: Routers | None,
        plugins: StepPlugins | None,
    ) -> None:
        self._routers = routers
        self._plugins = plugins
        self._client = client
        self._fence = fence
        self._emit = emit
        self._live = live
        self._outcome = outcome
        self._version = live.version
        self.outbox = Outbox(live, self._write_outbox)
        self._evicted = 0
        meta = live.rollout.metadata
        self._namespace = meta.namespace
        self._about = About(ARGO_API_VERSION, "Rollout", meta.namespace, meta.name, meta.uid, meta.resource_version)

    def emit(self, event: EmitEvent) -> None:
        self._fence.fence()
        self._emit(self._about, event)

    async def act(self, action: Action) -> None:
        self._fence.fence()
        match action:
            case RecordAbort():
                return
            case RecordPromotion():
                self.emit(await self.outbox.promotion(action))
            case ForgetPromotions():
                await self.outbox.forget(action)
            case EmitEvent():
                self.emit(action)
            case PointService():
                await self._patch(SERVICES, action.name, _service_patch(action))
            case PatchRollout():
                await self._patch_rollout(action)
            case RouteTraffic() | RemoveManagedRoutes() | CallStepPlugin():
                await self._hand_on(action)
            case EvictPod() | PatchPod() | ScaleWorkload():
                await self._act_around(action)
            case CreateRun() | TerminateRun() | DeleteRun():
                await self._act_on_run(action)
            case _:
                await self._act_on_replica_set(action)

    async def _hand_on(self, action: RouteTraffic | RemoveManagedRoutes | CallStepPlugin) -> None:
        """What isn't a request of ours: routers and plugins."""
        if isinstance(action, CallStepPlugin):
            if self._plugins is None:
                raise RuntimeError("a step plugin is to be called, but there are no plugins")
            self._plugins.call(self._live, action)
            return
        if self._routers is None:
            raise RuntimeError("traffic is to be routed, but there is no router")
        await self._routers.route(self._live, action)

    async def _act_on_run(self, action: CreateRun | TerminateRun | DeleteRun) -> None:
        try:
            resource, answer = await act_on_run(self._client, self._namespace, self._owner(), action)
        except NameTaken:
            raise
        except KubeError as error:
            if not isinstance(action, CreateRun):
                if not is_refusal(error):
                    raise
                # nobody waits for such a run: no update and no way back does either
                self.emit(EmitEvent("ReconciliationError", f"Reconciliation failed with error: {error}", "Warning"))
                return
            if is_refused_run(error):
                raise CreateRefused(
                    error.message, name=action.name, kind=action.kind, status=error.status, remedy=error.remedy
                ) from error
            raise
        self._wrote(resource, answer)

    async def _act_around(self, action: EvictPod | PatchPod | ScaleWorkload) -> None:
        match action:
            case EvictPod():
                await self._evict(action)
            case PatchPod():
                await self._patch_pod(action)
            case ScaleWorkload():
                await self._scale_workload(action)

    async def _act_on_replica_set(
        self, action: CreateReplicaSet | AdoptReplicaSet | ReleaseReplicaSet | PatchReplicaSet | DeleteReplicaSet
    ) -> None:
        match action:
            case CreateReplicaSet():
                await self._create(action)
            case AdoptReplicaSet():
                body = {"metadata": {"uid": action.uid, "ownerReferences": [self._owner()]}}
                await self._patch(REPLICA_SETS, action.name, body, kind="strategic")
            case ReleaseReplicaSet():
                gone = {"$patch": "delete", "uid": self._live.rollout.metadata.uid}
                body = {"metadata": {"uid": action.uid, "ownerReferences": [gone]}}
                await self._patch(REPLICA_SETS, action.name, body, kind="strategic")
            case PatchReplicaSet():
                await self._patch(REPLICA_SETS, action.name, replica_set_patch(action))
            case DeleteReplicaSet():
                await self._delete(action)

    async def write_status(self, status: RolloutStatus | None) -> None:
        """Only the keys that changed, and only onto the version that was observed: a race is a Conflict."""
        if status is None or status == self._live.rollout.status:
            return
        patch = status_patch(self._live.status, encode_status(status))
        if patch is None:
            return
        self._fence.fence()
        body = {"metadata": {"resourceVersion": self._version}, **patch}
        await self._patch(ROLLOUTS, self._live.key[1], body, subresource="status")
        self._outcome.status = status

    async def _write_outbox(self, text: str | None) -> None:
        self._fence.fence()
        body = {"metadata": {"resourceVersion": self._version, "annotations": {OUTBOX: text}}}
        await self._patch(ROLLOUTS, self._live.key[1], body, manager=OUTBOX_MANAGER)

    async def _create(self, action: CreateReplicaSet) -> None:
        try:
            answer, new = await create_owned(
                self._client, REPLICA_SETS, self._namespace, self._owner(), action.name, action.body
            )
        except NameTaken:
            raise
        except KubeError as error:
            if is_refusal(error):
                raise CreateRefused(
                    error.message, name=action.name, status=error.status, reason=error.reason, remedy=error.remedy
                ) from error
            raise
        self._wrote(REPLICA_SETS, answer)
        if not new:
            # ours already: the cache was late. The next pass sees it
            raise AlreadyExists(f"ReplicaSet {action.name} exists already", status=409)

    async def _delete(self, action: DeleteReplicaSet) -> None:
        try:
            await self._client.delete(REPLICA_SETS, self._namespace, action.name, uid=action.uid)
        except NotFound:
            return

    async def _evict(self, action: EvictPod) -> None:
        if self._evicted >= action.at_most:
            return
        try:
            await self._client.evict(self._namespace, action.name, uid=action.uid)
            self._evicted += 1
        except (TooManyRequests, NotFound) as error:
            log.info("pod not evicted", namespace=self._namespace, pod=action.name, error=str(error))

    async def _patch_pod(self, action: PatchPod) -> None:
        body: Raw = {"metadata": {"uid": action.uid}}
        if action.labels:
            body["metadata"]["labels"] = dict(action.labels)
        if action.annotations:
            body["metadata"]["annotations"] = dict(action.annotations)
        try:
            await self._patch(PODS, action.name, body)
        except (NotFound, Conflict) as error:
            log.info("pod not patched", namespace=self._namespace, pod=action.name, error=str(error))

    async def _scale_workload(self, action: ScaleWorkload) -> None:
        body: Raw = {"metadata": {"uid": action.uid}, "spec": {"replicas": action.replicas}}
        try:
            await self._patch(DEPLOYMENTS, action.name, body)
        except KubeError as error:
            log.warning("workload not scaled", namespace=self._namespace, deployment=action.name, error=str(error))

    async def _patch_rollout(self, action: PatchRollout) -> None:
        body: Raw = {"metadata": {"resourceVersion": self._version}}
        if action.annotations:
            body["metadata"]["annotations"] = dict(action.annotations)
        if action.replicas is not None:
            body["spec"] = {"replicas": action.replicas}
        await self._patch(ROLLOUTS, self._live.key[1], body)

    async def _patch(
        self,
        resource: Resource,
        name: str,
        body: Raw,
        *,
        kind: Any = "merge",
        subresource: str = "",
        manager: str | None = None,
    ) -> None:
        extra: dict[str, Any] = {} if manager is None else {"field_manager": manager}
        answer = await self._client.patch(
            resource, self._namespace, name, body, kind=kind, subresource=subresource, **extra
        )
        self._wrote(resource, answer)
        if resource is ROLLOUTS:
            self._version = str(answer["metadata"]["resourceVersion"])

    def _wrote(self, resource: Resource, answer: Mapping[str, Any]) -> None:
        version = version_of(answer)
        if version:
            self._outcome.written[resource] = max(self._outcome.written.get(resource, 0), version)

    def _owner(self) -> Raw:
        return owner_reference("Rollout", self._live.rollout.metadata)


def _service_patch(action: PointService) -> Raw:
    body: Raw = {"spec": {"selector": {POD_TEMPLATE_HASH: action.pod_hash}}}
    if action.managed_by is not None:
        body["metadata"] = {"annotations": {MANAGED_BY_ROLLOUTS: action.managed_by}}
    return body
