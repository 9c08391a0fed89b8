"""A Rollout's status (docs/behaviour.md §3): the model, its encoding, and the patch that writes a change.

Vocabularies (phases, condition types, reasons) are text, not enumerations: an unknown one from the cluster is kept.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic import Field

from gitops_rollouts.api.meta import ALWAYS, REQUIRED, AnyValue, Bool, Int32, Int64, Model, Raw, Time, encode

HEALTHY: Final = "Healthy"
PROGRESSING: Final = "Progressing"
PAUSED: Final = "Paused"
DEGRADED: Final = "Degraded"


class Condition(Model):
    """An entry of ``status.conditions`` (§4.1). ``status``: ``True``, ``False`` or ``Unknown``."""

    type: str = Field("", json_schema_extra=REQUIRED)
    status: str = Field("", json_schema_extra=REQUIRED)
    reason: str = Field("", json_schema_extra=REQUIRED)
    message: str = Field("", json_schema_extra=REQUIRED)
    last_update_time: Time | None = Field(None, json_schema_extra=REQUIRED)
    last_transition_time: Time | None = Field(None, json_schema_extra=REQUIRED)


class PauseCondition(Model):
    """Why the controller paused, and since when."""

    reason: str = Field("", json_schema_extra=REQUIRED)
    start_time: Time | None = Field(None, json_schema_extra=REQUIRED)


class AnalysisRunStatus(Model):
    """The AnalysisRun that the Rollout waits for."""

    name: str = Field("", json_schema_extra=REQUIRED)
    status: str = Field("", json_schema_extra=REQUIRED)
    message: str = ""


class BlueGreenStatus(Model):
    """Status of a blue-green Rollout."""

    preview_selector: str = ""
    active_selector: str = ""
    scale_up_preview_check_point: Bool = False
    pre_promotion_analysis_run_status: AnalysisRunStatus | None = None
    post_promotion_analysis_run_status: AnalysisRunStatus | None = None


class WeightDestination(Model):
    """A share of the traffic and where it goes."""

    weight: Int32 = Field(0, json_schema_extra=REQUIRED)
    service_name: str = ""
    pod_template_hash: str = ""


class TrafficWeights(Model):
    """The weights that were last sent to the routers. ``verified``: None if there is nothing to verify."""

    canary: WeightDestination = Field(default_factory=WeightDestination, json_schema_extra=REQUIRED)
    stable: WeightDestination = Field(default_factory=WeightDestination, json_schema_extra=REQUIRED)
    additional: tuple[WeightDestination, ...] = ()
    verified: Bool | None = None


class StepPluginStatus(Model):
    """What a step plugin did (§16). ``operation``: Run, Terminate or Abort."""

    index: Int32 = Field(0, json_schema_extra=REQUIRED)
    name: str = Field("", json_schema_extra=REQUIRED)
    operation: str = Field("", json_schema_extra=REQUIRED)
    phase: str = ""
    message: str = ""
    started_at: Time | None = None
    updated_at: Time | None = None
    finished_at: Time | None = None
    backoff: str = ""
    executions: Int32 = 0
    disabled: Bool = False
    status: AnyValue = None


class CanaryStatus(Model):
    """Status of a canary."""

    current_step_analysis_run_status: AnalysisRunStatus | None = None
    current_background_analysis_run_status: AnalysisRunStatus | None = None
    current_experiment: str = ""
    weights: TrafficWeights | None = None
    stable_ping_pong: str = ""
    step_plugin_statuses: tuple[StepPluginStatus, ...] = ()


class AwsResourceRef(Model):
    """An AWS resource."""

    name: str = Field("", json_schema_extra=REQUIRED)
    arn: str = Field("", json_schema_extra=REQUIRED)
    full_name: str = Field("", json_schema_extra=REQUIRED)


class AlbStatus(Model):
    """The AWS load balancer that target verification found."""

    load_balancer: AwsResourceRef = Field(default_factory=AwsResourceRef)
    canary_target_group: AwsResourceRef = Field(default_factory=AwsResourceRef)
    stable_target_group: AwsResourceRef = Field(default_factory=AwsResourceRef)
    ingress: str = ""


class RolloutDuration(Model):
    """How long this update took (§4.4)."""

    rollout_started_at: Time | None = None
    manual_pause_started_at: Time | None = None
    total_manual_pause_duration_seconds: Int64 | None = None
    finished_at: Time | None = None
    completion_status: str = ""


class RolloutStatus(Model):
    """Everything the controller says of a Rollout; what no rule sets is absent."""

    abort: Bool = False
    aborted_at: Time | None = None
    alb: AlbStatus | None = None
    albs: tuple[AlbStatus, ...] = ()
    available_replicas: Int32 = 0
    blue_green: BlueGreenStatus = Field(default_factory=BlueGreenStatus, json_schema_extra=ALWAYS)
    canary: CanaryStatus = Field(default_factory=CanaryStatus, json_schema_extra=ALWAYS)
    collision_count: Int32 | None = None
    conditions: tuple[Condition, ...] = ()
    controller_pause: Bool = False
    current_pod_hash: str = ""
    current_step_hash: str = ""
    current_step_index: Int32 | None = None
    duration: RolloutDuration | None = None
    hpa_replicas: Int32 = Field(0, alias="HPAReplicas")
    message: str = ""
    observed_generation: str = ""
    pause_conditions: tuple[PauseCondition, ...] = ()
    phase: str = ""
    promote_full: Bool = False
    ready_replicas: Int32 = 0
    replicas: Int32 = 0
    restarted_at: Time | None = None
    selector: str = ""
    stable_rs: str = Field("", alias="stableRS")
    updated_replicas: Int32 = 0
    workload_observed_generation: str = ""

    @property
    def routing_error(self) -> str:
        """Why a router couldn't make true what it was told last (docs/behaviour.md §4.1, §15.1); "": it could."""
        routed = self.condition("TrafficRouted")
        return routed.message if routed is not None and routed.status == "False" else ""

    def condition(self, kind: str) -> Condition | None:
        """The condition of this type, if there is one."""
        return next((condition for condition in self.conditions if condition.type == kind), None)


def encode_status(status: RolloutStatus) -> Raw:
    """The status as it is stored (§3 "Encoding")."""
    return encode(status)


def status_patch(old: Raw, new: Raw) -> Raw | None:
    """The merge patch that turns the stored status into the new one: ``{"status": {…}}``, None if they are equal.

    Only changed keys, lists whole, null for a key that goes (§3). Times must already be encoded.
    """
    changes = _merge_patch(old, new)
    return {"status": changes} if changes else None


def _merge_patch(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    changes: dict[str, Any] = {key: None for key, value in old.items() if key not in new and value is not None}
    for key, value in new.items():
        before = old.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            inner = _merge_patch(before, value)
            if inner:
                changes[key] = inner
        elif key not in old or type(before) is not type(value) or before != value:
            changes[key] = value
    return changes
