"""A promotion of a Rollout that is spec.paused: the pause goes first, spec.paused after (docs/behaviour.md §24)."""

from __future__ import annotations

import pytest

from tests.engine.world import deployed, manifest

STEPS = [{"setWeight": 20}, {"pause": {}}, {"setWeight": 60}, {"pause": {}}]


@pytest.mark.parametrize("passes_between", [0, 1, 5])
def test_it_goes_on_however_many_passes_see_it_half_done(passes_between: int) -> None:
    world = deployed(manifest(replicas=5, steps=STEPS))
    world.set_image("web:v2")
    world.settle()
    world.edit(paused=True)
    world.settle()
    assert (world.status["message"], world.status["currentStepIndex"]) == ("manually paused", 1)
    world.patch_status(pauseConditions=None)
    for _ in range(passes_between):
        world.once()
    assert world.status["currentStepIndex"] == 1
    assert world.sizes() == {"web:v1": 4, "web:v2": 1}
    world.edit(paused=False)
    world.settle()
    assert (world.status["phase"], world.status["currentStepIndex"]) == ("Paused", 3)
    world.patch_status(pauseConditions=None)
    world.settle()
    assert world.status["phase"] == "Healthy"
    assert "controllerPause" not in world.status


def test_the_flag_does_not_outlive_its_update() -> None:
    """spec.paused on a promoted Rollout, an aborted one, and one with another template keeps no flag."""
    world = deployed(manifest(replicas=5, steps=STEPS))
    world.set_image("web:v2")
    world.settle()
    world.edit(paused=True)
    world.patch_status(pauseConditions=None)
    world.settle()
    assert world.status["controllerPause"] is True
    world.set_image("web:v3")
    world.settle()
    assert "controllerPause" not in world.status
    world.edit(paused=False)
    world.settle()
    assert (world.status["phase"], world.status["currentStepIndex"]) == ("Paused", 1)
    world.edit(paused=True)
    world.patch_status(pauseConditions=None, abort=True)
    world.settle()
    assert world.status["phase"] == "Degraded"
    assert "controllerPause" not in world.status


@pytest.mark.parametrize("passes_between", [0, 1, 5])
def test_blue_green_switches_once_it_may(passes_between: int) -> None:
    """The same for the pause before the switch."""
    strategy = {"activeService": "active", "previewService": "preview", "autoPromotionEnabled": False}
    world = deployed(manifest(replicas=2, blue_green=strategy))
    world.set_image("web:v2")
    world.settle()
    assert world.status["message"] == "BlueGreenPause"
    world.edit(paused=True)
    world.settle()
    world.patch_status(pauseConditions=None)
    for _ in range(passes_between):
        world.once()
    assert world.behind("active") == "web:v1"
    world.edit(paused=False)
    world.settle()
    assert world.behind("active") == "web:v2"
    assert world.status["phase"] == "Healthy"
    assert "controllerPause" not in world.status
