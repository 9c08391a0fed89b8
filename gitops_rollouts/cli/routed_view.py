"""What the objects that routers write say of the traffic now, for people (docs/behaviour.md §15.3)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.errors import Forbidden, NotFound, UnknownKind

if TYPE_CHECKING:
    from gitops_rollouts.api.meta import Raw
    from gitops_rollouts.api.validation import FieldError
    from gitops_rollouts.kube.client import Client
    from gitops_rollouts.kube.discovery import Discovery
    from gitops_rollouts.traffic.among import Among
    from gitops_rollouts.traffic.object_router import Actual, ObjectRouter
    from gitops_rollouts.traffic.objects import Reference, Selection

_ISTIO: Final = "istio"
_CHAIN: Final = 8
"""One object leads to the next no further than this."""


@dataclass(frozen=True, slots=True)
class RoutedView:
    """One split in one object. ``where``: the part of it, "" for all. Weights as they stand there."""

    router: str
    kind: str
    name: str
    where: str
    canary: int | None
    stable: int | None
    additional: tuple[tuple[str, int], ...] = ()
    managed_routes: tuple[str, ...] = ()

    def text(self) -> str:
        """``istio VirtualService web, route primary: canary 20, stable 80, managed routes beta``."""
        place = f"{self.router} {self.kind} {self.name}" + (f", {self.where}" if self.where else "")
        shares = [("canary", self.canary), ("stable", self.stable), *self.additional]
        said = [f"{name} {weight}" for name, weight in shares if weight is not None] or ["no weights"]
        if self.managed_routes:
            said.append(f"managed routes {' '.join(self.managed_routes)}")
        return f"{place}: {', '.join(said)}"

    def encode(self) -> dict[str, Any]:
        """For a program; the keys are stable."""
        return {
            "router": self.router,
            "kind": self.kind,
            "name": self.name,
            "where": self.where,
            "canary": self.canary,
            "stable": self.stable,
            "additional": dict(self.additional),
            "managedRoutes": list(self.managed_routes),
        }


async def of_rollout(client: Client, rollout: Rollout) -> tuple[RoutedView, ...]:
    """What the objects that its routers refer to say. What isn't there, or may not be read, is left out."""
    routers = _routers(rollout)
    found, _ = await _found(client, rollout, routers)
    return tuple(_view(router.key, one) for router in routers for one in router.actual(rollout, found))


async def problems_of(client: Client, rollout: Rollout) -> tuple[FieldError, ...]:
    """What is wrong with these objects, whatever isn't there first (§20 (B)).

    Nothing where they may not be read, and of Istio's nothing if they are in its primary cluster (§15.3).
    """
    from gitops_rollouts.traffic.over_objects import missing

    routers = _routers(rollout)
    if any(router.key == _ISTIO for router in routers) and await _istio_is_elsewhere(client):
        routers = [router for router in routers if router.key != _ISTIO]
    found, complete = await _found(client, rollout, routers)
    if not complete:
        return ()
    absent = [error for router in routers for error in missing(router, rollout, found)]
    return (*absent, *(error for router in routers for error in router.check(rollout, found)))


async def _istio_is_elsewhere(client: Client) -> bool:
    """Whether any Secret says so; which one the controller reads depends on its namespace."""
    from gitops_rollouts.api.names import PRIMARY_CLUSTER
    from gitops_rollouts.kube.resources import SECRETS

    try:
        return bool(await client.list(SECRETS, None, f"{PRIMARY_CLUSTER}=true"))
    except Forbidden:
        return False


def _routers(rollout: Rollout) -> list[ObjectRouter]:
    from gitops_rollouts.traffic.built_in import BUILT_IN
    from gitops_rollouts.traffic.over_objects import asked_of

    return asked_of(BUILT_IN, rollout)


async def _found(client: Client, rollout: Rollout, routers: list[ObjectRouter]) -> tuple[Among, bool]:
    """All that the routers refer to, and whether all of it could be read."""
    from gitops_rollouts.kube.discovery import Discovery
    from gitops_rollouts.traffic.among import Among
    from gitops_rollouts.traffic.over_objects import every_reference

    discovery = Discovery(client)
    asked: set[object] = set()
    objects: list[Raw] = []
    complete = True
    for _ in range(_CHAIN):
        news = [one for one in every_reference(routers, rollout, Among(objects)) if one not in asked]
        if not news:
            break
        asked.update(news)
        for one in news:
            try:
                objects += await _read(client, discovery, one)
            except Forbidden:
                complete = False
    return Among(objects), complete


def texts(seen: Iterable[RoutedView], told: int | None) -> Iterator[str]:
    """A line each, the first twenty. ``told``: the canary's weight that routers were told; any other is pointed out."""
    for each in tuple(seen)[:20]:
        differs = None not in (each.canary, told) and each.canary != told
        yield each.text() + (f" (not {told}, as it was told)" if differs else "")


def _view(router: str, actual: Actual) -> RoutedView:
    return RoutedView(
        router,
        actual.reference.kind.kind,
        actual.reference.name,
        actual.where,
        actual.canary,
        actual.stable,
        actual.additional,
        actual.managed_routes,
    )


async def _read(client: Client, discovery: Discovery, what: Reference | Selection) -> list[Raw]:
    from gitops_rollouts.traffic.objects import Reference

    try:
        resource = await discovery.resolve_any(what.kind.group, what.kind.versions, what.kind.kind)
        if isinstance(what, Reference):
            return [await client.get(resource, what.namespace, what.name)]
        return await client.list(resource, what.namespace, what.text) if what.text else []
    except (NotFound, UnknownKind):
        return []
