"""Blue-green, the ways back (docs/behaviour.md §10.10, §10.11, §11): abort, retry, rollback, a promotion undone."""

from __future__ import annotations

from typing import Any

import pytest

from engine.test_blue_green import BOTH, MANUAL, blue_green, deadline, paused_at_v2, shown
from engine.world import World, at, manifest
from gitops_rollouts.engine.observed import Authority, Service
from gitops_rollouts.engine.plan import PointService

VERIFIED = {**BOTH, "postPromotionAnalysis": {"templates": [{"templateName": "smoke"}]}}
CHECKED = {**BOTH, "prePromotionAnalysis": {"templates": [{"templateName": "smoke"}]}}


def switched_to_v2(strategy: dict[str, Any] | None = None) -> World:
    """The active Service selects v2, which isn't promoted as its analysis still runs."""
    world = blue_green(VERIFIED if strategy is None else strategy)
    world.set_image("web:v2")
    world.settle()
    assert shown(world)["active"] == "web:v2"
    assert world.status["stableRS"] != world.status["currentPodHash"]
    world.events.clear()
    world.statuses.clear()
    return world


def abort(world: World) -> None:
    world.patch_status(abort=True)
    world.settle()


def test_abort_before_the_switch() -> None:
    """§10.10: the preview stays up for its delay and keeps its Service; then it goes."""
    world = paused_at_v2()
    abort(world)
    assert world.status["phase"] == "Degraded"
    assert world.status["message"] == "RolloutAborted: Rollout aborted update to revision 2"
    assert "pauseConditions" not in world.status
    assert shown(world) == {"active": "web:v1", "preview": "web:v2"}
    assert world.sizes() == {"web:v1": 3, "web:v2": 3}
    assert deadline(world, "web:v2") == at(31)
    world.pass_time(29)
    assert world.sizes()["web:v2"] == 3
    world.pass_time(2)
    assert world.sizes() == {"web:v1": 3, "web:v2": 0}
    assert deadline(world, "web:v2") is None
    world.pass_time(3600)
    assert world.sizes() == {"web:v1": 3, "web:v2": 0}


def test_the_delay_after_an_abort_is_looked_at_in_time() -> None:
    """§8.7: nothing else wakes an aborted Rollout."""
    world = paused_at_v2({**MANUAL, "abortScaleDownDelaySeconds": 5})
    abort(world)
    again = world.once().look_again
    assert again is not None
    assert again.total_seconds() == 5


def test_abort_delay_of_nothing_means_for_ever() -> None:
    """§2.3."""
    world = paused_at_v2({**MANUAL, "abortScaleDownDelaySeconds": 0})
    abort(world)
    world.pass_time(10_000)
    assert world.sizes() == {"web:v1": 3, "web:v2": 3}
    assert deadline(world, "web:v2") is None


def test_abort_after_the_switch() -> None:
    """§10.10: back in the very pass that sees it, and before anything else."""
    world = switched_to_v2()
    world.patch_status(abort=True)
    plan = world.once()
    assert isinstance(plan.actions[0], PointService)
    assert shown(world) == {"active": "web:v1", "preview": "web:v2"}
    assert world.status["phase"] == "Degraded"
    world.settle()
    world.pass_time(31)
    assert world.sizes() == {"web:v1": 3, "web:v2": 0}


@pytest.mark.parametrize("left", [0, 1])
def test_an_abort_goes_back_to_any_pod_that_serves(left: int) -> None:
    """§24: not only to a complete stable version; never to none at all."""
    world = switched_to_v2()
    world.slow = True
    for pod in world.by_image("web:v1").pods[left:]:
        pod.available = False
    world.patch_status(abort=True)
    for _ in range(5):
        world.once()
        world.run_pods()
    assert shown(world)["active"] == ("web:v1" if left else "web:v2")
    world.pass_time(60)
    assert world.sizes()["web:v2"] == 3, "nothing is taken away until stable can serve everything"
    world.slow = False
    world.settle()
    world.pass_time(60)
    assert shown(world)["active"] == "web:v1"
    assert world.sizes() == {"web:v1": 3, "web:v2": 0}


def test_abort_of_a_first_deploy_is_undone() -> None:
    """§10.12: there is nothing to go back to."""
    world = World(manifest(replicas=3, blue_green=BOTH))
    world.services = {name: Service(name, {"app": "web"}) for name in ("active", "preview")}
    world.patch_status(abort=True)
    world.settle()
    assert world.status["phase"] == "Healthy"
    assert shown(world)["active"] == "web:v1"


def test_paused_after_the_switch() -> None:
    """§4.1: healthy by its counts and paused by a person: the conditions come to rest."""
    world = switched_to_v2()
    world.edit(paused=True)
    world.settle()
    assert world.status["phase"] == "Paused"
    assert world.condition("Progressing")["reason"] == "RolloutPaused"  # type: ignore[index]
    world.edit(paused=False)
    world.settle()
    assert world.status["message"] == "waiting for analysis to complete"


def test_retry() -> None:
    """§11.6: one condition patch, then the update begins again, with its pause."""
    world = paused_at_v2({**MANUAL, "previewReplicaCount": 1})
    world.patch_status(pauseConditions=None)
    world.once()
    world.once()
    assert world.status["blueGreen"]["scaleUpPreviewCheckPoint"] is True
    abort(world)
    assert "scaleUpPreviewCheckPoint" not in world.status["blueGreen"]
    world.patch_status(abort=False)
    world.once()
    assert world.condition("Progressing")["reason"] == "RolloutRetry"  # type: ignore[index]
    world.settle()
    assert world.status["message"] == "BlueGreenPause"
    assert deadline(world, "web:v2") is None
    assert "abortedAt" not in world.status
    world.pass_time(60)
    assert world.sizes() == {"web:v1": 3, "web:v2": 1}


def test_retry_after_the_delay() -> None:
    """§11.6: the version comes up again."""
    world = paused_at_v2()
    abort(world)
    world.pass_time(31)
    world.patch_status(abort=False)
    world.settle()
    assert world.sizes() == {"web:v1": 3, "web:v2": 3}
    assert world.status["message"] == "BlueGreenPause"


def test_back_to_stable_instead_of_going_on() -> None:
    """§10.11: no pause; the version that was left goes after its delay."""
    world = paused_at_v2()
    world.set_image("web:v1")
    world.settle()
    assert world.status["phase"] == "Healthy"
    assert shown(world) == {"active": "web:v1", "preview": "web:v1"}
    assert world.status["duration"]["completionStatus"] == "FastRolledBack"
    world.pass_time(31)
    assert world.sizes() == {"web:v1": 3, "web:v2": 0}


def test_back_to_stable_after_the_switch_does_not_wait() -> None:
    """§24: as an abort, to any pod that serves."""
    world = switched_to_v2()
    world.slow = True
    world.by_image("web:v1").pods[0].available = False
    world.set_image("web:v1")
    for _ in range(3):
        world.once()
    assert shown(world)["active"] == "web:v1"


def test_fast_rollback_within_the_delay() -> None:
    """§10.11: no pause, switched and promoted in one status; the deadline goes."""
    world = paused_at_v2()
    world.patch_status(pauseConditions=None)
    world.settle()
    world.wait(20)
    world.events.clear()
    world.set_image("web:v1")
    world.once()
    assert deadline(world, "web:v1") is not None
    world.once()
    assert shown(world) == {"active": "web:v1", "preview": "web:v1"}
    assert world.status["phase"] == "Healthy"
    world.settle()
    assert deadline(world, "web:v1") is None
    assert any(event.message == "Rollout updated to revision 3" for event in world.events)
    assert any(event.message.endswith(": Fast rollback") for event in world.events)
    assert "RolloutPaused" not in world.reasons()
    world.pass_time(40)
    assert world.sizes() == {"web:v1": 3, "web:v2": 0}


def test_fast_rollback_waits_for_a_pod_as_long_as_the_delay_runs() -> None:
    """§24: Argo Rollouts forgets the delay after the first pass and pauses."""
    world = paused_at_v2()
    world.patch_status(pauseConditions=None)
    world.settle()
    world.slow = True
    world.by_image("web:v1").pods[0].available = False
    world.set_image("web:v1")
    for _ in range(5):
        world.once()
    assert shown(world)["active"] == "web:v2"
    assert "pauseConditions" not in world.status
    world.slow = False
    world.settle()
    assert shown(world)["active"] == "web:v1"
    assert world.status["phase"] == "Healthy"


def test_a_rollback_after_the_delay_pauses() -> None:
    """§10.11: an ordinary update."""
    world = paused_at_v2()
    world.patch_status(pauseConditions=None)
    world.settle()
    world.pass_time(31)
    world.set_image("web:v1")
    world.settle()
    assert world.status["message"] == "BlueGreenPause"
    assert shown(world)["active"] == "web:v2"
    world.patch_status(pauseConditions=None)
    world.settle()
    assert shown(world)["active"] == "web:v1"


def test_how_a_turned_update_is_counted() -> None:
    """§4.4: preset as soon as the running update turns round, by the way that it goes back."""
    strategy = {**MANUAL, "scaleDownDelaySeconds": 300}
    worlds = []
    for late in (False, True):
        world = paused_at_v2(strategy)
        world.patch_status(pauseConditions=None)
        world.settle()
        world.wait()
        world.set_image("web:v3")
        world.settle()
        world.wait(400 if late else 1)
        if late:
            world.settle()
        world.set_image("web:v1")
        world.settle()
        worlds.append(world)
    soon, late_one = worlds
    assert soon.status["duration"]["completionStatus"] == "FastRolledBack"
    assert shown(soon)["active"] == "web:v1"
    assert late_one.status["duration"]["completionStatus"] == "RolledBack"
    assert late_one.status["message"] == "BlueGreenPause"


def test_a_rollback_in_the_window() -> None:
    """§10.11, §11.4: no pause, but every pod first."""
    world = paused_at_v2(rollbackWindow={"revisions": 1})
    world.patch_status(pauseConditions=None)
    world.settle()
    world.pass_time(31)
    world.events.clear()
    world.set_image("web:v1")
    world.once()
    world.once()
    assert shown(world)["active"] == "web:v2"
    world.settle()
    assert shown(world)["active"] == "web:v1"
    assert "RolloutPaused" not in [event.reason for event in world.events]
    assert any(event.message.endswith(": Rollback within window") for event in world.events)


def test_a_retry_of_a_rollback_keeps_its_pause() -> None:
    """§10.11: the delay that an abort gave isn't the one of a version that served."""
    world = paused_at_v2()
    world.patch_status(pauseConditions=None)
    world.settle()
    world.pass_time(31)
    world.set_image("web:v1")
    world.settle()
    abort(world)
    assert deadline(world, "web:v1") is not None
    world.patch_status(abort=False)
    world.settle()
    assert world.status["message"] == "BlueGreenPause"
    assert shown(world)["active"] == "web:v2"


def test_an_abort_of_what_is_promoted_is_undone() -> None:
    """§7.5."""
    world = blue_green()
    abort(world)
    assert world.status["phase"] == "Healthy"
    assert "abort" not in world.status


def test_a_new_version_ends_an_abort() -> None:
    """§10.3."""
    world = paused_at_v2()
    abort(world)
    world.wait()
    world.set_image("web:v3")
    world.settle()
    assert world.status["message"] == "BlueGreenPause"
    assert shown(world) == {"active": "web:v1", "preview": "web:v3"}
    assert "abort" not in world.status


def test_full_promotion_out_of_an_abort() -> None:
    """§11.9."""
    world = paused_at_v2()
    abort(world)
    world.patch_status(promoteFull=True)
    world.settle()
    assert shown(world)["active"] == "web:v2"
    assert world.status["phase"] == "Healthy"


# --- analyses


def test_the_check_before_the_switch_is_waited_for() -> None:
    """§10.5, §10.8, §6: no verdict, no switch; nothing begins before all pods of the new version are there."""
    world = blue_green(CHECKED)
    world.set_image("web:v2")
    world.slow = True
    world.settle()
    assert world.runs.created == []
    world.slow = False
    world.settle()
    (name,) = world.runs.created
    assert name == f"web-{world.rollout.status.current_pod_hash}-2-pre"
    assert world.runs.kept[name]["metadata"]["labels"]["rollout-type"] == "PrePromotion"
    assert shown(world) == {"active": "web:v1", "preview": "web:v2"}
    assert "pauseConditions" not in world.status
    assert world.status["blueGreen"]["prePromotionAnalysisRunStatus"] == {"name": name, "status": "Running"}
    world.runs.say("PrePromotion", "Successful")
    world.settle()
    assert shown(world)["active"] == "web:v2"
    assert world.status["phase"] == "Healthy"
    assert world.status["blueGreen"]["prePromotionAnalysisRunStatus"]["status"] == "Successful"
    assert world.runs.created == [name]


def test_the_pause_follows_the_check() -> None:
    """§10.5."""
    world = blue_green({**CHECKED, "autoPromotionEnabled": False})
    world.set_image("web:v2")
    world.settle()
    assert "pauseConditions" not in world.status
    world.runs.say("PrePromotion", "Successful")
    world.settle()
    assert world.status["message"] == "BlueGreenPause"


def test_the_check_looks_at_a_preview_of_its_size() -> None:
    """§8.5, §10.8: at ``previewReplicaCount`` pods; the switch takes all of them."""
    world = blue_green({**CHECKED, "previewReplicaCount": 1})
    world.set_image("web:v2")
    world.settle()
    assert world.sizes()["web:v2"] == 1
    world.runs.say("PrePromotion", "Successful")
    world.settle()
    assert world.sizes()["web:v2"] == 3
    assert len(world.runs.created) == 1
    assert shown(world)["active"] == "web:v2"


@pytest.mark.parametrize("phase", ["Failed", "Error"])
@pytest.mark.parametrize("cause", ["", "too slow"])
def test_a_failed_check_before_the_switch(phase: str, cause: str) -> None:
    """§10.8: aborted, with a text that clients know."""
    world = blue_green(CHECKED)
    world.set_image("web:v2")
    world.settle()
    name = world.runs.say("PrePromotion", phase, cause)
    world.settle()
    text = "Rollout aborted update to revision 2: Blue/green pre-promotion analysis phase error/failed"
    assert world.status["message"] == f"RolloutAborted: {text}{f': {cause}' if cause else ''}"
    assert world.status["blueGreen"]["prePromotionAnalysisRunStatus"]["status"] == phase
    assert shown(world) == {"active": "web:v1", "preview": "web:v2"}
    world.patch_status(abort=False)
    world.once()
    world.once()
    assert "abort" not in world.status, "the attempt after a retry has its own run"
    world.settle()
    assert world.runs.created == [name, f"{name}.1"]
    world.runs.say("PrePromotion", "Successful")
    world.settle()
    assert world.status["phase"] == "Healthy"


def test_a_failed_check_after_the_switch() -> None:
    """§10.8: the Service goes back, and the old version was never touched."""
    world = switched_to_v2()
    assert world.status["message"] == "waiting for analysis to complete"
    world.pass_time(100)
    assert world.sizes() == {"web:v1": 3, "web:v2": 3}
    assert deadline(world, "web:v1") is None
    (name,) = world.runs.created
    assert name.endswith("-2-post")
    assert world.status["blueGreen"]["postPromotionAnalysisRunStatus"] == {"name": name, "status": "Running"}
    world.runs.say("PostPromotion", "Failed", "errors")
    world.settle()
    assert shown(world) == {"active": "web:v1", "preview": "web:v2"}
    assert world.status["message"].endswith("Blue/green post-promotion analysis phase error/failed: errors")


def test_the_old_version_waits_for_the_check_after_the_switch() -> None:
    """§8.7, §10.9."""
    world = switched_to_v2()
    world.runs.say("PostPromotion", "Successful")
    world.settle()
    assert world.status["phase"] == "Healthy"
    assert deadline(world, "web:v1") is not None
    world.pass_time(31)
    assert world.sizes() == {"web:v1": 0, "web:v2": 3}


@pytest.mark.parametrize("authority", [None, Authority("prod", fresh=True, applied=True)])
def test_an_inconclusive_check_asks_people(authority: Authority | None) -> None:
    """§10.8, §11.7: paused; a resume lets it be tried again, and promotes nothing."""
    world = blue_green(CHECKED)
    world.authority = authority
    world.set_image("web:v2")
    world.settle()
    world.runs.say("PrePromotion", "Inconclusive")
    world.settle()
    assert world.status["message"] == "InconclusiveAnalysisRun"
    world.patch_status(pauseConditions=None)
    world.settle()
    assert shown(world)["active"] == "web:v1"
    assert list(world.runs.phases().values()) == ["Inconclusive", "Running"]
    world.runs.say("PrePromotion", "Successful")
    world.settle()
    assert world.status["phase"] == "Healthy"


@pytest.mark.parametrize("automatic", [True, False])
def test_git_approves_the_switch_despite_an_inconclusive_check(automatic: bool) -> None:
    """docs/decisions.md §1.1: the gate is ``active``; approved, there is no other run and no other pause."""
    world = blue_green({**CHECKED, "autoPromotionEnabled": automatic})
    world.authority = Authority("prod", fresh=True, applied=True)
    world.set_image("web:v2")
    world.settle()
    world.runs.say("PrePromotion", "Inconclusive")
    world.settle()
    assert world.status["message"] == "InconclusiveAnalysisRun"
    world.authority = Authority("prod", fresh=False, applied=True, approved_active=True)
    world.settle()
    assert shown(world)["active"] == "web:v1"
    world.authority = Authority("prod", fresh=True, applied=True, approved_active=True)
    world.settle()
    assert world.status["phase"] == "Healthy"
    assert shown(world)["active"] == "web:v2"
    assert len(world.runs.created) == 1


def test_an_inconclusive_check_after_the_switch_is_made_again() -> None:
    """§10.8: an approval of the switch says nothing of what was measured after it."""
    world = switched_to_v2()
    world.authority = Authority("prod", fresh=True, applied=True, approved_active=True)
    world.runs.say("PostPromotion", "Inconclusive")
    world.settle()
    assert world.status["message"] == "InconclusiveAnalysisRun"
    world.patch_status(pauseConditions=None)
    world.settle()
    assert world.status["stableRS"] != world.status["currentPodHash"]
    world.runs.say("PostPromotion", "Successful")
    world.settle()
    assert world.status["phase"] == "Healthy"
