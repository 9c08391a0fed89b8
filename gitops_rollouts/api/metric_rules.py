"""What a metric's counts and limits come to, and which rules reach it (docs/behaviour.md §17.2)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import re2

from gitops_rollouts.api.analysis import Metric
from gitops_rollouts.api.analysis_refs import DryRun, MeasurementRetention
from gitops_rollouts.api.meta import IntOrString

_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,19}")
_LARGEST: Final = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Limits:
    """``count``: measurements to take, None: without end. ``given_count``: as it is written, 0 if it isn't."""

    count: int | None
    given_count: int
    failure: int
    """-1: off"""
    inconclusive: int
    consecutive_error: int
    consecutive_success: int
    """0: off"""


def limits_of(metric: Metric) -> Limits:
    """The limits of a metric whose arguments are resolved. Text that is no integer counts as 0."""
    count = integer(metric.count, 0)
    return Limits(
        count=count or (None if metric.interval else 1),
        given_count=count,
        failure=integer(metric.failure_limit, 0),
        inconclusive=integer(metric.inconclusive_limit, 0),
        consecutive_error=integer(metric.consecutive_error_limit, 4),
        consecutive_success=integer(metric.consecutive_success_limit, 0),
    )


def integer(value: IntOrString | None, default: int) -> int:
    """A number, or text that should be one; ``default`` if it isn't given."""
    if value is None:
        return default
    number = value if isinstance(value, int) else int(value) if is_integer(value) else 0
    return number if abs(number) <= _LARGEST else 0


def is_integer(text: str) -> bool:
    """Whether text is a number as counts and limits are."""
    return _INTEGER.fullmatch(text) is not None


def dry_run_names(metrics: Iterable[Metric], rules: Iterable[DryRun]) -> frozenset[str]:
    """The names of the metrics whose result doesn't count."""
    patterns = [rule.metric_name for rule in rules]
    return frozenset(metric.name for metric in metrics if any(reaches(pattern, metric.name) for pattern in patterns))


def retention_limits(metrics: Iterable[Metric], rules: Iterable[MeasurementRetention]) -> dict[str, int]:
    """How many measurements are kept of each metric that a rule with a limit above 0 reaches; the first one counts."""
    kept = [rule for rule in rules if rule.limit > 0]
    found = (
        (metric.name, next((r.limit for r in kept if reaches(r.metric_name, metric.name)), 0)) for metric in metrics
    )
    return {name: limit for name, limit in found if limit}


def reaches(pattern: str, name: str) -> bool:
    """Whether a rule's pattern matches anywhere in a metric's name. One that can't be read matches nothing."""
    compiled = _compiled(pattern)
    return compiled is not None and compiled.search(name) is not None


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> Any:
    """RE2, since the pattern is a stranger's: it takes linear time, and is Go's own syntax."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 1 << 20
    try:
        return re2.compile(pattern, options)
    except (re2.error, UnicodeError):
        return None
