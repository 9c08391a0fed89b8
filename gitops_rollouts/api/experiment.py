"""The Experiment (docs/behaviour.md §19)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from gitops_rollouts.api.analysis import COMPLETED, Argument
from gitops_rollouts.api.analysis_refs import AnalysisRunMetadata, DryRun, MeasurementRetention
from gitops_rollouts.api.meta import (
    ALWAYS,
    REQUIRED,
    Bool,
    Int32,
    LabelSelector,
    Model,
    ObjectMeta,
    Raw,
    Time,
    parse_tolerant,
)
from gitops_rollouts.api.names import ARGO_API_VERSION
from gitops_rollouts.api.status import Condition
from gitops_rollouts.api.steps import TemplateService


class ExperimentTemplate(Model):
    """A ReplicaSet of an Experiment; with ``service`` it gets a Service of its own."""

    name: str = Field("", json_schema_extra=REQUIRED)
    replicas: Int32 | None = None
    min_ready_seconds: Int32 = 0
    selector: LabelSelector | None = Field(None, json_schema_extra=REQUIRED)
    template: Raw = Field(default_factory=dict, json_schema_extra=REQUIRED)
    service: TemplateService | None = None

    @property
    def desired_replicas(self) -> int:
        """1 unless set."""
        return 1 if self.replicas is None else self.replicas


class ExperimentAnalysis(Model):
    """An analysis of an Experiment."""

    name: str = Field("", json_schema_extra=REQUIRED)
    template_name: str = Field("", json_schema_extra=REQUIRED)
    cluster_scope: Bool = False
    args: tuple[Argument, ...] = ()
    required_for_completion: Bool = False


class ExperimentSpec(Model):
    """What is tried, for how long, and what judges it."""

    templates: tuple[ExperimentTemplate, ...] = Field((), json_schema_extra=REQUIRED)
    duration: str = ""
    progress_deadline_seconds: Int32 | None = None
    terminate: Bool = False
    analyses: tuple[ExperimentAnalysis, ...] = ()
    scale_down_delay_seconds: Int32 | None = None
    dry_run: tuple[DryRun, ...] = ()
    measurement_retention: tuple[MeasurementRetention, ...] = ()
    analysis_run_metadata: AnalysisRunMetadata | None = None

    @property
    def progress_deadline(self) -> int:
        """Seconds; 600 unless set."""
        return 600 if self.progress_deadline_seconds is None else self.progress_deadline_seconds

    @property
    def scale_down_delay(self) -> int:
        """Seconds; 30 unless set."""
        return 30 if self.scale_down_delay_seconds is None else self.scale_down_delay_seconds


class TemplateStatus(Model):
    """How far a template's ReplicaSet is. ``status``: Progressing, Running, Successful, Failed or Error."""

    name: str = Field("", json_schema_extra=REQUIRED)
    replicas: Int32 = Field(0, json_schema_extra=REQUIRED)
    updated_replicas: Int32 = Field(0, json_schema_extra=REQUIRED)
    ready_replicas: Int32 = Field(0, json_schema_extra=REQUIRED)
    available_replicas: Int32 = Field(0, json_schema_extra=REQUIRED)
    collision_count: Int32 | None = None
    status: str = ""
    message: str = ""
    last_transition_time: Time | None = None
    service_name: str = ""
    pod_template_hash: str = ""


class ExperimentAnalysisRunStatus(Model):
    """The AnalysisRun of an analysis."""

    name: str = Field("", json_schema_extra=REQUIRED)
    analysis_run: str = Field("", json_schema_extra=REQUIRED)
    phase: str = Field("", json_schema_extra=REQUIRED)
    message: str = ""


class ExperimentStatus(Model):
    """What an Experiment has come to."""

    phase: str = ""
    message: str = ""
    template_statuses: tuple[TemplateStatus, ...] = ()
    available_at: Time | None = None
    conditions: tuple[Condition, ...] = ()
    analysis_runs: tuple[ExperimentAnalysisRunStatus, ...] = ()

    @property
    def completed(self) -> bool:
        """Whether the phase never changes again."""
        return self.phase in COMPLETED


class Experiment(Model):
    """An Experiment with its status."""

    api_version: str = ARGO_API_VERSION
    kind: str = "Experiment"
    metadata: ObjectMeta = Field(default_factory=ObjectMeta)
    spec: ExperimentSpec = Field(default_factory=ExperimentSpec)
    status: ExperimentStatus = Field(default_factory=ExperimentStatus, json_schema_extra=ALWAYS)


def parse_experiment(raw: Mapping[str, Any]) -> Experiment:
    """Read an Experiment from the cluster. Total: what has a wrong type is as if absent (§1)."""
    return parse_tolerant(Experiment, raw)
