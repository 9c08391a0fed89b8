"""What the caches tell of runs that have ended: the evidence of decisions (docs/decisions.md §6), and little more."""

from __future__ import annotations

from typing import Any

from cli.run_examples import OWNER, experiment, run
from gitops_rollouts.api.meta import ObjectMeta
from gitops_rollouts.controllers.run_caches import RunCaches
from gitops_rollouts.kube.absent import NoCluster

ROLLOUT = ObjectMeta(namespace="shop", name="web", uid="u")


def caches(*objects: dict[str, Any]) -> RunCaches:
    """Caches that have seen these objects."""
    made = RunCaches(NoCluster("a test"), namespace=None, on_owned=lambda _: None, on_template=lambda *_: None)
    for number, raw in enumerate(objects, 1):
        raw["metadata"]["resourceVersion"] = str(number)
        (made.runs if raw["kind"] == "AnalysisRun" else made.experiments)._put(raw)
    return made


def of_experiment(name: str, phase: str) -> dict[str, Any]:
    """A run that the Experiment owns; it has no label of a version."""
    raw = run(name, phase)
    raw["metadata"]["ownerReferences"] = [{**OWNER[0], "kind": "Experiment", "name": "web-new-2-0", "uid": "ex"}]
    del raw["metadata"]["labels"]
    return raw


def test_a_run_that_failed_leaves_its_evidence_and_no_measurements() -> None:
    seen = caches(run(), run("web-new-2-2", "Successful"), run("web-new-2-3", "Running"))
    failures = seen.failures_of(ROLLOUT)
    assert list(failures) == ["web-new-2-1"]
    worst = failures["web-new-2-1"][0]
    assert (worst.metric, worst.phase, worst.value, worst.success) == (
        "error-rate", "Failed", "[0.42]", "result[0] <= 0.05",
    )  # fmt: skip
    kept = seen.runs.get("shop", "web-new-2-1")
    assert kept is not None
    assert kept.spec == kept.status == {}
    assert kept.run.status.metric_results == kept.run.spec.metrics == ()


def test_an_experiment_answers_for_its_runs() -> None:
    failed = of_experiment("web-new-2-0-compare", "Failed")
    assert caches(experiment("Running"), failed).failures_of(ROLLOUT) == {}
    failures = caches(experiment("Failed"), failed, of_experiment("web-new-2-0-other", "Successful")).failures_of(
        ROLLOUT
    )
    assert {name: [each.run for each in found] for name, found in failures.items()} == {
        "web-new-2-0": ["web-new-2-0-compare", "web-new-2-0-compare"]
    }


def test_a_request_hears_of_every_run_of_its_version_and_of_no_other() -> None:
    former = run("web-old-1-1", "Successful")
    former["metadata"]["labels"]["rollouts-pod-template-hash"] = "old"
    by_hand = run("by-hand")
    del by_hand["metadata"]["ownerReferences"]
    going = run("web-new-2", "Running")
    seen = caches(former, by_hand, going, experiment(), of_experiment("web-new-2-0-compare", "Successful"))
    assert {each.run for each in seen.evidence_of(ROLLOUT, "new")} == {"web-new-2", "web-new-2-0-compare"}
    assert {each.run for each in seen.evidence_of(ROLLOUT, "old")} == {"web-old-1-1"}
    kept = seen.runs.get("shop", "by-hand")
    assert kept is not None
    assert kept.evidence == (), "nobody's decision"
