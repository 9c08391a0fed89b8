"""``gor why`` says what is so, in words."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest

from cli.rollout_examples import COMMIT, INTENT, NOW, REPLICA_SETS, STAMP, at_gate, gitsync, rollout
from gitops_rollouts.api.names import ABORT, OUTBOX, PROMOTE
from gitops_rollouts.cli.narrative import CommitNote, FromGit, explain
from gitops_rollouts.cli.view import view
from gitops_rollouts.decisions.grammar import Abort, Promote, Stable
from gitops_rollouts.decisions.identity import Subject
from gitops_rollouts.decisions.planning.outbox import asked_entry
from gitops_rollouts.decisions.state import Attempt, Ignored, InGit, Placement

WHO = Subject("prod", "shop", "web")
ATTEMPT = Attempt("abd11f90ce04efa7", "bfb225f9", INTENT)


def in_git(commits: dict[str, CommitNote] | None = None, **more: Any) -> FromGit:
    placement = Placement(literal=True, path="envs/prod/web.yaml", overlay="")
    return FromGit(InGit("prod", "shop", "web", COMMIT, ATTEMPT, placement, **more), commits or {})


def note(sha: str, author: str, at: str = "2026-05-04T11:30:00+00:00") -> CommitNote:
    return CommitNote(sha, author, datetime.fromisoformat(at))


def why(raw: dict[str, Any], git: FromGit | None = None, sync: dict[str, Any] | None = None) -> str:
    return explain(view(raw, REPLICA_SETS, (), sync), git, NOW)


def test_at_a_gate() -> None:
    text = why(at_gate(), in_git({"intent": note(INTENT, "Dana Dev")}), gitsync())
    assert text == (
        "Git wants web:v2 since 3b70795 by Dana Dev, 30m ago (GitSync prod, branch main, envs/prod of "
        "https://git.example.com/acme/deploy.git; commit 021fddb is applied). web:v1 has 4 of 4 pods "
        "available, web:v2 1 of 1. It waits at gate 1: merging rollouts/promote/prod/3b70795a87de-g1 or "
        "`gor promote web -n shop` lets it go on; `gor abort web -n shop` goes back to web:v1."
    )


def test_at_a_gate_that_is_held_or_asks_for_nothing() -> None:
    hold = {"namespace": "shop", "name": "web", "intent": INTENT, "gate": "1"}
    assert "was closed, so it holds until `gor promote web -n shop`" in why(
        at_gate(), None, gitsync(status={"holds": [hold]})
    )
    text = why(at_gate(), None, gitsync(spec={"gates": "commit"}))
    assert "at gate 1: `gor promote web -n shop` lets it go on" in text


def test_at_a_gate_with_a_pull_request() -> None:
    """docs/decisions.md §2: what is to be merged, and who closed it."""
    url = "https://git.example.com/acme/deploy/pulls/412"
    request = {"branch": "rollouts/promote/prod/3b70795a87de-g1", "gate": "1", "rollouts": ["shop/web"], "url": url}
    text = why(at_gate(), None, gitsync(status={"requests": [request | {"state": "open"}]}))
    assert f"merging {url} or `gor promote web -n shop` lets it go on" in text
    hold = {"namespace": "shop", "name": "web", "intent": INTENT, "gate": "1", "by": "bob"}
    closed = gitsync(status={"requests": [request | {"state": "closed"}], "holds": [hold]})
    held = f"its request {url} was closed by bob, so it holds until that is reopened, or `gor promote web -n shop`"
    assert held in why(at_gate(), None, closed)
    other = request | {"branch": "rollouts/promote/prod/3b70795a87de-g1-2", "rollouts": ["shop/api"]}
    text = why(at_gate(), None, gitsync(status={"requests": [other]}))
    assert "merging rollouts/promote/prod/3b70795a87de-g1 or" in text


def test_what_a_client_asked_the_cluster_for() -> None:
    """docs/decisions.md §4: it counts once Git has it, and only where the GitSync says so."""
    entry = asked_entry(WHO, *ATTEMPT.content, INTENT, "1", "kubectl\x1b[31m")
    raw = at_gate()
    raw["metadata"]["annotations"][OUTBOX] = json.dumps([entry])
    sync = gitsync(spec={"clusterPromotions": "commit"})
    said = "asked the cluster to let it go past gate 1: that counts once its line is in Git."
    for git in (None, in_git()):
        text = why(raw, git, sync)
        assert f" kubectl 31m {said} It waits at gate 1: " in text
        assert "\x1b" not in text
    assert "asked the cluster" not in why(raw, None, gitsync())
    assert "asked the cluster" not in why(raw, in_git(approved_through=1), sync)
    raw["metadata"]["annotations"][OUTBOX] = json.dumps([entry | {"intent": "0" * 12}])
    assert "asked the cluster" not in why(raw, None, sync)
    assert "asked the cluster" not in why(raw, in_git(), sync)


def test_without_git_the_cluster_is_what_is_wanted() -> None:
    text = why(at_gate(stamp=None))
    assert text.startswith("No GitSync applies shop/web: the cluster itself says what is wanted, web:v2.")
    assert "rollouts/promote" not in text


def test_aborted_names_the_commit_and_the_ways_out() -> None:
    message = "RolloutAborted: Rollout aborted update to revision 2: aborted at step 1 by d9965c2"
    conditions = [{"type": "Progressing", "status": "False", "reason": "RolloutAborted", "message": "m"}]
    status = {"phase": "Degraded", "message": message, "abort": True, "conditions": conditions, "updatedReplicas": 0}
    line = Abort("abd11f90ce04efa7", "bfb225f9", 1, WHO, "d-lhrdtxug7g")
    sha = "d9965c2" + "0" * 33
    git = in_git({"abort": note(sha, "gitops-rollouts[bot]")}, abort=line, abort_commit=sha)
    text = why(rollout(status={**status, "currentStepIndex": 0}), git, gitsync())
    assert "web:v1 serves everything" in text
    assert "web:v2 was aborted at step 1 by gitops-rollouts[bot] in d9965c2, 30m ago. It stays so" in text
    assert text.endswith("`gor retry web -n shop` or `git revert d9965c2` tries this one again.")


def test_why_somebody_aborted_is_told_from_the_commit() -> None:
    message = "RolloutAborted: Rollout aborted update to revision 2"
    line = Abort("abd11f90ce04efa7", "bfb225f9", 1, WHO, "d-lhrdtxug7g")
    commit = CommitNote("d9965c2" + "0" * 33, "Dana Dev", NOW, "checkout errors.")
    git = in_git({"abort": commit}, abort=line, abort_commit=commit.sha)
    text = why(rollout(status={"phase": "Degraded", "message": message, "abort": True}), git, gitsync())
    assert "The reason: checkout errors. It stays so until" in text


def test_the_reason_of_an_abort_is_said_once() -> None:
    reason = 'ReplicaSet "web-new" has timed out progressing'
    message = f"RolloutAborted: Rollout aborted update to revision 2: {reason}."
    text = why(rollout(status={"phase": "Degraded", "message": message, "abort": True}), in_git(), gitsync())
    assert text.count(reason) == 1
    assert f"The reason: {reason}. It stays so until" in text


def test_an_abort_of_another_version_is_none_of_this_one() -> None:
    raw = at_gate()
    raw["metadata"]["annotations"][ABORT] = (
        "template=0000000000000000 steps=bfb225f9 at=1 for=prod/shop/web id=d-lhrdtxug7g"
    )
    assert "aborted" not in why(raw)


def test_an_abort_that_git_does_not_show_yet() -> None:
    status = {"phase": "Degraded", "message": "RolloutAborted: x", "abort": True, "abortedAt": "2026-05-04T11:59:55Z"}
    text = why(rollout(status=status), in_git(), gitsync())
    assert "The update was aborted 5s ago; the commit that says so is still to come." in text


def test_a_promotion_and_its_commit() -> None:
    line = Promote("abd11f90ce04efa7", "bfb225f9", "1", INTENT[:12], WHO, "d-hdwlvihfmv")
    git = in_git({"d-hdwlvihfmv": note(COMMIT, "Alice Ops")}, promote=line, approved_through=1)
    status = {"phase": "Progressing", "message": "more replicas need to be updated", "currentStepIndex": 2}
    text = why(rollout(status=status), git, gitsync())
    assert "Every gate up to 1 was approved by Alice Ops in 021fddb, 30m ago." in text
    assert text.endswith("2 of 4 steps are done: more replicas need to be updated.")


def test_without_git_at_hand_the_live_lines_speak() -> None:
    raw = at_gate()
    line = "template=abd11f90ce04efa7 steps=bfb225f9 gate=1 intent=3b70795a87de for=prod/shop/web id=d-hdwlvihfmv"
    raw["metadata"]["annotations"][PROMOTE] = line
    assert "Every gate up to 1 was approved by d-hdwlvihfmv." in why(raw)
    raw["metadata"]["annotations"][ABORT] = "nonsense"
    assert "the line can't be read, which counts as an abort" in why(raw)


def test_at_rest() -> None:
    status = {"phase": "Healthy", "stableRS": "new", "updatedReplicas": 5, "currentStepIndex": 4}
    recorded = in_git(record=Stable("abd11f90ce04efa7", COMMIT[:12], WHO))
    text = why(rollout(status=status), recorded, gitsync())
    assert "web:v2 serves everything, 5 of 5 pods available. Git records web:v2 as stable." in text
    assert text.endswith("Nothing is waiting: the next push starts the next rollout.")
    assert "Its record in Git is still to come" in why(rollout(status=status), in_git(), gitsync())


def test_ignored_lines_are_named_with_the_reason() -> None:
    git = in_git(ignored=(Ignored(PROMOTE, "for=staging/shop/web", "it is for another Rollout"),))
    assert why(at_gate(), git).splitlines()[1:] == [
        "Ignored: promote (for=staging/shop/web): it is for another Rollout."
    ]


@pytest.mark.parametrize(
    ("sync", "expected"),
    [
        ({"spec": {"suspend": True}}, "GitSync prod is suspended"),
        ({"status": {"lastFetched": None}}, "has never been fetched: nothing moves forward"),
        (
            {"status": {"lastFetched": "2026-05-04T11:40:00Z"}},
            "The last good fetch is 20m ago, longer than maxStaleness",
        ),
        (
            {"status": {"conditions": [{"type": "WriteBack", "status": "False", "message": "The key may not push."}]}},
            "GitSync prod: The key may not push.",
        ),
    ],
)
def test_trouble_with_git_is_said(sync: dict[str, Any], expected: str) -> None:
    assert expected in why(at_gate(), None, gitsync(**sync))


def test_an_edit_outside_git_is_said() -> None:
    assert "edited outside Git" in why(at_gate(stamp=STAMP.replace("hash=new", "hash=other")))
    assert "edited outside Git" not in why(at_gate())


def test_a_spec_that_cannot_be_used_serves_nothing() -> None:
    """docs/behaviour.md §7.3: what was there stays, so it is named, and nobody has edited anything."""
    message = 'The Rollout "web" is invalid: ingresses.networking.k8s.io "x" not found'
    invalid = {"type": "InvalidSpec", "status": "True", "reason": "InvalidSpec", "message": message}
    status = {"currentPodHash": "old", "updatedReplicas": 5, "phase": "Degraded", "message": f"InvalidSpec: {message}"}
    text = why(rollout(status={**status, "conditions": [invalid]}), in_git(), gitsync())
    assert text.startswith("Git wants web:v2 since ")
    assert "web:v1 serves everything, 5 of 5 pods available. Its spec can't be used; correct it in Git: The " in text
    assert "edited outside Git" not in text


def test_a_spec_that_no_pass_has_seen_is_no_edit() -> None:
    """docs/behaviour.md §4.2: the status is that of the version before."""
    status = {"currentPodHash": "old", "updatedReplicas": 5, "observedGeneration": "2"}
    text = why(rollout(status=status), in_git(), gitsync())
    assert "web:v1 serves everything" in text
    assert "edited outside Git" not in text


@pytest.mark.parametrize(
    ("status", "spec", "expected"),
    [
        (
            {"phase": "Paused", "message": "manually paused"},
            {"paused": True},
            "`gor resume web -n shop` lets it go on.",
        ),
        (
            {
                "phase": "Paused",
                "message": "CanaryPauseStep",
                "currentStepIndex": 3,
                "pauseConditions": [{"reason": "CanaryPauseStep", "startTime": "2026-05-04T11:55:00Z"}],
            },
            {},
            "The pause of step 3 ends in 5m, then it goes on by itself; `gor promote web -n shop --full` skips",
        ),
        (
            {"phase": "Paused", "message": "InconclusiveAnalysisRun", "currentStepIndex": 0},
            {},
            "It waits for a person (InconclusiveAnalysisRun): `gor promote web -n shop` goes on",
        ),
        (
            {
                "phase": "Paused",
                "message": "The update has not begun: prod-eu/shop/web goes first",
                "conditions": [
                    {
                        "type": "HeldByGit",
                        "status": "True",
                        "reason": "WaitsForItsTurn",
                        "message": "The update has not begun: prod-eu/shop/web goes first, and its web:v2 is aborted",
                    }
                ],
            },
            {},
            "prod-eu/shop/web goes first, and its web:v2 is aborted; `gor promote web -n shop --full` skips that",
        ),
        (
            {"phase": "Degraded", "message": "InvalidSpec: The Rollout is wrong."},
            {},
            "Its spec can't be used; correct it in Git: The Rollout is wrong.",
        ),
        (
            {"phase": "Degraded", "message": "ProgressDeadlineExceeded: timed out."},
            {},
            "It goes on by itself once the new pods are available; `gor abort web -n shop` goes back.",
        ),
    ],
)
def test_what_happens_next(status: dict[str, Any], spec: dict[str, Any], expected: str) -> None:
    assert expected in why(rollout(status=status, **spec))


BG_STAMP = STAMP.replace("steps=bfb225f9", "steps=bluegreen")
BG_ATTEMPT = Attempt("abd11f90ce04efa7", "bluegreen", INTENT)


def blue_green(strategy: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    """v1 is active, v2 the preview, all its pods up."""
    how = {"activeService": "web", "previewService": "web-preview", **(strategy or {})}
    services = {"activeSelector": "old", "previewSelector": "new"}
    return rollout(
        stamp=BG_STAMP, status={"blueGreen": services, "updatedReplicas": 5, **status}, strategy={"blueGreen": how}
    )


def waiting() -> dict[str, Any]:
    pause = [{"reason": "BlueGreenPause", "startTime": "2026-05-04T11:59:50Z"}]
    return {"phase": "Paused", "message": "BlueGreenPause", "pauseConditions": pause, "controllerPause": True}


def test_a_preview_waits_for_approval() -> None:
    """docs/decisions.md §1.1: the gate ``active``."""
    text = why(blue_green({"autoPromotionEnabled": False}, **waiting()), None, gitsync())
    assert text.endswith(
        "web:v1 is active and serves everything, 5 of 5 pods available. web:v2 is the preview, 1 of 1 pods available. "
        "It waits for somebody to approve web:v2: merging rollouts/promote/prod/3b70795a87de-gactive or "
        "`gor promote web -n shop` lets it go on; `gor abort web -n shop` stays with web:v1."
    )


def test_a_preview_that_becomes_active_by_itself() -> None:
    text = why(blue_green({"autoPromotionSeconds": 40}, **waiting()), None, gitsync())
    assert "web:v2 becomes active by itself in 30s; `gor promote web -n shop --full` does so now" in text


@pytest.mark.parametrize("seconds", [2**31 - 1, -5])
def test_a_preview_whose_end_cannot_be_told(seconds: int) -> None:
    """What the cluster stores may be any time."""
    late = waiting() | {"pauseConditions": [{"reason": "BlueGreenPause", "startTime": "9999-12-31T23:59:59Z"}]}
    text = why(blue_green({"autoPromotionSeconds": seconds}, **late))
    assert "web:v2 becomes active by itself" in text


def test_a_switched_blue_green() -> None:
    switched = {"blueGreen": {"activeSelector": "new", "previewSelector": "new"}, "phase": "Progressing"}
    message = {"message": "waiting for analysis to complete"}
    line = Promote("abd11f90ce04efa7", "bluegreen", "active", INTENT[:12], WHO, "d-aaaaaaaaaa")
    placement = Placement(literal=True, path="envs/prod/web.yaml", overlay="")
    state = InGit("prod", "shop", "web", COMMIT, BG_ATTEMPT, placement, promote=line)
    text = why(blue_green(**switched, **message), FromGit(state, {line.id: note("021fddb", "Alice")}), gitsync())
    assert "web:v2 is the active version, 5 of 5 pods available; the version before is kept until it is proven." in text
    assert "web:v2 was approved to become active by Alice in 021fddb, 30m ago." in text
    assert text.endswith("It goes on by itself: waiting for analysis to complete.")


def test_an_aborted_blue_green_names_no_step() -> None:
    line = Abort("abd11f90ce04efa7", "bluegreen", 0, WHO, "d-lhrdtxug7g")
    placement = Placement(literal=True, path="envs/prod/web.yaml", overlay="")
    state = InGit("prod", "shop", "web", COMMIT, BG_ATTEMPT, placement, abort=line, abort_commit="d9965c2" + "0" * 33)
    git = FromGit(state, {"abort": note("d9965c2", "Dana Dev")})
    text = why(blue_green(phase="Degraded", message="RolloutAborted: m", abort=True), git, gitsync())
    assert "web:v2 was aborted by Dana Dev in d9965c2, 30m ago." in text


def test_what_waits_for_the_forge_is_said_and_not_called_ignored() -> None:
    """docs/decisions.md §7: neither approved nor refused."""
    waits = "commit 021fddb brought a promotion in, and the forge hasn't said yet who approved it"
    line = Ignored(PROMOTE, "template=…", f"{waits}: take it out", unauthorised=True)
    text = why(at_gate(), in_git(unconfirmed=waits, awaits=(PROMOTE, COMMIT), ignored=(line,)), gitsync())
    assert f"C{waits[1:]}; until the forge has said so nothing of it moves." in text
    assert "Ignored" not in text
    assert "was approved" not in text
