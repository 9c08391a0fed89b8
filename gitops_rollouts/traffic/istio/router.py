"""The Istio router: VirtualServices and a DestinationRule (docs/behaviour.md §15.3; docs/traffic/istio.md)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from gitops_rollouts.api.meta import Raw
from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.api.traffic import IstioVirtualService, TrafficRouting
from gitops_rollouts.api.validation import FieldError
from gitops_rollouts.errors import RoutingError
from gitops_rollouts.traffic.istio import destination_rule, virtual_service
from gitops_rollouts.traffic.istio.destination_rule import Switch
from gitops_rollouts.traffic.istio.managed import managed_names, weighted_names
from gitops_rollouts.traffic.istio.names import (
    DESTINATION_RULE,
    FIELD,
    VIRTUAL_SERVICE,
    istio_of,
    rule_reference,
    virtual_services,
)
from gitops_rollouts.traffic.object_router import Actual
from gitops_rollouts.traffic.objects import (
    Change,
    Edit,
    Found,
    Reference,
    RoutedKind,
    Selection,
    Tell,
    existing,
    mapping,
    same,
)
from gitops_rollouts.traffic.router import Routed, Wanted, routing_of

_MANAGED_FIELD: Final = "spec.strategy.canary.trafficRouting.managedRoutes"


class IstioRouter:
    """``trafficRouting.istio``."""

    @property
    def key(self) -> str:
        """``istio``."""
        return "istio"

    @property
    def kinds(self) -> tuple[RoutedKind, ...]:
        """What it reads and writes."""
        return (VIRTUAL_SERVICE, DESTINATION_RULE)

    def asked(self, routing: TrafficRouting) -> bool:
        """Whether ``istio`` is there."""
        return routing.istio is not None

    def referred(self, rollout: Rollout, found: Found) -> Iterable[Reference | Selection]:
        """The VirtualServices, then the DestinationRule."""
        rule = rule_reference(rollout)
        services = dict.fromkeys(reference for reference, _ in virtual_services(rollout))
        return [*services, *([] if rule is None else [rule])]

    def check(self, rollout: Rollout, found: Found) -> list[FieldError]:
        """Which VirtualServices are named, whether they have the routes and destinations, and the rule the subsets."""
        istio = istio_of(rollout)
        if istio is None:
            return []
        if (istio.virtual_service is None) == (not istio.virtual_services):
            return [FieldError(FIELD, "either VirtualService or VirtualServices must be configured")]
        errors = _names_twice(rollout)
        for reference, service in virtual_services(rollout):
            live = found.get(reference)
            if live is not None:
                told = virtual_service.problems(rollout, service, live)
                errors += [FieldError(reference.field, text, service.name) for text in told]
        rule = rule_reference(rollout)
        subsets = None if rule is None else found.get(rule)
        return errors if subsets is None else errors + destination_rule.check(rollout, subsets)

    def changes(self, routed: Routed, wanted: Wanted, found: Found) -> Iterable[Change]:
        """The subsets' hashes, and routes and weights of each VirtualService, one edit each."""
        switch = self._switch(routed.rollout, wanted, found)
        return [*switch.before, *self._weights(routed.rollout, wanted, found), *switch.after]

    def _switch(self, rollout: Rollout, wanted: Wanted, found: Found) -> Switch:
        rule = rule_reference(rollout)
        if rule is None or (found.get(rule) is None and virtual_service.goes_back(wanted)):
            return Switch()
        canary_has = max((one.canary or 0 for one in self.actual(rollout, found)), default=0)
        return destination_rule.switch(rollout, wanted, existing(found, rule), canary_has)

    def _weights(self, rollout: Rollout, wanted: Wanted, found: Found) -> list[Change]:
        changes: list[Change] = []
        services = _grouped(rollout)
        # what is gone has no traffic to give back
        back = virtual_service.goes_back(wanted) and any(found.get(one) is not None for one in services)
        for reference, wishes in services.items():
            live = found.get(reference)
            if live is None and back:
                continue
            before = after = existing(found, reference)
            for service in wishes:
                after = virtual_service.edited(rollout, service, wanted, after)
            changes.append(Edit(reference, before, after))
            if not same(before, after):
                text = f"{reference}: weight {wanted.canary.weight} of {wanted.max_weight} for the canary"
                changes.append(Tell("Updated VirtualService", text))
        self._refuse_lost_routes(rollout, wanted, found, services)
        return changes

    def without_managed_routes(self, routed: Routed, found: Found) -> Iterable[Change]:
        """One edit for each VirtualService that is there."""
        there = [(reference, found.get(reference)) for reference in _grouped(routed.rollout)]
        return [
            Edit(reference, live, virtual_service.without_managed_routes(routed.rollout, live))
            for reference, live in there
            if live is not None
        ]

    def keep(self, rollout: Rollout, wanted: Raw, live: Raw) -> Raw:
        """Weights, managed routes and hashes of the cluster, all else from Git."""
        for service in _wishes_of(rollout, live):
            wanted = virtual_service.kept(rollout, service, wanted, live)
        return destination_rule.kept(rollout, wanted, live) if _is_rule_of(rollout, live) else wanted

    def given_back(self, rollout: Rollout, live: Raw) -> Raw:
        """All traffic on stable, no managed routes, no hashes."""
        for service in _wishes_of(rollout, live):
            live = virtual_service.given_back(rollout, service, live)
        return destination_rule.given_back(rollout, live) if _is_rule_of(rollout, live) else live

    def actual(self, rollout: Rollout, found: Found) -> Iterable[Actual]:
        """What each route of each VirtualService says."""
        for reference, service in virtual_services(rollout):
            live = found.get(reference)
            if live is not None:
                yield from virtual_service.actual(rollout, service, reference, live)

    @staticmethod
    def _refuse_lost_routes(
        rollout: Rollout, wanted: Wanted, found: Found, services: dict[Reference, list[IstioVirtualService]]
    ) -> None:
        """A header or mirror route that no VirtualService can hold must not count as set."""
        for kind, step in (("header", wanted.header_route), ("mirror", wanted.mirror_route)):
            if step is None or not step.match:
                continue
            holds = step.name in managed_names(rollout) and any(
                virtual_service.sets_routes(existing(found, reference), rollout, service)
                for reference, wishes in services.items()
                for service in wishes
            )
            if not holds:
                raise RoutingError(
                    f"no VirtualService of the Rollout has an http route beside which {kind} route {step.name!r} "
                    "could be set",
                    remedy="name an http route in trafficRouting.istio, or leave the step out",
                )


def _grouped(rollout: Rollout) -> dict[Reference, list[IstioVirtualService]]:
    """Each VirtualService once: it may be named several times, for several routes."""
    grouped: dict[Reference, list[IstioVirtualService]] = {}
    for reference, service in virtual_services(rollout):
        grouped.setdefault(reference, []).append(service)
    return grouped


def _wishes_of(rollout: Rollout, live: Raw) -> list[IstioVirtualService]:
    """What the Rollout names of this object."""
    place = _place(live)
    if not VIRTUAL_SERVICE.is_kind_of(live):
        return []
    return [service for one, service in virtual_services(rollout) if (one.namespace, one.name) == place]


def _is_rule_of(rollout: Rollout, live: Raw) -> bool:
    """Whether it is the DestinationRule that the Rollout names."""
    rule = rule_reference(rollout)
    return rule is not None and DESTINATION_RULE.is_kind_of(live) and (rule.namespace, rule.name) == _place(live)


def _place(live: Raw) -> tuple[Any, Any]:
    metadata = mapping(live.get("metadata"))
    return metadata.get("namespace"), metadata.get("name")


def _names_twice(rollout: Rollout) -> list[FieldError]:
    """A managed route goes at the end of an update: the route with the weights must not be one."""
    routing = routing_of(rollout)
    weighted = weighted_names(rollout)
    names = [] if routing is None else [route.name for route in routing.managed_routes]
    text = "a route that istio weights can't be a managed route: it would be deleted at the end of an update"
    return [FieldError(_MANAGED_FIELD, text, name) for name in names if name in weighted]
