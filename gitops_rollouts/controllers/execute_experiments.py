"""An `ExperimentPlan` → requests, in order, the first failure ends it (docs/behaviour.md §19)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gitops_rollouts.api.experiment import ExperimentStatus
from gitops_rollouts.api.meta import Raw
from gitops_rollouts.api.names import ARGO_API_VERSION
from gitops_rollouts.api.status import status_patch
from gitops_rollouts.controllers.execute_owned import (
    create_owned,
    is_refusal,
    owner_reference,
    replica_set_patch,
    version_of,
)
from gitops_rollouts.controllers.execute_runs import RESOURCES, act_on_run
from gitops_rollouts.controllers.run_caches import LiveExperiment
from gitops_rollouts.engine.experiments.observed import (
    CreateService,
    DeleteService,
    ExperimentAction,
    ExperimentPlan,
)
from gitops_rollouts.engine.plan import CreateReplicaSet, CreateRun, EmitEvent, PatchReplicaSet, TerminateRun
from gitops_rollouts.errors import Conflict, CreateRefused, KubeError, NameTaken, NotFound
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.events import About
from gitops_rollouts.kube.lease import Fence
from gitops_rollouts.kube.resources import EXPERIMENTS, REPLICA_SETS, SERVICES, Resource

Emit = Callable[[About, EmitEvent], None]


@dataclass(slots=True)
class Done:
    """What of a pass was carried out; it holds after a failure too. ``status``: the new one, if it was written."""

    actions: list[ExperimentAction] = field(default_factory=list)
    written: dict[Resource, int] = field(default_factory=dict)
    status: ExperimentStatus | None = None


class ExperimentExecutor:
    """Carries plans out. ``fence`` is asked before each request; ``emit`` sends events."""

    def __init__(self, client: Client, fence: Fence, emit: Emit) -> None:
        self._client = client
        self._fence = fence
        self._emit = emit

    async def execute(self, live: LiveExperiment, plan: ExperimentPlan, done: Done) -> None:
        """Do what isn't done yet. Raises `CreateRefused` with the kind, `NameTaken`, `KubeError`, `LeadershipLost`."""
        for action in plan.actions:
            if action in done.actions:
                continue
            self._fence.fence()
            if isinstance(action, EmitEvent):
                self._emit(about(live), action)
            else:
                await self._act(live, action, done)
            done.actions.append(action)
        await self._write_status(live, plan.status, done)
        for event in plan.events:
            self._fence.fence()
            self._emit(about(live), event)
        rollout = _rollout_of(live)
        if rollout is not None:
            for event in plan.owner_events:
                self._fence.fence()
                self._emit(rollout, EmitEvent(event.reason, event.message, "Warning"))

    async def _act(
        self,
        live: LiveExperiment,
        action: CreateReplicaSet | PatchReplicaSet | CreateService | DeleteService | CreateRun | TerminateRun,
        done: Done,
    ) -> None:
        namespace, meta = live.metadata.namespace, live.metadata
        owner = owner_reference("Experiment", meta)
        match action:
            case CreateReplicaSet():
                await self._create(REPLICA_SETS, namespace, owner, action, done)
            case CreateService():
                await self._create(SERVICES, namespace, owner, action, done)
            case PatchReplicaSet():
                body = replica_set_patch(action)
                _note(done, REPLICA_SETS, await self._client.patch(REPLICA_SETS, namespace, action.name, body))
            case DeleteService():
                with contextlib.suppress(NotFound):
                    await self._client.delete(SERVICES, namespace, action.name, uid=action.uid)
            case CreateRun() | TerminateRun():
                await self._act_on_run(namespace, owner, action, done)

    async def _create(
        self,
        resource: Resource,
        namespace: str,
        owner: Raw,
        action: CreateReplicaSet | CreateService,
        done: Done,
    ) -> None:
        try:
            answer, _ = await create_owned(self._client, resource, namespace, owner, action.name, action.body)
        except NameTaken as taken:
            if taken.going:
                raise Conflict(f"{resource.kind} {action.name} is not gone yet") from taken
            raise _refused(resource, action.name, taken) from taken
        except KubeError as error:
            if is_refusal(error):
                raise _refused(resource, action.name, error) from error
            raise
        _note(done, resource, answer)

    async def _act_on_run(self, namespace: str, owner: Raw, action: CreateRun | TerminateRun, done: Done) -> None:
        try:
            resource, answer = await act_on_run(self._client, namespace, owner, action)
        except NameTaken:
            raise
        except KubeError as error:
            # a cluster without AnalysisRuns has none of their kind: Not Found
            if isinstance(action, CreateRun) and (is_refusal(error) or isinstance(error, NotFound)):
                raise _refused(RESOURCES[action.kind], action.name, error) from error
            raise
        _note(done, resource, answer)

    async def _write_status(self, live: LiveExperiment, status: ExperimentStatus | None, done: Done) -> None:
        """Only the keys that changed, and only onto the version that was observed: a race is a Conflict."""
        if status is None or status == live.experiment.status:
            return
        patch = status_patch(live.status, status.encode())
        if patch is None:
            return
        self._fence.fence()
        body = {"metadata": {"resourceVersion": live.metadata.resource_version}, **patch}
        answer = await self._client.patch(EXPERIMENTS, live.metadata.namespace, live.metadata.name, body)
        _note(done, EXPERIMENTS, answer)
        done.status = status


def about(live: LiveExperiment) -> About:
    """The Experiment, for its events."""
    meta = live.metadata
    return About(ARGO_API_VERSION, "Experiment", meta.namespace, meta.name, meta.uid, meta.resource_version)


def _rollout_of(live: LiveExperiment) -> About | None:
    """The Rollout that the Experiment is a step of."""
    meta = live.metadata
    owner = next((one for one in meta.owner_references if one.controller and one.kind == "Rollout"), None)
    return None if owner is None else About(owner.api_version, "Rollout", meta.namespace, owner.name, owner.uid)


def _refused(resource: Resource, name: str, error: KubeError) -> CreateRefused:
    return CreateRefused(error.message, name=name, kind=resource.kind, status=error.status, reason=error.reason)


def _note(done: Done, resource: Resource, answer: Mapping[str, Any]) -> None:
    version = version_of(answer)
    if version:
        done.written[resource] = max(done.written.get(resource, 0), version)
