"""Somebody writes while a pass is on its way: what they said isn't lost (docs/behaviour.md §7, §11)."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from engine.lives import RoughWorld, glance
from engine.routed_world import routed
from engine.world import manifest

STEPS: list[dict[str, Any]] = [{"setWeight": 40}, {"pause": {"duration": "5s"}}, {"setWeight": 80}]
KINDS: dict[str, dict[str, Any]] = {
    "canary": manifest(replicas=5, steps=STEPS),
    "routed": routed(replicas=5, steps=STEPS),
    "dynamic": routed(replicas=5, steps=STEPS, dynamicStableScale=True),
    "blue-green": manifest(
        replicas=5, blue_green={"activeService": "active", "previewService": "preview", "autoPromotionSeconds": 5}
    ),
}
_MOST_PASSES = 60


def updating(kind: str) -> RoughWorld:
    """v1 runs, and v2 was just asked for."""
    world = RoughWorld(copy.deepcopy(KINDS[kind]))
    world.settle()
    world.wait()
    world.set_image("web:v2")
    return world


def on(world: RoughWorld, passes: int) -> bool:
    """So many passes of the update, with pods and time in between. Whether it is over."""
    for _ in range(passes):
        world.once()
        world.run_pods()
        world.wait(2)
    return bool(world.status.get("stableRS") == world.status.get("currentPodHash") == hash_of(world, "web:v2"))


def hash_of(world: RoughWorld, image: str) -> str:
    found = [kept.spec for kept in world.sets.values() if kept.spec.name == _name(world, image)]
    return found[0].labels["rollouts-pod-template-hash"] if found else ""


def _name(world: RoughWorld, image: str) -> str:
    return world.by_image(image).spec.name if image in world.sizes() else ""


@pytest.mark.parametrize("kind", KINDS)
def test_an_abort_is_never_lost(kind: str) -> None:
    """§11.2: an abort between look and write of each pass of an update, the promoting one too, ends at v1.

    Not of one that the status doesn't know of yet: what it shows is the former one, and beginning anew ends its abort.
    """
    for passes in range(1, _MOST_PASSES):
        world = updating(kind)
        if on(world, passes):
            assert passes > 4
            break
        if world.status["currentPodHash"] != hash_of(world, "web:v2"):
            continue
        world.between = lambda world=world: world.patch_status(abort=True)  # type: ignore[misc]
        world.once()
        assert world.status["abort"] is True
        for _ in range(2):
            world.settle()
            world.wait(700)
        old, seen = hash_of(world, "web:v1"), glance(world)
        assert (world.status["phase"], world.status["stableRS"]) == ("Degraded", old), (passes, world.status)
        assert seen.serving(old) == 5
        assert not seen.told or {pod_hash for pod_hash, share in seen.told.items() if share} == {old}
        assert seen.services["active"] in ("", old)
    else:
        raise AssertionError(f"not over after {_MOST_PASSES} passes")


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_version_is_never_lost(kind: str) -> None:
    """§9.1, §10.2: another image between look and write of each pass begins anew, and is what serves in the end."""
    for passes in range(1, _MOST_PASSES):
        world = updating(kind)
        if on(world, passes):
            break
        world.between = lambda world=world: world.set_image("web:v3")  # type: ignore[misc]
        world.once()
        for _ in range(3):
            world.settle()
            world.wait(700)
        newest, seen = hash_of(world, "web:v3"), glance(world)
        assert (world.status["phase"], world.status["stableRS"]) == ("Healthy", newest), (passes, world.status)
        assert {pod_hash for pod_hash, size in seen.sizes.items() if size} == {newest}
        assert seen.services["active"] in ("", newest)
    else:
        raise AssertionError(f"not over after {_MOST_PASSES} passes")
