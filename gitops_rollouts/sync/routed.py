"""Which fields of a tree's objects traffic routers set, so that applying them takes nothing back (§15.6).

Most lists of routes are atomic: two owners can't share one. So what routers own in an object is taken over from the
live object into the one that is applied, and all else comes from Git.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gitops_rollouts.api.rollout import Rollout, parse_rollout
from gitops_rollouts.render.objects import RenderedObject
from gitops_rollouts.traffic.among import Among
from gitops_rollouts.traffic.built_in import BUILT_IN
from gitops_rollouts.traffic.marker import marks
from gitops_rollouts.traffic.object_router import ObjectRouter
from gitops_rollouts.traffic.over_objects import references
from gitops_rollouts.traffic.router import routing_of

Place = tuple[str, str, str, str]
"""(group, kind, namespace, name)."""


def is_routed_kind(group: str, kind: str) -> bool:
    """Whether routers write objects of this kind."""
    return (group, kind) in _WRITTEN


@dataclass(frozen=True, slots=True)
class Routes:
    """Who routes what: each object with the routers and Rollouts that own fields of it."""

    owners: Mapping[Place, Sequence[tuple[ObjectRouter, Rollout]]] = field(default_factory=dict)

    def touches(self, item: RenderedObject) -> bool:
        """Whether the live object has to be read before this one is applied: its mark may tell of any Rollout."""
        return is_routed_kind(item.group, item.kind)

    def keep(self, item: RenderedObject, body: Mapping[str, Any], live: Mapping[str, Any]) -> dict[str, Any]:
        """The body with the live values of what routers own in it.

        The mark on the live object counts as much as the Rollouts: it tells of those that are in no tree of ours, and
        of what has to stay until it is given back.
        """
        kept = dict(body)
        for router, rollout in (*self.owners.get(_place(item), ()), *_marked(live)):
            kept = router.keep(rollout, kept, dict(live))
        return kept


def routes_of(rollouts: Iterable[Mapping[str, Any]], objects: Iterable[RenderedObject]) -> Routes:
    """What these Rollouts (raw) route, as far as the objects of the tree tell."""
    tree = Among(item.raw for item in objects if (item.group, item.kind) in _READ)
    owners: dict[Place, list[tuple[ObjectRouter, Rollout]]] = {}
    for raw in rollouts:
        rollout = parse_rollout(dict(raw))
        for router in _asked(rollout):
            for each in references(router, rollout, tree):
                place = (each.kind.group, each.kind.kind, each.namespace, each.name)
                owners.setdefault(place, []).append((router, rollout))
    return Routes(owners)


def _asked(rollout: Rollout) -> list[ObjectRouter]:
    routing = routing_of(rollout)
    return [router for router in BUILT_IN if routing is not None and router.asked(routing)]


def _marked(live: Mapping[str, Any]) -> list[tuple[ObjectRouter, Rollout]]:
    return [(router, mark.rollout) for mark in marks(live) for router in _asked(mark.rollout)]


def _place(item: RenderedObject) -> Place:
    return item.group, item.kind, item.namespace, item.name


_READ: Final = frozenset((kind.group, kind.kind) for router in BUILT_IN for kind in router.kinds)
_WRITTEN: Final = frozenset((kind.group, kind.kind) for router in BUILT_IN for kind in router.kinds if kind.group)
