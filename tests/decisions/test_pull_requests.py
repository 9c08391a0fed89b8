"""Pull requests beside the writer (docs/decisions.md §2, §7), over real repositories and a stand-in for the forge."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

from decision_engine import KEY, WEB_YAML
from decision_repo import manifest
from forge_double import ForgeDouble
from git_remote import Remote
from gitops_rollouts.decisions.forge_side.pull_requests import PullRequests
from gitops_rollouts.decisions.planning.wants import WantAbort
from gitops_rollouts.errors import ForgeDenied, ForgeLimited
from gitops_rollouts.forges.forge import PullRequest
from gitops_rollouts.git.repository import Mirror
from request_keeping import Keeping, newer
from waiting import eventually


@pytest.fixture
def keeping(remote: Remote, new_mirror: Callable[..., Mirror]) -> Keeping:
    return _deployed(Keeping(remote, new_mirror, ForgeDouble(remote)))


def _deployed(keeping: Keeping) -> Keeping:
    keeping.remote.put({WEB_YAML: manifest("web:v1")}, "web: v1")
    keeping.remote.put({WEB_YAML: manifest("web:v2")}, "web: v2")
    return keeping


def requests(keeping: Keeping) -> list[tuple[int, str]]:
    """Number and state of each, as people see them."""
    keeping.forge.open_ones()
    return [(one.number, one.state) for one in keeping.forge.requests.values()]


async def test_a_gate_opens_one_request_that_says_what_is_asked(keeping: Keeping) -> None:
    """§2, §7."""
    state = await keeping.poll()
    [request] = keeping.forge.open_ones()
    assert request.branch == f"rollouts/promote/prod/{state.attempt.intent[:12]}-g1"
    assert request.title == "prod: promote web:v2 past gate 1 (canary 20% → 60%)"
    lines = request.body.splitlines()
    assert lines[2] == "**web:v2 waits for approval at gate 1 of prod; 5 of 5 measurements are good**"
    assert any(line.startswith("| shop/web |") and "20% → 60%" in line and "5/5 ok" in line for line in lines)
    assert "success-rate" in request.body
    assert "result >= 0.95" in request.body
    assert f"`git revert {state.attempt.intent[:12]}`" in request.body
    assert [one.url for one in keeping.engine.reports[-1].requests] == [request.url]


async def test_at_rest_each_poll_is_one_question_and_without_requests_none(keeping: Keeping) -> None:
    """§2: what is asked of the forge while nothing changes."""
    keeping.engine.sync()
    for _ in range(3):
        await keeping.poll(gate=None)
    assert keeping.forge.calls == []
    await keeping.poll()
    assert keeping.forge.calls.count("open") == 1
    keeping.forge.calls.clear()
    for _ in range(5):
        await keeping.poll()
    assert keeping.forge.calls == ["open_requests"] * 5


async def test_merging_promotes_and_only_then_the_branch_goes(keeping: Keeping) -> None:
    """§2: merge = promote."""
    await keeping.poll()
    keeping.forge.merge_by(1, "alice")
    state = await keeping.poll()
    assert state.approved_through == 1
    assert requests(keeping) == [(1, "merged")]
    assert keeping.branches == []
    assert keeping.forge.comments == {}
    assert keeping.engine.writer.holds == frozenset()


async def test_closing_holds_with_who_did_it_and_reopening_goes_on(keeping: Keeping) -> None:
    """§2: close = hold; it survives a restart, and a new disk; nothing new is opened."""
    await keeping.poll()
    keeping.forge.close_by(1, "bob")
    for _ in range(3):
        await keeping.poll()
        assert requests(keeping) == [(1, "closed")]
        [hold] = keeping.engine.writer.holds
        assert (hold.who, hold.gate) == ("bob", 1)
        assert hold.when.startswith("2026-01-01T00:")
    assert len(keeping.branches) == 1
    assert keeping.engine.reports[-1].requests[0].state == "closed"
    keeping.begin(wiped=True)
    await keeping.poll()
    assert requests(keeping) == [(1, "closed")]
    assert [hold.who for hold in keeping.engine.writer.holds] == ["bob"]
    keeping.forge.reopen_by(1)
    await keeping.poll()
    assert keeping.engine.writer.holds == frozenset()
    assert requests(keeping) == [(1, "open")]
    keeping.forge.merge_by(1, "bob")
    assert (await keeping.poll()).approved_through == 1


@pytest.mark.parametrize("wiped", [False, True])
async def test_a_hold_outlives_the_forge_and_comes_back_with_it(keeping: Keeping, *, wiped: bool) -> None:
    """§2: whoever takes ``forge`` out of the GitSync doesn't undo what was said there; a new disk neither."""
    await keeping.poll()
    keeping.forge.close_by(1, "bob")
    await keeping.poll()
    forge, holds = keeping.forge, keeping.engine.writer.holds
    keeping.use(None)
    await keeping.poll()
    assert keeping.engine.writer.holds == holds
    keeping.begin(wiped=wiped)
    keeping.engine.writer.restore_holds(holds)  # the GitSync's status has them
    for _ in range(3):
        await keeping.poll()
    assert keeping.engine.writer.holds == holds
    assert len(keeping.branches) == 1
    keeping.use(forge)
    await keeping.poll()
    await keeping.poll()
    assert keeping.engine.writer.holds == holds
    assert requests(keeping) == [(1, "closed")]
    forge.reopen_by(1)
    await keeping.poll()
    assert keeping.engine.writer.holds == frozenset()


async def test_without_a_forge_a_branch_that_comes_back_ends_the_hold(keeping: Keeping) -> None:
    """§2: also one that was deleted before a restart."""
    keeping.use(None)
    await keeping.poll()
    [branch] = keeping.branches
    tip = keeping.remote.git("ls-remote", "origin", f"refs/heads/{branch}").split()[0]
    keeping.remote.git("fetch", "-q", "origin")
    keeping.remote.git("push", "-q", "origin", f":refs/heads/{branch}")
    await keeping.poll()
    holds = keeping.engine.writer.holds
    assert len(holds) == 1
    keeping.begin(wiped=True)
    keeping.engine.writer.restore_holds(holds)
    await keeping.poll()
    assert keeping.engine.writer.holds == holds
    keeping.remote.git("push", "-q", "origin", f"{tip}:refs/heads/{branch}")
    await keeping.poll()
    assert keeping.engine.writer.holds == frozenset()


async def test_the_cause_of_a_hold_is_asked_once(keeping: Keeping) -> None:
    """§2: a closed request costs one question a poll like an open one."""
    await keeping.poll()
    keeping.forge.close_by(1, "bob")
    await keeping.poll()
    keeping.forge.calls.clear()
    for _ in range(4):
        await keeping.poll()
    assert keeping.forge.calls == ["open_requests"] * 4


async def test_a_newer_version_closes_it_with_the_reason_and_then_the_branch_goes(keeping: Keeping) -> None:
    """§2: stale."""
    await keeping.poll()
    commit = newer(keeping)
    state = await keeping.poll()
    assert state.attempt.intent == commit
    (one, first), (_, second) = requests(keeping)
    assert (one, first, second) == (1, "closed", "open")
    assert keeping.forge.comments[1] == [f"Closed: superseded by {commit[:7]}. Merging this would have no effect."]
    assert keeping.forge.calls.index("comment") < keeping.forge.calls.index("close")
    assert [name.endswith(f"{commit[:12]}-g1") for name in keeping.branches] == [True]
    assert keeping.engine.writer.holds == frozenset()
    assert "Superseded by" in keeping.forge.requests[1].body


async def test_a_merge_that_came_too_late_is_told_that_it_has_no_effect(keeping: Keeping) -> None:
    """§2: merging a stale request merges cleanly and promotes nothing."""
    await keeping.poll()
    newer(keeping)
    keeping.forge.merge_by(1, "alice")
    for _ in range(3):
        state = await keeping.poll()
    assert state.approved_through == -1
    assert len(keeping.forge.comments[1]) == 1
    assert "no effect" in keeping.forge.comments[1][0]
    assert len(keeping.branches) == 1


async def test_a_late_merge_that_git_never_shows_is_over_too(keeping: Keeping) -> None:
    """§2: somebody pushed it away before anybody fetched it; nothing is promoted, and its branch goes."""
    await keeping.poll()
    commit = newer(keeping)
    keeping.forge.requests[1] = replace(keeping.forge.requests[1], state="merged", merge_commit="f" * 40)
    for _ in range(6):
        state = await keeping.poll()
    assert state.approved_through == -1
    assert "no effect" in keeping.forge.comments[1][-1]
    assert [name.endswith(f"{commit[:12]}-g1") for name in keeping.branches] == [True]


async def test_a_merge_in_time_that_was_superseded_before_anybody_looked_is_not_late(keeping: Keeping) -> None:
    """§2: several commits between two polls."""
    await keeping.poll()
    keeping.forge.merge_by(1, "alice")
    newer(keeping)
    await keeping.poll()
    assert keeping.forge.comments == {}
    assert len(keeping.branches) == 1


async def test_peoples_words_in_the_body_stay(keeping: Keeping) -> None:
    """§7: only the fenced part is ours."""
    await keeping.poll()
    body = keeping.forge.requests[1].body
    keeping.forge.edit_by(1, f"Ask Carol first.\r\n\r\n{body}\r\n\r\nAnd then Dave.")
    newer(keeping)
    await keeping.poll()
    changed = keeping.forge.requests[1].body
    assert changed.startswith("Ask Carol first.\n\n<!-- gitops-rollouts:begin -->")
    assert changed.endswith("\n\nAnd then Dave.")
    assert "Superseded" in changed
    assert changed.count("gitops-rollouts:begin") == 1


async def test_deleting_the_branch_holds_as_ever(keeping: Keeping) -> None:
    """§2: with a forge too; the request that goes with it isn't opened again."""
    await keeping.poll()
    [branch] = keeping.branches
    keeping.remote.git("push", "-q", "origin", f":refs/heads/{branch}")
    for _ in range(3):
        await keeping.poll()
    assert requests(keeping) == [(1, "closed")]
    assert keeping.branches == []
    assert len(keeping.engine.writer.holds) == 1


async def test_deleting_the_branch_holds_where_the_forge_leaves_the_request_open(
    remote: Remote, new_mirror: Callable[..., Mirror]
) -> None:
    """§2: then we close it, so that nobody waits for what can't be merged."""
    keeping = _deployed(Keeping(remote, new_mirror, ForgeDouble(remote, closes=False)))
    await keeping.poll()
    remote.git("push", "-q", "origin", f":refs/heads/{keeping.branches[0]}")
    for _ in range(3):
        await keeping.poll()
    assert requests(keeping) == [(1, "closed")]
    assert len(keeping.engine.writer.holds) == 1
    assert keeping.forge.calls.count("close") == 1


async def test_a_forge_that_cannot_reopen_gets_another_request(
    remote: Remote, new_mirror: Callable[..., Mirror]
) -> None:
    """§2: closed by us and wanted again."""
    keeping = _deployed(Keeping(remote, new_mirror, ForgeDouble(remote, reopens=False)))
    await keeping.poll()
    keeping.forge.edit_by(1, keeping.forge.requests[1].body.replace('"gate": 1', '"closed": "void", "gate": 1'))
    keeping.forge.close_by(1, "rollouts-bot")
    await keeping.poll()
    assert requests(keeping) == [(1, "closed"), (2, "open")]
    assert keeping.engine.writer.holds == frozenset()


@pytest.mark.parametrize("seconds", [30.0, float("inf"), float("nan"), -1.0, 1e15])
async def test_a_forge_asks_for_fewer_calls(keeping: Keeping, seconds: float) -> None:
    """§4: it is asked again when it said, and within an hour whatever it said."""

    def call(name: str, do: object) -> object:
        keeping.forge.calls.append(name)
        raise ForgeLimited("slow down", retry_after=seconds)

    keeping.forge._call = call
    await keeping.poll()
    assert keeping.forge.calls == ["open_requests"]
    assert keeping.engine.reason == "ForgeFailed"
    del keeping.forge._call
    keeping.engine.now += timedelta(hours=1)
    await keeping.poll()
    assert requests(keeping) == [(1, "open")]


async def test_a_forge_that_is_away_delays_no_commit_and_is_told(keeping: Keeping) -> None:
    """§4: availability before progress."""
    keeping.forge.away = True
    await keeping.poll()
    assert len(keeping.branches) == 1  # can be merged by hand
    assert keeping.engine.reason == "ForgeFailed"
    assert "no answer" in keeping.engine.reports[-1].message
    newer(keeping)
    await keeping.poll()
    assert len(keeping.branches) == 2  # a void one waits until its request is known to be closed
    keeping.forge.away = False
    keeping.engine.now += timedelta(minutes=10)
    await keeping.poll()
    assert keeping.engine.reason == "Ready"
    assert [state for _, state in requests(keeping)] == ["open"]
    assert len(keeping.branches) == 1


async def test_a_refused_token_is_asked_rarely(keeping: Keeping) -> None:
    """§4: what only a person can change is tried again within minutes."""
    keeping.forge.away = True
    keeping.forge._call = _denied(keeping.forge)
    await keeping.poll()
    before = len(keeping.forge.calls)
    for _ in range(3):
        await keeping.poll()
    assert len(keeping.forge.calls) == before
    assert keeping.engine.reason == "ForgeFailed"


def _denied(forge: ForgeDouble) -> Callable[..., object]:
    def call(name: str, do: object) -> object:
        forge.calls.append(name)
        raise ForgeDenied("the token is refused")

    return call


async def test_what_we_closed_is_opened_again_when_it_is_wanted_again(keeping: Keeping) -> None:
    """§2: closed by us is no hold."""
    await keeping.poll()
    first = await keeping.poll(gate=1)
    keeping.forge.merge_by(1, "alice")
    await keeping.poll(gate=3)
    assert requests(keeping) == [(1, "merged"), (2, "open")]
    keeping.remote.pull()
    keeping.remote.git("revert", "--no-edit", "-m", "1", "HEAD")
    keeping.remote.push()
    await keeping.poll(gate=1)
    assert requests(keeping) == [(1, "merged"), (2, "closed")]
    keeping.remote.git("revert", "--no-edit", "HEAD")
    keeping.remote.push()
    assert (await keeping.poll(gate=3)).attempt == first.attempt
    assert requests(keeping) == [(1, "merged"), (2, "open")]
    assert keeping.engine.writer.holds == frozenset()


async def test_a_superseded_request_takes_no_room(keeping: Keeping, monkeypatch: pytest.MonkeyPatch) -> None:
    """§2: at most 10 in a repository, of those that ask for something; the rest is in test_rolling.py."""
    monkeypatch.setattr("gitops_rollouts.decisions.requests.branches.MAX_OPEN", 1)
    await keeping.poll()
    keeping.forge.away = True  # so that the first can't be closed yet
    commit = newer(keeping)
    await keeping.poll()
    assert [name for name in keeping.branches if commit[:12] in name] == [f"rollouts/promote/prod/{commit[:12]}-g1"]
    keeping.forge.away = False
    keeping.engine.now += timedelta(minutes=10)
    await keeping.poll()
    assert requests(keeping) == [(1, "closed"), (2, "open")]
    assert keeping.engine.reason == "Ready"


class Died(Exception):
    """The process is gone."""


@pytest.mark.parametrize("when", ["after", pytest.param("before", marks=pytest.mark.long)])
@pytest.mark.parametrize("call", range(1, 9))
async def test_dying_at_any_call_leads_to_the_same_requests(keeping: Keeping, call: int, when: str) -> None:
    """§4: one open request a gate, whatever dies in between, with the mirror or without (I12)."""
    keeping.forge.dies = Died
    keeping.forge.die_at = (call, when)
    keeping.pulls._failed = _raising(keeping)  # type: ignore[method-assign]
    for act in ("poll", "push", "poll", "poll"):
        try:
            if act == "push":
                newer(keeping)
            else:
                await keeping.poll()
        except Died:
            keeping.begin(wiped=call % 2 == 0)
            keeping.pulls._failed = _raising(keeping)  # type: ignore[method-assign]
            await keeping.poll()
        assert len(keeping.forge.open_ones()) <= len({one.branch for one in keeping.forge.open_ones()})
    await keeping.poll()
    assert [state for _, state in requests(keeping)] == ["closed", "open"]
    assert len(keeping.branches) == 1
    assert keeping.engine.writer.holds == frozenset()
    assert 1 <= len(keeping.forge.comments[1]) <= 2


def _raising(keeping: Keeping) -> Callable[..., None]:
    def failed(*_: object) -> None:
        raise Died

    return failed


async def test_a_wiped_engine_finds_the_same_request(keeping: Keeping) -> None:
    """§1.5: same number, no new commit."""
    await keeping.poll()
    tip = keeping.engine.mirror.look("main")[1]
    keeping.begin(wiped=True)
    await keeping.poll()
    await keeping.poll()
    assert requests(keeping) == [(1, "open")]
    assert keeping.engine.mirror.look("main")[1] == tip
    assert keeping.engine.board.get(*KEY) is not None


def _as_async(told: Callable[[], bool]) -> Callable[[], Awaitable[bool]]:
    async def tell() -> bool:
        return told()

    return tell


async def test_a_forge_that_hangs_takes_no_thread_from_commits(
    keeping: Keeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    """§2: a forge that is slow delays no abort's commit, however few threads there are."""
    state = await keeping.poll()
    over, hung = threading.Event(), threading.Event()

    def hang(base: str, prefix: str) -> list[PullRequest]:
        hung.set()
        over.wait(30)
        return []

    monkeypatch.setattr(keeping.forge, "open_requests", hang)
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    keeping.pulls.look("prod")
    looking = asyncio.create_task(keeping.pulls.step())
    try:
        await eventually(_as_async(hung.is_set), 10)
        keeping.engine.want(WantAbort(state.attempt, 1, "2026-01-01T00:00:00Z", "failed", "web-abc has failed"))
        await asyncio.wait_for(keeping.engine.settle(), 20)
        assert len(keeping.engine.pushed) == 1
    finally:
        over.set()
        await looking


async def test_a_conversation_that_is_locked_keeps_no_other_request_from_people(
    keeping: Keeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    """§2: what is refused of one request delays no other, and a superseded one is closed without words then."""

    def locked(number: int, text: str) -> None:
        raise ForgeDenied("the conversation is locked")

    monkeypatch.setattr(keeping.forge, "comment", locked)
    await keeping.poll()
    newer(keeping)
    await keeping.poll()
    assert requests(keeping) == [(1, "closed"), (2, "open")]
    assert keeping.engine.reason == "Ready"


async def test_a_request_that_may_not_be_changed_keeps_no_other_from_people(
    keeping: Keeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    """§2."""
    await keeping.poll()
    close = keeping.forge.close

    def denied(number: int) -> None:
        if number == 1:
            raise ForgeDenied("may not")
        close(number)

    monkeypatch.setattr(keeping.forge, "close", denied)
    newer(keeping)
    await keeping.poll()
    await keeping.poll()
    assert requests(keeping) == [(1, "open"), (2, "open")]
    assert keeping.engine.reason == "ForgeFailed"


async def test_a_forge_that_has_its_fill_is_asked_again_when_it_says(keeping: Keeping) -> None:
    """§2: however often that was so before."""
    await keeping.poll()
    [lane] = keeping.pulls._lanes.values()
    for _ in range(12):
        keeping.pulls._failed(lane, ForgeLimited("too many", retry_after=3.0), keeping.engine.now)
    assert lane.not_before is not None
    assert lane.not_before - keeping.engine.now <= timedelta(seconds=3)


async def test_a_forge_that_hangs_delays_no_other_one(keeping: Keeping) -> None:
    """§2: GitSyncs of one branch may be on several forges. The one that hangs isn't asked twice at once."""
    await keeping.poll()
    views = keeping.pulls._views["prod"]
    hung, release = ForgeDouble(keeping.remote), threading.Event()
    answer, asked = hung.open_requests, list[str]()

    def hang(base: str, prefix: str) -> Sequence[PullRequest]:
        asked.append(base)
        assert release.wait(60)
        return answer(base, prefix)

    hung.open_requests = hang  # type: ignore[method-assign]
    forges, told = {"prod": keeping.forge, "stage": hung}, Counter[str]()
    pulls = PullRequests(
        *(keeping.engine.mirror, "main", forges.get, lambda: keeping.engine.now),  # type: ignore[arg-type]
        tell=lambda target, standings, trouble: told.update([target] if standings else []),
    )
    for target in ("stage", "prod"):
        pulls.show(target, views)
    stop = asyncio.Event()
    running = asyncio.create_task(pulls.run(stop))
    for count in (1, 2, 3):

        async def shown(count: int = count) -> bool:
            return told["prod"] == count

        await eventually(shown, what="the forge that answers")
        for target in forges:
            pulls.look(target)
    assert (asked, told["stage"]) == (["main"], 0)
    release.set()

    async def at_last() -> bool:
        return told["stage"] > 0

    await eventually(at_last, what="the forge that hung")
    stop.set()
    await asyncio.wait_for(running, 30)
