"""What is read from the cluster, as people look at it."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from cli.rollout_examples import NOW, REPLICA_SETS, at_gate, gitsync, pod, rollout
from gitops_rollouts.cli.get import details
from gitops_rollouts.cli.rollout_tree import render
from gitops_rollouts.cli.view import view


def drawn(*parts: Any, wide: bool = False) -> str:
    out = io.StringIO()
    Console(width=200, file=out).print(render(view(*parts), NOW, wide=wide))
    return out.getvalue()


def test_a_gate_is_a_pause_without_an_end() -> None:
    assert view(at_gate()).gate == 1
    assert view(rollout(status={"currentStepIndex": 1})).gate is None
    assert view(at_gate(strategy={"canary": {"steps": [{}, {"pause": {"duration": 5}}]}})).gate is None


@pytest.mark.parametrize(
    ("status", "wanted", "actual"),
    [
        ({"currentStepIndex": 0}, 20, 20),
        ({"currentStepIndex": 1}, 20, 20),
        ({"currentStepIndex": 2, "updatedReplicas": 3}, 60, 60),
        ({"currentStepIndex": 4, "updatedReplicas": 5}, 100, 100),
        ({"currentStepIndex": 0, "abort": True, "updatedReplicas": 0}, 0, 0),
        ({"stableRS": "new"}, 100, 100),
        ({"stableRS": ""}, 100, 100),
        ({"currentStepIndex": 1, "replicas": 0}, 20, 0),
        ({"currentStepIndex": 1, "canary": {"weights": {"canary": {"weight": 7}, "stable": {"weight": 93}}}}, 20, 7),
    ],
)
def test_weights(status: dict[str, Any], wanted: int, actual: int) -> None:
    seen = view(rollout(status=status))
    assert (seen.set_weight, seen.actual_weight) == (wanted, actual)


def test_the_tree_shows_revisions_pods_gate_and_commits() -> None:
    text = drawn(at_gate(), REPLICA_SETS, [pod("web-new-1", "new"), pod("web-old-1", "old")], gitsync())
    lines = text.splitlines()
    assert any("Paused" in line and "CanaryPauseStep" in line for line in lines)
    assert "gate 1: waits for a decision" in text
    assert "prod, applied 021fddb00000, intent 3b70795a87de" in text
    order = [
        "revision 2",
        "web-new  canary  1/1",
        "web-new-1  Running",
        "revision 1",
        "web-old  stable  4/4",
        "web-old-1",
    ]
    positions = [text.index(part) for part in order]
    assert positions == sorted(positions)
    assert "Image stable" in text
    assert "ghcr.io/acme/web:v1" in text


def test_a_line_for_another_version_is_said_to_be_out_of_force() -> None:
    raw = at_gate()
    line = "template=0000000000000000 steps=bfb225f9 at=1 for=prod/shop/web id=d-lhrdtxug7g"
    raw["metadata"]["annotations"]["gitops-rollouts.io/abort"] = line
    assert f"not in force, for another version: {line}" in drawn(raw)
    raw["metadata"]["annotations"]["gitops-rollouts.io/abort"] = line.replace("0000000000000000", "abd11f90ce04efa7")
    assert "not in force" not in drawn(raw)


def test_a_repository_that_is_away_is_said() -> None:
    fetched = {"type": "Fetched", "status": "False", "lastTransitionTime": "2026-05-04T11:58:00Z"}
    assert "can't be read for 2m" in drawn(at_gate(), (), (), gitsync(status={"conditions": [fetched]}))
    assert "can't be read" not in drawn(at_gate(), (), (), gitsync())


def test_before_the_first_look_no_step_is_done_and_nothing_runs() -> None:
    raw = {**rollout(), "status": {}}
    seen = view(raw)
    assert (seen.step, seen.actual_weight) == ("0/4", 0)


def test_what_is_scaled_down_is_shown_on_request_only() -> None:
    former = {**REPLICA_SETS[0], "metadata": {**REPLICA_SETS[0]["metadata"], "name": "web-former"}}
    former["metadata"]["labels"] = {"rollouts-pod-template-hash": "former"}
    former = {**former, "spec": {**former["spec"], "replicas": 0}, "status": {}}
    assert "web-former" not in drawn(at_gate(), [former])
    assert "web-former" in drawn(at_gate(), [former], wide=True)


def test_a_pod_that_waits_says_why() -> None:
    waiting = {"ready": False, "restartCount": 4, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
    text = drawn(at_gate(), REPLICA_SETS, [pod("p", "new", containerStatuses=[waiting])])
    assert "CrashLoopBackOff  ready 0/1  4 restarts" in text


def test_others_replica_sets_are_not_shown() -> None:
    foreign = {**REPLICA_SETS[0], "metadata": {**REPLICA_SETS[0]["metadata"], "ownerReferences": []}}
    assert view(at_gate(), [foreign]).replica_sets == ()


def test_names_from_the_cluster_can_not_drive_the_terminal() -> None:
    evil = at_gate()
    evil["status"]["message"] = "\x1b]0;owned\x07[bold]x"
    evil["metadata"]["annotations"]["gitops-rollouts.io/abort"] = "\x1b[2J"
    text = drawn(evil, REPLICA_SETS, [pod("\x1b[31mp", "new")])
    assert "\x1b" not in text
    assert "[bold]x" in text


def test_details_are_what_a_program_needs() -> None:
    data = details(view(at_gate(), REPLICA_SETS, [pod("p", "new")]))
    assert data["gate"] == 1
    assert data["git"]["target"] == "prod"
    assert [each["role"] for each in data["replicaSets"]] == ["canary", "stable"]
    assert data["replicaSets"][0]["pods"][0]["name"] == "p"
    assert data["steps"][1] == "pause"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(["metadata", "spec", "status"]), JSON), JSON)
def test_no_object_breaks_the_view(raw: dict[str, Any], other: Any) -> None:
    child = {"metadata": other, "spec": other, "status": other}
    drawn(raw, [child], [child], {"metadata": {"name": "x"}, "spec": other, "status": other})
