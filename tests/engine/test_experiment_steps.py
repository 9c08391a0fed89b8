"""The step `experiment` of a canary: its Experiment, what becomes of it, and its traffic (§19, §15.1, §17.7)."""

from __future__ import annotations

from typing import Any

import pytest

from engine.routed_world import RoutedWorld, routed
from engine.test_canary_runs import updating
from gitops_rollouts.api.names import CANCELLED
from gitops_rollouts.engine.observed import Authority, Service

HASH = "rollouts-pod-template-hash"
TEMPLATES: list[dict[str, Any]] = [
    {"name": "base", "specRef": "stable", "weight": 10, "replicas": 2},
    {"name": "try", "specRef": "canary", "weight": 20, "service": {"name": "mine"}},
    {"name": "dark", "specRef": "canary"},
]
STEPS: list[dict[str, Any]] = [
    {"setWeight": 20},
    {"experiment": {"templates": TEMPLATES}},
    {"setWeight": 60},
    {"pause": {}},
]


def trying(
    steps: list[dict[str, Any]] | None = None, *, authority: Authority | None = None, **more: Any
) -> RoutedWorld:
    """A canary at its experiment."""
    return updating(routed(steps=STEPS if steps is None else steps, **more), authority=authority)


def named(world: RoutedWorld) -> str:
    return str(world.status["canary"].get("currentExperiment", ""))


def besides(world: RoutedWorld) -> dict[str, int]:
    """What the routers were told last to send elsewhere."""
    return {one.service: one.weight for one in world.routed[-1].additional}


def test_the_experiment_is_a_copy_of_the_rollouts_pods() -> None:
    """§19: name, labels, annotations; selectors with the hash, a Service for a weight; arguments as they are now."""
    args = [
        {"name": "new", "valueFrom": {"podTemplateHashValue": "Latest"}},
        {"name": "old", "valueFrom": {"podTemplateHashValue": "Stable"}},
        {"name": "name", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "own", "value": "{{templates.try.podTemplateHash}}"},
    ]
    metadata = {"labels": {"trial": "yes"}, "annotations": {"note": "x"}}
    templates = [{**TEMPLATES[0], "metadata": metadata}, *TEMPLATES[1:]]
    step = {
        "templates": templates,
        "duration": "5m",
        "scaleDownDelaySeconds": 7,
        "dryRun": [{"metricName": "m"}],
        "analysisRunMetadata": {"labels": {"team": "a"}},
        "analyses": [{"name": "errors", "templateName": "errors", "args": args, "requiredForCompletion": True}],
    }
    world = RoutedWorld(
        routed(steps=[{"experiment": step}, {"pause": {}}], spec={"progressDeadlineSeconds": 99, "minReadySeconds": 3})
    )
    world.raw["metadata"]["labels"] = {"argo-rollouts.argoproj.io/controller-instance-id": "blue"}
    world.settle()
    old = world.hash("web:v1")
    assert (world.trials.created, named(world)) == ([], ""), "a first deploy tries nothing"
    world.update()
    new = world.hash("web:v2")
    (name, made), *others = world.trials.kept.items()
    assert (name, others, named(world)) == (f"web-{new}-2-0", [], name)
    assert made["metadata"]["labels"] == {HASH: new, "argo-rollouts.argoproj.io/controller-instance-id": "blue"}
    assert made["metadata"]["annotations"] == {"rollout.argoproj.io/revision": "2"}
    assert [event.message for event in world.events if event.reason == "ExperimentCreated"] == [
        f"Created Experiment '{name}'"
    ]
    spec = made["spec"]
    base, tried, dark = spec["templates"]
    assert base["selector"] == {"matchLabels": {"app": "web", HASH: old, "trial": "yes"}}
    assert base["template"]["metadata"] == {
        "labels": {"app": "web", HASH: old, "trial": "yes"},
        "annotations": {"note": "x"},
    }
    assert base["template"]["spec"]["containers"][0]["image"] == "web:v1"
    assert (base["replicas"], base["minReadySeconds"], base["service"]) == (2, 3, {})
    assert (tried["service"], "replicas" in tried, "service" in dark) == ({"name": "mine"}, False, False)
    assert tried["template"]["spec"]["containers"][0]["image"] == "web:v2"
    assert {key: spec[key] for key in spec if key not in ("templates", "analyses")} == {
        "duration": "5m",
        "scaleDownDelaySeconds": 7,
        "progressDeadlineSeconds": 99,
        "dryRun": [{"metricName": "m"}],
        "analysisRunMetadata": {"labels": {"team": "a"}},
    }
    assert spec["analyses"] == [
        {
            "name": "errors",
            "templateName": "errors",
            "requiredForCompletion": True,
            "args": [
                {"name": "new", "value": new},
                {"name": "old", "value": old},
                {"name": "name", "value": "web"},
                {"name": "own", "value": "{{templates.try.podTemplateHash}}"},
            ],
        }
    ]


def test_its_templates_get_their_traffic_while_it_runs() -> None:
    """§15.1: stable keeps the pods of its whole share; the traffic goes in the pass that sees another phase."""
    world = trying()
    assert besides(world) == {f"{named(world)}-base": 10, f"{named(world)}-try": 20}
    told = world.routed[-1]
    assert (told.canary.weight, told.stable.weight, told.max_weight) == (20, 50, 100)
    recorded = world.status["canary"]["weights"]
    assert [one["weight"] for one in recorded["additional"]] == [10, 20]
    assert recorded["stable"]["weight"] == 50
    assert world.sizes()["web:v1"] == 10
    texts = [event.message for event in world.events if event.reason == "TrafficWeightUpdated"]
    assert texts[-1] == f"Traffic weight updated , additional: {named(world)}-base 10, {named(world)}-try 20"
    world.trials.say("Experiment", "Pending")
    world.once()
    assert besides(world) == {}
    assert (world.routed[-1].canary.weight, world.routed[-1].stable.weight) == (20, 80)
    world.trials.say("Experiment", "Successful")
    world.settle()
    assert (world.status["currentStepIndex"], world.routed[-1].canary.weight) == (3, 60)
    assert "additional" not in world.status["canary"]["weights"]


def test_with_a_stable_that_shrinks_it_keeps_the_pods_for_its_whole_share() -> None:
    """§8.4, §15.1."""
    world = trying(dynamicStableScale=True)
    assert (world.routed[-1].stable.weight, world.sizes()) == (50, {"web:v1": 8, "web:v2": 2})
    world.trials.say("Experiment", "Failed", "no")
    world.settle()
    world.wait(60)
    world.settle()
    assert (world.status["phase"], world.sizes()["web:v1"], besides(world)) == ("Degraded", 10, {})


def test_more_weight_than_there_is_goes_no_further_than_stable_has() -> None:
    """§15.1: in the order of the templates, what the canary leaves."""
    steps = [{"setWeight": 80}, *STEPS[1:]]
    world = trying(steps)
    assert list(besides(world).values()) == [10, 10]
    assert world.routed[-1].stable.weight == 0


def test_traffic_leaves_an_ended_experiment_even_while_stable_lacks_pods() -> None:
    """§15.1, §24: its pods are about to go, and stable has some."""
    world = trying()
    world.strict = False
    stable = world.by_image("web:v1")
    for pod in stable.pods[:5]:
        pod.available = False
    world.slow = True
    world.trials.say("Experiment", "Failed", "no")
    world.once()
    assert besides(world) or world.status["abort"]
    world.once()
    assert besides(world) == {}
    assert world.routed[-1].stable.weight >= 80


@pytest.mark.parametrize("phase", ["Failed", "Error"])
def test_a_failed_experiment_gives_the_update_up(phase: str) -> None:
    """§11.1."""
    world = trying()
    world.trials.say("Experiment", phase, "too slow")
    world.settle()
    assert world.status["abort"] is True
    assert "Experiment analysis phase is error/failed: too slow" in world.status["message"]
    assert (named(world), besides(world), world.routed[-1].canary.weight) == ("", {}, 0)


def test_after_no_verdict_resuming_tries_once_more() -> None:
    """§11.7, §19: InconclusiveExperiment; another Experiment, not the old one."""
    world = trying()
    first = named(world)
    world.trials.say("Experiment", "Inconclusive")
    world.settle()
    assert (world.status["message"], named(world), besides(world)) == ("InconclusiveExperiment", "", {})
    world.resume()
    assert named(world) == f"{first}-1"
    world.trials.say("Experiment", "Successful")
    world.settle()
    assert world.status["currentStepIndex"] == 3


@pytest.mark.parametrize("how", ["abort", "promote", "update", "steps", "skip"])
def test_one_that_nobody_waits_for_is_asked_to_end(how: str) -> None:
    """§17.5, §19."""
    world = trying()
    name = named(world)
    if how == "abort":
        world.abort()
    elif how == "promote":
        world.patch_status(promoteFull=True)
        world.settle()
    elif how == "update":
        world.update("web:v3")
    elif how == "steps":
        world.set_steps([{"setWeight": 10}, {"pause": {}}])
        world.settle()
    else:
        world.patch_status(currentStepIndex=2)
        world.settle()
    assert (name in world.trials.terminated, world.trials.kept[name]["spec"]["terminate"]) == (True, True)
    assert named(world) != name
    assert name not in besides(world)


def test_one_that_was_cancelled_is_no_verdict() -> None:
    """§17.5: a retry tries anew, though the old one has ended Successful."""
    world = trying()
    first = named(world)
    world.abort()
    world.retry()
    assert (named(world), world.trials.phases()[first]) == (f"{first}-1", "Successful")
    assert world.trials.kept[first]["metadata"]["annotations"][CANCELLED] == "true"
    assert world.status["currentStepIndex"] == 1


def test_one_that_a_dead_process_created_is_found_again() -> None:
    """§19: created, but not in the status."""
    world = trying([{"experiment": {"templates": TEMPLATES}}, {"pause": {}}])
    name = named(world)
    world.patch_status(canary={"currentExperiment": None})
    world.settle()
    assert (named(world), world.trials.created) == (name, [name])


def test_one_that_somebody_deleted_is_made_anew() -> None:
    """§19."""
    world = trying()
    name = named(world)
    world.trials.kept.clear()
    world.settle()
    assert (named(world), world.trials.created) == (name, [name, name])


def test_a_pause_keeps_the_step_but_not_the_experiment_from_ending() -> None:
    """§2.5: a Successful one is remembered until the step may end, and no second one is made."""
    world = trying()
    name = named(world)
    world.edit(paused=True)
    world.trials.say("Experiment", "Successful")
    world.settle()
    assert (world.status["currentStepIndex"], named(world), world.trials.created) == (1, name, [name])
    world.edit(paused=False)
    world.settle()
    assert (world.status["currentStepIndex"], named(world)) == (3, "")


def test_only_so_many_are_kept() -> None:
    """§17.7: with the limits of spec.analysis, and none of a version without a ReplicaSet."""
    world = trying(spec={"analysis": {"unsuccessfulRunHistoryLimit": 2, "successfulRunHistoryLimit": 1}})
    for _ in range(4):
        world.wait(1)
        world.trials.say("Experiment", "Inconclusive")
        world.settle()
        world.resume()
    assert sorted(world.trials.phases().values()) == ["Inconclusive", "Inconclusive", "Running"]
    assert len(world.trials.deleted) == 2


def test_what_cannot_be_begun_is_told_and_stops_nothing_else() -> None:
    """§19: an argument from a field that isn't there."""
    args = [{"name": "x", "valueFrom": {"fieldRef": {"fieldPath": "status.nothing"}}}]
    step = {"templates": TEMPLATES, "analyses": [{"name": "a", "templateName": "a", "args": args}]}
    world = trying([{"setWeight": 20}, {"experiment": step}])
    assert (world.trials.created, world.status["currentStepIndex"], world.status.get("abort")) == ([], 1, None)
    told = [event.message for event in world.events if event.reason == "AnalysisRunNotCreated"]
    assert told[0].startswith("Experiment can't begin: args.x: ")


def test_where_git_decides_a_client_that_ends_it_gets_no_yes() -> None:
    """docs/decisions.md §1.1: ended before its time, it is Inconclusive."""
    world = trying(authority=Authority("prod", fresh=True, applied=True))
    name = named(world)
    world.trials.kept[name]["spec"]["terminate"] = True
    world.settle()
    assert (world.status["currentStepIndex"], world.status["message"]) == (1, "InconclusiveExperiment")


def test_while_git_is_stale_no_experiment_begins_and_one_that_runs_goes_on() -> None:
    """docs/decisions.md §4: nothing moves forward."""
    stale, fresh = Authority("prod", fresh=False, applied=True), Authority("prod", fresh=True, applied=True)
    world = trying([{"setWeight": 20}, {"pause": {"duration": 5}}, *STEPS[1:]], authority=fresh)
    world.authority = stale
    world.wait(10)
    world.settle()
    assert world.trials.created == []
    world.authority = fresh
    world.settle()
    name = named(world)
    world.authority = stale
    world.settle()
    assert (named(world), list(besides(world).values())) == (name, [10, 20])
    world.authority = Authority("prod", fresh=True, applied=False)
    world.settle()
    assert (named(world), list(besides(world).values()), world.trials.terminated) == (name, [10, 20], [])


def test_where_git_decides_a_client_can_skip_no_experiment() -> None:
    """docs/decisions.md §1.1: back to the step that nothing has said yes to; one that has isn't deleted meanwhile."""
    world = trying(
        [{"setWeight": 20}, STEPS[1], {"pause": {}}],
        authority=Authority("prod", fresh=True, applied=True),
        spec={"analysis": {"successfulRunHistoryLimit": 0}},
    )
    name = named(world)
    world.patch_status(currentStepIndex=2)
    world.settle()
    assert (world.status["currentStepIndex"], named(world), world.trials.terminated) == (1, name, [])
    world.trials.say("Experiment", "Successful")
    world.settle()
    assert (world.status["currentStepIndex"], world.status["phase"]) == (2, "Paused")
    assert name in world.trials.kept


def test_a_canary_that_becomes_blue_green_leaves_no_experiment_running() -> None:
    """§17.5."""
    world = trying()
    name = named(world)
    world.services["active"] = Service("active", {"app": "web"})
    world.edit(strategy={"blueGreen": {"activeService": "active"}})
    world.settle()
    assert world.trials.kept[name]["spec"]["terminate"] is True
