"""docs/decisions.md §2, §4: what is wanted gets into Git once, whatever happens on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from decision_engine import KEY, WEB_YAML, Engine
from decision_repo import WEB, abort, lines, manifest, promote
from git_remote import Remote
from gitops_rollouts.api.names import ABORT, PROMOTE, STABLE
from gitops_rollouts.decisions.planning.wants import WantRecord
from gitops_rollouts.decisions.writing.round import WriterTarget
from gitops_rollouts.errors import GitUnreachable
from gitops_rollouts.git.repository import Mirror
from written import an_abort, deployed, log


async def test_an_abort_is_one_line_in_one_commit(remote: Remote, engine: Engine) -> None:
    state = deployed(remote, engine)
    engine.want(an_abort(state))
    await engine.settle()
    remote.pull()
    assert log(remote)[0] == "rollout(prod/shop/web): abort v2 at step 1, back on v1"
    diff = remote.git("diff", "-U0", "HEAD~1").splitlines()[5:]
    made, content = an_abort(state).id(WEB), f"template={state.attempt.template} steps={state.attempt.steps}"
    assert diff == [
        f'+    {ABORT}: "{content} at=1 for=prod/shop/web id={made}"'
        "  # web:v2 aborted at step 1: ProgressDeadlineExceeded"
    ]
    body = remote.git("log", "-1", "--format=%B")
    assert f"Rollout-Decision: abort prod/shop/web step=1\nRollout-Decision-Id: {made}\n" in body
    assert "[skip ci]" in body
    assert remote.git("log", "-1", "--format=%(trailers:key=Rollout-Engine,valueonly)").strip() == "prod-eu1/0.1.0"
    assert engine.pushed == [remote.git("rev-parse", "HEAD")]
    state = engine.sync()
    assert state.abort is not None
    engine.want()
    await engine.settle()
    assert engine.pushed == [remote.git("rev-parse", "HEAD")]
    assert engine.reason == "Ready"


async def test_a_standing_want_is_not_written_twice(remote: Remote, engine: Engine) -> None:
    state = deployed(remote, engine)
    for _ in range(3):
        engine.want(an_abort(state))
        await engine.settle()
        engine.sync()
    assert len(engine.pushed) == 1


async def test_a_record_takes_the_decisions_away(remote: Remote, engine: Engine) -> None:
    state = deployed(remote, engine)
    approval = promote(state.attempt, 1)
    remote.put({WEB_YAML: manifest("web:v2", annotations=lines(approval))})
    state = engine.sync()
    engine.want(WantRecord(state.attempt))
    await engine.settle()
    remote.pull()
    text = (remote.work / WEB_YAML).read_text()
    assert PROMOTE not in text
    assert f'{STABLE}: "template={state.attempt.template} commit={state.attempt.intent[:12]} for=prod/shop/web"' in text
    assert log(remote)[0] == "rollout(prod/shop/web): v2 is stable"
    assert f"Rollout-Decision-Id: {approval.id}" in remote.git("log", "-1", "--format=%B")
    assert engine.sync().recorded


async def test_a_record_names_every_gate_that_was_opened_on_the_way(remote: Remote, engine: Engine) -> None:
    """docs/decisions.md §7: a line holds the last gate only; squashed requests stay traceable all the same."""
    state = deployed(remote, engine)
    first, last = promote(state.attempt, 1), promote(state.attempt, 3)
    for line in (first, last):
        remote.put({WEB_YAML: manifest("web:v2", annotations=lines(line))})
        state = engine.sync()
    engine.want(WantRecord(state.attempt))
    await engine.settle()
    remote.pull()
    told = remote.git("log", "-1", "--format=%(trailers:key=Rollout-Decision-Id,valueonly)").split()
    assert told == [first.id, last.id]


async def test_an_abort_that_came_after_the_completion_is_taken_out_by_the_record(
    remote: Remote, engine: Engine
) -> None:
    """§3: what serves everything is kept; but an abort that the cluster hasn't seen yet is waited for."""
    state = deployed(remote, engine)
    line = abort(state.attempt)
    remote.put({WEB_YAML: manifest("web:v2", annotations=lines(line))})
    state = engine.sync()
    engine.want(WantRecord(state.attempt))
    await engine.settle()
    assert engine.pushed == []
    engine.want(WantRecord(state.attempt, too_late=line.id))
    await engine.settle()
    remote.pull()
    assert ABORT not in (remote.work / WEB_YAML).read_text()
    body = remote.git("log", "-1", "--format=%B")
    assert body.startswith("rollout(prod/shop/web): v2 is stable\n")
    assert "the abort came when it served everything already; gor undo web takes it back" in body
    assert engine.sync().recorded


async def test_reverting_an_abort_is_a_retry_and_is_never_written_again(remote: Remote, engine: Engine) -> None:
    state = deployed(remote, engine)
    want = an_abort(state)
    engine.want(want)
    await engine.settle()
    remote.pull()
    remote.git("revert", "--no-edit", "HEAD")
    remote.push()
    engine.sync()
    await engine.settle()
    assert len(engine.pushed) == 1
    assert engine.board.withdrawn(*KEY) == {want.aborted_at}
    second = an_abort(state, aborted_at="2026-01-01T01:00:00Z")
    engine.want(second)
    await engine.settle()
    assert len(engine.pushed) == 2
    ids = [remote.git("log", "origin/main", "--format=%H", f"-Sid={one.id(WEB)}").count("\n") for one in (want, second)]
    remote.pull()
    assert second.id(WEB) in (remote.work / WEB_YAML).read_text()
    assert ids == [1, 0]  # in and out again; in


async def test_a_persons_abort_that_was_reverted_is_not_written_by_the_engine(remote: Remote, engine: Engine) -> None:
    """R4, R10: known by the id that the cluster noted, even if the line is older than the attempt."""
    state = deployed(remote, engine)
    assert state.record is not None
    line = abort(state.attempt, cause="a person's")
    remote.put({WEB_YAML: manifest("web:v2", annotations=lines(state.record, line))})
    remote.put({WEB_YAML: manifest("web:v1", annotations=lines(state.record, line))})
    remote.put({WEB_YAML: manifest("web:v2", annotations=lines(state.record, line))})
    again = engine.sync()
    assert again.abort == line
    assert again.attempt.intent != state.attempt.intent
    remote.put({WEB_YAML: manifest("web:v2", annotations=lines(state.record))})
    engine.want(replace(an_abort(again), told=line.id))
    await engine.settle()
    assert engine.pushed == []
    assert engine.board.withdrawn(*KEY) == {an_abort(again).aborted_at}


async def test_a_record_that_was_reverted_is_written_again(remote: Remote, engine: Engine) -> None:
    remote.put({WEB_YAML: manifest("web:v1")})
    state = engine.sync()
    engine.want(WantRecord(state.attempt))
    await engine.settle()
    engine.sync()
    engine.want()
    remote.pull()
    remote.git("revert", "--no-edit", "HEAD")
    remote.push()
    state = engine.sync()
    assert not state.recorded
    engine.want(WantRecord(state.attempt))
    await engine.settle()
    assert engine.sync().recorded
    assert len(engine.pushed) == 2


async def test_what_the_tree_has_left_behind_is_dropped(remote: Remote, engine: Engine) -> None:
    state = deployed(remote, engine)
    remote.put({WEB_YAML: manifest("web:v3")})
    engine.want(an_abort(state))
    engine.want(WantRecord(state.attempt), key=("shop", "gone"))
    await engine.settle()
    assert engine.pushed == []


async def test_an_abort_of_the_attempt_before_is_not_written_for_the_new_one(remote: Remote, engine: Engine) -> None:
    state = deployed(remote, engine)
    assert state.record is not None
    record = lines(state.record)
    remote.put({WEB_YAML: manifest("web:v1", annotations=record)}, "back")
    remote.put({WEB_YAML: manifest("web:v2", annotations=record)}, "and forth")
    again = engine.sync()
    assert (again.attempt.content, again.attempt.intent == state.attempt.intent) == (state.attempt.content, False)
    engine.want(an_abort(state))
    await engine.settle()
    assert engine.pushed == []
    engine.want(an_abort(again))
    await engine.settle()
    assert len(engine.pushed) == 1


async def test_others_push_while_we_do(remote: Remote, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    state = deployed(remote, engine)
    pushes = 0
    push = engine.mirror.push

    def racing(commit: str, branch: str, expected: str | None) -> None:
        nonlocal pushes
        pushes += 1
        if pushes <= 3:
            remote.git("fetch", "-q", "origin")
            text = manifest("web:v2").replace("replicas: 5", f"replicas: {pushes}  # typed by a person")
            remote.put({WEB_YAML: text})
        push(commit, branch, expected)

    monkeypatch.setattr(engine.mirror, "push", racing)
    engine.want(an_abort(state))
    await engine.settle()
    remote.pull()
    text = (remote.work / WEB_YAML).read_text()
    assert "replicas: 3  # typed by a person" in text
    assert ABORT in text
    assert pushes == 4
    assert len(engine.pushed) == 1


@pytest.mark.parametrize("accepted", [True, False])
async def test_a_crash_around_the_push(
    remote: Remote, new_mirror: Callable[..., Mirror], monkeypatch: pytest.MonkeyPatch, accepted: bool
) -> None:
    engine = Engine(new_mirror())
    state = deployed(remote, engine)
    push = engine.mirror.push

    def crash(commit: str, branch: str, expected: str | None) -> None:
        if accepted:
            push(commit, branch, expected)
        raise KeyboardInterrupt

    monkeypatch.setattr(engine.mirror, "push", crash)
    engine.want(an_abort(state))
    with pytest.raises(KeyboardInterrupt):
        await engine.settle()
    again = Engine(new_mirror("again"))
    again.sync()
    again.want(an_abort(state))
    await again.settle()
    assert len([one for one in log(remote) if "abort" in one]) == 1
    assert len(again.pushed) == (0 if accepted else 1)


async def test_an_answer_that_was_lost(remote: Remote, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    state = deployed(remote, engine)
    push = engine.mirror.push
    lost = iter([True])

    def deaf(commit: str, branch: str, expected: str | None) -> None:
        push(commit, branch, expected)
        if next(lost, False):
            raise GitUnreachable("the connection was cut")

    monkeypatch.setattr(engine.mirror, "push", deaf)
    engine.want(an_abort(state))
    await engine.settle()
    assert len([one for one in log(remote) if "abort" in one]) == 1


async def test_a_remote_that_is_away(remote: Remote, engine: Engine) -> None:
    state = deployed(remote, engine)
    away = remote.bare.with_name("away.git")
    remote.bare.rename(away)
    engine.want(an_abort(state))
    for _ in range(3):
        await engine.writer.step()
        engine.now += timedelta(minutes=1)
    assert engine.reason == "Unreachable"
    assert engine.reports[-1].pending == 1
    away.rename(remote.bare)
    await engine.settle()
    assert engine.reason == "Ready"
    assert len(engine.pushed) == 1


async def test_a_remote_that_is_only_read(remote: Remote, mirror: Mirror) -> None:
    engine = Engine(mirror, write=False)
    engine.want(an_abort(deployed(remote, engine)))
    await engine.settle()
    assert engine.pushed == []
    assert (engine.reason, engine.reports[-1].ok) == ("Disabled", True)


async def test_without_its_secrets_nothing_is_written_and_why_is_told(remote: Remote, mirror: Mirror) -> None:
    """docs/gitsync.md "Secrets that are missing". Once they are back what waited is written."""
    engine = Engine(mirror, unwritable="spec.signingSecretRef: the Secret ops/signing doesn't exist")
    engine.want(an_abort(deployed(remote, engine)))
    await engine.settle()
    assert engine.pushed == []
    assert (engine.reason, engine.reports[-1].ok) == ("SecretUnusable", False)
    assert "ops/signing" in engine.reports[-1].message
    engine.writer.register(WriterTarget(engine.specs[0]))
    await engine.settle()
    assert len(engine.pushed) == 1
    assert engine.reason == "Ready"
    engine.writer.register(WriterTarget(engine.specs[0], forge=True, forgeless="spec.forge.secretRef: gone"))
    assert (engine.reason, engine.reports[-1].ok) == ("ForgeFailed", False)
