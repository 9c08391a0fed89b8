"""What the forge of a repository's branch is told beside Git: requests and statuses (docs/decisions.md §2, §7).

Belongs to the event loop. Each has a loop of its own, so that a forge that is slow or away delays neither commits nor
the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime
from typing import Any

from gitops_rollouts.decisions.board import Board
from gitops_rollouts.decisions.forge_side.pull_requests import PullRequests, TellStandings
from gitops_rollouts.decisions.forge_side.status_keeper import StatusKeeper
from gitops_rollouts.decisions.requests.view import RequestView, Standing
from gitops_rollouts.forges.forge import Forge
from gitops_rollouts.git.repository import Mirror


class ForgeSide:
    """One a (repository, branch). ``tell`` is called with what a target's forge shows, and what is wrong with it."""

    def __init__(
        self,
        mirror: Mirror,
        branch: str,
        board: Board,
        forge_of: Callable[[str], Forge | None],
        clock: Callable[[], datetime],
        *,
        fence: Callable[[], None] = lambda: None,
    ) -> None:
        self.tell: TellStandings = lambda target, standings, trouble: None
        self._branch = branch
        self._forge_of = forge_of
        self._pulls = PullRequests(mirror, branch, forge_of, clock, tell=self._told, fence=fence)
        self.statuses = StatusKeeper(mirror, board, self._shows, clock, fence=fence, on_trouble=self._no_statuses)
        self._troubles: dict[str, dict[str, str]] = {}
        self._silent: set[str] = set()
        self._views: dict[str, tuple[RequestView, ...]] = {}
        self._standings: dict[str, Mapping[str, Standing]] = {}

    def open(self, target: str, *, statuses: bool) -> None:
        """A GitSync, new or changed. ``statuses``: whether its commits show what becomes of them."""
        (self._silent.discard if statuses else self._silent.add)(target)
        self.statuses.look()

    def forget(self, target: str) -> None:
        """A GitSync is gone, or reads something else."""
        self._pulls.forget(target)
        self.statuses.forget(target)
        for store in (self._views, self._standings, self._troubles):
            store.pop(target, None)

    def show(self, target: str, views: tuple[RequestView, ...]) -> None:
        """What stands as a request of a target now, all of it."""
        self._pulls.show(target, views)
        self._views[target] = views
        self._check(target)

    def look(self, target: str) -> None:
        """Git was just polled."""
        self._pulls.look(target)

    def loops(self, stop: asyncio.Event) -> tuple[tuple[str, Coroutine[Any, Any, None]], ...]:
        """What has to run until ``stop`` is set, and what to call it."""
        return (
            (f"pull requests of {self._branch}", self._pulls.run(stop)),
            (f"commit statuses of {self._branch}", self.statuses.run(stop)),
        )

    def _told(self, target: str, standings: Mapping[str, Standing], trouble: str) -> None:
        self._troubles.setdefault(target, {})["requests"] = trouble
        self.tell(target, standings, self._trouble(target))
        if self._standings.get(target) != standings:
            self._standings[target] = dict(standings)
            self._check(target)

    def _no_statuses(self, target: str, trouble: str) -> None:
        text = f"commit statuses can't be shown: {trouble}" if trouble else ""
        self._troubles.setdefault(target, {})["statuses"] = text
        self.tell(target, self._standings.get(target, {}), self._trouble(target))

    def _trouble(self, target: str) -> str:
        """What matters more comes first."""
        told = self._troubles.get(target, {})
        return told.get("requests", "") or told.get("statuses", "")

    def _check(self, target: str) -> None:
        self.statuses.check(target, self._views.get(target, ()), self._standings.get(target, {}))

    def _shows(self, target: str) -> Forge | None:
        return None if target in self._silent else self._forge_of(target)
