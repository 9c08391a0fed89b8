"""The order of events and of status writes (docs/behaviour.md §4.3, §7, §9), in a model of a cluster."""

from __future__ import annotations

from engine.world import World, deployed, manifest
from gitops_rollouts.api.names import POD_TEMPLATE_HASH, REVISION, REVISION_HISTORY
from gitops_rollouts.engine.observed import Service
from gitops_rollouts.engine.plan import CreateReplicaSet

HALF = [{"setWeight": 50}, {"pause": {"duration": "3s"}}]
GATED = [{"setWeight": 20}, {"pause": {}}, {"setWeight": 60}, {"pause": {}}]


def progressing(world: World) -> list[str]:
    """The Progressing reason of each status write, repeats left out."""
    found: list[str] = []
    for status in world.statuses:
        reason = next((item["reason"] for item in status["conditions"] if item["type"] == "Progressing"), "")
        if not found or found[-1] != reason:
            found.append(reason)
    return found


def test_first_deploy_ignores_steps_and_emits_the_known_events() -> None:
    """§4.3 observed order, §9.3 ``Initial deploy``."""
    world = World(manifest(replicas=1, steps=HALF))
    world.settle()
    assert [event.reason for event in world.events] == [
        "RolloutUpdated",
        "NewReplicaSetCreated",
        "RolloutNotCompleted",
        "ScalingReplicaSet",
        "RolloutCompleted",
    ]
    assert [event.message for event in world.events] == [
        "Rollout updated to revision 1",
        f"Created ReplicaSet web-{world.status['stableRS']} (revision 1)",
        f"Rollout not completed, started update to revision 1 ({world.status['stableRS']})",
        f"Scaled up ReplicaSet web-{world.status['stableRS']} (revision 1) from 0 to 1",
        f"Rollout completed update to revision 1 ({world.status['stableRS']}): Initial deploy",
    ]
    assert world.status["phase"] == "Healthy"
    assert world.status["currentStepIndex"] == 2
    kinds = sorted(item["type"] for item in world.status["conditions"])
    assert kinds == ["Available", "Completed", "Healthy", "Progressing"]
    assert world.status["duration"]["completionStatus"] == "Promoted"


def test_update_abort_retry_promote_emits_the_known_events() -> None:
    """§4.3 "Observed event orders"."""
    world = deployed(manifest(replicas=1, steps=HALF))
    world.set_image("web:v2")
    world.settle()
    assert world.reasons() == [
        "RolloutUpdated",
        "NewReplicaSetCreated",
        "RolloutNotCompleted",
        "ScalingReplicaSet",
        "RolloutStepCompleted",
        "RolloutPaused",
    ]
    assert (world.status["phase"], world.status["message"]) == ("Paused", "CanaryPauseStep")
    world.patch_status(abort=True)
    world.settle()
    assert world.reasons() == ["ScalingReplicaSet", "RolloutAborted"]
    assert world.status["message"] == "RolloutAborted: Rollout aborted update to revision 2"
    assert world.sizes() == {"web:v1": 1, "web:v2": 0}
    world.patch_status(abort=False)
    world.settle()
    assert world.reasons() == ["ScalingReplicaSet", "RolloutStepCompleted", "RolloutPaused"]
    world.pass_time(3)
    assert world.reasons() == ["RolloutStepCompleted", "RolloutResumed", "ScalingReplicaSet", "RolloutCompleted"]
    assert world.status["phase"] == "Healthy"
    assert world.sizes() == {"web:v1": 0, "web:v2": 1}


def test_each_pass_of_an_update_is_one_state() -> None:
    """§7.4, §9.1, §9.3: creation, reset, scaling, step, pause, its condition."""
    world = deployed(manifest(replicas=1, steps=HALF))
    world.set_image("web:v2")
    old = world.status
    plan = world.once()
    assert any(isinstance(action, CreateReplicaSet) for action in plan.actions)
    assert world.status["observedGeneration"] == "1"
    assert world.status["phase"] == old["phase"]
    assert world.condition("Progressing")["reason"] == "NewReplicaSetCreated"  # type: ignore[index]
    world.once()
    assert world.status["observedGeneration"] == "2"
    assert world.status["currentStepIndex"] == 0
    assert world.status["stableRS"] != world.status["currentPodHash"]
    assert world.sizes()["web:v2"] == 0
    world.once()
    assert world.sizes()["web:v2"] == 1
    world.run_pods()
    world.run_pods()
    world.once()
    assert world.status["currentStepIndex"] == 1
    assert "pauseConditions" not in world.status
    world.once()
    assert [pause["reason"] for pause in world.status["pauseConditions"]] == ["CanaryPauseStep"]
    assert world.status["controllerPause"] is True
    assert world.condition("Paused") is None
    world.once()
    assert world.condition("Paused")["status"] == "True"  # type: ignore[index]
    assert world.condition("Progressing")["reason"] == "RolloutPaused"  # type: ignore[index]


def test_a_person_resumes() -> None:
    """§3 ``controllerPause``: one condition patch, one persist; no RolloutResumed event (§4.3)."""
    world = deployed(manifest(replicas=5, steps=GATED))
    world.set_image("web:v2")
    world.settle()
    assert world.sizes() == {"web:v1": 4, "web:v2": 1}
    world.reasons()
    world.patch_status(pauseConditions=None)
    world.once()
    assert world.condition("Progressing")["reason"] == "RolloutResumed"  # type: ignore[index]
    assert world.condition("Paused")["status"] == "False"  # type: ignore[index]
    assert world.status["controllerPause"] is True
    assert world.status["currentStepIndex"] == 1
    world.once()
    assert world.status["currentStepIndex"] == 2
    assert "controllerPause" not in world.status
    world.settle()
    assert "RolloutResumed" not in world.reasons()
    assert world.sizes() == {"web:v1": 2, "web:v2": 3}
    assert world.status["currentStepIndex"] == 3
    assert world.status["phase"] == "Paused"


def test_a_promoted_index_skips_the_step() -> None:
    """§21 ``promote`` outside a pause moves the index."""
    world = deployed(manifest(replicas=5, steps=GATED))
    world.set_image("web:v2")
    world.settle()
    world.patch_status(pauseConditions=None, currentStepIndex=2)
    world.settle()
    assert world.status["currentStepIndex"] == 3
    assert world.sizes()["web:v2"] == 3


def test_without_steps_it_is_a_rolling_update() -> None:
    """§2.4: no steps: promote when the new version is fully available; no index."""
    world = deployed(manifest(replicas=4))
    assert "currentStepIndex" not in world.status
    world.set_image("web:v2")
    world.settle()
    assert world.status["phase"] == "Healthy"
    assert "currentStepIndex" not in world.status
    assert world.sizes() == {"web:v1": 0, "web:v2": 4}
    assert any(event.message.endswith(": Completed all 0 canary steps") for event in world.events)


def test_promotion_does_not_wait_for_old_pods() -> None:
    """§9.3: Progressing ``old replicas are pending termination`` until they are gone."""
    world = deployed(manifest(replicas=2, steps=[{"setWeight": 50}]))
    world.set_image("web:v2")
    world.settle()
    messages = [status["message"] for status in world.statuses if "message" in status]
    assert "old replicas are pending termination" in messages
    assert world.status["phase"] == "Healthy"


def test_a_new_template_in_mid_update_starts_anew() -> None:
    """§9.1: index 0, pauses cleared; the version in between is drained first (§8.7)."""
    world = deployed(manifest(replicas=5, steps=GATED))
    world.set_image("web:v2")
    world.settle()
    world.patch_status(pauseConditions=None)
    world.settle()
    assert world.sizes()["web:v2"] == 3
    world.wait()
    world.set_image("web:v3")
    world.settle()
    assert world.sizes() == {"web:v1": 4, "web:v2": 0, "web:v3": 1}
    assert world.status["currentStepIndex"] == 1
    assert world.status["phase"] == "Paused"
    assert world.raw["metadata"]["annotations"][REVISION] == "3"
    assert world.status["duration"]["rolloutStartedAt"] == "2026-03-01T12:00:02Z"


def test_changed_steps_start_anew() -> None:
    """§9.1: a change of the steps alone restarts the update."""
    world = deployed(manifest(replicas=5, steps=GATED))
    world.set_image("web:v2")
    world.settle()
    world.patch_status(pauseConditions=None)
    world.settle()
    world.set_steps([{"setWeight": 40}, {"pause": {}}])
    world.settle()
    assert world.status["currentStepIndex"] == 1
    assert world.sizes() == {"web:v1": 3, "web:v2": 2}


def test_changed_steps_of_a_promoted_rollout_end_past_the_last() -> None:
    """§9.1: index = number of steps, event SkipSteps; nothing scales."""
    world = deployed(manifest(replicas=5, steps=GATED))
    world.set_steps([{"setWeight": 40}])
    world.settle()
    assert world.status["currentStepIndex"] == 1
    assert world.reasons() == ["SkipSteps"]
    assert world.status["phase"] == "Healthy"


def test_rollback_to_stable_skips_steps_and_renumbers() -> None:
    """§11.5, §7 syncReplicaSetRevision: the old ReplicaSet gets a new revision number."""
    world = deployed(manifest(replicas=5, steps=GATED))
    world.set_image("web:v2")
    world.settle()
    world.reasons()
    world.set_image("web:v1")
    world.settle()
    assert world.sizes() == {"web:v1": 5, "web:v2": 0}
    assert world.status["currentStepIndex"] == 4
    assert world.status["phase"] == "Healthy"
    reasons = world.reasons()
    assert reasons[:2] == ["RolloutUpdated", "SkipSteps"]
    kept = world.by_image("web:v1").spec
    assert kept.annotations[REVISION] == "3"
    assert kept.annotations[REVISION_HISTORY] == "1"
    assert world.raw["metadata"]["annotations"][REVISION] == "3"
    assert world.status["duration"]["completionStatus"] == "FastRolledBack"


def test_rollback_outside_the_window_runs_the_steps() -> None:
    """§11.4 last sentence."""
    world = deployed(manifest(replicas=5, steps=GATED))
    world.set_image("web:v2")
    world.settle()
    world.patch_status(promoteFull=True)
    world.settle()
    assert world.sizes() == {"web:v1": 0, "web:v2": 5}
    world.wait()
    world.set_image("web:v1")
    world.settle()
    assert world.status["phase"] == "Paused"
    assert world.sizes() == {"web:v1": 1, "web:v2": 4}


def test_rollback_in_the_window_skips_the_steps() -> None:
    """§11.4: created before the stable one, fewer than ``revisions`` in between."""
    world = deployed(manifest(replicas=5, steps=GATED, rollbackWindow={"revisions": 1}))
    world.set_image("web:v2")
    world.settle()
    world.patch_status(promoteFull=True)
    world.settle()
    world.events.clear()
    world.wait()
    world.set_image("web:v1")
    world.settle()
    assert world.status["phase"] == "Healthy"
    assert world.sizes() == {"web:v1": 5, "web:v2": 0}
    assert any(event.message.endswith("Rollback within window") for event in world.events)


def test_full_promotion() -> None:
    """§11.9: steps skipped, flag cleared, FastPromoted."""
    world = deployed(manifest(replicas=5, steps=GATED))
    world.set_image("web:v2")
    world.settle()
    world.patch_status(promoteFull=True)
    world.settle()
    assert world.sizes() == {"web:v1": 0, "web:v2": 5}
    assert world.status["phase"] == "Healthy"
    assert "promoteFull" not in world.status
    assert world.status["duration"]["completionStatus"] == "FastPromoted"
    assert any(event.message.endswith("Full promotion requested") for event in world.events)


def test_full_promotion_out_of_an_abort() -> None:
    """§11.9: Degraded until the RolloutRetry patch."""
    world = deployed(manifest(replicas=5, steps=GATED))
    world.set_image("web:v2")
    world.settle()
    world.patch_status(abort=True)
    world.settle()
    world.statuses.clear()
    world.patch_status(promoteFull=True)
    world.settle()
    assert world.status["phase"] == "Healthy"
    assert world.sizes() == {"web:v1": 0, "web:v2": 5}
    assert "abort" not in world.status
    assert progressing(world)[:2] == ["RolloutAborted", "RolloutRetry"]


def test_abort_of_a_promoted_rollout_is_undone() -> None:
    """§7.5."""
    world = deployed(manifest(replicas=2, steps=GATED))
    world.patch_status(abort=True)
    world.settle()
    assert "abort" not in world.status
    assert "abortedAt" not in world.status
    assert world.status["phase"] == "Healthy"
    assert world.reasons() == []


def test_retry_writes_two_condition_patches_then_runs() -> None:
    """§11.6: RolloutRetry, then a left-over Paused=True turns False."""
    world = deployed(manifest(replicas=1, steps=HALF))
    world.set_image("web:v2")
    world.settle()
    world.patch_status(abort=True)
    world.settle()
    world.patch_status(abort=False)
    world.once()
    assert world.condition("Progressing")["reason"] == "RolloutRetry"  # type: ignore[index]
    assert world.condition("Paused")["status"] == "True"  # type: ignore[index]
    assert world.status["phase"] != "Degraded"
    world.once()
    assert world.condition("Paused")["status"] == "False"  # type: ignore[index]
    assert world.sizes()["web:v2"] == 0
    world.once()
    assert world.sizes()["web:v2"] == 1


def test_abort_is_written_before_it_is_acted_on() -> None:
    """plan.py: status first, so that a crash can't lose an abort."""
    world = deployed(manifest(replicas=1, steps=HALF))
    world.set_image("web:v2")
    world.settle()
    world.patch_status(abort=True)
    plan = world.once()
    assert plan.status_first
    assert world.status["abortedAt"]
    assert world.records == []


def test_spec_paused_halts_scaling_but_not_creation() -> None:
    """§2.1 ``paused``: the new ReplicaSet is created but stays at 0."""
    world = deployed(manifest(replicas=4, steps=GATED))
    world.edit(paused=True)
    world.set_image("web:v2")
    world.settle()
    assert world.sizes() == {"web:v1": 4, "web:v2": 0}
    assert (world.status["phase"], world.status["message"]) == ("Paused", "manually paused")
    assert "controllerPause" not in world.status
    world.edit(paused=False)
    world.settle()
    assert world.sizes()["web:v2"] == 1


def test_nil_replicas_are_written() -> None:
    """§2.1: the scale subresource needs a value."""
    world = World(manifest(replicas=None))
    world.settle()
    assert world.raw["spec"]["replicas"] == 1
    assert world.status["phase"] == "Healthy"


def test_nothing_happens_to_a_deleted_rollout() -> None:
    """§7.1."""
    world = World(manifest())
    world.raw["metadata"]["deletionTimestamp"] = "2026-03-01T12:00:00Z"
    world.settle()
    assert world.sets == {}
    assert world.status == {}


def test_services_follow_their_pods() -> None:
    """§14.1–2: stable first, canary once a pod is available; back to stable on abort."""
    services = {"stableService": "stable", "canaryService": "canary"}
    world = deployed(manifest(replicas=2, steps=GATED, canary=services), services=True)
    stable_hash = world.status["stableRS"]
    for name in ("stable", "canary"):
        assert world.services[name].selector[POD_TEMPLATE_HASH] == stable_hash
        assert world.services[name].managed_by == "web"
    world.set_image("web:v2")
    world.slow = True
    world.settle()
    assert world.services["canary"].selector[POD_TEMPLATE_HASH] == stable_hash
    world.slow = False
    world.settle()
    new_hash = world.status["currentPodHash"]
    assert world.services["canary"].selector[POD_TEMPLATE_HASH] == new_hash
    assert world.services["stable"].selector[POD_TEMPLATE_HASH] == stable_hash
    assert any(
        event.message == f"Switched selector for service 'canary' from '{stable_hash}' to '{new_hash}'"
        for event in world.events
    )
    world.patch_status(abort=True)
    world.settle()
    assert world.services["canary"].selector[POD_TEMPLATE_HASH] == stable_hash
    world.patch_status(abort=False, promoteFull=True)
    world.settle()
    assert world.services["stable"].selector[POD_TEMPLATE_HASH] == new_hash


def test_missing_and_foreign_services_are_invalid() -> None:
    """§20 B, §4.1 InvalidSpec: the first error; written once; gone when fixed."""
    world = World(manifest(canary={"stableService": "stable", "canaryService": "canary"}))
    world.services["canary"] = Service("canary", {"app": "other"})
    plan = world.once()
    assert plan.look_again is not None
    assert plan.look_again.total_seconds() == 20
    assert world.status["phase"] == "Degraded"
    assert 'service "stable" not found' in world.status["message"]
    assert world.status["message"].startswith('InvalidSpec: The Rollout "web" is invalid: ')
    assert [item["type"] for item in world.status["conditions"]] == ["InvalidSpec"]
    world.services["stable"] = Service("stable", {"app": "web"}, managed_by="another")
    world.settle()
    assert 'Service "stable" is managed by another Rollout' in world.status["message"]
    world.services["stable"] = Service("stable", {"app": "web"})
    world.settle()
    assert 'Service "canary" has unmatch label "app" in rollout' in world.status["message"]
    assert world.sets == {}
    world.services["canary"] = Service("canary", {"app": "web"})
    world.settle()
    assert world.status["phase"] == "Healthy"
    assert world.condition("InvalidSpec") is None


def test_manual_pauses_are_counted() -> None:
    """§4.4 rule 4."""
    world = deployed(manifest(replicas=5, steps=[{"setWeight": 20}, {"pause": {}}]))
    world.set_image("web:v2")
    world.settle()
    assert world.status["duration"]["manualPauseStartedAt"] == "2026-03-01T12:00:01Z"
    world.wait(90)
    world.patch_status(pauseConditions=None)
    world.settle()
    assert world.status["duration"]["totalManualPauseDurationSeconds"] == 90
    assert world.status["duration"]["completionStatus"] == "Promoted"
    assert "manualPauseStartedAt" not in world.status["duration"]
