"""What random lives have found, told as short as it can be."""

from __future__ import annotations

from typing import Any

import pytest

from engine.lives import RoughWorld
from engine.world import deployed, manifest
from gitops_rollouts.engine.observed import Authority


def test_an_index_below_zero_while_git_holds_an_edit() -> None:
    """A client wrote nonsense, and somebody edited outside Git: nothing to do, but no crash either (§3, §7)."""
    world = deployed(manifest(replicas=2), authority=Authority("prod", fresh=True, applied=True))
    world.authority = Authority("prod", fresh=True, applied=False)
    world.patch_status(currentStepIndex=-7)
    world.edit(replicas=3)
    world.settle()
    assert world.sizes() == {"web:v1": 3}


PING_PONG = {
    "trafficRouting": {"plugins": {"example/router": {}}},
    "pingPong": {"pingService": "ping", "pongService": "pong"},
}


@pytest.mark.parametrize("told", [{}, {"stablePingPong": "pong"}])
def test_ping_and_pong_keep_their_sides_when_the_status_loses_them(told: dict[str, Any]) -> None:
    """Somebody replaced ``status.canary``: the Service that has the traffic isn't given to pods that don't exist."""
    world = RoughWorld(manifest(replicas=2, steps=[{"setWeight": 50}, {"pause": {}}], canary=PING_PONG))
    world.settle()
    assert world.status["canary"]["stablePingPong"] == "ping"
    stable = world.hash_behind("ping")
    world.patch_status(canary=told)
    world.wait()
    world.set_image("web:v2")
    for _ in range(12):
        world.once()
        assert world.hash_behind("ping") == stable
        world.run_pods()
    assert world.status["canary"]["stablePingPong"] == "ping"
    assert world.hash_behind("pong") == world.status["currentPodHash"]


def test_a_side_of_ping_pong_keeps_its_traffic_until_the_routers_know_of_the_promotion() -> None:
    """A bigger size keeps the weights as they are, then a third version comes: it isn't given all traffic (§14.3)."""
    world = RoughWorld(manifest(replicas=2, canary=PING_PONG))
    world.settle()
    world.wait()
    world.set_image("web:v2")
    first = world.hash_behind("ping")
    while world.status["stableRS"] == first:
        world.once()
        world.run_pods()
    assert world.status["canary"]["stablePingPong"] == "pong"
    world.slow = True
    world.edit(replicas=5)
    world.wait()
    world.set_image("web:v3")
    for _ in range(12):
        world.once()
        assert world.hash_behind("ping") == first
    world.slow = False
    world.settle()
    assert world.status["phase"] == "Healthy"
    assert world.told_by_service()[world.status["stableRS"]] == 100
