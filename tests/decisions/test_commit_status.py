"""docs/decisions.md §7: what the intent commit shows of its update, from the live Rollout and the tree alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops_rollouts.api.evidence import Evidence
from gitops_rollouts.api.rollout import Rollout, parse_rollout
from gitops_rollouts.decisions.forge_side.commit_status import Asked, Said, asked_by, given_up, said_of, together
from gitops_rollouts.decisions.grammar import Abort, Stable
from gitops_rollouts.decisions.identity import Subject
from gitops_rollouts.decisions.state import Attempt, InGit, Placement
from gitops_rollouts.forges.forge import MAX_DESCRIPTION

T1, T2, S = "1" * 16, "2" * 16, "a" * 8
WEB = Subject("prod", "shop", "web")
STEPS = [{"setWeight": 20}, {"pause": {}}, {"setWeight": 60}, {"pause": {"duration": "1m"}}]
AT_GATE = {
    "currentStepIndex": 1,
    "phase": "Paused",
    "controllerPause": True,
    "pauseConditions": [{"reason": "CanaryPauseStep", "startTime": "2026-01-01T00:00:00Z"}],
}
REST = {"stableRS": "v2", "phase": "Healthy"}
TOOK = {
    "rolloutStartedAt": "2026-01-01T00:00:00Z",
    "finishedAt": "2026-01-01T00:23:04Z",
    "completionStatus": "Promoted",
}
ABORTED = {"abort": True, "abortedAt": "2026-01-01T00:00:00Z", "phase": "Degraded"}


def in_git(**changes: Any) -> InGit:
    attempt = Attempt(T2, S, "c" * 40)
    record = Stable(T1, "b" * 12, WEB)
    state = InGit("prod", "shop", "web", "d" * 40, attempt, Placement(True, "w.yaml", "o.yaml"), record=record)
    return replace(state, **changes)


def live(strategy: dict[str, Any] | None = None, **status: Any) -> Rollout:
    return parse_rollout(
        {
            "metadata": {"generation": 2},
            "spec": {"replicas": 5, "strategy": strategy or {"canary": {"steps": STEPS}}},
            "status": {"observedGeneration": "2", "stableRS": "v1", "currentPodHash": "v2", **status},
        }
    )


def said(rollout: Rollout, state: InGit | None = None, **more: Any) -> tuple[str, str] | None:
    found = said_of(rollout, state or in_git(), **{"begun": True, "applied": True, **more})
    if found is None:
        return None
    shown = found.shown("rollout/prod/shop/web")
    return shown.state, shown.description


def test_each_change_of_step_says_something_else() -> None:
    measured = [Evidence("errors", "Running", successful=3, failed=2)]
    moving = {"phase": "Progressing", "message": "more replicas need to be updated"}
    assert said(live(**moving), begun=False) == ("pending", "fetched, not applied yet")
    assert said(live(**moving, currentStepIndex=0)) == ("pending", "canary 20%, step 1 of 4")
    assert said(live(**AT_GATE)) == ("pending", "waiting for promotion past gate 1, canary 20%, step 2 of 4")
    at_gate = said_of(live(**AT_GATE), in_git(), begun=True, applied=True, evidence=measured)
    assert at_gate is not None
    asked = asked_by(at_gate, Asked("PR #412", "https://git.example/412")).shown("c")
    assert asked.description == "waiting: PR #412, canary 20%, step 2 of 4, analysis 3/5 ok"
    assert asked.url == "https://git.example/412"
    approved = in_git(approved_through=1)
    assert said(live(**AT_GATE), approved) == ("pending", "canary 20%, step 2 of 4")
    assert said(live(**moving, currentStepIndex=4)) == ("pending", "canary 100%")
    assert said(live(**{**moving, "stableRS": "v2"})) == ("pending", "serves everything, finishing")
    assert said(live(**REST, duration=TOOK)) == ("success", "stable after 23m")


def test_only_the_counts_of_an_analysis_are_no_change_of_step() -> None:
    one = said_of(live(), in_git(), begun=True, applied=True, evidence=[Evidence("errors", "Running", successful=1)])
    two = said_of(live(), in_git(), begun=True, applied=True, evidence=[Evidence("errors", "Running", successful=2)])
    assert one is not None
    assert two is not None
    assert one != two
    assert not one.differs(two)


def test_a_first_deploy_and_a_way_back() -> None:
    assert said(live(stableRS="", phase="Progressing")) == ("pending", "first deploy")
    back = {**TOOK, "completionStatus": "FastRolledBack", "finishedAt": "2026-01-01T00:00:07Z"}
    assert said(live(**REST, duration=back)) == ("success", "back to stable after 7s")
    assert said(live(**REST)) == ("success", "stable")


def test_blue_green() -> None:
    strategy = {"blueGreen": {"activeService": "web", "autoPromotionEnabled": False}}
    waiting = {"phase": "Paused", "pauseConditions": [{"reason": "BlueGreenPause"}]}
    shown = live(strategy, **waiting, blueGreen={"activeSelector": "v1"})
    assert said(shown, in_git(gated=True)) == ("pending", "waiting for promotion to active, preview")
    switched = live(strategy, phase="Progressing", blueGreen={"activeSelector": "v2"})
    assert said(switched, in_git(gated=True, full=True)) == ("pending", "active")


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            'RolloutAborted: …: Metric "success-rate" assessed Failed due to failed (1) > failureLimit (0)',
            "success-rate",
        ),
        (
            'x: Metric "p99" assessed Error due to consecutiveErrors (5) > consecutiveErrorLimit (4): '
            '"Error Message: Get http://prometheus.secret:9090/?token=hunter2: no such host"',
            "p99",
        ),
        ('RolloutAborted: …: ReplicaSet "web-7d" has timed out progressing.', "no progress in time"),
    ],
)
def test_an_abort_says_what_decided_and_nothing_that_a_provider_answered(message: str, expected: str) -> None:
    """§6: names of metrics may leave the cluster, the rest of such messages may not."""
    assert said(live(**ABORTED, message=message)) == ("failure", f"aborted: {expected}")


def test_an_abort_in_the_tree_is_named() -> None:
    line = Abort(T2, S, 1, WEB, "d-aaaaaaaaaa")
    state = in_git(abort=line, abort_commit="e" * 40, abort_by="alice")
    for status in (ABORTED, {"phase": "Progressing"}):  # before and after the cluster has obeyed
        assert said(live(**status), state) == ("failure", "aborted at step 1 by eeeeeee (alice)")


def test_an_update_that_is_over_stays_so_whatever_its_pods_do() -> None:
    recorded = in_git(record=Stable(T2, "c" * 12, WEB))
    assert said(live(stableRS="v2", phase="Progressing", message="more replicas need to be updated"), recorded) is None
    assert said(live(stableRS="v2", phase="Degraded", message="ProgressDeadlineExceeded: …"), recorded) is None
    assert said(live(), in_git(blocked=True)) is None
    assert said(live(), applied=False) is None
    assert said(live(observedGeneration="1")) is None


def test_what_fails_without_an_abort() -> None:
    slow = live(phase="Degraded", message='ProgressDeadlineExceeded: ReplicaSet "web-7d" has timed out progressing.')
    assert said(slow) == ("failure", "no progress in time")
    invalid = live(phase="Degraded", message="InvalidSpec: spec.strategy: Required value")
    assert said(invalid) == ("failure", "the spec is invalid")


def test_the_intent_before_is_reverted_or_superseded() -> None:
    """§3 R1."""
    assert given_up(in_git(record=Stable(T2, "b" * 12, WEB))).words == "reverted"
    assert given_up(in_git()).words == "superseded by ccccccc"


def test_one_status_for_many() -> None:
    stable, moving = Said("success", "stable", "stable"), Said("pending", "moving", "canary 20%")
    waiting = Said("pending", "waiting", "waiting: PR #412", url="https://git.example/412")
    assert together([stable] * 30).shown("c").state == "success"
    many = together([stable] * 20 + [moving] * 5 + [waiting] * 3).shown("c")
    assert (many.state, many.description) == ("pending", "28 Rollouts, 3 waiting, 5 moving, 20 stable")
    assert many.url == "https://git.example/412"
    assert together([stable, replace(moving, state="failure", sort="aborted")]).state == "failure"


@given(st.text(max_size=300), st.text(max_size=300))
def test_no_text_is_longer_or_livelier_than_a_forge_takes(name: str, metric: str) -> None:
    """§6: an author's name and a metric's are anybody's."""
    line = Abort(T2, S, 1, WEB, "d-aaaaaaaaaa")
    for rollout, state in (
        (live(**ABORTED), in_git(abort=line, abort_commit="e" * 40, abort_by=name)),
        (live(**ABORTED, message=f'Metric "{metric}" assessed Failed'), in_git()),
    ):
        told = said(rollout, state)
        assert told is not None
        assert len(told[1]) <= MAX_DESCRIPTION
        assert told[1].isprintable()
        assert "@" not in told[1]
