"""The analyses of an Experiment, and what it comes to through them (docs/behaviour.md §19)."""

from __future__ import annotations

from typing import Any

import pytest

from engine.experiment_world import ExperimentWorld, analysis, manifest, template
from gitops_rollouts.api.analysis_templates import TemplateKey
from gitops_rollouts.api.meta import format_time


def running(*analyses: dict[str, Any], **spec: Any) -> ExperimentWorld:
    """An Experiment that runs, with its runs in place."""
    world = ExperimentWorld(manifest(analyses=list(analyses), **spec))
    world.run()
    assert (world.phase, len(world.runs)) == ("Running", len(analyses))
    return world


def test_runs_are_created_once_everything_is_available() -> None:
    """§19, §6: in the pass after availableAt was written; name, owner's rules first, labels without the hash."""
    world = ExperimentWorld(
        manifest(
            analyses=[analysis("errors"), {**analysis("slow"), "clusterScope": True}],
            dryRun=[{"metricName": "errors"}],
            measurementRetention=[{"metricName": "errors", "limit": 5}],
            analysisRunMetadata={"labels": {"team": "a"}, "annotations": {"by": "b"}},
        )
    )
    world.raw["metadata"]["labels"] = {"argo-rollouts.argoproj.io/controller-instance-id": "blue"}
    world.know("errors", dryRun=[{"metricName": "other"}])
    world.once()
    world.once()
    world.pods(one=1)
    world.once()
    assert (world.phase, world.runs) == ("Running", {})
    world.once()
    assert list(world.runs) == ["trial-errors", "trial-slow"]
    run = world.runs["trial-errors"]
    assert run["metadata"]["labels"] == {"team": "a", "argo-rollouts.argoproj.io/controller-instance-id": "blue"}
    assert run["metadata"]["annotations"] == {"by": "b"}
    assert run["spec"]["dryRun"] == [{"metricName": "errors"}, {"metricName": "other"}]
    assert run["spec"]["measurementRetention"] == [{"metricName": "errors", "limit": 5}]
    assert world.entries()["errors"] == {"name": "errors", "analysisRun": "trial-errors", "phase": "Pending"}
    assert [one["name"] for one in world.status["analysisRuns"]] == ["errors", "slow"]
    world.judge("trial-errors", "Running")
    world.once()
    assert world.entries()["errors"]["phase"] == "Running"
    assert [event.message for event in world.owner_events] == [
        "AnalysisRun 'errors' transitioned from  -> Pending",
        "AnalysisRun 'slow' transitioned from  -> Pending",
        "AnalysisRun 'errors' transitioned from Pending -> Running",
    ]


def test_arguments_know_the_experiment() -> None:
    """§17.1: hashes and names of its own ReplicaSets, and its times; a valueFrom is dropped."""
    args = [
        {"name": "hash", "value": "h-{{templates.one.podTemplateHash}}"},
        {"name": "set", "value": "{{ templates.one.replicaset.name }}"},
        {"name": "from", "value": "{{experiment.availableAt}}"},
        {"name": "to", "value": "{{experiment.finishedAt}}"},
        {"name": "plain", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "unknown", "value": "x"},
    ]
    world = ExperimentWorld(manifest(analyses=[analysis("errors", args=args)], duration="60s"))
    wanted = [{"name": name} for name in ("hash", "set", "from", "to")]
    world.know("errors", args=[*wanted, {"name": "plain", "value": "default"}])
    world.run()
    since = world.now
    labels = world.sets["trial-one"].labels
    world.wait(60)
    assert {one["name"]: one["value"] for one in world.runs["trial-errors"]["spec"]["args"]} == {
        "hash": f"h-{labels['rollouts-pod-template-hash']}",
        "set": "trial-one",
        "from": format_time(since),
        "to": format_time(world.now),
        "plain": "default",
    }


@pytest.mark.parametrize(
    ("args", "wanted", "why"),
    [
        (
            [{"name": "a", "value": "{{experiment.finishedAt}}"}],
            [{"name": "a"}],
            "failed to resolve {{experiment.finishedAt}}",
        ),
        ([], [{"name": "a"}], "args.a was not resolved"),
    ],
)
def test_a_run_that_cannot_be_made(args: list[Any], wanted: list[Any], why: str) -> None:
    """§19: Error, with what is wrong."""
    world = ExperimentWorld(manifest(analyses=[analysis("errors", args=args)], scaleDownDelaySeconds=0))
    world.know("errors", args=wanted)
    world.run()
    message = f"Failed to create AnalysisRun for analysis 'errors': {why}"
    assert (world.phase, world.status["message"], world.runs) == ("Error", message, {})
    assert world.sizes() == {"trial-one": 0}


@pytest.mark.parametrize(("cluster", "kind"), [(False, "AnalysisTemplate"), (True, "ClusterAnalysisTemplate")])
def test_a_template_that_does_not_exist_ends_it_before_any_pod_is_available(cluster: bool, kind: str) -> None:
    """§19: but one that was created along with the Experiment gets 10 s to be known here."""
    world = ExperimentWorld(manifest(analyses=[{**analysis("errors"), "clusterScope": cluster}]))
    world.known.clear()
    world.raw["metadata"]["creationTimestamp"] = format_time(world.now)
    plan = world.once()
    assert (world.phase, plan.look_again is not None and plan.look_again.total_seconds()) == ("Pending", 10)
    world.wait(10)
    world.once()
    assert world.phase == "Error"
    assert world.status["message"] == (f"{kind} verification failed for analysis 'errors': {kind} 'errors' not found")


def test_a_nested_template_that_does_not_exist_counts_too() -> None:
    """§17.1, §19."""
    world = ExperimentWorld(manifest(analyses=[analysis("errors")]))
    world.know("errors", templates=[{"templateName": "inner"}])
    world.once()
    assert world.phase == "Error"
    assert TemplateKey(False, "inner") not in world.known


OUTCOMES = [
    # (required, optional) phases → phase; None: there is no such analysis
    (("Successful",), ("Running",), "Successful"),
    (("Successful",), (), "Successful"),
    (("Successful", "Running"), (), "Running"),
    (("Successful", "Pending"), (), "Running"),
    ((), ("Successful",), "Running"),
    ((), ("Failed",), "Failed"),
    ((), ("Error", "Running"), "Error"),
    ((), ("Inconclusive", "Successful"), "Inconclusive"),
    (("Successful",), ("Failed",), "Failed"),
    ((), ("Inconclusive", "Error"), "Error"),
    ((), ("Failed", "Error"), "Failed"),
]


@pytest.mark.parametrize(("required", "optional", "expected"), OUTCOMES)
def test_what_runs_make_of_an_experiment_with_a_duration_to_go(
    required: tuple[str, ...], optional: tuple[str, ...], expected: str
) -> None:
    """§19: the worst that is over counts at once; all required ones good is the end."""
    named = [analysis(f"r{at}", required=True) for at in range(len(required))]
    named += [analysis(f"o{at}") for at in range(len(optional))]
    world = running(*named, duration="1h", scaleDownDelaySeconds=0)
    for one, phase in zip(named, (*required, *optional), strict=True):
        world.judge(f"trial-{one['name']}", phase, f"{one['name']} is {phase}")
    world.run()
    assert world.phase == expected
    if expected == "Running":
        assert world.sizes() == {"trial-one": 1}
        return
    assert world.sizes() == {"trial-one": 0}
    expected_text = "Required AnalysisRuns completed"
    assert world.status["message"] == (expected_text if expected == "Successful" else world.status["message"])
    if expected != "Successful":
        assert world.status["message"].endswith(f"is {expected}")
    for name, phase in ((name, run["status"]["phase"]) for name, run in world.runs.items()):
        assert world.runs[name]["spec"].get("terminate", False) == (phase in ("Running", "Pending"))


def test_a_required_run_is_waited_for_past_the_duration_with_the_pods_gone() -> None:
    """§19."""
    world = running(analysis("slow", required=True), analysis("errors"), duration="10s", scaleDownDelaySeconds=0)
    world.wait(10)
    world.run()
    assert (world.phase, world.states(), world.sizes()) == ("Running", {"one": "Successful"}, {"trial-one": 0})
    world.judge("trial-slow", "Successful")
    world.run()
    assert (world.phase, world.status["message"]) == ("Successful", "Required AnalysisRuns completed")
    assert world.runs["trial-errors"]["spec"]["terminate"] is True


def test_a_run_without_an_end_is_ended_at_the_duration() -> None:
    """§19; its entry follows it to its end (§24)."""
    world = running(analysis("errors"), duration="10s")
    world.wait(10)
    world.run()
    assert world.phase == "Successful"
    assert world.runs["trial-errors"]["spec"]["terminate"] is True
    assert "AnalysisRunTerminating: Terminating AnalysisRun 'errors'" in world.told()
    world.judge("trial-errors", "Failed", "too late")
    world.run()
    assert (world.phase, world.entries()["errors"]["phase"]) == ("Successful", "Failed")


def test_terminated_with_a_required_run_under_way_it_ends_as_that_run_does() -> None:
    """§19, §24: it doesn't stick in Running."""
    world = running(analysis("slow", required=True))
    world.edit(terminate=True)
    world.run()
    assert (world.phase, world.runs["trial-slow"]["spec"]["terminate"]) == ("Running", True)
    world.judge("trial-slow", "Inconclusive", "half")
    world.run()
    assert (world.phase, world.status["message"]) == ("Inconclusive", "half")


def test_a_run_that_somebody_deleted_is_an_error() -> None:
    """§19: an Experiment without its judge says so."""
    world = running(analysis("errors"))
    world.runs.clear()
    world.run()
    assert (world.phase, world.status["message"]) == ("Error", "AnalysisRun 'trial-errors' is gone")


def test_a_run_that_a_dead_process_created_is_found_again_and_one_that_is_over_is_not() -> None:
    """§6: the same name while it is the same run and not over, else `.1`."""
    world = ExperimentWorld(manifest(analyses=[analysis("errors")]))
    for _ in range(2):
        world.once()
        world.pods_follow()
    world.once()
    world.once(only=1)
    assert (list(world.runs), world.entries()) == (["trial-errors"], {})
    world.run()
    assert (list(world.runs), world.entries()["errors"]["analysisRun"]) == (["trial-errors"], "trial-errors")
    world.judge("trial-errors", "Failed", "no")
    world.run()
    world.raw["status"] = {}
    world.run()
    assert (world.phase, world.entries()["errors"]["analysisRun"]) == ("Running", "trial-errors.1")


def test_a_run_that_no_analysis_has_is_ended() -> None:
    """§17.5: owned, but not current."""
    world = running(analysis("errors"), analysis("slow"))
    world.edit(analyses=[analysis("slow")])
    world.run()
    assert world.runs["trial-errors"]["spec"]["terminate"] is True
    assert "terminate" not in world.runs["trial-slow"]["spec"]
    assert world.phase == "Running"


def test_an_experiment_of_nothing_is_over() -> None:
    """§19: no template has anything left to do."""
    raw = manifest()
    raw["spec"]["templates"] = []
    world = ExperimentWorld(raw)
    world.run()
    assert world.phase == "Successful"


def test_a_failed_template_ends_its_analyses() -> None:
    """§19."""
    world = ExperimentWorld(manifest(template("one"), analyses=[analysis("errors")], progressDeadlineSeconds=10))
    world.run()
    world.pods(one=0)
    world.once()
    world.wait(10)
    world.settle()
    assert (world.phase, world.runs["trial-errors"]["spec"]["terminate"]) == ("Failed", True)
