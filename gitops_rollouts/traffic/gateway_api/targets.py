"""Which routes a Rollout moves, as they are found (docs/behaviour.md §15.4)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from gitops_rollouts.api.meta import Raw
from gitops_rollouts.traffic.gateway_api.config import ROUTE_KINDS, Config, RouteKind
from gitops_rollouts.traffic.objects import Found, Reference, labels_of, mapping, sequence


@dataclass(frozen=True, slots=True)
class Target:
    """One route. ``rules``: names of those that are weighed, all if None. ``managed``: header routes and mirrors."""

    route: RouteKind
    reference: Reference
    rules: frozenset[str] | None
    managed: bool

    def covers(self, rule: Any) -> bool:
        """Whether weights are for this rule, as far as its name goes."""
        return self.rules is None or name_of(rule) in self.rules

    def without(self, raw: Raw) -> str:
        """The first rule that is asked for and isn't there, "" if all are."""
        names = {name_of(rule) for rule in rules_of(raw)}
        return next((name for name in sorted(self.rules or ()) if name not in names), "")

    def or_other(self, other: Target) -> Target:
        """What both ask for."""
        rules = None if self.rules is None or other.rules is None else self.rules | other.rules
        return replace(self, rules=rules, managed=self.managed or other.managed)


def targets(config: Config, found: Found) -> list[Target]:
    """All routes, each once: HTTP, GRPC, TCP, TLS; of a kind those with a name first."""
    merged: dict[Reference, Target] = {}
    for one in _all(config, found):
        before = merged.get(one.reference)
        merged[one.reference] = one if before is None else before.or_other(one)
    return sorted(merged.values(), key=lambda one: ROUTE_KINDS.index(one.route))


def target_of(config: Config, live: Raw) -> Target | None:
    """What the config asks of this object; None if it doesn't mean it."""
    meta = mapping(live.get("metadata"))
    merged: Target | None = None
    for named in config.named:
        same = (named.reference.name, named.reference.namespace) == (meta.get("name"), meta.get("namespace"))
        if same and named.reference.kind.is_kind_of(live):
            one = Target(named.route, named.reference, _rules(named.rule), named.managed)
            merged = one if merged is None else merged.or_other(one)
    for selected in config.selected:
        where = selected.selection
        if where.kind.is_kind_of(live) and where.namespace == meta.get("namespace") and where.takes(labels_of(live)):
            reference = Reference(where.kind, where.namespace, str(meta.get("name")))
            one = Target(selected.route, reference, _rules(selected.rule), managed=False)
            merged = one if merged is None else merged.or_other(one)
    return merged


def rules_of(raw: Raw) -> list[Any]:
    """``spec.rules`` as they stand there."""
    return sequence(mapping(raw.get("spec")).get("rules"))


def name_of(rule: Any) -> str:
    """The name of a rule, "" if it has none."""
    name = mapping(rule).get("name")
    return name if isinstance(name, str) else ""


def _all(config: Config, found: Found) -> Iterator[Target]:
    for named in config.named:
        yield Target(named.route, named.reference, _rules(named.rule), named.managed)
    for selected in config.selected:
        where = selected.selection
        for raw in found.matching(where):
            reference = Reference(
                where.kind, where.namespace, str(mapping(raw.get("metadata")).get("name")), where.field
            )
            yield Target(selected.route, reference, _rules(selected.rule), managed=False)


def _rules(name: str) -> frozenset[str] | None:
    return frozenset({name}) if name else None
