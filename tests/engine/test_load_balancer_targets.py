"""Old pods stay until load balancers serve the new ones behind a switched Service (docs/behaviour.md §14.5)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from engine.routed_world import RoutedWorld, routed
from engine.test_blue_green import blue_green, deadline
from engine.test_blue_green_ways_back import VERIFIED
from gitops_rollouts.api.names import SCALE_DOWN_DEADLINE
from gitops_rollouts.api.status import AlbStatus
from gitops_rollouts.engine.observed import RoutersSeen, TargetsSeen

WAITS = TargetsSeen("web", "target group t doesn't serve 1 of 3 targets yet: 10.0.0.3:80")
FAILED = TargetsSeen("web", error="Elastic Load Balancing could not be asked: Throttling")
SERVED = TargetsSeen("web")
NOT_SWITCHED = TargetsSeen("active", "Service `active` isn't switched yet", switched=False)


class Switched(RoutedWorld):
    """``said``: what load balancers say once the new version is the stable one."""

    said = SERVED

    def observe(self) -> Any:
        status = self.rollout.status
        promoted = status.stable_rs != "" and status.stable_rs == status.current_pod_hash
        self.routers = RoutersSeen(targets=self.said if promoted and len(self.sets) > 1 else None)
        return super().observe()


def promoted(said: TargetsSeen) -> Switched:
    world = Switched(routed(steps=[{"setWeight": 50}, {"pause": {}}]))
    world.settle()
    world.said = said
    world.update()
    world.events.clear()
    world.resume()
    return world


@pytest.mark.parametrize(("said", "reason"), [(WAITS, "TargetGroupUnverified"), (FAILED, "TargetGroupVerifyError")])
def test_weight_and_old_pods_stay_until_the_stable_services_pods_are_served(said: TargetsSeen, reason: str) -> None:
    world = promoted(said)
    assert world.status["stableRS"] == world.hash("web:v2")
    assert world.behind("stable") == "web:v2"
    assert world.routed[-1].canary.weight == 100
    assert world.sizes() == {"web:v1": 10, "web:v2": 10}
    assert world.by_image("web:v1").spec.annotations.get(SCALE_DOWN_DEADLINE) is None
    assert world.plans[-1].look_again == timedelta(seconds=10)
    assert reason in world.reasons()
    world.pass_time(600)
    assert world.sizes() == {"web:v1": 10, "web:v2": 10}
    world.events.clear()
    world.said = SERVED
    world.settle()
    assert "TargetGroupVerified" in world.reasons()
    assert world.routed[-1].canary.weight == 0
    world.pass_time(31)
    assert world.sizes() == {"web:v1": 0, "web:v2": 10}


def test_another_update_goes_on_while_the_last_one_waits() -> None:
    """The next version replaces the one whose pods aren't served yet."""
    world = promoted(WAITS)
    world.said = SERVED
    world.set_image("web:v3")
    world.settle()
    assert world.routed[-1].canary.weight == 50
    world.resume()
    assert world.status["phase"] == "Healthy"
    assert world.behind("stable") == "web:v3"


def test_blue_green_is_promoted_once_the_active_services_pods_are_served() -> None:
    world = blue_green()
    first = world.status["stableRS"]
    world.routers = RoutersSeen(targets=NOT_SWITCHED)
    world.set_image("web:v2")
    world.settle()
    assert world.behind("active") == "web:v2"
    assert world.status["stableRS"] == first
    assert deadline(world, "web:v1") is None
    assert not [reason for reason in world.reasons() if reason.startswith("TargetGroup")]
    world.routers = RoutersSeen(targets=WAITS)
    world.pass_time(600)
    assert world.status["stableRS"] == first
    assert world.sizes() == {"web:v1": 3, "web:v2": 3}
    assert "TargetGroupUnverified" in world.reasons()
    assert world.plans[-1].look_again == timedelta(seconds=10)
    world.routers = RoutersSeen(targets=SERVED)
    world.settle()
    assert world.status["stableRS"] == world.status["currentPodHash"]
    assert deadline(world, "web:v1") is not None


def test_no_analysis_after_the_switch_before_that() -> None:
    world = blue_green(VERIFIED)
    world.routers = RoutersSeen(targets=WAITS)
    world.set_image("web:v2")
    world.settle()
    assert world.behind("active") == "web:v2"
    assert world.runs.created == []
    world.routers = RoutersSeen(targets=SERVED)
    world.settle()
    assert [name.endswith("-2-post") for name in world.runs.created] == [True]


def test_load_balancers_are_shown_in_the_status() -> None:
    """§3 `alb`, `albs`: `alb` is the last one; nothing without them."""
    world = RoutedWorld(routed())
    world.settle()
    assert "alb" not in world.status
    world.routers = RoutersSeen(albs=(AlbStatus(ingress="one"), AlbStatus(ingress="two")))
    world.set_image("web:v2")
    world.settle()
    assert [one["ingress"] for one in world.status["albs"]] == ["one", "two"]
    assert world.status["alb"]["ingress"] == "two"
    world.routers = RoutersSeen()
    world.set_image("web:v3")
    world.settle()
    assert "albs" not in world.status


def test_a_load_balancer_that_isnt_there_is_told() -> None:
    """§15.3: LoadBalancerNotFound; the weight waits."""
    world = RoutedWorld(routed())
    world.settle()
    world.wait()
    missing = "load balancer of Ingress `edge` not found: it has no address yet"
    world.routers = RoutersSeen(verified=False, verifies=True, missing=missing)
    world.update()
    assert world.status["currentStepIndex"] == 0
    assert missing in [event.message for event in world.events if event.reason == "LoadBalancerNotFound"]
