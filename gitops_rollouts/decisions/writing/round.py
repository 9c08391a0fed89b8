"""One round of writing: fetch, plan on the newest tree, commit, push (docs/decisions.md §2). Blocks; keeps nothing.

There are two sorts, which run beside each other: what never waits, and everything else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

import structlog

from gitops_rollouts.decisions.editing.drafting import Draft
from gitops_rollouts.decisions.editing.overlay import orphans
from gitops_rollouts.decisions.message import Note, commit_message
from gitops_rollouts.decisions.planning.planning import Outcome, Planned, Planner
from gitops_rollouts.decisions.planning.wants import Want, WantRequest
from gitops_rollouts.decisions.reading.target import TargetReader
from gitops_rollouts.decisions.requests.branches import RequestReport, Requests, Standings
from gitops_rollouts.decisions.requests.own_branch import OwnBranches
from gitops_rollouts.decisions.requests.records import Records
from gitops_rollouts.decisions.requests.view import RequestView
from gitops_rollouts.decisions.state import Key, Promotion, TargetAt, TargetSpec
from gitops_rollouts.decisions.writing.proposals import ProposalReport, Proposals
from gitops_rollouts.errors import GitAccessDenied, GorError, PushRefused
from gitops_rollouts.git.repository import Mirror
from gitops_rollouts.git.tree import Tree
from gitops_rollouts.git.writing import Author

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WriterTarget:
    """A GitSync as far as writing goes. ``write`` False: its remote is only read. ``forge``: it has one, on which its
    requests are pull requests. ``unwritable``: why it can't be written although it should; ``forgeless``: why its forge
    can't be asked."""

    spec: TargetSpec
    write: bool = True
    gates: Literal["request", "commit"] = "request"
    forge: bool = False
    promotion: Promotion | None = None
    """Where its images come from."""
    unwritable: str = ""
    forgeless: str = ""
    note: str = ""
    """What else people should know of its writing, without a full stop."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is due for one target. ``synced``: the head that sync published last."""

    target: WriterTarget
    synced: str | None
    decisions: tuple[tuple[Key, Want], ...]
    requests: Mapping[Key, WantRequest]
    standings: Standings = field(default_factory=dict)
    """What its forge is known to show."""
    wanted: Mapping[Key, bool] = field(default_factory=dict)
    """Whether a decision on a Rollout isn't in Git yet, of each that was said anything of."""
    upkeep: bool = True
    """Also carry over what a rewrite of history lost, and remove what belongs to no Rollout any more."""
    direct: bool = True
    """False: the branch has refused, so whatever there is to write is for `Round.decide`."""


@dataclass(slots=True)
class RoundResult:
    """What came of a round. ``refused``: why the branch itself took nothing; the decisions then wait on a branch."""

    head: str
    commit: str = ""
    outcomes: dict[str, list[Outcome]] = field(default_factory=dict)
    taken: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    """Targets whose tree can't be rendered, and why."""
    refused: PushRefused | GitAccessDenied | None = None
    kept: frozenset[str] = frozenset()
    """The targets whose changes it didn't take."""
    offered: dict[str, str] = field(default_factory=dict)
    """Target → the branch on which its refused decisions wait."""
    requests: RequestReport | None = None
    request_error: str = ""
    views: dict[str, tuple[RequestView, ...]] = field(default_factory=dict)
    """What is to stand as a request, of each target that was looked at."""
    proposals: dict[str, ProposalReport] = field(default_factory=dict)
    """What waits to be copied into each target that has a promotion."""
    branches: Mapping[str, str] | None = None
    """The request branches as this round left them; None: it didn't look at them."""
    requests_failed: GorError | None = None
    """The requests' part of the round came to no end, in passing as far as anybody knows."""

    @property
    def direct(self) -> frozenset[str]:
        """The targets of whose decisions the branch took some."""
        found = (name for name, each in self.outcomes.items() if any(one.state == "written" for one in each))
        return frozenset(found) if self.refused is None else frozenset()


@dataclass(frozen=True, slots=True)
class Writing:
    """Who writes, where, and how."""

    branch: str
    engine: str
    """``<name>/<version>``, the ``Rollout-Engine`` trailer."""
    author: Author
    sign: Callable[[str], str | None] = lambda target: None
    """The file of the SSH key with which a target's commits are signed; None: they aren't."""
    skip_ci: bool = True


def _sweep(draft: Draft, tree: Tree, at: TargetAt, planned: Planned) -> None:
    """Remove the overlays of Rollouts that are gone (§3 R9)."""
    for path, subject in orphans(tree, at):
        draft.put(path, None)
        planned.notes.append(Note("gone", str(subject), "gone from Git, and its decisions with it", actor="engine"))


class Round:
    """Runs rounds for one (repository, branch)."""

    def __init__(
        self, mirror: Mirror, reader: TargetReader, requests: Requests, proposals: Proposals, writing: Writing
    ) -> None:
        self._mirror = mirror
        self._reader = reader
        self._requests = requests
        self._proposals = proposals
        self._writing = writing
        self._planner = Planner(reader, writing.engine)
        self._records = Records(mirror, OwnBranches(mirror, writing.author, writing.sign))

    def decide(self, jobs: Sequence[Job]) -> RoundResult:
        """Write what never waits, and nothing else but what goes with it; what is refused waits on a branch.

        Reads no other GitSync's part of the tree, and no branch but the one that it writes to. Raises PushRaced (run
        again at once) and the GitErrors of fetch and push.
        """
        result, plans = self._planned(jobs)
        if plans:
            self._push(plans, result)
        if isinstance(result.refused, PushRefused):
            self._offer(plans, result)
        return result

    def run(self, jobs: Sequence[Job], now: datetime, *, requests: bool, taken: Set[str] = frozenset()) -> RoundResult:
        """Write what may take its time: records, then requests. Raises like `decide`.

        ``taken``: targets whose decisions the branch has taken directly since requests were looked after last. What is
        refused is for `decide`, so that one round alone fills the branch on which it waits.
        """
        result, plans = self._planned(jobs)
        held = {job.target.spec.name for job in jobs if not job.direct} & plans.keys()
        if plans.keys() - held:
            self._push({name: plan for name, plan in plans.items() if name not in held}, result)
        result.kept |= held
        if requests and not isinstance(result.refused, GitAccessDenied):
            self._do_requests(jobs, result, now, taken)
        return result

    def _planned(self, jobs: Sequence[Job]) -> tuple[RoundResult, dict[str, tuple[Draft, Planned]]]:
        result = RoundResult(self._mirror.fetch(self._writing.branch))
        ats = self._read(jobs, result)
        plans = self._plan(jobs, ats, result)
        return result, {name: (draft, planned) for name, (draft, planned) in plans.items() if draft.edits}

    def _read(self, jobs: Sequence[Job], result: RoundResult) -> dict[str, TargetAt]:
        ats: dict[str, TargetAt] = {}
        for job in jobs:
            name = job.target.spec.name
            at = self._reader.read(job.target.spec, result.head, job.synced, turns=False)
            if at.rendered.failed:
                problem = str(at.rendered.problems[0]) if at.rendered.problems else "the tree can't be rendered"
                result.failed[name] = problem
                result.outcomes[name] = [Outcome(key, want, "stuck", problem) for key, want in job.decisions]
            else:
                ats[name] = at
        return ats

    def _plan(
        self, jobs: Sequence[Job], ats: Mapping[str, TargetAt], result: RoundResult
    ) -> dict[str, tuple[Draft, Planned]]:
        """A draft a target: their files are disjoint, since a file that two of them read isn't written to."""
        plans: dict[str, tuple[Draft, Planned]] = {}
        for job in jobs:
            at = ats.get(job.target.spec.name)
            if at is None:
                continue
            draft = Draft(self._mirror.tree(at.commit))
            planned = self._planner.plan(draft, at, job.decisions, upkeep=job.upkeep)
            if job.upkeep and not planned.taken and job.synced is not None:
                _sweep(draft, self._mirror.tree(at.commit), at, planned)
            plans[at.spec.name] = (draft, planned)
            result.outcomes[at.spec.name] = planned.outcomes
            if planned.taken:
                result.taken[at.spec.name] = planned.taken
        return plans

    def _push(self, plans: Mapping[str, tuple[Draft, Planned]], result: RoundResult) -> None:
        commit = result.head
        for key, names in self._by_key(plans).items():
            edits: dict[str, bytes | None] = {}
            notes: list[Note] = []
            for draft, planned in (plans[name] for name in names):
                edits |= draft.edits
                notes += planned.notes
            message = self._message(notes, ", ".join(sorted(names)), skip_ci=self._writing.skip_ci)
            commit = self._mirror.commit(commit, edits, message, self._writing.author, sign=key)
        try:
            self._mirror.push(commit, self._writing.branch, result.head)
        except (PushRefused, GitAccessDenied) as err:
            result.refused = err
            result.kept = frozenset(plans)
        else:
            result.commit = commit

    def _by_key(self, plans: Mapping[str, tuple[Draft, Planned]]) -> Mapping[str | None, list[str]]:
        """The targets that have something to write, by the key that signs it: nearly always one commit for all."""
        found: dict[str | None, list[str]] = {}
        for name in plans:
            found.setdefault(self._writing.sign(name), []).append(name)
        return found

    def _offer(self, plans: Mapping[str, tuple[Draft, Planned]], result: RoundResult) -> None:
        """The branch is protected: what was decided waits on a branch of ours that a person can merge."""
        for name, (draft, planned) in plans.items():
            message = self._message(planned.notes, name, skip_ci=False)
            branch = self._records.offer(name, result.head, draft.edits, message)
            if branch:  # else the refusal of the branch itself is what is reported
                result.offered[name] = branch

    def _do_requests(self, jobs: Sequence[Job], result: RoundResult, now: datetime, taken: Set[str]) -> None:
        """Requests stand on what was just pushed; a target that isn't synced yet is left alone.

        Their failure doesn't undo the rest of the round.
        """
        base = result.commit or result.head
        wanted = {job.target.spec.name: job.requests if job.target.gates == "request" else {} for job in jobs}
        standings = {job.target.spec.name: job.standings for job in jobs if job.target.forge}
        try:
            targets = self._readable(jobs, base, result)
            result.requests = self._requests.round(base, targets, wanted, now, standings)
            result.views = dict(result.requests.views)
            self._stand_records(base, targets, jobs, standings, result, taken)
            self._propose(jobs, targets, result, now)
            result.branches = self._mirror.list_refs()
        except (PushRefused, GitAccessDenied) as err:
            result.request_error = str(err)
        except GorError as err:
            result.requests_failed = err
        except Exception as err:  # what is wrong with a request must not keep what was pushed from being known
            log.exception("requests can't be looked after")
            result.requests_failed = GorError(f"an unexpected {type(err).__name__}, see the log")

    def _readable(self, jobs: Sequence[Job], base: str, result: RoundResult) -> dict[str, TargetAt]:
        found: dict[str, TargetAt] = {}
        for job in jobs:
            if job.target.spec.name not in result.failed and job.synced is not None:
                at = self._reader.read(job.target.spec, base, job.synced)
                if not at.rendered.failed:
                    found[at.spec.name] = at
        return found

    def _propose(
        self, jobs: Sequence[Job], targets: Mapping[str, TargetAt], result: RoundResult, now: datetime
    ) -> None:
        """Requests for what is stable in the environment before (§5)."""
        for job in jobs:
            name, promotion = job.target.spec.name, job.target.promotion
            if promotion is not None and name in targets:
                standings = job.standings if job.target.forge else None
                report = result.proposals[name] = self._proposals.round(targets[name], promotion, now, standings)
                result.views[name] = (*result.views.get(name, ()), *report.views)

    def _stand_records(
        self,
        head: str,
        targets: Mapping[str, TargetAt],
        jobs: Sequence[Job],
        standings: Mapping[str, Standings],
        result: RoundResult,
        taken: Set[str],
    ) -> None:
        """A branch of refused decisions goes once the branch itself says the same."""
        wanted = {job.target.spec.name: job.wanted for job in jobs}
        for name, view in self._records.stand(head, targets, wanted, taken | result.direct, standings).items():
            result.views[name] = (*result.views.get(name, ()), view)

    def _message(self, notes: Sequence[Note], target: str, *, skip_ci: bool) -> str:
        return commit_message(notes, target=target, engine=self._writing.engine, skip_ci=skip_ci)
