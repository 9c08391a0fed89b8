"""Which fields of a tree's objects traffic routers set, so that applying them takes nothing back (§15.6).

Most lists of routes are atomic: two owners can't share one. So what routers own in an object is taken over from the
live object into the one that is applied, and all else comes from Git.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from gitops_rollouts.api.rollout import Rollout, parse_rollout
from gitops_rollouts.errors import RoutingError
from gitops_rollouts.render.objects import RenderedObject
from gitops_rollouts.traffic.among import Among
from gitops_rollouts.traffic.built_in import BUILT_IN
from gitops_rollouts.traffic.marker import marks
from gitops_rollouts.traffic.object_router import ObjectRouter
from gitops_rollouts.traffic.over_objects import asked_of, references

log = structlog.get_logger(__name__)

NAMED_ACROSS_NAMESPACES: Final = frozenset({"networking.istio.io", "gateway.networking.k8s.io"})
"""Groups of objects that a Rollout of another namespace may name."""
Place = tuple[str, str, str, str]
"""(group, kind, namespace, name)."""


def is_routed_kind(group: str, kind: str) -> bool:
    """Whether routers write objects of this kind."""
    return (group, kind) in _WRITTEN


@dataclass(frozen=True, slots=True)
class Routes:
    """Who routes what: each object with the routers and Rollouts that own fields of it."""

    owners: Mapping[Place, Sequence[tuple[ObjectRouter, Rollout]]] = field(default_factory=dict)
    looked_through: frozenset[tuple[str, str]] = frozenset()
    """(group, kind) of which `marked` names all that bear a mark, as far as they are about to be applied."""
    marked: frozenset[Place] = frozenset()

    def touches(self, item: RenderedObject) -> bool:
        """Whether the live object has to be read before this one is applied: its mark may tell of any Rollout."""
        if not is_routed_kind(item.group, item.kind):
            return False
        known = (item.group, item.kind) in self.looked_through
        return not known or place_of(item) in self.owners or place_of(item) in self.marked

    def keep(self, item: RenderedObject, body: Mapping[str, Any], live: Mapping[str, Any]) -> dict[str, Any]:
        """The body with the live values of what routers own in it.

        The mark on the live object counts as much as the Rollouts: it tells of those that are in no tree of ours, and
        of what has to stay until it is given back.
        """
        kept = dict(body)
        for router, rollout in (*self.owners.get(place_of(item), ()), *_marked(live)):
            try:
                kept = router.keep(rollout, kept, dict(live))
            except RoutingError as error:
                # what a router can't read it owns nothing in: what Git has may be what puts it right
                log.warning("routed object applied as it is in Git", object=str(item.identity), error=error.message)
        return kept


def routes_of(rollouts: Iterable[Mapping[str, Any]], objects: Iterable[RenderedObject]) -> Routes:
    """What these Rollouts (raw) route, as far as the objects of the tree tell."""
    tree = Among(item.raw for item in objects if (item.group, item.kind) in _READ)
    owners: dict[Place, list[tuple[ObjectRouter, Rollout]]] = {}
    for raw in rollouts:
        rollout = parse_rollout(dict(raw))
        for router in asked_of(BUILT_IN, rollout):
            for each in references(router, rollout, tree):
                place = (each.kind.group, each.kind.kind, each.namespace, each.name)
                owners.setdefault(place, []).append((router, rollout))
    return Routes(owners)


def _marked(live: Mapping[str, Any]) -> list[tuple[ObjectRouter, Rollout]]:
    return [(router, mark.rollout) for mark in marks(live) for router in asked_of(BUILT_IN, mark.rollout)]


def plural_of(item: RenderedObject) -> str:
    """What stands in the URLs of a routed kind."""
    return _WRITTEN[item.group, item.kind]


def place_of(item: RenderedObject) -> Place:
    """Where it is, or is about to be."""
    return item.group, item.kind, item.namespace, item.name


_READ: Final = frozenset((kind.group, kind.kind) for router in BUILT_IN for kind in router.kinds)
_WRITTEN: Final = {(kind.group, kind.kind): kind.plural for router in BUILT_IN for kind in router.kinds if kind.group}
