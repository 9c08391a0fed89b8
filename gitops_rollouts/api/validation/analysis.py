"""The analysis templates that a Rollout names, and what must hold of them (docs/behaviour.md §20 (B))."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from gitops_rollouts.api.analysis import AnalysisTemplate, Argument, Metric
from gitops_rollouts.api.analysis_refs import RolloutAnalysis
from gitops_rollouts.api.analysis_templates import (
    TemplateKey,
    flatten,
    in_order,
    key_of,
    missing_arguments,
    supply,
)
from gitops_rollouts.api.metric_rules import limits_of
from gitops_rollouts.api.rollout import RolloutSpec
from gitops_rollouts.api.templating import substitute
from gitops_rollouts.api.validation.errors import FieldError
from gitops_rollouts.errors import TemplateError

Known = Mapping[TemplateKey, AnalysisTemplate]


class NamedAnalysis(NamedTuple):
    """An analysis of a Rollout and the field path of its templates."""

    path: str
    analysis: RolloutAnalysis
    background: bool = False


def named_analyses(spec: RolloutSpec) -> Iterator[NamedAnalysis]:
    """The analyses of the spec in the order in which they are checked: steps before the one beside them."""
    canary, blue_green = spec.strategy.canary, spec.strategy.blue_green
    if blue_green is not None:
        for key, analysis in (
            ("prePromotionAnalysis", blue_green.pre_promotion_analysis),
            ("postPromotionAnalysis", blue_green.post_promotion_analysis),
        ):
            if analysis is not None:
                yield NamedAnalysis(f"spec.strategy.blueGreen.{key}.templates", analysis)
    if canary is not None:
        for index, step in enumerate(canary.steps):
            if step.analysis is not None:
                yield NamedAnalysis(f"spec.strategy.canary.steps[{index}].analysis.templates", step.analysis)
        if canary.analysis is not None:
            yield NamedAnalysis("spec.strategy.canary.analysis.templates", canary.analysis, background=True)


def check_templates_exist(spec: RolloutSpec, known: Known) -> list[FieldError]:
    """Every template that the analyses name is there, and those that these name in turn."""
    errors = []
    for path, analysis, _ in named_analyses(spec):
        for reference in analysis.templates:
            missing = next(missing_templates(key_of(reference), known), None)
            if missing is not None:
                errors.append(FieldError(path, f"{missing} not found", missing.name))
    return errors


def missing_templates(named: TemplateKey, known: Known) -> Iterator[TemplateKey]:
    """Those that aren't known among a template and all that it names."""
    seen: set[TemplateKey] = set()
    waiting = [named]
    while waiting:
        key = waiting.pop()
        if key in seen:
            continue
        seen.add(key)
        template = known.get(key)
        if template is None:
            yield key
        else:
            waiting += [key_of(reference) for reference in template.spec.templates][::-1]


def check_templates(spec: RolloutSpec, known: Known) -> list[FieldError]:
    """What is in the templates goes together, gets its arguments and, beside the background, comes to an end.

    All of them exist: see `check_templates_exist`.
    """
    return [error for named in named_analyses(spec) for error in check_analysis(named, known)]


def check_analysis(named: NamedAnalysis, known: Known) -> list[FieldError]:
    """The same of one analysis."""
    return list(_check_one(named, known))


def _check_one(named: NamedAnalysis, known: Known) -> Iterator[FieldError]:
    path, analysis, background = named
    keys = [key_of(reference) for reference in analysis.templates]
    given = [Argument(name=one.name, value=one.value) for one in analysis.args]
    try:
        wanted = flatten(keys, known).args
        if background:
            names = {one.name for one in given}
            missing = next(missing_arguments(one for one in wanted if one.name not in names), None)
            if missing is not None:
                yield FieldError(path, "missing analysis arguments in rollout spec", missing)
            return
        args = supply(wanted, given)
    except TemplateError as error:
        yield FieldError(path, error.message, ", ".join(key.name for key in keys))
        return
    later = {one.name for one in analysis.args if one.value_from is not None}
    values = {f"args.{one.name}": one.value for one in args if one.value is not None and one.name not in later}
    for key in in_order(keys, known):
        for metric in known[key].spec.metrics:
            if _is_endless(metric, values):
                text = f"{key.kind} {key.name} has metric {metric.name} which runs indefinitely"
                yield FieldError(path, f"{text}. Invalid value for count: <nil>", key.name)


def _is_endless(metric: Metric, values: Mapping[str, str]) -> bool:
    """Whether it is known to have no end; a count that depends on what is only known later may have one."""
    count, interval = metric.count, metric.interval
    try:
        if isinstance(count, str):
            count = substitute(count, values)
        interval = substitute(interval, values)
    except TemplateError:
        return False
    return limits_of(metric.model_copy(update={"count": count, "interval": interval})).count is None
