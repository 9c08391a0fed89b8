"""What is to be measured now, and when the next measurement is due (docs/behaviour.md §17.3)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from gitops_rollouts.api.analysis import ERROR, Metric, MetricResult
from gitops_rollouts.api.metric_rules import limits_of
from gitops_rollouts.engine import moments
from gitops_rollouts.engine.analysis import times
from gitops_rollouts.engine.analysis.observed import Call
from gitops_rollouts.engine.analysis.results import in_flight

_PAST: Final = timedelta(milliseconds=1)
"""A measurement is due once its moment has passed."""


def next_call(
    metric: Metric, result: MetricResult | None, started: datetime | None, now: datetime, *, over: bool = False
) -> Call | timedelta | None:
    """The call that is due for an incomplete metric, or how long until one is; None: none will be.

    ``started``: when the run began, None in its first pass, in which nothing that has a delay starts. ``over``: the
    measurement in flight is known to have ended.
    """
    if result is not None and in_flight(result):
        resume_at = result.measurements[-1].resume_at
        return _at(None if over else resume_at, Call(metric.name, "Resume"), now)
    if result is None or not result.measurements:
        return _first(metric, started, now)
    count = limits_of(metric).count
    if count is not None and result.count >= count:
        return None
    last = result.measurements[-1]
    pause = times.AFTER_ERROR if last.phase == ERROR else times.interval(metric)
    due = None if last.finished_at is None else moments.plus(last.finished_at, pause + _PAST)
    if last.finished_at is not None and last.finished_at > now:
        # written by a process whose clock is ahead: the time until it is reached isn't waited for
        due = None
    return _at(due, Call(metric.name, "Measure"), now)


def _first(metric: Metric, started: datetime | None, now: datetime) -> Call | timedelta:
    call = Call(metric.name, "Measure")
    if not metric.initial_delay:
        return call
    delay = times.duration(metric.initial_delay)
    if started is None:
        # at the earliest in the next pass, which the status of this one brings about
        return delay + _PAST
    return _at(moments.plus(started, delay), call, now)


def _at(due: datetime | None, call: Call, now: datetime) -> Call | timedelta:
    return call if due is None or due <= now else due - now
