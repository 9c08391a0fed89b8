"""Rollouts whose template stands in another object of the tree (docs/decisions.md §1.1, docs/behaviour.md §2.2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from gitops_rollouts.render.objects import Identity, RenderedObject

_IN_SPEC: Final = frozenset({("apps", "Deployment"), ("apps", "ReplicaSet")})
_AT_TOP: Final = ("", "PodTemplate")
SHRINKS: Final = frozenset({"onsuccess", "progressively"})


def reference_of(rollout: Mapping[str, Any], namespace: str) -> Identity | None:
    """The workload that a Rollout (raw) names; None: its template is its own, or nothing that it may name."""
    reference = _mapping(_mapping(rollout.get("spec")).get("workloadRef"))
    group, kind = str(reference.get("apiVersion") or "").rpartition("/")[0], str(reference.get("kind") or "")
    name = reference.get("name")
    if not isinstance(name, str) or not name or ((group, kind) not in _IN_SPEC and (group, kind) != _AT_TOP):
        return None
    return Identity(group, kind, namespace, name)


def template_of(workload: Mapping[str, Any], identity: Identity) -> Any:
    """The pod template of a workload (raw) as it stands there; None if it has none."""
    holder = workload if (identity.group, identity.kind) == _AT_TOP else _mapping(workload.get("spec"))
    return holder.get("template")


def with_template(rollout: Mapping[str, Any], workload: Mapping[str, Any], identity: Identity) -> Mapping[str, Any]:
    """A Rollout (raw) as if its template were its own."""
    return {**rollout, "spec": {**_mapping(rollout.get("spec")), "template": template_of(workload, identity)}}


def users(objects: Iterable[RenderedObject]) -> dict[Identity, list[RenderedObject]]:
    """The workloads that Rollouts among these name, with those Rollouts."""
    found: dict[Identity, list[RenderedObject]] = {}
    for item in objects:
        reference = reference_of(item.raw, item.namespace) if item.is_rollout else None
        if reference is not None:
            found.setdefault(reference, []).append(item)
    return found


def shrinks(rollout: Mapping[str, Any]) -> bool:
    """Whether the engine scales the workload of this Rollout (raw) down."""
    return _mapping(_mapping(rollout.get("spec")).get("workloadRef")).get("scaleDown") in SHRINKS


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
