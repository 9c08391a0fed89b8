"""Which lines are in force: approvals by the ancestor rule, aborts by content, all else ignored with a reason."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from decision_repo import PROD, STEPS, WEB, Reading, abort, lines, manifest, promote, stable
from git_remote import Remote
from gitops_rollouts.api.names import ABORT, PROMOTE, STABLE
from gitops_rollouts.decisions.board import Board
from gitops_rollouts.decisions.identity import Subject
from gitops_rollouts.decisions.state import InGit, TargetSpec
from gitops_rollouts.git.repository import Mirror

WEB_YAML = "envs/prod/web.yaml"


@pytest.fixture
def reading(mirror: Mirror) -> Reading:
    return Reading(mirror)


def first_attempt(remote: Remote, reading: Reading, image: str = "web:v2") -> InGit:
    remote.put({WEB_YAML: manifest("web:v1")})
    remote.put({WEB_YAML: manifest(image)})
    return reading.web()


def why(state: InGit, key: str) -> str:
    return "; ".join(one.reason for one in state.ignored if one.key == key)


def test_a_promotion_of_this_attempt(remote: Remote, reading: Reading) -> None:
    attempt = first_attempt(remote, reading).attempt
    remote.put({WEB_YAML: manifest("web:v2", annotations=lines(promote(attempt, 1)))})
    state = reading.web()
    assert state.attempt == attempt
    assert (state.approved_through, state.full, state.ignored) == (1, False, ())
    remote.put({WEB_YAML: manifest("web:v2", annotations=lines(promote(attempt, "full")))})
    assert reading.web().full
    remote.put({WEB_YAML: manifest("web:v2")})
    assert reading.web().promote is None


def test_a_promotion_does_not_leak_to_a_newer_image_or_an_older_retry(remote: Remote, reading: Reading) -> None:
    attempt = first_attempt(remote, reading).attempt
    line = lines(promote(attempt, 1))
    remote.put({WEB_YAML: manifest("web:v3", annotations=line)})
    assert "another version" in why(reading.web(), PROMOTE)
    remote.put({WEB_YAML: manifest("web:v2", annotations=line)})
    state = reading.web()
    assert state.approved_through == -1
    assert f"the attempt of commit {attempt.intent[:12]}" in why(state, PROMOTE)
    remote.put({WEB_YAML: manifest("web:v2", steps=STEPS.replace("60", "70"), annotations=line)})
    assert "steps were edited" in why(reading.web(), PROMOTE)


def test_no_commit_approves_itself(remote: Remote, reading: Reading) -> None:
    parent = remote.put({WEB_YAML: manifest("web:v1")})
    attempt = first_attempt(remote, reading).attempt
    remote.put({WEB_YAML: manifest("web:v1")})
    parent = remote.git("rev-parse", "HEAD")
    # the author knows the parent's id, T and S, and writes the approval into the very commit that brings v2
    remote.put({WEB_YAML: manifest("web:v2", annotations=lines(promote(attempt, 1, intent=parent)))})
    state = reading.web()
    assert state.approved_through == -1
    assert why(state, PROMOTE)
    remote.put({WEB_YAML: manifest("web:v2", annotations=lines(promote(attempt, 1, intent="f" * 12)))})
    assert reading.web().approved_through == -1


def test_any_commit_of_the_attempt_may_be_named(remote: Remote, reading: Reading) -> None:
    attempt = first_attempt(remote, reading).attempt
    later = remote.put({"README": "x"})
    remote.put({WEB_YAML: manifest("web:v2", annotations=lines(promote(attempt, 1, intent=later)))})
    assert reading.web().approved_through == 1


def test_an_approval_survives_a_foxtrot_and_a_rebuild(remote: Remote, reading: Reading) -> None:
    remote.put({WEB_YAML: manifest("web:v1"), "README": "0"})
    remote.git("branch", "stale")
    remote.put({WEB_YAML: manifest("web:v2")})
    attempt = reading.web().attempt
    remote.put({WEB_YAML: manifest("web:v2", annotations=lines(promote(attempt, 1)))})
    remote.git("checkout", "-q", "stale")
    remote.write({"README": "1"})
    remote.git("merge", "-q", "--no-ff", "-m", "main into branch", "main")
    remote.push()
    rebuilt = Reading(reading.mirror).web()
    assert rebuilt.attempt.intent != attempt.intent
    assert rebuilt.approved_through == 1


@pytest.mark.parametrize("restarted", [True, False])
def test_rewritten_history_takes_no_approval_away_and_grants_none(
    remote: Remote, reading: Reading, restarted: bool
) -> None:
    attempt = first_attempt(remote, reading).attempt
    remote.put({WEB_YAML: manifest("web:v2", annotations=lines(promote(attempt, 1)))})
    before = reading.web()
    remote.git("reset", "-q", "--soft", "HEAD~2")
    remote.git("commit", "-q", "-m", "squashed")
    remote.push("-f")
    if restarted:
        reading = Reading(reading.mirror)
    after = reading.web(before.head)
    assert after.attempt.content == attempt.content
    assert after.attempt.intent != attempt.intent
    assert after.approved_through == 1
    assert after.former == (attempt.intent,)
    remote.put({"README": "x"})
    later = reading.web(after.head)
    assert later.approved_through == 1
    assert later.former == (attempt.intent,)
    remote.put({WEB_YAML: manifest("web:v2", annotations=lines(promote(attempt, 3)))})
    assert reading.web(later.head).approved_through == -1


def test_lines_for_somebody_else_are_ignored(remote: Remote, reading: Reading) -> None:
    attempt = first_attempt(remote, reading).attempt
    other = Subject("staging", "shop", "web")
    made = lines(promote(attempt, 1, other), abort(attempt, 1, other), stable(attempt, other))
    remote.put({WEB_YAML: manifest("web:v2", annotations=made)})
    state = reading.web()
    assert (state.promote, state.abort, state.record) == (None, None, None)
    assert {one.key for one in state.ignored} == {PROMOTE, ABORT, STABLE}
    assert all("for staging/shop/web, not for prod/shop/web" in one.reason for one in state.ignored)
    assert not state.placement.literal


def test_an_abort_sticks_to_its_content(remote: Remote, reading: Reading) -> None:
    remote.put({WEB_YAML: manifest("web:v1")})
    record = lines(stable(reading.web().attempt))
    remote.put({WEB_YAML: manifest("web:v2", annotations=record)})
    attempt = reading.web().attempt
    made = lines(abort(attempt, 1)) | record
    commit = remote.put({WEB_YAML: manifest("web:v2", annotations=made)})
    state = reading.web()
    assert (state.abort, state.abort_commit, state.abort_by) == (abort(attempt, 1), commit, "Dana Dev")
    assert state.abort_text == f"aborted at step 1 by {commit[:7]} (Dana Dev)"
    remote.put({WEB_YAML: manifest("web:v1", annotations=made)})
    assert "another version" in why(reading.web(), ABORT)
    remote.put({WEB_YAML: manifest("web:v2", annotations=made)}, "the same image again")
    assert reading.web().abort_commit == commit
    remote.put({WEB_YAML: manifest("web:v2", steps="[]", annotations=made)})
    state = reading.web()
    assert state.abort is None
    assert "steps were edited" in why(state, ABORT)


def test_a_malformed_abort_aborts_but_never_the_stable_version(remote: Remote, reading: Reading) -> None:
    attempt = first_attempt(remote, reading).attempt
    remote.put({WEB_YAML: manifest("web:v2", annotations={ABORT: "please"})})
    state = reading.web()
    assert state.abort is not None
    assert state.abort.id == ""
    assert state.abort_text.startswith("aborted by ")
    remote.put({WEB_YAML: manifest("web:v2", annotations={ABORT: "please", **lines(stable(attempt))})})
    state = reading.web()
    assert state.abort is None
    assert "stable one" in why(state, ABORT)
    remote.put({WEB_YAML: manifest("web:v2", annotations=lines(abort(attempt), stable(attempt)))})
    assert "recorded as stable" in why(reading.web(), ABORT)


def test_malformed_promotions_and_records_are_absent(remote: Remote, reading: Reading) -> None:
    remote.put({WEB_YAML: manifest(annotations={PROMOTE: "yes", STABLE: "v1"})})
    state = reading.web()
    assert (state.promote, state.record) == (None, None)
    assert why(state, PROMOTE).startswith("it is malformed")


def test_abort_beats_promote(remote: Remote, reading: Reading) -> None:
    attempt = first_attempt(remote, reading).attempt
    remote.put({WEB_YAML: manifest("web:v2", annotations=lines(promote(attempt, 1), abort(attempt)))})
    state = reading.web()
    assert state.abort is not None
    assert state.approved_through == 1


def test_an_overlay_wins_a_key(remote: Remote, reading: Reading) -> None:
    attempt = first_attempt(remote, reading).attempt
    overlay = (
        "apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata:\n  name: web\n  namespace: shop\n  annotations:\n"
    )
    text = "".join(f'    {key}: "{value}"\n' for key, value in lines(promote(attempt, 3)).items())
    remote.put(
        {
            WEB_YAML: manifest("web:v2", annotations=lines(promote(attempt, 1))),
            ".rollouts/prod/shop/web.yaml": overlay + text,
            ".rollouts/staging/shop/web.yaml": overlay + text,
        }
    )
    state = reading.web()
    assert state.approved_through == 3
    assert state.attempt == attempt


def test_a_shared_file_is_not_written_to(remote: Remote, mirror: Mirror) -> None:
    staging = TargetSpec("staging", "main", "envs")
    reading = Reading(mirror, others=lambda: [PROD, staging])
    remote.put({WEB_YAML: manifest()})
    placement = reading.web().placement
    assert (placement.literal, placement.why) == (False, "the file is read by GitSync staging too")


def test_lifting_an_abort_is_seen_even_after_a_restart(remote: Remote, reading: Reading) -> None:
    attempt = first_attempt(remote, reading).attempt
    line = abort(attempt)
    remote.put({WEB_YAML: manifest("web:v2", annotations=lines(line))})
    aborted = reading.at()
    remote.git("revert", "--no-edit", "HEAD")
    remote.push()
    lifted = Reading(reading.mirror).web(aborted.commit)
    assert lifted.lifted_abort == line.id
    at = reading.at(aborted.commit)
    assert at.rollouts["shop", "web"].lifted_abort == line.id
    assert reading.at(at.commit).commit == at.commit


def test_board(remote: Remote, reading: Reading) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    told: list[tuple[str, str]] = []
    board = Board()
    board.on_change(lambda namespace, name: told.append((namespace, name)))
    assert board.get("shop", "web") is None
    attempt = first_attempt(remote, reading).attempt
    remote.put({WEB_YAML: manifest("web:v2", annotations=lines(abort(attempt)))})
    aborted = reading.at()
    board.publish("prod", aborted, now)
    board.publish("prod", aborted, now)
    assert told == [("shop", "web")]
    board.see_abort("shop", "web", "2026-01-01T00:00:00Z")
    assert board.withdrawn("shop", "web") == frozenset()
    remote.put({WEB_YAML: manifest("web:v2")})
    lifted = reading.at(aborted.commit)
    board.publish("prod", lifted, now)
    board.see_abort("shop", "web", "2026-01-01T00:00:00Z")
    assert board.withdrawn("shop", "web") == {"2026-01-01T00:00:00Z"}
    board.see_abort("shop", "web", None)
    board.publish("prod", lifted, now)  # another pass over the same tree lifts no second abort
    board.see_abort("shop", "web", "2026-02-02T00:00:00Z")
    assert board.withdrawn("shop", "web") == frozenset()
    staging = TargetSpec("staging", "main", "envs")
    board.publish("staging", reading.at(spec=staging), now)
    assert (board.get("shop", "web") or aborted).target == "prod"  # type: ignore[union-attr]
    assert board.fetched_at("prod") == now
    board.remove("prod")
    assert board.get("shop", "web") is None
    assert board.fetched_at("prod") is None
    assert WEB.namespace == "shop"
