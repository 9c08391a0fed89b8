"""AnalysisTemplate, ClusterAnalysisTemplate and AnalysisRun (docs/behaviour.md §17)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import Field

from gitops_rollouts.api.analysis_refs import AnalysisTemplateRef, DryRun, FieldRef, MeasurementRetention
from gitops_rollouts.api.meta import ALWAYS, REQUIRED, Bool, Int32, IntOrText, Model, ObjectMeta, Time, parse_tolerant
from gitops_rollouts.api.metric_providers import MetricProvider
from gitops_rollouts.api.names import ARGO_API_VERSION

PENDING: Final = "Pending"
RUNNING: Final = "Running"
SUCCESSFUL: Final = "Successful"
FAILED: Final = "Failed"
ERROR: Final = "Error"
INCONCLUSIVE: Final = "Inconclusive"
COMPLETED: Final = frozenset({SUCCESSFUL, FAILED, ERROR, INCONCLUSIVE})
"""Phases of a measurement, a metric, a run or an Experiment that never change again."""


class SecretKeyRef(Model):
    """A key of a Secret in the namespace of the AnalysisRun."""

    name: str = Field("", json_schema_extra=REQUIRED)
    key: str = Field("", json_schema_extra=REQUIRED)


class ValueFrom(Model):
    """Where an argument's value comes from."""

    secret_key_ref: SecretKeyRef | None = None
    field_ref: FieldRef | None = None


class Argument(Model):
    """An argument of a template or of a run. ``value`` None: whoever uses the template gives it."""

    name: str = Field("", json_schema_extra=REQUIRED)
    value: str | None = None
    value_from: ValueFrom | None = None


class Metric(Model):
    """What is measured, how often, and what it means (§17.2). Counts and limits may be text, for arguments."""

    name: str = Field("", json_schema_extra=REQUIRED)
    interval: str = ""
    initial_delay: str = ""
    count: IntOrText | None = None
    success_condition: str = ""
    failure_condition: str = ""
    failure_limit: IntOrText | None = None
    inconclusive_limit: IntOrText | None = None
    consecutive_error_limit: IntOrText | None = None
    consecutive_success_limit: IntOrText | None = None
    provider: MetricProvider = Field(default_factory=MetricProvider, json_schema_extra=REQUIRED)


class AnalysisTemplateSpec(Model):
    """What a run made from this template measures."""

    metrics: tuple[Metric, ...] = ()
    args: tuple[Argument, ...] = ()
    dry_run: tuple[DryRun, ...] = ()
    measurement_retention: tuple[MeasurementRetention, ...] = ()
    templates: tuple[AnalysisTemplateRef, ...] = ()


class AnalysisTemplate(Model):
    """An AnalysisTemplate or, without a namespace, a ClusterAnalysisTemplate."""

    api_version: str = ARGO_API_VERSION
    kind: str = "AnalysisTemplate"
    metadata: ObjectMeta = Field(default_factory=ObjectMeta)
    spec: AnalysisTemplateSpec = Field(default_factory=AnalysisTemplateSpec)


class TTLStrategy(Model):
    """When a finished run is deleted, in seconds; None: never (§17.6)."""

    seconds_after_completion: Int32 | None = None
    seconds_after_failure: Int32 | None = None
    seconds_after_success: Int32 | None = None


class AnalysisRunSpec(Model):
    """What one run measures. ``terminate``: somebody asked it to end."""

    metrics: tuple[Metric, ...] = Field((), json_schema_extra=REQUIRED)
    args: tuple[Argument, ...] = ()
    terminate: Bool = False
    dry_run: tuple[DryRun, ...] = ()
    measurement_retention: tuple[MeasurementRetention, ...] = ()
    ttl_strategy: TTLStrategy | None = None


class Measurement(Model):
    """One value of a metric and what it means. ``resume_at``: when to look again at one that is Running."""

    phase: str = Field("", json_schema_extra=REQUIRED)
    message: str = ""
    started_at: Time | None = None
    finished_at: Time | None = None
    value: str = ""
    metadata: dict[str, str] = Field(default_factory=dict)
    resume_at: Time | None = None


class MetricResult(Model):
    """What a metric has come to. The counters count all measurements, ``measurements`` holds the last ones."""

    name: str = Field("", json_schema_extra=REQUIRED)
    phase: str = Field("", json_schema_extra=REQUIRED)
    measurements: tuple[Measurement, ...] = ()
    message: str = ""
    count: Int32 = 0
    successful: Int32 = 0
    failed: Int32 = 0
    inconclusive: Int32 = 0
    error: Int32 = 0
    consecutive_error: Int32 = 0
    consecutive_success: Int32 = 0
    dry_run: Bool = False
    metadata: dict[str, str] = Field(default_factory=dict)


class RunSummary(Model):
    """How many metrics there are, and how the finished ones ended."""

    count: Int32 = 0
    successful: Int32 = 0
    failed: Int32 = 0
    inconclusive: Int32 = 0
    error: Int32 = 0


class RunStatus(Model):
    """What a run has come to."""

    phase: str = Field("", json_schema_extra=REQUIRED)
    message: str = ""
    metric_results: tuple[MetricResult, ...] = ()
    started_at: Time | None = None
    completed_at: Time | None = None
    run_summary: RunSummary = Field(default_factory=RunSummary)
    dry_run_summary: RunSummary | None = None

    @property
    def completed(self) -> bool:
        """Whether the phase never changes again."""
        return self.phase in COMPLETED


class AnalysisRun(Model):
    """An AnalysisRun with its status."""

    api_version: str = ARGO_API_VERSION
    kind: str = "AnalysisRun"
    metadata: ObjectMeta = Field(default_factory=ObjectMeta)
    spec: AnalysisRunSpec = Field(default_factory=AnalysisRunSpec)
    status: RunStatus = Field(default_factory=RunStatus, json_schema_extra=ALWAYS)


def parse_analysis_run(raw: Mapping[str, Any]) -> AnalysisRun:
    """Read an AnalysisRun from the cluster. Total: what has a wrong type is as if absent (§1)."""
    return parse_tolerant(AnalysisRun, raw)


def parse_analysis_template(raw: Mapping[str, Any]) -> AnalysisTemplate:
    """Read an AnalysisTemplate or ClusterAnalysisTemplate from the cluster. Total, as `parse_analysis_run`."""
    return parse_tolerant(AnalysisTemplate, raw)
