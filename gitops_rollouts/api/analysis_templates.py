"""From analysis templates to what one run measures (docs/behaviour.md §17.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from gitops_rollouts.api.analysis import (
    AnalysisRunSpec,
    AnalysisTemplate,
    AnalysisTemplateSpec,
    Argument,
    SecretKeyRef,
)
from gitops_rollouts.api.analysis_refs import AnalysisTemplateRef, DryRun, MeasurementRetention, RolloutAnalysis
from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.errors import TemplateError


class TemplateKey(NamedTuple):
    """Which template; ``cluster``: a ClusterAnalysisTemplate."""

    cluster: bool
    name: str

    @property
    def kind(self) -> str:
        """The kind of the object."""
        return "ClusterAnalysisTemplate" if self.cluster else "AnalysisTemplate"

    def __str__(self) -> str:
        """How messages name it."""
        return f"{self.kind} '{self.name}'"


def templates_of(rollout: Rollout) -> Iterator[TemplateKey]:
    """The templates that a Rollout's spec names, in the order of the spec; those of experiment steps too."""
    for analysis in analyses_of(rollout):
        yield from map(key_of, analysis.templates)
    for step in rollout.spec.steps:
        for one in step.experiment.analyses if step.experiment is not None else ():
            yield TemplateKey(one.cluster_scope, one.template_name)


def analyses_of(rollout: Rollout) -> Iterator[RolloutAnalysis]:
    """The analyses of a Rollout's strategy."""
    canary, blue_green = rollout.spec.strategy.canary, rollout.spec.strategy.blue_green
    wanted: list[RolloutAnalysis | None] = []
    if canary is not None:
        wanted += [canary.analysis, *(step.analysis for step in canary.steps)]
    if blue_green is not None:
        wanted += [blue_green.pre_promotion_analysis, blue_green.post_promotion_analysis]
    yield from (one for one in wanted if one is not None)


def key_of(reference: AnalysisTemplateRef) -> TemplateKey:
    """The template that a reference names."""
    return TemplateKey(reference.cluster_scope, reference.template_name)


def reachable(
    named: Iterable[TemplateKey], find: Callable[[TemplateKey], AnalysisTemplate | None]
) -> dict[TemplateKey, AnalysisTemplate]:
    """The templates that are named, and those that they name in turn, as far as ``find`` knows them."""
    found: dict[TemplateKey, AnalysisTemplate] = {}
    waiting = list(named)
    while waiting:
        key = waiting.pop()
        template = None if key in found else find(key)
        if template is not None:
            found[key] = template
            waiting += map(key_of, template.spec.templates)
    return found


def in_order(named: Iterable[TemplateKey], known: Mapping[TemplateKey, AnalysisTemplate]) -> list[TemplateKey]:
    """The templates that are named and those that they name, each once, as §17.1 orders them.

    One before those that it names, and all namespaced ones before the cluster's. A circle ends where it began.
    Raises TemplateError for one that isn't known.
    """
    found: dict[TemplateKey, None] = {}
    waiting = list(named)[::-1]
    while waiting:
        key = waiting.pop()
        if key in found:
            continue
        template = known.get(key)
        if template is None:
            raise TemplateError(f"{key} not found", remedy="create it, or correct the reference")
        found[key] = None
        waiting += [key_of(reference) for reference in template.spec.templates][::-1]
    return sorted(found, key=lambda key: key.cluster)


def flatten(named: Iterable[TemplateKey], known: Mapping[TemplateKey, AnalysisTemplate]) -> AnalysisTemplateSpec:
    """One template out of those that are named, nested ones included (§17.1). Raises TemplateError."""
    specs = [known[key].spec for key in in_order(named, known)]
    metrics = tuple(metric for spec in specs for metric in spec.metrics)
    dry_run = tuple(rule for spec in specs for rule in spec.dry_run)
    retention = tuple(rule for spec in specs for rule in spec.measurement_retention)
    _refuse_twice("metrics", (metric.name for metric in metrics))
    _refuse_twice("Dry-Run metric rules", (rule.metric_name for rule in dry_run))
    _refuse_twice("Measurement Retention metric rules", (rule.metric_name for rule in retention))
    args = _together(argument for spec in specs for argument in spec.args)
    return AnalysisTemplateSpec(metrics=metrics, args=args, dry_run=dry_run, measurement_retention=retention)


def supply(wanted: Iterable[Argument], given: Iterable[Argument]) -> tuple[Argument, ...]:
    """A template's arguments with what the caller gives (§17.1). Raises TemplateError for one that nobody gives.

    What the template doesn't ask for is dropped. A Secret that the template names stays beside a given value.
    """
    supplied = {argument.name: argument for argument in given}
    args = tuple(_overridden(argument, supplied.get(argument.name)) for argument in wanted)
    missing = next(missing_arguments(args), None)
    if missing is not None:
        raise TemplateError(f"args.{missing} was not resolved", remedy="give it a value where the template is used")
    return args


def missing_arguments(args: Iterable[Argument]) -> Iterator[str]:
    """The names of those that have neither a value nor a Secret to read it from."""
    return (one.name for one in args if one.value is None and secret_of(one) is None)


def secret_of(argument: Argument) -> SecretKeyRef | None:
    """The key of a Secret that the value is read from; it counts before a plain value."""
    return None if argument.value_from is None else argument.value_from.secret_key_ref


def run_spec(
    named: Iterable[TemplateKey],
    known: Mapping[TemplateKey, AnalysisTemplate],
    args: Iterable[Argument] = (),
    *,
    dry_run: tuple[DryRun, ...] = (),
    measurement_retention: tuple[MeasurementRetention, ...] = (),
) -> AnalysisRunSpec:
    """What a run of these templates measures: a copy, so that a later edit of a template doesn't reach it (§17.1).

    The caller's rules come before the templates'. Raises TemplateError.
    """
    flat = flatten(named, known)
    return AnalysisRunSpec(
        metrics=flat.metrics,
        args=supply(flat.args, args),
        dry_run=dry_run + flat.dry_run,
        measurement_retention=measurement_retention + flat.measurement_retention,
    )


def _refuse_twice(what: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise TemplateError(f"two {what} have the same name '{name}'", remedy="rename one of them")
        seen.add(name)


def _together(args: Iterable[Argument]) -> tuple[Argument, ...]:
    merged: dict[str, Argument] = {}
    for argument in args:
        first = merged.get(argument.name)
        if first is None or first.value is None:
            merged[argument.name] = argument
        elif argument.value is not None and argument.value != first.value:
            raise TemplateError(
                f"Argument `{argument.name}` specified multiple times with different values: "
                f"'{first.value}', '{argument.value}'",
                remedy="give it one value, or none",
            )
    return tuple(merged.values())


def _overridden(wanted: Argument, given: Argument | None) -> Argument:
    if given is None:
        return wanted
    return Argument(
        name=wanted.name,
        value=wanted.value if given.value is None else given.value,
        value_from=given.value_from or wanted.value_from,
    )
