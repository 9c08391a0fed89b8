"""A full pass of a canary, in the order of events of docs/behaviour.md §9."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from gitops_rollouts.api.analysis import INCONCLUSIVE
from gitops_rollouts.api.status import CanaryStatus, PauseCondition, RolloutStatus, StepPluginStatus, TrafficWeights
from gitops_rollouts.engine import (
    current_runs,
    duration,
    ephemeral,
    events,
    gates,
    moments,
    persist,
    plugin_steps,
    revisions,
    rollback,
    runs,
    scaling,
    services,
    traffic,
    workload,
)
from gitops_rollouts.engine.plan import Action, DeleteReplicaSet, EmitEvent, PatchReplicaSet, Plan, RecordAbort
from gitops_rollouts.engine.plugin_steps import Played
from gitops_rollouts.engine.restart import Restarted, restart
from gitops_rollouts.engine.rollback import in_window, skips_steps
from gitops_rollouts.engine.routed_sizes import Traffic
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
            **persist.BEGUN_ANEW,
            "current_step_index": index,
            "canary": _canary_status(scene, scene.recorded),
        }
    )
    plan = persist.finish(scene, persist.Draft(status, emitted), actions)
    return replace(plan, status_first=plan.status_first or scene.leave.anew)


def scale_only(scene: Scene, actions: tuple[Action, ...]) -> Plan:
    """The pass after ``spec.replicas`` changed: sizes and nothing else (§7.6)."""
    look_again: timedelta | None = None
    if not scene.spec.paused:
        proven = not (scene.recorded is not None and scene.recorded.verified is False)
        scaled = scaling.scale(scene, Traffic(scene.recorded, proven))
        actions += scaled.actions + workload.shrink(scene, scaled.scene)
        scene, look_again = scaled.scene, scaled.look_again
    plan = persist.finish(scene, persist.Draft(persist.scaled_only(scene)), actions, full=False)
    return replace(plan, look_again=moments.soonest(plan.look_again, look_again))


def full(scene: Scene, actions: tuple[Action, ...]) -> Plan:
    """The ordinary pass: restart, history, Services, traffic, analyses, sizes, pause, status (§9.2, §9.3)."""
    restarted = restart(scene)
    if restarted.actions and not _goes_back(scene):
        return Plan(actions=actions + restarted.actions, look_again=restarted.look_again)
    judged = runs.judge(scene)
    if judged.abort:
        return _given_up(scene, restarted, judged, actions)
    begun = actions
    dressed = ephemeral.sync(scene)
    scene, others = dressed.scene, dressed.early
    others += tuple(DeleteReplicaSet(old.name, old.uid) for old in revisions.surplus(scene))
    wanted = traffic.target(scene)
    routed = traffic.route(scene, wanted)
    steered = services.point(scene, wanted) + rollback.prove(scene) + routed.actions
    # a way back comes first: nothing that fails may keep the traffic from it
    actions += steered + others if scene.aborted else others + steered
    paused, changed = _Paused(), False
    look_again = moments.soonest(routed.look_again, restarted.look_again, dressed.look_again)
    if not (scene.spec.paused or routed.holds or runs.undecided(scene, judged)):
        scaled = scaling.scale(scene, routed.traffic)
        grown = _grown(scene, scaled.actions)
        actions = grown + actions
        actions += tuple(action for action in scaled.actions if action not in grown)
        actions += workload.shrink(scene, scaled.scene)
        look_again = moments.soonest(look_again, scaled.look_again)
        scene, changed = scaled.scene, scaled.changed
        if not changed:
            paused = _pause(scene)
    played = plugin_steps.play(scene, settled=not changed, undecided=runs.undecided(scene, judged))
    actions += played.actions + workload.hand_over(scene) + dressed.late + judged.actions
    draft = _draft(scene, _Seen(paused, restarted, routed, judged, played))
    plan = persist.finish(scene, draft, actions)
    if plan.status is not None and plan.status_first and not (scene.aborted or draft.abort):
        return _too_late(scene, plan, plan.status, begun)
    if plan.status is not None and plan.status_first and scene.canary.has_routers:
        plan = replace(plan, status=_with_weights(plan.status, scene.recorded))
    look_again = moments.soonest(look_again, plan.look_again, paused.look_again, played.look_again)
    return current_runs.look_again(replace(plan, look_again=look_again), judged.error)


def _grown(scene: Scene, scaled: tuple[Action, ...]) -> tuple[Action, ...]:
    """What gives the stable version of an abort its pods: it waits for no router, as other routers may wait for it."""
    stable = scene.stable
    if not scene.aborted or stable is None:
        return ()
    sized = (one for one in scaled if isinstance(one, PatchReplicaSet) and one.name == stable.name)
    return tuple(one for one in sized if one.replicas is not None and one.replicas > stable.replicas)


def _goes_back(scene: Scene) -> bool:
    """Whether an abort still moves traffic or pods: a restart, whose pods a budget may keep for ever, waits for it."""
    if not scene.aborted:
        return False
    if scene.status.aborted_at is None or (scene.stable is not None and scene.stable.replicas < scene.replicas):
        return True
    if scene.canary.has_routers:
        return scene.recorded is not None and scene.recorded.canary.weight > 0
    return scene.new.replicas > 0


def _given_up(scene: Scene, restarted: Restarted, judged: runs.Judged, actions: tuple[Action, ...]) -> Plan:
    """The pass that finds a failed run: only the status, and the next pass goes back (§11.3)."""
    status = persist.fresh(scene).model_copy(
        update={
            "restarted_at": restarted.restarted_at,
            "current_step_index": 0 if scene.steps else None,
            "canary": _canary_status(scene, scene.recorded, scene.status.canary.step_plugin_statuses),
        }
    )
    draft = persist.Draft(status, judged.events, judged.abort, judged.reason, judged.culprit)
    return persist.finish(scene, draft, actions)


def _too_late(scene: Scene, plan: Plan, status: RolloutStatus, begun: tuple[Action, ...]) -> Plan:
    """The pass that finds the deadline passed: what it would have done for the update isn't done any more (§11.2)."""
    kept = tuple(action for action in plan.actions if isinstance(action, RecordAbort))
    canary = scene.status.canary.model_copy(update={"weights": scene.recorded})
    return replace(plan, actions=kept + begun, status=status.model_copy(update={"canary": canary}))


def _canary_status(
    scene: Scene, weights: TrafficWeights | None, plugins: tuple[StepPluginStatus, ...] = ()
) -> CanaryStatus:
    """What lives on from status to status, whatever the update does; of the plugins only this attempt's."""
    side = scene.status.canary.stable_ping_pong if scene.canary.ping_pong is not None else ""
    return CanaryStatus(weights=weights, stable_ping_pong=side, step_plugin_statuses=plugins)


def _with_weights(status: RolloutStatus, weights: TrafficWeights | None) -> RolloutStatus:
    """A status that is written before its actions must not claim what they may fail to do."""
    return status.model_copy(update={"canary": status.canary.model_copy(update={"weights": weights})})


@dataclass(frozen=True, slots=True)
class _Seen:
    """What this pass did and found before it comes to the status."""

    paused: _Paused
    restarted: Restarted
    routed: traffic.Routed
    judged: runs.Judged
    played: Played


@dataclass(frozen=True, slots=True)
class _Paused:
    added: PauseCondition | None = None
    look_again: timedelta | None = None


def _pause(scene: Scene) -> _Paused:
    """Begin the pause of the current step, or say when it ends."""
    step, status = scene.step, scene.status
    if step is None or step.pause is None or status.promote_full or scene.aborted or scene.promoted or scene.first:
        return _Paused()
    if scene.leave.back_to is not None or scene.leave.queued:
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


def _draft(scene: Scene, seen: _Seen) -> persist.Draft:
    """Steps, promotion and abort as the status shows them (§9.3)."""
    canary = _canary_status(scene, seen.routed.weights, seen.played.statuses)
    status = persist.fresh(scene).model_copy(
        update={"restarted_at": seen.restarted.restarted_at, "canary": seen.judged.into(canary)}
    )
    draft = _decided(scene, status, seen)
    emitted = seen.judged.events + seen.played.events + draft.events
    return replace(draft, events=emitted, obstacle=seen.judged.error)


def _decided(scene: Scene, status: RolloutStatus, seen: _Seen) -> persist.Draft:
    added = seen.judged.added + ((seen.paused.added,) if seen.paused.added is not None else ())
    status = status.model_copy(update={"pause_conditions": (*status.pause_conditions, *added)})
    if skips_steps(scene):
        status = status.model_copy(
            update={"pause_conditions": (), "abort": False, "current_step_index": scene.last_index}
        )
    reason = _promotion(scene, status, seen)
    if reason:
        return _promoted(scene, status, reason)
    if status.abort:
        return persist.Draft(status.model_copy(update={"current_step_index": 0 if scene.steps else None}))
    if seen.played.abort:
        status = status.model_copy(update={"current_step_index": 0})
        return persist.Draft(status, abort=seen.played.abort, abort_reason=plugin_steps.STEP_PLUGIN_FAILED)
    if _step_completed(scene, seen):
        return _next_step(scene, status)
    return persist.Draft(status)


def _promotion(scene: Scene, status: RolloutStatus, seen: _Seen) -> str:
    """Why the new version becomes the stable one now; "" if it doesn't (§9.3 ``shouldFullPromote``)."""
    if scene.first:
        return "" if scene.leave.held or scene.leave.tree_abort is not None else "Initial deploy"
    if status.abort or seen.routed.holds or not scaling.enough_to_promote(scene):
        return ""
    forward = not (scene.leave.held or scene.leave.back_to is not None)
    decided = not (status.pause_conditions and runs.undecided(scene, seen.judged))
    reasons = (
        (scene.promoted, "Fast rollback"),
        (forward and status.promote_full, "Full promotion requested"),
        (forward and in_window(scene), "Rollback within window"),
        (
            forward and decided and status.current_step_index == scene.last_index,
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
    new = new.model_copy(update={"canary": _turned(scene, runs.Judged().into(new.canary))})
    new = new.model_copy(update={"duration": duration.preset(new.duration, outcome)})
    return persist.Draft(new, (events.completed(scene.revision, scene.pod_hash, reason),))


def _turned(scene: Scene, canary: CanaryStatus) -> CanaryStatus:
    """The canary's side of ping-pong is the stable one from now on (§14.3)."""
    if scene.canary.ping_pong is None:
        return canary
    return canary.model_copy(update={"stable_ping_pong": "pong" if canary.stable_ping_pong == "ping" else "ping"})


def _step_completed(scene: Scene, seen: _Seen) -> bool:
    """Whether the current step is done (§2.5)."""
    step, index = scene.step, scene.status.current_step_index or 0
    stays = scene.spec.paused or scene.leave.held or scene.leave.back_to is not None
    if step is None or stays or scene.first or scene.promoted or runs.undecided(scene, seen.judged):
        return False
    match step.kind:
        case "pause":
            done = _pause_over(scene, index)
        case "plugin":
            done = seen.played.done
        case "analysis" | "experiment":
            done = runs.succeeded(scene, seen.judged)
        case "setHeaderRoute" | "setMirrorRoute":
            done = seen.routed.routes_set
        case "setWeight":
            done = seen.routed.proven and scaling.reached(scene, index)
        case _:
            done = scaling.reached(scene, index)
    return done


def _pause_over(scene: Scene, index: int) -> bool:
    status, running = scene.status, pause_of(scene.status.pause_conditions)
    if running is not None:
        end = _pause_end(scene, running)
        return end is not None and scene.now >= end
    approved = scene.step is not None and scene.step.is_indefinite_pause and gates.open_gate(scene, index)
    return status.controller_pause or approved


def _next_step(scene: Scene, status: RolloutStatus) -> persist.Draft:
    index = scene.status.current_step_index or 0
    remaining = tuple(pause for pause in status.pause_conditions if pause.reason != CANARY_PAUSE)
    canary = status.canary.model_copy(update={"current_step_analysis_run_status": None, "current_experiment": ""})
    background = canary.current_background_analysis_run_status
    if background is not None and background.status == INCONCLUSIVE:
        # Git has let the update past this step alone: the next one has a run of its own
        canary = canary.model_copy(update={"current_background_analysis_run_status": None})
    new = status.model_copy(update={"current_step_index": index + 1, "pause_conditions": remaining, "canary": canary})
    done = events.step_completed(index, len(scene.steps), scene.steps[index].describe())
    return persist.Draft(new, (done,))
