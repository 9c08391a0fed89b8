"""How a Rollout replaces one version by the next (docs/behaviour.md §2.3, §2.4)."""

from __future__ import annotations

from typing import Final

from pydantic import Field

from gitops_rollouts.api.analysis_refs import RolloutAnalysis, RolloutAnalysisBackground
from gitops_rollouts.api.meta import REQUIRED, Bool, Int32, IntOrString, IntOrText, Model
from gitops_rollouts.api.steps import CanaryStep, TemplateMetadata
from gitops_rollouts.api.traffic import TrafficRouting

UNLIMITED_REVISIONS: Final = 2**31 - 1
DEFAULT_SCALE_DOWN_DELAY: Final = 30


class PreferredAntiAffinity(Model):
    """Anti-affinity as a preference with a weight of 1 to 100."""

    weight: Int32 = Field(0, json_schema_extra=REQUIRED)


class RequiredAntiAffinity(Model):
    """Anti-affinity as a must."""


class AntiAffinity(Model):
    """Keeps pods of the new version off the nodes of the old (§13)."""

    preferred_during_scheduling_ignored_during_execution: PreferredAntiAffinity | None = None
    required_during_scheduling_ignored_during_execution: RequiredAntiAffinity | None = None


class PingPong(Model):
    """Two Services that change roles on each promotion (§14.3)."""

    ping_service: str = Field("", json_schema_extra=REQUIRED)
    pong_service: str = Field("", json_schema_extra=REQUIRED)


class ReplicaProgressThreshold(Model):
    """How much of the new version must be available to go on (§8.6). ``type``: ``Percent`` or ``Pods``."""

    type: str = Field("", json_schema_extra=REQUIRED)
    value: Int32 = Field(0, json_schema_extra=REQUIRED)


class BlueGreenStrategy(Model):
    """Two full sizes and a switched Service."""

    active_service: str = Field("", json_schema_extra=REQUIRED)
    preview_service: str = ""
    preview_replica_count: Int32 | None = None
    auto_promotion_enabled: Bool | None = None
    auto_promotion_seconds: Int32 = 0
    max_unavailable: IntOrText | None = None
    scale_down_delay_seconds: Int32 | None = None
    scale_down_delay_revision_limit: Int32 | None = None
    abort_scale_down_delay_seconds: Int32 | None = None
    pre_promotion_analysis: RolloutAnalysis | None = None
    post_promotion_analysis: RolloutAnalysis | None = None
    anti_affinity: AntiAffinity | None = None
    preview_metadata: TemplateMetadata | None = None
    active_metadata: TemplateMetadata | None = None

    @property
    def max_unavailable_or_default(self) -> IntOrString:
        """25 % unless set."""
        return "25%" if self.max_unavailable is None else self.max_unavailable

    @property
    def auto_promotion(self) -> bool:
        """Whether no person is needed; true unless switched off."""
        return self.auto_promotion_enabled is not False


class CanaryStrategy(Model):
    """Step by step."""

    canary_service: str = ""
    stable_service: str = ""
    steps: tuple[CanaryStep, ...] = ()
    traffic_routing: TrafficRouting | None = None
    max_surge: IntOrText | None = None
    max_unavailable: IntOrText | None = None
    analysis: RolloutAnalysisBackground | None = None
    anti_affinity: AntiAffinity | None = None
    canary_metadata: TemplateMetadata | None = None
    stable_metadata: TemplateMetadata | None = None
    scale_down_delay_seconds: Int32 | None = None
    scale_down_delay_revision_limit: Int32 | None = None
    abort_scale_down_delay_seconds: Int32 | None = None
    dynamic_stable_scale: Bool = False
    ping_pong: PingPong | None = None
    min_pods_per_replica_set: Int32 | None = None
    replica_progress_threshold: ReplicaProgressThreshold | None = None

    @property
    def surge(self) -> IntOrString:
        """maxSurge, ``"25"`` unless set; a bare number in text is a percentage."""
        return "25" if self.max_surge is None else self.max_surge

    @property
    def unavailable(self) -> IntOrString:
        """maxUnavailable, ``"25"`` unless set; a bare number in text is a percentage."""
        return "25" if self.max_unavailable is None else self.max_unavailable

    @property
    def has_routers(self) -> bool:
        """Whether any router is named; managed routes alone are none."""
        return self.traffic_routing is not None and self.traffic_routing.has_routers

    @property
    def max_weight(self) -> int:
        """The weight that means all traffic."""
        return self.traffic_routing.max_weight if self.traffic_routing else 100


class Strategy(Model):
    """Exactly one of the two."""

    blue_green: BlueGreenStrategy | None = None
    canary: CanaryStrategy | None = None
