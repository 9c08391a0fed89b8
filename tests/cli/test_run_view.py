"""What people see of AnalysisRuns and Experiments (docs/behaviour.md §17, §19, §21)."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console, RenderableType

from cli.rollout_examples import NOW, REPLICA_SETS, at_gate, rollout
from cli.run_examples import experiment, run
from gitops_rollouts.api.analysis import Metric, MetricResult
from gitops_rollouts.cli.get import details
from gitops_rollouts.cli.narrative import explain
from gitops_rollouts.cli.rollout_tree import render
from gitops_rollouts.cli.run_tree import condition_text, show_experiment, show_run
from gitops_rollouts.cli.run_view import experiment_view, owned, run_view
from gitops_rollouts.cli.view import RolloutView, view

ABORTED = {"phase": "Degraded", "abort": True, "abortedAt": "2026-05-04T11:59:10Z", "currentStepIndex": 0}


def drawn(picture: RenderableType) -> str:
    out = io.StringIO()
    Console(width=240, file=out).print(picture)
    return out.getvalue()


def seen(raw: dict[str, Any], *runs: dict[str, Any], experiments: tuple[dict[str, Any], ...] = ()) -> RolloutView:
    return replace(
        view(raw, REPLICA_SETS),
        runs=tuple(map(run_view, runs)),
        experiments=tuple(experiment_view(each, [run("web-new-2-0-compare")]) for each in experiments),
    )


def test_the_tree_shows_runs_and_experiments_under_their_revision() -> None:
    text = drawn(render(seen(at_gate(), run(), experiments=(experiment(),)), NOW))
    order = [
        "revision 2",
        "web-new  canary",
        "Σ web-new-2-0  ◌ Running",
        "baseline  ◌ Running  2/2 available  Service web-baseline",
        "canary  ◷ Pending  0/1 available",
        "α web-new-2-0-compare  compare",
        "α web-new-2-1  step 1  ✖ Failed",
        "latency  ✔ Successful  ✔ 1  last [0.1]  wants result[0] < 1",
        "error-rate  ✖ Failed  ✔ 2  ✖ 1  last [0.42]  wants result[0] <= 0.05",
        "revision 1",
    ]
    position = -1
    for part in order:
        position = text.find(part, position + 1)
        assert position >= 0, (part, text)
    assert "11:59:01" not in text
    assert "secret_query" not in text


def test_measurements_are_shown_when_asked_for() -> None:
    for text in (
        drawn(render(seen(at_gate(), run()), NOW, measurements=True)),
        drawn(render(seen(at_gate(), run()), NOW, wide=True)),
        drawn(show_run(run_view(run()), NOW, measurements=True)),
    ):
        assert "11:59:01  ✔ Successful  [0.01]" in text
        assert "11:59:03  ✖ Failed  [0.42]" in text


def test_a_run_alone_shows_metrics_that_have_not_begun() -> None:
    text = drawn(show_run(run_view(run(phase="Running", metricResults=[], message="")), NOW))
    assert "error-rate  ◷ Pending  no measurement yet  wants result[0] <= 0.05" in text


def test_an_experiment_alone_shows_how_long_it_runs() -> None:
    assert "runs for 2m of 10m" in drawn(show_experiment(experiment_view(experiment()), NOW))
    assert "runs for" not in drawn(show_experiment(experiment_view(experiment("Successful")), NOW))


def test_data_has_each_run_with_its_measurements() -> None:
    data = details(seen(at_gate(), run(), experiments=(experiment(),)))
    (found,) = data["analysisRuns"]
    assert (found["name"], found["role"], found["revision"], found["phase"]) == ("web-new-2-1", "step 1", 2, "Failed")
    metric = found["metrics"][1]
    assert (metric["name"], metric["failed"], metric["successCondition"]) == ("error-rate", 1, "result[0] <= 0.05")
    assert [each["value"] for each in metric["measurements"]] == ["[0.01]", "[0.02]", "[0.42]"]
    (tried,) = data["experiments"]
    assert (tried["phase"], tried["templates"][0]["available"]) == ("Running", 2)
    assert tried["analysisRuns"][0]["role"] == "compare"


def test_only_what_the_rollout_controls_is_its_own() -> None:
    stranger = run()
    stranger["metadata"]["ownerReferences"] = [{"kind": "Rollout", "name": "web", "uid": "other", "controller": True}]
    assert owned([run(), stranger], "u") == [run()]
    assert owned([{"metadata": {}}], "") == []


def test_why_names_the_condition_that_failed_its_counts_and_when() -> None:
    text = explain(seen(rollout(status=ABORTED), run()), None, NOW)
    assert (
        "Analysis web-new-2-1 (step 1) ended Failed: error-rate failed 1 of 3 measurements (0 allowed): last value"
        " [0.42], wanted result[0] <= 0.05 (57s ago)."
    ) in text


def test_why_names_an_analysis_without_a_verdict() -> None:
    results = [{"name": "error-rate", "phase": "Inconclusive", "inconclusive": 1, "measurements": [
        {"phase": "Inconclusive", "value": "[0.07]", "finishedAt": "2026-05-04T11:59:30Z"}]}]  # fmt: skip
    undecided = run(phase="Inconclusive", metricResults=results)
    text = explain(seen(at_gate(), undecided), None, NOW)
    assert "error-rate was undecided in 1 of 1 measurement (0 allowed): last value [0.07]" in text
    assert "(30s ago)" in text


def test_why_tells_of_a_run_that_could_not_begin_without_its_provider_s_words() -> None:
    message = 'Unable to resolve metric arguments: secret "s" not found: "Error Message: token xyz"'
    text = explain(seen(rollout(status=ABORTED), run(phase="Error", metricResults=[], message=message)), None, NOW)
    assert "ended Error: Unable to resolve metric arguments" in text
    assert "xyz" not in text


def test_why_names_the_step_that_waits_for_its_metrics() -> None:
    """The phase speaks of replicas then (§4.2), which nobody waits for."""
    raw = rollout(status={"phase": "Progressing", "message": "more replicas need to be updated", "currentStepIndex": 1})
    raw["spec"]["strategy"]["canary"]["steps"][1] = {"analysis": {"templates": [{"templateName": "error-rate"}]}}
    assert "1 of 4 steps is done: step 1 waits for its analysis." in explain(seen(raw, run(phase="Running")), None, NOW)


def test_an_undecided_metric_shows_both_of_its_conditions() -> None:
    metric = Metric.model_validate({"name": "m", "successCondition": "result > 9", "failureCondition": "result < 5"})
    assert condition_text(MetricResult(phase="Inconclusive"), metric) == "wants result > 9, fails if result < 5"
    assert condition_text(MetricResult(phase="Failed"), metric) == "fails if result < 5"


def test_why_tells_what_is_under_way_and_nothing_of_the_past() -> None:
    text = explain(seen(at_gate(), run(phase="Running")), None, NOW)
    assert "Analysis web-new-2-1 (step 1) is under way: error-rate 2 of 3 good, latency 1 of 1 good." in text
    assert "nalysis" not in explain(seen(rollout(status={"stableRS": "new"}), run()), None, NOW)
    former = run()
    former["metadata"]["labels"]["rollouts-pod-template-hash"] = "old"
    assert "nalysis" not in explain(seen(at_gate(), former), None, NOW)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda each: (
        st.lists(each, max_size=3)
        | st.dictionaries(
            st.sampled_from(["phase", "message", "metricResults", "measurements", "name", "value", "templateStatuses"]),
            each,
            max_size=4,
        )
    ),
    max_leaves=15,
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(_JSON)
def test_any_status_can_be_shown(status: Any) -> None:
    raw = run() | {"status": status}
    picture = seen(at_gate(), raw, experiments=(experiment() | {"status": status},))
    assert drawn(render(picture, NOW, measurements=True))
    assert details(picture)
    assert explain(picture, None, NOW)
