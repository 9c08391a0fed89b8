"""canary.replicaProgressThreshold: how much of the new version must be available to go on (docs/behaviour.md §8.6)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.engine.world import World, deployed, manifest

STEPS = [{"setWeight": 50}, {"pause": {}}]


def at_the_first_step(threshold: dict[str, Any] | None) -> World:
    """Ten pods, five of them new and none of those available."""
    canary = {"maxUnavailable": "100%", **({} if threshold is None else {"replicaProgressThreshold": threshold})}
    world = deployed(manifest(replicas=10, steps=STEPS, canary=canary))
    world.set_image("web:broken")
    world.settle()
    assert world.sizes() == {"web:v1": 5, "web:broken": 5}
    return world


def make_available(world: World, count: int) -> None:
    (new,) = [each for each in world.sets.values() if each.broken]
    for pod in new.pods[:count]:
        pod.available = True
    world.settle()


@pytest.mark.parametrize(
    ("threshold", "enough"),
    [
        (None, 5),
        ({"type": "Percent", "value": 100}, 5),
        ({"type": "Percent", "value": 60}, 3),
        ({"type": "Percent", "value": 61}, 4),
        ({"type": "Pods", "value": 2}, 2),
        ({"type": "Percent", "value": -1}, 5),
    ],
)
def test_a_step_is_complete_once_so_many_are_available(threshold: dict[str, Any] | None, enough: int) -> None:
    world = at_the_first_step(threshold)
    make_available(world, enough - 1)
    assert world.status["currentStepIndex"] == 0
    make_available(world, enough)
    assert (world.status["currentStepIndex"], world.status["phase"]) == (1, "Paused")


def test_nothing_available_is_enough_for_none() -> None:
    """A person who asks for none gets none: value 0 doesn't wait."""
    assert at_the_first_step({"type": "Percent", "value": 0}).status["currentStepIndex"] == 1


def test_promotion_asks_for_no_more_than_the_threshold() -> None:
    world = at_the_first_step({"type": "Percent", "value": 80})
    make_available(world, 4)
    world.patch_status(pauseConditions=None)
    world.settle()
    assert world.status["stableRS"] != world.status["currentPodHash"]
    make_available(world, 7)
    assert world.status["stableRS"] != world.status["currentPodHash"]
    make_available(world, 8)
    assert world.status["stableRS"] == world.status["currentPodHash"]
