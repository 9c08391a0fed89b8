"""docs/decisions.md §2: what a protected branch refuses waits on a branch of ours."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from decision_engine import KEY, WEB_YAML, Engine
from decision_repo import manifest
from git_remote import Remote
from gitops_rollouts.api.names import ABORT
from gitops_rollouts.decisions.requests.view import Standing
from gitops_rollouts.git.repository import Mirror
from waiting import eventually
from written import an_abort, deployed, protect


async def refused(remote: Remote, engine: Engine) -> Callable[[], None]:
    """An abort that the branch doesn't take. Returns what lets it take commits again."""
    state = deployed(remote, engine)
    unprotect = protect(remote)
    engine.want(an_abort(state))
    await engine.settle()
    return unprotect


async def test_a_protected_branch(remote: Remote, engine: Engine) -> None:
    unprotect = await refused(remote, engine)
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
    await refused(remote, engine)
    remote.git("push", "-q", "origin", ":refs/heads/rollouts/record/prod")
    engine.now += timedelta(seconds=30)
    engine.mirror.fetch("main")
    engine.sync()
    await engine.settle()
    remote.git("fetch", "-q", "-p", "origin")
    assert ABORT in remote.git("show", f"origin/rollouts/record/prod:{WEB_YAML}")
    assert "rollouts/record/prod" in engine.reports[-1].message


async def test_what_one_lane_leaves_to_the_other_wakes_it(remote: Remote, engine: Engine) -> None:
    """The same with the writer's own loop, in which a lane sleeps until it has something to do."""
    state = deployed(remote, engine)
    protect(remote)
    stop = asyncio.Event()
    running = asyncio.create_task(engine.writer.run(stop))

    async def offered() -> bool:
        engine.now += timedelta(milliseconds=20)  # or a lane that lost a race would never try again
        there = remote.git("ls-remote", "origin", "refs/heads/rollouts/record/prod")
        # the writer is told of a branch after its push
        return bool(there) and bool(engine.reports) and "rollouts/record/prod" in engine.reports[-1].message

    try:
        engine.want(an_abort(state))
        await eventually(offered)
        remote.git("push", "-q", "origin", ":refs/heads/rollouts/record/prod")
        engine.now += timedelta(seconds=30)
        engine.mirror.fetch("main")
        engine.sync()
        await eventually(offered)
    finally:
        stop.set()
        await running


@pytest.mark.parametrize("style", ["--no-ff", "--squash"])
async def test_a_merge_in_any_style_clears_what_waited(remote: Remote, engine: Engine, style: str) -> None:
    unprotect = await refused(remote, engine)
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
    await refused(remote, engine)
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
    unprotect = await refused(remote, engine)
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
