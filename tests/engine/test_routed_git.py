"""A routed canary that Git manages: nothing forward while held, back at once (docs/decisions.md §0, §1.1, §4)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from engine.routed_world import RoutedWorld, routed, running
from gitops_rollouts.engine.observed import Authority, TreeAbort

NOTHING = Authority(target="prod", fresh=True, applied=True, promote_command="gor promote web")
BAD = TreeAbort(commit="0123456789abcdef0123456789abcdef01234567", text="web:v2 failed")


def allow(world: RoutedWorld, **changes: Any) -> None:
    assert world.authority is not None
    world.authority = replace(world.authority, **changes)
    world.settle()


def at_first_gate(**canary: Any) -> RoutedWorld:
    world = running(routed(**canary), authority=NOTHING)
    world.update()
    assert world.status["currentStepIndex"] == 1
    assert world.routed[-1].canary.weight == 20
    return world


def test_only_the_tree_moves_the_weight_past_a_gate() -> None:
    """docs/decisions.md §1.1: a promotion in the cluster is undone before any router hears of it."""
    world = at_first_gate()
    world.weights()
    for patch in ({"pauseConditions": None}, {"promoteFull": True}, {"currentStepIndex": 4, "pauseConditions": None}):
        world.patch_status(**patch)
        world.settle()
        assert world.weights() == [20]
        assert world.sizes()["web:v2"] == 2
    allow(world, approved_through=1)
    assert world.weights() == [20, 60]
    allow(world, full=True)
    assert world.status["phase"] == "Healthy"


@pytest.mark.parametrize("dynamic", [False, True])
def test_a_stale_tree_freezes_weight_and_sizes(dynamic: bool) -> None:
    """docs/decisions.md §4: a step that Git approved before doesn't begin, and a resize keeps the shares."""
    world = at_first_gate(dynamicStableScale=dynamic)
    sizes = world.sizes()
    world.weights()
    allow(world, approved_through=1, fresh=False)
    assert world.weights() == [20]
    assert world.sizes() == sizes
    world.edit(replicas=20)
    world.settle()
    assert world.weights() == [20]
    assert world.sizes() == {"web:v1": 16 if dynamic else 20, "web:v2": 4}
    allow(world, fresh=True)
    assert world.weights() == [20, 60]


def test_an_edit_outside_git_moves_no_traffic() -> None:
    """docs/decisions.md §4: other steps have no say before they are applied."""
    world = at_first_gate()
    world.weights()
    allow(world, applied=False)
    world.set_steps([{"setWeight": 90}])
    world.settle()
    assert world.weights() == [20]
    assert world.sizes() == {"web:v1": 10, "web:v2": 2}


@pytest.mark.parametrize("dynamic", [False, True])
def test_a_withdrawn_approval_takes_traffic_and_pods_back_to_the_gate(dynamic: bool) -> None:
    """docs/decisions.md §4: stable first, then the weight, then the canary's pods; then it is paused there."""
    world = at_first_gate(dynamicStableScale=dynamic)
    allow(world, approved_through=1)
    assert world.status["currentStepIndex"] == 3
    world.weights()
    world.slow = dynamic
    allow(world, approved_through=-1)
    if dynamic:
        assert world.routed[-1].canary.weight == 60
        assert world.sizes() == {"web:v1": 8, "web:v2": 6}
        world.slow = False
        world.settle()
    assert world.weights() == [60, 20]
    assert world.sizes() == {"web:v1": 8 if dynamic else 10, "web:v2": 2}
    assert world.status["currentStepIndex"] == 1
    assert world.status["phase"] == "Paused"


def test_going_back_to_a_gate_removes_the_routes_that_were_set_after_it() -> None:
    """docs/decisions.md §4: no request reaches the canary by a header that isn't approved any more."""
    header = {"name": "beta", "match": [{"headerName": "x-beta", "headerValue": {"exact": "1"}}]}
    steps = [{"setWeight": 20}, {"pause": {}}, {"setHeaderRoute": header}, {"pause": {}}]
    world = running(routed(steps=steps, routes=("beta",)), authority=NOTHING)
    world.update()
    allow(world, approved_through=1)
    assert world.managed_routes == {"beta"}
    allow(world, approved_through=-1)
    assert world.managed_routes == set()
    assert world.status["currentStepIndex"] == 1
    allow(world, approved_through=1)
    assert world.managed_routes == {"beta"}


@pytest.mark.parametrize("fresh", [True, False])
def test_an_abort_in_the_tree_acts_at_once(fresh: bool) -> None:
    """docs/decisions.md §4: also while Git is stale; taking the line out is the retry."""
    world = at_first_gate()
    world.weights()
    allow(world, fresh=fresh, abort=BAD)
    assert world.weights() == [20, 0]
    assert world.status["phase"] == "Degraded"
    world.pass_time(31)
    assert world.sizes() == {"web:v1": 10, "web:v2": 0}
    aborted_at = world.status["abortedAt"]
    allow(world, fresh=True, abort=None, withdrawn=frozenset({aborted_at}))
    assert world.weights() == [0, 20]


def test_a_revert_is_fast() -> None:
    """§11.4, §11.5: the window of 1, with the former version still up."""
    world = at_first_gate()
    allow(world, full=True)
    assert world.status["phase"] == "Healthy"
    world.pass_time(5)
    allow(world, full=False)
    world.weights()
    world.update("web:v1")
    assert world.status["phase"] == "Healthy"
    world.pass_time(5)
    assert world.weights() == [0, 100, 0]
    assert world.routed[-1].stable.pod_hash == world.hash("web:v1")
    assert world.sizes() == {"web:v1": 10, "web:v2": 10}
