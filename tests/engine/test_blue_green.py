"""Blue-green, the journeys of docs/behaviour.md §10: first deploy, update, pause, preview size, delay, restart."""

from __future__ import annotations

from typing import Any

import pytest

from engine.world import World, at, deployed, manifest
from gitops_rollouts.api.names import SCALE_DOWN_DEADLINE
from gitops_rollouts.engine.observed import Service

BOTH = {"activeService": "active", "previewService": "preview"}
MANUAL = {**BOTH, "autoPromotionEnabled": False}


def blue_green(strategy: dict[str, Any] | None = None, *, replicas: int = 3, **spec: Any) -> World:
    """The first version runs, and the Services select it."""
    world = deployed(manifest(replicas=replicas, blue_green=BOTH if strategy is None else strategy, **spec))
    assert world.behind("active") == "web:v1"
    return world


def paused_at_v2(strategy: dict[str, Any] | None = None, **spec: Any) -> World:
    """The update to v2 waits for a person."""
    world = blue_green(MANUAL if strategy is None else strategy, **spec)
    world.set_image("web:v2")
    world.settle()
    assert world.status["phase"] == "Paused"
    assert world.status["message"] == "BlueGreenPause"
    world.events.clear()
    return world


def shown(world: World) -> dict[str, str]:
    return {name: world.behind(name) for name in world.services}


def deadline(world: World, image: str) -> str | None:
    return world.by_image(image).spec.annotations.get(SCALE_DOWN_DEADLINE)


def test_first_deploy() -> None:
    """§10.12: stable in the very first full status, the active Service once everything is available; no pause."""
    world = World(manifest(replicas=3, blue_green=MANUAL))
    world.services = {name: Service(name, {"app": "web"}) for name in ("active", "preview")}
    world.once()
    assert world.sizes() == {"web:v1": 0}
    world.once()
    assert world.status["stableRS"] == world.status["currentPodHash"]
    assert world.sizes() == {"web:v1": 3}
    assert shown(world) == {"active": "", "preview": "web:v1"}
    assert world.status["message"] == "more replicas need to be updated"
    world.settle()
    assert world.status["phase"] == "Healthy"
    assert shown(world) == {"active": "web:v1", "preview": "web:v1"}
    assert all("pauseConditions" not in status for status in world.statuses)
    assert all(service.managed_by == "web" for service in world.services.values())
    reasons = [reason for reason in world.reasons() if reason != "SwitchService"]
    assert reasons == ["RolloutUpdated", "NewReplicaSetCreated", "ScalingReplicaSet", "RolloutCompleted"]


def test_first_deploy_event_order() -> None:
    """§4.3: what watchers see without a preview Service."""
    world = World(manifest(replicas=3, blue_green={"activeService": "active"}))
    world.services["active"] = Service("active", {"app": "web"})
    world.settle()
    expected = ["RolloutUpdated", "NewReplicaSetCreated", "ScalingReplicaSet", "RolloutCompleted", "SwitchService"]
    assert world.reasons() == expected
    world.wait()
    world.set_image("web:v2")
    world.settle()
    assert world.reasons() == [
        "RolloutUpdated", "NewReplicaSetCreated", "RolloutNotCompleted", "ScalingReplicaSet", "SwitchService",
        "RolloutCompleted",
    ]  # fmt: skip


def test_automatic_update() -> None:
    """§10.6, §10.9: switch, selector, promotion and Healthy land in one status; the old version stays for 30 s."""
    world = blue_green()
    old = world.status["currentPodHash"]
    world.set_image("web:v2")
    world.once()
    world.once()
    assert world.sizes() == {"web:v1": 3, "web:v2": 0}
    assert shown(world) == {"active": "web:v1", "preview": "web:v2"}
    assert world.status["message"] == "more replicas need to be updated"
    assert world.status["availableReplicas"] == 3
    world.settle()
    assert world.status["phase"] == "Healthy"
    new = world.status["currentPodHash"]
    switched = next(status for status in world.statuses if status["blueGreen"].get("activeSelector") == new)
    assert switched["stableRS"] == new
    assert switched["phase"] == "Healthy"
    assert switched["selector"] == f"app=web,rollouts-pod-template-hash={new}"
    assert switched["HPAReplicas"] == switched["readyReplicas"] == switched["availableReplicas"] == 3
    assert switched["replicas"] == 6
    assert switched["duration"]["completionStatus"] == "Promoted"
    completed = next(event for event in world.events if event.reason == "RolloutCompleted")
    assert completed.message == f"Rollout completed update to revision 2 ({new}): Completed blue-green update"
    switch = next(event for event in world.events if "'active'" in event.message)
    assert switch.message == f"Switched selector for service 'active' from '{old}' to '{new}'"
    assert world.sizes() == {"web:v1": 3, "web:v2": 3}
    assert deadline(world, "web:v1") == at(31)
    assert world.condition("Healthy")["status"] == "True"  # type: ignore[index]
    world.pass_time(29)
    assert world.sizes() == {"web:v1": 3, "web:v2": 3}
    world.pass_time(2)
    assert world.sizes() == {"web:v1": 0, "web:v2": 3}
    assert deadline(world, "web:v1") is None


def test_the_delay_is_looked_at_in_time() -> None:
    """§8.7: nothing else wakes a healthy Rollout."""
    world = blue_green()
    world.set_image("web:v2")
    world.settle()
    again = world.once().look_again
    assert again is not None
    assert again.total_seconds() == 30


def test_a_person_resumes() -> None:
    """§10.5: paused with everything up; the preview is shown; a resume switches and promotes in one status."""
    world = paused_at_v2()
    assert world.sizes() == {"web:v1": 3, "web:v2": 3}
    assert shown(world) == {"active": "web:v1", "preview": "web:v2"}
    assert world.status["controllerPause"] is True
    assert world.status["duration"]["manualPauseStartedAt"] == at(1)
    assert world.condition("Paused")["status"] == "True"  # type: ignore[index]
    world.wait(5)
    world.patch_status(pauseConditions=None)
    world.once()
    assert world.condition("Progressing")["reason"] == "RolloutResumed"  # type: ignore[index]
    assert world.status["controllerPause"] is True
    world.once()
    assert "controllerPause" not in world.status
    assert shown(world) == {"active": "web:v2", "preview": "web:v2"}
    assert world.status["phase"] == "Healthy"
    assert world.status["duration"]["totalManualPauseDurationSeconds"] == 5
    assert "RolloutResumed" not in world.reasons()


def test_a_resume_is_not_lost_while_a_pod_is_down() -> None:
    """§10.5: what a person decided holds until it can be acted on (Argo Rollouts would pause again)."""
    world = paused_at_v2()
    world.slow = True
    world.by_image("web:v2").pods[0].available = False
    world.once()
    world.patch_status(pauseConditions=None)
    for _ in range(4):
        world.once()
    assert shown(world)["active"] == "web:v1"
    assert world.status["controllerPause"] is True
    assert "pauseConditions" not in world.status
    world.slow = False
    world.settle()
    assert world.status["phase"] == "Healthy"
    assert shown(world)["active"] == "web:v2"


def test_the_pause_of_auto_promotion_seconds() -> None:
    """§2.3: it ends by itself, at its time and not before."""
    world = blue_green({**BOTH, "autoPromotionSeconds": 60})
    world.set_image("web:v2")
    world.settle()
    assert world.status["message"] == "BlueGreenPause"
    assert world.once().look_again is not None
    assert "manualPauseStartedAt" not in world.status["duration"]
    world.pass_time(59)
    assert shown(world)["active"] == "web:v1"
    world.pass_time(1)
    assert shown(world)["active"] == "web:v2"
    assert world.status["phase"] == "Healthy"
    assert [reason for reason in world.reasons() if reason.startswith("RolloutRes")] == ["RolloutResumed"]


def test_a_person_may_end_a_timed_pause() -> None:
    """§24: Argo Rollouts starts its clock anew instead."""
    world = blue_green({**BOTH, "autoPromotionSeconds": 60})
    world.set_image("web:v2")
    world.settle()
    world.patch_status(pauseConditions=None)
    world.settle()
    assert shown(world)["active"] == "web:v2"
    assert world.status["phase"] == "Healthy"


def test_auto_promotion_seconds_mean_nothing_where_people_decide() -> None:
    """§2.3: with ``autoPromotionEnabled: false`` only a person ends the pause."""
    world = paused_at_v2({**MANUAL, "autoPromotionSeconds": 60})
    world.pass_time(600)
    assert shown(world)["active"] == "web:v1"
    assert world.status["phase"] == "Paused"


@pytest.mark.parametrize("manual", [True, False])
def test_the_preview_has_its_own_size(manual: bool) -> None:
    """§8.5, §10.6: paused with one pod; then full, then switched."""
    strategy = {**BOTH, "previewReplicaCount": 1} | ({"autoPromotionEnabled": False} if manual else {})
    world = blue_green(strategy)
    world.set_image("web:v2")
    sizes = []
    for _ in range(20):
        world.once()
        world.run_pods()
        sizes.append(world.sizes()["web:v2"] if len(world.sizes()) > 1 else 0)
        if manual and world.status["phase"] == "Paused":
            break
    if manual:
        assert max(sizes) == 1
        assert "scaleUpPreviewCheckPoint" not in world.status["blueGreen"]
        world.patch_status(pauseConditions=None)
        world.once()
        world.once()
        assert world.status["blueGreen"]["scaleUpPreviewCheckPoint"] is True
        assert "controllerPause" not in world.status
        assert shown(world)["active"] == "web:v1"
    world.settle()
    assert world.status["phase"] == "Healthy"
    assert shown(world)["active"] == "web:v2"
    assert world.sizes() == {"web:v1": 3, "web:v2": 3}
    assert "scaleUpPreviewCheckPoint" not in world.status["blueGreen"]
    checked = [status["blueGreen"].get("scaleUpPreviewCheckPoint") for status in world.statuses]
    assert True in checked


def test_a_paused_spec_keeps_the_traffic_and_the_preview() -> None:
    """§10.2, §10.6: sizes go on, no Service moves."""
    world = blue_green()
    world.edit(paused=True)
    world.settle()
    world.set_image("web:v2")
    world.settle()
    assert world.status["message"] == "manually paused"
    assert world.sizes() == {"web:v1": 3, "web:v2": 3}
    assert shown(world) == {"active": "web:v1", "preview": "web:v1"}
    world.edit(paused=False)
    world.settle()
    assert shown(world) == {"active": "web:v2", "preview": "web:v2"}
    assert world.status["phase"] == "Healthy"


def test_full_promotion_needs_no_pause() -> None:
    """§10.6, §11.9."""
    world = paused_at_v2({**MANUAL, "previewReplicaCount": 1})
    assert world.sizes() == {"web:v1": 3, "web:v2": 1}
    world.patch_status(promoteFull=True)
    world.settle()
    assert world.status["phase"] == "Healthy"
    assert shown(world)["active"] == "web:v2"
    assert "promoteFull" not in world.status
    assert world.status["duration"]["completionStatus"] == "FastPromoted"
    assert any(event.message.endswith(": Full promotion requested") for event in world.events)


def test_several_old_versions_wait_at_once() -> None:
    """§8.7: each for its own time, the newest ones as many as the limit allows."""
    world = blue_green({**BOTH, "scaleDownDelaySeconds": 100, "scaleDownDelayRevisionLimit": 2})
    for number in (2, 3, 4):
        world.set_image(f"web:v{number}")
        world.settle()
        world.wait(10)
    world.settle()
    assert world.sizes() == {"web:v1": 0, "web:v2": 3, "web:v3": 3, "web:v4": 3}
    assert (deadline(world, "web:v2"), deadline(world, "web:v3")) == (at(111), at(121))
    world.edit(replicas=5)
    world.settle()
    assert world.sizes() == {"web:v1": 0, "web:v2": 5, "web:v3": 5, "web:v4": 5}
    world.pass_time(85)
    assert world.sizes() == {"web:v1": 0, "web:v2": 0, "web:v3": 5, "web:v4": 5}
    world.pass_time(10)
    assert world.sizes() == {"web:v1": 0, "web:v2": 0, "web:v3": 0, "web:v4": 5}


def test_a_delay_of_nothing() -> None:
    """§24: down at once (Argo Rollouts keeps the old version for ever and spins)."""
    world = blue_green({**BOTH, "scaleDownDelaySeconds": 0})
    world.set_image("web:v2")
    world.settle()
    assert world.sizes() == {"web:v1": 0, "web:v2": 3}


def test_a_replaced_preview_goes_after_its_delay() -> None:
    """§8.7: a superseded preview is kept as small as it was."""
    world = paused_at_v2({**MANUAL, "previewReplicaCount": 1})
    world.wait()
    world.set_image("web:v3")
    world.settle()
    assert world.sizes() == {"web:v1": 3, "web:v2": 1, "web:v3": 1}
    assert shown(world) == {"active": "web:v1", "preview": "web:v3"}
    world.pass_time(31)
    assert world.sizes() == {"web:v1": 3, "web:v2": 0, "web:v3": 1}
    assert world.status["message"] == "BlueGreenPause"


def test_a_resize_in_the_middle() -> None:
    """§7.6: sizes alone; the preview keeps its own."""
    world = paused_at_v2({**MANUAL, "previewReplicaCount": 1})
    world.edit(replicas=5)
    plan = world.once()
    assert not any(type(action).__name__ == "PointService" for action in plan.actions)
    world.settle()
    assert world.sizes() == {"web:v1": 5, "web:v2": 1}
    assert world.status["phase"] == "Paused"
    assert world.status["availableReplicas"] == 5
    world.patch_status(pauseConditions=None)
    world.settle()
    assert world.sizes() == {"web:v1": 5, "web:v2": 5}
    assert shown(world)["active"] == "web:v2"


def test_a_resize_to_nothing_and_back() -> None:
    """§7.6: no division by anything, and the Services stay where they are."""
    world = blue_green()
    world.edit(replicas=0)
    world.settle()
    assert world.status["phase"] == "Healthy"
    assert world.sizes() == {"web:v1": 0}
    world.edit(replicas=2)
    world.settle()
    assert world.status["phase"] == "Healthy"
    assert shown(world)["active"] == "web:v1"


def test_restart() -> None:
    """§12: one pod in four at a time, by ``blueGreen.maxUnavailable``; while it lasts the update goes on."""
    world = blue_green(replicas=4)
    world.wait(10)
    old = {pod.name for pod in world.by_image("web:v1").pods}
    world.edit(restartAt=at(11))
    world.set_image("web:v2")
    for _ in range(40):
        before = {pod.name for kept in world.sets.values() for pod in kept.pods}
        world.once()
        assert len(before - {pod.name for kept in world.sets.values() for pod in kept.pods}) <= 1
        world.run_pods()
        world.run_pods()
    assert not old & {pod.name for pod in world.by_image("web:v1").pods}
    assert world.status["restartedAt"] == at(11)
    assert world.status["phase"] == "Healthy"
    assert shown(world)["active"] == "web:v2"


def test_history() -> None:
    """§2.1: the oldest empty ones go."""
    world = blue_green({**BOTH, "scaleDownDelaySeconds": 0}, revisionHistoryLimit=1)
    for number in (2, 3, 4):
        world.set_image(f"web:v{number}")
        world.settle()
        world.wait()
    assert sorted(world.sizes()) == ["web:v3", "web:v4"]


def test_a_broken_version_times_out_and_never_serves() -> None:
    """§4.1, §11.2: Degraded, and with progressDeadlineAbort aborted."""
    world = blue_green(progressDeadlineSeconds=60, progressDeadlineAbort=True)
    world.set_image("web:broken")
    world.settle()
    assert shown(world) == {"active": "web:v1", "preview": "web:broken"}
    assert world.status["phase"] == "Progressing"
    world.pass_time(62)
    assert world.status["phase"] == "Degraded"
    assert world.status["abort"] is True
    assert world.sizes() == {"web:v1": 3, "web:broken": 3}
    world.pass_time(31)
    assert world.sizes() == {"web:v1": 3, "web:broken": 0}
    assert shown(world)["active"] == "web:v1"


@pytest.mark.parametrize("hashed", [False, True])
def test_from_canary_to_blue_green_and_back(hashed: bool) -> None:
    """§10.12, §24: the same template needs no new attempt, and an unknown hash behind a Service does no harm."""
    world = deployed(manifest(replicas=3))
    for name in ("active", "preview"):
        world.services[name] = Service(name, {"app": "web"} | ({"rollouts-pod-template-hash": "f00"} if hashed else {}))
    revision = world.raw["metadata"]["annotations"]
    world.edit(strategy={"blueGreen": MANUAL})
    world.settle()
    assert world.status["phase"] == "Healthy"
    assert shown(world) == {"active": "web:v1", "preview": "web:v1"}
    assert world.raw["metadata"]["annotations"] == revision
    assert "currentStepHash" not in world.status
    world.edit(strategy={"canary": {}})
    world.settle()
    assert world.status["phase"] == "Healthy"
    assert world.status["blueGreen"] == {}


def test_from_a_canary_in_its_middle() -> None:
    """§24: a Service without a hash gets the stable version first, and the update keeps its pause."""
    world = deployed(manifest(replicas=4, steps=[{"setWeight": 50}, {"pause": {}}]))
    world.set_image("web:v2")
    world.settle()
    for name in ("active", "preview"):
        world.services[name] = Service(name, {"app": "web"})
    world.edit(strategy={"blueGreen": MANUAL})
    world.settle()
    assert world.status["message"] == "BlueGreenPause"
    assert shown(world) == {"active": "web:v1", "preview": "web:v2"}
    assert world.sizes() == {"web:v1": 4, "web:v2": 4}
    world.patch_status(pauseConditions=None)
    world.settle()
    assert shown(world)["active"] == "web:v2"
    assert world.status["phase"] == "Healthy"


def test_hostile_numbers() -> None:
    """Nothing that parses makes a pass fail."""
    numbers = dict.fromkeys(("previewReplicaCount", "autoPromotionSeconds", "scaleDownDelaySeconds"), -5)
    limits = {"abortScaleDownDelaySeconds": -1, "scaleDownDelayRevisionLimit": -1, "maxUnavailable": "nonsense"}
    world = blue_green({**BOTH, **numbers, **limits})
    world.set_image("web:v2")
    world.settle()
    kept = world.by_image("web:v1")
    assert world.status["phase"] == "Healthy"
    object.__setattr__(kept.spec, "annotations", {**kept.spec.annotations, SCALE_DOWN_DEADLINE: "never", "x": "y"})
    world.edit(replicas=4)
    world.settle()
    assert world.sizes() == {"web:v1": 0, "web:v2": 4}
