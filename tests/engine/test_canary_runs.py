"""What verdicts of analyses and experiments do to a canary (docs/behaviour.md §3, §11.1, §11.7)."""

from __future__ import annotations

from typing import Any

import pytest

from engine.routed_world import RoutedWorld, routed, running
from gitops_rollouts.engine.observed import Authority, Verdict

ANALYSIS: list[dict[str, Any]] = [
    {"setWeight": 20},
    {"analysis": {"templates": [{"templateName": "errors"}]}},
    {"setWeight": 60},
    {"pause": {}},
]
EXPERIMENT: list[dict[str, Any]] = [
    {"experiment": {"templates": [{"name": "a", "specRef": "canary"}]}},
    {"setWeight": 60},
    {"pause": {}},
]
BACKGROUND = {"templates": [{"templateName": "errors"}]}


def updating(raw: dict[str, Any]) -> RoutedWorld:
    world = running(raw)
    world.update()
    return world


def test_an_analysis_step_ends_with_its_run() -> None:
    """§2.5: not without a verdict, not while it runs, but with Successful; then its status goes."""
    world = updating(routed(steps=ANALYSIS))
    assert world.status["currentStepIndex"] == 1
    world.verdicts["Step"] = Verdict("run-1", "Running")
    world.settle()
    assert world.status["currentStepIndex"] == 1
    assert world.status["canary"]["currentStepAnalysisRunStatus"] == {"name": "run-1", "status": "Running"}
    world.verdicts["Step"] = Verdict("run-1", "Successful")
    world.settle()
    assert world.status["currentStepIndex"] == 3
    assert "currentStepAnalysisRunStatus" not in world.status["canary"]
    assert world.routed[-1].canary.weight == 60


@pytest.mark.parametrize("phase", ["Failed", "Error"])
@pytest.mark.parametrize(
    ("steps", "canary", "kind", "text"),
    [
        (ANALYSIS, {}, "Step", "Step-based analysis phase error/failed: 5 % of errors"),
        (None, {"analysis": BACKGROUND}, "Background", "Background analysis phase error/failed: 5 % of errors"),
        (EXPERIMENT, {}, "Experiment", "Experiment analysis phase is error/failed: 5 % of errors"),
    ],
)
def test_a_failed_run_aborts(
    phase: str, steps: list[dict[str, Any]] | None, canary: dict[str, Any], kind: Any, text: str
) -> None:
    """§11.1, §11.3: written first with index 0, acted on by the next pass; what ran leaves the status."""
    world = updating(routed(steps=steps, **canary))
    before = world.routed[-1].canary.weight
    world.verdicts[kind] = Verdict("run-1", phase, "5 % of errors")
    plan = world.once()
    assert plan.status_first
    assert world.status["abort"] is True
    assert world.status["currentStepIndex"] == 0
    assert world.routed[-1].canary.weight == before
    assert world.status["message"] == f"RolloutAborted: Rollout aborted update to revision 2: {text}"
    world.settle()
    assert world.routed[-1].canary.weight == 0
    assert set(world.status["canary"]) == {"weights"}
    assert world.status["message"].endswith(text)


def test_an_abort_by_a_run_is_recorded_for_git() -> None:
    """docs/decisions.md §4"""
    world = running(routed(steps=ANALYSIS), authority=Authority("prod", fresh=True, applied=True))
    world.update()
    world.verdicts["Step"] = Verdict("run-1", "Failed")
    world.settle()
    (record,) = world.records
    assert (record.reason, record.message, record.at) == (
        "AnalysisFailed",
        "Step-based analysis phase error/failed",
        1,
    )


@pytest.mark.parametrize(
    ("steps", "kind", "reason"),
    [(ANALYSIS, "Step", "InconclusiveAnalysisRun"), (EXPERIMENT, "Experiment", "InconclusiveExperiment")],
)
def test_an_inconclusive_run_pauses_until_a_person_has_looked(
    steps: list[dict[str, Any]], kind: Any, reason: str
) -> None:
    """§11.7"""
    world = updating(routed(steps=steps))
    index = world.status["currentStepIndex"]
    world.verdicts[kind] = Verdict("run-1", "Inconclusive")
    world.settle()
    assert (world.status["phase"], world.status["message"]) == ("Paused", reason)
    assert [pause["reason"] for pause in world.status["pauseConditions"]] == [reason]
    world.verdicts[kind] = Verdict("run-2", "Running")
    world.resume()
    assert "pauseConditions" not in world.status
    assert world.status["currentStepIndex"] == index
    world.verdicts[kind] = Verdict("run-2", "Successful")
    world.settle()
    assert world.routed[-1].canary.weight == 60


@pytest.mark.parametrize(
    ("steps", "kind", "reason"),
    [(ANALYSIS, "Step", "InconclusiveAnalysisRun"), (EXPERIMENT, "Experiment", "InconclusiveExperiment")],
)
def test_git_lets_an_update_past_a_step_without_a_verdict(steps: list[dict[str, Any]], kind: Any, reason: str) -> None:
    """docs/decisions.md §1.1: the gate is the step's index; approved, it is passed without another run."""
    world = running(routed(steps=steps), authority=Authority("prod", fresh=True, applied=True))
    world.update()
    index = world.status["currentStepIndex"]
    world.verdicts[kind] = Verdict("run-1", "Inconclusive")
    world.settle()
    assert world.status["message"] == reason
    for gate, fresh in ((index - 1, True), (index, False)):
        world.authority = Authority("prod", fresh=fresh, applied=True, approved_through=gate)
        world.settle()
        assert (world.status["currentStepIndex"], world.status["phase"]) == (index, "Paused")
    world.authority = Authority("prod", fresh=True, applied=True, approved_through=index)
    world.settle()
    assert world.status["currentStepIndex"] > index
    assert world.routed[-1].canary.weight == 60
    assert not world.status.get("pauseConditions") or world.status["message"] == "CanaryPauseStep"


def test_an_inconclusive_background_run_holds_every_step() -> None:
    """§11.7, §9.2: no step ends and nothing is promoted under it; once removed, the same result doesn't pause again."""
    world = updating(routed(analysis=BACKGROUND, steps=[{"setWeight": 20}, {"pause": {"duration": "5s"}}]))
    world.verdicts["Background"] = Verdict("run-1", "Inconclusive")
    world.pass_time(6)
    assert {pause["reason"] for pause in world.status["pauseConditions"]} >= {"InconclusiveAnalysisRun"}
    assert world.status["currentStepIndex"] == 1
    assert world.status["stableRS"] == world.hash("web:v1")
    world.resume()
    assert world.status["phase"] == "Healthy"
    assert world.status["stableRS"] == world.hash("web:v2")
    assert set(world.status["canary"]) == {"weights"}


def test_a_background_run_stands_in_the_status_while_it_runs() -> None:
    """§3 ``currentBackgroundAnalysisRunStatus``: through all steps, cleared by an abort and by promotion."""
    world = updating(routed(analysis=BACKGROUND))
    world.verdicts["Background"] = Verdict("run-1", "Running")
    world.settle()
    world.resume()
    assert world.status["canary"]["currentBackgroundAnalysisRunStatus"] == {"name": "run-1", "status": "Running"}
    world.abort()
    assert "currentBackgroundAnalysisRunStatus" not in world.status["canary"]


def test_a_failed_run_of_before_does_not_abort_what_goes_back() -> None:
    """§11: neither a rollback to stable, nor a full promotion, nor a promoted version has runs."""
    world = updating(routed(analysis=BACKGROUND))
    world.patch_status(promoteFull=True, pauseConditions=None)
    world.verdicts["Background"] = Verdict("run-1", "Failed")
    world.settle()
    assert world.status["phase"] == "Healthy"
    world.update("web:v3")
    world.verdicts.clear()
    world.update("web:v2")
    world.verdicts["Background"] = Verdict("run-2", "Failed")
    world.settle()
    assert world.status["phase"] == "Healthy"


def test_an_experiment_is_named_while_it_runs() -> None:
    """§3 ``currentExperiment``"""
    world = updating(routed(steps=EXPERIMENT))
    world.verdicts["Experiment"] = Verdict("try-1", "Running")
    world.settle()
    assert world.status["canary"]["currentExperiment"] == "try-1"
    world.verdicts["Experiment"] = Verdict("try-1", "Successful")
    world.settle()
    assert "currentExperiment" not in world.status["canary"]
    assert world.status["currentStepIndex"] == 2
