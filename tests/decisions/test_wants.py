"""docs/decisions.md §1.4: what is wanted, from the live object and the tree alone."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops_rollouts.api.names import OUTBOX
from gitops_rollouts.api.rollout import Rollout, parse_rollout
from gitops_rollouts.decisions.grammar import Abort, Stable
from gitops_rollouts.decisions.identity import Subject
from gitops_rollouts.decisions.planning.wants import (
    WantAbort,
    WantRecord,
    WantRequest,
    at_rest,
    is_moving,
    outbox_entry,
    wants,
)
from gitops_rollouts.decisions.state import Attempt, InGit, Placement

T1, T2, S = "1" * 16, "2" * 16, "a" * 8
ATTEMPT = Attempt(T2, S, "c" * 40)
WEB = Subject("prod", "shop", "web")
AT = "2026-01-01T00:00:00Z"


def in_git(**changes: Any) -> InGit:
    state = InGit(
        "prod", "shop", "web", "d" * 40, ATTEMPT, Placement(True, "w.yaml", "o.yaml"), record=Stable(T1, "b" * 12, WEB)
    )
    return replace(state, **changes)


def live(generation: int = 2, annotations: dict[str, str] | None = None, **status: Any) -> Rollout:
    steps = [{"setWeight": 20}, {"pause": {}}, {"setWeight": 60}, {"pause": {"duration": "1m"}}]
    return parse_rollout(
        {
            "metadata": {"generation": generation, "annotations": annotations or {}},
            "spec": {"replicas": 5, "strategy": {"canary": {"steps": steps}}},
            "status": {"observedGeneration": "2", "stableRS": "v1", "currentPodHash": "v2", **status},
        }
    )


def outbox(**entry: Any) -> dict[str, str]:
    made = {"verb": "abort", "abortedAt": AT, "at": 2, "reason": "ProgressDeadlineExceeded", "message": "timed out"}
    return {OUTBOX: json.dumps([{**made, **entry}])}


def test_an_abort() -> None:
    rollout = live(annotations=outbox(), abort=True, abortedAt=AT, phase="Degraded", currentStepIndex=0)
    want = WantAbort(ATTEMPT, 2, AT, "ProgressDeadlineExceeded", "timed out")
    assert wants(rollout, in_git(), applied=True) == (want,)
    assert want.cause == f"ProgressDeadlineExceeded@{AT}"


def test_what_git_was_seen_to_hold_is_told() -> None:
    for told, expected in (("d-aaaaaaaaaa", "d-aaaaaaaaaa"), ("d-a id=x", ""), (7, "")):
        rollout = live(annotations=outbox(told=told), abort=True, abortedAt=AT, phase="Degraded", currentStepIndex=0)
        (want,) = wants(rollout, in_git(), applied=True)
        assert isinstance(want, WantAbort)
        assert want.told == expected


@pytest.mark.parametrize(
    ("run", "cause"),
    [
        ("6f1c2f2e-2a52-4b8e-9a4a-0c5f2d1e7b90", "6f1c2f2e-2a52-4b8e-9a4a-0c5f2d1e7b90"),
        ("two words", f"AnalysisFailed@{AT}"),
        ("x" * 64, f"AnalysisFailed@{AT}"),
        (7, f"AnalysisFailed@{AT}"),
    ],
)
def test_the_run_that_decided_is_the_cause(run: object, cause: str) -> None:
    """docs/decisions.md §1.2: a retry has another run, so that a second failure is a second decision."""
    entry = outbox(reason="AnalysisFailed", run=run)
    (want,) = wants(live(annotations=entry, abort=True, abortedAt=AT, currentStepIndex=0), in_git(), applied=True)
    assert isinstance(want, WantAbort)
    assert want.cause == cause


def test_an_abort_is_derived_again_without_the_outbox() -> None:
    rollout = live(abort=True, abortedAt=AT, phase="Degraded", currentStepIndex=1, message="RolloutAborted: x")
    assert wants(rollout, in_git(), applied=True) == (WantAbort(ATTEMPT, 1, AT, "Aborted", "RolloutAborted: x"),)


@pytest.mark.parametrize(
    ("rollout", "state", "how"),
    [
        (live(abort=True, abortedAt=AT), None, {}),
        (live(abort=True, abortedAt=AT), in_git(), {"applied": False}),
        (live(abort=True, abortedAt=AT), in_git(), {"withdrawn": {AT}}),
        (live(abort=True, abortedAt=AT), in_git(blocked=True), {}),
        (live(abort=True, abortedAt=AT), in_git(abort=Abort(T2, S, 1, WEB, "d-aaaaaaaaaa")), {}),
        (live(generation=3, abort=True, abortedAt=AT), in_git(), {}),
        (live(abort=True), in_git(), {}),
        (live(abort=True, abortedAt=AT, stableRS="v2"), in_git(), {}),
        (live(abort=True, abortedAt=AT, stableRS=""), in_git(), {}),
        (live(phase="Progressing"), in_git(), {}),
    ],
)
def test_no_want(rollout: Rollout, state: InGit | None, how: dict[str, Any]) -> None:
    assert wants(rollout, state, **{"applied": True, **how}) == ()


def test_a_record_once_at_rest() -> None:
    rollout = live(stableRS="v2", phase="Healthy")
    assert at_rest(rollout)
    assert wants(rollout, in_git(), applied=True) == (WantRecord(ATTEMPT),)
    assert wants(rollout, in_git(record=None), applied=True) == (WantRecord(ATTEMPT),)
    assert wants(rollout, in_git(record=Stable(T2, "b" * 12, WEB)), applied=True) == ()
    late = in_git(abort=Abort(T2, S, 1, WEB, "d-aaaaaaaaaa"))
    assert wants(rollout, late, applied=True) == (WantRecord(ATTEMPT, too_late="d-aaaaaaaaaa"),)
    assert wants(live(phase="Progressing"), late, applied=True) == ()
    assert wants(live(generation=3, stableRS="v2", phase="Healthy"), in_git(), applied=True) == ()


def test_a_request_at_a_gate() -> None:
    waiting = {"phase": "Paused", "pauseConditions": [{"reason": "CanaryPauseStep", "startTime": AT}]}
    rollout = live(currentStepIndex=1, **waiting)
    assert wants(rollout, in_git(), applied=True) == (WantRequest(ATTEMPT, 1, 20, 60),)
    assert wants(rollout, in_git(), applied=True, gates="commit") == ()
    assert wants(rollout, in_git(approved_through=1), applied=True) == ()
    assert wants(rollout, in_git(approved_through=0), applied=True) != ()
    assert wants(rollout, in_git(full=True), applied=True) == ()
    assert not is_moving(rollout)
    timed = live(currentStepIndex=3, **waiting)
    assert wants(timed, in_git(), applied=True) == ()
    assert is_moving(timed)
    assert wants(live(currentStepIndex=1, phase="Progressing"), in_git(), applied=True) == ()


def test_what_moves() -> None:
    assert is_moving(live(phase="Progressing"))
    assert not is_moving(live(phase="Healthy"))
    assert not is_moving(live(phase="Degraded"))
    held = {"type": "HeldByGit", "reason": "WaitsForItsTurn", "message": "prod-eu goes first"}
    assert is_moving(live(phase="Paused"))
    assert not is_moving(live(phase="Paused", conditions=[held]))


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_any_outbox_is_read(text: str) -> None:
    assert outbox_entry(text, AT) == {}


@pytest.mark.parametrize("entry", [{"at": "2"}, {"at": -1}, {"at": 10**9}, {"reason": "two words"}, {"message": None}])
def test_an_odd_entry_is_not_trusted(entry: dict[str, Any]) -> None:
    rollout = live(annotations=outbox(**entry), abort=True, abortedAt=AT, currentStepIndex=1)
    (want,) = wants(rollout, in_git(), applied=True)
    assert isinstance(want, WantAbort)
    assert 0 <= want.at <= 9999
    assert " " not in want.cause
