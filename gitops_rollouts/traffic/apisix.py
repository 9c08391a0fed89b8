"""APISIX: the weights of backends of an ApisixRoute, and header routes as objects of their own (§15.3).

Field names: https://apisix.apache.org/docs/ingress-controller/references/apisix_route_v2/.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gitops_rollouts.api.meta import Raw
from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.api.steps import HeaderRoutingMatch, SetHeaderRoute
from gitops_rollouts.api.traffic import TrafficRouting
from gitops_rollouts.api.validation import FieldError
from gitops_rollouts.errors import RoutingError
from gitops_rollouts.traffic.object_router import Actual
from gitops_rollouts.traffic.objects import (
    Change,
    Create,
    Delete,
    Edit,
    Found,
    Reference,
    RoutedKind,
    existing,
    is_controlled_by,
    mapping,
    sequence,
    with_spec,
)
from gitops_rollouts.traffic.router import Routed, Wanted

APISIX_ROUTE: Final = RoutedKind("apisix.apache.org", "ApisixRoute", "apisixroutes", ("v2",))

_ROUTING: Final = "spec.strategy.canary.trafficRouting"
_ROUTE: Final = f"{_ROUTING}.apisix.route"
_CLASS_ANNOTATION: Final = "kubernetes.io/ingress.class"
_NOT_COPIED: Final = ("http", "stream", "tcp", "udp")
_IN_PATTERNS: Final = frozenset("\\.^$*+?()[]{}|")


@dataclass(frozen=True, slots=True)
class _Asked:
    """What of the Rollout this router reads."""

    namespace: str
    route: str
    rules: tuple[str, ...]
    canary: str
    stable: str
    managed: tuple[str, ...]
    uid: str

    @property
    def reference(self) -> Reference:
        return Reference(APISIX_ROUTE, self.namespace, self.route, f"{_ROUTE}.name")

    def header_route(self, name: str) -> Reference:
        return Reference(APISIX_ROUTE, self.namespace, name)

    def has(self, rule: object) -> bool:
        """Whether this is one of the rules whose weights follow the canary."""
        return isinstance(rule, dict) and rule.get("name") in self.rules


def _asked(rollout: Rollout) -> _Asked | None:
    canary = rollout.spec.strategy.canary
    routing = canary.traffic_routing if canary is not None else None
    if canary is None or routing is None or routing.apisix is None:
        return None
    route = routing.apisix.route
    name = route.name if route is not None else ""
    return _Asked(
        namespace=rollout.metadata.namespace,
        route=name,
        rules=tuple(dict.fromkeys(route.rules if route is not None and route.rules else (name,))),
        canary=canary.canary_service,
        stable=canary.stable_service,
        managed=tuple(dict.fromkeys(one.name for one in routing.managed_routes if one.name)),
        uid=rollout.metadata.uid,
    )


class ApisixRouter:
    """The router ``apisix``."""

    key: Final = "apisix"
    kinds: Final = (APISIX_ROUTE,)

    def asked(self, routing: TrafficRouting) -> bool:
        """Whether the Rollout names it."""
        return routing.apisix is not None

    def referred(self, rollout: Rollout, found: Found) -> Iterator[Reference]:
        """The ApisixRoute, and those of the header routes that steps may set."""
        asked = _asked(rollout)
        if asked is None or not asked.route:
            return
        yield asked.reference
        yield from (asked.header_route(name) for name in asked.managed if name != asked.route)

    def check(self, rollout: Rollout, found: Found) -> list[FieldError]:
        """Rules or backends that aren't there, and names of header routes that are taken."""
        asked = _asked(rollout)
        if asked is None:
            return []
        if not asked.route:
            return [FieldError(f"{_ROUTE}.name", kind="Required value")]
        base = found.get(asked.reference)
        if base is None:
            return []
        errors = [FieldError(f"{_ROUTE}.rules", problem, asked.route) for problem in _problems(asked, base)]
        for index, step in enumerate(rollout.spec.steps):
            name = step.set_header_route.name if step.set_header_route is not None else ""
            live = found.get(asked.header_route(name)) if name in asked.managed else None
            # one that another owner holds may be about to go with it, so that is left to the moment of the step
            if live is not None and not mapping(live.get("metadata")).get("ownerReferences"):
                path = f"spec.strategy.canary.steps[{index}].setHeaderRoute.name"
                errors.append(FieldError(path, _taken(name), name))
        return errors

    def changes(self, routed: Routed, wanted: Wanted, found: Found) -> Iterator[Change]:
        """The header routes, then the weights. Stable gets its traffic in whatever rules are there."""
        asked = _required(routed.rollout)
        canary, told = wanted.canary.weight, wanted.header_route
        base = found.get(asked.reference)
        problem = next(_problems(asked, base), "") if base is not None else ""
        if canary > 0 or (told is not None and told.match):
            base = existing(found, asked.reference)
            if problem:
                raise RoutingError(f"{asked.reference}: {problem}", remedy=f"correct it, or {_ROUTE}.rules")
        for name in asked.managed:
            yield from _header_route(routed, asked, None if problem else base, name, wanted, found)
        if base is not None:
            yield Edit(asked.reference, base, _weighted(asked, base, canary, max(0, wanted.max_weight - canary)))

    def without_managed_routes(self, routed: Routed, found: Found) -> Iterator[Change]:
        """Delete the header routes of this Rollout."""
        asked = _asked(routed.rollout)
        if asked is not None:
            for name in asked.managed:
                yield from _deleted(asked, name, found)

    def keep(self, rollout: Rollout, wanted: Raw, live: Raw) -> Raw:
        """The weights of the two Services in the Rollout's rules."""
        asked = _asked(rollout)
        if asked is None or mapping(wanted.get("metadata")).get("name") != asked.route:
            return wanted
        here = _rules(live)
        kept = [
            _with_weights(rule, _weights_of(asked, next((one for one in here if _same_name(one, rule)), {})))
            if asked.has(rule)
            else rule
            for rule in _rules(wanted)
        ]
        return with_spec(wanted, http=kept) if kept else wanted

    def given_back(self, rollout: Rollout, live: Raw) -> Raw:
        """All of the weight on stable."""
        asked = _asked(rollout)
        if asked is None or mapping(live.get("metadata")).get("name") != asked.route:
            return live
        return _weighted(asked, live, 0, 100)

    def actual(self, rollout: Rollout, found: Found) -> Iterator[Actual]:
        """One row a rule."""
        asked = _asked(rollout)
        base = found.get(asked.reference) if asked is not None and asked.route else None
        if asked is None or base is None:
            return
        routes = tuple(name for name in asked.managed if _own(asked, found.get(asked.header_route(name))))
        for rule in _rules(base):
            if asked.has(rule):
                weights = _weights_of(asked, rule)
                shares = (_whole(weights.get(asked.canary)), _whole(weights.get(asked.stable)))
                yield Actual(asked.reference, f"rule {rule['name']}", *shares, managed_routes=routes)


def _required(rollout: Rollout) -> _Asked:
    asked = _asked(rollout)
    if asked is None or not asked.route:
        raise RoutingError("the Rollout names no ApisixRoute", remedy=f"set {_ROUTE}.name")
    return asked


def _rules(raw: Mapping[str, Any]) -> list[Any]:
    return sequence(mapping(raw.get("spec")).get("http"))


def _same_name(one: object, other: Mapping[str, Any]) -> bool:
    return isinstance(one, dict) and one.get("name") == other.get("name")


def _backends(rule: Mapping[str, Any], service: str) -> list[dict[str, Any]]:
    backends = sequence(rule.get("backends"))
    return [one for one in backends if isinstance(one, dict) and one.get("serviceName") == service]


def _backend(rule: Mapping[str, Any], service: str) -> dict[str, Any] | None:
    """The first backend of this Service."""
    return next(iter(_backends(rule, service)), None)


def _problems(asked: _Asked, base: Raw) -> Iterator[str]:
    rules = _rules(base)
    for name in asked.rules:
        named = [rule for rule in rules if isinstance(rule, dict) and rule.get("name") == name]
        if not named:
            yield f"Apisix http route rule {name} not found"
        for rule in named:
            for service in (asked.canary, asked.stable):
                count = len(_backends(rule, service))
                if count == 0:
                    yield f"apisix route {service} backend was not found in rule {name}"
                elif count > 1:
                    # the others would add to the share that the first one gets
                    yield f"rule {name} has {count} backends of Service {service}, and may have one"


def _with_weights(rule: dict[str, Any], weights: Mapping[str, Any]) -> dict[str, Any]:
    """The rule with this weight on the first backend of each Service; None takes it out."""
    todo = dict(weights)
    backends: list[Any] = []
    for one in sequence(rule.get("backends")):
        service = one.get("serviceName") if isinstance(one, dict) else None
        if isinstance(service, str) and service in todo:
            weight = todo.pop(service)
            rest = {key: value for key, value in one.items() if key != "weight"}
            backends.append(rest if weight is None else {**one, "weight": weight})
        else:
            backends.append(one)
    return {**rule, "backends": backends} if isinstance(rule.get("backends"), list) else rule


def _weights_of(asked: _Asked, rule: Mapping[str, Any]) -> dict[str, Any]:
    """The weight of each Service that has a backend; None where it has no weight."""
    found = {service: _backend(rule, service) for service in (asked.canary, asked.stable)}
    return {service: backend.get("weight") for service, backend in found.items() if backend is not None}


def _weighted(asked: _Asked, base: Raw, canary: int, stable: int) -> Raw:
    """With these weights in every rule that has a stable backend: in another one nothing else might serve."""
    weights = {asked.canary: canary, asked.stable: stable}
    rules = [
        _with_weights(rule, weights) if asked.has(rule) and _backend(rule, asked.stable) is not None else rule
        for rule in _rules(base)
    ]
    return with_spec(base, http=rules) if rules else base


def _whole(weight: object) -> int | None:
    return weight if isinstance(weight, int) and not isinstance(weight, bool) else None


def _own(asked: _Asked, live: Raw | None) -> bool:
    return live is not None and is_controlled_by(live, asked.uid)


def _taken(name: str) -> str:
    return f"duplicate ApisixRoute [{name}] already exists"


def _deleted(asked: _Asked, name: str, found: Found) -> Iterator[Change]:
    reference = asked.header_route(name)
    live = found.get(reference)
    if live is not None and _own(asked, live):
        yield Delete(reference, live)


def _header_route(
    routed: Routed, asked: _Asked, base: Raw | None, name: str, wanted: Wanted, found: Found
) -> Iterator[Change]:
    """Make the header route of this name what the step says; one of an earlier step follows the ApisixRoute.

    ``base``: the ApisixRoute, None if it can't be copied.
    """
    told = wanted.header_route if wanted.header_route is not None and wanted.header_route.name == name else None
    if wanted.done or (told is not None and not told.match):
        yield from _deleted(asked, name, found)
        return
    reference = asked.header_route(name)
    live = found.get(reference)
    step = told or (_standing(routed.rollout, name) if _own(asked, live) else None)
    if base is None or step is None or not step.match:
        return
    body = _route_by_headers(asked, base, step)
    if live is None:
        yield Create(reference, body)
    elif not _own(asked, live):
        raise RoutingError(_taken(name), remedy="rename one of the two: the header route is an object of its own")
    else:
        metadata = mapping(live.get("metadata"))
        labels = {**mapping(metadata.get("labels")), **mapping(body["metadata"].get("labels"))}
        after = {**live, "metadata": {**metadata, **({"labels": labels} if labels else {})}, "spec": body["spec"]}
        yield Edit(reference, live, after)


def _standing(rollout: Rollout, name: str) -> SetHeaderRoute | None:
    """What the last step up to the current one said of this route."""
    until = (rollout.status.current_step_index or 0) + 1
    said = [step.set_header_route for step in rollout.spec.steps[:until] if step.set_header_route is not None]
    return next((step for step in reversed(said) if step.name == name), None)


def _route_by_headers(asked: _Asked, base: Raw, step: SetHeaderRoute) -> Raw:
    """The ApisixRoute that sends requests with these headers to the canary: a copy of the rules, and before them."""
    spec = {key: value for key, value in mapping(base.get("spec")).items() if key not in _NOT_COPIED}
    exprs = [_expression(match) for match in step.match]
    rules = [_rule_by_headers(asked, rule, exprs) for rule in _rules(base) if asked.has(rule)]
    metadata = mapping(base.get("metadata"))
    copied: dict[str, Any] = {"name": step.name, "namespace": asked.namespace}
    labels, ingress_class = metadata.get("labels"), mapping(metadata.get("annotations")).get(_CLASS_ANNOTATION)
    copied |= {"labels": labels} if isinstance(labels, dict) and labels else {}
    copied |= {"annotations": {_CLASS_ANNOTATION: ingress_class}} if isinstance(ingress_class, str) else {}
    return {
        "apiVersion": base.get("apiVersion"),
        "kind": APISIX_ROUTE.kind,
        "metadata": copied,
        "spec": {**spec, "http": rules},
    }


def _rule_by_headers(asked: _Asked, rule: dict[str, Any], exprs: list[Any]) -> dict[str, Any]:
    match = mapping(rule.get("match"))
    canary = _backend(rule, asked.canary)
    rest = {key: value for key, value in rule.items() if key != "upstreams"}
    return {
        **rest,
        "priority": (_whole(rule.get("priority")) or 0) + 1,
        "match": {**match, "exprs": [*sequence(match.get("exprs")), *exprs]},
        "backends": [{**(canary or {}), "weight": 100}],
    }


def _expression(match: HeaderRoutingMatch) -> dict[str, Any]:
    value = match.header_value
    exact, regex, prefix = (value.exact, value.regex, value.prefix) if value is not None else ("", "", "")
    if exact:
        operator, text = "Equal", exact
    elif regex:
        operator, text = "RegexMatch", regex
    else:
        operator, text = "RegexMatch", f"^{''.join(_literal(one) for one in prefix)}.*"
    return {"subject": {"scope": "Header", "name": match.header_name}, "op": operator, "value": text}


def _literal(character: str) -> str:
    return f"\\{character}" if character in _IN_PATTERNS else character
