"""A status that another library wrote: its step hash may differ, the steps being the same (docs/behaviour.md §6)."""

from __future__ import annotations

from typing import Any

import pytest

from engine.world import World, deployed, manifest
from gitops_rollouts.engine.observed import Service

GATED = [{"setWeight": 20}, {"pause": {}}, {"setWeight": 60}, {"pause": {}}]


def at_gate(**canary: Any) -> World:
    world = deployed(manifest(replicas=5, steps=GATED, canary=canary))
    world.set_image("web:v2")
    world.settle()
    assert world.status["currentStepIndex"] == 1
    world.reasons()
    return world


def test_another_librarys_step_hash_of_the_same_generation_is_replaced_and_nothing_else_moves() -> None:
    world = at_gate()
    before = {**world.status}
    world.patch_status(currentStepHash="foreign")
    world.settle()
    assert world.status == before
    assert world.reasons() == []


def test_after_that_a_resize_still_changes_no_step() -> None:
    """The stored hash is ours then, so that a later generation with the same steps is known by it."""
    world = at_gate()
    world.patch_status(currentStepHash="foreign")
    world.settle()
    world.edit(replicas=10)
    world.settle()
    assert world.status["currentStepIndex"] == 1
    assert "RolloutNotCompleted" not in world.reasons()


def test_other_steps_begin_anew_whoever_hashed_the_former_ones() -> None:
    """§9.1"""
    world = at_gate()
    world.patch_status(pauseConditions=None)
    world.settle()
    assert world.status["currentStepIndex"] == 3
    world.patch_status(currentStepHash="foreign")
    world.set_steps([{"setWeight": 20}, {"pause": {}}, {"setWeight": 40}, {"pause": {}}])
    world.settle()
    assert world.status["currentStepIndex"] == 1


@pytest.mark.parametrize("hashed", ["foreign", None])
def test_a_generation_that_was_only_seen_as_invalid_tells_nothing_of_its_steps(hashed: str | None) -> None:
    """§4.1 InvalidSpec: the write observes the generation and keeps the hash of the steps before it."""
    world = at_gate()
    world.patch_status(pauseConditions=None)
    world.settle()
    if hashed:
        world.patch_status(currentStepHash=hashed)
    other = [{"setWeight": 20}, {"pause": {}}, {"setWeight": 40}, {"pause": {}}]
    world.edit(strategy={"canary": {"steps": other, "canaryService": "late"}})
    world.settle()
    assert world.status["phase"] == "Degraded"
    assert world.status["observedGeneration"] == str(world.raw["metadata"]["generation"])
    world.services["late"] = Service("late", {"app": "web"}, None)
    world.settle()
    assert world.status["currentStepIndex"] == 1
