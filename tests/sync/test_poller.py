"""When remotes are asked, and how often: counted, not timed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from gitops_rollouts.errors import GitUnreachable
from gitops_rollouts.sync.poller import Poller
from waiting import eventually

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LONG = timedelta(hours=1)


class Scripted:
    """A remote whose answers the test sets. ``gate`` holds an answer back."""

    def __init__(self) -> None:
        self.head: str | None = "a" * 40
        self.requests: dict[str, str] = {}
        self.down = False
        self.looks = 0
        self.fetches = 0
        self.gate = threading.Event()
        self.gate.set()

    def look(self, branch: str) -> tuple[str | None, dict[str, str]]:
        assert branch == "main"
        self.looks += 1
        assert self.gate.wait(30)
        if self.down:
            raise GitUnreachable("no answer")
        return self.head, dict(self.requests)

    def fetch(self, branch: str) -> str:
        self.fetches += 1
        assert self.head is not None
        return self.head


class Told:
    def __init__(self) -> None:
        self.changed: list[str] = []
        self.touched: list[str] = []


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
async def poller(told: Told) -> AsyncIterator[Poller]:
    made = Poller(lambda: NOW, told.changed.append, lambda name, at: told.touched.append(name))
    made.start()
    yield made
    await made.stop()


async def reach(remote: Scripted, looks: int) -> None:
    async def enough() -> bool:
        return remote.looks >= looks

    await eventually(enough, what=f"{looks} looks")


async def test_two_gitsyncs_of_a_branch_are_one_question(poller: Poller, told: Told) -> None:
    remote = Scripted()
    poller.watch("one", remote, "main", LONG)
    await reach(remote, 1)
    poller.watch("two", remote, "main", LONG)

    async def both() -> bool:
        return poller.seen("two").head == remote.head and poller.seen("one") is poller.seen("two")

    await eventually(both)
    for _ in range(3):
        poller.watch("one", remote, "main", LONG)  # what each pass does
    assert remote.looks <= 2
    assert remote.fetches == 1
    assert "one" in told.changed


async def test_the_shortest_interval_counts(poller: Poller) -> None:
    remote = Scripted()
    poller.watch("slow", remote, "main", LONG)
    poller.watch("fast", remote, "main", timedelta(milliseconds=20))
    await reach(remote, 5)
    poller.forget("fast")
    looks = remote.looks
    poller.look_now("slow")
    await reach(remote, looks + 1)
    assert remote.looks <= looks + 2, "one may have been under way"
    poller.forget("slow")
    assert poller.seen("slow").head is None


async def test_only_news_is_told_and_an_answer_always(poller: Poller, told: Told) -> None:
    remote = Scripted()
    poller.watch("one", remote, "main", LONG)

    async def touched(count: int) -> None:
        async def so() -> bool:
            return len(told.touched) >= count

        await eventually(so, what=f"{count} answers")

    await touched(1)
    assert told.changed == ["one"]
    poller.look_now("one")
    await touched(2)
    assert told.changed == ["one"]
    assert remote.fetches == 1
    remote.requests = {"rollouts/promote/x": "b" * 40}
    poller.look_now("one")
    await touched(3)
    assert told.changed == ["one", "one"]
    assert remote.fetches == 2


async def test_a_remote_that_does_not_answer_keeps_what_was_seen(poller: Poller, told: Told) -> None:
    remote = Scripted()
    poller.watch("one", remote, "main", LONG)
    await reach(remote, 1)
    remote.down = True
    for looks in (2, 3):
        poller.look_now("one")
        await reach(remote, looks)

    async def failed() -> bool:
        return poller.seen("one").error is not None

    await eventually(failed)
    seen = poller.seen("one")
    assert (seen.head, seen.at) == (remote.head, NOW)
    assert told.touched == ["one"]
    remote.down = False
    poller.look_now("one")

    async def back() -> bool:
        return poller.seen("one").error is None

    await eventually(back)
    assert told.changed == ["one", "one", "one"], "found, lost, back"


async def test_being_told_during_a_question_asks_once_more(poller: Poller) -> None:
    remote = Scripted()
    remote.gate.clear()
    poller.watch("one", remote, "main", LONG)
    await reach(remote, 1)
    for _ in range(5):
        poller.look_now("one")
    remote.gate.set()
    await reach(remote, 2)

    async def rests() -> bool:
        return poller.seen("one").head is not None

    await eventually(rests)
    await asyncio.sleep(0)
    assert remote.looks == 2


async def test_a_branch_that_is_not_there(poller: Poller) -> None:
    remote = Scripted()
    remote.head = None
    poller.watch("one", remote, "main", LONG)

    async def told_so() -> bool:
        return "isn't in the repository" in str(poller.seen("one").error)

    await eventually(told_so)
    assert poller.seen("one").asked
