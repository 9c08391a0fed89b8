"""One VirtualService of a Rollout: weights and managed routes in, and everything else as people wrote it (§15.3)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from gitops_rollouts.api.meta import Raw
from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.api.traffic import IstioVirtualService
from gitops_rollouts.errors import RoutingError
from gitops_rollouts.traffic.istio import managed, weights
from gitops_rollouts.traffic.istio.names import Sides, sides_of
from gitops_rollouts.traffic.istio.routes import PROTOCOLS, Chosen, Route, chosen, destinations, name_of
from gitops_rollouts.traffic.object_router import Actual
from gitops_rollouts.traffic.objects import Reference, mapping, sequence, with_spec
from gitops_rollouts.traffic.router import Share, Wanted, routing_of


def problems(rollout: Rollout, service: IstioVirtualService, live: Raw) -> list[str]:
    """What is wrong in it, in the words of §20."""
    found = chosen(mapping(live.get("spec")), service, managed.names_in(rollout, live), sides_of(rollout))
    return [str(problem) for problem in found.problems]


def edited(rollout: Rollout, service: IstioVirtualService, wanted: Wanted, live: Raw) -> Raw:
    """The VirtualService as it is to be. Raises `RoutingError` if it lacks a route or a version.

    Nothing keeps traffic from going back to stable: then it is enough that some route leads there.
    """
    sides = sides_of(rollout, wanted)
    names = managed.managed_names(rollout)
    gone = managed.names_in(rollout, live) if wanted.done else set(managed.names_in(rollout, live)) - set(names)
    live = _without(live, gone)
    found = chosen(mapping(live.get("spec")), service, names, sides)
    back = goes_back(wanted)
    if found.problems and not (back and found.routes):
        raise RoutingError(f"VirtualService {_full_name(live)}: {found.problems[0]}", remedy="correct its routes")
    change = _split_back if back else weights.split
    spec = _weighted(mapping(live.get("spec")), found, names, lambda route: change(route, sides, wanted))
    http = sequence(spec.get("http"))
    if http:
        first = next((http[route.index] for route in found.routes if route.protocol == "http"), None)
        spec = {**spec, "http": managed.ordered(_with_steps(http, first, wanted, sides, names), names)}
    return with_spec(live, **spec)


def goes_back(wanted: Wanted) -> bool:
    """Whether stable is to have all traffic."""
    return wanted.canary.weight <= 0 and not wanted.additional


def sets_routes(live: Raw, rollout: Rollout, service: IstioVirtualService) -> bool:
    """Whether a header or mirror route can be set in it: it has an http route with weights."""
    found = chosen(mapping(live.get("spec")), service, managed.names_in(rollout, live), sides_of(rollout))
    return any(route.protocol == "http" for route in found.routes)


def without_managed_routes(rollout: Rollout, live: Raw) -> Raw:
    """The VirtualService without any route of ours."""
    return _without(live, managed.names_in(rollout, live))


def kept(rollout: Rollout, service: IstioVirtualService, git: Raw, live: Raw) -> Raw:
    """Git's VirtualService with the cluster's weights and managed routes."""
    names, sides = managed.managed_names(rollout), sides_of(rollout)
    spec, there = mapping(git.get("spec")), mapping(live.get("spec"))
    if sequence(spec.get("http")):
        spec = {**spec, "http": managed.without(sequence(spec.get("http")), names)}
    found = chosen(spec, service, names, sides)
    of_live = chosen(there, service, managed.names_in(rollout, live), sides)
    counterparts, elsewhere = _counterparts(found, of_live, there), _elsewhere(of_live, there, sides)
    for protocol in PROTOCOLS:
        routes = sequence(spec.get(protocol))
        if not routes:
            continue
        ours = {route.index: route for route in found.routes if route.protocol == protocol}
        spec = {
            **spec,
            protocol: [
                _with_destinations(
                    route, weights.kept(destinations(route), counterparts[ours[index]], sides, elsewhere)
                )
                if index in ours
                else route
                for index, route in enumerate(routes)
            ],
        }
    if sequence(spec.get("http")):
        spec = {**spec, "http": managed.kept(sequence(spec.get("http")), sequence(there.get("http")), names)}
    return git if spec == git.get("spec") else with_spec(git, **spec)


def given_back(rollout: Rollout, service: IstioVirtualService, live: Raw) -> Raw:
    """All traffic on stable, and no route of ours. What it lacks is left out."""
    sides, names = sides_of(rollout), managed.managed_names(rollout)
    routing = routing_of(rollout)
    whole = 100 if routing is None else routing.max_weight
    wanted = Wanted(Share(sides.canary_service, "", 0), Share(sides.stable_service, "", whole), max_weight=whole)
    live = without_managed_routes(rollout, live)
    spec = mapping(live.get("spec"))
    found = chosen(spec, service, names, sides)
    return with_spec(live, **_weighted(spec, found, names, lambda route: _split_back(route, sides, wanted)))


def actual(rollout: Rollout, service: IstioVirtualService, reference: Reference, live: Raw) -> Iterable[Actual]:
    """What each route says now."""
    names, sides, spec = managed.names_in(rollout, live), sides_of(rollout), mapping(live.get("spec"))
    there = tuple(name for route in sequence(spec.get("http")) if (name := name_of(route)) in names)
    for route in chosen(spec, service, names, sides).routes:
        entries = destinations(sequence(spec.get(route.protocol))[route.index])
        sums = weights.sums(entries, sides)
        yield Actual(
            reference,
            route.label,
            sums["canary"],
            sums["stable"],
            tuple(weights.others(entries, sides)),
            there if route.protocol == "http" else (),
        )


def _without(live: Raw, names: Collection[str]) -> Raw:
    http = sequence(mapping(live.get("spec")).get("http"))
    rest = managed.without(http, names)
    return live if len(rest) == len(http) else with_spec(live, http=rest)


def _weighted(
    spec: dict[str, Any], found: Chosen, names: Sequence[str], change: Callable[[list[Any]], list[Any]]
) -> dict[str, Any]:
    """The spec with the destinations of all routes with weights changed; mirror routes follow."""
    places = {(route.protocol, route.index) for route in found.routes}
    places |= {("http", index) for index in managed.mirrors(sequence(spec.get("http")), names)}
    for protocol in PROTOCOLS:
        routes = sequence(spec.get(protocol))
        if routes:
            changed = [
                _with_destinations(route, change(destinations(route))) if (protocol, index) in places else route
                for index, route in enumerate(routes)
            ]
            spec = {**spec, protocol: changed}
    return spec


def _with_destinations(route: Any, entries: list[Any]) -> Any:
    return {**route, "route": entries} if isinstance(route, dict) and entries else route


def _with_steps(http: list[Any], first: Any, wanted: Wanted, sides: Sides, names: Sequence[str]) -> list[Any]:
    if first is None:
        return http
    header, mirror = wanted.header_route, wanted.mirror_route
    if header is not None and header.name in names:
        http = managed.placed(http, header.name, managed.header_route(header, first, sides))
    if mirror is not None and mirror.name in names:
        http = managed.placed(http, mirror.name, managed.mirror_route(mirror, first, sides))
    return http


def _split_back(route: list[Any], sides: Sides, wanted: Wanted) -> list[Any]:
    """All to stable; a route that has no destination for it stays."""
    return weights.split(route, sides, wanted) if weights.sums(route, sides)["stable"] is not None else route


def _counterparts(git: Chosen, live: Chosen, there: dict[str, Any]) -> dict[Route, list[Any]]:
    """The destinations in the cluster of each of Git's routes: the nth of the same label."""
    known: dict[tuple[str, str, int], list[Any]] = {}
    for nth, route in _numbered(live.routes):
        known[route.protocol, route.label, nth] = destinations(sequence(there.get(route.protocol))[route.index])
    return {route: known.get((route.protocol, route.label, nth), []) for nth, route in _numbered(git.routes)}


def _numbered(routes: Iterable[Route]) -> Iterable[tuple[int, Route]]:
    seen: dict[tuple[str, str], int] = {}
    for route in routes:
        nth = seen[route.protocol, route.label] = seen.get((route.protocol, route.label), -1) + 1
        yield nth, route


def _elsewhere(live: Chosen, there: dict[str, Any], sides: Sides) -> Wanted | None:
    """How the first route of the cluster splits traffic that has both versions: a new one of Git is to do the same."""
    for route in live.routes:
        entries = destinations(sequence(there.get(route.protocol))[route.index])
        sums = weights.sums(entries, sides)
        if sums["canary"] is not None and sums["stable"] is not None:
            stable = sums["stable"] + weights.kept_weight(entries, sides)
            additional = tuple(Share(host, "", weight) for host, weight in weights.others(entries, sides))
            return Wanted(Share("", "", sums["canary"]), Share("", "", stable), additional)
    return None


def _full_name(raw: Raw) -> str:
    metadata = mapping(raw.get("metadata"))
    return f"{metadata.get('namespace')}/{metadata.get('name')}"
