"""Lists of destinations with weights, as most routers have them: which of them are a Rollout's, and what they get.

A list may hold anything: what is no destination of the Rollout, or no JSON object at all, stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.traffic.router import Wanted, routing_of

CANARY: Final = "canary"
STABLE: Final = "stable"

RoleOf = Callable[[dict[str, Any]], str]
"""`CANARY`, `STABLE`, another name of the router's own, or ``""`` for what isn't the Rollout's."""


def canary_and_stable(wanted: Wanted) -> dict[str, int]:
    """The weights of a router that knows no other destinations: stable gets all that the canary doesn't."""
    return {CANARY: wanted.canary.weight, STABLE: wanted.max_weight - wanted.canary.weight}


def all_on_stable(rollout: Rollout) -> dict[str, int]:
    """The weights when nothing is routed any more."""
    routing = routing_of(rollout)
    return {CANARY: 0, STABLE: 100 if routing is None else routing.max_weight}


def named(name: str, rollout: Rollout) -> str:
    """The role of the Service of this name: the one in ``canaryService`` or ``stableService``."""
    canary = rollout.spec.strategy.canary
    if canary is None or not name:
        return ""
    if name == canary.stable_service:
        return STABLE
    return CANARY if name == canary.canary_service else ""


def weighted(entries: Sequence[Any], role_of: RoleOf, weights: Mapping[str, int]) -> list[Any]:
    """The list with ``weight`` set where a role has one; of several with one role the first gets it, the others 0."""
    left = dict(weights)
    result: list[Any] = []
    for entry in entries:
        role = _role(entry, role_of)
        if role in weights:
            result.append({**entry, "weight": left.get(role, 0)})
            left[role] = 0
        else:
            result.append(entry)
    return result


def with_live_weights(entries: Sequence[Any], live: Sequence[Any], role_of: RoleOf) -> list[Any]:
    """The list with the weights that the live one has for each role.

    A role that the live list lacks keeps what the list says, but a canary that comes anew beside a stable one starts
    with 0; one that the live list has less often gets 0 for the rest.
    """
    there: dict[str, list[dict[str, Any]]] = {}
    for entry in live:
        if role := _role(entry, role_of):
            there.setdefault(role, []).append(entry)
    if STABLE in there:
        there.setdefault(CANARY, [])
    known = frozenset(there)
    result: list[Any] = []
    for entry in entries:
        role = _role(entry, role_of)
        if role not in known:
            result.append(entry)
        elif there[role]:
            result.append(_with_weight_of(entry, there[role].pop(0)))
        else:
            result.append({**entry, "weight": 0})
    return result


def weight_of(entries: Sequence[Any], role_of: RoleOf, role: str) -> int | None:
    """The weight of the first destination with this role; None if there is none, or it has no whole number."""
    for entry in entries:
        if _role(entry, role_of) == role:
            weight = entry.get("weight")
            return weight if isinstance(weight, int) and not isinstance(weight, bool) else None
    return None


def roles_in(entries: Sequence[Any], role_of: RoleOf) -> list[str]:
    """The roles of the destinations that are the Rollout's, in order."""
    return [role for entry in entries if (role := _role(entry, role_of))]


def _role(entry: Any, role_of: RoleOf) -> str:
    return role_of(entry) if isinstance(entry, dict) else ""


def _with_weight_of(entry: dict[str, Any], live: dict[str, Any]) -> dict[str, Any]:
    if "weight" in live:
        return {**entry, "weight": live["weight"]}
    return {key: value for key, value in entry.items() if key != "weight"}
