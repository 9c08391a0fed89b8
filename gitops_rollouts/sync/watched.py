"""Which of the objects that are about to be applied have fields that something in the cluster sets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from gitops_rollouts.errors import Forbidden, Gone, NotFound
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import DEPLOYMENTS, HPAS, ROLLOUTS, Resource
from gitops_rollouts.render.objects import RenderedObject
from gitops_rollouts.sync import workloads
from gitops_rollouts.sync.routed import NAMED_ACROSS_NAMESPACES, Place, Routes, is_routed_kind, plural_of, routes_of
from gitops_rollouts.sync.takeover import Watched, referred_by, scaled_by
from gitops_rollouts.traffic.marker import is_marked

_FEW: Final = 3
"""So many namespaces are listed, or objects read, one by one; one list of all is cheaper than more of them."""


async def watched(client: Client, items: Sequence[RenderedObject], fresh: Iterable[RenderedObject]) -> Watched:
    """Ask the cluster for autoscalers and Rollouts, each only where an object of ``fresh`` could be theirs.

    Raises `KubeError`.
    """
    fresh = tuple(fresh)
    autoscalers: list[Mapping[str, Any]] = [item.raw for item in items if item.kind == HPAS.kind]
    autoscalers += await _listed(client, HPAS, _few({item.namespace for item in fresh if item.is_rollout}))
    deployed = {item.namespace for item in fresh if (item.group, item.kind) == (DEPLOYMENTS.group, DEPLOYMENTS.kind)}
    routed = {item.namespace for item in fresh if item.namespace and is_routed_kind(item.group, item.kind)}
    across = any(item.group in NAMED_ACROSS_NAMESPACES for item in fresh)
    rollouts = await _rollouts(client, deployed | routed, across=across)
    known = [*(item.raw for item in items if item.is_rollout), *rollouts]
    routes = await _with_marks(client, routes_of(known, items), fresh) if routed else Routes()
    return Watched(scaled_by(autoscalers), workloads.handed_over(items) | referred_by(rollouts), routes)


async def _rollouts(client: Client, namespaces: set[str], *, across: bool) -> list[dict[str, Any]]:
    """The Rollouts of these namespaces; ``across``: of all, as far as we may list them."""
    if across:
        with suppress(Forbidden):
            return await _listed(client, ROLLOUTS, [None])
    return await _listed(client, ROLLOUTS, _few(namespaces))


async def _with_marks(client: Client, routes: Routes, fresh: Iterable[RenderedObject]) -> Routes:
    """Also which objects bear a mark, of each kind of which many are about to be applied.

    A few pages cost less than each object's own request, and next to none is routed in most trees.
    """
    by_kind: dict[tuple[str, str], list[RenderedObject]] = {}
    for item in fresh:
        if is_routed_kind(item.group, item.kind):
            by_kind.setdefault((item.group, item.kind), []).append(item)
    looked_through: set[tuple[str, str]] = set()
    marked: set[Place] = set()
    for kind, members in by_kind.items():
        if len(members) <= _FEW:
            continue
        try:
            marked |= await _marked(client, members)
        except (Forbidden, Gone):
            continue  # each is read before it is applied
        looked_through.add(kind)
    return replace(routes, looked_through=frozenset(looked_through), marked=frozenset(marked))


async def _marked(client: Client, members: Sequence[RenderedObject]) -> set[Place]:
    """The objects with a mark among all of this kind in the namespaces of these."""
    one = members[0]
    resource = Resource(one.group, one.api_version.rpartition("/")[2], plural_of(one), one.kind, namespaced=True)
    namespaces = {item.namespace for item in members if item.namespace}
    found: set[Place] = set()
    try:
        for namespace in _few(namespaces):
            async for page in client.list_pages(resource, namespace):
                metas = [raw["metadata"] for raw in page.get("items") or [] if is_marked(raw)]
                found |= {(one.group, one.kind, meta.get("namespace") or "", meta["name"]) for meta in metas}
    except NotFound:
        return set()
    return found


def _few(namespaces: set[str]) -> list[str | None]:
    """Each of them, or None for all at once if they are many."""
    return [*sorted(namespaces)] if len(namespaces) <= _FEW else [None]


async def _listed(client: Client, resource: Resource, namespaces: Iterable[str | None]) -> list[dict[str, Any]]:
    """The objects of a kind in these namespaces, None for all; none before the kind is installed."""
    found: list[dict[str, Any]] = []
    try:
        for namespace in namespaces:
            found += await client.list(resource, namespace)
    except NotFound:
        return []
    return found
