"""The conditions of a Rollout's status (docs/behaviour.md §4.1)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gitops_rollouts.api.names import SCALE_DOWN_DEADLINE
from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.api.status import Condition, RolloutStatus
from gitops_rollouts.engine import events, moments
from gitops_rollouts.engine.plan import EmitEvent
from gitops_rollouts.engine.scene import Scene

AVAILABLE: Final = "Available"
COMPLETED: Final = "Completed"
HEALTHY: Final = "Healthy"
INVALID_SPEC: Final = "InvalidSpec"
PAUSED: Final = "Paused"
PROGRESSING: Final = "Progressing"
REPLICA_FAILURE: Final = "ReplicaFailure"
TRAFFIC_ROUTED: Final = "TrafficRouted"
"""Ours: False while a router can't make true what it is told; else absent (§15.1)."""
ROLLOUT_ABORTED: Final = "RolloutAborted"
ROLLOUT_PAUSED: Final = "RolloutPaused"
DEADLINE_EXCEEDED: Final = "ProgressDeadlineExceeded"

Conditions = tuple[Condition, ...]


def find(conditions: Conditions, kind: str) -> Condition | None:
    """The condition of this type."""
    return next((condition for condition in conditions if condition.type == kind), None)


def reason_of(conditions: Conditions, kind: str) -> str:
    """Its reason, "" if there is none."""
    condition = find(conditions, kind)
    return condition.reason if condition else ""


def is_true(conditions: Conditions, kind: str) -> bool:
    """Whether it is there and True."""
    condition = find(conditions, kind)
    return condition is not None and condition.status == "True"


def without(conditions: Conditions, kind: str) -> Conditions:
    """The others."""
    return tuple(condition for condition in conditions if condition.type != kind)


def with_condition(
    conditions: Conditions,
    kind: str,
    status: str,
    reason: str,
    message: str,
    now: datetime,
    *,
    refresh: bool = False,
) -> Conditions:
    """Set a condition, at the end of the list; no change if status and reason are so already, unless ``refresh``."""
    old = find(conditions, kind)
    if old is not None and old.status == status and old.reason == reason and not refresh:
        return conditions
    stamp = now.replace(microsecond=0)
    moved = old.last_transition_time if old is not None and old.status == status else stamp
    new = Condition(
        type=kind, status=status, reason=reason, message=message, last_update_time=stamp, last_transition_time=moved
    )
    return (*without(conditions, kind), new)


def early(scene: Scene) -> Conditions | None:
    """The conditions after the first thing of a pass: paused, resumed, retried; None if they are right (§4.1)."""
    old = scene.status.conditions
    reason = reason_of(old, PROGRESSING)
    now = scene.now
    if reason == ROLLOUT_ABORTED:
        if scene.status.abort:
            return None
        return with_condition(old, PROGRESSING, "Unknown", "RolloutRetry", "Retrying Rollout after abort", now)
    new = old
    completed = scene.status.stable_rs != "" and scene.status.stable_rs == scene.status.current_pod_hash
    if not completed and scene.paused != (reason == ROLLOUT_PAUSED):
        if scene.paused:
            new = with_condition(new, PROGRESSING, "Unknown", ROLLOUT_PAUSED, "Rollout is paused", now)
        else:
            new = with_condition(new, PROGRESSING, "Unknown", "RolloutResumed", "Rollout is resumed", now)
    if scene.paused != is_true(old, PAUSED):
        status = "True" if scene.paused else "False"
        new = with_condition(new, PAUSED, status, ROLLOUT_PAUSED, "Rollout is paused", now)
    return None if new is old else new


@dataclass(frozen=True, slots=True)
class Judged:
    """The conditions of a new status and the events that they cause."""

    conditions: Conditions
    events: tuple[EmitEvent, ...]
    healthy: bool


def judge(scene: Scene, new: RolloutStatus, *, abort_message: str) -> Judged:
    """The conditions of ``new``, in their order: Healthy, Progressing, Available, ReplicaFailure, Completed."""
    old = scene.status.conditions
    now = scene.now
    emitted: list[EmitEvent] = []
    result = without(without(old, INVALID_SPEC), TRAFFIC_ROUTED)
    healthy = _healthy_rule(scene, new)
    lost = False
    if healthy and not (scene.spec.paused or new.pause_conditions):
        result = with_condition(result, HEALTHY, "True", "RolloutHealthy", "Rollout is healthy", now)
    elif find(result, HEALTHY) is not None:
        lost = is_true(result, HEALTHY)
        result = with_condition(result, HEALTHY, "False", "RolloutHealthy", "Rollout is not healthy", now)
    before = result
    result = _progressing(scene, new, result, healthy=healthy, lost=lost, abort_message=abort_message)
    if new.abort and result is not before:
        condition = find(result, PROGRESSING)
        emitted.append(events.aborted(condition.message if condition else ""))
    enough = _enough(scene, new)
    result = with_condition(
        result,
        AVAILABLE,
        "True" if enough else "False",
        "AvailableReason",
        "Rollout has minimum availability" if enough else "Rollout does not have minimum availability",
        now,
    )
    result = _replica_failure(scene, result)
    completed = new.stable_rs != "" and new.stable_rs == new.current_pod_hash
    was = find(result, COMPLETED)
    if not completed and (was is None or was.status == "True"):
        emitted.append(events.not_completed(scene.revision, new.current_pod_hash))
    status = "True" if completed else "False"
    result = with_condition(result, COMPLETED, status, "RolloutCompleted", "RolloutCompleted", now)
    return Judged(result, tuple(emitted), healthy)


def _enough(scene: Scene, new: RolloutStatus) -> bool:
    """Minimum availability; of a blue-green Rollout the active ReplicaSet has to be saturated."""
    if scene.blue_green is None:
        return new.available_replicas >= scene.replicas
    active = scene.with_hash(new.blue_green.active_selector)
    return active is not None and active.replicas == scene.replicas == active.available


def _healthy_rule(scene: Scene, new: RolloutStatus) -> bool:
    wanted = scene.replicas
    if scene.status.observed_generation != str(scene.observed.rollout.metadata.generation):
        return False
    if new.updated_replicas != wanted or new.available_replicas != wanted:
        return False
    if scene.blue_green is not None:
        shown = new.blue_green
        previewed = not scene.blue_green.preview_service or shown.preview_selector == new.current_pod_hash
        return previewed and shown.active_selector == new.current_pod_hash != ""
    return (
        new.replicas == wanted
        and (not scene.steps or (new.current_step_index or 0) >= len(scene.steps))
        and new.stable_rs != ""
        and new.stable_rs == new.current_pod_hash
    )


def progressed(old: RolloutStatus, new: RolloutStatus) -> bool:
    """The progress rule of §4.1. A new template is progress too, or an abort's message would outlive its version."""
    indices = (old.current_step_index, new.current_step_index)
    return (
        new.current_pod_hash != old.current_pod_hash
        or new.updated_replicas != old.updated_replicas
        or new.replicas - new.updated_replicas < old.replicas - old.updated_replicas
        or new.ready_replicas > old.ready_replicas
        or new.available_replicas > old.available_replicas
        or new.stable_rs != old.stable_rs
        or new.blue_green.preview_selector != old.blue_green.preview_selector
        or new.blue_green.active_selector != old.blue_green.active_selector
        or (None not in indices and indices[0] != indices[1])
        or new.current_step_hash != old.current_step_hash
    )


def _progressing(
    scene: Scene, new: RolloutStatus, result: Conditions, *, healthy: bool, lost: bool, abort_message: str
) -> Conditions:
    name, now = scene.new.name, scene.now
    if not new.abort and scene.aborted and scene.status.promote_full:
        return result  # stays RolloutAborted until the RolloutRetry patch (§11.9)
    completed = new.stable_rs != "" and new.stable_rs == new.current_pod_hash
    status, refresh = "True", False
    if new.abort:
        text = f"Rollout aborted update to revision {scene.revision}"
        text = f"{text}: {abort_message}" if abort_message else text
        status, reason = "False", ROLLOUT_ABORTED
    elif healthy and (completed or not scene.paused):
        reason, text = "NewReplicaSetAvailable", f'ReplicaSet "{name}" has successfully progressed.'
    elif lost and completed:
        reason, text, refresh = "ReplicaSetNotAvailable", "Rollout does not have minimum availability", True
    elif lost or scene.leave.anew or progressed(scene.status, new):
        reason, text, refresh = "ReplicaSetUpdated", f'ReplicaSet "{name}" is progressing.', True
    elif timed_out(scene, new):
        status, reason, text = "False", DEADLINE_EXCEEDED, timed_out_text(scene)
    else:
        return result
    return with_condition(result, PROGRESSING, status, reason, text, now, refresh=refresh)


def timed_out_text(scene: Scene) -> str:
    """What the condition and the abort say about a missed deadline."""
    return f'ReplicaSet "{scene.new.name}" has timed out progressing.'


def timed_out(scene: Scene, new: RolloutStatus) -> bool:
    """Whether the progress deadline has passed by the stored condition (§4.1), where a deadline counts at all."""
    condition = find(scene.status.conditions, PROGRESSING)
    if condition is None or not deadline_counts(scene, new):
        return False
    if condition.reason == DEADLINE_EXCEEDED:
        return True
    due = deadline(scene)
    return due is not None and due < scene.now


def overdue(rollout: Rollout, now: datetime) -> bool:
    """Whether the progress deadline has passed of an update that waits for nothing but the routers (§4.1)."""
    known = rollout.status.conditions
    condition = find(known, PROGRESSING)
    if condition is None or condition.last_update_time is None or is_true(known, PAUSED):
        return False
    if condition.reason in (ROLLOUT_ABORTED, ROLLOUT_PAUSED, "NewReplicaSetAvailable"):
        return False
    due = moments.after(condition.last_update_time, max(0, rollout.spec.progress_deadline))
    return due is not None and due < now


def deadline_counts(scene: Scene, new: RolloutStatus) -> bool:
    """No deadline while something else is waited for: a pause, a person, Git, an old ReplicaSet's delay."""
    reason = reason_of(scene.status.conditions, PROGRESSING)
    index = new.current_step_index
    step = scene.steps[index] if index is not None and index < len(scene.steps) else None
    waiting = step is not None and (step.pause is not None or step.analysis is not None or step.experiment is not None)
    return not (
        waiting
        or any(SCALE_DOWN_DEADLINE in other.annotations for other in scene.others)
        or scene.leave.held
        or reason in (ROLLOUT_ABORTED, ROLLOUT_PAUSED)
        or is_true(scene.status.conditions, PAUSED)
    )


def deadline(scene: Scene) -> datetime | None:
    """When the progress deadline passes, by the stored condition."""
    condition = find(scene.status.conditions, PROGRESSING)
    if condition is None or condition.last_update_time is None:
        return None
    return moments.after(condition.last_update_time, max(0, scene.spec.progress_deadline))


def _replica_failure(scene: Scene, result: Conditions) -> Conditions:
    for replica_set in (scene.new, *scene.all):
        for raw in replica_set.conditions:
            if raw.get("type") == REPLICA_FAILURE:
                status, reason, message = (str(raw.get(key) or "") for key in ("status", "reason", "message"))
                return with_condition(result, REPLICA_FAILURE, status, reason, message, scene.now)
    return without(result, REPLICA_FAILURE) if find(result, REPLICA_FAILURE) else result
