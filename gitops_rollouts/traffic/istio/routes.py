"""Which routes of a VirtualService carry the weights of a Rollout (docs/behaviour.md §15.3)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gitops_rollouts.api.traffic import IstioVirtualService, TcpRoute, TlsRoute
from gitops_rollouts.traffic.istio.names import SPLIT, Side, Sides, destination_of
from gitops_rollouts.traffic.objects import mapping, sequence

PROTOCOLS: Final = ("http", "tls", "tcp")
NO_ROUTES: Final = "Unable to get any of the HTTP, TCP or TLS routes for the Istio VirtualService"
_ONE: Final = (
    "spec.{0}[] should be set in VirtualService and it must have exactly one route when omitting "
    "spec.strategy.canary.trafficRouting.istio.virtualService.{1}"
)
_OMITTED: Final = {"http": "routes", "tls": "tlsRoutes", "tcp": "tcpRoutes"}


@dataclass(frozen=True, slots=True)
class Route:
    """A route with weights: ``spec.<protocol>[index]``. ``label``: how people tell it from others."""

    protocol: str
    index: int
    label: str


@dataclass(frozen=True, slots=True)
class Problem:
    """Why routes can't be weighted. Without a ``protocol``: it is true of all."""

    protocol: str
    text: str

    def __str__(self) -> str:
        """The words of §20."""
        if not self.protocol:
            return self.text
        return f"Istio VirtualService has invalid {self.protocol.upper()} routes. Error: {self.text}"


@dataclass(frozen=True, slots=True)
class Chosen:
    """The routes to weight, and what is wrong."""

    routes: tuple[Route, ...]
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class _Named:
    """One entry of ``routes``, ``tlsRoutes`` or ``tcpRoutes``."""

    label: str
    fits: Callable[[Mapping[str, Any]], bool]
    missing: str


def destinations(route: Any) -> list[Any]:
    """``route`` of one route: its weighted destinations."""
    return sequence(mapping(route).get("route"))


def name_of(route: Any) -> str:
    """The name of an http route, "" without one."""
    name = mapping(route).get("name")
    return name if isinstance(name, str) else ""


def chosen(spec: Mapping[str, Any], service: IstioVirtualService, managed: Collection[str], sides: Sides) -> Chosen:
    """The routes that the Rollout names; of a protocol without names, the only one that isn't a managed route.

    A protocol that the Rollout doesn't name, and whose routes lead elsewhere, is nothing to it.
    """
    if not any(sequence(spec.get(protocol)) for protocol in PROTOCOLS):
        return Chosen((), (Problem("", NO_ROUTES),))
    named = {protocol: _named(protocol, service) for protocol in PROTOCOLS}
    routes: list[Route] = []
    problems: list[Problem] = []
    elsewhere: list[Problem] = []
    for protocol in PROTOCOLS:
        listed = sequence(spec.get(protocol))
        if not listed:
            continue
        if named[protocol]:
            found = _by_name(protocol, listed, named[protocol])
        elif any(named.values()):
            found = _first(protocol, listed, managed, sides)
        else:
            found = _only(protocol, listed, managed)
            if not any(_sides_in(route, sides) for route in listed if name_of(route) not in managed):
                elsewhere += [*found.problems, *_incomplete(listed, found.routes, sides)]
                continue
        routes += found.routes
        problems += [*found.problems, *_incomplete(listed, found.routes, sides)]
    if not routes and not problems:
        problems = elsewhere or [Problem("", NO_ROUTES)]
    return Chosen(tuple(routes), tuple(problems))


def _named(protocol: str, service: IstioVirtualService) -> list[_Named]:
    if protocol == "http":
        return [
            _Named(f"route {name}", _called(name), f"HTTP Route '{name}' is not found in the defined Virtual Service.")
            for name in dict.fromkeys(service.routes)
        ]
    missing = f"No matching {protocol.upper()} routes found in the defined Virtual Service."
    wanted: list[TlsRoute | TcpRoute] = [*(service.tls_routes if protocol == "tls" else service.tcp_routes)]
    return [_Named(f"{protocol} {_label(one)}", _fitting(one), missing) for one in wanted]


def _called(name: str) -> Callable[[Mapping[str, Any]], bool]:
    return lambda route: name_of(route) == name


def _label(wanted: TlsRoute | TcpRoute) -> str:
    hosts = ",".join(wanted.sni_hosts) if isinstance(wanted, TlsRoute) else ""
    return " ".join(filter(None, ["route", str(wanted.port) if wanted.port else "", hosts]))


def _fitting(wanted: TlsRoute | TcpRoute) -> Callable[[Mapping[str, Any]], bool]:
    """Whether one match of a route has the port, and exactly the SNI hosts, as far as they are given."""

    def fits(route: Mapping[str, Any]) -> bool:
        return any(_matches(mapping(match), wanted) for match in sequence(route.get("match")))

    return fits


def _matches(match: Mapping[str, Any], wanted: TlsRoute | TcpRoute) -> bool:
    hosts = wanted.sni_hosts if isinstance(wanted, TlsRoute) else ()
    if not wanted.port and not hosts:
        return False
    if wanted.port and match.get("port") != wanted.port:
        return False
    found = {host for host in sequence(match.get("sniHosts")) if isinstance(host, str)}
    return not hosts or found == set(hosts)


def _by_name(protocol: str, listed: list[Any], named: list[_Named]) -> Chosen:
    routes: dict[int, Route] = {}
    problems: list[Problem] = []
    for one in named:
        found = [index for index, route in enumerate(listed) if one.fits(mapping(route))]
        for index in found:
            routes.setdefault(index, Route(protocol, index, one.label))
        if not found:
            problems.append(Problem(protocol, one.missing))
    return Chosen(tuple(routes.values()), tuple(problems))


def _first(protocol: str, listed: list[Any], managed: Collection[str], sides: Sides) -> Chosen:
    """The first route, if it leads to both versions: the Rollout names only routes of other protocols."""
    for index, route in enumerate(listed):
        if name_of(route) not in managed:
            both = {"canary", "stable"} <= _sides_in(route, sides)
            return Chosen((Route(protocol, index, _plain(protocol)),) if both else ())
    return Chosen(())


def _only(protocol: str, listed: list[Any], managed: Collection[str]) -> Chosen:
    found = [index for index, route in enumerate(listed) if name_of(route) not in managed]
    if len(found) == 1:
        return Chosen((Route(protocol, found[0], _plain(protocol)),))
    return Chosen((), (Problem(protocol, _ONE.format(protocol, _OMITTED[protocol])),))


def _plain(protocol: str) -> str:
    return "route" if protocol == "http" else f"{protocol} route"


def _sides_in(route: Any, sides: Sides) -> set[Side]:
    return {sides.of(destination_of(one)) for one in destinations(route)} - {""}


def _incomplete(listed: list[Any], routes: tuple[Route, ...], sides: Sides) -> list[Problem]:
    """Routes without one of the versions."""
    return [
        Problem(route.protocol, sides.missing(side))
        for route in routes
        for side in SPLIT
        if side not in _sides_in(listed[route.index], sides)
    ]
