"""What goes back waits for no template that is gone (docs/behaviour.md §20, §24, docs/decisions.md §3 R3)."""

from __future__ import annotations

from typing import Any

import pytest

from engine.routed_world import routed
from engine.test_blue_green import MANUAL, shown
from engine.test_blue_green_git import NOTHING, allow, under_git
from engine.test_canary_runs import updating
from gitops_rollouts.api.analysis_templates import TemplateKey
from gitops_rollouts.engine.observed import Authority

ERRORS = {"templates": [{"templateName": "errors"}]}
KEY = TemplateKey(cluster=False, name="errors")
TRIED: list[dict[str, Any]] = [
    {"setWeight": 20},
    {"experiment": {"templates": [{"name": "try", "specRef": "canary"}]}},
    {"setWeight": 60},
]


@pytest.mark.parametrize("phase", ["Failed", "Error"])
def test_an_experiment_that_fails_aborts_although_a_template_is_gone(phase: str) -> None:
    """§11.1: as an AnalysisRun that failed does; here it is the background's that is gone."""
    world = updating(routed(steps=TRIED, analysis=ERRORS))
    assert world.status["currentStepIndex"] == 1
    world.templates[KEY] = None
    world.settle()
    assert world.status["message"].startswith("InvalidSpec")
    world.trials.say("Experiment", phase)
    world.settle()
    assert world.status["message"].startswith("RolloutAborted")
    assert world.routed[-1].canary.weight == 0


def test_a_withdrawn_approval_brings_a_canary_back_although_a_template_is_gone() -> None:
    """R3: the weight is the gate's again, and nothing goes on."""
    steps: list[dict[str, Any]] = [{"setWeight": 20}, {"pause": {}}, {"setWeight": 60}, {"pause": {}}]
    git = Authority("prod", fresh=True, applied=True, approved_through=1)
    world = updating(routed(steps=steps, analysis=ERRORS), authority=git)
    assert (world.status["currentStepIndex"], world.routed[-1].canary.weight) == (3, 60)
    world.templates[KEY] = None
    world.settle()
    assert world.status["message"].startswith("InvalidSpec")
    allow(world, approved_through=-1)
    world.settle()
    assert (world.status["currentStepIndex"], world.routed[-1].canary.weight) == (1, 20)
    assert world.runs.phases()[world.runs.created[0]] == "Running"
    del world.templates[KEY]
    world.settle()
    assert (world.status["phase"], world.status["currentStepIndex"]) == ("Paused", 1)


def test_a_withdrawn_approval_switches_back_although_a_template_is_gone() -> None:
    """R3, §10 "Git-managed": the stable version serves again."""
    world = under_git({**MANUAL, "postPromotionAnalysis": ERRORS}, NOTHING)
    allow(world, approved_active=True)
    world.settle()
    assert (shown(world)["active"], len(world.runs.wanted())) == ("web:v2", 1)
    world.templates[KEY] = None
    world.settle()
    assert world.status["message"].startswith("InvalidSpec")
    allow(world, approved_active=False)
    world.settle()
    assert shown(world)["active"] == "web:v1"
