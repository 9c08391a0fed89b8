"""The rules that the metrics of a run must meet (docs/behaviour.md §17.2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gitops_rollouts.api.analysis import Metric
from gitops_rollouts.api.analysis_refs import DryRun, MeasurementRetention
from gitops_rollouts.api.durations import parse_go_duration
from gitops_rollouts.api.metric_rules import limits_of, reaches
from gitops_rollouts.api.validation.errors import FieldError
from gitops_rollouts.errors import TemplateError


def check_metrics(
    metrics: Sequence[Metric], dry_run: Sequence[DryRun] = (), retention: Sequence[MeasurementRetention] = ()
) -> None:
    """Refuse a run whose metrics, with their arguments resolved, can't be carried out. Raises TemplateError."""
    for problem in metric_problems(metrics, dry_run, retention):
        item, bracket, _ = problem.path.partition("]")
        where = f"{item}]: " if bracket else ""
        raise TemplateError(f"Analysis spec invalid: {where}{problem.message}")


def metric_problems(
    metrics: Sequence[Metric], dry_run: Sequence[DryRun], retention: Sequence[MeasurementRetention]
) -> Iterator[FieldError]:
    """All that is wrong, in the order in which it is told; paths begin at the spec."""
    if not metrics:
        yield FieldError("metrics", "no metrics specified")
    seen: set[str] = set()
    for index, metric in enumerate(metrics):
        if metric.name in seen:
            yield FieldError(f"metrics[{index}].name", f"duplicate name '{metric.name}'", metric.name)
        seen.add(metric.name)
        for key, message in _of_one(metric):
            yield FieldError(f"metrics[{index}].{key}", message, metric.name)
    patterns = [(f"dryRun[{index}]", rule.metric_name) for index, rule in enumerate(dry_run)]
    patterns += [(f"measurementRetention[{index}]", rule.metric_name) for index, rule in enumerate(retention)]
    for path, pattern in patterns:
        if not any(reaches(pattern, metric.name) for metric in metrics):
            yield FieldError(path, "Rule didn't match any metric name(s)", pattern)


def _of_one(metric: Metric) -> Iterator[tuple[str, str]]:
    limits = limits_of(metric)
    if limits.consecutive_success < 0:
        yield "consecutiveSuccessLimit", "consecutiveSuccessLimit must be >= 0"
    if limits.failure < -1:
        yield "failureLimit", "failureLimit must be >= 0, or -1 to be disabled"
    if limits.failure < 0 and limits.consecutive_success == 0:
        yield "failureLimit", "failureLimit and consecutiveSuccessLimit cannot both be disabled"
    if limits.inconclusive < 0:
        yield "inconclusiveLimit", "inconclusiveLimit must be >= 0"
    if limits.consecutive_error < 0:
        yield "consecutiveErrorLimit", "consecutiveErrorLimit must be >= 0"
    yield from _of_count(metric)
    yield from _of_times(metric)
    providers = len(metric.provider.named)
    if providers != 1:
        yield "provider", "multiple providers specified" if providers else "no provider specified"


def _of_count(metric: Metric) -> Iterator[tuple[str, str]]:
    limits = limits_of(metric)
    count, failure, success = limits.given_count, limits.failure, limits.consecutive_success
    if count <= 0:
        return
    if failure >= 0 and success >= 0 and count < failure + success:
        yield (
            "count",
            f"count ({count}) must be >= failureLimit + consecutiveSuccessLimit ({failure} + {success}) if both >= 0",
        )
    if failure < 0 and count < success:
        yield "count", "count must be >= consecutiveSuccessLimit"
    if count < limits.inconclusive:
        yield "count", "count must be >= inconclusiveLimit"
    if count > 1 and not metric.interval:
        yield "interval", "interval must be specified when count > 1"


def _of_times(metric: Metric) -> Iterator[tuple[str, str]]:
    for key, what, text in (
        ("interval", "interval", metric.interval),
        ("initialDelay", "startDelay", metric.initial_delay),
    ):
        try:
            if text:
                parse_go_duration(text)
        except ValueError as error:
            yield key, f"invalid {what} string: {error}"
