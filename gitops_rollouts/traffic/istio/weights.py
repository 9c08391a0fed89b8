"""Weights of the destinations of one route of a VirtualService (docs/behaviour.md §15.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gitops_rollouts.traffic.istio.names import SPLIT, Sides, Split, destination_of, short_host
from gitops_rollouts.traffic.objects import mapping
from gitops_rollouts.traffic.router import Wanted


def weight_of(weighted: Any) -> int:
    """The weight of one entry of a route; what is no weight counts as 0, as Istio takes an absent one."""
    weight = mapping(weighted).get("weight")
    return weight if isinstance(weight, int) and not isinstance(weight, bool) and weight > 0 else 0


def split(route: Sequence[Any], sides: Sides, wanted: Wanted) -> list[Any]:
    """The destinations with the wanted weights, in their order; what an experiment lacks is added at the end.

    A destination that is nobody's and has a weight goes: it would take traffic from all (an experiment that is over
    goes so). One without a weight, and the additional subsets, stay as they are.
    """
    experiments = {short_host(one.service): one.weight for one in wanted.additional if one.service and one.weight > 0}
    left = dict(experiments)
    weights: dict[str, int] = {
        "canary": max(0, wanted.canary.weight),
        "stable": max(0, wanted.stable.weight - kept_weight(route, sides)),
    }
    result: list[Any] = []
    for one in route:
        destination = destination_of(one)
        side, host = sides.of(destination), short_host(destination.get("host"))
        if side in SPLIT:
            result.append(with_weight(one, weights.get(side, 0)))
            weights[side] = 0  # a second one of the same version would double its share
        elif side == "" and host in experiments:
            result.append(with_weight(one, left.pop(host, 0)))
        elif side == "kept" or weight_of(one) == 0:
            result.append(one)
    return result + [{"destination": {"host": host}, "weight": weight} for host, weight in sorted(left.items())]


def kept(git: Sequence[Any], live: Sequence[Any], sides: Sides, elsewhere: Wanted | None) -> list[Any]:
    """The destinations of Git, with the weights that the route has in the cluster.

    A route or version that isn't there in the cluster gets what others have, ``elsewhere``.
    Weights of additional subsets are Git's, so what they gain goes from the stable version.
    """
    if not live and elsewhere is not None:
        return split(git, sides, elsewhere)
    sought = _by_identity(live, sides)
    result: list[Any] = []
    taken: set[tuple[str, str, int]] = set()
    seen: dict[tuple[str, str], int] = {}
    for one in git:
        side, text = _identity(one, sides)
        if side == "kept" or not isinstance(one, dict):
            result.append(one)
            continue
        nth = seen[side, text] = seen.get((side, text), -1) + 1
        known = sought.get((side, text, nth))
        taken.add((side, text, nth))
        if known is not None:
            result.append(_weight_from(one, known))
        elif side:
            result.append(with_weight(one, _as_elsewhere(side, nth, elsewhere)) if elsewhere is not None else one)
        elif weight_of(one) == 0:
            result.append(one)
    result += [one for key, one in sought.items() if key[0] == "" and key not in taken and weight_of(one) > 0]
    return _levelled(result, live, sides)


def _identity(weighted: Any, sides: Sides) -> tuple[str, str]:
    """(side, what tells destinations of no side apart)."""
    destination = destination_of(weighted)
    side = sides.of(destination)
    if side:
        return side, ""
    port = mapping(destination.get("port")).get("number")
    return "", f"{short_host(destination.get('host'))}/{destination.get('subset')}/{port}"


def _by_identity(live: Sequence[Any], sides: Sides) -> dict[tuple[str, str, int], dict[str, Any]]:
    found: dict[tuple[str, str, int], dict[str, Any]] = {}
    for one in live:
        if isinstance(one, dict):
            side, text = _identity(one, sides)
            nth = sum(1 for key in found if key[:2] == (side, text))
            found[side, text, nth] = one
    return found


def _as_elsewhere(side: str, nth: int, elsewhere: Wanted) -> int:
    if nth:
        return 0
    return elsewhere.canary.weight if side == "canary" else elsewhere.stable.weight


def _levelled(result: list[Any], live: Sequence[Any], sides: Sides) -> list[Any]:
    """The stable version's weight after a change of additional subsets in Git: the sum stays."""
    more = kept_weight(result, sides) - kept_weight(live, sides)
    if not more:
        return result
    for index, one in enumerate(result):
        if sides.of(destination_of(one)) == "stable":
            return [*result[:index], with_weight(one, max(0, weight_of(one) - more)), *result[index + 1 :]]
    return result


def kept_weight(route: Sequence[Any], sides: Sides) -> int:
    """What the additional subsets have."""
    return sum(weight_of(one) for one in route if sides.of(destination_of(one)) == "kept")


def with_weight(weighted: Any, weight: int) -> Any:
    """The entry with this weight; one that says so already stays as it is, an absent weight being 0."""
    if not isinstance(weighted, dict) or (weight_of(weighted) == weight and not _odd(weighted)):
        return weighted
    return {**weighted, "weight": weight}


def _odd(weighted: Mapping[str, Any]) -> bool:
    """Whether its weight is none: negative, or no integer."""
    weight = weighted.get("weight", 0)
    return isinstance(weight, bool) or not isinstance(weight, int) or weight < 0


def _weight_from(one: dict[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """The entry with the other's weight, absent if it is absent there."""
    without = {key: value for key, value in one.items() if key != "weight"}
    return {**without, "weight": other["weight"]} if "weight" in other else without


def sums(route: Sequence[Any], sides: Sides) -> dict[Split, int | None]:
    """The weight of each version in the route, None where it has no destination."""
    found: dict[Split, int | None] = {}
    for side in SPLIT:
        ours = [weight_of(one) for one in route if sides.of(destination_of(one)) == side]
        found[side] = sum(ours) if ours else None
    return found


def others(route: Sequence[Any], sides: Sides) -> list[tuple[str, int]]:
    """(short host, weight) of what is neither version's nor an additional subset's and has a weight."""
    found = [destination_of(one) | {"weight": weight_of(one)} for one in route if not sides.of(destination_of(one))]
    return [(short_host(one.get("host")), one["weight"]) for one in found if one["weight"]]
