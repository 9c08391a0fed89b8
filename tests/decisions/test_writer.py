"""docs/decisions.md §2, §4: what is wanted gets into Git once, whatever happens on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from decision_engine import KEY, QUICK, WEB_YAML, Engine
from decision_repo import PROD, WEB, abort, lines, manifest, promote, stable
from git_remote import Remote
from gitops_rollouts.api.names import ABORT, PROMOTE, STABLE
from gitops_rollouts.decisions.holds import Hold
from gitops_rollouts.decisions.request_view import Standing
from gitops_rollouts.decisions.round import WriterTarget
from gitops_rollouts.decisions.state import InGit, TargetSpec
from gitops_rollouts.decisions.wants import WantAbort, WantRecord, WantRequest
from gitops_rollouts.errors import GitUnreachable
from gitops_rollouts.git.repository import Mirror
from waiting import eventually


@pytest.fixture
def engine(mirror: Mirror) -> Engine:
    return Engine(mirror)


def an_abort(state: InGit, at: int = 1, aborted_at: str = "2026-01-01T00:00:00Z") -> WantAbort:
    return WantAbort(state.attempt, at, aborted_at, "ProgressDeadlineExceeded", "web-abc has timed out")


def deployed(remote: Remote, engine: Engine) -> InGit:
    """v1 recorded, v2 on its way."""
    remote.put({WEB_YAML: manifest("web:v1")})
    record = stable(engine.sync().attempt)
    remote.put({WEB_YAML: manifest("web:v2", annotations=lines(record))})
    return engine.sync()


def log(remote: Remote, *args: str) -> list[str]:
    remote.git("fetch", "-q", "--prune", "origin")
    return remote.git("log", "--format=%s", "--first-parent", *args, "origin/main").splitlines()


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


def protect(remote: Remote, branch: str = "refs/heads/main") -> Callable[[], None]:
    hook = remote.bare / "hooks" / "update"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f'#!/bin/sh\ntest "$1" != {branch} || {{ echo "GH006: protected"; exit 1; }}\n')
    hook.chmod(0o755)
    return hook.unlink


async def test_a_protected_branch(remote: Remote, engine: Engine) -> None:
    state = deployed(remote, engine)
    unprotect = protect(remote)
    engine.want(an_abort(state))
    await engine.settle()
    assert engine.reason == "PushRefused"
    assert "rollouts/record/prod" in engine.reports[-1].message
    assert engine.pushed == []
    remote.git("fetch", "-q", "origin")
    assert ABORT in remote.git("show", f"origin/rollouts/record/prod:{WEB_YAML}")
    assert "[skip ci]" not in remote.git("log", "-1", "--format=%B", "origin/rollouts/record/prod")
    unprotect()
    engine.now += timedelta(hours=1)
    await engine.settle()
    assert len(engine.pushed) == 1
    assert engine.sync().abort is not None
    assert engine.reason == "Ready"


async def test_merging_what_waits_on_the_branch_is_as_good(remote: Remote, engine: Engine) -> None:
    state = deployed(remote, engine)
    unprotect = protect(remote)
    engine.want(an_abort(state))
    await engine.settle()
    unprotect()
    remote.git("fetch", "-q", "origin")
    remote.git("merge", "-q", "--no-ff", "-m", "merge", "origin/rollouts/record/prod")
    remote.push()
    assert engine.sync().abort is not None
    engine.want(an_abort(state))
    await engine.settle()
    assert engine.pushed == []
    assert engine.reason == "Ready"
    assert engine.mirror.look("main")[1] == {}


async def test_what_waits_on_the_branch_stays_complete(remote: Remote, engine: Engine) -> None:
    """§2 "Refused by policy": a later decision joins the earlier ones, none takes the place of another."""
    remote.put({WEB_YAML: manifest("web:v1"), "envs/prod/api.yaml": manifest("api:v1", name="api")})
    engine.sync()
    states = engine.published().rollouts
    protect(remote)
    api = ("shop", "api")
    engine.want(an_abort(states[KEY]))
    await engine.settle()
    engine.now += timedelta(minutes=5)
    engine.want(an_abort(states[api]), key=api)
    await engine.settle()
    remote.git("fetch", "-q", "origin")
    for path in (WEB_YAML, "envs/prod/api.yaml"):
        assert ABORT in remote.git("show", f"origin/rollouts/record/prod:{path}")
    (view,) = engine.views["prod"]
    assert (view.kind, view.tip, view.void) == (
        "record",
        remote.git("rev-parse", "origin/rollouts/record/prod").strip(),
        "",
    )
    assert sorted(view.decisions) == ["abort prod/shop/api step=1", "abort prod/shop/web step=1"]


async def test_deleting_what_states_a_fact_brings_it_back(remote: Remote, engine: Engine) -> None:
    """§2 "Refused by policy": at the next poll, not an hour later."""
    state = deployed(remote, engine)
    protect(remote)
    engine.want(an_abort(state))
    await engine.settle()
    remote.git("push", "-q", "origin", ":refs/heads/rollouts/record/prod")
    engine.now += timedelta(seconds=30)
    engine.mirror.fetch("main")
    engine.sync()
    await engine.settle()
    remote.git("fetch", "-q", "-p", "origin")
    assert ABORT in remote.git("show", f"origin/rollouts/record/prod:{WEB_YAML}")
    assert "rollouts/record/prod" in engine.reports[-1].message


@pytest.mark.parametrize("style", ["--no-ff", "--squash"])
async def test_a_merge_in_any_style_clears_what_waited(remote: Remote, engine: Engine, style: str) -> None:
    state = deployed(remote, engine)
    unprotect = protect(remote)
    engine.want(an_abort(state))
    await engine.settle()
    unprotect()
    remote.git("fetch", "-q", "origin")
    remote.git("merge", "-q", style, "origin/rollouts/record/prod")
    if style == "--squash":
        remote.git("commit", "-qm", "squashed")
    remote.push()
    engine.sync()
    engine.want()
    await engine.settle()
    assert engine.mirror.look("main")[1] == {}
    assert engine.views["prod"] == ()
    assert engine.reason == "Ready"


async def test_what_nobody_wants_any_more_doesnt_wait_for_ever(remote: Remote, engine: Engine) -> None:
    """A newer version came before anybody merged; after a restart, not before that is known."""
    state = deployed(remote, engine)
    protect(remote)
    engine.want(an_abort(state))
    await engine.settle()
    again = Engine(engine.mirror)
    again.sync()
    await again.settle()
    assert [view.void for view in again.views["prod"]] == [""]
    again.want()
    again.writer.saw_requests({})
    await again.settle()
    assert again.views["prod"] == ()
    assert again.mirror.look("main")[1] == {}


async def test_with_a_forge_the_branch_stays_until_its_request_is_settled(remote: Remote, mirror: Mirror) -> None:
    engine = Engine(mirror, forge=True)
    state = deployed(remote, engine)
    unprotect = protect(remote)
    engine.want(an_abort(state))
    await engine.settle()
    branch = "rollouts/record/prod"
    engine.writer.saw_standings("prod", {branch: Standing(branch, 7, "https://git.example/7", "open")})
    await engine.settle()
    assert "#7 (https://git.example/7)" in engine.reports[-1].message
    unprotect()
    engine.now += timedelta(hours=1)
    await engine.settle()
    assert len(engine.pushed) == 1, "direct commits resume"
    engine.sync()
    await engine.settle()
    assert [view.void for view in engine.views["prod"]] == ["promoted"]
    closed = Standing(branch, 7, "https://git.example/7", "closed", ours=True, settled=True)
    engine.writer.saw_standings("prod", {branch: closed})
    await engine.settle()
    assert engine.mirror.look("main")[1] == {}
    assert engine.reason == "Ready"


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


async def test_records_wait_until_the_target_is_at_rest(remote: Remote, engine: Engine) -> None:
    remote.put({WEB_YAML: manifest("web:v1") + "---\n" + manifest(name="api")})
    engine.sync()
    engine.now += timedelta(seconds=5)
    states = engine.published().rollouts
    engine.want(WantRecord(states[KEY].attempt))
    engine.want(key=("shop", "api"), moving=True)
    await engine.settle()
    assert engine.pushed == []
    engine.want(WantRecord(states["shop", "api"].attempt), key=("shop", "api"))
    await engine.settle()
    assert log(remote)[0] == "rollouts: 2 decisions in prod"


@pytest.mark.parametrize(("gap", "rounds"), [(timedelta(seconds=61), 1), (timedelta(seconds=50), 13)])
async def test_but_not_for_ever(remote: Remote, engine: Engine, gap: timedelta, rounds: int) -> None:
    names = [f"web{n}" for n in range(rounds)]
    remote.put({WEB_YAML: "---\n".join(manifest(name=name) for name in ["web", *names])})
    engine.sync()
    states = engine.published().rollouts
    engine.want(moving=True)
    for name in names:
        engine.want(WantRecord(states["shop", name].attempt), key=("shop", name))
        engine.now += gap
        await engine.settle()
    assert len(engine.pushed) == 1


async def test_adopting_many_is_one_commit(remote: Remote, engine: Engine) -> None:
    names = [f"web{n}" for n in range(30)]
    remote.put({f"envs/prod/{name}.yaml": manifest(name=name) for name in ["web", *names]})
    engine.sync()
    states = engine.published().rollouts
    for key, state in states.items():
        engine.want(WantRecord(state.attempt), key=key)
    await engine.settle()
    assert log(remote)[0] == "rollouts: 31 decisions in prod"
    assert len(engine.pushed) == 1
    numstat = remote.git("show", "--numstat", "--format=", "origin/main").splitlines()
    assert {line.split("\t")[0:2][0] + line.split("\t")[1] for line in numstat} == {"10"}


async def test_overlays_for_kustomize(remote: Remote, engine: Engine) -> None:
    remote.put({WEB_YAML: manifest("web:v1"), "envs/prod/kustomization.yaml": "resources: [web.yaml]\n"})
    state = engine.sync()
    engine.want(WantRecord(state.attempt))
    await engine.settle()
    remote.pull()
    assert remote.git("show", "--name-only", "--format=") == ".rollouts/prod/shop/web.yaml"
    after = engine.sync()
    assert after.recorded
    assert after.attempt == state.attempt
    remote.put({WEB_YAML: manifest("web:v2")})
    state = engine.sync()
    engine.want(an_abort(state))
    await engine.settle()
    assert engine.sync().abort is not None
    remote.pull()
    text = (remote.work / ".rollouts/prod/shop/web.yaml").read_text()
    assert text.index(ABORT) < text.index(STABLE)


async def test_the_overlay_of_a_rollout_that_is_gone_goes_too(remote: Remote, engine: Engine) -> None:
    await test_overlays_for_kustomize(remote, engine)
    remote.pull()
    remote.put({WEB_YAML: manifest("web:v3", name="other")})
    at = engine.published()
    engine.board.publish("prod", engine.reading.at(at.commit), engine.now)
    engine.writer.gone("prod", KEY)
    await engine.settle()
    assert log(remote)[0] == "rollout(prod/shop/web): gone from Git, and its decisions with it"
    assert remote.git("ls-tree", "-r", "--name-only", "origin/main", ".rollouts/") == ""
    await engine.settle()
    assert len(engine.pushed) == 3


async def test_another_engine_writes_under_our_name(remote: Remote, new_mirror: Callable[..., Mirror]) -> None:
    ours, theirs = Engine(new_mirror("a"), name="eu/1"), Engine(new_mirror("b"), name="us/1")
    remote.put({WEB_YAML: manifest("web:v1")})
    for engine in (ours, theirs):
        engine.sync()
    ours.want(WantRecord(ours.sync().attempt))
    await ours.settle()
    remote.pull()
    text = (remote.work / WEB_YAML).read_text().replace("web:v1", "web:v2")
    remote.put({WEB_YAML: text})
    theirs.want(WantRecord(theirs.sync().attempt))
    await theirs.settle()
    assert theirs.pushed == []
    assert theirs.reason == "TargetNameTaken"
    ours.want(WantRecord(ours.sync().attempt))
    await ours.settle()
    assert len(ours.pushed) == 2


async def test_the_circuit_breaker(remote: Remote, engine: Engine) -> None:
    state = deployed(remote, engine)
    for number in range(12):
        engine.want(an_abort(state, aborted_at=f"2026-01-01T00:00:{number:02}Z"))
        await engine.settle()
        remote.pull()
        remote.put({WEB_YAML: manifest("web:v2")}, "taken back by some robot")
        engine.sync()
    assert len(engine.pushed) == 10
    assert engine.reason == "CircuitOpen"
    at = engine.writer._next(engine.now)
    assert at is not None  # nobody else wakes the writer for the abort that waits
    engine.now = at
    await engine.settle()
    assert len(engine.pushed) == 11


async def test_what_sync_published_during_a_round_is_looked_at_again(
    remote: Remote, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote.put({WEB_YAML: manifest("web:v1")})
    state = engine.sync()
    remote.put({WEB_YAML: manifest("web:v1", annotations=lines(stable(state.attempt)))})
    engine.want(WantRecord(state.attempt))
    run = engine.writer._round.run

    def meanwhile(*args: Any, **more: Any) -> Any:
        monkeypatch.setattr(engine.writer._round, "run", run)
        result = run(*args, **more)
        remote.put({WEB_YAML: manifest("web:v1")}, "the record is taken away")
        engine.sync()
        return result

    monkeypatch.setattr(engine.writer._round, "run", meanwhile)
    await engine.settle()
    assert engine.sync().recorded


async def test_a_manifest_that_cannot_be_read_is_waited_for(remote: Remote, engine: Engine) -> None:
    state = deployed(remote, engine)
    remote.put({WEB_YAML: manifest("web:v2") + "  x: [\n"})
    engine.want(an_abort(state))
    await engine.settle()
    assert engine.reason == "Stuck"
    remote.put({WEB_YAML: manifest("web:v2")})
    engine.sync()
    engine.want(an_abort(state))
    await engine.settle()
    assert len(engine.pushed) == 1
    assert engine.reason == "Ready"


async def test_two_targets_in_one_commit(remote: Remote, mirror: Mirror) -> None:
    staging = TargetSpec("staging", "main", "envs/staging")
    engine = Engine(mirror, specs=[PROD, staging])
    files = {WEB_YAML: manifest(), "envs/staging/web.yaml": manifest().replace("shop", "shop-staging")}
    remote.put(files)
    engine.sync()
    for spec in (PROD, staging):
        for key, state in engine.published(spec.name).rollouts.items():
            engine.want(WantRecord(state.attempt), key=key, target=spec.name)
    await engine.settle()
    assert log(remote)[0] == "rollouts: 2 decisions in prod, staging"


async def test_eight_writers_race(remote: Remote, new_mirror: Callable[..., Mirror]) -> None:
    specs = [TargetSpec(f"t{n}", "main", f"envs/{n}") for n in range(8)]
    remote.put({f"envs/{n}/web.yaml": manifest() for n in range(8)})
    engines = [Engine(new_mirror(f"m{n}"), specs=[spec]) for n, spec in enumerate(specs)]

    async def work(engine: Engine) -> None:
        name = engine.specs[0].name
        at = engine.reading.at(None, engine.specs[0])
        engine.board.publish(name, at, engine.now)
        engine.want(WantRecord(at.rollouts[KEY].attempt), target=name)
        await engine.settle(200)

    await asyncio.gather(*(work(engine) for engine in engines))
    assert len([one for one in log(remote) if "stable" in one]) == 8
    assert [len(engine.pushed) for engine in engines] == [1] * 8


async def test_the_loop_runs_and_stops(remote: Remote, engine: Engine) -> None:
    state = deployed(remote, engine)
    stop = asyncio.Event()
    running = asyncio.create_task(engine.writer.run(stop))
    engine.want(an_abort(state))
    await eventually(lambda: asyncio.sleep(0, bool(engine.pushed)))
    stop.set()
    await running


# --- requests ------------------------------------------------------------------------------------------------------


def branch_of(state: InGit, gate: int = 1, part: str = "") -> str:
    return f"rollouts/promote/prod/{state.attempt.intent[:12]}-g{gate}{part}"


def a_request(state: InGit, gate: int = 1) -> WantRequest:
    return WantRequest(state.attempt, gate, 20, 60)


async def opened(remote: Remote, engine: Engine) -> InGit:
    state = deployed(remote, engine)
    engine.want(a_request(state))
    await engine.settle()
    engine.sync()
    await engine.settle()
    assert list(engine.mirror.list_refs()) == [branch_of(state)]
    remote.git("fetch", "-q", "--prune", "origin")
    return state


async def test_a_gate_opens_a_branch_with_one_line(remote: Remote, engine: Engine) -> None:
    state = await opened(remote, engine)
    branch = f"origin/{branch_of(state)}"
    assert remote.git("rev-list", "--count", f"origin/main..{branch}") == "1"
    added = [line for line in remote.git("diff", "-U0", f"origin/main..{branch}").splitlines() if line[0] in "+-"][2:]
    made = promote(state.attempt, 1)
    assert added == [
        f'+    {PROMOTE}: "template={made.template} steps={made.steps} gate=1 intent={made.intent} '
        f'for=prod/shop/web id={made.id}"  # approves web:v2 past step 1: 20% -> 60%'
    ]
    subject = "rollout(prod/shop/web): promote v2 past gate 1 (canary 20% -> 60%)"
    assert remote.git("log", "-1", "--format=%s", branch) == subject
    assert "[skip ci]" not in remote.git("log", "-1", "--format=%B", branch)
    assert engine.pushed == []


async def test_merging_it_promotes_and_the_branch_goes(remote: Remote, engine: Engine) -> None:
    state = await opened(remote, engine)
    remote.git("merge", "-q", "--no-ff", "-m", "promote", f"origin/{branch_of(state)}")
    remote.push()
    assert engine.sync().approved_through == 1
    engine.want()
    await engine.settle()
    engine.sync()
    assert engine.mirror.look("main")[1] == {}
    assert engine.writer.holds == frozenset()


async def test_deleting_it_holds(remote: Remote, engine: Engine) -> None:
    state = await opened(remote, engine)
    remote.git("push", "-q", "origin", f":refs/heads/{branch_of(state)}")
    hold = Hold("prod", "shop", "web", state.attempt.intent[:12], 1, when="2026-01-01T00:00:00Z")
    for _ in range(3):
        engine.sync()
        engine.want(a_request(state))
        await engine.settle()
        assert engine.mirror.look("main")[1] == {}
        assert engine.writer.holds == {hold}
    assert engine.reports[-1].holds == {hold}
    # a new engine on a new disk has only what the GitSync's status remembers
    again = Engine(engine.mirror)
    again.writer.restore_holds([hold])
    again.sync()
    again.want(a_request(state))
    await again.settle()
    assert again.mirror.look("main")[1] == {}


async def test_deleting_it_before_the_poller_ever_saw_it_holds_too(remote: Remote, engine: Engine) -> None:
    state = deployed(remote, engine)
    engine.want(a_request(state))
    await engine.settle()
    remote.git("push", "-q", "origin", f":refs/heads/{branch_of(state)}")
    engine.writer.saw_requests(engine.mirror.look("main")[1])
    await engine.settle()
    assert len(engine.writer.holds) == 1


async def test_a_hold_survives_a_restart_and_ends_with_the_approval(remote: Remote, engine: Engine) -> None:
    state = await opened(remote, engine)
    remote.git("push", "-q", "origin", f":refs/heads/{branch_of(state)}")
    again = Engine(engine.mirror)
    again.sync()
    again.want(a_request(state))
    await again.settle()
    assert len(again.writer.holds) == 1
    remote.pull()
    remote.put({WEB_YAML: manifest("web:v2", annotations=lines(promote(state.attempt, 1)))})
    again.sync()
    again.want()
    await again.settle()
    assert again.writer.holds == frozenset()


async def test_pushing_it_again_reopens(remote: Remote, engine: Engine) -> None:
    state = await opened(remote, engine)
    tip = remote.git("rev-parse", f"origin/{branch_of(state)}")
    remote.git("push", "-q", "origin", f":refs/heads/{branch_of(state)}")
    engine.sync()
    await engine.settle()
    assert engine.writer.holds
    remote.git("push", "-q", "origin", f"{tip}:refs/heads/{branch_of(state)}")
    engine.mirror.fetch("main")
    engine.sync()
    await engine.settle()
    assert engine.writer.holds == frozenset()
    assert list(engine.mirror.look("main")[1]) == [branch_of(state)]


async def test_a_newer_image_supersedes_it(remote: Remote, engine: Engine) -> None:
    state = await opened(remote, engine)
    tip = remote.git("rev-parse", f"origin/{branch_of(state)}")
    remote.put({WEB_YAML: manifest("web:v3")})
    newer = engine.sync()
    engine.want()
    await engine.settle()
    assert engine.mirror.look("main")[1] == {}
    assert engine.writer.holds == frozenset()
    remote.git("merge", "-q", "--no-ff", "-m", "merged by hand anyway", "-X", "ours", tip)
    remote.push()
    after = engine.sync()
    assert after.attempt == newer.attempt
    assert after.approved_through == -1


async def test_a_rollout_deleted_in_git_needs_no_request(remote: Remote, engine: Engine) -> None:
    await opened(remote, engine)
    remote.put({WEB_YAML: None, "envs/prod/other.yaml": manifest(name="other")})
    engine.board.publish("prod", engine.reading.at(engine.published().commit), engine.now)
    await engine.settle()
    assert engine.mirror.look("main")[1] == {}
    assert engine.writer.holds == frozenset()


async def test_somebody_elses_commit_on_it_is_never_lost(remote: Remote, engine: Engine) -> None:
    state = await opened(remote, engine)
    remote.git("checkout", "-q", "-b", "work", f"origin/{branch_of(state)}")
    theirs = remote.write({"notes": "x"})
    remote.push(branch=branch_of(state))
    remote.git("checkout", "-q", "main")
    remote.put({WEB_YAML: manifest("web:v3")})
    engine.sync()
    engine.want()
    await engine.settle()
    assert engine.mirror.look("main")[1] == {branch_of(state): theirs}


async def test_it_is_rebuilt_only_where_it_would_conflict(remote: Remote, engine: Engine) -> None:
    state = await opened(remote, engine)
    tip = engine.mirror.look("main")[1][branch_of(state)]
    remote.put({"README": "x"})
    engine.sync()
    engine.want(a_request(state))
    await engine.settle()
    assert engine.mirror.look("main")[1] == {branch_of(state): tip}
    remote.put({WEB_YAML: manifest("web:v2").replace("    team: shop", "    owner: ops")})
    engine.sync()
    engine.want(a_request(state))
    await engine.settle()
    rebuilt = engine.mirror.look("main")[1][branch_of(state)]
    assert rebuilt != tip
    assert remote.git("ls-remote", "origin", "main").split()[0] == engine.mirror.info(rebuilt).parents[0]


async def test_a_group_waits_for_its_members_and_stragglers_get_their_own(remote: Remote, engine: Engine) -> None:
    names = ["web", "api", "jobs"]
    remote.put({WEB_YAML: "---\n".join(manifest("x:v1", name=name) for name in names)})
    engine.sync()
    remote.put({WEB_YAML: "---\n".join(manifest("x:v2", name=name) for name in names)})
    state = engine.sync()
    states = engine.published().rollouts
    engine.want(a_request(state))
    await engine.settle()
    assert engine.mirror.list_refs() == {}
    engine.want(a_request(states["shop", "api"]), key=("shop", "api"))
    await engine.settle()
    assert engine.mirror.list_refs() == {}
    engine.now += timedelta(seconds=61)
    await engine.settle()
    assert list(engine.mirror.list_refs()) == [branch_of(state)]
    engine.want(a_request(states["shop", "jobs"]), key=("shop", "jobs"))
    await engine.settle()
    assert list(engine.mirror.list_refs()) == [branch_of(state), branch_of(state, part="-2")]
    tip = engine.mirror.list_refs()[branch_of(state)]
    assert engine.mirror.info(tip).trailers("Rollout-Decision") == (
        "promote prod/shop/api gate=1",
        "promote prod/shop/web gate=1",
    )


async def test_gates_commit_opens_nothing(remote: Remote, mirror: Mirror) -> None:
    engine = Engine(mirror, gates="commit")
    state = deployed(remote, engine)
    engine.want(a_request(state))
    await engine.settle()
    assert engine.mirror.look("main")[1] == {}


async def test_a_fresh_engine_closes_what_became_void_while_it_was_away(remote: Remote, engine: Engine) -> None:
    await opened(remote, engine)
    remote.put({WEB_YAML: manifest("web:v3")})
    again = Engine(engine.mirror)
    again.sync()
    again.want()
    await again.settle()
    assert again.mirror.look("main")[1] == {}


@pytest.mark.parametrize("error", [GitUnreachable("the server hung up"), RuntimeError("a surprise")])
async def test_what_is_wrong_with_requests_is_tried_again_in_good_time_and_delays_no_abort(
    remote: Remote, engine: Engine, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """§2: no storm of fetches, and a decision that comes meanwhile is written at once, once, and known to be."""
    state = deployed(remote, engine)
    fetches: list[str] = []
    fetch = engine.mirror.fetch
    monkeypatch.setattr(engine.mirror, "fetch", lambda branch: (fetches.append(branch), fetch(branch))[1])

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(engine.writer._requests, "round", fail)
    engine.writer._settings = replace(QUICK, retry_least=timedelta(seconds=1), retry_most=timedelta(seconds=30))
    engine.want(a_request(state))
    end = engine.now + timedelta(minutes=2)
    while (at := engine.writer._next(engine.now)) is not None and at < end:
        engine.now = max(engine.now, at)
        await engine.writer.step()
        assert len(fetches) < 40
    assert engine.reason == "RequestsFailed"
    engine.want(a_request(state), an_abort(state))
    due = engine.writer._next(engine.now)
    assert due is not None
    assert due <= engine.now
    await engine.writer.step()
    assert len(engine.pushed) == 1
    assert engine.reports[-1].pending == 0


async def test_the_loop_outlives_a_surprise_in_what_follows_a_round(remote: Remote, engine: Engine) -> None:
    """§4: who is told of a round may fail; the next decision is written all the same."""
    state = deployed(remote, engine)

    def fail(target: str, views: object) -> None:
        raise RuntimeError("a surprise")

    engine.writer._on_views = fail
    stop = asyncio.Event()
    running = asyncio.create_task(engine.writer.run(stop))
    engine.want(a_request(state))

    async def tried() -> bool:
        return engine.mirror.ls_remote(branch_of(state)) is not None

    await eventually(tried)
    engine.want(an_abort(state))

    async def written() -> bool:
        return bool(engine.pushed)

    await eventually(written)
    stop.set()
    await running
