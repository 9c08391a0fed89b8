"""One pass over one Rollout, in the order of docs/behaviour.md §7."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from gitops_rollouts.api.names import PROVEN
from gitops_rollouts.api.phase import HELD, calculate_phase
from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.api.status import RolloutStatus
from gitops_rollouts.api.validation import FieldError
from gitops_rollouts.engine import (
    canary,
    conditions,
    current_runs,
    experiment_steps,
    gates,
    intent,
    invalid,
    moments,
    persist,
    promotions,
    revisions,
    scaling,
    turn,
    workload,
)
from gitops_rollouts.engine.blue_green import passes as blue_green
from gitops_rollouts.engine.observed import Observed
from gitops_rollouts.engine.plan import Action, CreateRun, EmitEvent, PatchRollout, Plan
from gitops_rollouts.engine.revisions import Claimed
from gitops_rollouts.engine.rollback import skips_steps
from gitops_rollouts.engine.scene import Scene, hash_of, revision_of
from gitops_rollouts.engine.specs import SpecFacts, spec_facts

_HELD_AGAIN: Final = timedelta(seconds=30)


def step(observed: Observed, now: datetime) -> Plan:
    """Decide what to do for this Rollout now. ``now`` is aware. Pure and total: the same input, the same plan."""
    if observed.rollout.metadata.deletion_timestamp is not None:
        return Plan()
    resolved = workload.resolve(observed)
    observed = resolved.observed
    facts = spec_facts(observed.rollout)
    errors = facts.errors or (() if observed.refused is None else (observed.refused,))
    refused = invalid.check(observed, errors if resolved.error is None else (resolved.error,), now)
    if refused is None:
        plan = _valid(observed, facts, now)
    else:
        abort = _abort_all_the_same(observed, errors, facts, now) if resolved.error is None else None
        if abort is None:
            return refused
        plan = abort
    forgotten, said = promotions.settle(observed)
    return replace(plan, actions=(*resolved.actions, *forgotten, *plan.actions), events=(*plan.events, *said))


def _abort_all_the_same(
    observed: Observed, errors: Sequence[FieldError], facts: SpecFacts, now: datetime
) -> Plan | None:
    """The pass that begins an abort although routed objects aren't as they should be: it waits for none of them.

    None if there is more that is wrong, or nothing to abort (§15.6).
    """
    observed = replace(observed, route_errors=())
    if invalid.check(observed, errors, now) is not None:
        return None
    plan = _valid(observed, facts, now)
    return plan if plan.status is not None and plan.status.abort else None


def _valid(observed: Observed, facts: SpecFacts, now: datetime) -> Plan:
    rollout = observed.rollout
    claimed = revisions.claim(observed)
    leave = gates.leave_of(observed.authority)
    if leave.edited:
        new = revisions.with_hash(claimed.owned, rollout.status.current_pod_hash)
    else:
        new = revisions.find(rollout, claimed.owned)
    if new is None:
        if leave.edited:
            return _held_without(observed, claimed, now)
        return invalid.check_analyses(observed, now) or revisions.create(observed, claimed, now)
    if rollout.spec.replicas is None:
        return Plan(actions=(*claimed.actions, PatchRollout(replicas=1)))
    status = _within(rollout.status, None) if leave.edited else _as_meant(rollout, facts.step_hash)
    status = _with_side(observed, _with_stable(observed, claimed, status))
    stable = revisions.with_hash(claimed.owned, status.stable_rs)
    kept = {new.name} | ({stable.name} if stable is not None else set())
    scene = Scene(
        observed=observed,
        now=now,
        status=status,
        new=new,
        stable=stable,
        others=tuple(replica_set for replica_set in claimed.owned if replica_set.name not in kept),
        step_hash=_step_hash(rollout, facts.step_hash, edited=leave.edited),
        leave=leave,
    )
    scene = replace(scene, leave=replace(leave, anew=intent.is_new(scene)))
    scene = gates.obey(scene)
    refused = None if _needs_no_analysis(scene) else invalid.check_analyses(observed, now)
    plan = _pass(scene) if refused is None or _goes_back(scene) else refused
    return replace(plan, actions=(*claimed.actions, *plan.actions))


def _needs_no_analysis(scene: Scene) -> bool:
    """Whether nothing unproven goes forward in this pass."""
    return scene.leave.edited or scene.promoted or scene.aborted or skips_steps(scene)


def _goes_back(scene: Scene) -> bool:
    """Whether the update is about to be given up, or Git takes an approval back: no missing template keeps it here."""
    if experiment_steps.failed(scene) or any(current.failed for current in current_runs.all_known(scene)):
        return True
    return gates.takes_back(scene)


def _as_meant(rollout: Rollout, step_hash: str) -> RolloutStatus:
    """The stored status with an index that exists, and with our hash of steps that are known not to have changed.

    A status of this very generation was written by somebody who saw these very steps, so another hash in it means that
    another library hashed them, not that an update must start anew (docs/behaviour.md §6). An InvalidSpec write
    observes a generation without looking at its steps.
    """
    status = _within(rollout.status, len(rollout.spec.steps))
    if (
        not status.current_step_hash
        or not step_hash
        or status.current_step_hash == step_hash
        or status.observed_generation != str(rollout.metadata.generation)
        or conditions.find(status.conditions, conditions.INVALID_SPEC) is not None
    ):
        return status
    return status.model_copy(update={"current_step_hash": step_hash})


def _with_stable(observed: Observed, claimed: Claimed, status: RolloutStatus) -> RolloutStatus:
    """The stored status with the stable version, if that was lost and the cluster still tells (§7.2).

    A Rollout that comes back from a backup has no status: taken for a first deploy, it would go live without its steps.
    """
    if status.stable_rs:
        return status
    strategy = observed.rollout.spec.strategy
    name = strategy.blue_green.active_service if strategy.blue_green else ""
    if strategy.canary is not None and strategy.canary.ping_pong is None:
        name = strategy.canary.stable_service
    serving = revisions.with_hash(claimed.owned, observed.selected(name))
    if serving is None and strategy.canary is not None and observed.authority is not None:
        proven = [found for found in claimed.owned if PROVEN in found.annotations and found.available > 0]
        serving = max(proven, key=revision_of, default=None)
    if serving is None or serving.available < 1:
        return status
    return status.model_copy(update={"stable_rs": hash_of(serving)})


def _with_side(observed: Observed, status: RolloutStatus) -> RolloutStatus:
    """The stored status with the side of ping-pong whose Service selects the stable version, if just one does (§14.3).

    A lost or wrong field, taken at its word, would exchange the sides under the traffic.
    """
    canary = observed.rollout.spec.strategy.canary
    if canary is None or canary.ping_pong is None or not status.stable_rs:
        return status
    ping, pong = (
        observed.selected(name) == status.stable_rs
        for name in (canary.ping_pong.ping_service, canary.ping_pong.pong_service)
    )
    told_ping = status.canary.stable_ping_pong == "ping"
    if ping in (pong, told_ping):
        return status
    righted = status.canary.model_copy(update={"stable_ping_pong": "ping" if ping else "pong"})
    return status.model_copy(update={"canary": righted})


def _step_hash(rollout: Rollout, computed: str, *, edited: bool) -> str:
    """The hash of the steps that this pass is for: those that were applied; blue-green has none (§3)."""
    if edited:
        return rollout.status.current_step_hash
    return "" if rollout.spec.strategy.blue_green is not None else computed


def _within(status: RolloutStatus, steps: int | None) -> RolloutStatus:
    """The stored status with an index that exists: a client may have written any number. None: of unknown steps."""
    index = status.current_step_index
    if index is None:
        return status
    exists = max(0, index) if steps is None else min(max(0, index), steps)
    return status if exists == index else status.model_copy(update={"current_step_index": exists})


def _pass(scene: Scene) -> Plan:
    written = _conditions_first(scene)
    if written is not None:
        return written
    scene, actions = revisions.sync(scene)
    plan = _progress(scene, (*actions, *turn.begin(scene)))
    if scene.leave.held:
        return replace(plan, look_again=moments.soonest(plan.look_again, _HELD_AGAIN))
    return plan


def _progress(scene: Scene, actions: tuple[Action, ...]) -> Plan:
    """The pass of the strategy: a new attempt, another size, or the ordinary one."""
    resized = scaling.resized(scene)
    if scene.blue_green is not None:
        if scene.leave.edited and scene.status.current_step_hash:
            return Plan(actions=actions)  # a canary runs whose strategy was edited outside Git: it is healed
        if blue_green.begins_anew(scene):
            return blue_green.reset(scene, actions)
        return (blue_green.scale_only if resized and not scene.changed else blue_green.full)(scene, actions)
    if scene.changed:
        return canary.reset(scene, actions)
    return (canary.scale_only if resized else canary.full)(scene, actions)


def _conditions_first(scene: Scene) -> Plan | None:
    """The writes that come before everything else, each a pass of its own."""
    undone = gates.undo(scene) or gates.hold(scene)
    if undone is not None:
        return undone
    status = scene.status
    if conditions.find(status.conditions, conditions.PROGRESSING) is None:
        text = f'Found new replica set "{scene.new.name}"'
        found = conditions.with_condition(
            status.conditions, conditions.PROGRESSING, "True", "FoundNewReplicaSet", text, scene.now
        )
        return Plan(status=status.model_copy(update={"conditions": found}))
    if status.observed_generation != str(scene.observed.rollout.metadata.generation) or scene.changed:
        return None
    changed = conditions.early(scene)
    if changed is None:
        return None
    return Plan(status=persist.with_phase(scene, status.model_copy(update={"conditions": changed})))


def _held_without(observed: Observed, claimed: Claimed, now: datetime) -> Plan:
    """Edited outside Git while the applied version has no ReplicaSet (yet): wait, and say why."""
    authority, status = observed.authority, observed.rollout.status
    before = conditions.find(status.conditions, HELD)
    if authority is None or (before is not None and before.reason == gates.EDITED):
        return Plan(actions=claimed.actions, look_again=_HELD_AGAIN)
    text = gates.edited_text(authority)
    told = conditions.with_condition(status.conditions, HELD, "True", gates.EDITED, text, now)
    return Plan(
        actions=claimed.actions,
        status=status.model_copy(update={"conditions": told}),
        events=(EmitEvent(gates.EDITED, text, "Warning"),),
        look_again=_HELD_AGAIN,
    )


def runs_refused(observed: Observed, now: datetime) -> Plan:
    """What is left to do when the API server refused a run of this pass, which ``observed.refused_runs`` names (§17.5).

    The pass over again without it: whatever came before it is done, so that only runs and the status remain.
    """
    plan = step(observed, now)
    first = next((at for at, action in enumerate(plan.actions) if isinstance(action, CreateRun)), len(plan.actions))
    return replace(plan, actions=plan.actions[first:])


def routing_failed(observed: Observed, now: datetime, error: str) -> Plan:
    """What to write when a router could not make true what this pass told it (§15.1).

    Everything stays where it is, the step too; a progress deadline that passes meanwhile is told as ever.
    """
    status = observed.rollout.status
    told = status.conditions
    if not gates.leave_of(observed.authority).held and conditions.overdue(observed.rollout, now):
        text = f'ReplicaSet "{observed.rollout.metadata.name}-{status.current_pod_hash}" has timed out progressing.'
        late = conditions.DEADLINE_EXCEEDED
        told = conditions.with_condition(told, conditions.PROGRESSING, "False", late, text, now)
    told = conditions.with_condition(told, conditions.TRAFFIC_ROUTED, "False", "TrafficRoutingError", error, now)
    status = status.model_copy(update={"conditions": told})
    phase, message = calculate_phase(observed.rollout.spec, status)
    return Plan(status=status.model_copy(update={"phase": phase, "message": message}))


def create_failed(observed: Observed, now: datetime, name: str, error: str) -> Plan:
    """What to write when the API server refused to create the ReplicaSet ``name`` (§4.1 ``ReplicaSetCreateError``)."""
    return revisions.create_failed(observed.rollout, name, error, now)
