"""The one writer of a (repository, branch): collects wants, batches them, writes, tries again.

Belongs to the event loop; rounds run in a thread, one at a time. Nothing here is durable: what is lost in a crash is
wanted again, because wants are derived from the cluster and the tree. Source: docs/decisions.md §1.4, §2, §4.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import structlog

from gitops_rollouts.decisions.board import Board
from gitops_rollouts.decisions.own_branch import OwnBranches
from gitops_rollouts.decisions.planning import Outcome
from gitops_rollouts.decisions.reading import TargetReader
from gitops_rollouts.decisions.requests import Hold, Requests, RequestSettings
from gitops_rollouts.decisions.round import Job, Round, RoundResult, WriterTarget, Writing
from gitops_rollouts.decisions.state import Key
from gitops_rollouts.decisions.wants import Want, WantAbort, WantRecord, WantRequest
from gitops_rollouts.errors import GitAccessDenied, GitError, GorError, PushRaced
from gitops_rollouts.git.repository import Mirror

log = structlog.get_logger(__name__)

READY: Final = "Ready"
DISABLED: Final = "Disabled"


@dataclass(frozen=True, slots=True)
class WriterSettings:
    """How long things wait. ``breaker``: so many commits on a Rollout within ``breaker_window`` stop its writing."""

    batch: timedelta = timedelta(seconds=1)
    record_quiet: timedelta = timedelta(seconds=60)
    record_longest: timedelta = timedelta(minutes=10)
    requests: RequestSettings = field(default_factory=RequestSettings)
    retry_least: timedelta = timedelta(milliseconds=200)
    retry_most: timedelta = timedelta(seconds=30)
    reprobe: timedelta = timedelta(hours=1)
    breaker: int = 10
    breaker_window: timedelta = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class WriteReport:
    """The state of a target's writing, for its ``WriteBack`` condition. Sent when it changes.

    ``reason`` is a CamelCase word, ``pending`` counts decisions that Git doesn't show yet.
    """

    target: str
    ok: bool
    reason: str
    message: str
    pending: int = 0
    holds: frozenset[Hold] = frozenset()


@dataclass(slots=True)
class _Entry:
    """One want. ``settled``: what sync had published when the want needed nothing more; "" : not settled."""

    want: Want
    since: datetime
    settled: str | None = None
    retry_at: datetime | None = None
    problem: str = ""


class DecisionWriter:
    """Give it wants after each pass over a Rollout, and run it. All methods belong to the event loop."""

    def __init__(
        self,
        mirror: Mirror,
        reader: TargetReader,
        board: Board,
        writing: Writing,
        clock: Callable[[], datetime],
        *,
        settings: WriterSettings | None = None,
        on_pushed: Callable[[str], None] = lambda commit: None,
        on_report: Callable[[WriteReport], None] = lambda report: None,
    ) -> None:
        self._settings = settings or WriterSettings()
        self._board = board
        self._clock = clock
        self._on_pushed = on_pushed
        self._on_report = on_report
        branches = OwnBranches(mirror, writing.author, writing.sign)
        self._requests = Requests(mirror, branches, writing.engine, self._settings.requests)
        self._round = Round(mirror, reader, self._requests, writing)
        self._targets: dict[str, WriterTarget] = {}
        self._entries: dict[str, dict[Key, list[_Entry]]] = {}
        self._moving: dict[str, set[Key]] = {}
        self._commits: dict[tuple[str, Key], deque[datetime]] = {}
        self._reports: dict[str, WriteReport] = {}
        self._refs: Mapping[str, str] | None = None
        self._seen: dict[str, str] = {}
        self._unlisten = board.on_change(self._git_changed)
        self._requests_at: datetime | None = None
        self._not_before: datetime | None = None
        self._attempts = 0
        self._trouble: tuple[str, str] | None = None
        self._request_trouble = ""
        self._refusals: dict[str, tuple[str, str]] = {}
        self._wake = asyncio.Event()

    # --- what is wanted ----------------------------------------------------------------------------------------

    def register(self, target: WriterTarget) -> None:
        """A GitSync that reads this branch, new or changed."""
        name = target.spec.name
        if self._targets.get(name) != target:
            self._targets[name] = target
            self._refusals.pop(name, None)
            for entry in self._all(name):
                entry.settled = entry.retry_at = None
            self._look_at_requests()
            self._report_all()

    def forget(self, name: str) -> None:
        """A GitSync is gone. Its branches stay: another engine may go on."""
        for store in (self._targets, self._entries, self._moving, self._reports, self._refusals, self._seen):
            store.pop(name, None)

    def set_wants(self, target: str, key: Key, wanted: Iterable[Want], *, moving: bool = False) -> None:
        """What is wanted of one Rollout now, all of it; no wants take back the earlier ones. Cheap if unchanged."""
        entries = self._entries.setdefault(target, {})
        before = entries.get(key, [])
        known = {entry.want: entry for entry in before}
        now = self._clock()
        after = [known.get(want) or _Entry(want, now) for want in wanted]
        if after:
            entries[key] = after
        else:
            entries.pop(key, None)
        moved = self._note_moving(target, key, moving)
        if _requests_in(before) != _requests_in(after):
            self._look_at_requests()
        elif moved or [entry.want for entry in before] != [entry.want for entry in after]:
            self._wake.set()
            self._forget_trouble(target)

    def _forget_trouble(self, name: str) -> None:
        """Once nothing of a target is stuck any more, its refusal is history."""
        report = self._reports.get(name)
        if report is not None and not report.ok and not any(entry.problem for entry in self._all(name)):
            self._refusals.pop(name, None)
            self._report_all()

    def _note_moving(self, target: str, key: Key, moving: bool) -> bool:
        movers = self._moving.setdefault(target, set())
        changed = moving is not (key in movers)
        (movers.add if moving else movers.discard)(key)
        return changed

    def gone(self, target: str, key: Key) -> None:
        """A Rollout is gone from the cluster."""
        self.set_wants(target, key, ())

    def saw_requests(self, refs: Mapping[str, str]) -> None:
        """The request branches that the poller just saw on the remote: name → commit."""
        if self._refs is None or dict(refs) != dict(self._refs):
            self._refs = dict(refs)
            self._look_at_requests()

    def _git_changed(self, _namespace: str, _name: str) -> None:
        """Git says something new of a Rollout: wants that were settled may stand again, requests may be void."""
        for name in self._targets:
            synced = self._synced(name)
            if self._seen.get(name) != synced:
                self._seen[name] = synced
                self._look_at_requests()

    def restore_holds(self, holds: Iterable[Hold]) -> None:
        """Holds that the GitSyncs' status remembers from before a restart."""
        self._requests.restore(holds)

    @property
    def holds(self) -> frozenset[Hold]:
        """Requests that were deleted by somebody, so that their Rollouts wait."""
        return self._requests.holds

    def _look_at_requests(self) -> None:
        soon = self._clock() + self._settings.batch
        self._requests_at = min(self._requests_at, soon) if self._requests_at else soon
        self._wake.set()

    # --- the loop ----------------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> None:
        """Write until ``stop`` is set and the round under way is over."""
        stopping: asyncio.Future[object] = asyncio.ensure_future(stop.wait())
        try:
            while not stop.is_set():
                self._wake.clear()
                now = self._clock()
                at = self._next(now)
                if at is not None and at <= now:
                    await self.step()
                else:
                    await self._pause(None if at is None else (at - now).total_seconds(), stopping)
        finally:
            stopping.cancel()
            self._unlisten()

    async def step(self) -> None:
        """One round of everything that is due. Never raises: a failure is reported and tried again."""
        now = self._clock()
        requests = self._requests_at is not None and self._requests_at <= now
        jobs = self._jobs(now, requests)
        if requests:
            self._requests_at = None
        if not jobs:
            return
        try:
            result = await asyncio.to_thread(self._round.run, jobs, now, requests=requests)
        except GorError as err:
            self._failed(err, requests)
        except Exception as err:  # the writer of all GitSyncs of a branch never ends by one surprise
            log.exception("a round of the decision writer failed")
            self._failed(GorError(f"an unexpected {type(err).__name__}, see the log"), requests)
        else:
            self._not_before, self._attempts, self._trouble = None, 0, None
            self._succeeded(result, jobs)
        self._report_all()

    async def _pause(self, seconds: float | None, stopping: asyncio.Future[object]) -> None:
        waking: asyncio.Future[object] = asyncio.ensure_future(self._wake.wait())
        try:
            await asyncio.wait({waking, stopping}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waking.cancel()

    def _next(self, now: datetime) -> datetime | None:
        """When the next round should run; None: nothing is due."""
        times = [self._requests_at] if self._requests_at and self._writable() else []
        for name in self._writable():
            times += self._due_times(name, now)
        if not times:
            return None
        soonest = min(times)
        return max(soonest, self._not_before) if self._not_before else soonest

    def _writable(self) -> list[str]:
        return [name for name, target in self._targets.items() if target.write]

    def _due_times(self, name: str, now: datetime) -> list[datetime]:
        """When each want of a target is due."""
        times: list[datetime] = []
        records: list[_Entry] = []
        for key, entries in self._entries.get(name, {}).items():
            if self._tripped(name, key, now):
                # nothing else would wake the writer once the breaker closes
                times.append(self._commits[name, key][0] + self._settings.breaker_window)
                continue
            for entry in entries:
                if not self._is_open(name, key, entry, now):
                    if entry.retry_at and entry.retry_at > now:
                        times.append(entry.retry_at)
                elif isinstance(entry.want, WantRecord):
                    records.append(entry)
                elif isinstance(entry.want, WantAbort):
                    times.append(entry.since + self._settings.batch)
        if records:
            times.append(self._records_due(name, records))
        return times

    def _records_due(self, name: str, records: list[_Entry]) -> datetime:
        """Records wait until nothing of the target is moving, and for the last newcomer, but not for ever."""
        first, newest = min(entry.since for entry in records), max(entry.since for entry in records)
        if not self._moving.get(name):
            return newest + self._settings.batch
        return min(newest + self._settings.record_quiet, first + self._settings.record_longest)

    def _is_open(self, name: str, key: Key, entry: _Entry, now: datetime) -> bool:
        if isinstance(entry.want, WantRequest) or self._tripped(name, key, now):
            return False
        if entry.retry_at is not None and entry.retry_at <= now:
            return True
        return entry.settled is None or entry.settled != self._synced(name)

    def _tripped(self, name: str, key: Key, now: datetime) -> bool:
        """The circuit breaker (§1.4)."""
        made = self._commits.get((name, key))
        while made and now - made[0] >= self._settings.breaker_window:
            made.popleft()
        return bool(made) and len(made or ()) >= self._settings.breaker

    def _synced(self, name: str) -> str:
        at = self._board.target(name)
        return at.commit if at else ""

    def _jobs(self, now: datetime, requests: bool) -> list[Job]:
        jobs: list[Job] = []
        for name in self._writable():
            due = [at for at in self._due_times(name, now) if at <= now]
            entries = self._entries.get(name, {})
            records_due = self._records_are_due(name, now)
            decisions = tuple(
                (key, entry.want)
                for key, found in entries.items()
                for entry in found
                if self._is_open(name, key, entry, now) and (records_due or not isinstance(entry.want, WantRecord))
            )
            wanted = {
                key: entry.want
                for key, found in entries.items()
                for entry in found
                if isinstance(entry.want, WantRequest)
            }
            if (due and decisions) or requests:
                jobs.append(Job(self._targets[name], self._synced(name) or None, decisions if due else (), wanted))
        return jobs

    def _records_are_due(self, name: str, now: datetime) -> bool:
        records = [
            entry
            for key, found in self._entries.get(name, {}).items()
            for entry in found
            if isinstance(entry.want, WantRecord) and self._is_open(name, key, entry, now)
        ]
        return bool(records) and self._records_due(name, records) <= now

    # --- what came of it ---------------------------------------------------------------------------------------

    def _failed(self, err: GorError, requests: bool) -> None:
        """Full jitter, doubling, without an end. A lost race is no news."""
        most = min(self._settings.retry_least * 2**self._attempts, self._settings.retry_most)
        self._attempts = min(self._attempts + 1, 16)
        self._not_before = self._clock() + most * random.random()  # noqa: S311 spreads retries, guards nothing
        if requests:
            self._requests_at = self._clock()
        if not isinstance(err, PushRaced):
            reason = "Unreachable" if isinstance(err, GitError) else "Failed"
            if isinstance(err, GitAccessDenied):
                reason = "AccessDenied"
            if self._trouble is None:
                log.warning("decisions can't be written", error=str(err))
            self._trouble = (reason, str(err))

    def _succeeded(self, result: RoundResult, jobs: list[Job]) -> None:
        now = self._clock()
        for job in jobs:
            name = job.target.spec.name
            outcomes = result.outcomes.get(name, [])
            if result.refused is not None and any(outcome.state == "written" for outcome in outcomes):
                self._refusals[name] = self._refusal(result, name)
            for outcome in outcomes:
                self._settle(job, outcome, result, now)
            if name in result.taken:
                self._refusals[name] = ("TargetNameTaken", f"another engine ({result.taken[name]}) writes as {name!r}")
            elif not any(entry.problem for entry in self._all(name)):
                self._refusals.pop(name, None)
        self._requests_done(result, now)
        if result.commit:
            log.info("decisions written", commit=result.commit)
            self._on_pushed(result.commit)

    def _requests_done(self, result: RoundResult, now: datetime) -> None:
        if result.requests is not None and result.requests.wait is not None:
            at = result.requests.wait
            self._requests_at = min(self._requests_at, at) if self._requests_at else at
        if result.branches is not None:
            # so that a branch which is deleted before the poller ever saw it is missed all the same
            self._refs = result.branches
        if result.request_error:
            self._requests_at = now + self._settings.reprobe
        if result.request_error or result.requests is not None:
            self._request_trouble = result.request_error
        if result.requests_again:
            self._requests_at = now

    def _settle(self, job: Job, outcome: Outcome, result: RoundResult, now: datetime) -> None:
        name = job.target.spec.name
        for entry in self._entries.get(name, {}).get(outcome.key, []):
            if entry.want != outcome.want:
                continue
            # as of the round's start: what sync has published since may unsettle it
            entry.settled, entry.retry_at, entry.problem = job.synced or "", None, outcome.problem
            if outcome.state == "written" and result.refused is not None:
                entry.retry_at = now + self._settings.reprobe
                entry.problem = str(result.refused)
            elif outcome.state == "written":
                self._commits.setdefault((name, outcome.key), deque()).append(now)
        if outcome.state == "withdrawn" and isinstance(outcome.want, WantAbort):
            self._board.withdraw(*outcome.key, outcome.want.aborted_at)

    @staticmethod
    def _refusal(result: RoundResult, name: str) -> tuple[str, str]:
        branch = result.offered.get(name)
        where = f"; the decisions wait on branch {branch}, merge it" if branch else ""
        reason = "AccessDenied" if isinstance(result.refused, GitAccessDenied) else "PushRefused"
        return reason, f"{result.refused}{where}"

    def _report_all(self) -> None:
        now = self._clock()
        for name, target in self._targets.items():
            report = self._report(name, target, now)
            if self._reports.get(name) != report:
                self._reports[name] = report
                self._on_report(report)

    def _report(self, name: str, target: WriterTarget, now: datetime) -> WriteReport:
        holds = frozenset(hold for hold in self._requests.holds if hold.target == name)
        pending = sum(
            not isinstance(entry.want, WantRequest) and (entry.settled is None or bool(entry.problem))
            for entry in self._all(name)
        )
        problems = sorted({entry.problem for entry in self._all(name) if entry.problem})
        tripped = [key for key in self._entries.get(name, {}) if self._tripped(name, key, now)]
        if not target.write:
            return WriteReport(name, True, DISABLED, "decisions stay in the cluster (write: none)", pending, holds)
        trouble = self._refusals.get(name) or self._trouble
        if trouble is None and tripped:
            named = ", ".join("/".join(key) for key in sorted(tripped)[:3])
            trouble = ("CircuitOpen", f"too many commits within an hour on {named}: nothing more is written")
        if trouble is None and problems:
            trouble = ("Stuck", problems[0])
        if trouble is None and self._request_trouble:
            trouble = ("RequestsRefused", self._request_trouble)
        if trouble is not None:
            return WriteReport(name, False, *trouble, pending, holds)
        return WriteReport(name, True, READY, "Git shows every decision", pending, holds)

    def _all(self, name: str) -> list[_Entry]:
        return [entry for entries in self._entries.get(name, {}).values() for entry in entries]


def _requests_in(entries: Iterable[_Entry]) -> list[Want]:
    return [entry.want for entry in entries if isinstance(entry.want, WantRequest)]
