"""The paths of an Ingress that stand for header routes (docs/behaviour.md §15.3)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from gitops_rollouts.api.meta import Raw
from gitops_rollouts.traffic.ingress import paths_of, rule_serves, rules_of
from gitops_rollouts.traffic.objects import mapping, same, sequence, with_spec

_USE_ANNOTATION: Final = "use-annotation"


def route_name(path: Any) -> str:
    """The action that a path stands for, "" if it has a Service of its own."""
    service = mapping(mapping(mapping(path).get("backend")).get("service"))
    name = service.get("name")
    return name if isinstance(name, str) and mapping(service.get("port")).get("name") == _USE_ANNOTATION else ""


def present(raw: Mapping[str, Any], names: Collection[str]) -> tuple[str, ...]:
    """Which of these header routes some rule has."""
    found = {route_name(path) for rule in rules_of(raw) for path in paths_of(rule)}
    return tuple(name for name in names if name in found)


def without(raw: Raw, names: Collection[str]) -> Raw:
    """The Ingress without the paths of these header routes."""
    if not present(raw, names):
        return raw
    return _with_paths(raw, lambda rule: [path for path in paths_of(rule) if route_name(path) not in names])


def placed(raw: Raw, service: str, names: Sequence[str], others: Collection[str]) -> Raw:
    """The Ingress with a path for each of these header routes, in this order, before the paths that aren't conditional.

    In the rules that lead to ``service``: a rule of another application is left alone. ``others``: header routes of
    other Rollouts; they stay where they are, also before ours.
    """
    return _with_paths(raw, lambda rule: _arranged(rule, service, names, others)) if names else raw


def in_order_of(raw: Raw, live: Mapping[str, Any], names: Collection[str]) -> Raw:
    """The Ingress with the paths of these header routes among each other as in ``live``, host by host."""
    orders: dict[Any, list[str]] = {}
    for rule in rules_of(live):
        orders.setdefault(_host(rule), [route_name(path) for path in paths_of(rule) if route_name(path) in names])

    def ordered(rule: Raw) -> list[Any]:
        order = orders.get(_host(rule), [])
        ahead = [path for path in paths_of(rule) if route_name(path) in names]
        ahead.sort(key=lambda path: order.index(route_name(path)) if route_name(path) in order else len(order))
        following = iter(ahead)
        return [next(following) if route_name(path) in names else path for path in paths_of(rule)]

    return _with_paths(raw, ordered)


def _host(rule: Mapping[str, Any]) -> str:
    host = rule.get("host")
    return host if isinstance(host, str) else ""


def _arranged(rule: Raw, service: str, names: Sequence[str], others: Collection[str]) -> list[Any]:
    paths = paths_of(rule)
    if not rule_serves(rule, service):
        return paths
    own = [_own(paths, name) for name in names]
    rest = [path for path in paths if route_name(path) not in names]
    plain = next((place for place, path in enumerate(paths) if not _conditional(path, names, others)), len(paths))
    if [path for path in paths[:plain] if route_name(path) in names] == own:
        return paths
    return [*own, *rest]


def _conditional(path: Any, names: Collection[str], others: Collection[str]) -> bool:
    return route_name(path) in names or route_name(path) in others


def _own(paths: Sequence[Any], name: str) -> Any:
    """The path of a header route: the one that is there, else a new one."""
    backend = {"service": {"name": name, "port": {"name": _USE_ANNOTATION}}}
    fresh = {"path": "/*", "pathType": "ImplementationSpecific", "backend": backend}
    return next((path for path in paths if route_name(path) == name and same(path, fresh)), fresh)


def _with_paths(raw: Raw, make: Any) -> Raw:
    rules = [_with_http(rule, make(rule)) if isinstance(rule, dict) else rule for rule in _rules(raw)]
    return raw if same(rules, _rules(raw)) else with_spec(raw, rules=rules)


def _rules(raw: Mapping[str, Any]) -> list[Any]:
    return sequence(mapping(raw.get("spec")).get("rules"))


def _with_http(rule: Raw, paths: list[Any]) -> Raw:
    if same(paths, paths_of(rule)):
        return rule
    if paths:
        return {**rule, "http": {**mapping(rule.get("http")), "paths": paths}}
    return {key: value for key, value in rule.items() if key != "http"}
