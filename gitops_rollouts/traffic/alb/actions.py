"""The annotations that the AWS Load Balancer Controller reads, and the one that tells whose they are (§15.3).

https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/guide/ingress/annotations/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from gitops_rollouts.api.gojson import encode_go
from gitops_rollouts.api.steps import SetHeaderRoute
from gitops_rollouts.api.traffic import AlbTrafficRouting
from gitops_rollouts.errors import RoutingError
from gitops_rollouts.traffic.objects import annotations_of, mapping, sequence

TRACKED: Final = "rollouts.argoproj.io/managed-alb-annotations"
"""On an Ingress: which annotations are whose, ``{"<rollout>": ["<key>", …]}``."""
DEFAULT_PREFIX: Final = "alb.ingress.kubernetes.io"
ACTIONS: Final = "/actions."
CONDITIONS: Final = "/conditions."
MOST_WEIGHT: Final = 999
"""What AWS takes (https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetGroupTuple.html)."""
LONGEST_STICKINESS: Final = 604_800


@dataclass(frozen=True, slots=True)
class Target:
    """A target group of an action: the Service behind it and its weight; ``port`` as written."""

    service: str
    weight: int
    port: str = ""


@dataclass(frozen=True, slots=True)
class Action:
    """A forward action. ``sticky``: for how many seconds a client stays at its target group, None if it doesn't."""

    targets: tuple[Target, ...]
    sticky: int | None = None

    def text(self) -> str:
        """As clients compare it: these keys in this order, the port a text, each weight present."""
        groups = [{"ServiceName": one.service, "ServicePort": one.port, "Weight": one.weight} for one in self.targets]
        forward: dict[str, Any] = {"TargetGroups": groups}
        if self.sticky is not None:
            forward["TargetGroupStickinessConfig"] = {"Enabled": True, "DurationSeconds": self.sticky}
        return encode_go({"Type": "forward", "ForwardConfig": forward}).decode()


def prefix_of(alb: AlbTrafficRouting) -> str:
    """What the keys of the annotations begin with."""
    return alb.annotation_prefix or DEFAULT_PREFIX


def action_key(alb: AlbTrafficRouting, name: str) -> str:
    """The key of the action that a backend of this name stands for."""
    return f"{prefix_of(alb)}{ACTIONS}{name}"


def condition_key(alb: AlbTrafficRouting, name: str) -> str:
    """The key of the conditions under which the action of this name applies."""
    return f"{prefix_of(alb)}{CONDITIONS}{name}"


def action_of(alb: AlbTrafficRouting, shares: Iterable[tuple[str, int]]) -> Action:
    """The action that splits traffic so; ``shares``: Service and weight. Raises `RoutingError` for what AWS refuses."""
    targets = tuple(Target(service, weight, str(alb.service_port)) for service, weight in shares)
    for one in targets:
        if not 0 <= one.weight <= MOST_WEIGHT:
            raise RoutingError(
                f"a load balancer of AWS takes weights from 0 to {MOST_WEIGHT}, not {one.weight} for {one.service}",
                remedy="lower spec.strategy.canary.trafficRouting.maxTrafficWeight",
            )
    sticky = alb.stickiness_config
    if sticky is None or not sticky.enabled:
        return Action(targets)
    if not is_duration(sticky.duration_seconds):
        raise RoutingError(
            f"stickinessConfig.durationSeconds has to be between 1 and {LONGEST_STICKINESS}, not "
            f"{sticky.duration_seconds}",
            remedy="correct spec.strategy.canary.trafficRouting.alb.stickinessConfig",
        )
    return Action(targets, sticky.duration_seconds)


def is_duration(seconds: int) -> bool:
    """Whether a client may stay at a target group for so long."""
    return 1 <= seconds <= LONGEST_STICKINESS


def read_action(text: str) -> Action | None:
    """The forward action that an annotation holds; None if it is none that weighs Services."""
    try:
        raw = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    forward = mapping(mapping(raw).get("ForwardConfig"))
    targets = tuple(
        Target(service, _weight(one.get("Weight")), _port(one.get("ServicePort")))
        for one in sequence(forward.get("TargetGroups"))
        if isinstance(one, dict) and isinstance(service := one.get("ServiceName"), str)
    )
    sticky = mapping(forward.get("TargetGroupStickinessConfig"))
    seconds = sticky.get("DurationSeconds")
    stays = sticky.get("Enabled") is True and isinstance(seconds, int) and not isinstance(seconds, bool)
    return Action(targets, seconds if stays else None) if targets else None


def _weight(raw: Any) -> int:
    """A weight that is left out counts as 0."""
    return raw if isinstance(raw, int) and not isinstance(raw, bool) else 0


def _port(raw: Any) -> str:
    return str(raw) if isinstance(raw, str | int) and not isinstance(raw, bool) else ""


def conditions_text(route: SetHeaderRoute) -> str:
    """One condition for each header of the route, with all of its values. Raises `RoutingError`: exact values only."""
    values: dict[str, list[str]] = {}
    for match in route.match:
        value = match.header_value
        if value is None or not value.exact:
            raise RoutingError(
                f"header route {route.name}: a load balancer of AWS matches exact values only",
                remedy="give setHeaderRoute.match[].headerValue.exact",
            )
        values.setdefault(match.header_name, []).append(value.exact)
    return encode_go(
        [
            {"field": "http-header", "httpHeaderConfig": {"httpHeaderName": name, "values": listed}}
            for name, listed in values.items()
        ]
    ).decode()


def tracked(raw: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """The annotations that each Rollout set, in the order in which it did. What can't be read is as if absent."""
    try:
        found = mapping(orjson.loads(annotations_of(raw).get(TRACKED, "{}")))
    except orjson.JSONDecodeError:
        return {}
    return {
        name: tuple(dict.fromkeys(key for key in keys if isinstance(key, str)))
        for name, keys in found.items()
        if isinstance(keys, list)
    }


def tracked_text(entries: Mapping[str, Sequence[str]]) -> str | None:
    """The annotation with these entries, None if nothing is left of it."""
    kept = {name: list(keys) for name, keys in sorted(entries.items()) if keys}
    return encode_go(kept).decode() if kept else None


def header_routes(keys: Iterable[str]) -> tuple[str, ...]:
    """The names of the header routes among tracked keys: those that have conditions."""
    return tuple(key.partition(CONDITIONS)[2] for key in keys if CONDITIONS in key)
