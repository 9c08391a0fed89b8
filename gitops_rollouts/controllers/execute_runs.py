"""AnalysisRuns and Experiments: created for an owner, asked to end, deleted (docs/behaviour.md §17.5, §17.7, §19)."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any, Final

from gitops_rollouts.api.meta import Raw
from gitops_rollouts.controllers.observe import controller_uid
from gitops_rollouts.engine.plan import CreateRun, DeleteRun, RunResource, TerminateRun
from gitops_rollouts.errors import AlreadyExists, NameTaken, NotFound
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
            return resource, await _create(client, resource, namespace, owner, action)
        case TerminateRun():
            body = {"metadata": {"uid": action.uid}, "spec": {"terminate": True}}
            try:
                return resource, await client.patch(resource, namespace, action.name, body)
            except NotFound:
                return resource, {}
        case DeleteRun():
            with contextlib.suppress(NotFound):
                await client.delete(resource, namespace, action.name, uid=action.uid)
            return resource, {}


async def _create(client: Client, resource: Resource, namespace: str, owner: Raw, action: CreateRun) -> Raw:
    meta = {**action.body.get("metadata", {}), "name": action.name, "namespace": namespace, "ownerReferences": [owner]}
    body = {**action.body, "apiVersion": resource.api_version, "kind": resource.kind, "metadata": meta}
    try:
        return await client.create(resource, namespace, body)
    except AlreadyExists as error:
        present = await client.get(resource, namespace, action.name)
        if controller_uid(present.get("metadata") or {}) != owner["uid"]:
            message = f"{resource.kind} {action.name} exists already and belongs to something else"
            raise NameTaken(message, name=action.name, kind=resource.kind) from error
        return present
