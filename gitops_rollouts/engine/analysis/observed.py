"""What a pass over an AnalysisRun is told, and what it decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from gitops_rollouts.api.analysis import AnalysisRun, Measurement, Metric, RunStatus
from gitops_rollouts.engine.plan import DeleteRun, EmitEvent

Operation = Literal["Measure", "Resume", "Terminate"]


@dataclass(frozen=True, slots=True)
class MetricAnswer:
    """What one call for a metric came to: a finished measurement, or one that is Running. Secrets are hidden in it.

    ``metadata``: what the metric's result tells of the query.
    """

    metric: str
    operation: Operation
    measurement: Measurement
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ObservedRun:
    """One AnalysisRun and all that its rules look at."""

    run: AnalysisRun
    metrics: tuple[Metric, ...] = ()
    """Those of the spec, with the arguments filled in; in place of values from Secrets stands anything."""
    problem: str = ""
    """Why the spec can't be carried out: the message with which the run ends; "" if it can."""
    dry: frozenset[str] = frozenset()
    """Names of the metrics that don't count."""
    retention: Mapping[str, int] = field(default_factory=dict)
    """How many measurements are kept of a metric, where that isn't the default."""
    answers: tuple[MetricAnswer, ...] = ()
    """Answers to calls that earlier passes asked for and that aren't in the status yet."""
    busy: Mapping[str, Operation] = field(default_factory=dict)
    """Calls under way, by metric."""
    over: frozenset[str] = frozenset()
    """Metrics whose measurement in flight is known to have ended: it is looked at before its time."""


@dataclass(frozen=True, slots=True)
class Call:
    """Take, resume or end a measurement of a metric. It goes on by itself, a later pass sees its `MetricAnswer`.

    One that is under way for the same metric is given up for it.
    """

    metric: str
    operation: Operation


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Nobody waits any more for the call that is under way for this metric."""

    metric: str


@dataclass(frozen=True, slots=True)
class CollectGarbage:
    """Remove what measurements of this metric beyond the newest ``limit`` have left behind."""

    metric: str
    limit: int


RunAction = Call | GiveUp | CollectGarbage | DeleteRun


@dataclass(frozen=True, slots=True)
class RunPlan:
    """One pass: what to do, the complete new status, the events once it is written, and when to look again."""

    actions: tuple[RunAction, ...] = ()
    status: RunStatus | None = None
    """None or equal to the old one: nothing to write."""
    events: tuple[EmitEvent, ...] = ()
    look_again: timedelta | None = None
    """None: the next change of the run or the next answer is enough."""
