"""docs/decisions.md §6, §7: what metrics came to, as commits tell it, and what nobody can make them say."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decisions.test_message import ABORT
from decisions.test_wants import ATTEMPT, in_git, live, outbox
from gitops_rollouts.api.analysis import parse_analysis_run
from gitops_rollouts.api.evidence import MAX_METRICS, Evidence, evidence_of, read_evidence
from gitops_rollouts.decisions.evidence import MAX_BYTES, condition_of, harmless, sentence, table, trailer
from gitops_rollouts.decisions.message import Note, commit_message
from gitops_rollouts.decisions.planning.wants import WantAbort, WantRequest, wants

FAILED = Evidence(
    metric="error-rate",
    phase="Failed",
    run="web-abc-2-1",
    successful=2,
    failed=1,
    limit=0,
    value="[0.42]",
    success="result[0] <= 0.05",
    at="2026-05-04T11:59:00Z",
)
HOSTILE = (
    "x\nRollout-Decision: promote prod/shop/web gate=9",
    "x\r\n\r\nRollout-Decision: promote prod/shop/web gate=9",
    "\u2028Rollout-Actor: root",
    "<!-- hidden --> @alice #12 fixes GH-1",
    "[skip ci]",
    "***NO_CI***",
    "[click](https://evil.example)",
    "<img src=x>",
    "`code`",
    "\u202egnirts desrever",
)


def run(**status: Any) -> dict[str, Any]:
    """An AnalysisRun whose second metric failed; its provider is told things that must not leave the cluster."""
    provider = {"prometheus": {"address": "http://token@metrics.internal", "query": "secret_query"}}
    return {
        "metadata": {"name": "web-abc-2-1", "namespace": "shop", "uid": "r"},
        "spec": {
            "args": [{"name": "password", "valueFrom": {"secretKeyRef": {"name": "s", "key": "hunter2"}}}],
            "metrics": [
                {"name": "latency", "successCondition": "result[0] < 1", "count": 3, "provider": provider},
                {"name": "error-rate", "successCondition": "result[0] <= 0.05", "provider": provider},
                {"name": "try-out", "failureCondition": "result[0] > 2", "provider": provider},
            ],
        },
        "status": {
            "phase": "Failed",
            "message": 'Metric "error-rate" assessed Failed due to failed (1) > failureLimit (0): "Error Message: pw"',
            "metricResults": [
                {"name": "latency", "phase": "Successful", "count": 3, "successful": 3, "measurements": [
                    {"phase": "Successful", "value": "[0.1]"}]},
                {"name": "error-rate", "phase": "Failed", "count": 3, "successful": 2, "failed": 1, "measurements": [
                    {"phase": "Failed", "value": "[0.42]", "message": "pw", "finishedAt": "2026-05-04T11:59:00Z"}]},
                {"name": "try-out", "phase": "Failed", "failed": 1, "dryRun": True},
            ],
            **status,
        },
    }  # fmt: skip


def test_what_a_run_came_to_is_names_counts_values_and_conditions() -> None:
    failed, good = evidence_of(parse_analysis_run(run()))
    assert failed == FAILED
    assert (good.metric, good.successful, good.value, good.limit) == ("latency", 3, "[0.1]", None)
    text = json.dumps([failed.encode(), good.encode()])
    assert not any(secret in text for secret in ("secret_query", "metrics.internal", "hunter2", "pw"))


@pytest.mark.parametrize(
    ("changes", "said", "condition"),
    [
        ({}, "error-rate failed 1 of 3 measurements (0 allowed): last value [0.42], wanted result[0] <= 0.05",
         "result[0] <= 0.05"),
        ({"failure": "result[0] > 0.4"},
         "error-rate failed 1 of 3 measurements (0 allowed): last value [0.42], wanted not (result[0] > 0.4)",
         "not (result[0] > 0.4)"),
        ({"failed": 0, "limit": None}, "error-rate failed: 2 of 2 measurements good: last value [0.42],"
         " wanted result[0] <= 0.05", "result[0] <= 0.05"),
        ({"phase": "Inconclusive", "inconclusive": 1, "failed": 0},
         "error-rate was undecided in 1 of 3 measurements (0 allowed): last value [0.42], condition result[0] <= 0.05",
         "result[0] <= 0.05"),
        ({"phase": "Error", "error": 5, "failed": 0, "limit": 4, "value": ""},
         "error-rate could not be measured 5 times (4 allowed in a row)", "result[0] <= 0.05"),
        ({"phase": "Successful", "failed": 0, "limit": None},
         "error-rate is Successful, 2 of 2 measurements good: last value [0.42], condition result[0] <= 0.05",
         "result[0] <= 0.05"),
    ],
)  # fmt: skip
def test_in_words(changes: dict[str, Any], said: str, condition: str) -> None:
    evidence = Evidence(**{**FAILED.encode(), **changes})
    assert sentence(evidence) == said
    assert condition_of(evidence) == condition


def test_an_abort_s_commit_names_metric_condition_counts_and_value() -> None:
    note = Note(**{**_fields(ABORT), "why": "AnalysisFailed", "evidence": (FAILED,)})
    assert commit_message([note], target="prod", engine="e/1") == (
        "rollout(prod/shop/web): abort v2 at step 4, back on v1\n\n"
        "AnalysisFailed: error-rate failed 1 of 3 measurements (0 allowed): last value [0.42],"
        " wanted result[0] <= 0.05\n\n"
        "    metric      result  good/all  last    condition\n"
        "    error-rate  Failed  2/3       [0.42]  result[0] <= 0.05\n\n"
        "Rollout-Decision: abort prod/shop/web step=4\n"
        "Rollout-Decision-Id: d-lhrdtxug7g\n"
        "Rollout-Intent: 3b70795a87de51b95eadd0726935dab8e7c12fa2\n"
        "Rollout-Image: ghcr.io/acme/web:v2\n"
        "Rollout-Evidence: error-rate Failed 2/3 last=[0.42] condition=result[0] <= 0.05\n"
        "Rollout-Reason: AnalysisFailed: error-rate failed 1 of 3 measurements (0 allowed): last value [0.42],"
        " wanted result[0] <= 0.05\n"
        "Rollout-Actor: engine\n"
        "Rollout-Engine: e/1\n"
    )


@pytest.mark.parametrize("hostile", HOSTILE)
def test_no_value_forges_a_trailer_or_markup(hostile: str) -> None:
    evidence = Evidence("m" + hostile, "Failed", failed=1, value=hostile, success=hostile, failure=hostile)
    text = commit_message([Note(**{**_fields(ABORT), "evidence": (evidence,)})], target="prod", engine="e/1")
    parsed = subprocess.run(
        ["git", "interpret-trailers", "--parse"], input=text, capture_output=True, text=True, check=True
    ).stdout
    honest = commit_message([Note(**{**_fields(ABORT), "evidence": (FAILED,)})], target="prod", engine="e/1")
    keys = [line.partition(":")[0] for line in parsed.splitlines()]
    assert keys == [line.partition(":")[0] for line in honest.split("\n\n")[-1].splitlines()]
    for active in ("<!--", "[skip", "@alice", "#12", "](", "://", "<img", "`", "***", "\u202e"):
        assert active not in text


@given(st.text(max_size=600))
def test_a_value_is_one_short_line(text: str) -> None:
    said = harmless(text, 100)
    assert len(said) <= 100
    assert said.isprintable()
    assert not {"@", "`", "\\", "\n"} & set(said)
    assert harmless(said, 100) == said


@pytest.mark.parametrize(
    "expression",
    ["result[0] >= 0.95", "len(result) > 0 && all(result, # < 0.5)", "result.ok == true || 'x' in result.tags", "a <b"],
)
def test_what_an_expression_means_stays(expression: str) -> None:
    assert harmless(expression).replace(" ", "") == expression.replace(" ", "")


def test_a_commit_s_evidence_has_an_end() -> None:
    many = tuple(Evidence(f"metric-{n}", "Failed", value="9" * 5000, success="é" * 5000) for n in range(200))
    note = Note(**{**_fields(ABORT), "evidence": many})
    text = commit_message([note], target="prod")
    assert len(table(many).encode()) <= MAX_BYTES
    assert len("".join(line for line in text.splitlines() if line.startswith("Rollout-Evidence")).encode()) < 5000
    assert len(trailer(many[0])) < 400
    crowd = commit_message([note] * 37, target="prod")
    assert crowd.count("Rollout-Evidence: ") == 37, "the worst metric of each"
    assert len(crowd.encode()) < 100_000


def test_the_outbox_carries_it_to_the_commit() -> None:
    annotations = outbox(reason="AnalysisFailed", evidence=[FAILED.encode(), 7, {"metric": 3}, {"metric": "x"}])
    rollout = live(annotations=annotations, abort=True, abortedAt="2026-01-01T00:00:00Z", phase="Degraded")
    (want,) = wants(rollout, in_git(), applied=True)
    assert isinstance(want, WantAbort)
    assert want.evidence == (FAILED,)


_KEYS = st.sampled_from(["metric", "phase", "failed", "value", "limit"])
_LEAVES = st.none() | st.booleans() | st.integers() | st.text()


@given(st.recursive(_LEAVES, lambda each: st.lists(each) | st.dictionaries(_KEYS, each)))
def test_an_outbox_that_somebody_else_wrote_breaks_nothing(raw: Any) -> None:
    found = read_evidence(raw)
    assert len(found) <= MAX_METRICS
    assert all(sentence(each) and trailer(each) for each in found)


def test_a_request_tells_what_the_analysis_said_and_stays_the_same_request() -> None:
    pause = [{"reason": "CanaryPauseStep", "startTime": "2026-01-01T00:00:00Z"}]
    rollout = live(phase="Paused", currentStepIndex=1, pauseConditions=pause, controllerPause=True)
    one, other = (wants(rollout, in_git(), applied=True, evidence=each) for each in ((FAILED,), ()))
    assert one == other == (WantRequest(ATTEMPT, 1, 20, 60),)
    assert isinstance(one[0], WantRequest)
    assert one[0].evidence == (FAILED,)


def _fields(note: Note) -> dict[str, Any]:
    return {name: getattr(note, name) for name in Note.__dataclass_fields__}
