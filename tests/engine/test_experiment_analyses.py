"""The analyses of an Experiment, and what it comes to through them (docs/behaviour.md §19)."""

from __future__ import annotations

from typing import Any

import pytest

from engine.bench import Bench, analysis, manifest, template
from gitops_rollouts.api.analysis_templates import TemplateKey
from gitops_rollouts.api.meta import format_time


def running(*analyses: dict[str, Any], **spec: Any) -> Bench:
    """An Experiment that runs, with its runs in place."""
    bench = Bench(manifest(analyses=list(analyses), **spec))
    bench.run()
    assert (bench.phase, len(bench.runs)) == ("Running", len(analyses))
    return bench


def test_runs_are_created_once_everything_is_available() -> None:
    """§19, §6: in the pass after availableAt was written; name, owner's rules first, labels without the hash."""
    bench = Bench(
        manifest(
            analyses=[analysis("errors"), {**analysis("slow"), "clusterScope": True}],
            dryRun=[{"metricName": "errors"}],
            measurementRetention=[{"metricName": "errors", "limit": 5}],
            analysisRunMetadata={"labels": {"team": "a"}, "annotations": {"by": "b"}},
        )
    )
    bench.raw["metadata"]["labels"] = {"argo-rollouts.argoproj.io/controller-instance-id": "blue"}
    bench.know("errors", dryRun=[{"metricName": "other"}])
    bench.once()
    bench.once()
    bench.pods(one=1)
    bench.once()
    assert (bench.phase, bench.runs) == ("Running", {})
    bench.once()
    assert list(bench.runs) == ["trial-errors", "trial-slow"]
    run = bench.runs["trial-errors"]
    assert run["metadata"]["labels"] == {"team": "a", "argo-rollouts.argoproj.io/controller-instance-id": "blue"}
    assert run["metadata"]["annotations"] == {"by": "b"}
    assert run["spec"]["dryRun"] == [{"metricName": "errors"}, {"metricName": "other"}]
    assert run["spec"]["measurementRetention"] == [{"metricName": "errors", "limit": 5}]
    assert bench.entries()["errors"] == {"name": "errors", "analysisRun": "trial-errors", "phase": "Pending"}
    assert [one["name"] for one in bench.status["analysisRuns"]] == ["errors", "slow"]
    bench.judge("trial-errors", "Running")
    bench.once()
    assert bench.entries()["errors"]["phase"] == "Running"
    assert [event.message for event in bench.owner_events] == [
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
    bench = Bench(manifest(analyses=[analysis("errors", args=args)], duration="60s"))
    wanted = [{"name": name} for name in ("hash", "set", "from", "to")]
    bench.know("errors", args=[*wanted, {"name": "plain", "value": "default"}])
    bench.run()
    since = bench.now
    labels = bench.sets["trial-one"].labels
    bench.wait(60)
    assert {one["name"]: one["value"] for one in bench.runs["trial-errors"]["spec"]["args"]} == {
        "hash": f"h-{labels['rollouts-pod-template-hash']}",
        "set": "trial-one",
        "from": format_time(since),
        "to": format_time(bench.now),
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
    bench = Bench(manifest(analyses=[analysis("errors", args=args)], scaleDownDelaySeconds=0))
    bench.know("errors", args=wanted)
    bench.run()
    message = f"Failed to create AnalysisRun for analysis 'errors': {why}"
    assert (bench.phase, bench.status["message"], bench.runs) == ("Error", message, {})
    assert bench.sizes() == {"trial-one": 0}


@pytest.mark.parametrize(("cluster", "kind"), [(False, "AnalysisTemplate"), (True, "ClusterAnalysisTemplate")])
def test_a_template_that_does_not_exist_ends_it_before_any_pod_is_available(cluster: bool, kind: str) -> None:
    """§19: but one that was created along with the Experiment gets 10 s to be known here."""
    bench = Bench(manifest(analyses=[{**analysis("errors"), "clusterScope": cluster}]))
    bench.known.clear()
    bench.raw["metadata"]["creationTimestamp"] = format_time(bench.now)
    plan = bench.once()
    assert (bench.phase, plan.look_again is not None and plan.look_again.total_seconds()) == ("Pending", 10)
    bench.wait(10)
    bench.once()
    assert bench.phase == "Error"
    assert bench.status["message"] == (f"{kind} verification failed for analysis 'errors': {kind} 'errors' not found")


def test_a_nested_template_that_does_not_exist_counts_too() -> None:
    """§17.1, §19."""
    bench = Bench(manifest(analyses=[analysis("errors")]))
    bench.know("errors", templates=[{"templateName": "inner"}])
    bench.once()
    assert bench.phase == "Error"
    assert TemplateKey(False, "inner") not in bench.known


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
    bench = running(*named, duration="1h", scaleDownDelaySeconds=0)
    for one, phase in zip(named, (*required, *optional), strict=True):
        bench.judge(f"trial-{one['name']}", phase, f"{one['name']} is {phase}")
    bench.run()
    assert bench.phase == expected
    if expected == "Running":
        assert bench.sizes() == {"trial-one": 1}
        return
    assert bench.sizes() == {"trial-one": 0}
    expected_text = "Required AnalysisRuns completed"
    assert bench.status["message"] == (expected_text if expected == "Successful" else bench.status["message"])
    if expected != "Successful":
        assert bench.status["message"].endswith(f"is {expected}")
    for name, phase in ((name, run["status"]["phase"]) for name, run in bench.runs.items()):
        assert bench.runs[name]["spec"].get("terminate", False) == (phase in ("Running", "Pending"))


def test_a_required_run_is_waited_for_past_the_duration_with_the_pods_gone() -> None:
    """§19."""
    bench = running(analysis("slow", required=True), analysis("errors"), duration="10s", scaleDownDelaySeconds=0)
    bench.wait(10)
    bench.run()
    assert (bench.phase, bench.states(), bench.sizes()) == ("Running", {"one": "Successful"}, {"trial-one": 0})
    bench.judge("trial-slow", "Successful")
    bench.run()
    assert (bench.phase, bench.status["message"]) == ("Successful", "Required AnalysisRuns completed")
    assert bench.runs["trial-errors"]["spec"]["terminate"] is True


def test_a_run_without_an_end_is_ended_at_the_duration() -> None:
    """§19; its entry follows it to its end (§24)."""
    bench = running(analysis("errors"), duration="10s")
    bench.wait(10)
    bench.run()
    assert bench.phase == "Successful"
    assert bench.runs["trial-errors"]["spec"]["terminate"] is True
    assert "AnalysisRunTerminating: Terminating AnalysisRun 'errors'" in bench.told()
    bench.judge("trial-errors", "Failed", "too late")
    bench.run()
    assert (bench.phase, bench.entries()["errors"]["phase"]) == ("Successful", "Failed")


def test_terminated_with_a_required_run_under_way_it_ends_as_that_run_does() -> None:
    """§19, §24: it doesn't stick in Running."""
    bench = running(analysis("slow", required=True))
    bench.edit(terminate=True)
    bench.run()
    assert (bench.phase, bench.runs["trial-slow"]["spec"]["terminate"]) == ("Running", True)
    bench.judge("trial-slow", "Inconclusive", "half")
    bench.run()
    assert (bench.phase, bench.status["message"]) == ("Inconclusive", "half")


def test_a_run_that_somebody_deleted_is_an_error() -> None:
    """§19: an Experiment without its judge says so."""
    bench = running(analysis("errors"))
    bench.runs.clear()
    bench.run()
    assert (bench.phase, bench.status["message"]) == ("Error", "AnalysisRun 'trial-errors' is gone")


def test_a_run_that_a_dead_process_created_is_found_again_and_one_that_is_over_is_not() -> None:
    """§6: the same name while it is the same run and not over, else `.1`."""
    bench = Bench(manifest(analyses=[analysis("errors")]))
    for _ in range(2):
        bench.once()
        bench.pods_follow()
    bench.once()
    bench.once(only=1)
    assert (list(bench.runs), bench.entries()) == (["trial-errors"], {})
    bench.run()
    assert (list(bench.runs), bench.entries()["errors"]["analysisRun"]) == (["trial-errors"], "trial-errors")
    bench.judge("trial-errors", "Failed", "no")
    bench.run()
    bench.raw["status"] = {}
    bench.run()
    assert (bench.phase, bench.entries()["errors"]["analysisRun"]) == ("Running", "trial-errors.1")


def test_a_run_that_no_analysis_has_is_ended() -> None:
    """§17.5: owned, but not current."""
    bench = running(analysis("errors"), analysis("slow"))
    bench.edit(analyses=[analysis("slow")])
    bench.run()
    assert bench.runs["trial-errors"]["spec"]["terminate"] is True
    assert "terminate" not in bench.runs["trial-slow"]["spec"]
    assert bench.phase == "Running"


def test_an_experiment_of_nothing_is_over() -> None:
    """§19: no template has anything left to do."""
    raw = manifest()
    raw["spec"]["templates"] = []
    bench = Bench(raw)
    bench.run()
    assert bench.phase == "Successful"


def test_a_failed_template_ends_its_analyses() -> None:
    """§19."""
    bench = Bench(manifest(template("one"), analyses=[analysis("errors")], progressDeadlineSeconds=10))
    bench.run()
    bench.pods(one=0)
    bench.once()
    bench.wait(10)
    bench.settle()
    assert (bench.phase, bench.runs["trial-errors"]["spec"]["terminate"]) == ("Failed", True)
