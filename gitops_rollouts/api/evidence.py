"""What a run's metrics came to, in the few words and numbers that may leave the cluster (docs/decisions.md §6).

Names, phases, counts, the last value and the text of the conditions; never a query, a header, an address, a
provider's message or an argument from a Secret.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from gitops_rollouts.api.analysis import (
    ERROR,
    FAILED,
    INCONCLUSIVE,
    PENDING,
    RUNNING,
    SUCCESSFUL,
    AnalysisRun,
    Measurement,
    Metric,
    MetricResult,
)
from gitops_rollouts.api.meta import IntOrString, format_time

MAX_METRICS: Final = 8
"""Metrics of one decision that are told; the worst come first."""
MAX_VALUE: Final = 80
MAX_CONDITION: Final = 200
_MAX_NAME: Final = 80
_WORST_FIRST: Final = {phase: n for n, phase in enumerate((FAILED, ERROR, INCONCLUSIVE, RUNNING, PENDING, SUCCESSFUL))}
_ERRORS_ALLOWED: Final = 4


@dataclass(frozen=True, slots=True)
class Evidence:
    """One metric of one run. All measurements: ``successful + failed + inconclusive + error``.

    ``limit``: how many measurements of the kind that decided were allowed (§17.2); None: no limit decided. ``value``:
    the last one, as its provider wrote it. ``success``, ``failure``: the conditions. ``at``: when the last measurement
    ended, RFC 3339.
    """

    metric: str
    phase: str
    run: str = ""
    successful: int = 0
    failed: int = 0
    inconclusive: int = 0
    error: int = 0
    limit: int | None = None
    value: str = ""
    success: str = ""
    failure: str = ""
    at: str = ""

    @property
    def measured(self) -> int:
        """How many measurements have ended."""
        return self.successful + self.failed + self.inconclusive + self.error

    def encode(self) -> dict[str, Any]:
        """For JSON; what is empty is left out."""
        return {key: value for key, value in asdict(self).items() if value not in ("", None)}


def evidence_of(run: AnalysisRun) -> tuple[Evidence, ...]:
    """What the run's metrics came to, dry-run ones left out, the worst first."""
    metrics = {metric.name: metric for metric in run.spec.metrics}
    found = [
        _evidence(run.metadata.name, result, metrics.get(result.name, Metric()))
        for result in run.status.metric_results
        if not result.dry_run
    ]
    return worst_first(found)


def worst_first(found: Iterable[Evidence]) -> tuple[Evidence, ...]:
    """At most `MAX_METRICS` of them."""
    ordered = sorted(found, key=lambda each: _WORST_FIRST.get(each.phase, len(_WORST_FIRST)))
    return tuple(ordered[:MAX_METRICS])


def read_evidence(raw: object) -> tuple[Evidence, ...]:
    """What `Evidence.encode` wrote, from a place that others can write to. Total: what has a wrong type is left out."""
    listed = raw if isinstance(raw, list) else []
    return worst_first(each for entry in listed[:MAX_METRICS] if (each := _read(entry)) is not None)


def _read(entry: object) -> Evidence | None:
    if not isinstance(entry, Mapping):
        return None
    values: dict[str, Any] = {}
    for each in fields(Evidence):
        value = entry.get(each.name)
        if each.name in ("successful", "failed", "inconclusive", "error", "limit"):
            if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31:
                values[each.name] = value
        elif isinstance(value, str):
            values[each.name] = _short(value, MAX_CONDITION)
    return Evidence(**values) if values.get("metric") and values.get("phase") else None


def _evidence(run: str, result: MetricResult, metric: Metric) -> Evidence:
    last = result.measurements[-1] if result.measurements else Measurement()
    return Evidence(
        metric=_short(result.name, _MAX_NAME),
        phase=_short(result.phase, _MAX_NAME),
        run=run,
        successful=result.successful,
        failed=result.failed,
        inconclusive=result.inconclusive,
        error=result.error,
        limit=_limit(result, metric),
        value=_short(last.value, MAX_VALUE),
        success=_short(metric.success_condition, MAX_CONDITION),
        failure=_short(metric.failure_condition, MAX_CONDITION),
        at=format_time(last.finished_at) if last.finished_at is not None else "",
    )


def _limit(result: MetricResult, metric: Metric) -> int | None:
    """The limit that was exceeded, if one was."""
    counted, limit = {
        FAILED: (result.failed, _number(metric.failure_limit, 0)),
        INCONCLUSIVE: (result.inconclusive, _number(metric.inconclusive_limit, 0)),
        ERROR: (result.consecutive_error, _number(metric.consecutive_error_limit, _ERRORS_ALLOWED)),
    }.get(result.phase, (0, 0))
    return limit if counted > limit >= 0 else None


def _number(value: IntOrString | None, default: int) -> int:
    if value is None:
        return default
    try:
        return int(value)
    except ValueError:
        return 0


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
