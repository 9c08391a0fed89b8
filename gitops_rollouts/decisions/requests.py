"""Promotion requests where there is no forge: the branch is the request (docs/decisions.md §2).

Merging it promotes, deleting it holds, a newer version makes it void. One branch a (target, intent, gate); what it
holds never grows once it is open, later Rollouts get a branch of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from gitops_rollouts.decisions.drafting import Draft, set_line
from gitops_rollouts.decisions.gates import Gate, read_gate
from gitops_rollouts.decisions.grammar import ACTIVE
from gitops_rollouts.decisions.identity import INTENT_LENGTH, Subject
from gitops_rollouts.decisions.message import Note, commit_message
from gitops_rollouts.decisions.own_branch import Offer, OwnBranches
from gitops_rollouts.decisions.planning import promotion, promotion_note
from gitops_rollouts.decisions.state import InGit, Key, TargetAt
from gitops_rollouts.decisions.wants import WantRequest
from gitops_rollouts.errors import DecisionError, GorError
from gitops_rollouts.git.repository import Mirror

PREFIX: Final = "rollouts/promote/"
MAX_OPEN: Final = 10
"""Open requests a repository, so that nobody is flooded; the others wait their turn."""
_OPENED: Final = "opened/"
_BRANCH: Final = re.compile(
    rf"rollouts/promote/(?P<target>[^/]+)/(?P<intent>[0-9a-f]{{12}})-g(?P<gate>[0-9]{{1,4}}|{ACTIVE})(?:-(?P<part>[0-9]+))?"
)
_DECISION: Final = re.compile(rf"promote (?P<subject>\S+) gate=(?:[0-9]+|{ACTIVE})")


@dataclass(frozen=True, slots=True)
class Group:
    """The Rollouts of one target that wait at the same gate of the same intent."""

    target: str
    intent: str
    gate: Gate

    @property
    def order(self) -> tuple[str, str, bool, str]:
        """To sort by: gates are numbers or a word."""
        return self.target, self.intent, self.gate == ACTIVE, f"{self.gate:>4}"

    def branch(self, part: int = 1) -> str:
        """The branch' name; parts after the first are for those who came late."""
        return f"{PREFIX}{self.target}/{self.intent}-g{self.gate}" + (f"-{part}" if part > 1 else "")


@dataclass(frozen=True, slots=True)
class Hold:
    """Somebody deleted a request: the Rollout waits, and no new branch is made for this attempt and gate."""

    target: str
    namespace: str
    name: str
    intent: str
    gate: Gate


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
    problems: list[str] = field(default_factory=list)
    wait: datetime | None = None


class Requests:
    """Opens, renews, deletes. One a (repository, branch); belongs to the writer. Blocks."""

    def __init__(self, mirror: Mirror, branches: OwnBranches, engine: str, settings: RequestSettings) -> None:
        self._mirror = mirror
        self._branches = branches
        self._engine = engine
        self._settings = settings
        self._waiting: dict[Group, _Waiting] = {}
        self._holds: set[Hold] = set()
        self._read: dict[tuple[str, str], frozenset[Subject]] = {}
        self._not_made: dict[str, str] = {}

    @property
    def holds(self) -> frozenset[Hold]:
        """Every hold in force."""
        return frozenset(self._holds)

    def restore(self, holds: Iterable[Hold]) -> None:
        """Holds that a GitSync's status remembers."""
        self._holds |= set(holds)

    def round(
        self, head: str, targets: Mapping[str, TargetAt], wanted: Mapping[str, Mapping[Key, WantRequest]], now: datetime
    ) -> RequestReport:
        """Bring the branches in line with what is wanted on ``head``, just fetched.

        ``targets``: those whose GitSync lets us write and open requests; the branches of no other are touched.
        """
        report = RequestReport()
        tips = self._mirror.list_refs(PREFIX)
        open_now = {name: self._members(tip, head) for name, tip in tips.items()}
        groups = _groups(targets, wanted)
        self._note_deleted(tips, head, targets)
        self._forget_holds(targets, open_now)
        for name in sorted(open_now):
            self._close_if_void(name, open_now, head, targets, wanted, report)
        for group, members in sorted(groups.items(), key=lambda item: item[0].order):
            self._open(group, members, head, targets[group.target], open_now, now, report)
        self._waiting = {group: waiting for group, waiting in self._waiting.items() if group in groups}
        self._read = {key: members for key, members in self._read.items() if key[1] == head}
        self._not_made = {made: at for made, at in self._not_made.items() if at == head}
        return report

    # --- what is there -----------------------------------------------------------------------------------------

    def _members(self, tip: str, head: str) -> frozenset[Subject]:
        """Whom a request is for, from the trailers of its commits."""
        if (tip, head) not in self._read:
            commits = self._mirror.history.between(head, tip) or [tip]
            values = [value for commit in commits for value in self._mirror.info(commit).trailers("Rollout-Decision")]
            self._read = {(tip, head): _subjects(values), **self._read}
        return self._read[tip, head]

    def _note_deleted(self, tips: Mapping[str, str], head: str, targets: Mapping[str, TargetAt]) -> None:
        """A branch that we opened and that is gone, while its gate still waits, was deleted: hold."""
        marks = self._mirror.marks(_OPENED)
        for mark, tip in marks.items():
            name = mark.removeprefix(_OPENED)
            group = _group_of(name)
            if name in tips or group is None or group.target not in targets:
                continue
            at = targets[group.target]
            for subject in self._members(tip, head):
                state = at.rollouts.get((subject.namespace, subject.name))
                if state and _waits(state, group.intent, group.gate):
                    hold = Hold(subject.target, subject.namespace, subject.name, group.intent, group.gate)
                    self._holds.add(hold)
            self._mirror.unmark(mark)
        for name, tip in tips.items():
            if marks.get(f"{_OPENED}{name}") != tip:
                self._mirror.mark(f"{_OPENED}{name}", tip)

    def _forget_holds(self, targets: Mapping[str, TargetAt], open_now: Mapping[str, frozenset[Subject]]) -> None:
        """A hold ends when its attempt does, when the gate is approved, or when the request is there again."""
        reopened = {
            (str(subject), group.intent, group.gate)
            for name, subjects in open_now.items()
            if (group := _group_of(name))
            for subject in subjects
        }
        for hold in list(self._holds):
            if hold.target not in targets:
                continue
            state = targets[hold.target].rollouts.get((hold.namespace, hold.name))
            subject = f"{hold.target}/{hold.namespace}/{hold.name}"
            over = state is None or not _waits(state, hold.intent, hold.gate)
            if over or (subject, hold.intent, hold.gate) in reopened:
                self._holds.discard(hold)

    def _close_if_void(
        self,
        name: str,
        open_now: dict[str, frozenset[Subject]],
        head: str,
        targets: Mapping[str, TargetAt],
        wanted: Mapping[str, Mapping[Key, WantRequest]],
        report: RequestReport,
    ) -> None:
        group = _group_of(name)
        if group is None or group.target not in targets or not open_now[name]:
            return
        at, asked = targets[group.target], wanted.get(group.target, {})
        for subject in open_now[name]:
            key = (subject.namespace, subject.name)
            state, want = at.rollouts.get(key), asked.get(key)
            # a promotion that was taken back leaves the request of the gate after it without a meaning
            passed_over = want is not None and _before(want.gate, group.gate)
            if state and (state.blocked or (_waits(state, group.intent, group.gate) and not passed_over)):
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
        parts = {name: subjects for name, subjects in open_now.items() if _is_part(name, group)}
        covered = {(subject.namespace, subject.name) for subjects in parts.values() for subject in subjects}
        for name, subjects in parts.items():
            inside = {key: want for key, want in members.items() if Subject(group.target, *key) in subjects}
            tip = self._mirror.list_refs(PREFIX).get(name)
            if inside and tip and self._branches.merged(tip, head) is None:
                self._offer(name, inside, head, at, report)
        left = {
            key: want
            for key, want in members.items()
            if key not in covered and not self._is_held(group, key) and not self._taken_back(at.rollouts[key], group)
        }
        if not left:
            self._waiting.pop(group, None)
            return
        until = self._ready(group, left, at, now, asked=covered | set(members))
        if until is not None:
            report.wait = until if report.wait is None else min(report.wait, until)
            return
        if len(open_now) >= MAX_OPEN:
            report.problems.append(f"{len(open_now)} requests are open: gate {group.gate} of {group.intent} waits")
            return
        name = _free_name(group, open_now)
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
            if key not in asked and _waits(state, group.intent, group.gate) and state.abort is None
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
                report.problems.append(str(err))
        if not notes or not draft.edits:
            return False
        message = commit_message(notes, target=at.spec.name, engine=self._engine)
        commit = self._branches.put(Offer(at.spec.name, name, head, draft.edits, message))
        if commit is not None:
            self._mirror.mark(f"{_OPENED}{name}", commit)
        return commit is not None

    def _taken_back(self, state: InGit, group: Group) -> bool:
        """Whether this very promotion was in the branch before and somebody reverted it: it isn't asked again (R3)."""
        made = promotion(state, group.gate).id
        if self._not_made.get(made) != state.head:
            if self._mirror.introduced(f"id={made}", state.attempt.intent, state.head):
                return True
            self._not_made[made] = state.head
        return False

    def _is_held(self, group: Group, key: Key) -> bool:
        return Hold(group.target, *key, group.intent, group.gate) in self._holds


def _subjects(decisions: Iterable[str]) -> frozenset[Subject]:
    found: set[Subject] = set()
    for value in decisions:
        match = _DECISION.fullmatch(value)
        if match:
            try:
                found.add(Subject.parse(match["subject"]))
            except DecisionError:
                continue
    return frozenset(found)


def _waits(state: InGit, intent: str, gate: Gate) -> bool:
    """Whether the tree still lacks this approval for this attempt."""
    if not (state.gated or state.checked if gate == ACTIVE else not state.attempt.blue_green):
        return False  # it never comes to this gate
    return state.attempt.intent.startswith(intent) and not state.approves(gate) and not state.recorded


def _before(one: Gate, other: Gate) -> bool:
    return isinstance(one, int) and isinstance(other, int) and one < other


def _group_of(branch: str) -> Group | None:
    """What a request's branch is for; None if it isn't one of ours."""
    match = _BRANCH.fullmatch(branch)
    gate = read_gate(match["gate"]) if match else None
    return Group(match["target"], match["intent"], gate) if match and gate is not None else None


def _is_part(name: str, group: Group) -> bool:
    return _group_of(name) == group


def _free_name(group: Group, open_now: Mapping[str, object]) -> str:
    part = 1
    while group.branch(part) in open_now:
        part += 1
    return group.branch(part)


def _groups(
    targets: Mapping[str, TargetAt], wanted: Mapping[str, Mapping[Key, WantRequest]]
) -> dict[Group, dict[Key, WantRequest]]:
    """Wants that still fit the tree, by group."""
    groups: dict[Group, dict[Key, WantRequest]] = {}
    for target, at in targets.items():
        for key, want in wanted.get(target, {}).items():
            state = at.rollouts.get(key)
            if state is None or state.blocked or state.abort is not None or state.attempt != want.attempt:
                continue
            intent = state.attempt.intent[:INTENT_LENGTH]
            if _waits(state, intent, want.gate):
                groups.setdefault(Group(target, intent, want.gate), {})[key] = want
    return groups
