"""AnalysisRuns and Experiments: created for an owner, asked to end, deleted (docs/behaviour.md §17.5, §17.7, §19)."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, Final

from gitops_rollouts.api.meta import Raw
from gitops_rollouts.api.names import CANCELLED
from gitops_rollouts.controllers.execute_owned import create_owned
from gitops_rollouts.engine.plan import CreateRun, DeleteRun, RunResource, TerminateRun
from gitops_rollouts.errors import NotFound
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import ANALYSIS_RUNS, EXPERIMENTS, Resource

RESOURCES: Final[Mapping[RunResource, Resource]] = {"AnalysisRun": ANALYSIS_RUNS, "Experiment": EXPERIMENTS}


async def act_on_run(
    client: Client, namespace: str, owner: Raw, action: CreateRun | TerminateRun | DeleteRun
) -> tuple[Resource, Mapping[str, Any]]:
    """Carry it out; returns the resource and the object as it is then, ``{}`` if it is gone.

    Raises `NameTaken` if the name of a new one belongs to something else, and `KubeError`.
    """
    resource = RESOURCES[action.kind]
    match action:
        case CreateRun():
            created, _ = await create_owned(client, resource, namespace, owner, action.name, action.body)
            return resource, created
        case TerminateRun():
            meta = {"uid": action.uid, "annotations": {CANCELLED: "true"}}
            body = {"metadata": meta, "spec": {"terminate": True}}
            try:
                return resource, await client.patch(resource, namespace, action.name, body)
            except NotFound:
                return resource, {}
        case DeleteRun():
            with contextlib.suppress(NotFound):
                await client.delete(resource, namespace, action.name, uid=action.uid)
            return resource, {}
