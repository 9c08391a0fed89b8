"""The rules for the strategy (docs/behaviour.md §20 (A)); paths lack the ``canary``/``blueGreen`` segment, as there."""

from __future__ import annotations

import re
from typing import Final

from gitops_rollouts.api.meta import IntOrString
from gitops_rollouts.api.rollout import RolloutSpec
from gitops_rollouts.api.strategy import AntiAffinity, BlueGreenStrategy, CanaryStrategy
from gitops_rollouts.api.traffic import TrafficRouting
from gitops_rollouts.api.validation.errors import FieldError, required
from gitops_rollouts.api.validation.formats import NOT_NEGATIVE
from gitops_rollouts.api.validation.steps import check_steps

_PATH: Final = "spec.strategy"
_PERCENT: Final = re.compile(r"[0-9]{1,9}%?", re.ASCII)
_SAME: Final = "This rollout uses the same service for the {} services, but two different services are required."
_PING_PONG_SAME: Final = _SAME.format("ping and pong")


def check_strategy(spec: RolloutSpec) -> list[FieldError]:
    """The strategy and, of a canary, its steps."""
    canary, blue_green = spec.strategy.canary, spec.strategy.blue_green
    if canary is not None and blue_green is not None:
        return [FieldError(f"{_PATH}.strategy", "Multiple Strategies can not be listed", spec.strategy.encode())]
    if canary is not None:
        return _check_canary(canary)
    if blue_green is not None:
        return _check_blue_green(blue_green, spec)
    text = "Rollout has missing field '.spec.strategy.canary or .spec.strategy.blueGreen'"
    return [required(f"{_PATH}.strategy", text)]


def _check_blue_green(blue_green: BlueGreenStrategy, spec: RolloutSpec) -> list[FieldError]:
    errors: list[FieldError] = []
    if blue_green.active_service == blue_green.preview_service:
        text = _SAME.format("active and preview")
        errors.append(FieldError(f"{_PATH}.activeService", text, blue_green.active_service))
    limit = blue_green.scale_down_delay_revision_limit
    if limit is not None and limit > spec.history_limit:
        text = "This rollout's revision history limit can not be smaller than the rollout's scale down limit"
        errors.append(FieldError(f"{_PATH}.scaleDownDelayRevisionLimit", text, limit))
    return errors + _check_anti_affinity(blue_green.anti_affinity)


def _check_anti_affinity(anti_affinity: AntiAffinity | None) -> list[FieldError]:
    if anti_affinity is None:
        return []
    preferred = anti_affinity.preferred_during_scheduling_ignored_during_execution
    must = anti_affinity.required_during_scheduling_ignored_during_execution
    if (preferred is None) == (must is None):
        text = "AntiAffinity must have exactly one strategy listed"
        return [FieldError(f"{_PATH}.antiAffinity", text, anti_affinity.encode())]
    if preferred is not None and not 1 <= preferred.weight <= 100:
        text = "AntiAffinity weight must be between 1-100"
        return [FieldError(f"{_PATH}.antiAffinity.weight", text, preferred.weight)]
    return []


def _check_canary(canary: CanaryStrategy) -> list[FieldError]:
    traffic = canary.traffic_routing
    errors = _check_bounds(canary)
    if canary.canary_service and canary.canary_service == canary.stable_service:
        text = _SAME.format("stable and canary")
        errors.append(FieldError(f"{_PATH}.stableService", text, canary.stable_service))
    if canary.ping_pong is not None:
        errors += _check_ping_pong(canary)
    if traffic is not None and _needs_services(traffic, ping_pong=canary.ping_pong is not None):
        text = "Canary service and Stable service must to be set to use Traffic Routing"
        for key, value in (("stableService", canary.stable_service), ("canaryService", canary.canary_service)):
            if not value:
                errors.append(FieldError(f"{_PATH}.{key}", text, value))
    errors += _check_scaling_down(canary)
    if traffic is not None and traffic.max_traffic_weight is not None and not (traffic.nginx or traffic.plugins):
        text = "Canary maxTrafficWeight in traffic routing only supported in Nginx and Plugins"
        path = f"{_PATH}.trafficRouting.maxTrafficWeight"
        errors.append(FieldError(path, text, traffic.max_traffic_weight))
    return errors + check_steps(canary, _PATH) + _check_anti_affinity(canary.anti_affinity)


def _check_bounds(canary: CanaryStrategy) -> list[FieldError]:
    """Beyond §20: a bound that is no number, or is negative, has no meaning in the arithmetic of §8."""
    errors: list[FieldError] = []
    for key, value in (("maxSurge", canary.surge), ("maxUnavailable", canary.unavailable)):
        if isinstance(value, int):
            if value < 0:
                errors.append(FieldError(f"{_PATH}.{key}", NOT_NEGATIVE, value))
        elif _PERCENT.fullmatch(value) is None:
            text = "a valid percent string must be a numeric string followed by an ending '%'"
            errors.append(FieldError(f"{_PATH}.{key}", text, value))
    if not errors and _is_zero(canary.surge) and _is_zero(canary.unavailable):
        errors.append(FieldError(f"{_PATH}.maxSurge", "MaxSurge and MaxUnavailable both can not be zero", canary.surge))
    return errors


def _is_zero(value: IntOrString) -> bool:
    return value == 0 if isinstance(value, int) else int(value.removesuffix("%")) == 0


def _check_ping_pong(canary: CanaryStrategy) -> list[FieldError]:
    ping_pong, traffic = canary.ping_pong, canary.traffic_routing
    if ping_pong is None:
        return []
    errors: list[FieldError] = []
    if traffic is not None and not (traffic.alb or traffic.istio or traffic.plugins):
        text = "Ping-pong feature works with the ALB, Istio, and plugin-based traffic routers only"
        errors.append(FieldError(f"{_PATH}.trafficRouting.alb", text, None))
    ping, pong = ping_pong.ping_service, ping_pong.pong_service
    for key, value in (("pingService", ping), ("pongService", pong)):
        if not value:
            text = "Ping service and Pong service must to be set to use Ping-Pong feature"
            errors.append(FieldError(f"{_PATH}.pingPong.{key}", text, value))
    if ping == pong:
        errors.append(FieldError(f"{_PATH}.pingPong.pingService", _PING_PONG_SAME, ping))
    if traffic is not None and traffic.alb is not None and not traffic.alb.root_service:
        text = "Root service field is required for the configuration with ALB and ping-pong feature enabled"
        errors.append(FieldError(f"{_PATH}.trafficRouting.alb.rootService", text, ""))
    return errors


def _needs_services(traffic: TrafficRouting, *, ping_pong: bool) -> bool:
    istio_by_hosts = traffic.istio is not None and traffic.istio.destination_rule is None
    others = (traffic.smi, traffic.apisix, traffic.ambassador, traffic.nginx, traffic.app_mesh, traffic.traefik)
    if any(router is not None for router in others):
        return True
    return not ping_pong and (traffic.alb is not None or istio_by_hosts)


def _check_scaling_down(canary: CanaryStrategy) -> list[FieldError]:
    errors: list[FieldError] = []
    delay, dynamic = canary.scale_down_delay_seconds, canary.dynamic_stable_scale
    if canary.traffic_routing is None:
        if delay is not None:
            text = "Canary scaleDownDelaySeconds can only be used with traffic routing"
            errors.append(FieldError(f"{_PATH}.scaleDownDelaySeconds", text, delay))
        if dynamic:
            text = "Canary dynamicStableScale can only be used with traffic routing"
            errors.append(FieldError(f"{_PATH}.dynamicStableScale", text, dynamic))
    elif dynamic and delay is not None:
        text = "Canary dynamicStableScale cannot be used with scaleDownDelaySeconds"
        errors.append(FieldError(f"{_PATH}.dynamicStableScale", text, dynamic))
    return errors
