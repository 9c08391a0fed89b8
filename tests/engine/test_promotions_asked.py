"""What a client promotes under Git is undone, and by policy asked of Git (docs/decisions.md §4), in a model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from engine import test_blue_green_git as blue_green
from engine.routed_world import routed
from engine.test_canary_runs import ANALYSIS, say, updating
from engine.test_git_gates import NOTHING, allow, at_gate, warnings
from engine.world import World
from gitops_rollouts.engine.step import step

COMMITS: dict[str, Any] = {"commits_promotions": True, "intent": "0123456789ab"}


def asking(**spec: Any) -> World:
    world = at_gate(**spec)
    allow(world, **COMMITS)
    return world


@pytest.mark.parametrize(
    ("patch", "gate"),
    [
        ({"pauseConditions": None}, "1"),
        ({"promoteFull": True}, "full"),
        ({"promoteFull": True, "pauseConditions": None}, "full"),
    ],
)
def test_it_is_undone_at_once_and_asked_of_git(patch: dict[str, Any], gate: str) -> None:
    world = asking()
    sizes = world.sizes()
    world.patch_status(**patch)
    world.once()
    assert [(each.gate, each.intent) for each in world.wished] == [(gate, "0123456789ab")]
    assert "a promote line" in world.wished[0].text
    world.settle()
    assert (world.status["currentStepIndex"], world.status["message"]) == (1, "CanaryPauseStep")
    assert "promoteFull" not in world.status
    assert world.sizes() == sizes
    assert warnings(world) == []
    allow(world, approved_through=1, full=gate == "full", asked_over=(gate,))
    world.settle()
    assert world.wished == []
    assert world.sizes()["web:v2"] == (5 if gate == "full" else 3)


def test_dying_between_the_outbox_and_the_undoing_asks_once() -> None:
    """The same request is seen again, or its note is there already; the weight stays all the while."""
    world = asking()
    world.patch_status(pauseConditions=None)
    sizes = world.sizes()
    for only in (0, 1, 1):
        plan = step(world.observe(), world.now)
        world.carry_out(plan, only=only)
        assert "pauseConditions" not in world.status
    world.settle()
    assert [each.gate for each in world.wished] == ["1"]
    assert world.status["pauseConditions"]
    assert world.sizes() == sizes


@pytest.mark.parametrize(
    "patch",
    [
        {"pauseConditions": None, "currentStepIndex": 2},
        {"pauseConditions": None, "currentStepIndex": 4},
        {"currentStepIndex": 3},
    ],
)
def test_a_skipped_step_is_undone_and_nothing_more(patch: dict[str, Any]) -> None:
    world = asking()
    world.patch_status(**patch)
    world.settle()
    assert world.wished == []
    assert world.status["currentStepIndex"] == 1
    assert any(
        "becomes a line, and not beside a result without a verdict. Use `gor promote" in e.message for e in world.events
    )


def test_an_approval_that_is_taken_back_is_nobodys_request() -> None:
    """What this program resumed itself leaves the same status as a client's patch, but for the phase."""
    world = asking()
    allow(world, approved_through=3)
    world.once()
    assert "pauseConditions" not in world.status
    allow(world, approved_through=-1)
    world.settle()
    assert world.wished == []
    assert world.status["currentStepIndex"] == 1
    assert world.sizes() == {"web:v1": 4, "web:v2": 1}


def test_where_the_engine_may_not_promote_the_event_says_so() -> None:
    """§6: a line that the engine signs would count for nothing."""
    world = at_gate()
    allow(world, why_not="spec.authority says who may promote", intent="0123456789ab")
    world.patch_status(pauseConditions=None)
    world.settle()
    assert world.wished == []
    (event,) = [each for each in world.events if each.type == "Warning"]
    assert "No line is written of it, as spec.authority says who may promote: merge the request" in event.message
    assert "gor promote web" in event.message


def test_beside_a_result_without_a_verdict_a_client_only_gets_another_measurement() -> None:
    """docs/behaviour.md §11.7: as under any policy."""
    world = updating(routed(steps=ANALYSIS), authority=replace(NOTHING, **COMMITS))
    say(world, "Step", "Inconclusive")
    world.settle()
    assert world.status["message"] == "InconclusiveAnalysisRun"
    world.patch_status(pauseConditions=None)
    world.settle()
    assert world.wished == []
    assert world.status["currentStepIndex"] == 1
    assert len(world.runs.created) == 2


def test_blue_green_asks_to_become_active() -> None:
    world = blue_green.at_gate()
    blue_green.allow(world, **COMMITS)
    world.patch_status(pauseConditions=None)
    for _ in range(4):
        world.once()
        assert blue_green.shown(world)["active"] == "web:v1"
    world.settle()
    assert [each.gate for each in world.wished] == ["active"]
    assert world.status["message"] == "BlueGreenPause"
    world.patch_status(promoteFull=True)
    world.settle()
    assert [each.gate for each in world.wished] == ["active", "full"]
    assert blue_green.shown(world)["active"] == "web:v1"


def test_a_request_that_git_took_back_is_told() -> None:
    world = asking()
    allow(world, asked_over=("1",), asked_refused=("1",))
    world.once()
    (event,) = [each for each in world.events if each.type == "Warning"]
    assert "taken back in Git of 'prod': it is not pushed again. Use `gor promote web`" in event.message
