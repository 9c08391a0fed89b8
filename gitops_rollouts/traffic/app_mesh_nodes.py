"""App Mesh's VirtualNodes: which pods each stands for, by the hash in its selector (docs/behaviour.md §15.3)."""

from __future__ import annotations

from typing import Any

from gitops_rollouts.api.meta import Raw
from gitops_rollouts.api.names import MANAGED_BY_ROLLOUTS, POD_TEMPLATE_HASH
from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.traffic.objects import (
    Edit,
    Found,
    Reference,
    annotations_of,
    mapping,
    with_annotations,
    with_spec,
)


def selecting(rollout: Rollout, reference: Reference, found: Found, pod_hash: str) -> list[Edit]:
    """Have one select the pods of a hash; nothing if it isn't there."""
    node = found.get(reference)
    if node is None:
        return []
    noted = with_annotations(node, {MANAGED_BY_ROLLOUTS: rollout.metadata.name})
    return [Edit(reference, node, with_hash(noted, pod_hash), rests=True)]


def match_labels(node: Raw) -> dict[str, Any]:
    """The labels by which one selects pods."""
    return mapping(mapping(mapping(node.get("spec")).get("podSelector")).get("matchLabels"))


def with_hash(node: Raw, pod_hash: Any) -> Raw:
    """The VirtualNode that selects this hash; None: the label goes."""
    labels = {key: value for key, value in match_labels(node).items() if key != POD_TEMPLATE_HASH}
    if pod_hash is not None:
        labels[POD_TEMPLATE_HASH] = pod_hash
    selector = mapping(mapping(node.get("spec")).get("podSelector"))
    return with_spec(node, podSelector={**selector, "matchLabels": labels})


def with_live_hash(wanted: Raw, live: Raw) -> Raw:
    """What is to be applied, with the hash that the live one has and whose it is said to be."""
    there = annotations_of(live).get(MANAGED_BY_ROLLOUTS)
    kept = wanted
    if there is not None and MANAGED_BY_ROLLOUTS in annotations_of(wanted):
        kept = with_annotations(wanted, {MANAGED_BY_ROLLOUTS: there})
    pod_hash = match_labels(live).get(POD_TEMPLATE_HASH)
    return with_hash(kept, pod_hash) if isinstance(pod_hash, str) else kept
