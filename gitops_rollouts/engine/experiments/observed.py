"""What a pass over an Experiment is told, and what it decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from gitops_rollouts.api.analysis import AnalysisRun, AnalysisTemplate
from gitops_rollouts.api.analysis_templates import TemplateKey
from gitops_rollouts.api.experiment import Experiment, ExperimentStatus
from gitops_rollouts.engine.observed import ReplicaSet
from gitops_rollouts.engine.plan import CreateReplicaSet, CreateRun, EmitEvent, PatchReplicaSet, TerminateRun


@dataclass(frozen=True, slots=True)
class NamedService:
    """A Service of a name that a template of the Experiment wants. ``owner_uid``: who controls it, None if nobody."""

    name: str
    uid: str
    owner_uid: str | None


@dataclass(frozen=True, slots=True)
class ObservedExperiment:
    """One Experiment and all that its rules look at."""

    experiment: Experiment
    """If it is completed, without pod templates."""
    replica_sets: tuple[ReplicaSet, ...] = ()
    """Those that the Experiment controls."""
    services: Mapping[str, NamedService] = field(default_factory=dict)
    """Those of `templates.service_names` that exist."""
    analysis_runs: tuple[AnalysisRun, ...] = ()
    """Those that the Experiment controls; of finished ones no metrics."""
    taken_runs: frozenset[str] = frozenset()
    """Names of AnalysisRuns in the namespace that this Experiment doesn't control."""
    templates: Mapping[TemplateKey, AnalysisTemplate] = field(default_factory=dict)
    """The analysis templates that the spec names, and those that they name, as far as they exist."""
    refused: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """What the API server would not create in this very pass: the reason, by kind and name."""


@dataclass(frozen=True, slots=True)
class CreateService:
    """Create a Service that the Experiment controls. ``body`` is the whole object less its owner."""

    name: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class DeleteService:
    """Delete a Service of the Experiment; one that is gone meanwhile is no error."""

    name: str
    uid: str


ExperimentAction = (
    CreateReplicaSet | PatchReplicaSet | CreateService | DeleteService | CreateRun | TerminateRun | EmitEvent
)


@dataclass(frozen=True, slots=True)
class ExperimentPlan:
    """One pass: ``actions`` in order, the first failure ends it; then ``status``; then the events."""

    actions: tuple[ExperimentAction, ...] = ()
    status: ExperimentStatus | None = None
    """The complete new status; None or equal to the old one: nothing to write."""
    events: tuple[EmitEvent, ...] = ()
    owner_events: tuple[EmitEvent, ...] = ()
    """Those that the Rollout to which the Experiment belongs is told, too."""
    look_again: timedelta | None = None
    """None: the next change of an observed object is enough."""
