"""docs/decisions.md §3 R6, R14, R15: history is rewritten, merged crosswise, or reverted out of order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from decision_engine import KEY, WEB_YAML, Engine
from decision_repo import PROD, Reading, abort, lines, manifest, promote, stable
from git_remote import Remote
from gitops_rollouts.api.names import PROMOTE, STABLE
from gitops_rollouts.decisions.authority.verifying import verify
from gitops_rollouts.decisions.planning.wants import WantRequest
from gitops_rollouts.decisions.state import InGit, TargetAt, TargetSpec
from gitops_rollouts.errors import GitUnreachable
from gitops_rollouts.git.repository import Mirror
from ssh_keys import Key, policy

Lines = dict[str, str]


def approved(remote: Remote, engine: Engine, signer: Key | None = None) -> tuple[InGit, Lines]:
    """v1 recorded, v2 under way with gate 1 approved."""
    remote.put({WEB_YAML: manifest("web:v1")})
    record = lines(stable(engine.sync().attempt))
    remote.put({WEB_YAML: manifest("web:v2", annotations=record)})
    annotations = record | lines(promote(engine.sync().attempt, 1))
    text = manifest("web:v2", annotations=annotations)
    if signer is None:
        remote.put({WEB_YAML: text})
    else:
        with signer.signs(remote):
            remote.put({WEB_YAML: text})
    state = engine.sync()
    assert (state.approved_through, state.unanchored) == (1, frozenset())
    return state, annotations


def rewrite(remote: Remote, annotations: Lines, *versions: str) -> str:
    """Put other commits with these versions in the place of all there was; the last one has the lines."""
    remote.git("checkout", "-q", "--orphan", "anew")
    for version in versions[:-1]:
        remote.write({WEB_YAML: manifest(version)}, "anew")  # within a second, the same message gives the same commit
    commit = remote.write({WEB_YAML: manifest(versions[-1], annotations=annotations)}, "anew")
    remote.push("--force")
    remote.git("branch", "-q", "-M", "anew", "main")
    return commit


def count(remote: Remote, since: str) -> int:
    remote.git("fetch", "-q", "origin")
    return int(remote.git("rev-list", "--count", f"{since}..origin/main"))


async def test_r6_one_commit_carries_approval_and_record_over(remote: Remote, engine: Engine) -> None:
    before, annotations = approved(remote, engine)
    engine.want(WantRequest(before.attempt, 3))
    await engine.settle()
    old = f"rollouts/promote/prod/{before.attempt.intent[:12]}-g3"
    assert old in engine.mirror.list_refs()
    told: list[TargetAt] = []
    engine.board.on_rewrite(told.append)
    anew = rewrite(remote, annotations, "web:v1", "web:v2")
    state = engine.sync()
    engine.want()
    assert (state.approved_through, state.unanchored, state.former) == (1, {PROMOTE, STABLE}, (before.attempt.intent,))
    assert [at.commit for at in told] == [anew]
    await engine.settle()
    assert count(remote, anew) == 1
    assert Reading(engine.mirror).web().approved_through == 1  # so says Git alone, by now
    state = engine.sync()
    assert (state.approved_through, state.unanchored) == (1, frozenset())
    assert state.promote == promote(state.attempt, 1)
    assert state.record is not None
    assert remote.git("rev-parse", "HEAD~1").startswith(state.record.commit)
    diff = remote.git("diff", "-U0", anew, "origin/main").splitlines()[5:]
    assert len([line for line in diff if line[0] == "+"]) == 2
    body = remote.git("log", "-1", "--format=%B", "origin/main")
    assert body.startswith(
        "rollout(prod/shop/web): carry the approval of gate 1 and the record over to the rewritten history\n"
    )
    assert "Rollout-Decision: anchor prod/shop/web gate=1\n" in body
    for _ in range(3):
        engine.sync()
        await engine.settle()
    assert count(remote, anew) == 1
    assert len(told) == 1
    engine.want(WantRequest(state.attempt, 3))  # the next gate asks as usual
    await engine.settle()
    assert list(engine.mirror.list_refs()) == [f"rollouts/promote/prod/{state.attempt.intent[:12]}-g3"]


async def test_r6_one_commit_for_all_that_was_approved(remote: Remote, engine: Engine) -> None:
    files = {f"envs/prod/{name}.yaml": (name, "v1") for name in ("api", "cart", "web")}
    remote.put({path: manifest(f"{name}:{tag}", name=name) for path, (name, tag) in files.items()})
    engine.sync()
    remote.put({path: manifest(f"{name}:v2", name=name) for path, (name, _) in files.items()})
    engine.sync()
    states = engine.published().rollouts
    texts = {
        path: manifest(
            f"{name}:v2",
            name=name,
            annotations=lines(promote(states["shop", name].attempt, 1, states["shop", name].subject)),
        )
        for path, (name, _) in files.items()
    }
    remote.put(texts)
    engine.sync()
    remote.git("checkout", "-q", "--orphan", "anew")
    anew = remote.write(texts)
    remote.push("--force")
    engine.sync()
    await engine.settle()
    assert count(remote, anew) == 1
    assert {state.approved_through for state in Reading(engine.mirror).at().rollouts.values()} == {1}


@pytest.mark.parametrize("fault", ["before", "after"])
async def test_r6_a_crash_around_the_push_costs_no_second_commit(
    remote: Remote, engine: Engine, new_mirror: Callable[..., Mirror], monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    before, annotations = approved(remote, engine)
    anew = rewrite(remote, annotations, "web:v1", "web:v2")
    real = Mirror.push

    def push(self: Mirror, commit: str, branch: str, expected: str | None) -> None:
        if fault == "after":
            real(self, commit, branch, expected)
        raise GitUnreachable("the line went dead")

    with monkeypatch.context() as patch:
        patch.setattr(Mirror, "push", push)
        engine.sync()
        await engine.writer.step()
    restarted = Engine(engine.mirror)
    at = restarted.reading.at(before.head)  # the head that was applied last is in the GitSync's status
    restarted.board.publish("prod", at, restarted.now)
    assert at.rollouts[KEY].approved_through == 1
    restarted.writer._look_at_requests()
    await restarted.settle()
    assert count(remote, anew) == 1
    assert Reading(new_mirror("afresh")).web().approved_through == 1


async def test_r6_a_protected_branch_is_not_tried_over_and_over(remote: Remote, engine: Engine) -> None:
    """docs/decisions.md §2: what it refuses waits on a branch, and the status says so."""
    _, annotations = approved(remote, engine)
    anew = rewrite(remote, annotations, "web:v1", "web:v2")
    tries = remote.bare / "tries"
    hook = remote.bare / "hooks" / "update"
    hook.parent.mkdir(exist_ok=True)
    refuse = 'test "$1" != refs/heads/main || { echo . >> tries; echo "GH006: protected"; exit 1; }'
    hook.write_text(f"#!/bin/sh\n{refuse}\n")
    hook.chmod(0o755)
    engine.sync()
    await engine.settle()
    assert len(tries.read_text().split()) <= 2
    assert engine.reason == "PushRefused"
    waiting = [name for name in engine.mirror.list_refs() if name.startswith("rollouts/record/")]
    assert waiting == ["rollouts/record/prod"]
    for _ in range(3):
        assert engine.sync().approved_through == 1
        await engine.settle()
    assert len(tries.read_text().split()) <= 3
    hook.unlink()
    tries.unlink()
    remote.git("fetch", "-q", "origin")
    remote.git("merge", "-q", "--ff-only", "origin/rollouts/record/prod")
    remote.push()
    assert engine.sync().unanchored == frozenset()
    await engine.settle()
    engine.sync()
    await engine.settle()
    assert engine.mirror.list_refs() == {}
    assert engine.reason == "Ready"
    assert count(remote, anew) == 1


async def test_r6_another_version_is_a_new_attempt_and_nothing_is_carried_over(remote: Remote, engine: Engine) -> None:
    _, annotations = approved(remote, engine)
    annotations.pop(STABLE)
    anew = rewrite(remote, annotations, "web:v1", "web:v3")
    state = engine.sync()
    assert (state.approved_through, state.unanchored, state.former) == (-1, frozenset(), ())
    await engine.settle()
    assert count(remote, anew) == 0


async def test_r6_a_record_of_a_version_that_the_new_history_lacks_stays_as_it_is(
    remote: Remote, engine: Engine
) -> None:
    _, annotations = approved(remote, engine)
    anew = rewrite(remote, annotations, "web:v2")
    engine.sync()
    await engine.settle()
    assert count(remote, anew) == 1
    state = engine.sync()
    assert (state.approved_through, state.unanchored) == (1, {STABLE})
    await engine.settle()
    assert count(remote, anew) == 1


async def test_r6_no_line_that_comes_with_the_rewrite_is_carried_over(remote: Remote, engine: Engine) -> None:
    """What wasn't verified before the rewrite isn't in force after it."""
    state, annotations = approved(remote, engine)
    forged = annotations | lines(promote(state.attempt, 3), replace(stable(state.attempt), template="0" * 16))
    anew = rewrite(remote, forged, "web:v1", "web:v2")
    after = engine.sync()
    assert (after.approved_through, after.unanchored) == (-1, frozenset())
    await engine.settle()
    assert count(remote, anew) == 0


class Trusting:
    """An engine that signs, in a GitSync with a policy."""

    def __init__(self, remote: Remote, mirror: Mirror, folder: Path) -> None:
        self.promoter, self.key = Key(folder, "alice@example.com"), Key(folder, "engine@prod")
        trusted = policy(promoters=(self.promoter,), engines=(self.key,))
        self.spec: TargetSpec = replace(PROD, policy=trusted)
        self.engine = Engine(mirror, specs=[self.spec], sign=lambda target: str(self.key.path))

    def afresh(self) -> InGit:
        return Reading(self.engine.mirror).at(None, self.spec).rollouts[KEY]


@pytest.fixture
def trusting(remote: Remote, mirror: Mirror, tmp_path: Path) -> Trusting:
    return Trusting(remote, mirror, tmp_path)


async def test_r6_what_an_engine_carried_over_counts_by_its_key(remote: Remote, trusting: Trusting) -> None:
    """docs/decisions.md §6: the rewrite dropped the promoter's signature, the engine had verified it."""
    engine = trusting.engine
    _, annotations = approved(remote, engine, trusting.promoter)
    anew = rewrite(remote, {key: annotations[key] for key in (PROMOTE,)}, "web:v1", "web:v2")
    engine.sync()
    assert trusting.afresh().approved_through == -1
    await engine.settle()
    assert count(remote, anew) == 1
    assert trusting.afresh().approved_through == 1
    head = engine.mirror.fetch("main")
    found = verify(engine.mirror, engine.reading.reader.contents, engine.reading.reader.guard, trusting.spec, head, KEY)
    assert [(one.change, one.verdict) for one in found if one.commit == head] == [("promoted past gate 1", "ok")]


async def test_r6_an_engines_request_moved_forward_carries_nothing_over(remote: Remote, trusting: Trusting) -> None:
    """The same gate of another attempt differs in intent and id alone, as what is carried over does."""
    engine = trusting.engine
    approved(remote, engine, trusting.promoter)
    text = (remote.work / WEB_YAML).read_text()
    remote.put({WEB_YAML: text.replace("web:v2", "web:v1")})
    engine.sync()
    remote.put({WEB_YAML: text})
    state = engine.sync()
    assert (state.approved_through, state.unanchored) == (-1, frozenset())
    engine.want(WantRequest(state.attempt, 1))
    await engine.settle()
    branch = f"rollouts/promote/prod/{state.attempt.intent[:12]}-g1"
    remote.git("fetch", "-q", "origin")
    remote.git("push", "-q", "origin", f"origin/{branch}:main")
    state = engine.sync()
    assert state.approved_through == -1
    assert any(one.unauthorised for one in state.ignored)


@pytest.mark.parametrize("signed", ["nobody", "an-engine-of-another-gate"])
def test_r6_saying_so_isnt_enough(remote: Remote, trusting: Trusting, signed: str) -> None:
    state, _ = approved(remote, trusting.engine, trusting.promoter)
    forged = manifest("web:v2", annotations=lines(promote(state.attempt, 3)))
    message = "carry over\n\nRollout-Decision: anchor prod/shop/web gate=3\nRollout-Engine: prod-eu1/0.1.0"
    if signed == "nobody":
        remote.put({WEB_YAML: forged}, message)
    else:  # an engine's signature, but on words about another gate
        with trusting.key.signs(remote):
            remote.put({WEB_YAML: forged}, message.replace("gate=3", "gate=1"))
    assert trusting.engine.sync().approved_through == -1


def test_r14_an_older_decision_under_a_newer_one_reverts_with_a_conflict_and_the_image_cleanly(
    remote: Remote, mirror: Mirror
) -> None:
    """The lines are adjacent, so git itself says no; three decisions below don't keep the image from being reverted."""
    engine_lines: Lines = {}
    remote.put({WEB_YAML: manifest("web:v1")})
    image = remote.put({WEB_YAML: manifest("web:v2")})
    reading = Reading(mirror)
    attempt = reading.web().attempt
    made = []
    for line in (promote(attempt, 1), promote(attempt, 3), abort(attempt)):
        engine_lines |= lines(line)
        made.append(remote.put({WEB_YAML: manifest("web:v2", annotations=engine_lines)}))
    with pytest.raises(AssertionError, match="could not revert"):
        remote.git("revert", "--no-edit", made[0])
    remote.git("revert", "--abort")
    remote.git("revert", "--no-edit", image)
    remote.push()
    state = reading.web()
    assert (state.promote, state.abort) == (None, None)
    assert state.image == "web:v1"


async def test_r15_main_merged_into_a_branch_and_pushed_forward_changes_nothing(remote: Remote, engine: Engine) -> None:
    remote.put({"README": "0"})
    remote.git("branch", "aside")
    before, _ = approved(remote, engine)
    remote.git("checkout", "-q", "aside")
    remote.write({"aside": "1"})
    remote.git("merge", "-q", "--no-ff", "-m", "main into branch", "main")
    remote.push()
    after = engine.sync()
    assert after.head != before.head
    assert (after.attempt, after.approved_through, after.former) == (before.attempt, 1, ())
    assert not engine.published().rewritten
    await engine.settle()
    assert engine.pushed == []
