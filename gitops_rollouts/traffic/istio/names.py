"""What `trafficRouting.istio` names: objects, and the destinations of the versions (docs/behaviour.md §15.3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.api.traffic import IstioDestinationRule, IstioTrafficRouting, IstioVirtualService
from gitops_rollouts.traffic.objects import Reference, RoutedKind, mapping
from gitops_rollouts.traffic.router import Wanted, routing_of

GROUP: Final = "networking.istio.io"
VERSIONS: Final = ("v1", "v1beta1", "v1alpha3")
VIRTUAL_SERVICE: Final = RoutedKind(GROUP, "VirtualService", "virtualservices", VERSIONS)
DESTINATION_RULE: Final = RoutedKind(GROUP, "DestinationRule", "destinationrules", VERSIONS)
FIELD: Final = "spec.strategy.canary.trafficRouting.istio"
_IN_CLUSTER: Final = ".cluster.local"

Split = Literal["canary", "stable"]
Side = Literal["canary", "stable", "kept", ""]
SPLIT: Final[tuple[Split, Split]] = ("canary", "stable")


@dataclass(frozen=True, slots=True)
class Sides:
    """How a destination tells its version: by a Service's short host, or by a subset. ``""``: not so."""

    canary_service: str = ""
    stable_service: str = ""
    canary_subset: str = ""
    stable_subset: str = ""
    kept_subsets: frozenset[str] = frozenset()

    def of(self, destination: Mapping[str, Any]) -> Side:
        """Which side a ``{host, subset}`` belongs to; ``kept``: an additional subset, ``""``: none of ours.

        A subset that the Rollout names says more than the host, as all subsets share one.
        """
        subset, host = destination.get("subset"), short_host(destination.get("host"))
        if isinstance(subset, str) and subset:
            if subset == self.canary_subset:
                return "canary"
            if subset == self.stable_subset:
                return "stable"
            if subset in self.kept_subsets:
                return "kept"
        if host and host == self.canary_service:
            return "canary"
        if host and host == self.stable_service:
            return "stable"
        return ""

    def missing(self, side: Split) -> str:
        """What to say of a route without this side (§20)."""
        service, subset = (
            (self.canary_service, self.canary_subset) if side == "canary" else (self.stable_service, self.stable_subset)
        )
        what = f"DestinationRule subset '{subset}'" if subset else f"Service '{service}'"
        return f"{side.capitalize()} {what} not found in route"


def istio_of(rollout: Rollout) -> IstioTrafficRouting | None:
    """``trafficRouting.istio``."""
    routing = routing_of(rollout)
    return None if routing is None else routing.istio


def rule_of(rollout: Rollout) -> IstioDestinationRule | None:
    """``trafficRouting.istio.destinationRule``; None if none is named."""
    istio = istio_of(rollout)
    return istio.destination_rule if istio is not None and istio.destination_rule is not None else None


def rule_reference(rollout: Rollout) -> Reference | None:
    """The DestinationRule: in the Rollout's namespace."""
    rule = rule_of(rollout)
    if rule is None or not rule.name:
        return None
    return Reference(DESTINATION_RULE, rollout.metadata.namespace, rule.name, f"{FIELD}.destinationRule.name")


def virtual_services(rollout: Rollout) -> list[tuple[Reference, IstioVirtualService]]:
    """The VirtualServices in their order, and which of their routes are meant. One without a name is left out."""
    istio = istio_of(rollout)
    if istio is None:
        return []
    named = [] if istio.virtual_service is None else [(f"{FIELD}.virtualService.name", istio.virtual_service)]
    named += [(f"{FIELD}.virtualServices[{index}].name", one) for index, one in enumerate(istio.virtual_services)]
    return [(_virtual_service(one.name, rollout.metadata.namespace, field), one) for field, one in named if one.name]


def _virtual_service(name: str, namespace: str, field: str) -> Reference:
    """``name`` or ``name.namespace``, ``.cluster.local`` after it or not."""
    first, _, last = name.removesuffix(_IN_CLUSTER).rpartition(".")
    if first and last:
        return Reference(VIRTUAL_SERVICE, last, first, field)
    return Reference(VIRTUAL_SERVICE, namespace, last or first, field)


def sides_of(rollout: Rollout, wanted: Wanted | None = None) -> Sides:
    """How to tell the versions apart. A pair of ping-pong counts only without canaryService and stableService."""
    canary = rollout.spec.strategy.canary
    if canary is None:
        return Sides()
    services = (canary.canary_service, canary.stable_service)
    if not any(services) and canary.ping_pong is not None:
        pair = canary.ping_pong
        if wanted is not None:
            services = (wanted.canary.service, wanted.stable.service)
        elif rollout.status.canary.stable_ping_pong == "ping":
            services = (pair.pong_service, pair.ping_service)
        else:
            services = (pair.ping_service, pair.pong_service)
    rule = rule_of(rollout)
    if rule is None:
        return Sides(*services)
    kept = frozenset(filter(None, rule.additional_subset_names))
    return Sides(*services, rule.canary_subset_name, rule.stable_subset_name, kept)


def short_host(value: Any) -> str:
    """The host up to its first dot; "" if it is no text."""
    return value.partition(".")[0] if isinstance(value, str) else ""


def destination_of(weighted: Any) -> dict[str, Any]:
    """``destination`` of one entry of a route."""
    return mapping(mapping(weighted).get("destination"))
