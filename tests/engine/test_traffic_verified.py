"""Weights that a router checks count only once it has (docs/behaviour.md §2.5, §15.1 step 6)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from engine.routed_world import RoutedWorld, routed, running
from gitops_rollouts.engine.observed import RoutersSeen

ONE: list[dict[str, Any]] = [{"setWeight": 50}, {"pause": {}}]


class Verifying(RoutedWorld):
    """``said`` of each canary weight by its router; None: nothing yet."""

    said: dict[int, bool]

    def observe(self) -> Any:
        stored = self.rollout.status.canary.weights
        known = None if stored is None else self.said.get(stored.canary.weight)
        self.routers = RoutersSeen(verified=known, verifies=True)
        return super().observe()


def verifying(raw: dict[str, Any]) -> Verifying:
    world = Verifying(raw)
    world.said = {0: True}
    world.settle()
    world.wait()
    return world


def test_a_set_weight_step_waits_until_its_weight_is_seen() -> None:
    """§2.5: not before a later pass, and not while it is False; then it is asked again after 10 s."""
    world = verifying(routed(steps=ONE))
    world.said = {0: True, 50: False}
    world.update()
    assert world.routed[-1].canary.weight == 50
    assert world.status["currentStepIndex"] == 0
    assert world.status["canary"]["weights"]["verified"] is False
    assert world.plans[-1].look_again == timedelta(seconds=10)
    world.said[50] = True
    world.settle()
    assert world.status["canary"]["weights"]["verified"] is True
    assert world.status["currentStepIndex"] == 1


def test_a_change_of_weights_forgets_what_was_verified() -> None:
    """§15.1 step 5: the pass that changes them ends no step and is followed by another at once."""
    world = verifying(routed(steps=ONE))
    world.said = {0: True, 50: True}
    world.wait()
    world.set_image("web:v2")
    while world.routed[-1].canary.weight != 50:
        plan = world.once()
        world.run_pods()
    assert "verified" not in world.status["canary"]["weights"]
    assert world.status["currentStepIndex"] == 0
    assert plan.look_again == timedelta()
    world.once()
    assert world.status["currentStepIndex"] == 1


def test_at_full_weight_nothing_is_promoted_or_scaled_before_it_is_seen() -> None:
    """§15.1 step 6: "at weight == max"."""
    world = verifying(routed(steps=ONE, dynamicStableScale=True))
    world.said = {0: True, 50: True, 100: False}
    world.update()
    v1 = world.hash("web:v1")
    world.resume()
    assert world.routed[-1].canary.weight == 100
    assert world.status["stableRS"] == v1
    assert world.sizes() == {"web:v1": 5, "web:v2": 10}
    world.said[100] = True
    world.settle()
    assert world.status["stableRS"] == world.hash("web:v2")
    assert world.sizes() == {"web:v1": 0, "web:v2": 10}


def test_an_abort_waits_for_no_verification() -> None:
    """§11.3"""
    world = verifying(routed(steps=[{"setWeight": 100}, {"pause": {}}]))
    world.said = {100: False}
    world.update()
    assert world.status["currentStepIndex"] == 0
    world.abort()
    assert world.routed[-1].canary.weight == 0
    world.pass_time(31)
    assert world.sizes() == {"web:v1": 10, "web:v2": 0}


def test_stable_keeps_its_pods_while_lower_traffic_is_not_seen() -> None:
    """§8.4: a weight that isn't in effect yet takes no pods from the stable version."""
    world = verifying(routed(steps=ONE, dynamicStableScale=True))
    world.said = {0: True, 50: False}
    world.update()
    assert world.sizes() == {"web:v1": 10, "web:v2": 5}


def test_a_router_that_cannot_be_asked_is_told_of_and_waited_for() -> None:
    """§15.1 step 6, §4.3 WeightVerifyError: unknown weights are not right ones if a router would check them."""
    world = running(routed(steps=ONE))
    world.update()
    world.events.clear()
    world.routers = RoutersSeen(error="plugin test/router: connection refused", verifies=True)
    world.resume()
    assert world.routed[-1].canary.weight == 100
    assert world.status["stableRS"] == world.hash("web:v1")
    told = {event.message for event in world.events if event.reason == "WeightVerifyError"}
    assert told == {"plugin test/router: connection refused"}
    assert world.plans[-1].look_again == timedelta(seconds=10)
    world.routers = RoutersSeen()
    world.settle()
    assert world.status["phase"] == "Healthy"


def test_a_router_that_says_nothing_of_weights_holds_nothing() -> None:
    """§15.1 step 6: not applicable."""
    world = running(routed(steps=ONE))
    world.routers = RoutersSeen(verified=None, verifies=True)
    world.update()
    assert world.status["currentStepIndex"] == 1
    assert "verified" not in world.status["canary"]["weights"]
