"""A metric's times as they count, and what its provider leaves behind (docs/behaviour.md §17.2)."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from gitops_rollouts.api.analysis import Metric
from gitops_rollouts.api.durations import parse_go_duration

AFTER_ERROR: Final = timedelta(seconds=10)
"""The pause after a measurement that could not be taken, whatever the interval."""
SHORTEST_INTERVAL: Final = timedelta(seconds=1)
"""An interval below this would measure without a pause, as times are kept in whole seconds."""


def interval(metric: Metric) -> timedelta:
    """The pause between two measurements."""
    return max(SHORTEST_INTERVAL, duration(metric.interval))


def duration(text: str) -> timedelta:
    """A duration of the spec; what doesn't parse was refused before, and is none here."""
    try:
        return max(timedelta(), parse_go_duration(text)) if text else timedelta()
    except ValueError:
        return timedelta()


def leaves_something(metric: Metric) -> bool:
    """Whether a measurement may live on outside this process, so that its end has to be asked for."""
    return metric.provider.job is not None or bool(metric.provider.plugin)
