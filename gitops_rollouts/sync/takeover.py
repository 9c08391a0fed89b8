"""Fields that the engine or an autoscaler sets: taken over from the live object into the one that is applied.

A Service's selector is atomic, so two owners can't share it. The live value goes out with the live resourceVersion:
a race is a conflict and a new try, never a lost write (docs/architecture.md "Fields that the engine sets").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gitops_rollouts.api.names import ARGO_GROUP, POD_TEMPLATE_HASH
from gitops_rollouts.render.objects import RenderedObject
from gitops_rollouts.sync.routed import Routes, is_routed_kind

Key = tuple[str, str]
"""(namespace, name)."""


@dataclass(frozen=True, slots=True)
class Watched:
    """Which objects have fields of other owners."""

    scaled: frozenset[Key] = field(default_factory=frozenset)
    """Rollouts whose size an autoscaler sets."""
    shrunk: frozenset[Key] = field(default_factory=frozenset)
    """Deployments that a Rollout takes over from, or has taken over from, so that their size isn't Git's."""
    routes: Routes = field(default_factory=Routes)
    """Objects whose weights and routes traffic routers set."""

    def applies_to(self, item: RenderedObject) -> bool:
        """Whether the live object has to be read before this one is applied.

        Each Service: the Rollout that points it may stand in another tree, or in a document that can't be used. A
        Rollout that is scaled, also without ``replicas``: to leave them out would take away what was applied before.
        A Deployment that a Rollout refers to: its own pods would start the new template at once, past every step.
        """
        if (item.group, item.kind) == ("", "Service"):
            return True
        if (item.group, item.kind) == ("apps", "Deployment"):
            return (item.namespace, item.name) in self.shrunk
        if self.routes.touches(item):
            return True
        return item.is_rollout and (item.namespace, item.name) in self.scaled


def scaled_by(autoscalers: Iterable[Mapping[str, Any]]) -> frozenset[Key]:
    """The Rollouts that these HorizontalPodAutoscalers (raw) scale."""
    found: set[Key] = set()
    for raw in autoscalers:
        reference = _mapping(_spec(raw).get("scaleTargetRef"))
        group = str(reference.get("apiVersion") or "").rpartition("/")[0]
        if reference.get("kind") == "Rollout" and group == ARGO_GROUP:
            found.add((str(_mapping(raw.get("metadata")).get("namespace") or ""), str(reference.get("name") or "")))
    return frozenset(found)


def referred_by(rollouts: Iterable[Mapping[str, Any]]) -> frozenset[Key]:
    """The Deployments that these live Rollouts (raw) name in ``spec.workloadRef`` (docs/behaviour.md §2.2)."""
    found: set[Key] = set()
    for raw in rollouts:
        reference = _mapping(_spec(raw).get("workloadRef"))
        group = str(reference.get("apiVersion") or "").rpartition("/")[0]
        if reference.get("kind") == "Deployment" and group == "apps":
            found.add((str(_mapping(raw.get("metadata")).get("namespace") or ""), str(reference.get("name") or "")))
    return frozenset(found)


def take_over(item: RenderedObject, live: Mapping[str, Any], routes: Routes) -> Mapping[str, Any]:
    """The object's body with the live values of fields that others set, bound to the live version."""
    if is_routed_kind(item.group, item.kind):
        return _bound(routes.keep(item, item.raw, live), live)
    spec = dict(_spec(item.raw))
    live_spec = _spec(live)
    if item.is_rollout or item.kind == "Deployment":
        if isinstance(live_spec.get("replicas"), int):
            spec["replicas"] = live_spec["replicas"]
    else:
        pointed = _mapping(live_spec.get("selector")).get(POD_TEMPLATE_HASH)
        if isinstance(pointed, str):
            spec["selector"] = {**_mapping(spec.get("selector")), POD_TEMPLATE_HASH: pointed}
    return _bound({**item.raw, "spec": spec}, live)


def _bound(body: Mapping[str, Any], live: Mapping[str, Any]) -> Mapping[str, Any]:
    version = _mapping(live.get("metadata")).get("resourceVersion")
    return {**body, "metadata": {**body["metadata"], **({"resourceVersion": version} if version else {})}}


def _spec(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    return _mapping(raw.get("spec"))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
