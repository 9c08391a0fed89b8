"""What ``trafficRouting.plugins["argoproj-labs/gatewayAPI"]`` says (docs/behaviour.md §15.4)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gitops_rollouts.api.meta import Raw
from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.api.validation import FieldError
from gitops_rollouts.plugins.catalogue import GATEWAY_API
from gitops_rollouts.traffic.objects import Reference, RoutedKind, Selection

FIELD: Final = f"spec.strategy.canary.trafficRouting.plugins[{GATEWAY_API}]"
_GROUP: Final = "gateway.networking.k8s.io"
_LABEL_KEY: Final = "rollouts.argoproj.io/gatewayapi-canary"
_LABEL_VALUE: Final = "in-progress"


@dataclass(frozen=True, slots=True)
class RouteKind:
    """A kind of route. ``word``: how the config calls one. ``http``, ``grpc``: what its matches are like."""

    kind: RoutedKind
    word: str
    http: bool = False
    grpc: bool = False

    @property
    def matches_headers(self) -> bool:
        """Whether it can have header and mirror routes."""
        return self.http or self.grpc


# v1 of the last two allows one rule only, v1alpha2 sixteen: it takes every object that is there
ROUTE_KINDS: Final = (
    RouteKind(RoutedKind(_GROUP, "HTTPRoute", "httproutes", ("v1", "v1beta1")), "httpRoute", http=True),
    RouteKind(RoutedKind(_GROUP, "GRPCRoute", "grpcroutes", ("v1", "v1alpha2")), "grpcRoute", grpc=True),
    RouteKind(RoutedKind(_GROUP, "TCPRoute", "tcproutes", ("v1alpha2", "v1")), "tcpRoute"),
    RouteKind(RoutedKind(_GROUP, "TLSRoute", "tlsroutes", ("v1alpha2", "v1alpha3", "v1")), "tlsRoute"),
)
SERVICE: Final = RoutedKind("", "Service", "services", ("v1",))


@dataclass(frozen=True, slots=True)
class Named:
    """One route by name. ``rule``: only the rule of this name, "" for all. ``managed``: header routes and mirrors."""

    route: RouteKind
    reference: Reference
    rule: str
    managed: bool


@dataclass(frozen=True, slots=True)
class Selected:
    """All routes of a kind that a label selector matches."""

    route: RouteKind
    selection: Selection
    rule: str


@dataclass(frozen=True, slots=True)
class Config:
    """The config as far as it can be read; ``errors``: what can't."""

    named: tuple[Named, ...] = ()
    selected: tuple[Selected, ...] = ()
    label: tuple[str, str] | None = None
    """Key and value of the label of routes in progress; None: none is wanted."""
    errors: tuple[FieldError, ...] = ()


def config_of(rollout: Rollout) -> Config:
    """The config of this Rollout; an empty one if it names no such router."""
    canary = rollout.spec.strategy.canary
    routing = None if canary is None else canary.traffic_routing
    if routing is None or GATEWAY_API not in routing.plugins:
        return Config()
    given = routing.plugins[GATEWAY_API]
    if not isinstance(given, dict):
        return Config(errors=(FieldError(FIELD, "the config has to be an object", given),))
    return _Reader(given, rollout.metadata.namespace).config()


class _Reader:
    def __init__(self, given: Raw, namespace: str) -> None:
        self._given = given
        self._errors: list[FieldError] = []
        self._namespace = self._text(given, "namespace", FIELD) or namespace

    def config(self) -> Config:
        """All of it."""
        named = tuple(one for route in ROUTE_KINDS for one in self._named(route))
        selected = tuple(one for route in ROUTE_KINDS for one in self._selected(route))
        label = self._label()
        if not named and not selected and not self._errors:
            words = ", ".join(route.word for route in ROUTE_KINDS)
            self._errors.append(FieldError(FIELD, f"no route is named: set one of {words}, a list or a selector"))
        return Config(named, selected, label, tuple(self._errors))

    def _named(self, route: RouteKind) -> Iterator[Named]:
        name = self._text(self._given, route.word, FIELD)
        rule = self._text(self._given, f"{route.word}RuleName", FIELD)
        many = f"{route.word}s"
        entries = self._given.get(many)
        if entries is not None and not isinstance(entries, list):
            self._wrong(f"{FIELD}.{many}", "a list", entries)
        for index, entry in enumerate(entries if isinstance(entries, list) else ()):
            path = f"{FIELD}.{many}[{index}]"
            if not isinstance(entry, dict):
                self._wrong(path, "an object", entry)
            elif one := self._text(entry, "name", path):
                managed = self._flag(entry, "useHeaderRoutes", path)
                yield self._one(route, one, f"{path}.name", self._text(entry, "ruleName", path), managed=managed)
            elif entry.get("name") in (None, ""):
                self._errors.append(FieldError(f"{path}.name", "the name of the route is missing", ""))
        if name:
            yield self._one(route, name, f"{FIELD}.{route.word}", rule, managed=True)

    def _one(self, route: RouteKind, name: str, path: str, rule: str, *, managed: bool) -> Named:
        reference = Reference(route.kind, self._namespace, name, path)
        return Named(route, reference, rule, managed and route.matches_headers)

    def _selected(self, route: RouteKind) -> Iterator[Selected]:
        field = f"{route.word}Selector"
        selector = self._given.get(field)
        if selector is None:
            return
        if not isinstance(selector, dict):
            self._wrong(f"{FIELD}.{field}", "an object", selector)
            return
        selection = Selection(route.kind, self._namespace, selector, f"{FIELD}.{field}")
        yield Selected(route, selection, self._text(self._given, f"{route.word}RuleName", FIELD))

    def _label(self) -> tuple[str, str] | None:
        key = self._text(self._given, "inProgressLabelKey", FIELD) or _LABEL_KEY
        value = self._text(self._given, "inProgressLabelValue", FIELD) or _LABEL_VALUE
        return None if self._flag(self._given, "disableInProgressLabel", FIELD) else (key, value)

    def _text(self, given: Mapping[str, Any], field: str, path: str) -> str:
        value = given.get(field)
        if value is None or isinstance(value, str):
            return value or ""
        self._wrong(f"{path}.{field}", "a text", value)
        return ""

    def _flag(self, given: Mapping[str, Any], field: str, path: str) -> bool:
        value = given.get(field)
        if value is None or isinstance(value, bool):
            return bool(value)
        self._wrong(f"{path}.{field}", "true or false", value)
        return False

    def _wrong(self, path: str, what: str, value: Any) -> None:
        if not any(error.path == path for error in self._errors):
            self._errors.append(FieldError(path, f"has to be {what}", value))
