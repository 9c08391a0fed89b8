"""What one pass looks at: the observed objects sorted into roles, and what follows from them at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from gitops_rollouts.api.names import DESIRED_REPLICAS, POD_TEMPLATE_HASH, REVISION
from gitops_rollouts.api.rollout import RolloutSpec
from gitops_rollouts.api.status import PauseCondition, RolloutStatus, TrafficWeights
from gitops_rollouts.api.steps import CanaryStep
from gitops_rollouts.api.strategy import BlueGreenStrategy, CanaryStrategy
from gitops_rollouts.engine.arithmetic import Bounds, bounds
from gitops_rollouts.engine.observed import Observed, ReplicaSet, TreeAbort

CANARY_PAUSE = "CanaryPauseStep"
BLUE_GREEN_PAUSE = "BlueGreenPause"
INCONCLUSIVE = "InconclusiveAnalysisRun"
INCONCLUSIVE_EXPERIMENT = "InconclusiveExperiment"


@dataclass(frozen=True, slots=True)
class Leave:
    """What Git lets this pass do (docs/decisions.md §0, §4). The default: a Rollout that no GitSync applies."""

    edited: bool = False
    """The live template or steps aren't those that were applied: keep everything as it is."""
    stale: bool = False
    """An update runs and Git wasn't read for too long: nothing moves forward."""
    queued: bool = False
    """Another GitSync goes first and isn't there yet: the update doesn't begin (docs/decisions.md §5)."""
    back_to: int | None = None
    """The gate that the update has passed without an approval that still stands: go back to it."""
    tree_abort: TreeAbort | None = None
    anew: bool = False
    """The same template and steps, but for another intent than the one that the running update is for."""

    @property
    def held(self) -> bool:
        """Whether no step may end, no weight may grow and nothing may be promoted."""
        return self.edited or self.stale or self.queued


@dataclass(frozen=True, slots=True)
class Scene:
    """One pass. ``status`` is the stored status as this pass takes it, with what Git says already obeyed."""

    observed: Observed
    now: datetime
    status: RolloutStatus
    new: ReplicaSet
    stable: ReplicaSet | None
    """The ReplicaSet of ``status.stableRS``; it may be the new one."""
    others: tuple[ReplicaSet, ...]
    step_hash: str
    leave: Leave = Leave()

    @property
    def spec(self) -> RolloutSpec:
        """The Rollout's spec."""
        return self.observed.rollout.spec

    @property
    def canary(self) -> CanaryStrategy:
        """The strategy of a canary; an empty one for blue-green."""
        return self.spec.strategy.canary or CanaryStrategy()

    @property
    def blue_green(self) -> BlueGreenStrategy | None:
        """The strategy of a blue-green Rollout; None for a canary."""
        return self.spec.strategy.blue_green

    @property
    def routed(self) -> bool:
        """Whether weights are made by routers and not by numbers of pods."""
        return self.canary.traffic_routing is not None

    @property
    def dynamic(self) -> bool:
        """Whether the stable version shrinks as its traffic does (§8.4)."""
        return self.routed and self.canary.dynamic_stable_scale

    @property
    def whole(self) -> int:
        """The weight that means all traffic."""
        return max(1, self.canary.max_weight)

    @property
    def recorded(self) -> TrafficWeights | None:
        """The weights that earlier passes have sent to the routers; None if none were."""
        return self.status.canary.weights if self.canary.has_routers else None

    @property
    def stamp(self) -> datetime:
        """Now, as it is written: in whole seconds."""
        return self.now.replace(microsecond=0)

    @property
    def replicas(self) -> int:
        """How many pods are wanted in all."""
        return self.spec.desired_replicas

    @property
    def bounds(self) -> Bounds:
        """maxSurge and maxUnavailable as pods. Blue-green has no surge and uses them for restarts alone (§8.1)."""
        if self.blue_green is not None:
            return bounds(0, self.blue_green.max_unavailable_or_default, self.replicas)
        return bounds(self.canary.surge, self.canary.unavailable, self.replicas)

    @property
    def steps(self) -> tuple[CanaryStep, ...]:
        """The canary's steps."""
        return self.canary.steps

    @property
    def last_index(self) -> int | None:
        """The index of a finished update: the number of steps, None without steps."""
        return len(self.steps) or None

    @property
    def step(self) -> CanaryStep | None:
        """The current step; None past the last one."""
        index = self.status.current_step_index or 0
        return self.steps[index] if index < len(self.steps) else None

    @property
    def pod_hash(self) -> str:
        """The new ReplicaSet's hash, which is its label."""
        return hash_of(self.new)

    @property
    def changed(self) -> bool:
        """Whether the template, the steps or the intent are others than those of the stored status (§9.1)."""
        if self.leave.edited:
            return False
        if self.leave.anew or self.status.current_pod_hash != self.pod_hash:
            return True
        return self.blue_green is None and self.status.current_step_hash != self.step_hash

    @property
    def first(self) -> bool:
        """Whether nothing was ever promoted."""
        return self.status.stable_rs == ""

    @property
    def promoted(self) -> bool:
        """Whether the new version is the stable one."""
        return not self.first and self.status.stable_rs == self.pod_hash

    @property
    def aborted(self) -> bool:
        """Whether the update is aborted; a promoted version can't be (§7.5)."""
        return self.status.abort and not self.promoted

    @property
    def paused(self) -> bool:
        """Whether a person or a step halts the update."""
        return self.spec.paused or bool(self.status.pause_conditions)

    @property
    def resumed(self) -> bool:
        """Whether somebody took the pauses away, and no pass has acted on that yet (§3 ``controllerPause``)."""
        return self.status.controller_pause and not self.status.pause_conditions

    @property
    def resumes_later(self) -> bool:
        """Whether that waits for ``spec.paused`` to go; until then nothing is measured anew, nor paused again (§24)."""
        return self.resumed and self.spec.paused

    @property
    def all(self) -> tuple[ReplicaSet, ...]:
        """Every ReplicaSet once."""
        if self.stable is None or self.stable.name == self.new.name:
            return (self.new, *self.others)
        return (self.new, self.stable, *self.others)

    @property
    def apart(self) -> ReplicaSet | None:
        """The stable ReplicaSet if it is another one than the new."""
        return None if self.stable is None or self.stable.name == self.new.name else self.stable

    def with_hash(self, pod_hash: str) -> ReplicaSet | None:
        """The ReplicaSet of this version, if the Rollout has it."""
        return next((found for found in self.all if pod_hash and hash_of(found) == pod_hash), None)

    @property
    def revision(self) -> int:
        """The new ReplicaSet's revision number."""
        return revision_of(self.new)

    def with_sizes(self, sizes: Mapping[str, int]) -> Scene:
        """The same pass after these ReplicaSets (by name) were told their sizes."""

        def sized(replica_set: ReplicaSet) -> ReplicaSet:
            size = sizes.get(replica_set.name)
            return replica_set if size is None else replace(replica_set, replicas=size)

        return replace(
            self,
            new=sized(self.new),
            stable=None if self.stable is None else sized(self.stable),
            others=tuple(sized(other) for other in self.others),
        )


def hash_of(replica_set: ReplicaSet) -> str:
    """The pod-template hash that names this version everywhere: the label, never recomputed (§6)."""
    return replica_set.labels.get(POD_TEMPLATE_HASH, "")


def revision_of(replica_set: ReplicaSet) -> int:
    """The revision number, 0 if it has none."""
    return _number(replica_set.annotations.get(REVISION)) or 0


def desired_of(replica_set: ReplicaSet) -> int | None:
    """``spec.replicas`` of the Rollout when this ReplicaSet was last scaled; None if missing or unreadable."""
    return _number(replica_set.annotations.get(DESIRED_REPLICAS))


def pause_of(conditions: tuple[PauseCondition, ...], reason: str = CANARY_PAUSE) -> PauseCondition | None:
    """The pause with this reason, if there is one."""
    return next((condition for condition in conditions if condition.reason == reason), None)


def _number(text: str | None) -> int | None:
    if text is None or len(text) > 10 or not (text.isascii() and text.isdigit()):
        return None
    return int(text)
