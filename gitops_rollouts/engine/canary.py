"""A full pass of a canary without traffic routing, in the order of events of docs/behaviour.md §9."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from gitops_rollouts.api.status import PauseCondition, RolloutStatus
from gitops_rollouts.engine import (
    duration,
    ephemeral,
    events,
    gates,
    moments,
    persist,
    plugin_steps,
    revisions,
    rollback,
    scaling,
    services,
    workload,
)
from gitops_rollouts.engine.plan import Action, DeleteReplicaSet, EmitEvent, Plan
from gitops_rollouts.engine.plugin_steps import Played
from gitops_rollouts.engine.restart import Restarted, restart
from gitops_rollouts.engine.rollback import in_window, skips_steps
from gitops_rollouts.engine.scene import CANARY_PAUSE, Scene, pause_of


def reset(scene: Scene, actions: tuple[Action, ...]) -> Plan:
    """The pass after the template, the steps or the intent changed: only the status starts anew (§9.1).

    The mark alone remembers an intent, so the status comes before it.
    """
    index: int | None = 0 if scene.steps else None
    emitted: tuple[EmitEvent, ...] = ()
    if scene.steps and scene.promoted:
        index, emitted = len(scene.steps), (events.steps_skipped(window=False),)
    elif scene.steps and in_window(scene) and scene.new.replicas > 0:
        index, emitted = len(scene.steps), (events.steps_skipped(window=True),)
    status = persist.fresh(scene)
    status = status.model_copy(
        update={
            "current_step_index": index,
            "pause_conditions": (),
            "controller_pause": False,
            "abort": False,
            "aborted_at": None,
            "promote_full": False,
            "canary": plugin_steps.cleared(status.canary),
        }
    )
    plan = persist.finish(scene, persist.Draft(status, emitted), actions)
    return replace(plan, status_first=plan.status_first or scene.leave.anew)


def scale_only(scene: Scene, actions: tuple[Action, ...]) -> Plan:
    """The pass after ``spec.replicas`` changed: sizes and nothing else (§7.6)."""
    if not scene.spec.paused:
        scaled = scaling.scale(scene)
        actions += scaled.actions + workload.shrink(scene, scaled.scene)
        scene = scaled.scene
    return persist.finish(scene, persist.Draft(persist.scaled_only(scene)), actions, full=False)


def full(scene: Scene, actions: tuple[Action, ...]) -> Plan:
    """The ordinary pass: restart, history, Services, sizes, pause, status (§9.2, §9.3)."""
    restarted = restart(scene)
    if restarted.actions:
        return Plan(actions=actions + restarted.actions, look_again=restarted.look_again)
    dressed = ephemeral.sync(scene)
    scene, actions = dressed.scene, actions + dressed.actions
    actions += tuple(DeleteReplicaSet(old.name, old.uid) for old in revisions.surplus(scene))
    actions += services.point(scene) + rollback.prove(scene)
    paused = _Paused()
    changed = False
    if not scene.spec.paused:
        scaled = scaling.scale(scene)
        actions += scaled.actions + workload.shrink(scene, scaled.scene)
        scene, changed = scaled.scene, scaled.changed
        if not changed:
            paused = _pause(scene)
    played = plugin_steps.play(scene, settled=not changed)
    actions += played.actions + workload.hand_over(scene)
    plan = persist.finish(scene, _draft(scene, paused, restarted, played), actions)
    waits = (paused.look_again, restarted.look_again, dressed.look_again, played.look_again)
    return replace(plan, look_again=moments.soonest(plan.look_again, *waits))


@dataclass(frozen=True, slots=True)
class _Paused:
    added: PauseCondition | None = None
    look_again: timedelta | None = None


def _pause(scene: Scene) -> _Paused:
    """Begin the pause of the current step, or say when it ends."""
    step, status = scene.step, scene.status
    if step is None or step.pause is None or status.promote_full or scene.aborted or scene.promoted or scene.first:
        return _Paused()
    if scene.leave.back_to is not None:
        return _Paused()
    running = pause_of(status.pause_conditions)
    if running is not None:
        return _Paused(look_again=_rest(scene, running))
    if status.controller_pause or (step.pause.indefinite and gates.open_gate(scene, status.current_step_index or 0)):
        return _Paused()
    added = PauseCondition(reason=CANARY_PAUSE, start_time=scene.stamp)
    return _Paused(added, _rest(scene, added))


def _rest(scene: Scene, pause: PauseCondition) -> timedelta | None:
    """How long the pause still lasts; None if it is over, or has no end."""
    end = _pause_end(scene, pause)
    return None if end is None or end <= scene.now else moments.until(end, scene.now)


def _pause_end(scene: Scene, pause: PauseCondition) -> datetime | None:
    seconds = scene.step.pause.seconds() if scene.step and scene.step.pause else None
    if seconds is None or pause.start_time is None or scene.leave.held:
        return None
    return moments.after(pause.start_time, max(0, seconds))


def _draft(scene: Scene, paused: _Paused, restarted: Restarted, played: Played) -> persist.Draft:
    """Steps, promotion and abort as the status shows them (§9.3)."""
    status = persist.fresh(scene)
    canary = status.canary.model_copy(update={"step_plugin_statuses": played.statuses})
    status = status.model_copy(update={"restarted_at": restarted.restarted_at, "canary": canary})
    draft = _decided(scene, status, paused, played)
    return replace(draft, events=played.events + draft.events)


def _decided(scene: Scene, status: RolloutStatus, paused: _Paused, played: Played) -> persist.Draft:
    if paused.added is not None:
        status = status.model_copy(update={"pause_conditions": (*status.pause_conditions, paused.added)})
    if skips_steps(scene):
        status = status.model_copy(
            update={"pause_conditions": (), "abort": False, "current_step_index": scene.last_index}
        )
    reason = _promotion(scene, status)
    if reason:
        return _promoted(scene, status, reason)
    if status.abort:
        return persist.Draft(status.model_copy(update={"current_step_index": 0 if scene.steps else None}))
    if played.abort:
        status = status.model_copy(update={"current_step_index": 0})
        return persist.Draft(status, abort=played.abort, abort_reason=plugin_steps.STEP_PLUGIN_FAILED)
    if _step_completed(scene, played):
        return _next_step(scene, status)
    return persist.Draft(status)


def _promotion(scene: Scene, status: RolloutStatus) -> str:
    """Why the new version becomes the stable one now; "" if it doesn't (§9.3 ``shouldFullPromote``)."""
    if scene.first:
        return "" if scene.leave.held or scene.leave.tree_abort is not None else "Initial deploy"
    if status.abort or not scaling.enough_to_promote(scene):
        return ""
    forward = not (scene.leave.held or scene.leave.back_to is not None)
    reasons = (
        (scene.promoted, "Fast rollback"),
        (forward and status.promote_full, "Full promotion requested"),
        (forward and in_window(scene), "Rollback within window"),
        (
            forward and status.current_step_index == scene.last_index,
            f"Completed all {len(scene.steps)} canary steps",
        ),
    )
    return next((reason for holds, reason in reasons if holds), "")


def _promoted(scene: Scene, status: RolloutStatus, reason: str) -> persist.Draft:
    outcome = duration.FAST_PROMOTED if status.promote_full else duration.PROMOTED
    new = status.model_copy(
        update={
            "stable_rs": scene.pod_hash,
            "current_step_index": scene.last_index,
            "pause_conditions": (),
            "abort": False,
            "promote_full": False,
        }
    )
    if scene.promoted:
        return persist.Draft(new)
    new = new.model_copy(update={"duration": duration.preset(new.duration, outcome)})
    return persist.Draft(new, (events.completed(scene.revision, scene.pod_hash, reason),))


def _step_completed(scene: Scene, played: Played) -> bool:
    """Whether the current step is done (§2.5)."""
    step, status = scene.step, scene.status
    if step is None or scene.spec.paused or scene.leave.held or scene.leave.back_to is not None:
        return False
    if scene.first or scene.promoted:
        return False
    index = status.current_step_index or 0
    if step.plugin is not None:
        return played.done
    if step.pause is None:
        return scaling.reached(scene, index)
    running = pause_of(status.pause_conditions)
    if running is None:
        return status.controller_pause or (step.pause.indefinite and gates.open_gate(scene, index))
    end = _pause_end(scene, running)
    return end is not None and scene.now >= end


def _next_step(scene: Scene, status: RolloutStatus) -> persist.Draft:
    index = scene.status.current_step_index or 0
    remaining = tuple(pause for pause in status.pause_conditions if pause.reason != CANARY_PAUSE)
    new = status.model_copy(update={"current_step_index": index + 1, "pause_conditions": remaining})
    done = events.step_completed(index, len(scene.steps), scene.steps[index].describe())
    return persist.Draft(new, (done,))
