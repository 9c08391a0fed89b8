"""What the metrics' results mean for the whole run (docs/behaviour.md §17.3)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from gitops_rollouts.api.analysis import (
    COMPLETED,
    ERROR,
    FAILED,
    INCONCLUSIVE,
    SUCCESSFUL,
    Metric,
    MetricResult,
    RunSummary,
)
from gitops_rollouts.engine.analysis.results import assessment, broken

_WORSE: Final = (SUCCESSFUL, INCONCLUSIVE, ERROR, FAILED)
"""From good to bad."""
_TERMINATED: Final = "Run Terminated"


class Verdict(NamedTuple):
    """How a run ended, and why."""

    phase: str
    message: str


def judge(
    metrics: Sequence[Metric], results: Mapping[str, MetricResult], dry: Collection[str], *, asked_to_end: bool
) -> Verdict:
    """The worst of the metrics that count and are complete; of several equally bad ones the first tells why."""
    phase, why = SUCCESSFUL, ""
    for metric in metrics:
        result = results.get(metric.name)
        if metric.name in dry or result is None or result.phase not in COMPLETED:
            continue
        if _WORSE.index(result.phase) > _WORSE.index(phase):
            phase, why = result.phase, assessment(metric, result, named=True)
    return Verdict(phase, why or (_TERMINATED if asked_to_end else ""))


def complete(metrics: Iterable[Metric], results: Mapping[str, MetricResult]) -> bool:
    """Whether every metric has its final phase."""
    return all((result := results.get(metric.name)) is not None and result.phase in COMPLETED for metric in metrics)


def summary(metrics: Iterable[Metric], results: Mapping[str, MetricResult]) -> RunSummary:
    """How many these metrics are, and how the complete ones ended, by the limit that they broke."""
    counts: dict[str, int] = {"count": 0}
    for metric in metrics:
        counts["count"] += 1
        result = results.get(metric.name)
        if result is not None and result.phase in COMPLETED:
            limit = broken(metric, result)
            ending = (SUCCESSFUL if limit is None else limit.phase).lower()
            counts[ending] = counts.get(ending, 0) + 1
    return RunSummary(**counts)
