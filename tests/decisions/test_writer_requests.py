"""docs/decisions.md §2: the branches that ask for a promotion."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from decision_engine import QUICK, WEB_YAML, Engine
from decision_repo import lines, manifest, promote
from git_remote import Remote
from gitops_rollouts.api.names import PROMOTE
from gitops_rollouts.decisions.requests.holds import Hold
from gitops_rollouts.errors import GitUnreachable
from gitops_rollouts.git.repository import Mirror
from waiting import eventually
from written import a_request, an_abort, branch_of, deployed, opened


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
