"""One AnalysisRun, a clock, and answers to the calls that passes over it ask for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from gitops_rollouts.api.analysis import AnalysisRun, Measurement, MetricResult, RunStatus, parse_analysis_run
from gitops_rollouts.api.metric_rules import dry_run_names, retention_limits
from gitops_rollouts.engine.analysis.observed import Call, MetricAnswer, ObservedRun, Operation, RunPlan
from gitops_rollouts.engine.analysis.step import step_run

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
WEB = {"web": {"url": "https://metrics.example"}}
JOB = {"job": {"spec": {"template": {"spec": {"containers": []}}}}}


def metric(name: str = "m", *, provider: Mapping[str, Any] = WEB, **spec: Any) -> dict[str, Any]:
    """A metric of the spec; keys as in the API."""
    return {"name": name, "provider": dict(provider), **spec}


@dataclass
class Lab:
    """``busy``: calls under way that nobody answered yet."""

    run: AnalysisRun
    now: datetime = START
    problem: str = ""
    busy: dict[str, Operation] = field(default_factory=dict)
    plan: RunPlan = field(default_factory=RunPlan)
    events: list[str] = field(default_factory=list)

    @property
    def status(self) -> RunStatus:
        return self.run.status

    def result(self, name: str = "m") -> MetricResult:
        return next(result for result in self.status.metric_results if result.name == name)

    @property
    def calls(self) -> dict[str, str]:
        """What the last pass asked for."""
        return {action.metric: action.operation for action in self.plan.actions if isinstance(action, Call)}

    def later(self, seconds: float) -> Lab:
        self.now += timedelta(seconds=seconds)
        return self

    def ask_to_end(self) -> Lab:
        self.run = self.run.model_copy(update={"spec": self.run.spec.model_copy(update={"terminate": True})})
        return self

    def look(self, **answers: str | Measurement) -> Lab:
        """One pass, with answers to calls under way: a phase, or a whole measurement."""
        given = tuple(self._answer(name, answer) for name, answer in answers.items())
        spec = self.run.spec
        observed = ObservedRun(
            self.run,
            spec.metrics,
            self.problem,
            dry_run_names(spec.metrics, spec.dry_run),
            retention_limits(spec.metrics, spec.measurement_retention),
            given,
            self.busy,
        )
        self.plan = step_run(observed, self.now)
        if self.plan.status is not None:
            stored = self.run.model_copy(update={"status": self.plan.status}).encode()
            self.run = parse_analysis_run(stored)
            assert self.run.status == self.plan.status, "what is decided survives being stored"
        self.events += [f"{event.type[0]} {event.reason}: {event.message}" for event in self.plan.events]
        self.busy |= {a.metric: a.operation for a in self.plan.actions if isinstance(a, Call)}
        return self

    def _answer(self, name: str, answer: str | Measurement) -> MetricAnswer:
        operation = self.busy.pop(name)
        if isinstance(answer, str):
            answer = Measurement(phase=answer, started_at=self.now, finished_at=self.now)
        return MetricAnswer(name, operation, answer)

    def measure(self, *phases: str, name: str = "m", seconds: float = 60) -> Lab:
        """A pass, then for each phase the answer, and time until the next measurement is due."""
        for phase in phases:
            if name not in self.busy:
                self.later(seconds).look()
            assert self.busy.get(name), f"nothing is measured at {self.now}: {self.plan}"
            self.look(**{name: phase})
        return self


def lab(*metrics: dict[str, Any], **spec: Any) -> Lab:
    """A run of these metrics that nobody has looked at yet; keys of the spec as in the API."""
    body = {"metadata": {"name": "run", "namespace": "ns", "uid": "u"}, "spec": {"metrics": [*metrics], **spec}}
    return Lab(parse_analysis_run(body))
