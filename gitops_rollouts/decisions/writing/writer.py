"""The one writer of a (repository, branch): collects wants, batches them, writes, tries again.

Belongs to the event loop; rounds run in threads, in two lanes: aborts wait for nothing in the other one. Nothing here
is durable: what is lost in a crash is wanted again, because wants are derived from the cluster and the tree. Source:
docs/decisions.md §1.4, §2, §4.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Final

import structlog

from gitops_rollouts.decisions.board import Board
from gitops_rollouts.decisions.planning import agenda
from gitops_rollouts.decisions.planning.agenda import Agenda
from gitops_rollouts.decisions.planning.planning import Outcome
from gitops_rollouts.decisions.planning.wants import Want, WantAbort, WantPromotion
from gitops_rollouts.decisions.reading.target import TargetReader
from gitops_rollouts.decisions.requests.branches import Requests, Standings
from gitops_rollouts.decisions.requests.holds import Hold
from gitops_rollouts.decisions.requests.own_branch import OwnBranches
from gitops_rollouts.decisions.requests.reported import DISABLED, READY, WriteReport, shown
from gitops_rollouts.decisions.requests.view import RequestView
from gitops_rollouts.decisions.state import Key
from gitops_rollouts.decisions.writing.copying import Copier
from gitops_rollouts.decisions.writing.lanes import Lane, WriterSettings, until_again
from gitops_rollouts.decisions.writing.proposals import Proposals, Proposed
from gitops_rollouts.decisions.writing.round import Job, Round, RoundResult, WriterTarget, Writing
from gitops_rollouts.decisions.writing.troubles import Troubles
from gitops_rollouts.errors import GitAccessDenied, GorError, PushRaced
from gitops_rollouts.git.repository import Mirror
from gitops_rollouts.tasks import Threads

log = structlog.get_logger(__name__)

_URGENT: Final = Threads("decisions", 64)
_REST: Final = Threads("requests", 64)


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
        on_proposals: Callable[[str, tuple[Proposed, ...]], None] = lambda target, proposed: None,
        on_views: Callable[[str, tuple[RequestView, ...]], None] = lambda target, views: None,
    ) -> None:
        self._settings = settings or WriterSettings()
        self._board = board
        self._clock = clock
        self._on_pushed = on_pushed
        self._on_report = on_report
        self._on_proposals = on_proposals
        self._on_views = on_views
        branches = OwnBranches(mirror, writing.author, writing.sign)
        self._requests = Requests(mirror, branches, writing.engine, self._settings.requests)
        copier = Copier(mirror, reader.neighbours, writing.author)
        self._proposals = Proposals(mirror, reader, branches, writing.engine, copier)
        self._round = Round(mirror, reader, self._requests, self._proposals, writing)
        self._targets: dict[str, WriterTarget] = {}
        self._agenda = Agenda(self._settings)
        self._reports: dict[str, WriteReport] = {}
        self._refs: Mapping[str, str] | None = None
        self._saw = False
        """The poller has looked at the remote since a round of requests began."""
        self._seen: dict[str, str] = {}
        self._standings: dict[str, Standings] = {}
        self._views: dict[str, tuple[RequestView, ...]] = {}
        self._unlisten = board.on_change(self._git_changed)
        self._requests_at: datetime | None = None
        self._urgent, self._rest = Lane("decision writer", _URGENT), Lane("request writer", _REST)
        self._handed: set[str] = set()
        """Targets whose decisions the other lane couldn't push."""
        self._kept_at: dict[str, str] = {}
        """The head on which the branch refused a target's changes last, so that all of them wait elsewhere."""
        self._direct: set[str] = set()
        """Targets whose decisions the branch has taken since requests were looked after last."""
        self._troubles = Troubles()
        self._request_attempts = 0
        self._head = ""
        self._offered: dict[str, str] = {}

    # --- what is wanted ----------------------------------------------------------------------------------------

    def register(self, target: WriterTarget) -> None:
        """A GitSync that reads this branch, new or changed."""
        name = target.spec.name
        if self._targets.get(name) != target:
            self._targets[name] = target
            self._troubles.refusals.pop(name, None)
            if not target.forge:
                self._standings.pop(name, None)  # it may be another forge, the next time
            self._agenda.unsettle(name)
            self._look_at_requests()
            self._report_all()

    def forget(self, name: str) -> None:
        """A GitSync is gone. Its branches stay: another engine may go on."""
        self._agenda.forget(name)
        self._proposals.forget(name)
        self._troubles.forget(name)
        self._handed.discard(name)
        for store in (self._targets, self._reports, self._seen, self._offered, self._kept_at):
            store.pop(name, None)
        for kept in (self._standings, self._views):
            kept.pop(name, None)

    def set_wants(self, target: str, key: Key, wanted: Iterable[Want], *, moving: bool = False) -> None:
        """What is wanted of one Rollout now, all of it; no wants take back the earlier ones. Cheap if unchanged."""
        changed = self._agenda.set_wants(target, key, wanted, self._clock(), moving=moving)
        if changed == "requests":
            self._look_at_requests()
        elif changed == "decisions":
            self._rouse()
            self._forget_trouble(target)

    def _forget_trouble(self, name: str) -> None:
        """Once nothing of a target is stuck any more, its refusal is history."""
        report = self._reports.get(name)
        if report is not None and not report.ok and not self._agenda.problems(name):
            self._troubles.refusals.pop(name, None)
            self._report_all()

    def gone(self, target: str, key: Key) -> None:
        """A Rollout is gone from the cluster."""
        self.set_wants(target, key, ())

    def saw_requests(self, refs: Mapping[str, str], head: str = "") -> None:
        """The request branches that the poller just saw on the remote: name → commit; and where the branch is."""
        self._saw = True
        if head and head != self._head and (refs or any(target.promotion for target in self._targets.values())):
            # another environment's record may be new, or a request merged and taken back at once: no Rollout tells
            self._head = head
            self._look_at_requests()
        if self._refs is None or dict(refs) != dict(self._refs):
            self._refs = dict(refs)
            self._look_at_requests()

    def saw_standings(self, target: str, standings: Standings, trouble: str = "") -> None:
        """What the forge of a target shows for its requests, all that is known of it. ``trouble``: with the forge."""
        if target not in self._targets:
            return
        told = self._troubles.forges.get(target, "") != trouble
        self._troubles.forges[target] = trouble
        if dict(self._standings.get(target, {})) != dict(standings):
            self._standings[target] = dict(standings)
            self._look_at_requests()
            told = True
        if told:
            self._report_all()

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

    def restore_proposals(self, target: str, proposed: Iterable[Proposed]) -> None:
        """What a GitSync's status remembers of its promotion from before a restart."""
        self._proposals.restore(target, proposed)

    @property
    def holds(self) -> frozenset[Hold]:
        """Requests that were deleted by somebody, so that their Rollouts wait."""
        return self._requests.holds

    def _look_at_requests(self) -> None:
        soon = self._clock() + self._settings.batch
        self._requests_at = min(self._requests_at, soon) if self._requests_at else soon
        self._rouse()

    def _rouse(self) -> None:
        self._urgent.wake.set()
        self._rest.wake.set()

    # --- the loop ----------------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> None:
        """Write until ``stop`` is set and the round under way is over."""
        try:
            await asyncio.gather(
                self._urgent.run(self._clock, self._next_urgent, self._step_urgent, stop),
                self._rest.run(self._clock, self._next_rest, self._step_rest, stop),
            )
        finally:
            self._unlisten()

    async def step(self) -> None:
        """One round of all that is due, what never waits first. Never raises: a failure is reported and tried again."""
        await self._step_urgent()
        await self._step_rest()

    async def _step_urgent(self) -> None:
        jobs = self._jobs(self._clock(), urgent=True)
        if not jobs:
            return
        handed, self._handed = self._handed, set()
        result = await self._urgent.ran(partial(self._round.decide, jobs), self._clock, self._settings)
        if result is not None:
            self._succeeded(result, jobs)
            self._kept_at |= dict.fromkeys(result.kept, result.head)
        else:
            self._handed |= handed
        self._rest.wake.set()  # what came of it may be the other lane's to write
        self._report_all()

    async def _step_rest(self) -> None:
        now = self._clock()
        requests = self._requests_at is not None and self._requests_at <= now
        jobs = self._jobs(now, urgent=False, requests=requests)
        direct: set[str] = set()
        if requests:
            self._requests_at, self._saw = None, False
            direct, self._direct = self._direct, direct
        if not jobs:
            return
        work = partial(self._round.run, jobs, now, requests=requests, taken=direct)
        result = await self._rest.ran(work, self._clock, self._settings)
        if result is None or result.requests is None:
            self._direct |= direct
        if result is not None:
            self._succeeded(result, jobs)
            self._requests_done(result, self._clock())
            self._hand_over(name for name in result.kept if self._kept_at.get(name) != result.head)
        elif requests:
            self._requests_at = self._clock()
        self._urgent.wake.set()
        self._report_all()

    def _hand_over(self, names: Iterable[str]) -> None:
        """What the branch doesn't take waits on one of ours, which one lane fills with all of it."""
        for name in names:
            self._handed.add(name)
            self._agenda.again(name, self._clock())

    def _next(self, now: datetime) -> datetime | None:
        """When the next round should run; None: nothing is due."""
        return min((at for at in (self._next_urgent(now), self._next_rest(now)) if at is not None), default=None)

    def _next_urgent(self, now: datetime) -> datetime | None:
        handed = [now for name in self._writable() if name in self._handed]
        return self._urgent.next(handed + self._due_times(now, urgent=True))

    def _next_rest(self, now: datetime) -> datetime | None:
        requests = [self._requests_at] if self._requests_at and self._writable() else []
        return self._rest.next(requests + self._due_times(now, urgent=False))

    def _writable(self) -> list[str]:
        return [name for name, target in self._targets.items() if target.write and not target.unwritable]

    def _synced(self, name: str) -> str:
        at = self._board.target(name)
        return at.commit if at else ""

    def _lane(self, name: str, *, urgent: bool) -> agenda.Lane | None:
        """What of a target's decisions belongs into a lane; None: nothing, since the branch takes nothing of it."""
        if name in self._troubles.refusals or name in self._handed:
            return "all" if urgent else None
        return "urgent" if urgent else "rest"

    def _due_times(self, now: datetime, *, urgent: bool) -> list[datetime]:
        times: list[datetime] = []
        for name in self._writable():
            lane = self._lane(name, urgent=urgent)
            if lane is not None:
                times += self._agenda.due_times(name, self._synced(name), now, lane)
        return times

    def _jobs(self, now: datetime, *, urgent: bool, requests: bool = False) -> list[Job]:
        jobs: list[Job] = []
        for name in self._writable():
            synced, lane = self._synced(name), self._lane(name, urgent=urgent)
            decisions = self._agenda.due(name, synced, now, lane) if lane is not None else ()
            if decisions or requests or (urgent and name in self._handed):
                wanted, shown = self._agenda.requests(name), self._standings.get(name, {})
                needs, upkeep, direct = self._agenda.needs(name), lane != "urgent", lane is not None
                target = self._targets[name]
                jobs.append(Job(target, synced or None, decisions, wanted, shown, needs, upkeep, direct))
        return jobs

    # --- what came of it ---------------------------------------------------------------------------------------

    def _succeeded(self, result: RoundResult, jobs: list[Job]) -> None:
        now = self._clock()
        if result.commit:
            log.info("decisions written", commit=result.commit)
            self._on_pushed(result.commit)
        if result.requests is None:
            self._direct |= result.direct
        self._direct -= result.kept
        for job in jobs:
            name = job.target.spec.name
            outcomes = result.outcomes.get(name, [])
            if result.refused is not None and name in result.kept:
                reason = "AccessDenied" if isinstance(result.refused, GitAccessDenied) else "PushRefused"
                self._troubles.refusals[name] = (reason, str(result.refused))
            for outcome in outcomes:
                self._settle(job, outcome, result.refused, now)
            if name in result.taken:
                self._troubles.refusals[name] = (
                    "TargetNameTaken",
                    f"another engine ({result.taken[name]}) writes as {name!r}",
                )
            elif not self._agenda.problems(name) and name not in result.kept:
                self._troubles.refusals.pop(name, None)
                self._offered.pop(name, None)
        # what is planned in every round, and refused again, asks for no other round by itself
        decided = any(
            outcome.state == "written" for name in result.offered for outcome in result.outcomes.get(name, ())
        )
        if decided or not result.offered.items() <= self._offered.items():
            self._offered |= result.offered
            self._look_at_requests()

    def _requests_done(self, result: RoundResult, now: datetime) -> None:
        for name, views in result.views.items():
            self._views[name] = views
            self._on_views(name, views)
        waits = [result.requests.wait] if result.requests is not None else []
        for name, report in result.proposals.items():
            waits.append(report.wait)
            self._troubles.proposals[name] = report.problem
            self._on_proposals(name, report.proposed)
        for at in waits:
            if at is not None:
                self._requests_at = min(self._requests_at, at) if self._requests_at else at
        if result.branches is not None:
            # so that a branch which is deleted before the poller ever saw it is missed all the same
            before, self._refs = self._refs, result.branches
            if self._saw and dict(before or {}) != dict(result.branches):
                self._requests_at = now  # what the poller saw meanwhile may be newer than this, and is said only once
            for name in [name for name, branch in self._offered.items() if branch not in result.branches]:
                del self._offered[name]
                self._kept_at.pop(name, None)
                self._agenda.again(name, now)  # somebody deleted it, but what it states is so
        if result.requests is not None:
            self._troubles.unopened = result.requests.problems
        self._again_after_requests(result, now)

    def _again_after_requests(self, result: RoundResult, now: datetime) -> None:
        err = result.requests_failed
        if err is not None:
            # decisions go on meanwhile: this waits by itself
            self._requests_at = now + until_again(err, self._request_attempts, self._settings)
            self._request_attempts = min(self._request_attempts + 1, 16)
            if not isinstance(err, PushRaced):
                self._troubles.requests = ("RequestsFailed", str(err))
        elif result.request_error:
            self._requests_at = now + self._settings.reprobe
            self._troubles.requests = ("RequestsRefused", result.request_error)
        elif result.requests is not None:
            self._troubles.requests, self._request_attempts = None, 0

    def _settle(self, job: Job, outcome: Outcome, refused: GorError | None, now: datetime) -> None:
        name = job.target.spec.name
        refusal = str(refused) if refused is not None else None
        # as of the round's start: what sync has published since may unsettle it
        self._agenda.settle(name, outcome, job.synced or "", now, refusal=refusal)
        if outcome.state == "withdrawn" and isinstance(outcome.want, WantAbort):
            self._board.withdraw(*outcome.key, outcome.want.aborted_at)
        if outcome.state == "withdrawn" and isinstance(outcome.want, WantPromotion):
            self._board.refuse(*outcome.key, outcome.made)

    def _where(self, name: str) -> str:
        """Where refused decisions wait, for people."""
        branch = self._offered.get(name)
        standing = self._standings.get(name, {}).get(branch) if branch else None
        if standing is not None and standing.state == "open":
            return f"; the decisions wait in pull request #{standing.number} ({standing.url}), merge it"
        return f"; the decisions wait on branch {branch}, merge it" if branch else ""

    def _report_all(self) -> None:
        now = self._clock()
        for name, target in self._targets.items():
            report = self._report(name, target, now)
            if self._reports.get(name) != report:
                self._reports[name] = report
                self._on_report(report)

    def _report(self, name: str, target: WriterTarget, now: datetime) -> WriteReport:
        holds = frozenset(hold for hold in self._requests.holds if hold.target == name)
        pending = self._agenda.pending(name)
        asked = shown(self._views.get(name, ()), self._standings.get(name, {}) if target.forge else None)
        if not target.write:
            text = "decisions stay in the cluster (write: none)"
            return WriteReport(name, True, DISABLED, text, pending, holds, asked)
        if target.unwritable:
            return WriteReport(name, False, "SecretUnusable", target.unwritable, pending, holds, asked)
        tripped, problems = self._agenda.tripped(name, now), self._agenda.problems(name)
        failed = self._urgent.trouble or self._rest.trouble
        trouble = self._troubles.of(target, failed, tripped, problems, self._where(name))
        if trouble is not None:
            return WriteReport(name, False, *trouble, pending, holds, asked)
        text = f"Git shows every decision; {target.note}" if target.note else "Git shows every decision"
        return WriteReport(name, True, READY, text, pending, holds, asked)
