"""The Rollout (docs/behaviour.md §2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from gitops_rollouts.api.meta import Bool, Int32, LabelSelector, Model, ObjectMeta, Raw, Time, parse_tolerant
from gitops_rollouts.api.names import ARGO_API_VERSION
from gitops_rollouts.api.status import RolloutStatus
from gitops_rollouts.api.steps import CanaryStep
from gitops_rollouts.api.strategy import Strategy


class ObjectRef(Model):
    """The workload whose template and selector the Rollout takes over (§2.2)."""

    api_version: str = ""
    kind: str = ""
    name: str = ""
    scale_down: str = ""
    """``never`` (also if empty), ``onsuccess`` or ``progressively``."""


class RollbackWindow(Model):
    """How many revisions back a rollback skips the steps (§11.4)."""

    revisions: Int32 = 0


class AnalysisRunStrategy(Model):
    """How many finished AnalysisRuns and Experiments are kept."""

    successful_run_history_limit: Int32 | None = None
    unsuccessful_run_history_limit: Int32 | None = None

    @property
    def successful_limit(self) -> int:
        """5 unless set."""
        return 5 if self.successful_run_history_limit is None else self.successful_run_history_limit

    @property
    def unsuccessful_limit(self) -> int:
        """5 unless set."""
        return 5 if self.unsuccessful_run_history_limit is None else self.unsuccessful_run_history_limit


class RolloutSpec(Model):
    """What is wanted. Defaults are properties, so that what was written can be told from what was not."""

    replicas: Int32 | None = None
    selector: LabelSelector | None = None
    template: Raw | None = None
    workload_ref: ObjectRef | None = None
    min_ready_seconds: Int32 = 0
    strategy: Strategy = Field(default_factory=Strategy)
    revision_history_limit: Int32 | None = None
    rollback_window: RollbackWindow | None = None
    paused: Bool = False
    progress_deadline_seconds: Int32 | None = None
    progress_deadline_abort: Bool = False
    restart_at: Time | None = None
    analysis: AnalysisRunStrategy | None = None

    @property
    def desired_replicas(self) -> int:
        """1 unless set."""
        return 1 if self.replicas is None else self.replicas

    @property
    def progress_deadline(self) -> int:
        """Seconds; 600 unless set."""
        return 600 if self.progress_deadline_seconds is None else self.progress_deadline_seconds

    @property
    def history_limit(self) -> int:
        """How many old ReplicaSets are kept; 10 unless set."""
        return 10 if self.revision_history_limit is None else self.revision_history_limit

    @property
    def steps(self) -> tuple[CanaryStep, ...]:
        """The canary's steps; none for blue-green."""
        return self.strategy.canary.steps if self.strategy.canary else ()


class Rollout(Model):
    """A Rollout with its status."""

    api_version: str = ARGO_API_VERSION
    kind: str = "Rollout"
    metadata: ObjectMeta = Field(default_factory=ObjectMeta)
    spec: RolloutSpec = Field(default_factory=RolloutSpec)
    status: RolloutStatus = Field(default_factory=RolloutStatus)


def parse_rollout(raw: Mapping[str, Any]) -> Rollout:
    """Read a Rollout from the cluster. Total: what has a wrong type is as if absent (§1)."""
    return parse_tolerant(Rollout, raw)
