"""From what a pass decided to the status that it writes (docs/behaviour.md §3, "Persist order")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from gitops_rollouts.api.analysis import AnalysisRun
from gitops_rollouts.api.evidence import Evidence, worst_first
from gitops_rollouts.api.phase import calculate_phase
from gitops_rollouts.api.status import CanaryStatus, PauseCondition, RolloutStatus
from gitops_rollouts.engine import conditions, duration, events, moments, workload
from gitops_rollouts.engine.plan import Action, EmitEvent, Plan, RecordAbort
from gitops_rollouts.engine.scene import Scene

REQUESTED = "Requested"
IN_GIT = "InGit"
BY_METRICS: Final = ("AnalysisFailed", "ExperimentFailed")
NOT_CREATED: Final = "AnalysisRunNotCreated"
"""The type of the condition that says why a run can't begin; absent while nothing keeps one from it."""
_TOLD_AGAIN: Final = timedelta(seconds=30)
BEGUN_ANEW: Final[Mapping[str, Any]] = {
    "pause_conditions": (),
    "controller_pause": False,
    "abort": False,
    "aborted_at": None,
    "promote_full": False,
}
"""A new template, new steps or a new intent leave nothing of the former attempt (docs/behaviour.md §9.1, §10.3)."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A status before abort, pauses, conditions, phase and duration are worked out.

    ``status.pause_conditions`` holds the pauses that remain or were added, ``status.abort`` whether it is aborted.
    """

    status: RolloutStatus
    events: tuple[EmitEvent, ...] = ()
    abort: str = ""
    """Why the engine itself aborts in this pass (docs/behaviour.md §11.1); "" if it doesn't."""
    abort_reason: str = ""
    """That in one word, for the record in Git (docs/decisions.md §4)."""
    culprit: AnalysisRun | None = None
    """The run that failed, if one did: the cause and the evidence of the decision."""
    obstacle: str | None = None
    """Why an analysis that is needed can't begin, "" if nothing is in the way; None: this pass doesn't know."""
    resumed: bool = False
    """Somebody ended a pause and this pass could not act on it yet: remember that in ``controllerPause`` (§10)."""


def fresh(scene: Scene) -> RolloutStatus:
    """The start of a full status, built from nothing but what a rule carries over."""
    old = scene.status
    every = scene.all
    return RolloutStatus(
        observed_generation=_generation(scene),
        workload_observed_generation=_workload_generation(scene),
        current_pod_hash=scene.pod_hash,
        current_step_hash=scene.step_hash,
        current_step_index=old.current_step_index if scene.steps or scene.leave.edited else None,
        stable_rs=old.stable_rs,
        replicas=sum(replica_set.current for replica_set in every),
        updated_replicas=scene.new.current,
        ready_replicas=sum(replica_set.ready for replica_set in every),
        available_replicas=sum(replica_set.available for replica_set in every),
        hpa_replicas=sum(replica_set.current for replica_set in every),
        selector=str(scene.spec.selector) if scene.spec.selector else "",
        pause_conditions=old.pause_conditions,
        controller_pause=old.controller_pause,
        abort=scene.aborted,
        aborted_at=old.aborted_at,
        promote_full=old.promote_full,
        restarted_at=old.restarted_at,
        collision_count=old.collision_count,
        conditions=old.conditions,
        duration=old.duration,
        canary=CanaryStatus(step_plugin_statuses=old.canary.step_plugin_statuses),
        alb=next(reversed(scene.observed.routers.albs), None),
        albs=scene.observed.routers.albs,
    )


def scaled_only(scene: Scene) -> RolloutStatus:
    """The start of the status of a pass that only scales: the old one, few things new (§7.6)."""
    every = scene.all
    return scene.status.model_copy(
        update={
            "observed_generation": _generation(scene),
            "workload_observed_generation": _workload_generation(scene),
            "available_replicas": sum(replica_set.available for replica_set in every),
            "hpa_replicas": sum(replica_set.current for replica_set in every),
            "abort": scene.aborted,
        }
    )


def _generation(scene: Scene) -> str:
    """An edit outside Git isn't observed before it is either healed or applied."""
    if scene.leave.edited:
        return scene.status.observed_generation
    return str(scene.observed.rollout.metadata.generation)


def _workload_generation(scene: Scene) -> str:
    if scene.leave.edited:
        return scene.status.workload_observed_generation
    return workload.generation_of(scene.observed.rollout)


def finish(scene: Scene, draft: Draft, actions: tuple[Action, ...], *, full: bool = True) -> Plan:
    """Work out the rest of the status and make the plan of this pass."""
    new, emitted = draft.status, list(draft.events)
    text, reason = _abort_text(scene), REQUESTED
    if draft.abort and not new.abort:
        text, reason = draft.abort, draft.abort_reason
        new = new.model_copy(update={"abort": True})
    if not new.abort and _abort_for_deadline(scene, new):
        text, reason = conditions.timed_out_text(scene), conditions.DEADLINE_EXCEEDED
        emitted.append(events.aborted(text))
        new = new.model_copy(update={"abort": True})
    new = _with_pauses(scene, new, keep_flag=not full or draft.resumed)
    judged = conditions.judge(scene, new, abort_message=text)
    emitted += judged.events
    emitted += _obstacle_events(scene, draft)
    new = new.model_copy(update={"conditions": _with_obstacle(scene, draft, judged.conditions)})
    new = with_phase(scene, new)
    if full and not new.abort:
        emitted += _pause_events(scene.status.pause_conditions, new.pause_conditions)
    first_seen = new.abort and scene.status.aborted_at is None
    if first_seen and scene.observed.authority is not None and scene.leave.tree_abort is None:
        record = RecordAbort(
            at=scene.status.current_step_index or 0,
            aborted_at=new.aborted_at or scene.stamp,
            reason=reason,
            message=text,
            evidence=_evidence(scene, new, draft.culprit) if reason in BY_METRICS else (),
            run=draft.culprit.metadata.uid if draft.culprit is not None and draft.abort == text else "",
        )
        actions = (record, *actions)
    actions = _told(scene, new) + actions
    return Plan(
        actions=actions,
        status=new,
        status_first=first_seen,
        events=tuple(emitted),
        look_again=_look_again(scene, new, healthy=judged.healthy),
    )


def _evidence(scene: Scene, new: RolloutStatus, culprit: AnalysisRun | None) -> tuple[Evidence, ...]:
    """What the metrics say of the runs that this update waited for, and of the one that failed."""
    names = {
        run.name
        for status in (scene.status, new)
        for run in (
            status.canary.current_step_analysis_run_status,
            status.canary.current_background_analysis_run_status,
            status.blue_green.pre_promotion_analysis_run_status,
            status.blue_green.post_promotion_analysis_run_status,
        )
        if run is not None
    } | {status.canary.current_experiment for status in (scene.status, new)}
    names |= {culprit.metadata.name} if culprit is not None else set()
    found = scene.observed.evidence
    return worst_first(each for name in sorted(names) for each in found.get(name, ()))


def _with_obstacle(scene: Scene, draft: Draft, listed: conditions.Conditions) -> conditions.Conditions:
    if draft.obstacle is None:
        return listed
    if not draft.obstacle:
        return conditions.without(listed, NOT_CREATED)
    new = _is_news(scene, draft.obstacle)
    return conditions.with_condition(listed, NOT_CREATED, "True", NOT_CREATED, draft.obstacle, scene.now, refresh=new)


def _obstacle_events(scene: Scene, draft: Draft) -> tuple[EmitEvent, ...]:
    if not draft.obstacle or not _is_news(scene, draft.obstacle):
        return ()
    return (EmitEvent(NOT_CREATED, draft.obstacle, "Warning"),)


def _is_news(scene: Scene, obstacle: str) -> bool:
    """Whether it isn't told yet; a webhook that words each refusal anew doesn't make a write and a pass of each."""
    told = conditions.find(scene.status.conditions, NOT_CREATED)
    if told is None or told.message == obstacle:
        return told is None
    same = told.message.partition(":")[0] == obstacle.partition(":")[0]
    return not same or told.last_update_time is None or scene.now >= told.last_update_time + _TOLD_AGAIN


def _told(scene: Scene, new: RolloutStatus) -> tuple[Action, ...]:
    """Note once that Git has the abort that the cluster shows (docs/decisions.md §3 R4, §4)."""
    line, aborted_at = scene.leave.tree_abort, scene.status.aborted_at
    if line is None or not line.id or line.noted or not new.abort or aborted_at is None:
        return ()
    index = scene.status.current_step_index or 0
    return (RecordAbort(index, aborted_at, IN_GIT, line.text, told=line.id),)


def with_phase(scene: Scene, new: RolloutStatus) -> RolloutStatus:
    """Phase, message and duration that go with the rest of ``new``."""
    phase, message = calculate_phase(scene.spec, new)
    new = new.model_copy(update={"phase": phase, "message": message})
    return new.model_copy(update={"duration": duration.calculate(scene, new)})


def _abort_text(scene: Scene) -> str:
    line = scene.leave.tree_abort
    if line is None:
        return ""
    cause = f": {line.text}" if line.text else ""
    meta = scene.observed.rollout.metadata
    return f"aborted by {line.commit[:12]} in Git{cause}; `gor retry {meta.name} -n {meta.namespace}` lifts it"


def _abort_for_deadline(scene: Scene, new: RolloutStatus) -> bool:
    """progressDeadlineAbort (§11.2)."""
    completed = new.stable_rs != "" and new.stable_rs == new.current_pod_hash
    return (
        scene.spec.progress_deadline_abort
        and not completed
        and not scene.leave.anew
        and not conditions.progressed(scene.status, new)
        and conditions.timed_out(scene, new)
    )


def _with_pauses(scene: Scene, new: RolloutStatus, *, keep_flag: bool) -> RolloutStatus:
    old = scene.status
    if new.abort:
        aborted_at = old.aborted_at or scene.stamp
        return new.model_copy(update={"aborted_at": aborted_at, "pause_conditions": (), "controller_pause": False})
    added = any(condition not in old.pause_conditions for condition in new.pause_conditions)
    kept = bool(new.pause_conditions) or keep_flag or _resumed_while_paused(scene, new)
    controller = kept and (added or old.controller_pause)
    return new.model_copy(update={"aborted_at": None, "controller_pause": controller})


def _resumed_while_paused(scene: Scene, new: RolloutStatus) -> bool:
    """Somebody ended the pause, but spec.paused keeps that from having its effect: don't forget it (§24)."""
    old = scene.status
    completed = new.stable_rs == new.current_pod_hash
    same_place = new.current_step_index == old.current_step_index and new.current_pod_hash == old.current_pod_hash
    return scene.spec.paused and not old.pause_conditions and same_place and not completed


def _pause_events(old: tuple[PauseCondition, ...], new: tuple[PauseCondition, ...]) -> tuple[EmitEvent, ...]:
    if new and not old:
        return (events.paused(new[0].reason),)
    return (events.resumed(),) if old and not new else ()


def _look_again(scene: Scene, new: RolloutStatus, *, healthy: bool) -> timedelta | None:
    if healthy or new.abort or scene.spec.paused or new.pause_conditions:
        return None
    if not conditions.deadline_counts(scene, new):
        return None
    if conditions.reason_of(new.conditions, conditions.PROGRESSING) == conditions.DEADLINE_EXCEEDED:
        return None
    due = conditions.deadline(scene)
    return None if due is None else moments.until(moments.after(due, 1), scene.now)
