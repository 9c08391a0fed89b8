"""docs/decisions.md §4: a promotion that the cluster was asked for becomes one line in Git, whatever happens."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from decision_engine import KEY, WEB_YAML, Engine
from decision_repo import WEB, lines, manifest, stable
from decisions.test_wants import ATTEMPT, in_git, live
from desk_person import Person
from git_remote import Remote
from gitops_rollouts.api.gitsync import GitSyncAuthority, GitSyncSpec
from gitops_rollouts.api.names import OUTBOX, PROMOTE
from gitops_rollouts.decisions.asking import Asking, asking_of
from gitops_rollouts.decisions.planning.outbox import Wanted, asked_entry, pending, read_asked
from gitops_rollouts.decisions.planning.wants import WantAbort, WantPromotion, WantRequest, wants
from gitops_rollouts.decisions.state import InGit
from gitops_rollouts.errors import GitUnreachable
from gitops_rollouts.git.repository import Mirror

WHO = "kubectl-argo-rollouts"


@pytest.fixture
def engine(mirror: Mirror) -> Engine:
    return Engine(mirror)


def at_gate(remote: Remote, engine: Engine) -> InGit:
    """v1 recorded, v2 on its way."""
    remote.put({WEB_YAML: manifest("web:v1")})
    record = stable(engine.sync().attempt)
    remote.put({WEB_YAML: manifest("web:v2", annotations=lines(record))})
    return engine.sync()


def asked(state: InGit, gate: Wanted = 1) -> WantPromotion:
    return WantPromotion(state.attempt, gate, WHO, 20, 60) if gate == 1 else WantPromotion(state.attempt, gate, WHO)


def introduced(remote: Remote, made: str) -> list[str]:
    """The commits that changed how often an id stands in the tree."""
    remote.pull()
    return remote.git("log", "--format=%H", f"-Sid={made}").splitlines()


def line(remote: Remote) -> str:
    remote.pull()
    return next((each for each in (remote.work / WEB_YAML).read_text().splitlines() if PROMOTE in each), "")


@pytest.mark.parametrize("gate", [1, "full"])
async def test_it_is_the_very_line_that_gor_promote_writes(
    remote: Remote, engine: Engine, tmp_path: Path, gate: Wanted
) -> None:
    state = at_gate(remote, engine)
    engine.want(asked(state, gate), WantRequest(state.attempt, 1, 20, 60))
    await engine.settle()
    written = line(remote)
    body = remote.git("log", "-1", "--format=%B")
    assert f"Rollout-Decision: promote prod/shop/web gate={gate}\n" in body
    assert f"Rollout-Actor: {WHO}\n" in body
    assert "Rollout-Engine: " in body
    assert engine.sync().approves(1)
    assert len(engine.pushed) == 1
    engine.want(asked(state, gate))
    await engine.settle()
    assert len(engine.pushed) == 1, "it is there"
    remote.git("revert", "--no-edit", "HEAD")
    remote.push()
    with Person(tmp_path, remote).desk() as desk:
        done = desk.promote(KEY, gate=None if gate == "full" else 1, full=gate == "full")
    assert done.outcome == "pushed"
    assert line(remote) == written


async def test_the_request_for_the_same_gate_is_void_then(remote: Remote, engine: Engine) -> None:
    state = at_gate(remote, engine)
    waits = WantRequest(state.attempt, 1, 20, 60)
    engine.want(waits)
    await engine.settle()
    assert [each for each in engine.mirror.list_refs() if each.endswith("-g1")]
    engine.want(asked(state), waits)
    await engine.settle()
    engine.sync()
    engine.want()
    await engine.settle()
    assert not [each for each in engine.mirror.list_refs() if each.endswith("-g1")]


async def test_an_answer_that_is_lost_and_a_process_that_dies_make_one_commit(
    remote: Remote, engine: Engine, new_mirror: Callable[..., Mirror], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the push: asked again. After it: the id is found, by this process or by the next."""
    state = at_gate(remote, engine)
    push = Mirror.push
    fates = iter(["before", "after", "well"])

    def lost(self: Mirror, *args: Any, **more: Any) -> None:
        fate = next(fates)
        if fate != "before":
            push(self, *args, **more)
        if fate != "well":
            raise GitUnreachable("the connection was lost")

    monkeypatch.setattr(Mirror, "push", lost)
    engine.want(asked(state))
    await engine.writer.step()
    after = Engine(new_mirror("second"))
    after.sync()
    after.want(asked(state))
    await after.writer.step()
    for again in (after, Engine(new_mirror("third"))):
        again.sync()
        again.want(asked(state))
        await again.settle()
        assert again.sync().approves(1)
    made = asked_entry(WEB, *state.attempt.content, state.attempt.intent, "1", WHO)["id"]
    assert len(introduced(remote, made)) == 1


async def test_what_a_person_took_back_is_never_pushed_again(remote: Remote, engine: Engine) -> None:
    state = at_gate(remote, engine)
    engine.want(asked(state))
    await engine.settle()
    remote.pull()
    remote.git("revert", "--no-edit", "HEAD")
    remote.push()
    state, head = engine.sync(), remote.pull()
    engine.want(asked(state))
    await engine.settle()
    assert remote.pull() == head
    made = asked_entry(WEB, *state.attempt.content, state.attempt.intent, "1", WHO)["id"]
    assert engine.board.refused(*KEY) == {made}


async def test_it_counts_for_no_other_attempt_and_not_beside_an_abort(remote: Remote, engine: Engine) -> None:
    state = at_gate(remote, engine)
    text = (remote.work / WEB_YAML).read_text()
    remote.put({WEB_YAML: text.replace("web:v2", "web:v3")})
    remote.put({WEB_YAML: text})
    engine.sync()
    head = remote.pull()
    engine.want(asked(state))
    await engine.settle()
    assert remote.pull() == head, "the same content came again: another attempt"
    state = engine.sync()
    engine.want(asked(state), WantAbort(state.attempt, 1, "2026-01-01T00:00:00Z", "Requested", ""))
    await engine.settle()
    state = engine.sync()
    assert state.abort is not None
    head = remote.pull()
    engine.want(asked(state))
    await engine.settle()
    assert remote.pull() == head


async def test_a_protected_branch_gets_it_as_every_decision(remote: Remote, engine: Engine) -> None:
    """§2 "Refused by policy": it waits on a branch of ours, whose merge is the promotion."""
    hook = remote.bare / "hooks" / "update"
    hook.parent.mkdir(exist_ok=True)
    state = at_gate(remote, engine)
    hook.write_text('#!/bin/sh\ntest "$1" != refs/heads/main || { echo "GH006: protected"; exit 1; }\n')
    hook.chmod(0o755)
    engine.want(asked(state))
    await engine.settle()
    assert engine.reason == "PushRefused"
    assert not engine.sync().approves(1)
    (view,) = [each for each in engine.views["prod"] if each.kind == "record"]
    assert view.decisions == ("promote prod/shop/web gate=1",)
    hook.unlink()
    remote.pull()
    remote.git("merge", "-q", "--no-ff", "-m", "merge", "origin/rollouts/record/prod")
    remote.push()
    assert engine.sync().approves(1)


def entry(gate: str = "1", actor: str = WHO, **other: Any) -> dict[str, Any]:
    return {**asked_entry(WEB, *ATTEMPT.content, ATTEMPT.intent, gate, actor), **other}


def wanted(*entries: Any, state: InGit | None = None, **more: Any) -> tuple[Any, ...]:
    rollout = live(annotations={OUTBOX: json.dumps(entries)}, phase="Paused", currentStepIndex=1)
    return wants(rollout, state or in_git(), applied=True, gates="commit", promotions=True, **more)


def test_the_outbox_says_what_was_asked_for() -> None:
    assert wanted(entry()) == (WantPromotion(ATTEMPT, 1),)
    assert wanted(entry())[0].actor == WHO
    assert wanted(entry(), entry("full"), entry("0"))[0].gate == "full"
    assert wanted(entry(actor=""))[0].actor == "a client of the cluster"
    assert wants(live(annotations={OUTBOX: json.dumps([entry()])}), in_git(), applied=True, gates="commit") == ()
    for wrong in (
        {"intent": "0" * 12},
        {"key": "0/0"},
        {"id": "d-aaaaaaaaaa"},
        {"gate": 1},
        {"verb": 7},
    ):
        assert wanted(entry(**wrong)) == ()
    other = replace(ATTEMPT, intent="f" * 40)
    assert wanted(entry(), state=replace(in_git(), attempt=other)) == ()
    assert wanted(entry(), state=replace(in_git(), approved_through=1)) == ()


@pytest.mark.parametrize("text", ["", "null", "[" * 100_000, '[{"verb": "promote"}]', "[7]", "x" * 70_000])
def test_any_outbox_is_read(text: str) -> None:
    assert read_asked(text) == ()
    assert pending(text, in_git()) == ()


def test_a_gitsync_that_says_who_may_promote_writes_nothing_in_the_engines_name() -> None:
    """§6, §4: the policy without its effect is told in the GitSync's status."""
    assert asking_of(GitSyncSpec()) == Asking()
    assert asking_of(GitSyncSpec(cluster_promotions="commit", gates="commit")) == Asking("commit", commits=True)
    strict = asking_of(GitSyncSpec(cluster_promotions="commit", authority=GitSyncAuthority(promoters=("olga",))))
    assert not strict.commits
    assert strict.note.startswith("what clients of the cluster promote is undone: spec.authority")
    assert not asking_of(GitSyncSpec(cluster_promotions="commit", write="none")).commits
