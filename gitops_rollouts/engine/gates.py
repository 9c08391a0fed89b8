"""What Git allows: gates, aborts and retries that the tree decides, and the undoing of what it doesn't allow.

Forward needs Git, backward never waits (docs/decisions.md §0). Every function here is without effect for a Rollout
that no GitSync applies.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, Literal

from gitops_rollouts.api import analysis
from gitops_rollouts.api.meta import format_time
from gitops_rollouts.api.names import POD_TEMPLATE_HASH, ROLLOUT_TYPE, STEP_INDEX
from gitops_rollouts.api.phase import HELD, QUEUED
from gitops_rollouts.api.status import Condition, PauseCondition, RolloutStatus
from gitops_rollouts.engine import (
    conditions,
    current_runs,
    desired,
    experiment_steps,
    promotions,
    scaling,
    traffic,
    turn,
)
from gitops_rollouts.engine.blue_green.analysis import read
from gitops_rollouts.engine.blue_green.roles import is_gated, needs_approval, roles_of
from gitops_rollouts.engine.observed import Authority
from gitops_rollouts.engine.persist import with_phase
from gitops_rollouts.engine.plan import EmitEvent, Plan
from gitops_rollouts.engine.rollback import skips_steps
from gitops_rollouts.engine.scene import (
    BLUE_GREEN_PAUSE,
    CANARY_PAUSE,
    INCONCLUSIVE,
    INCONCLUSIVE_EXPERIMENT,
    Leave,
    Scene,
    pause_of,
)

EDITED: Final = "EditedOutsideGit"
STALE: Final = "GitStale"
BEHIND: Final = "NotYetApplied"
UNCONFIRMED: Final = "ApprovalUnconfirmed"
WITHDRAWN: Final = "ApprovalWithdrawn"
RETRY_NOT_IN_GIT: Final = "RetryNotInGit"


def approves(authority: Authority, gate: int) -> bool:
    """Whether the tree lets this attempt past the gate."""
    return authority.full or authority.approved_through >= gate


def open_gate(scene: Scene, gate: int) -> bool:
    """Whether an indefinite pause needs no stop: the tree approved it before it was reached."""
    authority = scene.observed.authority
    return authority is not None and not scene.leave.held and approves(authority, gate)


def obey(scene: Scene) -> Scene:
    """The pass as Git wants it: the tree's abort, retry, full promotion and approval of the current gate."""
    authority = scene.observed.authority
    if authority is None:
        return scene
    updating = not scene.first and not scene.promoted
    leave = replace(
        scene.leave,
        stale=updating and not authority.fresh,
        queued=updating and turn.is_queued(scene, authority),
        tree_abort=authority.abort if authority.applied and not scene.promoted else None,
    )
    scene = replace(scene, leave=leave)
    if scene.changed:
        return scene
    status = _obeyed(scene, authority)
    scene = replace(scene, status=status)
    if not updating or status.abort or leave.edited:
        return scene
    return replace(scene, leave=replace(leave, back_to=_passed_gate(scene, authority)))


def _obeyed(scene: Scene, authority: Authority) -> RolloutStatus:
    status, leave = scene.status, scene.leave
    if leave.tree_abort is not None:
        return status.model_copy(update={"abort": True, "promote_full": False})
    if scene.first or scene.promoted:
        return status
    aborted_at = format_time(status.aborted_at) if status.abort and status.aborted_at is not None else ""
    if not leave.held and aborted_at in authority.withdrawn:
        status = status.model_copy(update={"abort": False})
    full = authority.full and not status.abort and (status.promote_full or not leave.held)
    status = status.model_copy(update={"promote_full": full})
    if leave.held or status.abort or scene.spec.paused:
        return status
    if _released_undecided(scene, authority, status):
        return _past_undecided(status)
    beside = _released_beside(scene, authority, status)
    if beside is not None:
        remaining = tuple(condition for condition in status.pause_conditions if condition is not beside)
        status = status.model_copy(update={"pause_conditions": remaining, "controller_pause": bool(remaining)})
    pause = _approved_pause(scene, authority, status)
    if pause is None:
        return status
    remaining = tuple(condition for condition in status.pause_conditions if condition is not pause)
    return status.model_copy(update={"pause_conditions": remaining, "controller_pause": True})


def _released_undecided(scene: Scene, authority: Authority, status: RolloutStatus) -> bool:
    """Whether the tree lets the update past a step that ended without a verdict (docs/decisions.md §1.1)."""
    step = scene.step
    if step is None or not approves(authority, status.current_step_index or 0):
        return False
    if step.kind == "experiment":
        return pause_of(status.pause_conditions, INCONCLUSIVE_EXPERIMENT) is not None
    run = status.canary.current_step_analysis_run_status
    ended = step.kind == "analysis" and run is not None and run.status == analysis.INCONCLUSIVE
    return ended and pause_of(status.pause_conditions, INCONCLUSIVE) is not None


def _past_undecided(status: RolloutStatus) -> RolloutStatus:
    """The next step; what the background analysis couldn't tell was released with this one."""
    canary = status.canary
    beside = canary.current_background_analysis_run_status
    if beside is not None and beside.status == analysis.INCONCLUSIVE:
        canary = canary.model_copy(update={"current_background_analysis_run_status": None})
    index = status.current_step_index or 0
    return status.model_copy(
        update={"pause_conditions": (), "controller_pause": False, "current_step_index": index + 1, "canary": canary}
    )


def _released_beside(scene: Scene, authority: Authority, status: RolloutStatus) -> PauseCondition | None:
    """The pause of an inconclusive analysis that the tree takes away.

    Of a background analysis for the current step alone, of blue-green's analysis before the switch for the switch.
    """
    if scene.blue_green is not None:
        shown = status.blue_green
        if shown.active_selector == scene.pod_hash:
            return None
        run = shown.pre_promotion_analysis_run_status
        approved = authority.approved_active or authority.full
    else:
        run = status.canary.current_background_analysis_run_status
        approved = approves(authority, status.current_step_index or 0)
    if not approved or (run is not None and run.status != analysis.INCONCLUSIVE):
        return None
    # without a run it is left over from one that is gone, or of a strategy that was exchanged
    return pause_of(status.pause_conditions, INCONCLUSIVE)


def _approved_pause(scene: Scene, authority: Authority, status: RolloutStatus) -> PauseCondition | None:
    """The pause that the tree's approval takes away, as a person would: of a step, or blue-green's only one."""
    if scene.blue_green is not None:
        approved = needs_approval(scene) and not is_gated(scene)
        return pause_of(status.pause_conditions, BLUE_GREEN_PAUSE) if approved else None
    step = scene.step
    if step is None or not step.is_indefinite_pause or not approves(authority, status.current_step_index or 0):
        return None
    return pause_of(status.pause_conditions)


def _passed_gate(scene: Scene, authority: Authority) -> int | None:
    """The first gate before the current step that the tree doesn't approve.

    An analysis or an experiment that has said yes is none.
    """
    if skips_steps(scene):
        return None
    index = scene.status.current_step_index or 0
    for gate, step in enumerate(scene.steps[:index]):
        waits = step.is_indefinite_pause or (step.analysis is not None and not _measured(scene, gate))
        waits = waits or (step.experiment is not None and not experiment_steps.said_yes(scene, gate))
        if waits and not approves(authority, gate):
            return gate
    return None


def _measured(scene: Scene, index: int) -> bool:
    """Whether the analysis of this step has said yes to the new version."""
    wanted = {ROLLOUT_TYPE: "Step", STEP_INDEX: str(index), POD_TEMPLATE_HASH: scene.pod_hash}
    return any(
        current_runs.says(scene, run) == analysis.SUCCESSFUL
        for run in scene.observed.analysis_runs
        if wanted.items() <= run.metadata.labels.items()
    )


def undo(scene: Scene) -> Plan | None:
    """Put back what a client moved forward without Git, or what Git no longer approves; None if all is right."""
    authority = scene.observed.authority
    if authority is None or scene.changed or scene.leave.edited or scene.promoted:
        return None
    stored = scene.observed.rollout.status
    if scene.leave.tree_abort is not None:
        return _abort_again(scene, authority, stored)
    if scene.first or scene.status.abort:
        return None
    changes: dict[str, object] = {}
    said: list[tuple[str, str]] = []
    asked = promotions.asked_gate(scene)
    if stored.promote_full and not authority.full:
        changes["promote_full"] = False
        said.append((promotions.FULL, f"Full promotion is not in Git of {authority.target!r}: taken back"))
        asked = promotions.FULL  # it comprises the gate
    gate = _gate_to_return_to(scene, authority)
    if gate is not None:
        stops = scene.steps[gate].is_indefinite_pause
        pauses = (PauseCondition(reason=CANARY_PAUSE, start_time=scene.stamp),) if stops else ()
        changes |= {"current_step_index": gate, "pause_conditions": pauses, "controller_pause": stops}
        where = f"step {gate + 1}/{len(scene.steps)} ({scene.steps[gate].describe()})"
        back = "paused there" if stops else "gone back to it"
        text = f"Git of {authority.target!r} does not approve going past {where}: {back}"
        said.append((asked if asked in (str(gate), promotions.FULL) else "", text))
    if _passed_active_gate(scene):
        pause = PauseCondition(reason=BLUE_GREEN_PAUSE, start_time=scene.stamp)
        shown = scene.status.blue_green.model_copy(update={"scale_up_preview_check_point": False})
        changes |= {"pause_conditions": (pause,), "controller_pause": True, "blue_green": shown}
        text = f"Git of {authority.target!r} does not approve the switch to the new version: paused before it"
        said.append((asked, text))
    if not changes:
        return None
    status = with_phase(scene, scene.status.model_copy(update=changes))
    actions, events = promotions.told(authority, said)
    routes = () if gate is None else traffic.without_later_routes(scene, gate)
    return Plan(actions=(*actions, *routes), status=status, events=events)


def takes_back(scene: Scene) -> bool:
    """Whether what a client or an approval that is withdrawn let go forward goes back in this pass."""
    if scene.leave.back_to is not None or undo(scene) is not None:
        return True
    return scene.blue_green is not None and not scene.changed and is_gated(scene) and roles_of(scene).serves


def _passed_active_gate(scene: Scene) -> bool:
    """Whether a blue-green update goes on, or has switched, without the approval that it needs."""
    if scene.blue_green is None or not is_gated(scene) or scene.status.pause_conditions:
        return False
    roles = roles_of(scene)
    looked_at = scene.status.blue_green.scale_up_preview_check_point
    return roles.serves or looked_at or (scene.resumed and read(scene, roles).before)


def _gate_to_return_to(scene: Scene, authority: Authority) -> int | None:
    back_to = scene.leave.back_to
    if back_to is not None:
        wanted_new, wanted_stable = scaling.split(scene, back_to)
        stable = scene.apart
        returned = scene.new.replicas <= wanted_new and (stable is None or stable.replicas >= wanted_stable)
        weights = scene.recorded
        if weights is not None and weights.canary.pod_template_hash == scene.pod_hash:
            returned = returned and weights.canary.weight <= desired.weight(scene, back_to)
        return back_to if returned else None
    index, step = scene.status.current_step_index or 0, scene.step
    if step is None or not step.is_indefinite_pause or approves(authority, index) or skips_steps(scene):
        return None
    resumed = scene.status.controller_pause and pause_of(scene.status.pause_conditions) is None
    return index if resumed else None


def _abort_again(scene: Scene, authority: Authority, stored: RolloutStatus) -> Plan | None:
    """A client's retry doesn't lift an abort that stands in Git."""
    reason = conditions.reason_of(stored.conditions, conditions.PROGRESSING)
    if stored.abort or reason != conditions.ROLLOUT_ABORTED:
        return None
    line = scene.leave.tree_abort
    commit = line.commit[:12] if line else ""
    meta = scene.observed.rollout.metadata
    remedy = f"Use `gor retry {meta.name} -n {meta.namespace}`"
    text = f"The abort stands in Git of {authority.target!r} (commit {commit}): aborted again. {remedy}"
    aborted_at = stored.aborted_at or scene.stamp
    status = with_phase(
        scene, scene.status.model_copy(update={"abort": True, "promote_full": False, "aborted_at": aborted_at})
    )
    return Plan(status=status, events=(EmitEvent(RETRY_NOT_IN_GIT, text, "Warning"),))


def hold(scene: Scene) -> Plan | None:
    """Say in the status why nothing moves, or that it moves again; None if the status says so already."""
    if scene.changed or (scene.aborted and scene.status.aborted_at is None):
        return None
    reason, text = _why_held(scene)
    authority = scene.observed.authority
    if reason == UNCONFIRMED and authority is not None and authority.unsaid:
        return None  # an engine that begins anew asks for what it knew before: that alone writes nothing
    return tell(scene, reason, text)


def tell(scene: Scene, reason: str, text: str) -> Plan | None:
    """The write of the condition `HELD`, with a Warning event; an empty reason removes it."""
    old = scene.status.conditions
    before = conditions.find(old, HELD)
    if (before.reason if before else "") == reason and not (before and reason == QUEUED and before.message != text):
        return None
    if reason:
        new = conditions.with_condition(old, HELD, "True", reason, text, scene.now, refresh=reason == QUEUED)
    else:
        new = _restart_clock(conditions.without(old, HELD), scene)
    status = scene.status.model_copy(update={"conditions": new})
    kind: Literal["Normal", "Warning"] = "Normal" if reason == QUEUED else "Warning"
    return Plan(status=with_phase(scene, status), events=(EmitEvent(reason, text, kind),) if reason else ())


def _restart_clock(old: tuple[Condition, ...], scene: Scene) -> tuple[Condition, ...]:
    """The progress deadline doesn't run while Git holds the update, so it starts anew afterwards."""
    return tuple(
        condition.model_copy(update={"last_update_time": scene.stamp})
        if condition.type == conditions.PROGRESSING and condition.reason != conditions.ROLLOUT_ABORTED
        else condition
        for condition in old
    )


def _why_held(scene: Scene) -> tuple[str, str]:
    authority, leave = scene.observed.authority, scene.leave
    if authority is None:
        return "", ""
    if leave.edited:
        return EDITED, edited_text(authority)
    if scene.aborted:
        return "", ""
    if leave.held:
        return _why_stale(authority) if leave.stale else (QUEUED, f"The update has not begun: {authority.waits}")
    if leave.back_to is not None:
        where = f"step {leave.back_to + 1}/{len(scene.steps)} ({scene.steps[leave.back_to].describe()})"
        return WITHDRAWN, f"Git of {authority.target!r} does not approve what follows {where}: going back to it"
    return "", ""


def _why_stale(authority: Authority) -> tuple[str, str]:
    if authority.behind:
        text = (
            f"Git of {authority.target!r} has moved on, and what it wants now is not applied yet: nothing moves forward"
        )
        return BEHIND, f"{text} until it is; the GitSync's status says why"
    if authority.unconfirmed:
        text = f"the forge of {authority.target!r} has not said yet who approved what Git wants"
        return UNCONFIRMED, f"{text}: nothing moves until it has; the GitSync's status says more"
    return STALE, f"Git of {authority.target!r} could not be read for too long: nothing moves forward until it can"


def edited_text(authority: Authority) -> str:
    """What is said about a template or steps that Git didn't apply."""
    return f"The template or the steps were edited outside Git of {authority.target!r}: held until they are as applied"


def leave_of(authority: Authority | None) -> Leave:
    """What is known before any ReplicaSet is looked at."""
    return Leave(edited=authority is not None and not authority.applied)
