"""What must not put an unproven version, or none, behind the active Service (docs/behaviour.md §10, §11.4)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.test_blue_green import BOTH, MANUAL, shown
from engine.test_blue_green_git import NOTHING, allow, at_gate
from engine.world import World, deployed, manifest
from gitops_rollouts.api.names import POD_TEMPLATE_HASH
from gitops_rollouts.engine.observed import Service
from gitops_rollouts.engine.step import step


def at_pause() -> World:
    world = deployed(manifest(replicas=3, blue_green=MANUAL))
    world.set_image("web:v2")
    world.settle()
    assert world.status["message"] == "BlueGreenPause"
    return world


def without_hash(world: World) -> None:
    world.services["active"] = Service("active", {"app": "web"})


def no_pod_available(world: World, image: str) -> None:
    for pod in world.by_image(image).pods:
        pod.available = False


@pytest.mark.parametrize("managed", [False, True])
def test_a_status_that_is_lost_promotes_no_preview(managed: bool) -> None:
    """§10.12: a backup brings back everything but the status; the active Service still tells what is stable."""
    world = at_gate() if managed else at_pause()
    stable = world.status["stableRS"]
    world.raw["status"] = {}
    world.settle()
    assert shown(world)["active"] == "web:v1"
    assert world.status["stableRS"] == stable
    assert world.status["message"] == "BlueGreenPause"
    assert world.sizes() == {"web:v1": 3, "web:v2": 3}


def test_a_status_that_is_lost_at_rest_comes_back() -> None:
    world = deployed(manifest(replicas=3, blue_green=MANUAL))
    before = {key: world.status[key] for key in ("stableRS", "currentPodHash", "phase")}
    world.raw["status"] = {}
    world.settle()
    assert {key: world.status[key] for key in before} == before


def test_a_service_that_selects_a_version_without_pods_gets_the_stable_one() -> None:
    """§10.12: an old manifest of the Service was applied again in the middle of an update."""
    world = deployed(manifest(replicas=3, blue_green=BOTH))
    world.set_image("web:v2")
    world.settle()
    world.pass_time(60)
    world.wait()
    world.edit(strategy={"blueGreen": MANUAL})
    world.set_image("web:v3")
    world.settle()
    assert world.sizes() == {"web:v1": 0, "web:v2": 3, "web:v3": 3}
    service = world.services["active"]
    gone = world.by_image("web:v1").spec.labels[POD_TEMPLATE_HASH]
    world.services["active"] = replace(service, selector={**service.selector, POD_TEMPLATE_HASH: gone})
    world.once()
    assert shown(world)["active"] == "web:v2"
    world.settle()
    assert world.sizes() == {"web:v1": 0, "web:v2": 3, "web:v3": 3}
    assert world.status["message"] == "BlueGreenPause"


def test_the_gate_holds_while_the_stable_version_is_down() -> None:
    """§10.12: a Service that lost its hash while stable has no pod for a moment is no first deploy."""
    world = at_gate()
    without_hash(world)
    no_pod_available(world, "web:v1")
    world.once()
    world.once()
    world.settle()
    assert shown(world)["active"] == "web:v1"
    assert world.status["message"] == "BlueGreenPause"


def test_the_gate_holds_at_size_0() -> None:
    world = at_gate()
    world.edit(replicas=0)
    world.settle()
    without_hash(world)
    world.settle()
    world.edit(replicas=3)
    world.settle()
    assert shown(world)["active"] == "web:v1"
    assert world.status["message"] == "BlueGreenPause"


def test_a_broken_first_version_is_replaced_without_a_gate() -> None:
    """§10.12: it never served, so there is nothing to be careful of."""
    world = World(manifest(replicas=3, image="web:broken", blue_green=MANUAL), authority=NOTHING)
    for name in ("active", "preview"):
        world.services[name] = Service(name, {"app": "web"})
    world.settle()
    world.wait()
    world.set_image("web:v2")
    world.settle()
    assert shown(world)["active"] == "web:v2"


def test_a_window_of_ones_own_lets_no_unproven_version_past_the_gate() -> None:
    """§11.4: v2 was stopped at its gate; being older than v3 makes it no rollback."""
    world = at_gate(rollbackWindow={"revisions": 3})
    world.wait()
    world.set_image("web:v3")
    allow(world, approved_active=True)
    world.settle()
    assert shown(world)["active"] == "web:v3"
    allow(world, approved_active=False)
    world.wait()
    world.set_image("web:v2")
    world.settle()
    assert shown(world)["active"] == "web:v3"
    assert world.status["message"] == "BlueGreenPause"
    world.wait()
    world.set_image("web:v1")
    world.settle()
    assert shown(world)["active"] == "web:v1", "that one was stable"


def test_counts_of_pods_that_are_going_switch_nothing() -> None:
    """§10.6: the ReplicaSet was scaled to 0 and up again before its controller looked at it."""
    world = deployed(manifest(replicas=3, blue_green=BOTH))
    world.set_image("web:v2")
    world.settle()
    world.pass_time(60)
    world.wait()
    assert world.sizes()["web:v1"] == 0
    world.set_image("web:v1")
    name = world.by_image("web:v1").spec.name
    for _ in range(6):
        seen = world.observe()
        late = tuple(
            replace(one, current=3, ready=3, available=3, generation=3, observed_generation=1)
            if one.name == name
            else one
            for one in seen.replica_sets
        )
        world.carry_out(step(replace(seen, replica_sets=late), world.now))
    assert world.sizes()["web:v1"] == 3
    assert shown(world)["active"] == "web:v2"
    world.settle()
    assert shown(world)["active"] == "web:v1"


@pytest.mark.parametrize("managed", [False, True])
def test_another_selector_takes_no_version_away(managed: bool) -> None:
    """§7: a label more in selector and template is an update as any other; the old version goes at its end."""
    world = deployed(manifest(replicas=3, blue_green=MANUAL), authority=NOTHING if managed else None)
    world.settle()
    old = world.by_image("web:v1")
    labels = {"app": "web", "tier": "front"}
    spec = {"containers": [{"name": "web", "image": "web:v2"}]}
    world.edit(selector={"matchLabels": labels}, template={"metadata": {"labels": labels}, "spec": spec})
    world.settle()
    assert shown(world)["active"] == "web:v1"
    assert world.status["message"] == "BlueGreenPause"
    assert old.spec.owner_uid == "rollout-uid"
    if managed:
        allow(world, approved_active=True)
    else:
        world.patch_status(pauseConditions=None)
    world.settle()
    assert shown(world)["active"] == "web:v2"
    world.pass_time(60)
    assert world.sizes() == {"web:v1": 0, "web:v2": 3}
    assert old.spec.owner_uid is None
