"""When a decision is due: what is wanted of which Rollout, since when, and what became of it.

Pure: it reads no clock and does no I/O. Source: docs/decisions.md §1.4, §2.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from gitops_rollouts.decisions.planning.planning import Outcome
from gitops_rollouts.decisions.planning.wants import Want, WantAbort, WantRecord, WantRequest
from gitops_rollouts.decisions.state import Attempt, Key

Change = Literal["requests", "decisions", "nothing"]
"""What new wants differ in from the earlier ones: in the requests, or only in aborts, records and movement."""
Lane = Literal["urgent", "rest", "all"]
"""Which decisions a round is about: what never waits for anything else, records, or both in one."""


@dataclass(frozen=True, slots=True)
class Waits:
    """How long decisions wait. ``breaker``: so many commits on a Rollout within ``breaker_window`` stop its writing.

    ``breaker_aborts``: the same for the first abort of an attempt. ``reprobe``: after so long a refused push is tried
    again.
    """

    batch: timedelta = timedelta(seconds=1)
    record_quiet: timedelta = timedelta(seconds=60)
    record_longest: timedelta = timedelta(minutes=10)
    reprobe: timedelta = timedelta(hours=1)
    breaker: int = 10
    breaker_aborts: int = 20
    breaker_window: timedelta = timedelta(hours=1)


@dataclass(slots=True)
class _Entry:
    """One want. ``settled``: what sync had published when the want needed nothing more; None: not settled."""

    want: Want
    since: datetime
    settled: str | None = None
    retry_at: datetime | None = None
    problem: str = ""


class Agenda:
    """The wants of all targets of one writer. ``synced`` is always the commit that sync published last, or ``""``."""

    def __init__(self, waits: Waits) -> None:
        self._waits = waits
        self._entries: dict[str, dict[Key, list[_Entry]]] = {}
        self._heard: dict[str, set[Key]] = {}
        self._moving: dict[str, set[Key]] = {}
        self._commits: dict[tuple[str, Key], deque[tuple[datetime, Attempt | None]]] = {}
        """When we wrote, and whose abort, if it was one."""

    # --- what is wanted ----------------------------------------------------------------------------------------

    def set_wants(self, target: str, key: Key, wanted: Iterable[Want], now: datetime, *, moving: bool) -> Change:
        """What is wanted of one Rollout now, all of it. A want that stood already keeps its age and its outcome."""
        entries = self._entries.setdefault(target, {})
        self._heard.setdefault(target, set()).add(key)
        before = entries.get(key, [])
        known = {entry.want: entry for entry in before}
        asked = list(wanted)
        after = [known.get(want) or _Entry(want, now) for want in asked]
        for entry, want in zip(after, asked, strict=True):
            entry.want = want  # what the metrics came to may have grown, which makes it no other want
        if after:
            entries[key] = after
        else:
            entries.pop(key, None)
        moved = self._note_moving(target, key, moving)
        if _requests_in(before) != _requests_in(after):
            return "requests"
        return "decisions" if moved or [one.want for one in before] != [one.want for one in after] else "nothing"

    def _note_moving(self, target: str, key: Key, moving: bool) -> bool:
        movers = self._moving.setdefault(target, set())
        changed = moving is not (key in movers)
        (movers.add if moving else movers.discard)(key)
        return changed

    def unsettle(self, target: str) -> None:
        """Look at all wants of a target anew: its GitSync has changed."""
        for entry in self._all(target):
            entry.settled = entry.retry_at = None

    def forget(self, target: str) -> None:
        """A target is gone. What was committed for it still counts for the breaker, should it come back."""
        self._entries.pop(target, None)
        self._moving.pop(target, None)
        self._heard.pop(target, None)

    # --- when it is due ----------------------------------------------------------------------------------------

    def due_times(self, target: str, synced: str, now: datetime, lane: Lane = "all") -> list[datetime]:
        """When each abort, promotion and record of a target is due; requests are looked at at times of their own."""
        times: list[datetime] = []
        records: list[_Entry] = []
        for key, entry in self._in_lane(target, lane):
            if self._is_held(target, key, entry.want, now):
                # nothing else would wake the writer once the breaker closes
                times.append(self._commits[target, key][0][0] + self._waits.breaker_window)
            elif not self._is_open(target, key, entry, synced, now):
                if entry.retry_at and entry.retry_at > now:
                    times.append(entry.retry_at)
            elif isinstance(entry.want, WantRecord):
                records.append(entry)
            else:
                times.append(entry.since + self._waits.batch)
        if records:
            times.append(self._records_due(target, records))
        return times

    def due(self, target: str, synced: str, now: datetime, lane: Lane = "all") -> tuple[tuple[Key, Want], ...]:
        """The decisions for a round now: once one of a target is due, all its open aborts go along.

        And what the server refused before: it waits on one branch together with what comes now.
        """
        if not any(at <= now for at in self.due_times(target, synced, now, lane)):
            return ()
        found = [
            (key, entry)
            for key, entry in self._in_lane(target, lane)
            if self._is_open(target, key, entry, synced, now) or entry.retry_at is not None
        ]
        records = [entry for _, entry in found if isinstance(entry.want, WantRecord)]
        with_records = bool(records) and self._records_due(target, records) <= now
        return tuple(
            (key, entry.want)
            for key, entry in found
            if with_records or not isinstance(entry.want, WantRecord) or entry.retry_at is not None
        )

    def _in_lane(self, target: str, lane: Lane) -> list[tuple[Key, _Entry]]:
        return [
            (key, entry)
            for key, entries in self._entries.get(target, {}).items()
            for entry in entries
            if not isinstance(entry.want, WantRequest)
            and (lane == "all" or isinstance(entry.want, WantRecord) is (lane == "rest"))
        ]

    def requests(self, target: str) -> dict[Key, WantRequest]:
        """The promotion requests that are wanted of a target."""
        return {
            key: entry.want
            for key, entries in self._entries.get(target, {}).items()
            for entry in entries
            if isinstance(entry.want, WantRequest)
        }

    def _records_due(self, target: str, records: list[_Entry]) -> datetime:
        """Records wait until nothing of the target is moving, and for the last newcomer, but not for ever."""
        first, newest = min(entry.since for entry in records), max(entry.since for entry in records)
        if not self._moving.get(target):
            return newest + self._waits.batch
        return min(newest + self._waits.record_quiet, first + self._waits.record_longest)

    def _is_open(self, target: str, key: Key, entry: _Entry, synced: str, now: datetime) -> bool:
        if self._is_held(target, key, entry.want, now):
            return False
        if entry.retry_at is not None and entry.retry_at <= now:
            return True
        return entry.settled is None or entry.settled != synced

    def _is_held(self, target: str, key: Key, want: Want, now: datetime) -> bool:
        """Whether the circuit breaker stops this one (docs/decisions.md §1.4).

        An attempt that fails for the first time is no loop by itself: that it failed is told up to a bound of its own.
        """
        made = self._made(target, key, now)
        first = isinstance(want, WantAbort) and all(attempt != want.attempt for _, attempt in made)
        return len(made) >= (self._waits.breaker_aborts if first else self._waits.breaker)

    def _made(self, target: str, key: Key, now: datetime) -> deque[tuple[datetime, Attempt | None]]:
        """Our commits on a Rollout within the breaker's window."""
        made = self._commits.get((target, key), deque())
        while made and now - made[0][0] >= self._waits.breaker_window:
            made.popleft()
        return made

    # --- what came of it ---------------------------------------------------------------------------------------

    def settle(self, target: str, outcome: Outcome, synced: str, now: datetime, *, refusal: str | None) -> None:
        """Note what a round came to. ``synced``: as of its start. ``refusal``: why the server refused its push."""
        for entry in self._entries.get(target, {}).get(outcome.key, []):
            if entry.want != outcome.want:
                continue
            entry.settled, entry.retry_at, entry.problem = synced, None, outcome.problem
            if outcome.state == "written" and refusal is not None:
                entry.retry_at = now + self._waits.reprobe
                entry.problem = refusal
            elif outcome.state == "written":
                aborted = outcome.want.attempt if isinstance(outcome.want, WantAbort) else None
                self._commits.setdefault((target, outcome.key), deque()).append((now, aborted))

    def again(self, target: str, now: datetime) -> None:
        """Try now what the server refused before: what was offered in its place is gone."""
        for entry in self._all(target):
            if entry.retry_at is not None:
                entry.retry_at = now

    def needs(self, target: str) -> dict[Key, bool]:
        """Whether a decision isn't in Git yet, of each Rollout of which anything was said since this process began."""
        entries = self._entries.get(target, {})
        return {
            key: any(
                not isinstance(entry.want, WantRequest) and (entry.settled is None or bool(entry.problem))
                for entry in entries.get(key, ())
            )
            for key in self._heard.get(target, ())
        }

    def pending(self, target: str) -> int:
        """How many decisions Git doesn't show yet."""
        return sum(
            not isinstance(entry.want, WantRequest) and (entry.settled is None or bool(entry.problem))
            for entry in self._all(target)
        )

    def problems(self, target: str) -> list[str]:
        """Why wants of a target are stuck, each reason once."""
        return sorted({entry.problem for entry in self._all(target) if entry.problem})

    def tripped(self, target: str, now: datetime) -> list[Key]:
        """The Rollouts of a target on which nothing more is written for now, but for first aborts."""
        entries = self._entries.get(target, {})
        return sorted(key for key in entries if len(self._made(target, key, now)) >= self._waits.breaker)

    def _all(self, target: str) -> list[_Entry]:
        return [entry for entries in self._entries.get(target, {}).values() for entry in entries]


def _requests_in(entries: Iterable[_Entry]) -> list[Want]:
    return [entry.want for entry in entries if isinstance(entry.want, WantRequest)]
