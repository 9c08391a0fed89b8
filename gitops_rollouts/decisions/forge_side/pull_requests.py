"""Keeps the pull requests of a repository's branch in line with what the writer says stands as a request.

A loop of its own beside the writer, so that a forge that is slow or away never delays a commit, nor another forge.
Belongs to the event loop; calls run in threads, one at a time for each forge. Nothing here is durable.
Source: docs/decisions.md §2, §7.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import structlog

from gitops_rollouts.decisions.forge_side.round import ForgeRound, Looked
from gitops_rollouts.decisions.requests.view import RequestView, Standing
from gitops_rollouts.errors import ForgeDenied, ForgeError, ForgeLimited, ForgeMissing, GorError
from gitops_rollouts.forges.forge import Forge
from gitops_rollouts.forges.threads import FORGE_THREADS
from gitops_rollouts.git.repository import Mirror
from gitops_rollouts.tasks import outliving, woken

log = structlog.get_logger(__name__)

RETRY_LEAST: Final = timedelta(seconds=2)
RETRY_MOST: Final = timedelta(minutes=5)
_LONGEST_WAIT: Final = timedelta(hours=1)
"""A forge that asks for more is asked again all the same."""
AGAIN_AFTER: Final = timedelta(seconds=60)
"""When a look that the forge refused in part is tried again."""
TellStandings = Callable[[str, Mapping[str, Standing], str], None]
"""Called with a target, all that its forge shows, and what is the matter with the forge; empty if nothing is."""


@dataclass(slots=True)
class _Lane:
    """One forge: what it was seen to show, and when to ask again."""

    forge: Forge
    round: ForgeRound
    due: bool = True
    not_before: datetime | None = None
    attempts: int = 0
    trouble: str = ""
    problems: Mapping[str, str] = field(default_factory=dict)
    standings: dict[str, Standing] = field(default_factory=dict)
    task: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        """A look is under way."""
        return self.task is not None and not self.task.done()


class PullRequests:
    """Give it views after each round of the writer, tell it of each poll, and run it."""

    def __init__(
        self,
        mirror: Mirror,
        base: str,
        forge_of: Callable[[str], Forge | None],
        clock: Callable[[], datetime],
        *,
        tell: TellStandings = lambda target, standings, trouble: None,
        fence: Callable[[], None] = lambda: None,
    ) -> None:
        self._mirror = mirror
        self._base = base
        self._forge_of = forge_of
        self._clock = clock
        self.tell = tell
        self._stop: asyncio.Event | None = None
        self._fence = fence
        self._views: dict[str, tuple[RequestView, ...]] = {}
        self._lanes: dict[int, _Lane] = {}
        self._wake = asyncio.Event()

    def show(self, target: str, views: tuple[RequestView, ...]) -> None:
        """What stands as a request of a target now, all of it."""
        if self._views.get(target, ()) == views and target in self._views:
            return
        self._views[target] = views
        lane = self._lane(target)
        if lane is not None:
            lane.due = True
            self._wake.set()

    def look(self, target: str) -> None:
        """Git was just polled, or somebody said that something is new: what requests there are is asked for too."""
        lane = self._lane(target)
        if lane is not None and self._of(lane):
            lane.due = True
            self._wake.set()

    def forget(self, target: str) -> None:
        """A GitSync is gone or reads something else. Its requests stay: another engine may go on."""
        self._views.pop(target, None)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set and the calls under way are over."""
        self._stop = stop
        try:
            await outliving("pull requests", self._turn, stop)
            if busy := self._busy():
                await asyncio.wait(busy)
        finally:
            for task in self._busy():
                task.cancel()

    async def _turn(self, stopping: asyncio.Future[object]) -> None:
        self._wake.clear()
        self._begin()
        await woken(self._wake, stopping, self._pause())

    async def step(self) -> None:
        """Look at every forge that is due, and wait for that. A failure is told and tried again."""
        await asyncio.gather(*self._begin())

    # --- inside ------------------------------------------------------------------------------------------------

    def _begin(self) -> list[asyncio.Task[None]]:
        """Begin to look at every forge that is due and isn't looked at already: none waits for another."""
        now = self._clock()
        used = {id(forge) for name in self._views if (forge := self._forge_of(name)) is not None}
        self._lanes = {key: lane for key, lane in self._lanes.items() if key in used or lane.busy}
        begun: list[asyncio.Task[None]] = []
        for key, lane in self._lanes.items():
            ready = lane.not_before is None or lane.not_before <= now
            if key in used and lane.due and ready and not lane.busy:
                lane.task = asyncio.create_task(self._look(lane, now), name=f"requests on {lane.forge.title}")
                lane.task.add_done_callback(self._ended)
                begun.append(lane.task)
        return begun

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._wake.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("what a forge shows could not be told", error=repr(error))

    def _busy(self) -> list[asyncio.Task[None]]:
        return [lane.task for lane in self._lanes.values() if lane.task is not None and lane.busy]

    def _lane(self, target: str) -> _Lane | None:
        forge = self._forge_of(target)
        if forge is None:
            return None
        if id(forge) not in self._lanes:
            self._lanes[id(forge)] = _Lane(forge, ForgeRound(forge, self._base, self._is_late, self._guard))
        return self._lanes[id(forge)]

    def _of(self, lane: _Lane) -> dict[str, tuple[RequestView, ...]]:
        """The views that this forge is to show, by target."""
        return {name: views for name, views in self._views.items() if self._forge_of(name) is lane.forge and views}

    def _pause(self) -> float | None:
        """Seconds until a forge that failed is asked again; None: somebody will wake us."""
        now = self._clock()
        due = (lane for lane in self._lanes.values() if lane.due and not lane.busy)
        times = [max((lane.not_before or now) - now, timedelta()) for lane in due]
        return min(times).total_seconds() if times else None

    async def _look(self, lane: _Lane, now: datetime) -> None:
        lane.due = False
        targets = [name for name in self._views if self._forge_of(name) is lane.forge]
        views = [view for name in targets for view in self._views[name]]
        try:
            looked = await FORGE_THREADS.run(lane.round.look, views, now)
        except GorError as err:
            self._failed(lane, err, self._clock())
        except Exception as err:  # the loop of all GitSyncs of a branch never ends by one surprise
            log.exception("a look at a forge failed")
            self._failed(lane, GorError(f"an unexpected {type(err).__name__}, see the log"), self._clock())
        else:
            self._succeeded(lane, looked, views, self._clock())
        for name in targets:
            branches = {view.branch for view in self._views.get(name, ())}
            shown = {branch: standing for branch, standing in lane.standings.items() if branch in branches}
            self.tell(name, shown, _trouble(lane, branches))

    def _succeeded(self, lane: _Lane, looked: Looked, views: Sequence[RequestView], now: datetime) -> None:
        branches = {view.branch for view in views}
        lane.standings = {
            branch: standing
            for branch, standing in {**lane.standings, **looked.standings}.items()
            if branch in branches
        }
        if lane.trouble:
            log.info("the forge answers again", forge=lane.forge.title)
        lane.attempts, lane.not_before, lane.trouble, lane.problems = 0, None, "", looked.problems
        if looked.problems:
            lane.due, lane.not_before = True, now + AGAIN_AFTER

    def _failed(self, lane: _Lane, err: GorError, now: datetime) -> None:
        """Full jitter, doubling, without an end; never sooner than the forge says."""
        asked = err.retry_after if isinstance(err, ForgeLimited) else 0.0
        least = timedelta(seconds=asked) if 0 <= asked <= _LONGEST_WAIT.total_seconds() else _LONGEST_WAIT
        slow = isinstance(err, ForgeDenied | ForgeMissing)  # nothing but a person changes that
        most = RETRY_MOST if slow else min(RETRY_LEAST * 2**lane.attempts, RETRY_MOST)
        if isinstance(err, ForgeLimited):
            most = RETRY_LEAST  # it works, and says when
        else:
            lane.attempts = min(lane.attempts + 1, 16)
        lane.due = True
        lane.not_before = now + max(least, most * (0.5 + random.random() / 2))  # noqa: S311 spreads retries
        if not lane.trouble:
            log.warning("the forge can't be asked", forge=lane.forge.title, error=str(err))
        lane.trouble = str(err)

    def _guard(self) -> None:
        """Before each change: an engine that ends, or doesn't lead any more, makes none."""
        if self._stop is not None and self._stop.is_set():
            raise ForgeError("the engine is ending")
        self._fence()

    def _is_late(self, merge: str, intent: str) -> bool | None:
        if self._mirror.history.resolve(merge) is None:
            return None
        return self._mirror.is_ancestor(intent, merge)


def _trouble(lane: _Lane, branches: set[str]) -> str:
    if lane.trouble:
        return f"pull requests wait: {lane.trouble}"
    problems = [text for branch, text in sorted(lane.problems.items()) if branch in branches]
    return f"a pull request was refused: {problems[0]}" if problems else ""
