"""Deadline, resizing, restart, history, adoption, collisions (docs/behaviour.md §2.1, §6, §7.6, §11.2, §12)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from engine.world import World, at, deployed, manifest
from gitops_rollouts.api.defaulting import default_template
from gitops_rollouts.api.names import (
    APPLIED,
    DESIRED_REPLICAS,
    POD_TEMPLATE_HASH,
    REVISION,
    REVISION_HISTORY,
    SCALE_DOWN_DEADLINE,
)
from gitops_rollouts.engine.plan import DeleteReplicaSet, EvictPod
from gitops_rollouts.engine.step import create_failed

GATED: list[dict[str, Any]] = [{"setWeight": 20}, {"pause": {}}]


def broken(**spec: Any) -> World:
    """A world whose update never gets available."""
    world = deployed(manifest(replicas=5, steps=GATED, progressDeadlineSeconds=60, **spec))
    world.set_image("web:broken")
    world.settle()
    return world


def test_deadline_degrades() -> None:
    """§4.1 ProgressDeadlineExceeded; the look-again falls right after it."""
    world = broken()
    again = world.plans[-1].look_again
    assert again is not None
    assert timedelta(seconds=1) <= again <= timedelta(seconds=61)
    world.pass_time(again.total_seconds())
    name = world.by_image("web:broken").spec.name
    assert world.status["phase"] == "Degraded"
    assert world.status["message"] == f'ProgressDeadlineExceeded: ReplicaSet "{name}" has timed out progressing.'
    assert "abort" not in world.status
    assert world.sizes() == {"web:v1": 4, "web:broken": 1}
    assert world.plans[-1].look_again is None


def test_deadline_aborts() -> None:
    """§11.2: a RolloutAborted with the bare text, then the condition's; canary to 0 in the next pass."""
    world = broken(progressDeadlineAbort=True)
    world.events.clear()
    world.pass_time(62)
    name = world.by_image("web:broken").spec.name
    text = f'ReplicaSet "{name}" has timed out progressing.'
    aborted = [event.message for event in world.events if event.reason == "RolloutAborted"]
    assert aborted == [text, f"Rollout aborted update to revision 2: {text}"]
    assert world.status["message"] == f"RolloutAborted: Rollout aborted update to revision 2: {text}"
    assert world.sizes() == {"web:v1": 5, "web:broken": 0}
    assert world.status["currentStepIndex"] == 0
    assert world.status["duration"]["completionStatus"] == "Aborted"


def test_no_deadline_while_paused() -> None:
    """§4.1: not at a pause step."""
    world = deployed(manifest(replicas=5, steps=GATED, progressDeadlineSeconds=60, progressDeadlineAbort=True))
    world.set_image("web:v2")
    world.settle()
    world.pass_time(3600)
    assert world.status["phase"] == "Paused"
    world.patch_status(pauseConditions=None)
    world.settle()
    assert world.status["phase"] == "Healthy"


def test_progress_restarts_the_clock() -> None:
    """§4.1 progress rule."""
    world = broken()
    world.wait(50)
    world.edit(replicas=6)
    world.settle()
    world.pass_time(20)
    assert world.status["phase"] == "Progressing"


def test_resize_in_mid_update_keeps_the_step() -> None:
    """§7.6, §8.8: scale-only passes with the same formulas."""
    world = deployed(manifest(replicas=5, steps=GATED))
    world.set_image("web:v2")
    world.settle()
    world.edit(replicas=10)
    world.settle()
    assert world.sizes() == {"web:v1": 8, "web:v2": 2}
    assert world.status["currentStepIndex"] == 1
    assert world.status["phase"] == "Paused"
    assert {kept.spec.annotations[DESIRED_REPLICAS] for kept in world.sets.values()} == {"10"}
    world.edit(replicas=0)
    world.settle()
    assert world.sizes() == {"web:v1": 0, "web:v2": 0}


def test_template_and_size_changed_together_never_overshoot() -> None:
    """§8.8 names an overshoot there; the reset comes first here, so the step's weight holds from the first pass."""
    world = deployed(manifest(replicas=5, steps=GATED))
    world.edit(replicas=10)
    world.set_image("web:v2")
    seen = []
    for _ in range(40):
        world.once()
        world.run_pods()
        seen.append(world.sizes().get("web:v2", 0))
    assert max(seen) == 2
    assert world.sizes() == {"web:v1": 8, "web:v2": 2}


def test_history_is_limited() -> None:
    """§2.1 revisionHistoryLimit."""
    world = deployed(manifest(replicas=1, revisionHistoryLimit=2))
    for number in range(2, 7):
        world.wait()
        world.set_image(f"web:v{number}")
        world.settle()
    assert sorted(world.sizes()) == ["web:v4", "web:v5", "web:v6"]


def test_history_spares_what_still_has_pods() -> None:
    """§2.1: only empty ones; what can't go still takes a slot."""
    world = deployed(manifest(replicas=5, steps=GATED, revisionHistoryLimit=0))
    world.set_image("web:v2")
    world.settle()
    world.wait()
    world.set_image("web:v3")
    for _ in range(4):
        assert not [action for action in world.once().actions if isinstance(action, DeleteReplicaSet)]
    world.settle()
    assert sorted(world.sizes()) == ["web:v1", "web:v3"]


def test_revision_annotations() -> None:
    """§5: copied annotations, never our own prefix; history is appended when a synced annotation changes."""
    world = deployed(manifest(replicas=1))
    world.annotate("team", "shop")
    world.annotate(APPLIED, "commit=abc")
    world.annotate("notified.notifications.argoproj.io", "x")
    world.settle()
    kept = world.by_image("web:v1").spec
    assert kept.annotations == {"team": "shop", REVISION: "1", REVISION_HISTORY: "1", DESIRED_REPLICAS: "1"}


def test_min_ready_seconds_follow() -> None:
    """§2.1: synced without a new revision."""
    world = deployed(manifest(replicas=1))
    world.edit(minReadySeconds=7)
    world.settle()
    assert world.by_image("web:v1").spec.min_ready_seconds == 7
    assert len(world.sets) == 1


def test_a_healthy_rollout_shows_every_edit() -> None:
    """§4.1 healthy rule: an edit makes one persist with Healthy=False, the next turns it back."""
    world = deployed(manifest(replicas=1))
    world.edit(revisionHistoryLimit=5)
    world.settle()
    healthy = [
        item["status"] for status in world.statuses for item in status["conditions"] if item["type"] == "Healthy"
    ]
    assert healthy == ["False", "True"]


def test_collision_takes_another_name() -> None:
    """§6: collisionCount; the hash with the count is the version's name from then on."""
    probe = World(manifest())
    probe.settle()
    plain = probe.status["stableRS"]
    world = World(manifest())
    world.taken.add(f"web-{plain}")
    world.settle()
    assert world.status["collisionCount"] == 1
    assert world.status["stableRS"] != plain
    assert world.status["phase"] == "Healthy"
    assert f"web-{world.status['stableRS']}" in world.sets


def test_collision_survives_a_crash_before_the_status() -> None:
    """§6 lookup by equality: the ReplicaSet is found although the count was lost."""
    world = World(manifest())
    probe = World(manifest())
    probe.settle()
    world.taken.add(f"web-{probe.status['stableRS']}")
    world.once(only=1)
    assert len(world.sets) == 1
    world.settle()
    assert len(world.sets) == 1
    assert world.status["phase"] == "Healthy"


def test_defaulted_template_finds_its_replica_set() -> None:
    """§6: a template copied back from a ReplicaSet hashes otherwise, and is the same version."""
    world = deployed(manifest(replicas=2))
    before = world.status["stableRS"]
    kept = world.by_image("web:v1")
    defaulted = default_template(dict(world.raw["spec"]["template"]))
    labels = {**defaulted["metadata"]["labels"], POD_TEMPLATE_HASH: before}
    kept.spec = replace(kept.spec, template={**defaulted, "metadata": {**defaulted["metadata"], "labels": labels}})
    world.edit(template=defaulted)
    world.settle()
    assert len(world.sets) == 1
    assert world.status["currentPodHash"] == before
    assert world.status["phase"] == "Healthy"


def test_orphans_are_adopted_and_strangers_released() -> None:
    """§2.1 selector: claims as Deployments do."""
    world = deployed(manifest(replicas=2))
    kept = world.by_image("web:v1")
    kept.spec = replace(kept.spec, owner_uid=None)
    world.settle()
    assert kept.spec.owner_uid == "rollout-uid"
    assert len(world.sets) == 1
    kept.spec = replace(kept.spec, labels={**kept.spec.labels, "app": "other"})
    world.settle()
    assert kept.spec.owner_uid is None
    assert len(world.sets) == 2
    assert world.status["collisionCount"] == 1


def test_restart_replaces_old_pods_within_the_bound() -> None:
    """§12: evictions by maxUnavailable (at least 1), pass by pass; then restartedAt."""
    world = deployed(manifest(replicas=4, canary={"maxUnavailable": 1}))
    old = {pod.name for kept in world.sets.values() for pod in kept.pods}
    world.wait(10)
    world.edit(restartAt=at(5))
    for _ in range(60):
        plan = world.once()
        evicted = [action for action in plan.actions if isinstance(action, EvictPod)]
        assert all(action.at_most == 1 for action in evicted)
        if evicted:
            assert plan.status is None
        assert world.available() >= 3
        world.run_pods()
    world.settle()
    assert not old & {pod.name for kept in world.sets.values() for pod in kept.pods}
    assert world.status["restartedAt"] == at(5)
    assert world.status["phase"] == "Healthy"


def test_an_abort_does_not_wait_for_a_restart_whose_pods_a_budget_keeps() -> None:
    """§11.3, §12: the restart goes on once the abort has moved what it moves."""
    world = deployed(manifest(replicas=4, steps=[{"setWeight": 50}, {"pause": {}}], canary={"maxUnavailable": 1}))
    world.set_image("app:v2")
    world.settle()
    assert world.by_image("app:v2").spec.replicas == 2
    world.disrupted = {pod.name for kept in world.sets.values() for pod in kept.pods}
    world.wait(10)
    world.edit(restartAt=at(5))
    for _ in range(3):
        world.once()
    world.raw["status"]["abort"] = True
    for _ in range(20):
        world.once()
        world.run_pods()
    assert world.sizes() == {"web:v1": 4, "app:v2": 0}
    assert world.status["phase"] == "Degraded"
    world.disrupted = set()
    for _ in range(60):
        world.once()
        world.run_pods()
    assert world.status["restartedAt"] == at(5)


def test_a_pod_that_cannot_be_evicted_does_not_stop_the_others() -> None:
    """§12: a 429 goes on with the next pod, and uses up nothing of what is allowed."""
    world = deployed(manifest(replicas=3, canary={"maxUnavailable": 1}))
    old = [pod.name for kept in world.sets.values() for pod in kept.pods]
    world.disrupted = {old[0]}
    world.wait(10)
    world.edit(restartAt=at(5))
    for _ in range(10):
        world.once()
        assert world.available() >= 2
        world.run_pods()
        world.run_pods()
    assert [pod.name for kept in world.sets.values() for pod in kept.pods if pod.name in old] == [old[0]]
    assert world.status.get("restartedAt") != at(5)
    world.disrupted = set()
    world.settle()
    world.pass_time(31)
    assert world.status["restartedAt"] == at(5)


def test_a_restart_between_two_seconds_ends() -> None:
    """§3: stored times have whole seconds."""
    world = deployed(manifest(replicas=1))
    world.wait(10)
    world.edit(restartAt="2026-03-01T12:00:05.5Z")
    world.settle()
    world.pass_time(31)
    assert world.status["restartedAt"] == at(5)
    assert world.status["phase"] == "Healthy"


def test_a_left_over_scale_down_deadline_goes() -> None:
    """§8.7: on the new or stable ReplicaSet, and when one reaches 0."""
    world = deployed(manifest(replicas=1))
    kept = world.by_image("web:v1")
    kept.spec = replace(kept.spec, annotations={**kept.spec.annotations, SCALE_DOWN_DEADLINE: at(0)})
    world.settle()
    assert SCALE_DOWN_DEADLINE not in kept.spec.annotations


def test_restart_in_the_future_waits() -> None:
    """§12: future values enqueue."""
    world = deployed(manifest(replicas=1))
    world.edit(restartAt=at(600))
    world.settle()
    assert "restartedAt" not in world.status
    assert world.status["message"] == "rollout is restarting"
    assert world.plans[-1].look_again == timedelta(seconds=599)


def test_replica_set_refused() -> None:
    """§4.1 ReplicaSetCreateError."""
    world = World(manifest())
    plan = create_failed(world.observe(), world.now, "web-x", "quota exceeded")
    world.carry_out(plan)
    condition = world.condition("Progressing")
    assert condition is not None
    assert (condition["status"], condition["reason"]) == ("False", "ReplicaSetCreateError")
    assert condition["message"] == 'Failed to create new replica set "web-x": quota exceeded'
    assert world.reasons() == ["ReplicaSetCreateError"]


def test_replica_failure_is_copied() -> None:
    """§4.1 ReplicaFailure."""
    world = deployed(manifest(replicas=1))
    kept = world.by_image("web:v1")
    failure = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "quota"}
    kept.spec = replace(kept.spec, conditions=(failure,))
    world.settle()
    assert world.condition("ReplicaFailure")["reason"] == "FailedCreate"  # type: ignore[index]
    kept.spec = replace(kept.spec, conditions=())
    world.settle()
    assert world.condition("ReplicaFailure") is None
