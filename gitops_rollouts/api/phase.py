"""A Rollout's phase and message (docs/behaviour.md §4.2): what the controller stores, and what a client shows."""

from __future__ import annotations

from typing import Final

from gitops_rollouts.api.names import WORKLOAD_GENERATION
from gitops_rollouts.api.rollout import Rollout, RolloutSpec
from gitops_rollouts.api.status import DEGRADED, HEALTHY, PAUSED, PROGRESSING, RolloutStatus

_ROUTING_FAILED: Final = "traffic routing failed, it is tried again: {}"
HELD: Final = "HeldByGit"
"""The type of the condition that says why nothing moves; absent while everything may."""
QUEUED: Final = "WaitsForItsTurn"
"""Its reason while another GitSync goes first (docs/decisions.md §5)."""
Phase = tuple[str, str]
"""(phase, message)"""


def phase_of(rollout: Rollout) -> Phase:
    """What a client shows: the controller's phase, unless it is known to be out of date."""
    status = rollout.status
    if not is_observed(status.observed_generation, rollout.metadata.generation):
        waits = "waiting for rollout spec update to be observed"
        return PROGRESSING, _ROUTING_FAILED.format(status.routing_error) if status.routing_error else waits
    if status.controller_pause and not status.pause_conditions:
        return PROGRESSING, "waiting for rollout to unpause"
    if rollout.spec.workload_ref is not None:
        workload = rollout.metadata.annotations.get(WORKLOAD_GENERATION, "")
        if workload.isdecimal() and not is_observed(status.workload_observed_generation, int(workload[:18])):
            return PROGRESSING, "waiting for rollout spec update to be observed for the reference workload"
    if status.phase:
        return status.phase, status.message
    return calculate_phase(rollout.spec, status)


def is_observed(stored: str, generation: int) -> bool:
    """A stored value that is no number, or is larger, counts as observed; an absent one does not."""
    if not stored:
        return False
    digits = stored.removeprefix("-")
    if not (stored.isascii() and digits.isdigit() and len(digits) < 19):
        return True
    return int(stored) >= generation


def calculate_phase(spec: RolloutSpec, status: RolloutStatus) -> Phase:
    """The phase and message that the controller stores; the first row that matches wins."""
    for condition in status.conditions:
        if condition.type == "InvalidSpec":
            return DEGRADED, f"InvalidSpec: {condition.message}"
        if condition.reason in ("RolloutAborted", "ProgressDeadlineExceeded"):
            return DEGRADED, f"{condition.reason}: {condition.message}"
    if spec.paused:
        return PAUSED, "manually paused"
    if status.pause_conditions:
        return PAUSED, status.pause_conditions[0].reason
    turn = turn_of(status)
    return (PAUSED, turn) if turn else _while_running(spec, status)


def turn_of(status: RolloutStatus) -> str:
    """What an update that hasn't begun says of the GitSync that goes first; "" if it has, or waits for none."""
    found = status.condition(HELD)
    return found.message if found is not None and found.reason == QUEUED else ""


def _while_running(spec: RolloutSpec, status: RolloutStatus) -> Phase:
    if status.routing_error:
        return PROGRESSING, _ROUTING_FAILED.format(status.routing_error)
    if spec.restart_at is not None and spec.restart_at.replace(microsecond=0) != status.restarted_at:
        return PROGRESSING, "rollout is restarting"
    if status.updated_replicas < spec.desired_replicas:
        return PROGRESSING, "more replicas need to be updated"
    if status.available_replicas < status.updated_replicas:
        return PROGRESSING, "updated replicas are still becoming available"
    if spec.strategy.blue_green is not None:
        pending = _blue_green_pending(spec, status)
    elif spec.strategy.canary is not None:
        pending = _canary_pending(spec, status)
    else:
        pending = ""
    return (PROGRESSING, pending) if pending else (HEALTHY, "")


def _promoted(status: RolloutStatus) -> bool:
    return status.stable_rs != "" and status.stable_rs == status.current_pod_hash


def _blue_green_pending(spec: RolloutSpec, status: RolloutStatus) -> str:
    blue_green = spec.strategy.blue_green
    active = status.blue_green.active_selector
    if active == "" or active != status.current_pod_hash:
        return "active service cutover pending"
    if _promoted(status):
        return ""
    if blue_green is not None and blue_green.post_promotion_analysis is not None:
        run = status.blue_green.post_promotion_analysis_run_status
        if run is None or run.status not in ("Successful", "Failed", "Error", "Inconclusive"):
            return "waiting for analysis to complete"
    return "waiting for post-promotion verification to complete"


def _canary_pending(spec: RolloutSpec, status: RolloutStatus) -> str:
    canary = spec.strategy.canary
    if canary is not None and canary.traffic_routing is None and status.replicas > status.updated_replicas:
        return "old replicas are pending termination"
    return "" if _promoted(status) else "waiting for all steps to complete"
