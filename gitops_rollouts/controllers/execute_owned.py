"""Objects that a Rollout or an Experiment controls: created with their owner, and what a refusal means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gitops_rollouts.api.meta import ObjectMeta, Raw
from gitops_rollouts.api.names import ARGO_API_VERSION
from gitops_rollouts.engine.plan import PatchReplicaSet
from gitops_rollouts.errors import AlreadyExists, KubeError, NameTaken, NotFound
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.failures import NAMESPACE_TERMINATING
from gitops_rollouts.kube.resources import Resource


def owner_reference(kind: str, meta: ObjectMeta) -> Raw:
    """What stands in the ownerReferences of an object that a Rollout, Experiment or AnalysisRun controls."""
    return {
        "apiVersion": ARGO_API_VERSION,
        "kind": kind,
        "name": meta.name,
        "uid": meta.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


async def create_owned(
    client: Client, resource: Resource, namespace: str, owner: Raw, name: str, body: Mapping[str, Any]
) -> tuple[Raw, bool]:
    """The object as it is then, and whether it is new: one of this name may be the owner's already.

    Raises `NameTaken` if it is something else's, and `KubeError`.
    """
    meta = {**body.get("metadata", {}), "name": name, "namespace": namespace, "ownerReferences": [owner]}
    whole = {**body, "apiVersion": resource.api_version, "kind": resource.kind, "metadata": meta}
    try:
        return await client.create(resource, namespace, whole), True
    except AlreadyExists as error:
        present = await client.get(resource, namespace, name)
        theirs = _controller(present)
        if theirs.get("uid") == owner["uid"]:
            return present, False
        raise NameTaken(
            f"{resource.kind} {name} exists already and belongs to something else",
            name=name,
            kind=resource.kind,
            going=_is_going(present, theirs, owner),
        ) from error


def _controller(present: Raw) -> Raw:
    owners = (present.get("metadata") or {}).get("ownerReferences") or ()
    return next((one for one in owners if one.get("controller")), {})


def _is_going(present: Raw, theirs: Raw, owner: Raw) -> bool:
    """Whether it is being deleted, or will be with the former object of its owner's name."""
    if (present.get("metadata") or {}).get("deletionTimestamp"):
        return True
    return (theirs.get("kind"), theirs.get("name")) == (owner["kind"], owner["name"])


def is_refusal(error: KubeError) -> bool:
    """Whether the API server won't take an object, however often it is sent."""
    return error.status in {400, 403, 422} and error.reason != NAMESPACE_TERMINATING


def is_refused_run(error: KubeError) -> bool:
    """Whether an AnalysisRun or Experiment isn't taken: its kind may be missing, or a webhook be down."""
    return is_refusal(error) or isinstance(error, NotFound) or (error.status == 500 and bool(error.reason))


def replica_set_patch(action: PatchReplicaSet) -> Raw:
    """The merge patch of a ReplicaSet."""
    body: Raw = {}
    if action.annotations:
        body["metadata"] = {"annotations": dict(action.annotations)}
    spec: Raw = {}
    if action.replicas is not None:
        spec["replicas"] = action.replicas
    if action.min_ready_seconds is not None:
        spec["minReadySeconds"] = action.min_ready_seconds
    if action.template:
        spec["template"] = dict(action.template)
    if spec:
        body["spec"] = spec
    return body


def version_of(answer: Mapping[str, Any]) -> int:
    """The resourceVersion of an object that the API server has sent; 0 if it has none."""
    version = str((answer.get("metadata") or {}).get("resourceVersion") or "")
    return int(version) if version.isdigit() else 0
