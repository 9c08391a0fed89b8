"""The passes of a blue-green Rollout, in the order of events of docs/behaviour.md §10."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from gitops_rollouts.api.meta import LabelSelector, parse_tolerant
from gitops_rollouts.api.status import BlueGreenStatus, CanaryStatus, PauseCondition, RolloutStatus
from gitops_rollouts.engine import (
    current_runs,
    duration,
    ephemeral,
    events,
    moments,
    persist,
    revisions,
    rollback,
    targets,
    workload,
)
from gitops_rollouts.engine.blue_green import analysis, pause, services, sizes
from gitops_rollouts.engine.blue_green.analysis import Analyses
from gitops_rollouts.engine.blue_green.pause import Pausing
from gitops_rollouts.engine.blue_green.roles import Roles, roles_of
from gitops_rollouts.engine.blue_green.sizes import Sized
from gitops_rollouts.engine.plan import Action, DeleteReplicaSet, Plan
from gitops_rollouts.engine.restart import restart
from gitops_rollouts.engine.rollback import in_window, skips_steps
from gitops_rollouts.engine.scene import BLUE_GREEN_PAUSE, INCONCLUSIVE, Scene, hash_of


def begins_anew(scene: Scene) -> bool:
    """Whether this pass only resets the status; a brand-new Rollout has none to reset."""
    return scene.changed and scene.status.current_pod_hash != ""


def reset(scene: Scene, actions: tuple[Action, ...]) -> Plan:
    """The pass after the template or the intent changed: the preview shows it, and the status starts anew."""
    roles = roles_of(scene)
    previewed = services.preview(scene, roles)
    status = _fresh(scene, roles, _Shown(scene.observed.selected(roles.strategy.active_service), previewed.pod_hash))
    status = status.model_copy(update=persist.BEGUN_ANEW)
    # nothing has run for this attempt: an analysis that is configured isn't passed
    unproven = analysis.none_yet(after=roles.strategy.post_promotion_analysis is None)
    draft = _promoted_or_not(scene, roles, status, unproven)
    plan = persist.finish(scene, draft, actions + previewed.actions)
    return replace(plan, status_first=plan.status_first or scene.leave.anew)


def scale_only(scene: Scene, actions: tuple[Action, ...]) -> Plan:
    """The pass after ``spec.replicas`` changed: sizes and nothing else (§7.6)."""
    roles = roles_of(scene)
    sized = sizes.scale(scene, roles, analysed=analysis.read(scene, roles).after)
    active = scene.with_hash(scene.observed.selected(roles.strategy.active_service))
    status = persist.scaled_only(scene)
    if active is not None:
        status = status.model_copy(update={"available_replicas": active.available, "hpa_replicas": active.current})
    actions += sized.actions + workload.shrink(scene, sized.scene)
    plan = persist.finish(sized.scene, persist.Draft(status), actions, full=False)
    return replace(plan, look_again=moments.soonest(plan.look_again, sized.look_again))


def full(scene: Scene, actions: tuple[Action, ...]) -> Plan:
    """The ordinary pass: preview, restart, sizes, history, pause, switch, status."""
    roles = roles_of(scene)
    previewed = services.preview(scene, roles)
    restarted = restart(scene)
    dressed = ephemeral.sync(scene)
    runs = analysis.read(scene, roles)
    sized = sizes.scale(dressed.scene, roles, analysed=runs.after)
    shrunk = workload.shrink(scene, sized.scene)
    scene = sized.scene
    runs = analysis.begin(scene, roles, sized, runs)
    paused = pause.pausing(scene, roles, sized, analysed=runs.before)
    switched = services.active(scene, roles, sized, released=paused.completed and runs.before)
    kept = sizes.referenced(scene, roles) | {switched.pod_hash}
    actions += previewed.actions + restarted.actions + dressed.early + sized.actions + shrunk
    actions += tuple(
        DeleteReplicaSet(old.name, old.uid) for old in revisions.surplus(scene) if hash_of(old) not in kept
    )
    # a way back comes first: nothing that fails may keep the traffic from it
    actions = switched.actions + actions if switched.backward else actions + switched.actions
    shown = _Shown(switched.pod_hash, previewed.pod_hash)
    if switched.pod_hash == scene.pod_hash:
        actions += rollback.prove(scene) + workload.hand_over(scene)
    actions += dressed.late + targets.told(scene) + analysis.actions(scene, runs)
    status = _fresh(scene, roles, shown).model_copy(update={"restarted_at": restarted.restarted_at})
    draft = _draft(scene, roles, _Told(status, sized, runs, paused))
    draft = replace(draft, events=analysis.changes(scene, runs) + draft.events, obstacle=runs.error)
    plan = persist.finish(scene, draft, actions)
    waits = (plan.look_again, sized.look_again, paused.look_again, restarted.look_again, dressed.look_again)
    soonest = moments.soonest(*waits, targets.look_again(scene))
    return current_runs.look_again(replace(plan, look_again=soonest), runs.error)


@dataclass(frozen=True, slots=True)
class _Shown:
    """The hashes that the Services select at the end of the pass."""

    active: str
    preview: str


@dataclass(frozen=True, slots=True)
class _Told:
    """What a full pass found, on the way to its status."""

    status: RolloutStatus
    sized: Sized
    runs: Analyses
    paused: Pausing


def _fresh(scene: Scene, roles: Roles, shown: _Shown) -> RolloutStatus:
    """The start of a full status: what serves is counted, not what is only shown (§3)."""
    changes: dict[str, Any] = {
        "blue_green": BlueGreenStatus(active_selector=shown.active, preview_selector=shown.preview),
        "canary": CanaryStatus(),
        "current_step_hash": "",
        "current_step_index": None,
        "abort": roles.aborted,
    }
    active = scene.with_hash(shown.active)
    if active is not None:
        changes |= {
            "ready_replicas": active.ready,
            "available_replicas": active.available,
            "hpa_replicas": active.current,
            "selector": str(parse_tolerant(LabelSelector, active.selector)),
        }
    return persist.fresh(scene).model_copy(update=changes)


def _draft(scene: Scene, roles: Roles, told: _Told) -> persist.Draft:
    """Pauses, checkpoint, analyses, promotion and abort as the status shows them."""
    runs, paused = told.runs, told.paused
    status = told.status.model_copy(update={"pause_conditions": _pauses(scene, roles, told)})
    shown = status.blue_green.model_copy(
        update={
            "pre_promotion_analysis_run_status": runs.pre.shown,
            "post_promotion_analysis_run_status": runs.post.shown,
            "scale_up_preview_check_point": _checkpoint(scene, roles, told),
        }
    )
    status = status.model_copy(update={"blue_green": shown})
    draft = _promoted_or_not(scene, roles, status, runs)
    if draft.status.stable_rs == scene.pod_hash or roles.aborted:
        return draft
    reason = current_runs.GIVEN_UP if runs.abort else ""
    return replace(draft, resumed=paused.resumed, abort=runs.abort, abort_reason=reason, culprit=runs.culprit)


def _pauses(scene: Scene, roles: Roles, told: _Told) -> tuple[PauseCondition, ...]:
    if skips_steps(scene):
        return ()
    remaining = [pause for pause in scene.status.pause_conditions if pause.reason in (BLUE_GREEN_PAUSE, INCONCLUSIVE)]
    if told.paused.completed:
        remaining = [pause for pause in remaining if pause.reason != BLUE_GREEN_PAUSE]
    return (*remaining, *(added for added in (told.paused.added, told.runs.added) if added is not None))


def _checkpoint(scene: Scene, roles: Roles, told: _Told) -> bool:
    """Whether the preview has been looked at in its own size, so that it may grow to the full one (§8.5)."""
    if roles.strategy.preview_replica_count is None or roles.aborted or roles.gated:
        return False
    if scene.status.blue_green.scale_up_preview_check_point:
        return True
    if roles.serves and not (roles.back or roles.unserved or scene.status.promote_full):
        return True  # it was passed before the switch, even if the process that switched died before it said so
    if roles.fast or roles.held or roles.halted:
        return False
    return told.paused.completed and told.runs.before and told.sized.ready


def _promoted_or_not(scene: Scene, roles: Roles, status: RolloutStatus, runs: Analyses) -> persist.Draft:
    """The new version is the stable one once it serves and nothing is waited for any more."""
    reason = _promotion(scene, roles, status, runs)
    if not reason:
        return persist.Draft(status)
    outcome = duration.FAST_PROMOTED if status.promote_full else duration.PROMOTED
    new = status.model_copy(
        update={
            "stable_rs": scene.pod_hash,
            "pause_conditions": (),
            "abort": False,
            "promote_full": False,
            "blue_green": status.blue_green.model_copy(update={"scale_up_preview_check_point": False}),
        }
    )
    if scene.promoted:
        return persist.Draft(new)
    new = new.model_copy(update={"duration": duration.preset(new.duration, outcome)})
    return persist.Draft(new, (events.completed(scene.revision, scene.pod_hash, reason),))


def _promotion(scene: Scene, roles: Roles, status: RolloutStatus, runs: Analyses) -> str:
    """Why the new version becomes the stable one now; "" if it doesn't."""
    if roles.unserved and not scene.promoted:
        aborted = roles.aborted and not scene.first  # there is nothing that a first deploy could go back to
        given_up = roles.held or roles.gated or aborted or scene.leave.tree_abort is not None
        return "" if given_up else "Initial deploy"
    if status.blue_green.active_selector != scene.pod_hash or roles.aborted:
        return ""
    if scene.promoted:
        return "Fast rollback"
    if roles.held or roles.gated or targets.waits(scene):
        return ""
    reasons = (
        (status.promote_full, "Full promotion requested"),
        (in_window(scene), "Rollback within window"),
        (roles.within_delay, "Fast rollback"),
        (runs.after, "Completed blue-green update"),
    )
    return next((reason for holds, reason in reasons if holds), "")
