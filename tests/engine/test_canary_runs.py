"""What verdicts of analyses and experiments do to a canary (docs/behaviour.md §3, §11.1, §11.7)."""

from __future__ import annotations

from typing import Any

import pytest

from engine.routed_world import RoutedWorld, routed, running
from engine.world import MEASURES_ONCE
from gitops_rollouts.engine.observed import Authority

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


def updating(raw: dict[str, Any], *, authority: Authority | None = None) -> RoutedWorld:
    world = running(raw, authority=authority)
    world.update()
    return world


def say(world: RoutedWorld, kind: Any, phase: str, message: str = "") -> None:
    """What is current of this kind comes to this phase."""
    (world.trials if kind == "Experiment" else world.runs).say(kind, phase, message)


def test_an_analysis_step_ends_with_its_run() -> None:
    """§2.5, §5, §6: not without a verdict, not while it runs, but with Successful; then its status goes."""
    world = updating(routed(steps=ANALYSIS))
    assert world.status["currentStepIndex"] == 1
    name = f"web-{world.hash('web:v2')}-2-1"
    assert world.runs.phases() == {name: "Running"}
    assert world.status["canary"]["currentStepAnalysisRunStatus"] == {"name": name, "status": "Running"}
    created = world.runs.kept[name]
    assert created["metadata"]["labels"] == {
        "app": "web",
        "rollout-type": "Step",
        "step-index": "1",
        "rollouts-pod-template-hash": world.hash("web:v2"),
    }
    assert created["metadata"]["annotations"] == {"rollout.argoproj.io/revision": "2"}
    assert created["spec"] == {"metrics": MEASURES_ONCE.encode()["spec"]["metrics"]}
    world.runs.say("Step", "Successful")
    world.settle()
    assert world.status["currentStepIndex"] == 3
    assert "currentStepAnalysisRunStatus" not in world.status["canary"]
    assert world.routed[-1].canary.weight == 60
    assert [event.message for event in world.events if event.reason.startswith("AnalysisRun")] == [
        f"Step Analysis Run '{name}' Status New: 'Running' Previous: 'NoPreviousStatus'",
        f"Step Analysis Run '{name}' Status New: 'Successful' Previous: 'Running'",
    ]


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
    say(world, kind, phase, "5 % of errors")
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


def test_an_abort_ends_every_run_and_a_retry_has_its_own() -> None:
    """§11.6, §17.5: asked once to end; however they end, a retry measures anew."""
    world = updating(routed(steps=ANALYSIS, analysis=BACKGROUND))
    step, beside = f"web-{world.hash('web:v2')}-2-1", f"web-{world.hash('web:v2')}-2"
    assert sorted(world.runs.wanted()) == [beside, step]
    world.abort()
    assert sorted(world.runs.terminated) == [beside, step]
    assert world.runs.phases() == {beside: "Successful", step: "Successful"}
    assert set(world.status["canary"]) == {"weights"}
    world.retry()
    assert world.status["currentStepIndex"] == 1
    assert sorted(world.runs.wanted()) == sorted([f"{beside}.1", f"{step}.1"])
    assert world.status["canary"]["currentStepAnalysisRunStatus"]["name"] == f"{step}.1"


def test_an_abort_by_a_run_is_recorded_for_git() -> None:
    """docs/decisions.md §4: with the run that is its cause."""
    world = updating(routed(steps=ANALYSIS), authority=Authority("prod", fresh=True, applied=True))
    name = world.runs.say("Step", "Failed")
    world.settle()
    (record,) = world.records
    assert (record.reason, record.message, record.at, record.run) == (
        "AnalysisFailed",
        "Step-based analysis phase error/failed",
        1,
        world.runs.kept[name]["metadata"]["uid"],
    )


@pytest.mark.parametrize(
    ("steps", "kind", "reason"),
    [(ANALYSIS, "Step", "InconclusiveAnalysisRun"), (EXPERIMENT, "Experiment", "InconclusiveExperiment")],
)
def test_an_inconclusive_run_pauses_until_a_person_has_looked(
    steps: list[dict[str, Any]], kind: Any, reason: str
) -> None:
    """§11.7, §11.8: then it is measured again."""
    world = updating(routed(steps=steps))
    index = world.status["currentStepIndex"]
    say(world, kind, "Inconclusive")
    world.settle()
    assert (world.status["phase"], world.status["message"]) == ("Paused", reason)
    assert [pause["reason"] for pause in world.status["pauseConditions"]] == [reason]
    world.resume()
    assert "pauseConditions" not in world.status
    assert world.status["currentStepIndex"] == index
    if kind == "Step":
        assert list(world.runs.phases().values()) == ["Inconclusive", "Running"]
        assert world.status["canary"]["currentStepAnalysisRunStatus"]["name"].endswith("-2-1.1")
    say(world, kind, "Successful")
    world.settle()
    assert world.routed[-1].canary.weight == 60


@pytest.mark.parametrize(
    ("steps", "kind", "reason"),
    [(ANALYSIS, "Step", "InconclusiveAnalysisRun"), (EXPERIMENT, "Experiment", "InconclusiveExperiment")],
)
def test_git_lets_an_update_past_a_step_without_a_verdict(steps: list[dict[str, Any]], kind: Any, reason: str) -> None:
    """docs/decisions.md §1.1: the gate is the step's index; approved, it is passed without another run."""
    world = updating(routed(steps=steps), authority=Authority("prod", fresh=True, applied=True))
    index = world.status["currentStepIndex"]
    say(world, kind, "Inconclusive")
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
    assert len(world.runs.created) == (1 if kind == "Step" else 0)


@pytest.mark.parametrize("phase", ["Running", "Inconclusive"])
def test_a_client_cant_skip_an_analysis_where_git_decides(phase: str) -> None:
    """docs/decisions.md §1.1: neither under way nor without a verdict; the update goes back to it."""
    world = updating(routed(steps=ANALYSIS), authority=Authority("prod", fresh=True, applied=True))
    world.runs.say("Step", phase)
    world.settle()
    world.patch_status(pauseConditions=None, currentStepIndex=2)
    world.settle()
    assert world.status["currentStepIndex"] == 1
    assert world.routed[-1].canary.weight == 20
    assert "PromotionNotInGit" in world.reasons()
    world.runs.ends["Step"] = ("Successful", "")
    world.settle()
    if phase == "Inconclusive":
        assert world.status["currentStepIndex"] == 1
        assert world.status["message"] == "InconclusiveAnalysisRun"
        world.resume()
    assert world.status["currentStepIndex"] == 3


def test_a_client_that_ends_a_run_has_not_said_yes_where_git_decides() -> None:
    """§17.5, docs/decisions.md §0: without Git, ``Run Terminated`` is a yes as ever."""
    for authority, index in ((None, 3), (Authority("prod", fresh=True, applied=True), 1)):
        world = updating(routed(steps=ANALYSIS), authority=authority)
        (name,) = world.runs.wanted()
        world.runs.kept[name]["spec"]["terminate"] = True
        world.settle()
        assert world.runs.phases()[name] == "Successful"
        assert world.status["currentStepIndex"] == index
        assert world.status["message"] == ("CanaryPauseStep" if authority is None else "InconclusiveAnalysisRun")


def test_an_inconclusive_background_run_holds_every_step() -> None:
    """§11.7, §9.2: no step ends and nothing is promoted under it; once removed, another run begins."""
    world = updating(routed(analysis=BACKGROUND, steps=[{"setWeight": 20}, {"pause": {"duration": "5s"}}]))
    world.runs.say("Background", "Inconclusive")
    world.pass_time(6)
    assert {pause["reason"] for pause in world.status["pauseConditions"]} >= {"InconclusiveAnalysisRun"}
    assert world.status["currentStepIndex"] == 1
    assert world.status["stableRS"] == world.hash("web:v1")
    world.resume()
    assert world.status["phase"] == "Healthy"
    assert world.status["stableRS"] == world.hash("web:v2")
    assert set(world.status["canary"]) == {"weights"}
    assert world.runs.created[1:] == [f"web-{world.hash('web:v2')}-2.1"]
    assert world.runs.terminated == world.runs.created[1:]


def test_git_lets_an_update_past_one_step_beside_an_inconclusive_background_run() -> None:
    """docs/decisions.md §1.1: a client can't; approved, this step goes on, and the next one has a run of its own."""
    steps = [{"setWeight": 20}, {"pause": {"duration": "5s"}}, {"setWeight": 60}, {"pause": {"duration": "5s"}}]
    world = updating(
        routed(analysis=BACKGROUND, steps=steps),
        authority=Authority("prod", fresh=True, applied=True),
    )
    world.runs.say("Background", "Inconclusive")
    world.settle()
    world.resume()
    assert world.status["message"] == "InconclusiveAnalysisRun"
    assert "PromotionNotInGit" in world.reasons()
    assert len(world.runs.created) == 1
    world.authority = Authority("prod", fresh=True, applied=True, approved_through=1)
    world.settle()
    assert (world.status["currentStepIndex"], world.status["message"]) == (1, "CanaryPauseStep")
    assert len(world.runs.created) == 1
    world.pass_time(6)
    assert world.status["currentStepIndex"] == 3
    assert len(world.runs.wanted()) == 1
    world.runs.say("Background", "Inconclusive")
    world.pass_time(6)
    assert world.status["currentStepIndex"] == 3
    assert "InconclusiveAnalysisRun" in [pause["reason"] for pause in world.status["pauseConditions"]]


def test_a_background_run_stands_in_the_status_while_it_runs() -> None:
    """§3 ``currentBackgroundAnalysisRunStatus``: through all steps, cleared by an abort and by promotion."""
    world = updating(routed(analysis=BACKGROUND))
    world.resume()
    (name,) = world.runs.wanted()
    assert name == f"web-{world.hash('web:v2')}-2"
    assert world.status["canary"]["currentBackgroundAnalysisRunStatus"] == {"name": name, "status": "Running"}
    world.abort()
    assert "currentBackgroundAnalysisRunStatus" not in world.status["canary"]


@pytest.mark.parametrize("steps", [[], [{"setWeight": 20}, {"pause": {}}]])
def test_a_background_run_begins_before_any_pod_of_the_canary(steps: list[dict[str, Any]]) -> None:
    """§17.5: in the first pass after the status began anew, and only from ``startingStep`` on."""
    world = running(routed(analysis=BACKGROUND, steps=steps))
    world.wait()
    world.set_image("web:v2")
    while not world.runs.created:
        assert world.sizes().get("web:v2", 0) == 0
        world.once()
    assert world.runs.created == [f"web-{world.hash('web:v2')}-2"]


def test_a_background_run_waits_for_its_starting_step() -> None:
    """§17.5"""
    steps = [{"setWeight": 20}, {"pause": {}}, {"setWeight": 60}, {"pause": {}}]
    world = updating(routed(analysis={**BACKGROUND, "startingStep": 2}, steps=steps))
    assert world.status["currentStepIndex"] == 1
    assert world.runs.created == []
    world.resume()
    assert len(world.runs.created) == 1
    world.runs.say("Background", "Successful")
    world.settle()
    assert len(world.runs.created) == 1, "one that ended early isn't repeated"
    assert world.status["canary"]["currentBackgroundAnalysisRunStatus"]["status"] == "Successful"


def test_a_failed_run_of_before_does_not_abort_what_goes_back() -> None:
    """§11: neither a rollback to stable, nor a full promotion, nor a promoted version has runs."""
    world = updating(routed(analysis=BACKGROUND))
    world.patch_status(promoteFull=True, pauseConditions=None)
    world.runs.say("Background", "Failed")
    world.settle()
    assert world.status["phase"] == "Healthy"
    world.update("web:v3")
    world.runs.ends["Background"] = ("Failed", "")
    world.update("web:v2")
    assert world.status["phase"] == "Healthy"
    assert world.runs.wanted() == []


def test_a_first_deploy_has_no_run() -> None:
    """§17.5"""
    world = running(routed(steps=ANALYSIS, analysis=BACKGROUND))
    assert world.runs.created == []


def test_an_experiment_is_named_while_it_runs() -> None:
    """§3 ``currentExperiment``"""
    world = updating(routed(steps=EXPERIMENT))
    assert world.status["canary"]["currentExperiment"] == f"web-{world.hash('web:v2')}-2-0"
    world.trials.say("Experiment", "Successful")
    world.settle()
    assert "currentExperiment" not in world.status["canary"]
    assert world.status["currentStepIndex"] == 2
