"""An update that begins after another GitSync's (docs/decisions.md §5): the gate before the first step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from engine.routed_world import RoutedWorld, routed, running
from engine.test_blue_green import shown
from engine.test_git_gates import GATED, allow, warnings
from engine.world import World, deployed, manifest
from gitops_rollouts.engine.observed import Authority

INTENT = "0123456789ab"
FIRST = "prod-eu/shop/web is not stable at web:v2 yet"
LATER = Authority(target="prod-us", fresh=True, applied=True, intent=INTENT, goes_after="prod-eu", waits=FIRST)
ANALYSED = {"analysis": {"templates": [{"templateName": "once"}]}}


def queued(authority: Authority = LATER, **spec: Any) -> World:
    world = deployed(manifest(replicas=5, **(spec or {"steps": GATED})), authority=replace(authority, waits=""))
    allow(world, waits=authority.waits)
    world.set_image("web:v2")
    world.settle()
    return world


@pytest.mark.parametrize(
    "spec",
    [
        {"steps": GATED},
        {"steps": [{"pause": {"duration": "1s"}}, {"setWeight": 50}]},
    ],
)
def test_nothing_begins_before_its_turn(spec: dict[str, Any]) -> None:
    """No pod, no weight, no pause; the status says what is waited for, and a change of that is told."""
    world = queued(**spec)
    for _ in range(3):
        world.pass_time(3600)
        world.settle()
    assert world.sizes() == {"web:v1": 5, "web:v2": 0}
    assert world.status["currentStepIndex"] == 0
    assert "pauseConditions" not in world.status
    assert world.condition("HeldByGit")["reason"] == "WaitsForItsTurn"  # type: ignore[index]
    assert FIRST in world.condition("HeldByGit")["message"]  # type: ignore[index]
    assert (world.status["phase"], FIRST in world.status["message"]) == ("Paused", True)
    allow(world, waits="prod-eu/shop/web is aborted")
    world.settle()
    assert world.condition("HeldByGit")["message"].endswith("prod-eu/shop/web is aborted")  # type: ignore[index]
    assert warnings(world) == []


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("first", [{"setWeight": 20}, {"setCanaryScale": {"replicas": 2}}])
def test_routers_hear_of_nothing_before_its_turn(first: dict[str, Any], dynamic: bool) -> None:
    """Neither weight nor pods; and what another version had goes back, stable first."""
    raw = routed(steps=[first, {"pause": {}}, {"setWeight": 60}], dynamicStableScale=dynamic)
    world: RoutedWorld = running(raw, authority=replace(LATER, waits=""), strict="setWeight" in first)
    world.weights()
    world.set_image("web:v2")
    world.settle()
    assert world.sizes()["web:v2"] == 2
    allow(world, waits=FIRST, intent="ba9876543210")
    world.set_image("web:v3")
    world.settle()
    assert world.weights()[-1] == 0
    world.wait(3600)
    world.settle()
    # what the canary's Service selects keeps its pods, without traffic, until another version is there
    assert world.sizes() == {"web:v1": 10, "web:v2": 2, "web:v3": 0}
    assert world.weights() == [0]
    allow(world, waits="", approved_through=1)
    world.settle()
    assert world.status["phase"] == "Healthy"


def test_its_turn_comes_and_nothing_takes_it_back() -> None:
    """What the first one does later doesn't stop an update that has begun, not even for a new process."""
    world = queued()
    allow(world, waits="")
    world.settle()
    assert world.condition("HeldByGit") is None
    assert world.sizes() == {"web:v1": 4, "web:v2": 1}
    allow(world, waits=FIRST, approved_through=1)
    world.settle()
    assert world.status["currentStepIndex"] == 3
    assert world.sizes() == {"web:v1": 2, "web:v2": 3}
    allow(world, intent="ba9876543210", former=frozenset({INTENT}), approved_through=3)
    world.settle()
    assert world.status["phase"] == "Healthy"


def test_it_dies_after_the_mark_or_before() -> None:
    """The mark comes before anything of the update does."""
    world = queued()
    allow(world, waits="")
    while world.sizes()["web:v2"] == 0:
        world.once(only=1)
        world.run_pods()
        if world.sizes()["web:v2"] == 0 and world.by_image("web:v2").spec.annotations.get("gitops-rollouts.io/begun"):
            break
    allow(world, waits=FIRST)
    world.settle()
    assert world.sizes() == {"web:v1": 4, "web:v2": 1}


def test_a_client_is_no_turn() -> None:
    """§4: whatever step the cluster is told, nothing begins."""
    world = queued(steps=[{"setWeight": 20}, {"pause": {"duration": "1h"}}, {"setWeight": 60}])
    for patch in ({"currentStepIndex": 2}, {"currentStepIndex": 3}, {"promoteFull": True}):
        world.patch_status(**patch)
        world.settle()
        assert world.sizes() == {"web:v1": 5, "web:v2": 0}
        assert world.status["stableRS"] != world.status["currentPodHash"]


def test_another_version_waits_anew() -> None:
    """The mark names an intent: pods that the version before has left go, and traffic with them."""
    world = queued()
    allow(world, waits="")
    world.settle()
    assert world.sizes()["web:v2"] == 1
    allow(world, waits=FIRST, intent="ba9876543210")
    world.settle()
    assert world.sizes() == {"web:v1": 5, "web:v2": 0}
    assert world.condition("HeldByGit")["reason"] == "WaitsForItsTurn"  # type: ignore[index]


def test_a_way_back_never_waits() -> None:
    """§5: what was stable comes back at once, and a first deploy asks nobody."""
    world = World(manifest(replicas=5, steps=GATED), authority=LATER)
    world.settle()
    assert world.status["phase"] == "Healthy"
    world.wait()
    allow(world, waits="", approved_through=3)
    world.set_image("web:v2")
    world.settle()
    assert world.sizes() == {"web:v1": 0, "web:v2": 5}
    allow(world, waits=FIRST, intent="ba9876543210", approved_through=-1)
    world.set_image("web:v1")
    world.settle()
    assert world.sizes() == {"web:v1": 5, "web:v2": 0}
    assert world.status["phase"] == "Healthy"


def test_skipping_all_steps_skips_this_one() -> None:
    """``gate=full`` is a person's word for everything that is left."""
    world = queued()
    allow(world, full=True)
    world.settle()
    assert world.sizes() == {"web:v1": 0, "web:v2": 5}


def test_no_analysis_runs_before_its_turn() -> None:
    """A canary without traffic would fail it."""
    world = queued(steps=[{"analysis": {"templates": [{"templateName": "once"}]}}, {"setWeight": 20}], canary=ANALYSED)
    assert world.sizes() == {"web:v1": 5, "web:v2": 0}
    assert world.observe().analysis_runs == ()


@pytest.mark.parametrize("preview", [{}, {"previewReplicaCount": 1}])
def test_blue_green_brings_up_no_preview(preview: dict[str, Any]) -> None:
    """Its first step is the preview."""
    strategy = {"activeService": "active", "previewService": "preview", **preview}
    world = queued(blue_green=strategy)
    assert world.sizes() == {"web:v1": 5, "web:v2": 0}
    assert shown(world)["active"] == "web:v1"
    assert world.condition("HeldByGit")["reason"] == "WaitsForItsTurn"  # type: ignore[index]
    allow(world, waits="")
    world.settle()
    assert shown(world)["active"] == "web:v2"
    assert world.status["phase"] == "Healthy"
