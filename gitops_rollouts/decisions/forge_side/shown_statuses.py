"""What each commit is to show under each context, what it was told, and what is due (docs/decisions.md §7).

Pure: it reads no clock and does no I/O. Level-triggered: what is due follows from what is said now and what was sent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from gitops_rollouts.decisions.forge_side.commit_status import (
    MAX_ALONE,
    OUTDATED,
    REMOVED,
    Said,
    context_of,
    context_of_all,
    given_up,
    together,
)
from gitops_rollouts.decisions.identity import Subject
from gitops_rollouts.decisions.state import InGit, Key

Crowd = Callable[[str, str], int]
"""(target, commit) → how many of the target's Rollouts have this intent."""
_MINUTE: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Spacing:
    """How far apart statuses are sent. ``first``: a new one waits for what follows at once. ``least``: between two of
    one context. ``counts``: where only counts have changed. After ``many`` of one context, all are ``late`` apart:
    GitHub takes 1,000. ``a_minute``: of one repository, so that requests have their share of what forges take.
    """

    first: timedelta = timedelta(seconds=2)
    least: timedelta = timedelta(seconds=10)
    counts: timedelta = timedelta(seconds=60)
    late: timedelta = timedelta(minutes=10)
    many: int = 200
    a_minute: int = 20


@dataclass(frozen=True, slots=True)
class Place:
    """Where a status stands. ``key``: whose it is, None for one of many Rollouts, or for a ``check`` of a request."""

    target: str
    commit: str
    key: Key | None
    check: str = ""

    @property
    def context(self) -> str:
        """Its name on the forge."""
        if self.check:
            return self.check
        return context_of_all(self.target) if self.key is None else context_of(Subject(self.target, *self.key))


@dataclass(slots=True)
class _Shown:
    """``sent``: what the forge was told last; None: nothing, as far as this process knows."""

    said: Said
    since: datetime
    sent: Said | None = None
    at: datetime | None = None
    count: int = 0
    not_before: datetime | None = None
    urgent: bool = False
    """Its update is over for good: it goes ahead of the others."""
    presumed: bool = False
    """Nothing was sent, as Git itself says that all is over."""

    def say(self, said: Said) -> None:
        """What it is to show now."""
        if said != self.said:
            self.not_before = None
        self.said = said
        self.presumed = self.presumed and said.recorded
        if self.presumed:
            self.sent = said


@dataclass(slots=True)
class _Target:
    states: dict[Key, InGit] = field(default_factory=dict)
    commits: dict[str, dict[Key, Said]] = field(default_factory=dict)
    """Commit → what is said of each Rollout whose update it began, also of those that have gone on since."""
    crowds: set[str] = field(default_factory=set)
    """Commits of so many Rollouts that they share a status; they stay so."""
    begun: set[str] = field(default_factory=set)
    """Commits that began an update since this process did: their end is always told."""


class ShownStatuses:
    """Of all targets of one repository."""

    def __init__(self, crowd: Crowd, spacing: Spacing | None = None) -> None:
        self._crowd = crowd
        self._spacing = spacing or Spacing()
        self._targets: dict[str, _Target] = {}
        self._shown: dict[Place, _Shown] = {}
        self._unsent: set[Place] = set()
        self._stale: set[tuple[str, str]] = set()
        self._open: set[Place] = set()
        self._checks: set[Place] = set()
        self._sent: deque[datetime] = deque()

    # --- what is said ------------------------------------------------------------------------------------------

    def say(self, state: InGit, said: Said | None, now: datetime) -> None:
        """What there is to say of a Rollout's attempt now; None: nothing new."""
        target = self._targets.setdefault(state.target, _Target())
        before = target.states.get(state.key)
        target.states[state.key] = state
        if before is not None and before.attempt.intent != state.attempt.intent:
            self._leave(target, before, state, now)
            target.begun.add(state.attempt.intent)
        if said is not None:
            self._put(target, Place(state.target, state.attempt.intent, state.key), said, now)

    def check(self, name: str, checks: Mapping[Place, Said], now: datetime) -> None:
        """What the heads of a target's requests are to show, all of it. A failure is sent even if its request goes."""
        for place in [each for each in self._checks if each.target == name and each not in checks]:
            self._checks.discard(place)
            if place not in self._unsent or self._shown[place].said.state != "failure":
                self._drop(place)
        for place, said in checks.items():
            self._checks.add(place)
            self._show(place, said, now, urgent=said.state == "failure")

    def _drop(self, place: Place) -> None:
        self._shown.pop(place, None)
        self._unsent.discard(place)

    def removed(self, name: str, key: Key, now: datetime) -> None:
        """Git has the Rollout no longer."""
        target = self._targets.get(name)
        state = target.states.pop(key, None) if target else None
        if target is not None and state is not None:
            self._end(target, Place(name, state.attempt.intent, key), REMOVED, now)

    def forget(self, name: str) -> None:
        """A target is gone."""
        self._targets.pop(name, None)
        self._shown = {place: shown for place, shown in self._shown.items() if place.target != name}
        self._unsent = {place for place in self._unsent if place.target != name}
        self._stale = {each for each in self._stale if each[0] != name}
        self._checks = {place for place in self._checks if place.target != name}

    def remember(self, place: Place, state: InGit | None, now: datetime) -> None:
        """What was told of an update under way before a restart. ``state``: what Git says of its Rollout now."""
        target = self._targets.setdefault(place.target, _Target())
        if place.key is None:
            over, said = self._crowd(place.target, place.commit) <= MAX_ALONE, OUTDATED
            if not over:
                target.crowds.add(place.commit)
        else:
            over = state is None or state.attempt.intent != place.commit
            said = REMOVED if state is None else given_up(state)
            if over and state is not None and place.commit in state.former:
                return
        if not over:
            self._open.add(place)
        elif place not in self._shown:
            self._shown[place] = _Shown(said, now, urgent=True)
            self._unsent.add(place)
        if state is not None:
            self._doubt(Place(place.target, state.attempt.intent, state.key))

    def _doubt(self, place: Place) -> None:
        """It may be that the forge wasn't told of its end."""
        self._open.add(place)
        shown = self._shown.get(place)
        if shown is not None and shown.presumed:
            shown.presumed, shown.sent = False, None
            self._unsent.add(place)

    def _leave(self, target: _Target, before: InGit, state: InGit, now: datetime) -> None:
        """Another attempt follows; if that of before didn't come to an end, this is its end."""
        place = Place(state.target, before.attempt.intent, state.key)
        if place.commit not in state.former:
            self._end(target, place, given_up(state), now)
            return
        # the same attempt: its commit is no longer in history
        target.commits.get(place.commit, {}).pop(state.key, None)
        self._drop(place)

    def _end(self, target: _Target, place: Place, said: Said, now: datetime) -> None:
        last = target.commits.get(place.commit, {}).get(place.key) if place.key else None
        if last is not None and last.state == "pending":
            self._put(target, place, said, now, urgent=True)
        else:
            self._clean(place)

    def _put(self, target: _Target, place: Place, said: Said, now: datetime, *, urgent: bool = False) -> None:
        assert place.key is not None  # noqa: S101 only one Rollout says something
        members = target.commits.setdefault(place.commit, {})
        if members.get(place.key) == said:
            return
        members[place.key] = said
        if place.commit not in target.crowds and (
            len(members) > MAX_ALONE or self._crowd(place.target, place.commit) > MAX_ALONE
        ):
            target.crowds.add(place.commit)
        if place.commit in target.crowds:
            self._stale.add((place.target, place.commit))
        else:
            self._show(place, said, now, urgent=urgent)

    def _show(self, place: Place, said: Said, now: datetime, *, urgent: bool = False) -> None:
        shown = self._shown.get(place)
        if shown is None:
            target = self._targets.get(place.target)
            begun = target is not None and place.commit in target.begun
            presumed = said.recorded and place not in self._open and not begun
            shown = self._shown[place] = _Shown(said, now, said if presumed else None, presumed=presumed)
        else:
            shown.say(said)
        shown.urgent = urgent
        (self._unsent.discard if shown.sent == shown.said else self._unsent.add)(place)

    def _refresh(self, now: datetime) -> None:
        """Commits of many Rollouts are counted once, however many of them have changed."""
        for name, commit in self._stale:
            target = self._targets.get(name)
            members = target.commits.get(commit) if target else None
            if members:
                self._show(Place(name, commit, None), together(members.values()), now)
        self._stale.clear()

    @property
    def targets(self) -> frozenset[str]:
        """Those of which something was said."""
        return frozenset(self._targets)

    # --- what is due -------------------------------------------------------------------------------------------

    def due(self, now: datetime, silent: Set[str] = frozenset()) -> list[tuple[Place, Said]]:
        """What to send now of any but the ``silent`` targets, what matters most first: a minute's share at most."""
        self._refresh(now)
        unsent = ((place, self._shown[place]) for place in self._unsent if place.target not in silent)
        found = [(place, shown) for place, shown in unsent if self._time(place, shown) <= now]
        found.sort(key=lambda each: (not each[1].urgent, each[1].said.state == "success", each[1].since))
        return [(place, shown.said) for place, shown in found[: self._left(now)]]

    def next(self, now: datetime, silent: Set[str] = frozenset()) -> datetime | None:
        """When something is due of any but the ``silent`` targets; None: all is said."""
        self._refresh(now)
        times = [self._time(place, self._shown[place]) for place in self._unsent if place.target not in silent]
        if not times:
            return None
        soonest = min(times)
        return soonest if self._left(now) else max(soonest, self._sent[0] + _MINUTE)

    def sent(self, place: Place, said: Said, now: datetime) -> None:
        """A forge took it."""
        self._sent.append(now)
        self._told(place, said, now)

    def refused(self, place: Place, said: Said, now: datetime, *, again: timedelta | None) -> None:
        """A forge didn't take it; ``again``: after so long it may, None: never this one."""
        shown = self._shown.get(place)
        if again is None:
            self._told(place, said, now)
        elif shown is not None:
            shown.not_before = now + again

    def _told(self, place: Place, said: Said, now: datetime) -> None:
        shown = self._shown.get(place)
        if shown is None:
            return
        shown.sent, shown.at, shown.not_before = said, now, None
        shown.count += 1
        if shown.said == said:
            self._unsent.discard(place)
            self._clean(place)

    def _clean(self, place: Place) -> None:
        """Forget a commit from which its Rollouts have gone on, once it shows that."""
        if place.check:
            if place not in self._checks:
                self._drop(place)
            return
        target = self._targets.get(place.target)
        if target is None:
            return
        here = {key: state for key, state in target.states.items() if state.attempt.intent == place.commit}
        if place.commit in target.crowds:
            if here or Place(place.target, place.commit, None) in self._unsent or self._stale:
                return
            target.crowds.discard(place.commit)
            target.begun.discard(place.commit)
            target.commits.pop(place.commit, None)
            self._shown.pop(Place(place.target, place.commit, None), None)
        elif place.key is not None and place.key not in here and place not in self._unsent:
            self._shown.pop(place, None)
            members = target.commits.get(place.commit, {})
            members.pop(place.key, None)
            if not members:
                target.commits.pop(place.commit, None)
                target.begun.discard(place.commit)

    def _time(self, place: Place, shown: _Shown) -> datetime:
        """When one that isn't sent is due. A check is what a merge waits for: at once."""
        spacing = self._spacing
        at = shown.since if place.check else shown.since + spacing.first
        if not place.check and shown.sent is not None and shown.at is not None:
            gap = spacing.least if shown.said.differs(shown.sent) else spacing.counts
            at = shown.at + (max(gap, spacing.late) if shown.count >= spacing.many else gap)
        return max(at, shown.not_before) if shown.not_before else at

    def _left(self, now: datetime) -> int:
        while self._sent and now - self._sent[0] >= _MINUTE:
            self._sent.popleft()
        return max(0, self._spacing.a_minute - len(self._sent))
