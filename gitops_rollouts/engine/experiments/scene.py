"""What a pass over an Experiment follows from at once: its stored status, and whether it is coming to its end."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from gitops_rollouts.api.analysis import COMPLETED, ERROR, FAILED, SUCCESSFUL
from gitops_rollouts.api.durations import parse_go_duration
from gitops_rollouts.api.experiment import (
    ExperimentAnalysisRunStatus,
    ExperimentSpec,
    ExperimentStatus,
    TemplateStatus,
)
from gitops_rollouts.api.names import EXPERIMENT_TEMPLATE_NAME
from gitops_rollouts.engine import moments
from gitops_rollouts.engine.experiments.observed import ObservedExperiment
from gitops_rollouts.engine.observed import ReplicaSet

PROGRESSING = "Progressing"
ENDED = frozenset({SUCCESSFUL, FAILED, ERROR})
"""A template's states that never change again."""


@dataclass(frozen=True)
class Scene:
    """One pass. All that is decided follows from the stored status, so that each stage takes a pass."""

    observed: ObservedExperiment
    now: datetime

    @property
    def spec(self) -> ExperimentSpec:
        """The Experiment's spec."""
        return self.observed.experiment.spec

    @property
    def status(self) -> ExperimentStatus:
        """The stored status."""
        return self.observed.experiment.status

    @property
    def name(self) -> str:
        """The Experiment's name."""
        return self.observed.experiment.metadata.name

    @property
    def stamp(self) -> datetime:
        """Now, as it is written: in whole seconds."""
        return self.now.replace(microsecond=0)

    @property
    def began(self) -> bool:
        """Whether an earlier pass has written a status."""
        return self.status.phase != ""

    @cached_property
    def ending(self) -> bool:
        """Whether the pods go and the runs end: asked for, or nothing more can be learned."""
        if self.spec.terminate or self.status.completed:
            return True
        if any(one.status in (FAILED, ERROR) for one in self.status.template_statuses):
            return True
        runs = self.status.analysis_runs
        return any(one.phase in COMPLETED - {SUCCESSFUL} for one in runs) or self.required_done(runs)

    def required_done(self, runs: tuple[ExperimentAnalysisRunStatus, ...]) -> bool:
        """Whether all analyses that are required for completion say yes; there must be one."""
        required = {one.name for one in self.spec.analyses if one.required_for_completion}
        return bool(required) and required <= {one.name for one in runs if one.phase == SUCCESSFUL}

    @cached_property
    def duration(self) -> timedelta | None:
        """How long it runs once everything is available; None for no end, as with a text that is no duration."""
        try:
            return max(timedelta(), parse_go_duration(self.spec.duration)) if self.spec.duration else None
        except ValueError:
            return None

    @cached_property
    def ends_at(self) -> datetime | None:
        """When the duration is over; None if it hasn't begun or has no end."""
        if self.duration is None or self.status.available_at is None:
            return None
        return moments.plus(self.status.available_at, self.duration)

    @property
    def expired(self) -> bool:
        """Whether the duration is over."""
        return self.ends_at is not None and self.now >= self.ends_at

    def stored(self, template: str) -> TemplateStatus | None:
        """The stored status of a template."""
        return next((one for one in self.status.template_statuses if one.name == template), None)

    @cached_property
    def by_template(self) -> dict[str, ReplicaSet]:
        """The ReplicaSet of each template, the oldest if there are several."""
        found: dict[str, ReplicaSet] = {}
        for one in sorted(self.observed.replica_sets, key=lambda one: (one.created, one.name)):
            found.setdefault(one.annotations.get(EXPERIMENT_TEMPLATE_NAME, ""), one)
        return found
