"""Beginning, finding again, ending and deleting AnalysisRuns (docs/behaviour.md §5, §6, §17.1, §17.5, §17.7)."""

from __future__ import annotations

from typing import Any

import pytest

from engine.routed_world import RoutedWorld, routed, running
from engine.world import World, deployed, manifest
from gitops_rollouts.api.analysis import parse_analysis_template
from gitops_rollouts.api.analysis_templates import TemplateKey
from gitops_rollouts.engine.observed import Authority
from gitops_rollouts.engine.plan import CreateRun

ERRORS = {"templates": [{"templateName": "errors"}]}
STEPS: list[dict[str, Any]] = [{"setWeight": 20}, {"analysis": ERRORS}, {"setWeight": 60}, {"pause": {}}]
KEY = TemplateKey(cluster=False, name="errors")


def template(*names: str, **spec: Any) -> Any:
    metrics = [{"name": name, "provider": {"job": {"spec": {}}}} for name in names]
    return parse_analysis_template({"spec": {"metrics": metrics, **spec}})


def updating(raw: dict[str, Any], **more: Any) -> RoutedWorld:
    world = running(raw, **more)
    world.update()
    return world


def test_what_a_run_is_made_of() -> None:
    """§17.1, §5: arguments as plain values, the Rollout's rules first, and the selector wins over other labels."""
    analysis = {
        **ERRORS,
        "args": [
            {"name": "latest", "valueFrom": {"podTemplateHashValue": "Latest"}},
            {"name": "stable", "valueFrom": {"podTemplateHashValue": "Stable"}},
            {"name": "env", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['env']"}}},
            {"name": "size", "valueFrom": {"fieldRef": {"fieldPath": "spec.replicas"}}},
            {"name": "empty"},
            {"name": "unknown", "value": "dropped"},
        ],
        "dryRun": [{"metricName": "b"}],
        "measurementRetention": [{"metricName": "a", "limit": 3}],
        "analysisRunMetadata": {
            "labels": {"team": "shop", "app": "other", "rollout-type": "Nonsense"},
            "annotations": {"why": "errors"},
        },
    }
    raw = routed(steps=[{"setWeight": 20}, {"analysis": analysis}])
    raw["metadata"]["labels"] = {"env": "prod", "argo-rollouts.argoproj.io/controller-instance-id": "ours"}
    world = running(raw)
    args = [{"name": name} for name in ("latest", "stable", "env", "size", "empty")]
    world.templates[KEY] = template("a", "b", args=args, dryRun=[{"metricName": "a"}])
    world.update()
    (name,) = world.runs.created
    made = world.runs.kept[name]
    assert made["metadata"]["labels"] == {
        "app": "web",
        "team": "shop",
        "rollout-type": "Step",
        "step-index": "1",
        "rollouts-pod-template-hash": world.hash("web:v2"),
        "argo-rollouts.argoproj.io/controller-instance-id": "ours",
    }
    assert made["metadata"]["annotations"] == {"rollout.argoproj.io/revision": "2", "why": "errors"}
    assert made["spec"]["args"] == [
        {"name": "latest", "value": world.hash("web:v2")},
        {"name": "stable", "value": world.hash("web:v1")},
        {"name": "env", "value": "prod"},
        {"name": "size", "value": "10"},
        {"name": "empty", "value": ""},
    ]
    assert made["spec"]["dryRun"] == [{"metricName": "b"}, {"metricName": "a"}]
    assert made["spec"]["measurementRetention"] == [{"metricName": "a", "limit": 3}]
    assert "ttlStrategy" not in made["spec"]


def test_a_run_that_no_status_names_is_found_again() -> None:
    """§6: created, and then the process died; it is not created twice, and one of another content is not it."""
    world = running(routed(steps=STEPS))
    world.wait()
    world.set_image("web:v2")
    while not world.runs.created:
        world.run_pods()
        before = dict(world.raw["status"])
        plan = world.once()
    assert isinstance(plan.actions[-1], CreateRun)
    (name,) = world.runs.created
    world.raw["status"] = before
    world.settle()
    assert world.runs.created == [name]
    assert world.status["canary"]["currentStepAnalysisRunStatus"]["name"] == name

    world.raw["status"] = dict(before)
    world.templates[KEY] = template("other")
    world.settle()
    assert world.runs.created == [name, f"{name}.1"]
    assert world.runs.terminated == [name], "what nobody waits for ends"


def test_a_name_that_somebody_else_has() -> None:
    """§6: the next free one."""
    world = running(routed(steps=STEPS))
    seen = world.observe

    def observe() -> Any:
        from dataclasses import replace

        pod_hash = world.rollout.status.current_pod_hash
        return replace(seen(), taken_runs=frozenset({f"web-{pod_hash}-2-1", f"web-{pod_hash}-2-1.1"}))

    world.observe = observe  # type: ignore[method-assign]
    world.update()
    assert [name.partition("-2-1")[2] for name in world.runs.created] == [".2"]


def test_a_later_edit_of_a_template_does_not_reach_a_run() -> None:
    """§17.1"""
    world = updating(routed(steps=STEPS))
    (name,) = world.runs.created
    world.templates[KEY] = template("quite", "another")
    world.settle()
    assert world.runs.created == [name]
    assert world.runs.terminated == []


def test_an_argument_that_cant_be_resolved() -> None:
    """§17.1: nothing is created or promoted, the status and one event say why; it goes on once it can."""
    source = {"fieldRef": {"fieldPath": "spec.revisionHistoryLimit"}}
    analysis = {**ERRORS, "args": [{"name": "a", "valueFrom": source}]}
    world = running(routed(steps=[{"setWeight": 20}, {"analysis": analysis}]))
    world.templates[KEY] = template("errors", args=[{"name": "a"}])
    world.update()
    world.pass_time(100)
    assert world.runs.created == []
    assert world.status["currentStepIndex"] == 1
    condition = world.condition("AnalysisRunNotCreated")
    assert condition is not None
    assert condition["message"] == "Step analysis can't begin: the Rollout has no field 'spec.revisionHistoryLimit'"
    assert world.reasons().count("AnalysisRunNotCreated") == 1
    assert world.plans[-1].look_again is not None
    world.edit(revisionHistoryLimit=5)
    world.settle()
    assert len(world.runs.created) == 1
    assert world.condition("AnalysisRunNotCreated") is None


def test_a_template_that_is_missing() -> None:
    """§20, §24: InvalidSpec before anything is made; but it never keeps an update from going back."""
    world = running(routed(steps=STEPS))
    world.templates[KEY] = None
    world.update()
    text = (
        'InvalidSpec: The Rollout "web" is invalid: spec.strategy.canary.steps[1].analysis.templates: '
        "Invalid value: \"errors\": AnalysisTemplate 'errors' not found"
    )
    assert (world.status["phase"], world.status["message"]) == ("Degraded", text)
    assert "web:v2" not in world.sizes()
    world.templates[KEY] = template("errors")
    world.settle()
    assert world.status["currentStepIndex"] == 1
    world.templates[KEY] = None
    world.settle()
    assert world.status["message"] == text
    world.runs.say("Step", "Failed")
    world.settle()
    assert world.status["message"].startswith("RolloutAborted")
    assert world.routed[-1].canary.weight == 0
    world.update("web:v1")
    assert world.status["phase"] == "Healthy"
    world.edit(replicas=4)
    world.settle()
    assert world.sizes()["web:v1"] == 4


@pytest.mark.parametrize("way", ["abort", "promote", "rollback", "new version", "step gone"])
def test_runs_that_nobody_waits_for_end(way: str) -> None:
    """§17.5: each is asked once, whatever took the update away from it."""
    world = updating(routed(steps=STEPS, analysis=ERRORS))
    before = set(world.runs.wanted())
    assert len(before) == 2
    if way == "abort":
        world.abort()
    elif way == "promote":
        world.patch_status(promoteFull=True)
        world.settle()
    elif way == "rollback":
        world.update("web:v1")
    elif way == "new version":
        world.update("web:v3")
    else:
        world.set_steps([{"setWeight": 20}, {"pause": {}}])
        world.settle()
        before = {name for name in before if name.endswith("-2-1")}  # the one beside the steps is wanted still
    assert before <= set(world.runs.terminated)
    assert not before & set(world.runs.wanted())
    assert len(world.runs.terminated) == len(set(world.runs.terminated))


def test_a_run_that_was_cancelled_is_never_a_yes() -> None:
    """§17.5: an abort whose status got lost has ended the run already; the step is measured again."""
    world = updating(routed(steps=STEPS))
    (name,) = world.runs.created
    world.runs.kept[name]["spec"]["terminate"] = True
    world.runs.kept[name]["metadata"]["annotations"]["gitops-rollouts.io/cancelled"] = "true"
    world.settle()
    assert world.runs.phases()[name] == "Successful"
    assert world.status["currentStepIndex"] == 1
    assert world.runs.wanted() == [f"{name}.1"]


def test_finished_runs_are_kept_within_limits() -> None:
    """§17.7: the newest of each kind of end over all revisions; none of a version that is gone."""
    raw = manifest(
        steps=[{"analysis": ERRORS}],
        analysis={"successfulRunHistoryLimit": 2, "unsuccessfulRunHistoryLimit": 1},
        revisionHistoryLimit=10,
    )
    world = deployed(raw)
    for number in range(2, 6):
        world.wait(5)
        world.set_image(f"web:v{number}")
        world.settle()
        world.runs.say("Step", "Successful")
        world.settle()
    assert len(world.runs.kept) == 2
    assert [name in world.runs.kept for name in world.runs.created] == [False, False, True, True]
    for number in range(6, 8):
        world.wait(5)
        world.set_image(f"web:v{number}")
        world.settle()
        world.runs.say("Step", "Failed")
        world.settle()
    assert sorted(world.runs.phases().values()) == ["Failed", "Successful", "Successful"]
    world.edit(revisionHistoryLimit=0)
    world.settle()
    alive = {kept.spec.labels["rollouts-pod-template-hash"] for kept in world.sets.values()}
    assert {run["metadata"]["labels"]["rollouts-pod-template-hash"] for run in world.runs.kept.values()} <= alive


def test_git_needs_the_runs_that_let_an_update_pass_its_steps() -> None:
    """§17.7, §24: they are kept until the update is over, whatever the limits."""
    raw = manifest(
        steps=[{"analysis": ERRORS}, {"analysis": ERRORS}, {"pause": {}}],
        analysis={"successfulRunHistoryLimit": 0, "unsuccessfulRunHistoryLimit": 0},
    )
    world = deployed(raw, authority=Authority("prod", fresh=True, applied=True))
    world.wait()
    world.set_image("web:v2")
    for _ in range(2):
        world.settle()
        world.runs.say("Step", "Successful")
    world.settle()
    assert world.status["currentStepIndex"] == 2
    assert len(world.runs.kept) == 2
    world.authority = Authority("prod", fresh=True, applied=True, approved_through=2)
    world.settle()
    assert world.status["phase"] == "Healthy"
    world.pass_time(5)
    assert world.runs.kept == {}


@pytest.mark.parametrize("writes", range(9))
@pytest.mark.parametrize("ends", ["Successful", "Failed", "Inconclusive"])
def test_dying_after_each_write(writes: int, ends: str) -> None:
    """§6, §17.5: every pass dies after so many writes, twice, before one lives: no run twice, and the same end."""
    found = []
    for mortal in (False, True):
        world = deployed(manifest(replicas=3, steps=STEPS, canary={"analysis": ERRORS}))
        world.set_image("web:v2")
        for phase in ("Running", ends, ends):
            world.runs.ends["Step"] = (phase, "")
            for _ in range(60):
                if mortal:
                    world.once(only=writes)
                    world.once(only=writes)
                world.once()
                world.run_pods()
        world.settle()
        found.append(outcome(world))
    assert found[0] == found[1]


def outcome(world: World) -> Any:
    pauses = [pause["reason"] for pause in world.status.get("pauseConditions", [])]
    wanted = sorted(world.runs.wanted())
    return world.sizes(), world.status["phase"], pauses, world.runs.created, wanted, world.status["currentStepIndex"]


@pytest.mark.parametrize("strategy", ["canary", "blueGreen"])
def test_a_resume_while_the_rollout_is_paused_takes_effect_afterwards_and_once(strategy: str) -> None:
    """§11.7, §24: ``spec.paused`` doesn't make a result without a verdict be measured again and again."""
    services = {"activeService": "active", "previewService": "preview", "prePromotionAnalysis": ERRORS}
    canary = manifest(steps=[{"analysis": ERRORS}])
    world = deployed(canary if strategy == "canary" else manifest(blue_green=services))
    world.wait()
    world.set_image("web:v2")
    kind = "Step" if strategy == "canary" else "PrePromotion"
    world.runs.ends[kind] = ("Inconclusive", "neither")
    world.settle()
    assert [pause["reason"] for pause in world.status["pauseConditions"]] == ["InconclusiveAnalysisRun"]
    world.edit(paused=True)
    world.settle()
    world.patch_status(pauseConditions=None)
    world.settle()
    assert len(world.runs.created) == 1
    world.edit(paused=False)
    world.settle()
    assert len(world.runs.created) == 2
    assert [pause["reason"] for pause in world.status["pauseConditions"]] == ["InconclusiveAnalysisRun"]
