"""Service Mesh Interface: a TrafficSplit of the Rollout's own (docs/behaviour.md §15.3).

https://github.com/servicemeshinterface/smi-spec/blob/main/apis/traffic-split/v1alpha4/traffic-split.md
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from gitops_rollouts.api.meta import Raw
from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.api.strategy import CanaryStrategy
from gitops_rollouts.api.traffic import SmiTrafficRouting, TrafficRouting
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
    Tell,
    is_controlled_by,
    mapping,
    sequence,
    with_spec,
)
from gitops_rollouts.traffic.router import Routed, Wanted

_QUANTITIES: Final = "v1alpha1"
"""The version whose weights are quantities, which are JSON strings; later ones have whole numbers."""
TRAFFIC_SPLIT: Final = RoutedKind(
    "split.smi-spec.io", "TrafficSplit", "trafficsplits", ("v1alpha4", "v1alpha3", "v1alpha2", _QUANTITIES)
)


class SmiRouter:
    """Makes a TrafficSplit with the canary, the experiments' Services and stable, and sets their weights."""

    key: Final = "smi"
    kinds: Final = (TRAFFIC_SPLIT,)

    def asked(self, routing: TrafficRouting) -> bool:
        """Whether the Rollout names it."""
        return routing.smi is not None

    def referred(self, rollout: Rollout, found: Found) -> Iterable[Reference]:
        """The TrafficSplit, which need not exist."""
        named = _named(rollout)
        return () if named is None else (_reference(rollout, named[1]),)

    def check(self, rollout: Rollout, found: Found) -> list[FieldError]:
        """Nothing: that the TrafficSplit is somebody else's is told when it is to be written."""
        return []

    def changes(self, routed: Routed, wanted: Wanted, found: Found) -> Iterable[Change]:
        """The TrafficSplit, made if there is none. Raises `RoutingError` if it isn't the Rollout's own.

        Without one, traffic of the stable Service goes to stable, so it is deleted at the end of an update. That of a
        root Service goes to all pods that it selects, so there it stays.
        """
        rollout = routed.rollout
        named = _named(rollout)
        if named is None:
            raise RoutingError("the Rollout asks for no TrafficSplit")
        canary, smi = named
        reference = _reference(rollout, smi)
        live = found.get(reference)
        if live is not None and not is_controlled_by(live, rollout.metadata.uid):
            raise RoutingError(
                f"Rollout does not own TrafficSplit `{reference.name}`",
                remedy="delete it, or name another one in spec.strategy.canary.trafficRouting.smi.trafficSplitName",
            )
        has_root = smi.root_service not in ("", canary.stable_service)
        if wanted.done and not has_root:
            return [] if live is None else [Delete(reference, live)]
        version = _version(live) or found.version(TRAFFIC_SPLIT)
        spec = {
            "service": smi.root_service or canary.stable_service,
            "backends": _backends(canary, wanted, quantities=version == _QUANTITIES),
        }
        if live is not None:
            return [Edit(reference, live, with_spec(live, **spec), rests=has_root)]
        body = {
            "apiVersion": f"{TRAFFIC_SPLIT.group}/{version}",
            "kind": TRAFFIC_SPLIT.kind,
            "metadata": {"name": reference.name, "namespace": reference.namespace},
            "spec": spec,
        }
        return [
            Create(reference, body, rests=has_root),
            Tell("TrafficSplitCreated", f"TrafficSplit `{reference.name}` created"),
        ]

    def without_managed_routes(self, routed: Routed, found: Found) -> Iterable[Change]:
        """Nothing: SMI has none."""
        return ()

    def keep(self, rollout: Rollout, wanted: Raw, live: Raw) -> Raw:
        """The Service and the backends of a TrafficSplit that this Rollout made."""
        if not TRAFFIC_SPLIT.is_kind_of(wanted) or not _made_by(live, rollout):
            return wanted
        spec = mapping(live.get("spec"))
        backends = sequence(spec.get("backends"))
        if _version(wanted) != _version(live):
            backends = [_in_version(_version(wanted), each) for each in backends]
        return with_spec(wanted, service=spec.get("service"), backends=backends)

    def given_back(self, rollout: Rollout, live: Raw) -> Raw:
        """As it is: it is deleted."""
        return live

    def actual(self, rollout: Rollout, found: Found) -> Iterable[Actual]:
        """The weights of all backends."""
        named = _named(rollout)
        reference = None if named is None else _reference(rollout, named[1])
        live = None if reference is None else found.get(reference)
        if named is None or reference is None or live is None:
            return
        weights = dict(_weights(live))
        canary, stable = (weights.pop(name, None) for name in (named[0].canary_service, named[0].stable_service))
        additional = tuple((name, weight) for name, weight in weights.items() if weight is not None)
        yield Actual(reference, "", canary, stable, additional)


def _named(rollout: Rollout) -> tuple[CanaryStrategy, SmiTrafficRouting] | None:
    canary = rollout.spec.strategy.canary
    routing = None if canary is None else canary.traffic_routing
    smi = None if routing is None else routing.smi
    return None if canary is None or smi is None else (canary, smi)


def _reference(rollout: Rollout, smi: SmiTrafficRouting) -> Reference:
    return Reference(TRAFFIC_SPLIT, rollout.metadata.namespace, smi.traffic_split_name or rollout.metadata.name)


def _backends(canary: CanaryStrategy, wanted: Wanted, *, quantities: bool) -> list[dict[str, Any]]:
    """Canary, experiments, stable; all are there at weight 0, too. What has no Service leaves its weight to stable."""
    additional: dict[str, int] = {}
    for each in wanted.additional:
        if each.service not in ("", canary.canary_service, canary.stable_service):
            additional[each.service] = additional.get(each.service, 0) + each.weight
    rest = wanted.max_weight - wanted.canary.weight - sum(additional.values())
    weights = [(canary.canary_service, wanted.canary.weight), *additional.items(), (canary.stable_service, rest)]
    return [{"service": name, "weight": str(weight) if quantities else weight} for name, weight in weights]


def _version(raw: Raw | None) -> str:
    return str((raw or {}).get("apiVersion") or "").rpartition("/")[2]


def _in_version(version: str, backend: Any) -> Any:
    weight = None if not isinstance(backend, dict) else _whole(backend.get("weight"))
    if weight is None:
        return backend
    return {**backend, "weight": str(weight) if version == _QUANTITIES else weight}


def _made_by(raw: Raw, rollout: Rollout) -> bool:
    """Whether this Rollout made it; a Rollout as Git has it knows no uid, and counts by name."""
    if rollout.metadata.uid:
        return is_controlled_by(raw, rollout.metadata.uid)
    owners = sequence(mapping(raw.get("metadata")).get("ownerReferences"))
    wanted = {"kind": "Rollout", "name": rollout.metadata.name, "controller": True}
    return any(isinstance(one, dict) and wanted.items() <= one.items() for one in owners)


def _weights(raw: Raw) -> Iterable[tuple[str, int | None]]:
    for backend in sequence(mapping(raw.get("spec")).get("backends")):
        if isinstance(backend, dict) and isinstance(backend.get("service"), str):
            yield backend["service"], _whole(backend.get("weight"))


def _whole(weight: Any) -> int | None:
    if isinstance(weight, str) and weight.isascii() and weight.isdigit() and len(weight) < 10:
        return int(weight)
    return weight if isinstance(weight, int) and not isinstance(weight, bool) else None
