"""One pass over one AnalysisRun (docs/behaviour.md §17.3, §17.6)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final

from gitops_rollouts.api.analysis import (
    COMPLETED,
    ERROR,
    FAILED,
    INCONCLUSIVE,
    RUNNING,
    SUCCESSFUL,
    AnalysisRun,
    Metric,
    MetricResult,
)
from gitops_rollouts.engine import moments
from gitops_rollouts.engine.analysis import times, verdict
from gitops_rollouts.engine.analysis.due import next_call
from gitops_rollouts.engine.analysis.observed import Call, CollectGarbage, GiveUp, ObservedRun, RunAction, RunPlan
from gitops_rollouts.engine.analysis.results import applied, assessed, fitted, in_flight
from gitops_rollouts.engine.plan import DeleteRun, EmitEvent

RETENTION: Final = 10
"""How many measurements of a metric are kept where nothing else is said."""
MOST_KEPT: Final = 1000
ROOM: Final = 400 * 1024
"""Bytes of all measurements and texts of a run: an object can't be larger than a megabyte and a half."""
_BAD: Final = frozenset({FAILED, ERROR, INCONCLUSIVE})
_WARNED: Final = frozenset({FAILED, ERROR})


def step_run(observed: ObservedRun, now: datetime) -> RunPlan:
    """Look at one run: apply what was measured since, judge, and say what to measure now and when to look again."""
    run = observed.run
    if run.metadata.deletion_timestamp is not None:
        return RunPlan()
    if run.status.completed:
        return _afterwards(run, now)
    if observed.problem:
        status = run.status.model_copy(update={"phase": ERROR, "message": observed.problem})
        return RunPlan(status=status, events=(_run_event(ERROR),))
    return _Pass(observed, now).plan()


def _afterwards(run: AnalysisRun, now: datetime) -> RunPlan:
    """A completed run is only looked at for its time to live (§17.6)."""
    strategy, completed_at = run.spec.ttl_strategy, run.status.completed_at
    if strategy is None or completed_at is None:
        return RunPlan()
    seconds = strategy.seconds_after_completion
    if run.status.phase == SUCCESSFUL and strategy.seconds_after_success is not None:
        seconds = strategy.seconds_after_success
    if run.status.phase == FAILED and strategy.seconds_after_failure is not None:
        seconds = strategy.seconds_after_failure
    if seconds is None:
        return RunPlan()
    # whole seconds of age have to be more than the time to live
    end = moments.after(completed_at, max(-1, seconds) + 1)
    if end > now:
        return RunPlan(look_again=end - now)
    return RunPlan(actions=(DeleteRun("AnalysisRun", run.metadata.name, run.metadata.uid),))


class _Pass:
    """One pass over a run that isn't completed."""

    def __init__(self, observed: ObservedRun, now: datetime) -> None:
        self._observed = observed
        self._now = now
        self._stamp = now.replace(microsecond=0)
        self._status = observed.run.status
        self._results = {result.name: result for result in self._status.metric_results}
        # as known at the start of the pass: one that fails now ends the others in the next
        self._terminating = observed.run.spec.terminate or any(
            result.phase in _BAD and result.name not in observed.dry for result in self._status.metric_results
        )
        self._waits: timedelta | None = None
        self._unfinished = False
        """Something that has to be asked to end hasn't ended yet."""

    def plan(self) -> RunPlan:
        for answer in self._observed.answers:
            result = applied(self._results.get(answer.metric), answer, self._stamp)
            if result is not None:
                self._results[answer.metric] = result
        events = tuple(self._assess())
        actions = [*self._calls(), *self._trim()]
        return self._finish(actions, events)

    def _assess(self) -> Iterator[EmitEvent]:
        for metric in self._observed.metrics:
            before = self._results.get(metric.name)
            if before is None:
                continue
            dry = metric.name in self._observed.dry
            # what still may come counts: the end of the run waits for it
            terminating = self._terminating and not self._awaited(metric)
            after = assessed(metric, before, dry=dry, terminating=terminating)
            self._results[metric.name] = after
            if after.phase != before.phase and after.phase in COMPLETED:
                yield _told(
                    f"Metric{after.phase}", f"Metric '{metric.name}' Completed. Result: {after.phase}", after.phase
                )

    def _awaited(self, metric: Metric) -> bool:
        """Whether a call is under way that may begin something which then has to be ended."""
        return self._observed.busy.get(metric.name) == "Measure" and times.leaves_something(metric)

    def _calls(self) -> Iterator[RunAction]:
        for metric in self._observed.metrics:
            result = self._results.get(metric.name)
            if result is not None and result.phase in COMPLETED:
                if metric.name in self._observed.busy:
                    yield GiveUp(metric.name)
            elif self._terminating:
                yield from self._ending(metric, result)
            elif metric.name not in self._observed.busy:
                over = in_flight(result) and metric.name in self._observed.over
                due = next_call(metric, result, self._status.started_at, self._now, over=over)
                if isinstance(due, Call):
                    yield due
                else:
                    self._waits = moments.soonest(self._waits, due)

    def _ending(self, metric: Metric, result: MetricResult | None) -> Iterator[RunAction]:
        busy = self._observed.busy.get(metric.name)
        if in_flight(result):
            self._unfinished = True
            if busy != "Terminate":
                yield Call(metric.name, "Terminate")
        elif self._awaited(metric):
            self._unfinished = True
        elif busy is not None:
            yield GiveUp(metric.name)

    def _trim(self) -> Iterator[RunAction]:
        metrics = {metric.name: metric for metric in self._observed.metrics}
        for name, result in self._results.items():
            limit = self._observed.retention.get(name, 0)
            limit = min(limit, MOST_KEPT) if limit > 0 else RETENTION
            kept = result.model_copy(update={"measurements": result.measurements[-limit:]})
            self._results[name] = fitted(kept, ROOM // len(self._results))
            if len(result.measurements) > limit and name in metrics and times.leaves_something(metrics[name]):
                yield CollectGarbage(name, limit)

    def _finish(self, actions: list[RunAction], events: tuple[EmitEvent, ...]) -> RunPlan:
        observed = self._observed
        phase, message = RUNNING, self._status.message
        over = verdict.complete(observed.metrics, self._results) or (self._terminating and not self._unfinished)
        if over:
            phase, message = verdict.judge(
                observed.metrics, self._results, observed.dry, asked_to_end=observed.run.spec.terminate
            )
            events = (*events, _run_event(phase))
        elif self._status.phase != RUNNING:
            message = ""
        counting = [metric for metric in observed.metrics if metric.name not in observed.dry]
        dry = [metric for metric in observed.metrics if metric.name in observed.dry]
        status = self._status.model_copy(
            update={
                "phase": phase,
                "message": message,
                "metric_results": tuple(self._ordered()),
                "started_at": self._status.started_at or self._stamp,
                "completed_at": self._stamp if over else None,
                "run_summary": verdict.summary(counting, self._results),
                "dry_run_summary": verdict.summary(dry, self._results),
            }
        )
        return RunPlan(tuple(actions), status, events, None if over else self._waits)

    def _ordered(self) -> Iterator[MetricResult]:
        """The results in the order of the spec, then any whose metric is not in it."""
        names = [metric.name for metric in self._observed.metrics]
        yield from (self._results[name] for name in names if name in self._results)
        yield from (result for name, result in self._results.items() if name not in names)


def _run_event(phase: str) -> EmitEvent:
    return _told(f"AnalysisRun{phase}", f"Analysis Completed. Result: {phase}", phase)


def _told(reason: str, message: str, phase: str) -> EmitEvent:
    return EmitEvent(reason, message, "Warning" if phase in _WARNED else "Normal")
