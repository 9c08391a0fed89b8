"""Which of the objects that are about to be applied have fields that something in the cluster sets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from gitops_rollouts.errors import NotFound
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import DEPLOYMENTS, HPAS, ROLLOUTS, Resource
from gitops_rollouts.render.objects import RenderedObject
from gitops_rollouts.sync import workloads
from gitops_rollouts.sync.routed import Routes, is_routed_kind, routes_of
from gitops_rollouts.sync.takeover import Watched, referred_by, scaled_by

_FEW: Final = 3
"""So many namespaces are listed one by one; one list of the whole cluster is cheaper than more of them."""


async def watched(client: Client, items: Sequence[RenderedObject], fresh: Iterable[RenderedObject]) -> Watched:
    """Ask the cluster for autoscalers and Rollouts, each only where an object of ``fresh`` could be theirs.

    Raises `KubeError`.
    """
    fresh = tuple(fresh)
    autoscalers: list[Mapping[str, Any]] = [item.raw for item in items if item.kind == HPAS.kind]
    autoscalers += await _listed(client, HPAS, {item.namespace for item in fresh if item.is_rollout})
    deployed = {item.namespace for item in fresh if (item.group, item.kind) == (DEPLOYMENTS.group, DEPLOYMENTS.kind)}
    routed = {item.namespace for item in fresh if is_routed_kind(item.group, item.kind)}
    rollouts = await _listed(client, ROLLOUTS, deployed | routed)
    known = [*(item.raw for item in items if item.is_rollout), *rollouts]
    routes = routes_of(known, items) if routed else Routes()
    return Watched(scaled_by(autoscalers), workloads.handed_over(items) | referred_by(rollouts), routes)


async def _listed(client: Client, resource: Resource, namespaces: set[str]) -> list[dict[str, Any]]:
    """The objects of a kind in these namespaces; none before the kind is installed."""
    found: list[dict[str, Any]] = []
    try:
        for namespace in sorted(namespaces) if len(namespaces) <= _FEW else [None]:
            found += await client.list(resource, namespace)
    except NotFound:
        return []
    return found
