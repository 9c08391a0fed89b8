"""Managed routes of a VirtualService: header and mirror routes that steps set (docs/behaviour.md §15.3)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.api.steps import RouteMatch, SetHeaderRoute, SetMirrorRoute, StringMatch
from gitops_rollouts.traffic.istio.names import Sides, destination_of, virtual_services
from gitops_rollouts.traffic.istio.routes import destinations, name_of
from gitops_rollouts.traffic.istio.weights import weight_of
from gitops_rollouts.traffic.marker import marks
from gitops_rollouts.traffic.objects import mapping, sequence
from gitops_rollouts.traffic.router import routing_of

_DESTINATION_KEYS: Final = ("host", "subset", "port")


def managed_names(rollout: Rollout) -> tuple[str, ...]:
    """The routes that steps may set, by precedence. One that carries the weights is never one of them."""
    canary, routing = rollout.spec.strategy.canary, routing_of(rollout)
    if canary is None or routing is None:
        return ()
    names = [route.name for route in routing.managed_routes]
    names += [step.set_header_route.name for step in canary.steps if step.set_header_route is not None]
    names += [step.set_mirror_route.name for step in canary.steps if step.set_mirror_route is not None]
    weighted = weighted_names(rollout)
    return tuple(dict.fromkeys(name for name in names if name and name not in weighted))


def names_in(rollout: Rollout, live: Mapping[str, Any]) -> tuple[str, ...]:
    """`managed_names`, and those of before that the mark on the object tells of: they may still stand in it."""
    key, weighted = (rollout.metadata.namespace, rollout.metadata.name), weighted_names(rollout)
    former = [
        name
        for mark in marks(live)
        if (mark.key, mark.uid) == (key, rollout.metadata.uid)
        for name in managed_names(mark.rollout)
        if name not in weighted
    ]
    return tuple(dict.fromkeys([*managed_names(rollout), *former]))


def weighted_names(rollout: Rollout) -> frozenset[str]:
    """The http routes that the Rollout names as those with the weights."""
    return frozenset(name for _, service in virtual_services(rollout) for name in service.routes)


def without(http: Sequence[Any], managed: Collection[str]) -> list[Any]:
    """The http routes but the managed ones."""
    return [route for route in http if name_of(route) not in managed]


def mirrors(http: Sequence[Any], managed: Collection[str]) -> list[int]:
    """Where mirror routes of ours are: their weights follow."""
    return [
        index
        for index, route in enumerate(http)
        if name_of(route) in managed and isinstance(mapping(route).get("mirror"), dict)
    ]


def header_route(step: SetHeaderRoute, weighted: Mapping[str, Any], sides: Sides) -> dict[str, Any] | None:
    """The route that a setHeaderRoute asks for, all of it to the canary of ``weighted``; None: there is to be none."""
    target = _canary(weighted, sides)
    if not step.match or target is None:
        return None
    match = [{"headers": {one.header_name: _text_match(one.header_value)}} for one in step.match]
    return {"name": step.name, "match": match, "route": [{"destination": target, "weight": 100}]}


def mirror_route(step: SetMirrorRoute, weighted: Mapping[str, Any], sides: Sides) -> dict[str, Any] | None:
    """The route that a setMirrorRoute asks for, split as ``weighted`` is; None: there is to be none."""
    target = _canary(weighted, sides)
    if not step.match or target is None:
        return None
    return {
        "name": step.name,
        "match": [_request_match(one) for one in step.match],
        "route": [_copied(one) for one in destinations(weighted)],
        "mirror": target,
        "mirrorPercentage": {"value": 100 if step.percentage is None else step.percentage},
    }


def placed(http: Sequence[Any], name: str, route: Mapping[str, Any] | None) -> list[Any]:
    """The http routes with this one instead of those of its name, at the front if there was none; None: without."""
    result: list[Any] = []
    left = route
    for one in http:
        if name_of(one) != name:
            result.append(one)
        elif left is not None:
            result.append(dict(left))
            left = None
    return result if left is None else [dict(left), *result]


def ordered(http: Sequence[Any], managed: Sequence[str]) -> list[Any]:
    """Managed routes first, in their order; the rest as it is. A list that is good enough stays.

    Routes like ours may stand between them: another Rollout that shares the VirtualService has put them there.
    """
    rank = {name: position for position, name in enumerate(managed)}
    last, plain = -1, False
    for route in http:
        name = name_of(route)
        if name in rank:
            if plain or rank[name] < last:
                break
            last = rank[name]
        elif not _like_ours(route):
            plain = True
    else:
        return list(http)
    first = sorted((route for route in http if name_of(route) in rank), key=lambda route: rank[name_of(route)])
    return [*first, *without(http, managed)]


def kept(git: Sequence[Any], live: Sequence[Any], managed: Sequence[str]) -> list[Any]:
    """Git's http routes with the managed routes of the cluster, each where it stands there."""
    result = without(git, managed)
    for index in range(len(live) - 1, -1, -1):
        if name_of(live[index]) in managed:
            result.insert(_position(result, live, index), live[index])
    return ordered(result, managed)


def _position(result: Sequence[Any], live: Sequence[Any], index: int) -> int:
    """Before the next route that both have, after the last one before it, or first."""
    there = {name: place for place, name in reversed(list(enumerate(map(name_of, result)))) if name}
    for route in live[index + 1 :]:
        if (place := there.get(name_of(route))) is not None:
            return place
    for route in reversed(live[:index]):
        if (place := there.get(name_of(route))) is not None:
            return place + 1
    return 0


def _like_ours(route: Any) -> bool:
    """A route that a step of some Rollout may have set: a mirror, or all to one destination by headers."""
    if not name_of(route) or not sequence(mapping(route).get("match")):
        return False
    if isinstance(mapping(route).get("mirror"), dict):
        return True
    only = all(mapping(match).keys() == {"headers"} for match in sequence(mapping(route).get("match")))
    return only and len(destinations(route)) == 1


def _canary(weighted: Mapping[str, Any], sides: Sides) -> dict[str, Any] | None:
    """The canary's destination in a route: host, subset and port as people wrote them there."""
    for one in destinations(weighted):
        destination = destination_of(one)
        if sides.of(destination) == "canary":
            return {key: destination[key] for key in _DESTINATION_KEYS if key in destination}
    return None


def _copied(weighted: Any) -> dict[str, Any]:
    destination, weight = destination_of(weighted), weight_of(weighted)
    copy = {key: destination[key] for key in _DESTINATION_KEYS if key in destination}
    return {"destination": copy, **({"weight": weight} if weight else {})}


def _request_match(match: RouteMatch) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if match.method is not None:
        found["method"] = _text_match(match.method)
    if match.path is not None:
        found["uri"] = _text_match(match.path)
    if match.headers:
        found["headers"] = {name: _text_match(value) for name, value in match.headers.items()}
    return found


def _text_match(match: StringMatch | None) -> dict[str, str]:
    if match is None:
        return {}
    pairs = (("exact", match.exact), ("prefix", match.prefix), ("regex", match.regex))
    return next(({key: text} for key, text in pairs if text), {})
