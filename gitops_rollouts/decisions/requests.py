"""Promotion requests as branches; without a forge the branch is the request (docs/decisions.md §2).

Merging it promotes, deleting it holds, a newer version makes it void. One branch a (target, intent, gate); what it
holds never grows once it is open, later Rollouts get a branch of their own. With a forge each branch has a pull
request, which somebody else looks after: closing that holds too, and a void branch stays until it is closed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from gitops_rollouts.decisions.approval import promotion, promotion_note
from gitops_rollouts.decisions.drafting import Draft, set_line
from gitops_rollouts.decisions.holds import Hold, Holds
from gitops_rollouts.decisions.identity import INTENT_LENGTH, Subject
from gitops_rollouts.decisions.message import Note, commit_message
from gitops_rollouts.decisions.naming import StableNames
from gitops_rollouts.decisions.own_branch import Offer, OwnBranches
from gitops_rollouts.decisions.request_names import PREFIX, Group, group_of, subjects_of
from gitops_rollouts.decisions.request_view import RequestView, Standing, promotion_view, waits
from gitops_rollouts.decisions.state import InGit, Key, TargetAt
from gitops_rollouts.decisions.wants import WantRequest
from gitops_rollouts.errors import GorError
from gitops_rollouts.git.repository import Mirror

MAX_OPEN: Final = 10
"""Open requests a repository, so that nobody is flooded; the others wait their turn."""
_OPENED: Final = "opened/"


Standings = Mapping[str, Standing]
"""What a forge shows, by branch."""


@dataclass(slots=True)
class _Waiting:
    """A group that isn't open yet."""

    first: datetime
    newest: datetime
    members: frozenset[Key]


@dataclass(frozen=True, slots=True)
class RequestSettings:
    """How long a group waits for its last members."""

    quiet: timedelta = timedelta(seconds=60)
    longest: timedelta = timedelta(minutes=10)


@dataclass(slots=True)
class RequestReport:
    """What one round did and found. ``wait``: until when to look again; None: no need."""

    opened: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    """Void requests that aren't deleted because somebody else's commits are on them."""
    problems: dict[str, str] = field(default_factory=dict)
    """Why a target's requests, or some of them, aren't open: the first reason."""
    views: dict[str, tuple[RequestView, ...]] = field(default_factory=dict)
    """What stands as a request of each target, and what no longer does but a forge still has to be told of."""
    wait: datetime | None = None


class Requests:
    """Opens, renews, deletes. One a (repository, branch); belongs to the writer. Blocks."""

    def __init__(self, mirror: Mirror, branches: OwnBranches, engine: str, settings: RequestSettings) -> None:
        self._mirror = mirror
        self._branches = branches
        self._engine = engine
        self._settings = settings
        self._waiting: dict[Group, _Waiting] = {}
        self._holds = Holds()
        self._read: dict[tuple[str, str], frozenset[Subject]] = {}
        self._not_made: dict[str, str] = {}
        self._names = StableNames(mirror)
        self._standings: Mapping[str, Standings] = {}

    @property
    def holds(self) -> frozenset[Hold]:
        """Every hold in force."""
        return self._holds.all

    def restore(self, holds: Iterable[Hold]) -> None:
        """Holds that a GitSync's status remembers."""
        self._holds.restore(holds)

    def round(
        self,
        head: str,
        targets: Mapping[str, TargetAt],
        wanted: Mapping[str, Mapping[Key, WantRequest]],
        now: datetime,
        standings: Mapping[str, Standings] | None = None,
    ) -> RequestReport:
        """Bring the branches in line with what is wanted on ``head``, just fetched.

        ``targets``: those whose GitSync lets us write and open requests; the branches of no other are touched.
        ``standings``: of the targets that have a forge, what it is known to show.
        """
        self._standings = standings or {}
        report = RequestReport()
        tips = self._mirror.list_refs(PREFIX)
        open_now = {name: self._members(tip, head) for name, tip in tips.items()}
        groups = _groups(targets, wanted)
        gone = self._note_deleted(tips, head, targets, now)
        self._note_closed(open_now, targets, now)
        self._forget_holds(targets, open_now)
        for name in sorted(open_now):
            self._close_if_void(name, open_now, head, targets, wanted, report)
        for group, members in sorted(groups.items(), key=lambda item: item[0].order):
            self._open(group, members, head, targets[group.target], open_now, now, report)
        self._waiting = {group: waiting for group, waiting in self._waiting.items() if group in groups}
        self._read = {key: members for key, members in self._read.items() if key[1] == head}
        self._not_made = {made: at for made, at in self._not_made.items() if at == head}
        report.views = self._views({**gone, **open_now}, targets, wanted)
        return report

    def _views(
        self,
        branches: Mapping[str, frozenset[Subject]],
        targets: Mapping[str, TargetAt],
        wanted: Mapping[str, Mapping[Key, WantRequest]],
    ) -> dict[str, tuple[RequestView, ...]]:
        """``branches``: with the members of each; those that aren't on the remote any more have no tip."""
        tips = self._mirror.list_refs(PREFIX)
        found: dict[str, list[RequestView]] = {name: [] for name in targets}
        for name, subjects in sorted(branches.items()):
            group = group_of(name)
            if group is not None and group.target in targets and subjects:
                at, asked = targets[group.target], wanted.get(group.target, {})
                was = partial(self._names.stable, at)
                found[group.target].append(promotion_view(group, name, tips.get(name, ""), subjects, at, asked, was))
        return {name: tuple(views) for name, views in found.items()}

    # --- what is there -----------------------------------------------------------------------------------------

    def _members(self, tip: str, head: str) -> frozenset[Subject]:
        """Whom a request is for, from the trailers of its commits."""
        if (tip, head) not in self._read:
            commits = self._mirror.added(head, tip) or [tip]
            values = [value for commit in commits for value in self._mirror.info(commit).trailers("Rollout-Decision")]
            self._read = {(tip, head): subjects_of(values), **self._read}
        return self._read[tip, head]

    def _note_deleted(
        self, tips: Mapping[str, str], head: str, targets: Mapping[str, TargetAt], now: datetime
    ) -> dict[str, frozenset[Subject]]:
        """A branch that we opened and that is gone, while its gate still waits, was deleted: hold.

        Returns those whose forge may still show a request for them.
        """
        gone: dict[str, frozenset[Subject]] = {}
        marks = self._mirror.marks(_OPENED)
        for mark, tip in marks.items():
            name = mark.removeprefix(_OPENED)
            group = group_of(name)
            if name in tips or group is None or group.target not in targets:
                continue
            self._holds.note(group, self._members(tip, head), targets, Standing(name, 0, "", "closed"), now)
            if self._may_go(group.target, name):
                self._mirror.unmark(mark)
            else:
                gone[name] = self._members(tip, head)
        for name, tip in tips.items():
            if marks.get(f"{_OPENED}{name}") != tip:
                self._mirror.mark(f"{_OPENED}{name}", tip)
        return gone

    def _note_closed(
        self, open_now: Mapping[str, frozenset[Subject]], targets: Mapping[str, TargetAt], now: datetime
    ) -> None:
        """A request that somebody closed on its forge holds, as long as it is closed."""
        for name, subjects in open_now.items():
            group = group_of(name)
            if group is not None and group.target in targets:
                standing = self._standings.get(group.target, {}).get(name)
                if standing is not None and standing.held:
                    self._holds.note(group, subjects, targets, standing, now)

    def _may_go(self, target: str, branch: str) -> bool:
        """Whether nobody needs a void branch, or what we remember of it, any more."""
        if target not in self._standings:
            return True
        standing = self._standings[target].get(branch)
        return standing is not None and standing.settled

    def _forget_holds(self, targets: Mapping[str, TargetAt], open_now: Mapping[str, frozenset[Subject]]) -> None:
        """A hold ends when its attempt does, when the gate is approved, or when the request is there again."""
        reopened = {
            (subject.target, subject.namespace, subject.name, group.intent, group.gate)
            for name, subjects in open_now.items()
            if (group := group_of(name)) and self._is_open(group.target, name)
            for subject in subjects
        }
        self._holds.forget(targets, reopened)

    def _is_open(self, target: str, branch: str) -> bool:
        """Whether a branch that is there asks for its merge, as far as anybody knows."""
        if target not in self._standings:
            return True
        standing = self._standings[target].get(branch)
        return standing is not None and standing.state == "open"

    def _close_if_void(
        self,
        name: str,
        open_now: dict[str, frozenset[Subject]],
        head: str,
        targets: Mapping[str, TargetAt],
        wanted: Mapping[str, Mapping[Key, WantRequest]],
        report: RequestReport,
    ) -> None:
        group = group_of(name)
        if group is None or group.target not in targets or not open_now[name]:
            return
        at, asked = targets[group.target], wanted.get(group.target, {})
        tip = self._mirror.list_refs(PREFIX).get(name)
        # merged, and reverted before anybody looked: merging it again changes nothing (§3 R3, R13)
        spent = tip is not None and self._mirror.is_ancestor(tip, head)
        void = spent or promotion_view(group, name, "", open_now[name], at, asked).void
        if not void or not self._may_go(group.target, name):
            return
        if self._branches.delete(name, head):
            report.deleted.append(name)
            self._mirror.unmark(f"{_OPENED}{name}")
            del open_now[name]
        else:
            report.foreign.append(name)

    # --- what should be there ----------------------------------------------------------------------------------

    def _open(
        self,
        group: Group,
        members: Mapping[Key, WantRequest],
        head: str,
        at: TargetAt,
        open_now: dict[str, frozenset[Subject]],
        now: datetime,
        report: RequestReport,
    ) -> None:
        parts = {name: subjects for name, subjects in open_now.items() if group_of(name) == group}
        covered = {(subject.namespace, subject.name) for subjects in parts.values() for subject in subjects}
        for name, subjects in parts.items():
            inside = {key: want for key, want in members.items() if Subject(group.target, *key) in subjects}
            tip = self._mirror.list_refs(PREFIX).get(name)
            closed = group.target in self._standings and not self._is_open(group.target, name)
            if inside and tip and not closed and self._branches.merged(tip, head) is None:
                self._offer(name, inside, head, at, report)
        left = {
            key: want
            for key, want in members.items()
            if key not in covered and (group.target, *key, group.intent, group.gate) not in self._holds
        }
        for key in self._taken_back([at.rollouts[key] for key in left], group):
            del left[key]
        if not left:
            self._waiting.pop(group, None)
            return
        until = self._ready(group, left, at, now, asked=covered | set(members))
        if until is not None:
            report.wait = until if report.wait is None else min(report.wait, until)
            return
        asking = sum(self._asks(other) for other in open_now)
        if asking >= MAX_OPEN:
            text = f"{asking} requests are open, so that for gate {group.gate} of {group.intent} waits"
            report.problems.setdefault(group.target, text)
            return
        name = group.free_name(open_now)
        if self._offer(name, left, head, at, report):
            report.opened.append(name)
        open_now[name] = frozenset(Subject(group.target, *key) for key in left)
        self._waiting.pop(group, None)

    def _ready(
        self, group: Group, members: Mapping[Key, WantRequest], at: TargetAt, now: datetime, asked: Set[Key]
    ) -> datetime | None:
        """None if the group may open now, else when to look again. ``asked``: whom nobody has to wait for."""
        keys = frozenset(members)
        waiting = self._waiting.get(group)
        if waiting is None:
            waiting = self._waiting[group] = _Waiting(now, now, keys)
        elif keys - waiting.members:
            waiting.newest, waiting.members = now, keys
        others = {
            key
            for key, state in at.rollouts.items()
            if key not in asked and waits(state, group.intent, group.gate) and state.abort is None
        }
        until = min(waiting.newest + self._settings.quiet, waiting.first + self._settings.longest)
        return until if others and now < until else None

    def _offer(
        self, name: str, members: Mapping[Key, WantRequest], head: str, at: TargetAt, report: RequestReport
    ) -> bool:
        """Push the branch with one line for each member. Says whether there is a new commit."""
        draft, notes = Draft(self._mirror.tree(head)), list[Note]()
        for key, want in sorted(members.items()):
            state = at.rollouts[key]
            note, comment = promotion_note(
                state, want.gate, weight=want.weight, next_weight=want.next_weight, actor="request"
            )
            note = replace(note, evidence=want.evidence)
            try:
                set_line(draft, at.spec, state, promotion(state, want.gate), comment)
                notes.append(note)
            except GorError as err:
                report.problems.setdefault(at.spec.name, str(err))
        if not notes or not draft.edits:
            return False
        message = commit_message(notes, target=at.spec.name, engine=self._engine)
        commit = self._branches.put(Offer(at.spec.name, name, head, draft.edits, message))
        if commit is not None:
            self._mirror.mark(f"{_OPENED}{name}", commit)
        return commit is not None

    def _taken_back(self, states: Iterable[InGit], group: Group) -> list[Key]:
        """Those whose very promotion was in the branch before and somebody reverted it: it isn't asked again (R3)."""
        asked = {promotion(state, group.gate).id: state for state in states}
        asked = {made: state for made, state in asked.items() if self._not_made.get(made) != state.head}
        found: list[Key] = []
        for since, head in {(state.attempt.intent, state.head) for state in asked.values()}:
            ids = [made for made, state in asked.items() if (state.attempt.intent, state.head) == (since, head)]
            hits = self._mirror.history.introduced_each((f"id={made}" for made in ids), since, head)
            found += [asked[made].key for made in ids if hits[f"id={made}"]]
            self._not_made |= {made: head for made in ids if not hits[f"id={made}"]}
        return found

    def _asks(self, branch: str) -> bool:
        """Whether a request takes up room: one that was closed doesn't."""
        group = group_of(branch)
        standing = self._standings.get(group.target, {}).get(branch) if group else None
        return standing is None or standing.state in ("none", "open")


def _groups(
    targets: Mapping[str, TargetAt], wanted: Mapping[str, Mapping[Key, WantRequest]]
) -> dict[Group, dict[Key, WantRequest]]:
    """Wants that still fit the tree, by group."""
    groups: dict[Group, dict[Key, WantRequest]] = {}
    for target, at in targets.items():
        for key, want in wanted.get(target, {}).items():
            state = at.rollouts.get(key)
            if (
                state is None
                or state.blocked
                or state.unconfirmed
                or state.abort is not None
                or state.attempt != want.attempt
            ):
                continue
            intent = state.attempt.intent[:INTENT_LENGTH]
            if waits(state, intent, want.gate):
                groups.setdefault(Group(target, intent, want.gate), {})[key] = want
    return groups
