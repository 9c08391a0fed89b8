"""Rounds of the writer run in two lanes beside each other: what never waits, and the rest (docs/decisions.md §2).

Each has threads of its own, and tries again by itself: what keeps one from its end delays nothing in the other.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, TypeVar

import structlog

from gitops_rollouts.decisions.planning.agenda import Waits
from gitops_rollouts.decisions.requests.gathering import RequestSettings
from gitops_rollouts.decisions.writing.troubles import Trouble
from gitops_rollouts.errors import GitAccessDenied, GitError, GorError, PushRaced
from gitops_rollouts.tasks import Threads, outliving, woken

T = TypeVar("T")
log = structlog.get_logger(__name__)

_MOST_DOUBLINGS: Final = 16


@dataclass(frozen=True, slots=True)
class WriterSettings(Waits):
    """How long things wait, and between which bounds a round that failed is tried again.

    ``race_most``: the longest wait after a lost race. The server is well then, and waiting wins no later race.
    """

    requests: RequestSettings = field(default_factory=RequestSettings)
    retry_least: timedelta = timedelta(milliseconds=200)
    retry_most: timedelta = timedelta(seconds=30)
    race_most: timedelta = timedelta(seconds=1)


@dataclass(slots=True)
class Lane:
    """One sort of rounds. ``not_before``: when it may run again after a failure; ``trouble``: that failure."""

    name: str
    threads: Threads
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    not_before: datetime | None = None
    attempts: int = 0
    trouble: Trouble | None = None

    def next(self, times: list[datetime]) -> datetime | None:
        """When its next round should run, if these are the times at which something is due; None: never."""
        if not times:
            return None
        return max(min(times), self.not_before) if self.not_before else min(times)

    async def run(
        self,
        clock: Callable[[], datetime],
        due: Callable[[datetime], datetime | None],
        step: Callable[[], Awaitable[None]],
        stop: asyncio.Event,
    ) -> None:
        """Take a ``step`` whenever one is ``due``, until ``stop`` is set and the step under way is over."""

        async def turn(stopping: asyncio.Future[object]) -> None:
            self.wake.clear()
            now = clock()
            at = due(now)
            if at is not None and at <= now:
                await step()
            else:
                await woken(self.wake, stopping, None if at is None else (at - now).total_seconds())

        await outliving(self.name, turn, stop)

    async def ran(self, work: Callable[[], T], clock: Callable[[], datetime], settings: WriterSettings) -> T | None:
        """What came of a round, in a thread; None: nothing, and it may be tried again at ``not_before``."""
        try:
            result = await self.threads.run(work)
        except GorError as err:
            failure = err
        except Exception as err:  # the writer of all GitSyncs of a branch never ends by one surprise
            log.exception("a round of the writer failed", lane=self.name)
            failure = GorError(f"an unexpected {type(err).__name__}, see the log")
        else:
            self.not_before, self.attempts, self.trouble = None, 0, None
            return result
        if self.failed(failure, clock(), settings):
            log.warning("decisions can't be written", error=str(failure), lane=self.name)
        return None

    def failed(self, err: GorError, now: datetime, settings: WriterSettings) -> bool:
        """A round didn't. Says whether that is news; a lost race is none."""
        self.not_before = now + until_again(err, self.attempts, settings)
        self.attempts = min(self.attempts + 1, _MOST_DOUBLINGS)
        if isinstance(err, PushRaced):
            return False
        reason = "Unreachable" if isinstance(err, GitError) else "Failed"
        if isinstance(err, GitAccessDenied):
            reason = "AccessDenied"
        news = self.trouble is None
        self.trouble = (reason, str(err))
        return news


def until_again(err: GorError, attempts: int, settings: WriterSettings) -> timedelta:
    """Full jitter, doubling, without an end."""
    longest = settings.race_most if isinstance(err, PushRaced) else settings.retry_most
    most: timedelta = min(settings.retry_least * 2**attempts, longest)
    return most * random.random()  # noqa: S311 spreads retries, guards nothing
