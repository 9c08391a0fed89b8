"""Promotion requests as branches; without a forge the branch is the request (docs/decisions.md §2).

Merging it promotes, deleting it holds, a newer version makes it void. One branch a (target, intent, gate); what it
holds never grows once it is open, later Rollouts get a branch of their own. What is beyond the limit of open requests
shares one rolling branch a target, the only one that grows. With a forge each branch has a pull request, which somebody
else looks after: closing that holds too, and a void branch stays until it is closed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Final

from gitops_rollouts.decisions.identity import INTENT_LENGTH, Subject
from gitops_rollouts.decisions.planning.approval import promotion
from gitops_rollouts.decisions.planning.naming import StableNames
from gitops_rollouts.decisions.planning.wants import WantRequest
from gitops_rollouts.decisions.requests.gathering import Gathering, RequestSettings
from gitops_rollouts.decisions.requests.holds import Hold, Holds
from gitops_rollouts.decisions.requests.names import (
    PREFIX,
    Entry,
    Group,
    HeldGate,
    entries_of,
    group_of,
    is_rolling,
    rolling_name,
    target_of,
)
from gitops_rollouts.decisions.requests.offering import Ask, asks_of, carried, ids_of, offer_of
from gitops_rollouts.decisions.requests.own_branch import OwnBranches
from gitops_rollouts.decisions.requests.view import RequestView, Standing, promotion_view, waits
from gitops_rollouts.decisions.state import InGit, Key, TargetAt
from gitops_rollouts.git.repository import Mirror

MAX_OPEN: Final = 10
"""Open requests a repository, so that nobody is flooded; the others share one a target."""
_OPENED: Final = "opened/"


Standings = Mapping[str, Standing]
"""What a forge shows, by branch."""


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
        self._gathering = Gathering(settings)
        self._holds = Holds()
        self._absent: set[HeldGate] = set()
        self._read: dict[tuple[str, str, str], frozenset[Entry]] = {}
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
        open_now = {name: self._entries(name, tip, head) for name, tip in tips.items()}
        groups = _groups(targets, wanted)
        gone = self._note_deleted(tips, head, targets, now)
        self._note_closed(open_now, targets, now)
        self._forget_holds(targets, open_now)
        void = {name for name in sorted(open_now) if self._is_void(name, open_now[name], head, targets, wanted)}
        for name in sorted(void):
            self._close_void(name, open_now, head, report)
        overflow: dict[Group, Mapping[Key, WantRequest]] = {}
        for group, members in sorted(groups.items(), key=lambda item: item[0].order):
            beyond = self._open(group, members, head, targets[group.target], open_now, void, now, report)
            if beyond:
                overflow[group] = beyond
        for name, at in targets.items():
            more = {
                key: want for group, beyond in overflow.items() if group.target == name for key, want in beyond.items()
            }
            self._roll(at, more, wanted.get(name, {}), head, open_now, void, report)
        self._gathering.keep(groups)
        self._read = {key: members for key, members in self._read.items() if key[2] == head}
        self._not_made = {made: at for made, at in self._not_made.items() if at == head}
        report.views = self._views({**gone, **open_now}, head, targets, wanted)
        return report

    def _views(
        self,
        branches: Mapping[str, frozenset[Entry]],
        head: str,
        targets: Mapping[str, TargetAt],
        wanted: Mapping[str, Mapping[Key, WantRequest]],
    ) -> dict[str, tuple[RequestView, ...]]:
        """``branches``: with the lines of each; those that aren't on the remote any more have no tip."""
        tips = self._mirror.list_refs(PREFIX)
        found: dict[str, list[RequestView]] = {name: [] for name in targets}
        for name, entries in sorted(branches.items()):
            target, tip = target_of(name), tips.get(name, "")
            if target in targets and entries:
                at, asked = targets[target], wanted.get(target, {})
                was, spent = partial(self._names.stable, at), self._is_spent(tip, head)
                found[target].append(promotion_view(name, tip, entries, at, asked, was, spent=spent))
        return {name: tuple(views) for name, views in found.items()}

    def _is_spent(self, tip: str, head: str) -> bool:
        """Whether merging it changes nothing: merged, and reverted before anybody looked (§3 R3, R13)."""
        return bool(tip) and self._mirror.is_ancestor(tip, head)

    # --- what is there -----------------------------------------------------------------------------------------

    def _entries(self, name: str, tip: str, head: str) -> frozenset[Entry]:
        """What a request asks for, from the trailers of its commits."""
        if (name, tip, head) not in self._read:
            commits = self._mirror.added(head, tip) or [tip]
            entries = entries_of(name, [self._mirror.info(commit).body for commit in commits])
            self._read = {(name, tip, head): entries, **self._read}
        return self._read[name, tip, head]

    def _note_deleted(
        self, tips: Mapping[str, str], head: str, targets: Mapping[str, TargetAt], now: datetime
    ) -> dict[str, frozenset[Entry]]:
        """A branch that we opened and that is gone, while its gate still waits, was deleted: hold.

        Returns those whose forge may still show a request for them.
        """
        gone: dict[str, frozenset[Entry]] = {}
        marks = self._mirror.marks(_OPENED)
        for mark, tip in marks.items():
            name = mark.removeprefix(_OPENED)
            if name in tips or target_of(name) not in targets:
                continue
            entries = self._entries(name, tip, head)
            self._holds.note(entries, targets, Standing(name, 0, "", "closed"), now)
            if self._may_go(name):
                self._mirror.unmark(mark)
            else:
                gone[name] = entries
        for name, tip in tips.items():
            if marks.get(f"{_OPENED}{name}") != tip:
                self._mirror.mark(f"{_OPENED}{name}", tip)
        return gone

    def _note_closed(
        self, open_now: Mapping[str, frozenset[Entry]], targets: Mapping[str, TargetAt], now: datetime
    ) -> None:
        """A request that somebody closed on its forge holds, as long as it is closed."""
        for name, entries in open_now.items():
            standing = self._standing(name)
            if target_of(name) in targets and standing is not None and standing.held:
                self._holds.note(entries, targets, standing, now)

    def _standing(self, branch: str) -> Standing | None:
        return self._standings.get(target_of(branch), {}).get(branch)

    def _may_go(self, branch: str) -> bool:
        """Whether nobody needs a void branch, or what we remember of it, any more."""
        standing = self._standing(branch)
        return target_of(branch) not in self._standings or (standing is not None and standing.settled)

    def _forget_holds(self, targets: Mapping[str, TargetAt], open_now: Mapping[str, frozenset[Entry]]) -> None:
        """A hold ends when its attempt does, when the gate is approved, or when the request is there again."""
        there = {entry.place for entries in open_now.values() for entry in entries}
        reopened = {entry.place for name, entries in open_now.items() if self._is_open(name) for entry in entries}
        # a branch that was there all along says nothing new: its request was closed on a forge that we had
        kept = {place for place in there if place[0] not in self._standings and place not in self._absent}
        self._absent = {hold.place for hold in self._holds.all if hold.place not in there}
        self._holds.forget(targets, reopened - kept)

    def _is_open(self, branch: str) -> bool:
        """Whether a branch that is there asks for its merge, as far as anybody knows."""
        standing = self._standing(branch)
        return target_of(branch) not in self._standings or (standing is not None and standing.state == "open")

    def _is_void(
        self,
        name: str,
        entries: frozenset[Entry],
        head: str,
        targets: Mapping[str, TargetAt],
        wanted: Mapping[str, Mapping[Key, WantRequest]],
    ) -> bool:
        target = target_of(name)
        if target not in targets or not entries:
            return False
        spent = self._is_spent(self._mirror.list_refs(PREFIX).get(name, ""), head)
        return spent or bool(promotion_view(name, "", entries, targets[target], wanted.get(target, {})).void)

    def _close_void(self, name: str, open_now: dict[str, frozenset[Entry]], head: str, report: RequestReport) -> None:
        if not self._may_go(name):
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
        open_now: dict[str, frozenset[Entry]],
        void: Set[str],
        now: datetime,
        report: RequestReport,
    ) -> Mapping[Key, WantRequest]:
        """Returns those that are ready and beyond the limit."""
        covered = {entry.key for entries in open_now.values() for entry in entries if entry.group == group}
        for name, entries in open_now.items():
            inside = {
                key: want
                for key, want in members.items()
                if Entry(Subject(at.spec.name, *key), group.intent, group.gate) in entries
            }
            if group_of(name) == group and inside and self._conflicts(name, head):
                self._offer(name, asks_of(inside), head, at, report)
        left = {
            key: want
            for key, want in members.items()
            if key not in covered and (group.target, *key, group.intent, group.gate) not in self._holds
        }
        for key in self._taken_back([at.rollouts[key] for key in left], group):
            del left[key]
        until = self._gathering.ready(group, left, at, now, asked=covered | set(members)) if left else None
        if until is not None:
            report.wait = until if report.wait is None else min(report.wait, until)
            return {}
        self._gathering.forget(group)
        if not left:
            return {}
        if sum(self._asks(other) for other in open_now if other not in void) >= MAX_OPEN:
            return left
        name = group.free_name(open_now)
        if self._offer(name, asks_of(left), head, at, report):
            report.opened.append(name)
        open_now[name] = frozenset(_entries_of(asks_of(left), at))
        return {}

    def _conflicts(self, name: str, head: str) -> bool:
        """Whether a request that stands can't be merged as it is, and may be made anew."""
        tip = self._mirror.list_refs(PREFIX).get(name)
        closed = target_of(name) in self._standings and not self._is_open(name)
        return bool(tip) and not closed and self._branches.merged(tip or "", head) is None

    def _roll(
        self,
        at: TargetAt,
        more: Mapping[Key, WantRequest],
        asked: Mapping[Key, WantRequest],
        head: str,
        open_now: dict[str, frozenset[Entry]],
        void: Set[str],
        report: RequestReport,
    ) -> None:
        """What is beyond the limit joins the rolling request of its target, or begins one."""
        adding = asks_of(more)
        for name, entries in sorted(open_now.items()):
            if (
                not is_rolling(name)
                or target_of(name) != at.spec.name
                or name in void
                or not self._grows(name, entries, head)
            ):
                continue
            if adding or self._conflicts(name, head):
                asks = {**self._kept(entries, at, asked), **adding}
                lines = self._offer(name, asks, head, at, report)
                if lines:
                    open_now[name] = frozenset(_entries_of({key: asks[key] for key in lines}, at))
                    adding = {}
        if adding:
            name = rolling_name(at.spec.name, ids_of(adding, at), open_now)
            lines = self._offer(name, adding, head, at, report)
            if lines:
                report.opened.append(name)
                open_now[name] = frozenset(_entries_of({key: adding[key] for key in lines}, at))

    def _kept(self, entries: frozenset[Entry], at: TargetAt, asked: Mapping[Key, WantRequest]) -> dict[Key, Ask]:
        """What a rolling request keeps when it is made anew."""
        kept = carried(entries, at, asked)
        there = [one for one in entries if one.key in kept and kept[one.key].gate == one.gate]
        for group in {entry.group for entry in there}:
            states = [at.rollouts[entry.key] for entry in there if entry.group == group]
            for key in self._taken_back([one for one in states if one.attempt.intent.startswith(group.intent)], group):
                del kept[key]
        return kept

    def _grows(self, name: str, entries: frozenset[Entry], head: str) -> bool:
        """Whether newcomers may join: nobody merged or closed it, and nobody else's commit is on it."""
        standing = self._standing(name)
        over = standing is not None and (standing.held or standing.state == "merged")
        over = over or any(entry.place in self._holds for entry in entries)
        return not over and self._branches.is_ours(name, head)

    def _offer(
        self, name: str, asks: Mapping[Key, Ask], head: str, at: TargetAt, report: RequestReport
    ) -> frozenset[Key]:
        """Push the branch with one line for each. Says which lines a new commit has; none: there is no new commit."""
        offer, lines, problems = offer_of(self._mirror, self._engine, name, asks, head, at)
        for problem in problems[:1]:
            report.problems.setdefault(at.spec.name, problem)
        commit = self._branches.put(offer) if offer is not None else None
        if commit is None:
            return frozenset()
        self._mirror.mark(f"{_OPENED}{name}", commit)
        return lines

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
        """Whether a request takes up room: one that was closed doesn't, and what is beyond the limit neither."""
        standing = self._standing(branch)
        return not is_rolling(branch) and (standing is None or standing.state in ("none", "open"))


def _entries_of(asks: Mapping[Key, Ask], at: TargetAt) -> Iterable[Entry]:
    for key, ask in asks.items():
        yield Entry(Subject(at.spec.name, *key), at.rollouts[key].attempt.intent[:INTENT_LENGTH], ask.gate)


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
