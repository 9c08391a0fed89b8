"""``status.duration``: how long an update took, without the time that people took (docs/behaviour.md §4.4)."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from gitops_rollouts.api.status import RolloutDuration, RolloutStatus
from gitops_rollouts.engine import conditions
from gitops_rollouts.engine.blue_green.roles import within_delay
from gitops_rollouts.engine.rollback import in_window, is_older
from gitops_rollouts.engine.scene import BLUE_GREEN_PAUSE, CANARY_PAUSE, INCONCLUSIVE, INCONCLUSIVE_EXPERIMENT, Scene

PROMOTED: Final = "Promoted"
FAST_PROMOTED: Final = "FastPromoted"


def preset(duration: RolloutDuration | None, outcome: str) -> RolloutDuration | None:
    """Remember how the running update will have ended, unless that is known already."""
    if duration is None or not _running(duration) or duration.completion_status:
        return duration
    return duration.model_copy(update={"completion_status": outcome})


def calculate(scene: Scene, new: RolloutStatus) -> RolloutDuration | None:
    """The duration that goes with the status ``new``, whose own ``duration`` holds a preset at most."""
    duration = new.duration
    changed = scene.changed
    done = new.stable_rs != "" and new.stable_rs == new.current_pod_hash and scene.new.available >= scene.replicas
    retried = (
        not new.abort
        and conditions.reason_of(scene.status.conditions, conditions.PROGRESSING) == conditions.ROLLOUT_ABORTED
    )
    superseded = False
    if duration is not None and _running(duration) and changed:
        outcome = _rollback_outcome(scene)
        superseded = outcome == ""
        if superseded:
            duration = _finish(duration, "Superseded", scene.stamp, keep=False)
        else:
            duration = duration.model_copy(update={"completion_status": outcome})
    if duration is not None and _running(duration):
        if done:
            return _finish(duration, PROMOTED, scene.stamp)
        if new.abort:
            duration = _finish(duration, "Aborted", scene.stamp)
    if (duration is None or duration.finished_at is not None) and not done and (changed or retried):
        duration = RolloutDuration(rollout_started_at=scene.stamp)
    if duration is not None and _running(duration):
        duration = _with_manual_pause(scene, new, duration)
    return duration


def _running(duration: RolloutDuration) -> bool:
    return duration.rollout_started_at is not None and duration.finished_at is None


def _rollback_outcome(scene: Scene) -> str:
    """How an update ends that turned into a rollback; "" if it didn't."""
    if scene.promoted or in_window(scene) or (scene.blue_green is not None and within_delay(scene)):
        return "FastRolledBack"
    return "RolledBack" if is_older(scene) else ""


def _finish(duration: RolloutDuration, outcome: str, now: datetime, *, keep: bool = True) -> RolloutDuration:
    ended = _end_manual_pause(duration, now)
    known = ended.completion_status if keep else ""
    return ended.model_copy(update={"finished_at": now, "completion_status": known or outcome})


def _with_manual_pause(scene: Scene, new: RolloutStatus, duration: RolloutDuration) -> RolloutDuration:
    if _waits_for_people(scene, new):
        if duration.manual_pause_started_at is None:
            return duration.model_copy(update={"manual_pause_started_at": scene.stamp})
        return duration
    return _end_manual_pause(duration, scene.stamp)


def _end_manual_pause(duration: RolloutDuration, now: datetime) -> RolloutDuration:
    started = duration.manual_pause_started_at
    if started is None:
        return duration
    total = (duration.total_manual_pause_duration_seconds or 0) + max(0, int((now - started).total_seconds()))
    return duration.model_copy(update={"manual_pause_started_at": None, "total_manual_pause_duration_seconds": total})


def _waits_for_people(scene: Scene, new: RolloutStatus) -> bool:
    if scene.spec.paused:
        return True
    reasons = {condition.reason for condition in new.pause_conditions}
    if reasons & {INCONCLUSIVE, INCONCLUSIVE_EXPERIMENT}:
        return True
    if scene.blue_green is not None:
        return BLUE_GREEN_PAUSE in reasons and not scene.blue_green.auto_promotion
    return CANARY_PAUSE in reasons and scene.step is not None and scene.step.is_indefinite_pause
