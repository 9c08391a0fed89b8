"""When to look at a remote: one question for each repository and branch, at the shortest interval of its GitSyncs.

APScheduler keeps the cadence, with jitter so that many don't ask at once. A question that finds something new fetches.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, Protocol

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger

from gitops_rollouts.errors import GitError, GorError, RefMissing
from gitops_rollouts.tasks import Threads

JITTER: Final = 0.1
_POLLS: Final = Threads("polls", 64)
Clock = Callable[[], datetime]

log = structlog.get_logger(__name__)
logging.getLogger("apscheduler").setLevel(logging.WARNING)


class Remote(Protocol):
    """What is polled; `gitops_rollouts.git.repository.Mirror` is one. Both methods block."""

    def look(self, branch: str) -> tuple[str | None, dict[str, str]]: ...

    def fetch(self, branch: str) -> str: ...


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of a branch. ``at``: when the remote last answered; ``error``: why it didn't since."""

    head: str | None = None
    requests: Mapping[str, str] = field(default_factory=dict)
    at: datetime | None = None
    error: GorError | None = None
    asked: bool = False
    """The remote was asked at least once."""


@dataclass(eq=False, slots=True)
class _Watch:
    """One (remote, branch) and the GitSyncs that want to know."""

    remote: Remote
    branch: str
    intervals: dict[str, timedelta] = field(default_factory=dict)
    seen: Seen = field(default_factory=Seen)
    task: asyncio.Task[None] | None = None
    again: bool = False
    every: float = 0.0

    @property
    def job(self) -> str:
        return f"{id(self)}"


class Poller:
    """Belongs to one event loop. ``changed`` is called with a GitSync's name when there is something new, or when a
    remote stops or begins to answer; ``touched`` after every answer, with the time at which it was asked for.
    """

    def __init__(self, clock: Clock, changed: Callable[[str], None], touched: Callable[[str, datetime], None]) -> None:
        self._clock = clock
        self._changed = changed
        self._touched = touched
        self._watches: dict[tuple[int, str], _Watch] = {}
        self._by_target: dict[str, _Watch] = {}
        self._scheduler = AsyncIOScheduler(
            timezone="UTC", job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1}
        )

    def start(self) -> None:
        """Begin to poll; needs a running event loop."""
        self._scheduler.start()

    async def stop(self) -> None:
        """End all polling. A Git process under way ends by its own deadline."""
        self._scheduler.shutdown(wait=False)
        tasks = [watch.task for watch in self._watches.values() if watch.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def watch(self, target: str, remote: Remote, branch: str, interval: timedelta) -> None:
        """Poll for a GitSync, at once if it is new. Cheap to call again with what it was called with before."""
        key = (id(remote), branch)
        watch = self._watches.get(key)
        if self._by_target.get(target) is not watch or watch is None:
            self.forget(target)
            watch = self._watches.setdefault(key, _Watch(remote, branch))
            self._by_target[target] = watch
            watch.intervals[target] = interval
            self._look(watch)
        watch.intervals[target] = interval
        self._schedule(watch)

    def forget(self, target: str) -> None:
        """Stop polling for a GitSync."""
        watch = self._by_target.pop(target, None)
        if watch is None:
            return
        del watch.intervals[target]
        if watch.intervals:
            self._schedule(watch)
            return
        self._watches = {key: other for key, other in self._watches.items() if other is not watch}
        if self._scheduler.get_job(watch.job):
            self._scheduler.remove_job(watch.job)

    def look_now(self, target: str) -> None:
        """Somebody says that there is something new. While a question is under way, another follows it."""
        watch = self._by_target.get(target)
        if watch is not None:
            self._look(watch)

    def seen(self, target: str) -> Seen:
        """What is known of a GitSync's branch."""
        watch = self._by_target.get(target)
        return watch.seen if watch is not None else Seen()

    def _schedule(self, watch: _Watch) -> None:
        every = min(watch.intervals.values()).total_seconds()
        if every == watch.every:
            return
        watch.every = every
        trigger = IntervalTrigger(seconds=every, jitter=every * JITTER, timezone="UTC")
        self._scheduler.add_job(self._tick, trigger, args=[watch], id=watch.job, replace_existing=True)

    async def _tick(self, watch: _Watch) -> None:
        # a coroutine, because the scheduler runs plain functions in a thread
        self._look(watch)

    def _look(self, watch: _Watch) -> None:
        if watch.task is not None and not watch.task.done():
            watch.again = True
            return
        watch.task = asyncio.get_running_loop().create_task(self._run(watch), name=f"poll of {watch.branch}")

    async def _run(self, watch: _Watch) -> None:
        while True:
            watch.again = False
            await self._poll(watch)
            if not watch.again:
                return

    async def _poll(self, watch: _Watch) -> None:
        before = watch.seen
        asked_at = self._clock()
        try:
            watch.seen = await _POLLS.run(_ask, watch.remote, watch.branch, before, asked_at)
        except GorError as err:
            # nothing that was fetched is forgotten: what runs goes on running
            watch.seen = replace(before, error=err, asked=True)
            if str(before.error) != str(err):
                log.warning("git can't be read", branch=watch.branch, error=str(err))
        except Exception as err:
            log.exception("poll failed", branch=watch.branch)
            watch.seen = replace(before, error=GitError(f"polling failed: {type(err).__name__}"), asked=True)
        for target in list(watch.intervals):
            if watch.seen.error is None:
                self._touched(target, asked_at)
            if _differs(before, watch.seen):
                self._changed(target)


def _ask(remote: Remote, branch: str, before: Seen, asked_at: datetime) -> Seen:
    head, requests = remote.look(branch)
    if head is None:
        raise RefMissing(f"branch {branch} isn't in the repository", remedy="push it, or correct spec.branch")
    if head != before.head or requests != before.requests:
        head = remote.fetch(branch)
    return Seen(head, requests, asked_at, None, asked=True)


def _differs(before: Seen, after: Seen) -> bool:
    old, new = replace(before, at=None, error=None), replace(after, at=None, error=None)
    return old != new or str(before.error) != str(after.error)
