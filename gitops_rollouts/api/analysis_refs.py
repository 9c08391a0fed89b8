"""How a Rollout refers to analysis templates and what it passes to them (docs/behaviour.md §2.5, §17)."""

from __future__ import annotations

from pydantic import Field

from gitops_rollouts.api.meta import REQUIRED, Bool, Int32, Model


class AnalysisTemplateRef(Model):
    """A reference to an AnalysisTemplate, or to a ClusterAnalysisTemplate if ``cluster_scope``."""

    template_name: str = ""
    cluster_scope: Bool = False


class FieldRef(Model):
    """A field of the Rollout, such as ``metadata.labels['env']``."""

    field_path: str = Field("", json_schema_extra=REQUIRED)


class ArgumentValueFrom(Model):
    """Where an argument's value comes from: a pod-template hash (``Latest`` or ``Stable``) or a field."""

    pod_template_hash_value: str | None = None
    field_ref: FieldRef | None = None


class AnalysisRunArgument(Model):
    """An argument of an analysis run."""

    name: str = Field("", json_schema_extra=REQUIRED)
    value: str = ""
    value_from: ArgumentValueFrom | None = None


class DryRun(Model):
    """A metric (or a pattern of names) whose result doesn't count."""

    metric_name: str = Field("", json_schema_extra=REQUIRED)


class MeasurementRetention(Model):
    """How many measurements of a metric are kept."""

    metric_name: str = Field("", json_schema_extra=REQUIRED)
    limit: Int32 = Field(0, json_schema_extra=REQUIRED)


class AnalysisRunMetadata(Model):
    """Labels and annotations that the created AnalysisRun gets."""

    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class RolloutAnalysis(Model):
    """The templates that make one AnalysisRun."""

    templates: tuple[AnalysisTemplateRef, ...] = ()
    args: tuple[AnalysisRunArgument, ...] = ()
    dry_run: tuple[DryRun, ...] = ()
    measurement_retention: tuple[MeasurementRetention, ...] = ()
    analysis_run_metadata: AnalysisRunMetadata = Field(default_factory=AnalysisRunMetadata)


class RolloutAnalysisBackground(RolloutAnalysis):
    """An analysis that runs beside the steps, from ``starting_step`` on (None: 0)."""

    starting_step: Int32 | None = None


class RolloutExperimentAnalysis(Model):
    """An analysis of an experiment step."""

    name: str = Field("", json_schema_extra=REQUIRED)
    template_name: str = Field("", json_schema_extra=REQUIRED)
    cluster_scope: Bool = False
    args: tuple[AnalysisRunArgument, ...] = ()
    required_for_completion: Bool = False
