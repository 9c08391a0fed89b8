"""The rules that header and mirror steps put into HTTPRoutes and GRPCRoutes (docs/behaviour.md §15.4)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gitops_rollouts.api.meta import Raw
from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.api.steps import SetHeaderRoute, SetMirrorRoute
from gitops_rollouts.errors import RoutingError
from gitops_rollouts.traffic.gateway_api.backends import Backends, backends_of
from gitops_rollouts.traffic.gateway_api.config import RouteKind
from gitops_rollouts.traffic.gateway_api.matches import header_conditions, mirrored, narrowed
from gitops_rollouts.traffic.gateway_api.targets import name_of
from gitops_rollouts.traffic.objects import mapping, same, sequence


@dataclass(frozen=True, slots=True)
class Managed:
    """One rule of a managed route."""

    route: str
    mirrors: bool
    rule: Raw


class ManagedRules:
    """Those of one Rollout in one route. Rules that carry such a name and lead elsewhere are somebody else's."""

    def __init__(self, rollout: Rollout, route: RouteKind, backends: Backends) -> None:
        canary = rollout.spec.strategy.canary
        routing = None if canary is None else canary.traffic_routing
        self._names = () if routing is None else tuple(one.name for one in routing.managed_routes if one.name)
        self._steps = () if canary is None else canary.steps
        self._route = route
        self._backends = backends

    def own(self, rule: Any) -> Managed | None:
        """The rule as ours, None if it isn't."""
        if not isinstance(rule, dict) or not self._names or not self._route.matches_headers:
            return None
        mirrors = self._mirrors(rule)
        refs = backends_of(rule)
        alone = len(refs) == 1 and self._backends.in_pair(self._backends.service(refs[0]))
        if not mirrors and not alone:
            return None
        name = name_of(rule)
        found = self._by_name(name) if name else self._by_steps(rule, mirrors=mirrors)
        return Managed(found, mirrors, rule) if found else None

    def for_headers(self, wanted: SetHeaderRoute, rules: Sequence[Any], base: Iterable[Raw]) -> list[Managed]:
        """A rule for each base rule, to the canary alone. ``rules``: all that stay. Raises `RoutingError`."""
        headers = header_conditions(wanted)
        made = []
        for rule in base:
            if matches := narrowed(rule.get("matches"), headers, self._route):
                target = {"group": "", "kind": "Service", **self._backends.of_canary(rule), "weight": 1}
                made.append({**rule, "matches": matches, "backendRefs": [target]})
        return self._named(wanted.name, made, rules, mirrors=False)

    def for_mirror(self, wanted: SetMirrorRoute, rules: Sequence[Any], base: Iterable[Raw]) -> list[Managed]:
        """A rule for each base rule, split as that is, that copies requests to the canary. Raises `RoutingError`."""
        what = f"mirror route {wanted.name}"
        percentage = 100 if wanted.percentage is None else wanted.percentage
        if not 0 <= percentage <= 100:
            raise RoutingError(f"{what}: {percentage} percent can't be mirrored", remedy="set 0 to 100")
        made = []
        for rule in base:
            if matches := mirrored(rule.get("matches"), wanted.match, self._route, what):
                target = {"group": "", "kind": "Service", **self._backends.of_canary(rule)}
                kept = ("group", "kind", "name", "namespace", "port")
                mirror: Raw = {"backendRef": {key: value for key, value in target.items() if key in kept}}
                if percentage != 100:
                    mirror["percent"] = percentage
                copy = {"type": "RequestMirror", "requestMirror": mirror}
                made.append({**rule, "matches": matches, "filters": [*sequence(rule.get("filters")), copy]})
        return self._named(wanted.name, made, rules, mirrors=True)

    def in_order(self, found: Iterable[Managed]) -> list[Managed]:
        """By ``managedRoutes``."""
        return sorted(found, key=lambda one: self._names.index(one.route) if one.route in self._names else -1)

    def _mirrors(self, rule: Mapping[str, Any]) -> bool:
        targets = (
            mapping(mapping(one).get("requestMirror")).get("backendRef") for one in sequence(rule.get("filters"))
        )
        return self._backends.weighs(rule) and any(
            self._backends.in_pair(self._backends.service(one)) for one in targets
        )

    def _by_name(self, name: str) -> str:
        if name in self._names:
            return name
        base, _, number = name.rpartition("-")
        return base if base in self._names and re.fullmatch(r"[0-9]{1,4}", number) else ""

    def _by_steps(self, rule: Raw, *, mirrors: bool) -> str:
        """The step that the rule is for, where the API server knows no names of rules (before Gateway API 1.4)."""
        matches = [one for one in sequence(rule.get("matches")) if isinstance(one, dict)]
        for step in self._steps:
            asked = step.set_mirror_route if mirrors else step.set_header_route
            if asked is None or not asked.match or asked.name not in self._names:
                continue
            try:
                if matches and all(self._asks_for(match, asked) for match in matches):
                    return asked.name
            except RoutingError:
                continue
        return ""

    def _asks_for(self, match: Raw, asked: SetHeaderRoute | SetMirrorRoute) -> bool:
        """Whether all that the step asks for stands in the match already."""
        if isinstance(asked, SetHeaderRoute):
            return narrowed([match], header_conditions(asked), self._route) == [match]
        return any(mirrored([match], [one], self._route, "") == [match] for one in asked.match)

    def _named(self, name: str, made: Iterable[Raw], rules: Sequence[Any], *, mirrors: bool) -> list[Managed]:
        taken = {name_of(rule) for rule in rules} | (set(self._names) - {name})
        free = (candidate for candidate in _candidates(name) if candidate not in taken)
        return [Managed(name, mirrors, {**rule, "name": next(free)}) for rule in made]


def put(rules: Sequence[Any], own: Sequence[Managed | None], wanted: Sequence[Managed]) -> list[Any]:
    """The rules with the wanted ones in place of our own.

    Where the same routes are there already they keep their places, so that two Rollouts don't move each other's.
    Otherwise mirror routes come first, as of two equally narrow rules the first one counts, and header routes last.
    """
    there = [one for one in own if one is not None]
    wanted = sorted(wanted, key=lambda one: not one.mirrors)
    if [(one.route, one.mirrors) for one in there] == [(one.route, one.mirrors) for one in wanted]:
        left = (_settled(old, new) for old, new in zip(there, wanted, strict=True))
        return [rule if one is None else next(left) for rule, one in zip(rules, own, strict=True)]
    others = [rule for rule, one in zip(rules, own, strict=True) if one is None]
    mirrors = [one.rule for one in wanted if one.mirrors]
    return [*mirrors, *others, *(one.rule for one in wanted if not one.mirrors)]


def _settled(old: Managed, new: Managed) -> Raw:
    """The old rule if the API server only dropped the name that it doesn't know."""
    nameless = {key: value for key, value in new.rule.items() if key != "name"}
    return old.rule if same(old.rule, nameless) else new.rule


def _candidates(name: str) -> Iterator[str]:
    yield name
    for number in range(1, 10_000):
        yield f"{name}-{number}"
