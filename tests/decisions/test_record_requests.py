"""What a protected branch refuses is a pull request on a forge (docs/decisions.md §2 "Refused by policy")."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from decision_engine import KEY, WEB_YAML, Engine
from decision_repo import manifest
from forge_double import ForgeDouble
from git_remote import Remote
from gitops_rollouts.decisions.forge_side.pull_requests import PullRequests
from gitops_rollouts.decisions.planning.wants import WantAbort
from gitops_rollouts.errors import ForgeRefused
from gitops_rollouts.git.repository import Mirror

BRANCH = "rollouts/record/prod"
API_YAML = "envs/prod/api.yaml"
API = ("shop", "api")


class Guarded(ForgeDouble):
    """Merges nothing by itself: a person has to approve. ``asked``: number, head, and whether it may wait."""

    def __init__(self, remote: Remote, *, reopens: bool = True) -> None:
        super().__init__(remote, reopens=reopens)
        self.asked: list[tuple[int, str, bool]] = []
        self.refuses = ""

    def merge(self, number: int, head: str, *, when_ready: bool = False) -> None:
        def do() -> None:
            self.asked.append((number, head, when_ready))
            if self.refuses:
                raise ForgeRefused(self.refuses)

        self._call("merge", do)


class Protected:
    """An engine whose branch takes no direct push of it, and its forge."""

    def __init__(self, remote: Remote, new_mirror: Callable[..., Mirror], forge: Guarded | None = None) -> None:
        self.remote = remote
        self.forge = forge or Guarded(remote)
        self._new_mirror = new_mirror
        self._hook = remote.bare / "hooks" / "update"
        self._hook.parent.mkdir(exist_ok=True)
        self.protect()
        self.wanted = {KEY: True, API: False}
        self.begin()

    def protect(self) -> None:
        self._hook.write_text('#!/bin/sh\ntest "$1" != refs/heads/main || { echo "GH006: protected"; exit 1; }\n')
        self._hook.chmod(0o755)

    def unprotect(self) -> None:
        self._hook.unlink()

    def begin(self) -> None:
        self.engine = Engine(self._new_mirror(), forge=True)
        self.pulls = PullRequests(
            self.engine.mirror,
            "main",
            lambda target: self.forge,
            lambda: self.engine.now,
            tell=self.engine.writer.saw_standings,
        )
        self.engine.writer._on_views = self.pulls.show

    async def poll(self, *, minutes: int = 1) -> None:
        """A poll, and everything that comes of it."""
        self.engine.now += timedelta(minutes=minutes)
        self.engine.sync()
        for key, wanted in self.wanted.items():
            state = self.engine.board.get(*key)
            assert state is not None
            want = WantAbort(state.attempt, 1, "2026-01-01T00:00:00Z", "Requested", "by hand")
            self.engine.want(*([want] if wanted and state.abort is None else []), key=key)
        self.pulls.look("prod")
        for _ in range(4):
            await self.engine.settle()
            await self.pulls.step()
        await self.engine.settle()
        self.engine.sync()

    def tip(self) -> str:
        return self.engine.mirror.look("main")[1].get(BRANCH, "")


@pytest.fixture
def setting(remote: Remote, new_mirror: Callable[..., Mirror]) -> Protected:
    remote.put({WEB_YAML: manifest("web:v1"), API_YAML: manifest("api:v1", name="api")}, "v1")
    return Protected(remote, new_mirror)


async def test_one_request_holds_all_and_the_forge_may_merge_it_as_it_is(setting: Protected) -> None:
    """Auto-merge is pinned to the head that we made, and asked for once a head."""
    for _ in range(3):
        await setting.poll()
    [request] = setting.forge.open_ones()
    assert (request.branch, request.head, request.base) == (BRANCH, setting.tip(), "main")
    assert request.title == "prod: abort prod/shop/web step=1"
    assert "main takes no commit of ours" in request.body
    assert "| abort step=1 | prod/shop/web |" in request.body
    assert setting.forge.asked == [(request.number, request.head, True)]
    assert f"#{request.number} ({request.url})" in setting.engine.reports[-1].message
    first = request.head
    setting.wanted[API] = True
    for _ in range(3):
        await setting.poll()
    [request] = setting.forge.open_ones()
    assert "| abort step=1 | prod/shop/api |" in request.body
    assert "| abort step=1 | prod/shop/web |" in request.body
    assert setting.forge.asked[1:] == [(request.number, setting.tip(), True)]
    assert setting.tip() != first
    setting.forge.calls.clear()
    for _ in range(5):
        await setting.poll()
    assert set(setting.forge.calls) == {"open_requests"}


@pytest.mark.parametrize("reopens", [True, False])
async def test_closing_it_opens_it_again_because_it_states_a_fact(
    remote: Remote, new_mirror: Callable[..., Mirror], reopens: bool
) -> None:
    remote.put({WEB_YAML: manifest("web:v1"), API_YAML: manifest("api:v1", name="api")}, "v1")
    setting = Protected(remote, new_mirror, Guarded(remote, reopens=reopens))
    await setting.poll()
    [request] = setting.forge.open_ones()
    setting.forge.close_by(request.number, "alice")
    await setting.poll()
    [again] = setting.forge.open_ones()
    assert (again.number == request.number) is reopens
    assert again.branch == BRANCH
    assert setting.engine.writer.holds == frozenset()


async def test_deleting_the_branch_brings_both_back(setting: Protected) -> None:
    await setting.poll()
    tip = setting.tip()
    setting.remote.git("push", "-q", "origin", f":refs/heads/{BRANCH}")
    for _ in range(3):
        await setting.poll()
    [request] = setting.forge.open_ones()
    assert request.branch == BRANCH
    assert request.head == setting.tip() != ""
    assert tip


async def test_once_merged_nothing_is_left_of_it(setting: Protected) -> None:
    await setting.poll()
    [request] = setting.forge.open_ones()
    setting.unprotect()
    setting.forge.merge_by(request.number, "bob")
    setting.protect()
    for _ in range(3):
        await setting.poll()
    assert setting.forge.requests[request.number].state == "merged"
    assert setting.forge.comments == {}
    assert setting.tip() == ""
    assert setting.engine.reason == "Ready"
    assert setting.engine.pushed == []
    setting.forge.calls.clear()
    await setting.poll()
    assert setting.forge.calls == []


async def test_direct_commits_resume_and_the_request_is_closed_with_a_word(setting: Protected) -> None:
    await setting.poll()
    [request] = setting.forge.open_ones()
    setting.unprotect()
    await setting.poll(minutes=60)
    assert len(setting.engine.pushed) == 1
    for _ in range(3):
        await setting.poll()
    assert setting.forge.requests[request.number].state == "closed"
    [comment] = setting.forge.comments[request.number]
    assert comment.startswith("Closed: ")
    assert setting.tip() == ""
    assert setting.engine.reason == "Ready"


async def test_a_forge_that_merges_nothing_by_itself_is_asked_ever_more_seldom(setting: Protected) -> None:
    setting.forge.refuses = "auto-merge isn't allowed here"
    for _ in range(45):
        await setting.poll(minutes=4)
    assert len(setting.forge.open_ones()) == 1
    assert 4 <= len(setting.forge.asked) <= 8
    assert setting.engine.reports[-1].reason == "PushRefused"


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("call", range(1, 6))
async def test_whatever_call_dies_there_is_one_request(setting: Protected, call: int, when: str) -> None:
    """§4: the connection breaks around the n-th call, and the process starts anew."""
    setting.forge.die_at = (call, when)
    await setting.poll()
    setting.begin()
    for _ in range(3):
        await setting.poll(minutes=6)
    assert [(one.branch, one.head) for one in setting.forge.open_ones()] == [(BRANCH, setting.tip())]
    assert len(setting.forge.requests) == 1
