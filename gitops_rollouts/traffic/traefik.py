"""Traefik: the weights of a TraefikService (docs/behaviour.md §15.3).

https://doc.traefik.io/traefik/reference/routing-configuration/kubernetes/crd/http/traefikservice/
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from gitops_rollouts.api.meta import Raw
from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.api.traffic import TrafficRouting
from gitops_rollouts.api.validation import FieldError
from gitops_rollouts.errors import RoutingError
from gitops_rollouts.traffic.object_router import Actual
from gitops_rollouts.traffic.objects import Edit, Found, Reference, RoutedKind, existing, mapping, sequence, with_spec
from gitops_rollouts.traffic.router import Routed, Wanted
from gitops_rollouts.traffic.weighted import (
    CANARY,
    STABLE,
    all_on_stable,
    canary_and_stable,
    named,
    roles_in,
    weight_of,
    weighted,
    with_live_weights,
)

TRAEFIK_SERVICE: Final = RoutedKind("traefik.io", "TraefikService", "traefikservices", ("v1alpha1",))
FIELD: Final = "spec.strategy.canary.trafficRouting.traefik.weightedTraefikServiceName"


class TraefikRouter:
    """Sets ``weight`` of the entries of ``spec.weighted.services`` that name the canary's and the stable Service."""

    key: Final = "traefik"
    kinds: Final = (TRAEFIK_SERVICE,)

    def asked(self, routing: TrafficRouting) -> bool:
        """Whether the Rollout names it."""
        return routing.traefik is not None

    def referred(self, rollout: Rollout, found: Found) -> Iterable[Reference]:
        """The TraefikService."""
        reference = _reference(rollout)
        return () if reference is None else (reference,)

    def check(self, rollout: Rollout, found: Found) -> list[FieldError]:
        """Both Services have to be in it."""
        reference = _reference(rollout)
        raw = None if reference is None else found.get(reference)
        if reference is None or raw is None:
            return []
        absent = _absent(rollout, _services(raw))
        return [FieldError(FIELD, _not_found(role, rollout, reference), reference.name) for role in absent]

    def changes(self, routed: Routed, wanted: Wanted, found: Found) -> Iterable[Edit]:
        """The weights. Raises `RoutingError` if the object, or one of the two Services in it, isn't there.

        A canary that is to have no traffic needs nothing but a stable Service in its place.
        """
        reference = _reference(routed.rollout)
        if reference is None:
            raise RoutingError("the Rollout names no TraefikService", remedy=f"set {FIELD}")
        away = wanted.canary.weight == 0
        if away and found.get(reference) is None:
            return
        raw = existing(found, reference)
        absent = _absent(routed.rollout, _services(raw))
        if absent and not (away and CANARY in absent):
            raise RoutingError(
                _not_found(absent[0], routed.rollout, reference),
                remedy=f"add it to spec.weighted.services of the {reference}",
            )
        yield Edit(reference, raw, _weighted(routed.rollout, raw, canary_and_stable(wanted)))

    def without_managed_routes(self, routed: Routed, found: Found) -> Iterable[Edit]:
        """Nothing: Traefik has none."""
        return ()

    def keep(self, rollout: Rollout, wanted: Raw, live: Raw) -> Raw:
        """The weights of the two Services."""
        if not TRAEFIK_SERVICE.is_kind_of(wanted):
            return wanted
        services = with_live_weights(_services(wanted), _services(live), lambda entry: _role(rollout, entry))
        return _with_services(wanted, services)

    def given_back(self, rollout: Rollout, live: Raw) -> Raw:
        """All traffic on stable, if it is there."""
        if not TRAEFIK_SERVICE.is_kind_of(live) or STABLE in _absent(rollout, _services(live)):
            return live
        return _weighted(rollout, live, all_on_stable(rollout))

    def actual(self, rollout: Rollout, found: Found) -> Iterable[Actual]:
        """The two weights."""
        reference = _reference(rollout)
        raw = None if reference is None else found.get(reference)
        if reference is None or raw is None:
            return
        services = _services(raw)
        canary, stable = (weight_of(services, lambda entry: _role(rollout, entry), role) for role in (CANARY, STABLE))
        yield Actual(reference, "", canary, stable)


def _reference(rollout: Rollout) -> Reference | None:
    canary = rollout.spec.strategy.canary
    routing = None if canary is None else canary.traffic_routing
    traefik = None if routing is None else routing.traefik
    if traefik is None or not traefik.weighted_traefik_service_name:
        return None
    return Reference(TRAEFIK_SERVICE, rollout.metadata.namespace, traefik.weighted_traefik_service_name, FIELD)


def _role(rollout: Rollout, entry: dict[str, Any]) -> str:
    """By name, whatever the kind: a TraefikService of that name may stand before the Service."""
    name, namespace = entry.get("name"), entry.get("namespace")
    if namespace not in (None, "", rollout.metadata.namespace) or not isinstance(name, str):
        return ""
    return named(name, rollout)


def _services(raw: Raw) -> list[Any]:
    return sequence(mapping(mapping(raw.get("spec")).get("weighted")).get("services"))


def _absent(rollout: Rollout, services: Sequence[Any]) -> list[str]:
    there = roles_in(services, lambda entry: _role(rollout, entry))
    return [role for role in (CANARY, STABLE) if role not in there]


def _not_found(role: str, rollout: Rollout, reference: Reference) -> str:
    canary = rollout.spec.strategy.canary
    name = "" if canary is None else canary.canary_service if role == CANARY else canary.stable_service
    return f"traefik {role} service was not found: the {reference} has no {name} in spec.weighted.services"


def _weighted(rollout: Rollout, raw: Raw, weights: dict[str, int]) -> Raw:
    return _with_services(raw, weighted(_services(raw), lambda entry: _role(rollout, entry), weights))


def _with_services(raw: Raw, services: list[Any]) -> Raw:
    if not services:
        return raw
    return with_spec(raw, weighted={**mapping(mapping(raw.get("spec")).get("weighted")), "services": services})
