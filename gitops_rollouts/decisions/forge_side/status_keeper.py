"""Sends commit statuses to the forge, in a loop of its own: a slow forge delays nothing else (docs/decisions.md §7).

Belongs to the event loop; calls to the forge run in a thread. What is lost in a crash is said again. Which updates were
under way when it happened is marked in the mirror, so that they get their end even if Git has gone on meanwhile.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog

from gitops_rollouts.decisions.board import Board
from gitops_rollouts.decisions.forge_side.commit_status import Asked, Said, asked_by
from gitops_rollouts.decisions.forge_side.request_check import check_of, promotable
from gitops_rollouts.decisions.forge_side.shown_statuses import Place, ShownStatuses, Spacing
from gitops_rollouts.decisions.requests.view import RequestView, Standing
from gitops_rollouts.decisions.state import InGit, Key, TargetAt
from gitops_rollouts.errors import ForgeDenied, ForgeError, ForgeLimited, ForgeMissing, ForgeRefused, GorError
from gitops_rollouts.forges.forge import Forge
from gitops_rollouts.forges.threads import FORGE_THREADS
from gitops_rollouts.git.repository import Mirror
from gitops_rollouts.tasks import outliving, woken

_ONE: Final = "shown/one/"
_MANY: Final = "shown/many/"
_PACE: Final = timedelta(seconds=1)
"""Between two looks: many Rollouts say something at once."""
_RETRY_LEAST: Final = timedelta(seconds=1)
_RETRY_MOST: Final = timedelta(minutes=5)
_DENIED: Final = timedelta(minutes=10)
_FENCED: Final = timedelta(seconds=30)

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Way:
    """How it goes with one target's forge."""

    forge: Forge | None = None
    not_before: datetime | None = None
    attempts: int = 0
    trouble: str = ""


class StatusKeeper:
    """One a (repository, branch). ``forge_of``: a target's forge, None if it has none or shows no statuses.

    ``on_trouble``: a target, and why its statuses can't be shown; empty once they can. ``fence`` is called before each,
    and raises if another process leads by now.
    """

    def __init__(
        self,
        mirror: Mirror,
        board: Board,
        forge_of: Callable[[str], Forge | None],
        clock: Callable[[], datetime],
        *,
        spacing: Spacing | None = None,
        fence: Callable[[], None] = lambda: None,
        on_trouble: Callable[[str, str], None] = lambda target, trouble: None,
    ) -> None:
        self._mirror = mirror
        self._board = board
        self._forge_of = forge_of
        self._clock = clock
        self._on_trouble = on_trouble
        self._fence = fence
        self._shown = ShownStatuses(self._crowd, spacing)
        self._counted: dict[str, tuple[TargetAt, Counter[str]]] = {}
        self._asked: dict[str, dict[Key, Asked]] = {}
        self._waiters: dict[str, dict[Key, tuple[InGit, Said]]] = {}
        self._ways: dict[str, _Way] = {}
        self._marks: dict[str, str] | None = None
        self._unknown: dict[str, str] = {}
        self._wake = asyncio.Event()

    def say(self, state: InGit, said: Said | None) -> None:
        """After a pass over a Rollout: what its intent commit is to show. Cheap if unchanged."""
        waiting = self._waiters.setdefault(state.target, {})
        if said is not None and said.sort == "waiting":
            waiting[state.key] = (state, said)
            said = asked_by(said, self._asked.get(state.target, {}).get(state.key))
        elif said is not None:
            waiting.pop(state.key, None)
        self._shown.say(state, said, self._clock())
        self._wake.set()

    def check(self, target: str, views: Iterable[RequestView], standings: Mapping[str, Standing]) -> None:
        """What stands as a request of a target now, all of it, and what its forge shows: whether merging it has an
        effect, and who waits for it."""
        views = tuple(views)
        asked = {
            (member.subject.namespace, member.subject.name): Asked(f"PR #{standing.number}", standing.url)
            for view in views
            if view.kind == "promote" and (standing := standings.get(view.branch)) and standing.state == "open"
            for member in view.members
            if not member.struck
        }
        before, self._asked[target] = self._asked.get(target, {}), asked
        for key, (state, said) in list(self._waiters.get(target, {}).items()):
            if before.get(key) != asked.get(key):
                self.say(state, said)
        checks = {Place(target, view.tip, None, check_of(view)): promotable(view) for view in views if view.tip}
        self._shown.check(target, checks, self._clock())
        self._wake.set()

    def gone(self, target: str, key: Key) -> None:
        """A Rollout isn't there any more; only if Git lacks it is that an end."""
        at = self._board.target(target)
        if at is not None and key not in at.rollouts:
            self._waiters.get(target, {}).pop(key, None)
            self._shown.removed(target, key, self._clock())
            self._wake.set()

    def forget(self, target: str) -> None:
        """A GitSync is gone."""
        self._shown.forget(target)
        for store in (self._ways, self._counted, self._asked, self._waiters):
            store.pop(target, None)
        for name, commit in (self._marks or {}).items():
            place = _place_of(name, commit)
            if place is not None and place.target == target:
                self._unknown[name] = commit

    def look(self) -> None:
        """A GitSync may name another forge now: what went wrong before may go well."""
        self._wake.set()

    # --- the loop ----------------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> None:
        """Send until ``stop`` is set and the call under way is over."""
        await outliving("commit statuses", self._turn, stop)

    async def _turn(self, stopping: asyncio.Future[object]) -> None:
        self._wake.clear()
        await self.step()
        at, now = self._next(), self._clock()
        await asyncio.wait({stopping}, timeout=_PACE.total_seconds())
        if at is None or at > now + _PACE:
            await woken(self._wake, stopping, None if at is None else (at - now - _PACE).total_seconds())

    async def step(self) -> None:
        """Send what is due. Never raises: a failure is told and tried again."""
        await self._recall()
        for place, said in self._shown.due(self._clock(), self._silent() | set(self._waiting())):
            forge = self._forge_of(place.target)
            if forge is None or place.target in self._waiting():
                continue  # it stopped taking them in the midst of these
            try:
                await FORGE_THREADS.run(self._send, forge, place, said)
            except ForgeError as err:
                self._failed(place, said, err)
            except GorError as err:
                log.warning("a commit status isn't sent", error=str(err))
                self._shown.refused(place, said, self._clock(), again=_FENCED)
            except Exception:  # no surprise of one status ends them all
                log.exception("a commit status can't be sent")
                self._shown.refused(place, said, self._clock(), again=_DENIED)
            else:
                self._shown.sent(place, said, self._clock())
                self._is_well(place.target)

    def _next(self) -> datetime | None:
        silent, waiting = self._silent(), self._waiting()
        times = [self._shown.next(self._clock(), silent | set(waiting)), *waiting.values()]
        return min((at for at in times if at is not None), default=None)

    def _silent(self) -> set[str]:
        return {name for name in self._shown.targets if self._forge_of(name) is None}

    def _waiting(self) -> dict[str, datetime]:
        """Targets whose forge is left alone for now, and until when."""
        now = self._clock()
        return {
            name: way.not_before
            for name, way in self._ways.items()
            if way.not_before and way.not_before > now and way.forge is self._forge_of(name)
        }

    def _send(self, forge: Forge, place: Place, said: Said) -> None:
        """Blocks. The mark comes first: a status that is shown and not marked would never get its end."""
        self._fence()
        if said.state == "pending":
            self._note(place, under_way=True)
        forge.set_status(place.commit, said.shown(place.context))
        if said.state != "pending":
            self._note(place, under_way=False)

    def _note(self, place: Place, *, under_way: bool) -> None:
        marks = self._marks if self._marks is not None else {}
        name = _mark_of(place)
        if place.check or under_way == (marks.get(name) == place.commit):
            return
        try:
            if under_way:
                self._mirror.mark(name, place.commit)
                marks[name] = place.commit
            else:
                self._mirror.unmark(name)
                del marks[name]
        except GorError as err:
            log.warning("which update is under way can't be noted", error=str(err))

    def _failed(self, place: Place, said: Said, err: ForgeError) -> None:
        now = self._clock()
        if isinstance(err, ForgeRefused):
            log.warning("the forge refuses a commit status", commit=place.commit, context=place.context, error=str(err))
            self._shown.refused(place, said, now, again=None)
            return
        if isinstance(err, ForgeMissing):
            self._shown.refused(place, said, now, again=_DENIED)
        way = self._ways.setdefault(place.target, _Way())
        way.forge = self._forge_of(place.target)
        if isinstance(err, ForgeLimited):
            way.not_before = now + timedelta(seconds=min(max(err.retry_after, 1.0), 3600.0))
            return  # it goes on by itself
        if isinstance(err, ForgeDenied):
            way.not_before = now + _DENIED
        elif not isinstance(err, ForgeMissing):
            way.not_before = now + min(_RETRY_LEAST * 2**way.attempts, _RETRY_MOST)
            way.attempts = min(way.attempts + 1, 16)
        if way.trouble != str(err):
            way.trouble = str(err)
            log.warning("commit statuses can't be shown", target=place.target, error=way.trouble)
            self._on_trouble(place.target, way.trouble)

    def _is_well(self, target: str) -> None:
        way = self._ways.pop(target, None)
        if way is not None and way.trouble:
            self._on_trouble(target, "")

    # --- what was under way before a restart ---------------------------------------------------------------------

    async def _recall(self) -> None:
        """Compare what was marked with what Git says, as soon as that is known of each target."""
        if self._marks is None:
            try:
                self._marks = await asyncio.to_thread(self._mirror.marks, "shown/")
            except GorError as err:
                log.warning("what was under way isn't known", error=str(err))
                self._marks = {}
            self._unknown = dict(self._marks)
        for name, commit in list(self._unknown.items()):
            place = _place_of(name, commit)
            at = self._board.target(place.target) if place else None
            if place is None or at is not None:
                del self._unknown[name]
            if place is not None and at is not None:
                state = at.rollouts.get(place.key) if place.key else None
                self._shown.remember(place, state, self._clock())

    def _crowd(self, target: str, commit: str) -> int:
        at = self._board.target(target)
        if at is None:
            return 0
        known = self._counted.get(target)
        if known is None or known[0] is not at:
            known = self._counted[target] = (at, Counter(state.attempt.intent for state in at.rollouts.values()))
        return known[1][commit]


def _mark_of(place: Place) -> str:
    return f"{_MANY}{place.target}" if place.key is None else f"{_ONE}{place.target}/{'/'.join(place.key)}"


def _place_of(mark: str, commit: str) -> Place | None:
    if mark.startswith(_MANY):
        return Place(mark.removeprefix(_MANY), commit, None)
    parts = mark.removeprefix(_ONE).split("/")
    return Place(parts[0], commit, (parts[1], parts[2])) if len(parts) == 3 else None
