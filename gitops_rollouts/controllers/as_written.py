"""The pod template of a ReplicaSet as a person wrote it, before the engine added to it (docs/behaviour.md §6, §13)."""

from __future__ import annotations

from gitops_rollouts.api.meta import Raw
from gitops_rollouts.api.names import POD_TEMPLATE_HASH
from gitops_rollouts.controllers.observe import project_replica_set
from gitops_rollouts.engine import affinity, ephemeral


def template_as_written(replica_set: Raw) -> Raw:
    """Without the hash, what pods were given for their role, and what keeps them off the nodes of another version."""
    known = project_replica_set(replica_set)
    template = ephemeral.removed(known.template, [ephemeral.recorded(known)], whatever_value=False)
    metadata = template["metadata"]
    labels = {key: value for key, value in metadata["labels"].items() if key != POD_TEMPLATE_HASH}
    filled = {key: value for key, value in {**metadata, "labels": labels}.items() if value not in ({}, None)}
    spec = template.get("spec")
    return {**template, "metadata": filled, **({"spec": affinity.without(spec)} if isinstance(spec, dict) else {})}
