"""A run that the API server doesn't take (docs/behaviour.md §17.5): the status tells, and nothing else waits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from engine.routed_world import routed
from engine.test_canary_runs import updating
from engine.world import World, deployed, manifest
from gitops_rollouts.engine.plan import CreateRun, DeleteRun, Plan
from gitops_rollouts.engine.step import runs_refused, step

ERRORS = {"templates": [{"templateName": "errors"}]}
QUOTA = "Can't create it: exceeded quota"


def refusing(world: World, *parts: str, text: str = QUOTA) -> World:
    """The API server takes no run whose name ends in one of ``parts``; passes are as the controller makes them."""

    def once(*, only: int | None = None) -> Plan:
        observed, plan = world.observe(), step(world.observe(), world.now)
        while True:
            refused = next((a for a in plan.actions if isinstance(a, CreateRun) and a.name.endswith(parts)), None)
            if refused is None:
                world.plans.append(plan)
                world.carry_out(plan, only=only)
                return plan
            world.carry_out(plan, only=plan.actions.index(refused))
            observed = replace(observed, refused_runs={**observed.refused_runs, refused.name: text})
            plan = runs_refused(observed, world.now)

    world.once = once  # type: ignore[method-assign]
    return world


def test_a_refused_step_analysis_is_told_and_the_update_waits_for_it() -> None:
    """§17.5: with what else the pass found; the analysis beside it runs; it is tried again."""
    steps: list[dict[str, Any]] = [{"setWeight": 20}, {"analysis": ERRORS}, {"setWeight": 60}, {"pause": {}}]
    world = updating(routed(steps=[{"pause": {}}, *steps], analysis={**ERRORS, "startingStep": 2}))
    refusing(world, "-2-2")
    world.resume()
    world.settle()
    assert (world.status["currentStepIndex"], world.status["phase"]) == (2, "Progressing")
    assert [name for name in world.runs.wanted() if name.endswith("-2")] == world.runs.wanted()
    assert len(world.runs.created) == 1
    condition = world.condition("AnalysisRunNotCreated")
    assert condition is not None
    assert condition["message"] == f"Step analysis can't begin: {QUOTA}"
    assert "currentStepAnalysisRunStatus" not in world.status["canary"]
    assert world.reasons().count("AnalysisRunNotCreated") == 1
    again = world.plans[-1].look_again
    assert again is not None
    assert again.total_seconds() <= 30
    refusing(world, "nothing")
    world.settle()
    assert world.condition("AnalysisRunNotCreated") is None
    world.runs.say("Step", "Successful")
    world.settle()
    assert world.status["currentStepIndex"] == 4


@pytest.mark.parametrize("way", ["a person's", "the other run's"])
def test_a_refused_run_keeps_no_abort(way: str) -> None:
    """§11.1, §11.3"""
    world = updating(routed(steps=[{"setWeight": 20}, {"pause": {}}, {"analysis": ERRORS}], analysis=ERRORS))
    refusing(world, "-2-2")
    world.resume()
    world.settle()
    assert world.condition("AnalysisRunNotCreated") is not None
    if way == "a person's":
        world.abort()
    else:
        world.runs.say("Background", "Failed", "bad")
        world.settle()
    assert world.status["message"].startswith("RolloutAborted")
    assert world.routed[-1].canary.weight == 0
    assert world.condition("AnalysisRunNotCreated") is None


@pytest.mark.parametrize("side", ["pre", "post"])
def test_a_refused_check_of_blue_green_is_told(side: str) -> None:
    """§10.8: before the switch nothing switches, after it nothing is promoted."""
    strategy = {"activeService": "active", f"{side}PromotionAnalysis": ERRORS}
    world = deployed(manifest(replicas=2, blue_green=strategy))
    refusing(world, f"-{side}")
    world.set_image("web:v2")
    world.settle()
    condition = world.condition("AnalysisRunNotCreated")
    assert condition is not None
    assert condition["message"].endswith(QUOTA)
    assert world.behind("active") == ("web:v1" if side == "pre" else "web:v2")
    assert world.status["stableRS"] != world.status["currentPodHash"]
    refusing(world, "nothing")
    world.settle()
    assert len(world.runs.wanted()) == 1
    assert world.condition("AnalysisRunNotCreated") is None


def test_a_refusal_in_ever_other_words_is_not_told_at_every_pass() -> None:
    """§17.5: each write of a status is followed by a pass, which would be refused in yet other words."""
    world = updating(routed(steps=[{"setWeight": 20}, {"pause": {}}, {"analysis": ERRORS}]))
    world.resume = lambda: world.patch_status(pauseConditions=None)  # type: ignore[method-assign]
    world.resume()
    for number in range(10):
        refusing(world, "-2-2", text=f"denied: request {number}")
        world.once()
        world.run_pods()
    told = len(world.statuses)
    for number in range(10, 20):
        refusing(world, "-2-2", text=f"denied: request {number}")
        world.once()
    assert len(world.statuses) == told
    assert world.reasons().count("AnalysisRunNotCreated") == 1
    world.wait(31)
    world.once()
    assert world.condition("AnalysisRunNotCreated")["message"].endswith("request 19")  # type: ignore[index]


def test_what_is_deleted_makes_room_for_what_begins() -> None:
    """§17.7: a quota that counts runs would otherwise never be met again."""
    raw = manifest(
        steps=[{"analysis": ERRORS}], analysis={"successfulRunHistoryLimit": 0, "unsuccessfulRunHistoryLimit": 0}
    )
    world = deployed(raw)
    for number in range(2, 5):
        world.wait(5)
        world.set_image(f"web:v{number}")
        world.settle()
        world.runs.say("Step", "Failed")
    kinds = [[type(a) for a in plan.actions if isinstance(a, CreateRun | DeleteRun)] for plan in world.plans]
    assert all(DeleteRun not in found[found.index(CreateRun) :] for found in kinds if CreateRun in found)
