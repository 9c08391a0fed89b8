"""A metric's result: its counters, its phase, and why (docs/behaviour.md §17.3)."""

from __future__ import annotations

from datetime import datetime
from typing import Final, NamedTuple

from gitops_rollouts.api.analysis import (
    COMPLETED,
    ERROR,
    FAILED,
    INCONCLUSIVE,
    PENDING,
    RUNNING,
    SUCCESSFUL,
    Measurement,
    Metric,
    MetricResult,
)
from gitops_rollouts.api.metric_rules import limits_of
from gitops_rollouts.engine.analysis.observed import MetricAnswer

_BARE: Final = 160
"""Bytes of a measurement without texts: its phase and times, with their keys."""
_COUNTED: Final = {SUCCESSFUL: "successful", FAILED: "failed", INCONCLUSIVE: "inconclusive"}


class Broken(NamedTuple):
    """The limit that a metric broke: the phase that this means, and why."""

    phase: str
    why: str


def in_flight(result: MetricResult | None) -> bool:
    """Whether the last measurement isn't finished."""
    return result is not None and bool(result.measurements) and result.measurements[-1].phase not in COMPLETED


def applied(result: MetricResult | None, answer: MetricAnswer, now: datetime) -> MetricResult | None:
    """The result with a measurement that came; the old one if the answer is to nothing that is asked."""
    begins = answer.operation == "Measure"
    if begins == in_flight(result) or (result is not None and result.phase in COMPLETED):
        return result
    old = result or MetricResult(name=answer.metric, phase=RUNNING)
    measurement = _whole_seconds(answer.measurement)
    finished = measurement.phase in COMPLETED
    if finished and measurement.finished_at is None:
        measurement = measurement.model_copy(update={"finished_at": now})
    before = old.measurements if begins else old.measurements[:-1]
    if not begins and measurement.started_at is None:
        measurement = measurement.model_copy(update={"started_at": old.measurements[-1].started_at})
    changed = {"measurements": (*before, measurement), "metadata": {**old.metadata, **answer.metadata}}
    return old.model_copy(update=changed | (_counted(old, measurement) if finished else {}))


def _whole_seconds(measurement: Measurement) -> Measurement:
    """With its times as they are stored."""
    times = {name: getattr(measurement, name) for name in ("started_at", "finished_at", "resume_at")}
    whole = {name: moment.replace(microsecond=0) for name, moment in times.items() if moment is not None}
    return measurement.model_copy(update=whole)


def _counted(old: MetricResult, measurement: Measurement) -> dict[str, int]:
    if measurement.phase == ERROR:
        return {
            "error": old.error + 1,
            "consecutive_error": old.consecutive_error + 1,
            "consecutive_success": 0,
        }
    counter = _COUNTED[measurement.phase]
    return {
        "count": old.count + 1,
        counter: getattr(old, counter) + 1,
        "consecutive_error": 0,
        "consecutive_success": old.consecutive_success + 1 if measurement.phase == SUCCESSFUL else 0,
    }


def fitted(result: MetricResult, room: int) -> MetricResult:
    """The result in about ``room`` bytes: old measurements lose their texts first, then go.

    The last measurement and one that isn't finished stay; the counters don't depend on any.
    """
    metadata = result.metadata if _size(*result.metadata, *result.metadata.values()) <= room // 4 else {}
    message = result.message if _size(result.message) <= room // 4 else result.message[: room // 24]
    room -= _size(message, *metadata, *metadata.values())
    kept: list[Measurement] = []
    for measurement in reversed(result.measurements):
        size = _BARE + _size(measurement.value, measurement.message)
        size += _size(*measurement.metadata, *measurement.metadata.values())
        if size <= room or measurement.phase not in COMPLETED:
            kept.append(measurement)
            room -= size
        elif room >= _BARE or not kept:
            kept.append(measurement.model_copy(update={"value": "", "message": "", "metadata": {}}))
            room -= _BARE
    before = result.measurements[::-1]
    same = len(kept) == len(before) and all(new is old for new, old in zip(kept, before, strict=True))
    if same and metadata is result.metadata and message is result.message:
        return result
    return result.model_copy(update={"measurements": tuple(reversed(kept)), "metadata": metadata, "message": message})


def _size(*texts: str) -> int:
    """Bytes at most, as JSON holds them."""
    return sum(len(text) if text.isascii() and text.isprintable() else 6 * len(text) for text in texts)


def broken(metric: Metric, result: MetricResult) -> Broken | None:
    """The limit that is broken; of several the last in the order failed, inconclusive, error."""
    found = None
    limits = limits_of(metric)
    if limits.failure >= 0 and result.failed > limits.failure:
        found = Broken(FAILED, f"failed ({result.failed}) > failureLimit ({limits.failure})")
    if result.inconclusive > limits.inconclusive:
        why = f"inconclusive ({result.inconclusive}) > inconclusiveLimit ({limits.inconclusive})"
        found = Broken(INCONCLUSIVE, why)
    if result.consecutive_error > limits.consecutive_error:
        why = f"consecutiveErrors ({result.consecutive_error}) > consecutiveErrorLimit ({limits.consecutive_error})"
        found = Broken(ERROR, why)
    return found


def assessment(metric: Metric, result: MetricResult, *, named: bool) -> str:
    """Why the metric didn't succeed, for people; "" if it broke no limit. ``named``: with the metric's name."""
    limit = broken(metric, result)
    if limit is None:
        return ""
    who = f'Metric "{metric.name}"' if named else "Metric"
    last = result.measurements[-1].message if result.measurements else ""
    return f"{who} assessed {limit.phase} due to {limit.why}" + (f': "Error Message: {last}"' if last else "")


def phase_of(metric: Metric, result: MetricResult, *, terminating: bool) -> str:
    """The phase of a metric that has a result. A final one stays."""
    if result.phase in COMPLETED:
        return result.phase
    if not result.measurements:
        return SUCCESSFUL if terminating else PENDING
    if in_flight(result):
        return RUNNING
    limit = broken(metric, result)
    phase = _reached(metric, result) if limit is None else limit.phase
    return phase or (SUCCESSFUL if terminating else RUNNING)


def _reached(metric: Metric, result: MetricResult) -> str:
    """The phase of a metric that has all it needs; "" if it doesn't."""
    limits = limits_of(metric)
    succeeds_early = limits.consecutive_success > 0
    if succeeds_early and result.consecutive_success >= limits.consecutive_success:
        return SUCCESSFUL
    if limits.count is None or result.count < limits.count:
        return ""
    if not succeeds_early:
        return SUCCESSFUL
    return FAILED if limits.failure < 0 else INCONCLUSIVE


def assessed(metric: Metric, result: MetricResult, *, dry: bool, terminating: bool) -> MetricResult:
    """The result with its phase and, if that changed, its message."""
    phase = phase_of(metric, result, terminating=terminating)
    if phase == result.phase:
        return result.model_copy(update={"dry_run": dry})
    message = result.measurements[-1].message if result.measurements else ""
    if dry:
        message = assessment(metric, result, named=False) or message
    return result.model_copy(update={"phase": phase, "message": message, "dry_run": dry})
