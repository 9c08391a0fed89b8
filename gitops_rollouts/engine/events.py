"""The texts of the events about a Rollout (docs/behaviour.md §4.3). Clients match on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from gitops_rollouts.api.status import StepPluginStatus, WeightDestination
from gitops_rollouts.engine.observed import TargetsSeen
from gitops_rollouts.engine.plan import EmitEvent

_TOLD_ERRORS: Final = 10
_LONGEST_ERRORS: Final = 900
"""An event has room for 1024 bytes."""


def updated(revision: int) -> EmitEvent:
    """The Rollout got its new revision number."""
    return EmitEvent("RolloutUpdated", f"Rollout updated to revision {revision}")


def created(name: str, revision: int) -> EmitEvent:
    """A ReplicaSet was created."""
    return EmitEvent("NewReplicaSetCreated", f"Created ReplicaSet {name} (revision {revision})")


def create_failed(message: str) -> EmitEvent:
    """A ReplicaSet could not be created."""
    return EmitEvent("ReplicaSetCreateError", message, "Warning")


def scaled(name: str, revision: int, before: int, after: int) -> EmitEvent:
    """A ReplicaSet got another size."""
    direction = "up" if after > before else "down"
    return EmitEvent(
        "ScalingReplicaSet", f"Scaled {direction} ReplicaSet {name} (revision {revision}) from {before} to {after}"
    )


def switched(service: str, before: str, after: str) -> EmitEvent:
    """A Service selects other pods."""
    return EmitEvent("SwitchService", f"Switched selector for service '{service}' from '{before}' to '{after}'")


def not_completed(revision: int, pod_hash: str) -> EmitEvent:
    """An update began."""
    return EmitEvent(
        "RolloutNotCompleted", f"Rollout not completed, started update to revision {revision} ({pod_hash})"
    )


def completed(revision: int, pod_hash: str, reason: str) -> EmitEvent:
    """The new version became the stable one."""
    return EmitEvent("RolloutCompleted", f"Rollout completed update to revision {revision} ({pod_hash}): {reason}")


def step_completed(index: int, count: int, description: str) -> EmitEvent:
    """A step is done; ``index`` counts from 0."""
    return EmitEvent("RolloutStepCompleted", f"Rollout step {index + 1}/{count} completed ({description})")


def steps_skipped(*, window: bool) -> EmitEvent:
    """A rollback needs no steps."""
    if window:
        return EmitEvent("SkipSteps", "Rollback to active ReplicaSets within RollbackWindow")
    return EmitEvent("SkipSteps", "Rollback to stable ReplicaSets")


def paused(reason: str) -> EmitEvent:
    """The controller paused."""
    return EmitEvent("RolloutPaused", f"Rollout is paused ({reason})")


def resumed() -> EmitEvent:
    """The controller went on by itself."""
    return EmitEvent("RolloutResumed", "Rollout is resumed")


def aborted(message: str) -> EmitEvent:
    """The update was given up."""
    return EmitEvent("RolloutAborted", message, "Warning")


def invalid(name: str, errors: Sequence[str]) -> EmitEvent:
    """The spec can't be carried out; all that is wrong with it, as far as an event has room (§20)."""
    told = [errors[0][:_LONGEST_ERRORS]]
    for error in errors[1:_TOLD_ERRORS]:
        if sum(len(each) + 2 for each in told) + len(error) > _LONGEST_ERRORS:
            break
        told.append(error)
    more = len(errors) - len(told)
    tail = f"; and {more} more, which `gor validate` lists" if more else ""
    return EmitEvent("InvalidSpec", f'The Rollout "{name}" is invalid: {"; ".join(told)}{tail}', "Warning")


def plugin_transition(status: StepPluginStatus, what: str) -> EmitEvent:
    """A step plugin came to another phase."""
    kind: Literal["Normal", "Warning"] = "Warning" if status.phase in ("Error", "Failed") else "Normal"
    return EmitEvent("StepPluginTransition", f"Step plugin {status.name} (step {status.index + 1}) {what}", kind)


def reconciliation_failed(error: str) -> EmitEvent:
    """Something of the pass failed, and the rest went on."""
    return EmitEvent("ReconciliationError", f"Reconciliation failed with error: {error}", "Warning")


def weight_updated(before: int | None, after: int, besides: Sequence[WeightDestination] | None = None) -> EmitEvent:
    """The routers were told other weights; ``before``: None if they were told none yet.

    ``besides``: what experiments get, if that is another than before.
    """
    change = f"to {after}" if before is None else "" if before == after else f"from {before} to {after}"
    if besides:
        change += ", additional: " + ", ".join(f"{one.service_name} {one.weight}" for one in besides)
    return EmitEvent("TrafficWeightUpdated", f"Traffic weight updated {change}")


def verify_failed(error: str) -> EmitEvent:
    """The routers could not be asked whether the weights are in effect."""
    return EmitEvent("WeightVerifyError", error, "Warning")


def no_load_balancer(missing: str) -> EmitEvent:
    """A load balancer of AWS isn't there yet."""
    return EmitEvent("LoadBalancerNotFound", missing, "Warning")


def targets(seen: TargetsSeen) -> EmitEvent:
    """What load balancers of AWS say of the pods behind a Service (§14.5)."""
    if seen.error:
        return EmitEvent("TargetGroupVerifyError", seen.error, "Warning")
    if seen.waits:
        return EmitEvent("TargetGroupUnverified", seen.waits, "Warning")
    return EmitEvent("TargetGroupVerified", f"Target groups serve all pods of Service `{seen.service}`")


def run_changed(kind: str, name: str, phase: str, before: str) -> EmitEvent:
    """A run that the Rollout waits for came to another phase; ``before``: "" if nothing was known of it."""
    level: Literal["Normal", "Warning"] = "Warning" if phase in ("Error", "Failed") else "Normal"
    text = f"{kind} Analysis Run '{name}' Status New: '{phase}' Previous: '{before or 'NoPreviousStatus'}'"
    return EmitEvent(f"AnalysisRun{phase}", text, level)
