"""The rules for a canary's steps (docs/behaviour.md §20 (A))."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gitops_rollouts.api.analysis_refs import AnalysisRunArgument
from gitops_rollouts.api.field_paths import in_metadata, is_downward
from gitops_rollouts.api.steps import CanaryStep, RolloutExperimentStep, StringMatch
from gitops_rollouts.api.strategy import CanaryStrategy
from gitops_rollouts.api.traffic import TrafficRouting
from gitops_rollouts.api.validation.errors import FieldError, required

_ONE_OF: Final = "Step must have one of the following set: experiment, setWeight, setCanaryScale, plugin or pause"
_NO_MATCH: Final = "StringMatch value missed, match value must have one of the following: exact, regex, prefix"
_MANY_MATCHES: Final = "StringMatch match value must have exactly one of the following: exact, regex, prefix"
_ALB_MATCH: Final = "SetHeaderRoute match value invalid. ALB supports 'exact' value only"
_HEADER_ROUTERS: Final = "SetHeaderRoute requires TrafficRouting, supports Istio and ALB and Apisix"
_MIRROR_ROUTERS: Final = "SetMirrorRoute requires TrafficRouting, supports Istio and Plugins"
_MANAGED: Final = "Rollout has missing field 'spec.strategy.canary.trafficRouting.managedRoutes'"
_UNKNOWN_ROUTE: Final = "Steps define a route that does not exist in spec.strategy.canary.trafficRouting.managedRoutes"
_NO_TRAFFIC: Final = "Experiment template weight cannot be set unless TrafficRouting is enabled"
_NO_WEIGHTS: Final = (
    "Experiment template weight is only available for TrafficRouting with SMI, ALB, Istio and Plugins at this time"
)
_BAD_FIELD: Final = "Analyses arguments must refer to valid object metadata supported by downwardAPI"


def check_steps(canary: CanaryStrategy, path: str) -> list[FieldError]:
    """All steps, one by one. ``path``: that of the strategy."""
    return [
        error
        for index, step in enumerate(canary.steps)
        for error in _check_step(step, canary, path, f"{path}.steps[{index}]")
    ]


def _check_step(step: CanaryStep, canary: CanaryStrategy, path: str, here: str) -> list[FieldError]:
    traffic = canary.traffic_routing
    errors = _check_kind(step, here)
    if step.set_weight is not None and not 0 <= step.set_weight <= canary.max_weight:
        text = f"SetWeight needs to be between 0 and {canary.max_weight}"
        errors.append(FieldError(f"{here}.setWeight", text, step.set_weight))
    errors += _check_pause(step, here)
    if step.set_canary_scale is not None and traffic is None:
        errors.append(FieldError(f"{path}.trafficRouting", "SetCanaryScale requires TrafficRouting to be set"))
    errors += _check_header_route(step, traffic, here)
    errors += _check_mirror_route(step, traffic, here)
    errors += _check_managed(step, traffic, path)
    if step.experiment is not None:
        errors += _check_experiment(step.experiment, traffic, here)
    if step.analysis is not None:
        errors += _check_arguments(step.analysis.args, here)
    return errors


def _check_kind(step: CanaryStep, here: str) -> list[FieldError]:
    counted = sum(kind is not None for kind in (step.set_weight, step.pause, step.experiment, step.analysis))
    if step.kind != "invalid" and counted <= 1:
        return []
    absent = (
        ("Experiment", step.experiment),
        ("Pause", step.pause),
        ("SetWeight", step.set_weight),
        ("Analysis", step.analysis),
        ("SetCanaryScale", step.set_canary_scale),
        ("SetHeaderRoute", step.set_header_route),
        ("SetMirrorRoutes", step.set_mirror_route),
    )
    value = " ".join(f"step.{name}: {str(kind is None).lower()}" for name, kind in absent)
    return [FieldError(here, _ONE_OF, value)]


def _check_pause(step: CanaryStep, here: str) -> list[FieldError]:
    if step.pause is None:
        return []
    try:
        seconds = step.pause.seconds()
    except ValueError:
        seconds = -1
    if seconds is None or seconds >= 0:
        return []
    return [FieldError(f"{here}.pause.duration", "Duration needs to be greater than 0", seconds)]


def _check_header_route(step: CanaryStep, traffic: TrafficRouting | None, here: str) -> list[FieldError]:
    route = step.set_header_route
    if route is None:
        return []
    path = f"{here}.setHeaderRoute"
    if traffic is None or not (traffic.istio or traffic.alb or traffic.apisix or traffic.plugins):
        return [FieldError(path, _HEADER_ROUTERS, route.encode())]
    errors: list[FieldError] = []
    for index, match in enumerate(route.match):
        where, value = f"{path}.match[{index}]", match.header_value
        if traffic.alb is not None and value is not None and (value.regex or value.prefix):
            errors.append(FieldError(where, _ALB_MATCH, match.encode()))
        else:
            errors += _check_match(value, where)
    return errors


def _check_match(match: StringMatch | None, path: str) -> list[FieldError]:
    given = 0 if match is None else sum(bool(value) for value in (match.exact, match.regex, match.prefix))
    if given == 1:
        return []
    return [FieldError(path, _MANY_MATCHES if given else _NO_MATCH, None if match is None else match.encode())]


def _check_mirror_route(step: CanaryStep, traffic: TrafficRouting | None, here: str) -> list[FieldError]:
    route = step.set_mirror_route
    if route is None:
        return []
    path = f"{here}.setMirrorRoute"
    if traffic is None or not (traffic.istio or traffic.plugins):
        return [FieldError(path, _MIRROR_ROUTERS, route.encode())]
    errors: list[FieldError] = []
    for index, match in enumerate(route.match):
        for key, value in (("method", match.method), ("path", match.path)):
            if value is not None:
                errors += _check_match(value, f"{path}.match[{index}].{key}")
    return errors


def _check_managed(step: CanaryStep, traffic: TrafficRouting | None, path: str) -> list[FieldError]:
    names = [route.name for route in (step.set_header_route, step.set_mirror_route) if route is not None]
    if not names or traffic is None:
        return []
    where = f"{path}.trafficRouting.managedRoutes"
    if not traffic.managed_routes:
        return [required(where, _MANAGED)]
    known = {route.name for route in traffic.managed_routes}
    return [FieldError(where, _UNKNOWN_ROUTE, name) for name in names if name not in known]


def _check_experiment(experiment: RolloutExperimentStep, traffic: TrafficRouting | None, here: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, template in enumerate(experiment.templates):
        if template.weight is None:
            continue
        where = f"{here}.experiment.templates[{index}].weight"
        if traffic is None:
            errors.append(FieldError(where, _NO_TRAFFIC, template.weight))
        elif not (traffic.smi or traffic.alb or traffic.istio or traffic.plugins):
            errors.append(FieldError(where, _NO_WEIGHTS, template.weight))
    for analysis in experiment.analyses:
        errors += _check_arguments(analysis.args, here)
    return errors


def _check_arguments(arguments: Sequence[AnalysisRunArgument], here: str) -> list[FieldError]:
    references = (
        argument.value_from.field_ref.field_path
        for argument in arguments
        if argument.value_from is not None and argument.value_from.field_ref is not None
    )
    return [
        FieldError(f"{here}.analyses", _BAD_FIELD, reference)
        for reference in references
        if in_metadata(reference) and not is_downward(reference)
    ]
