"""What request branches are called, and whom one is for (docs/decisions.md §2)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from gitops_rollouts.decisions.gates import Gate, read_gate
from gitops_rollouts.decisions.grammar import ACTIVE
from gitops_rollouts.decisions.identity import INTENT_LENGTH, Subject
from gitops_rollouts.decisions.message import told_in
from gitops_rollouts.errors import DecisionError

PREFIX: Final = "rollouts/promote/"
_BRANCH: Final = re.compile(
    rf"rollouts/promote/(?P<target>[^/]+)/(?P<intent>[0-9a-f]{{12}})-g(?P<gate>[0-9]{{1,4}}|{ACTIVE})(?:-(?P<part>[0-9]{{1,4}}))?"
)
_ROLLING: Final = re.compile(r"rollouts/promote/(?P<target>[^/]+)/rolling-[0-9a-f]{12}(?:-[0-9]{1,4})?")
_INTENT: Final = re.compile(r"[0-9a-f]{12,64}")
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

    def free_name(self, taken: Iterable[str]) -> str:
        """The branch' name of the first part that is not taken."""
        names, part = frozenset(taken), 1
        while self.branch(part) in names:
            part += 1
        return self.branch(part)


HeldGate = tuple[str, str, str, str, Gate]
"""(target, namespace, name, intent, gate) of what somebody said "not now" to."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a request: this Rollout past this gate of this intent (12 hex digits)."""

    subject: Subject
    intent: str
    gate: Gate

    @property
    def group(self) -> Group:
        """Those that it waits with."""
        return Group(self.subject.target, self.intent, self.gate)

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and name."""
        return self.subject.namespace, self.subject.name

    @property
    def place(self) -> HeldGate:
        """What a hold on it is about."""
        return self.subject.target, *self.key, self.intent, self.gate

    @property
    def order(self) -> tuple[Subject, bool, str, str]:
        """To sort by."""
        return self.subject, self.gate == ACTIVE, f"{self.gate:>4}", self.intent


def rolling_name(target: str, ids: Iterable[str], taken: Iterable[str]) -> str:
    """What the branch is called that takes whatever is beyond the limit. ``ids``: of the promotions it begins with.

    The name says with what it began, so that it is made from Git alone, and nothing else ever gets the name of one that
    somebody closed.
    """
    digest = hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()[:12]
    names, first, part = frozenset(taken), f"{PREFIX}{target}/rolling-{digest}", 1
    while (name := first + (f"-{part}" if part > 1 else "")) in names:
        part += 1
    return name


def is_rolling(branch: str) -> bool:
    """Whether a branch takes whatever is beyond the limit."""
    return _ROLLING.fullmatch(branch) is not None


def target_of(branch: str) -> str:
    """Whose request a branch is; empty if it isn't one of ours."""
    match = _BRANCH.fullmatch(branch) or _ROLLING.fullmatch(branch)
    return match["target"] if match else ""


def entries_of(branch: str, messages: Iterable[str]) -> frozenset[Entry]:
    """What a request asks for, by the trailers of its commits. What isn't its own target's doesn't count."""
    target, group = target_of(branch), group_of(branch)
    if group is not None:
        values = [f"{told.verb} {told.subject} {told.where}" for text in messages for told in told_in(text)]
        subjects = (subject for subject in subjects_of(values) if subject.target == target)
        return frozenset(Entry(subject, group.intent, group.gate) for subject in subjects)
    found: set[Entry] = set()
    for told in (each for text in messages for each in told_in(text) if is_rolling(branch)):
        gate = read_gate(told.where.removeprefix("gate="))
        for subject in subjects_of([f"{told.verb} {told.subject} {told.where}"]):
            if gate is not None and subject.target == target and _INTENT.fullmatch(told.intent):
                found.add(Entry(subject, told.intent[:INTENT_LENGTH], gate))
    return frozenset(found)


def group_of(branch: str) -> Group | None:
    """What a request's branch is for; None if it isn't one of ours."""
    match = _BRANCH.fullmatch(branch)
    gate = read_gate(match["gate"]) if match else None
    return Group(match["target"], match["intent"], gate) if match and gate is not None else None


def part_of(branch: str) -> int:
    """Which part of its group a request's branch is; 1 for the first."""
    match = _BRANCH.fullmatch(branch)
    return int(match["part"] or 1) if match else 1


def subjects_of(decisions: Iterable[str], form: re.Pattern[str] = _DECISION) -> frozenset[Subject]:
    """Whom a request is for, by the ``Rollout-Decision`` trailers of its commits.

    ``form``: of those that count, with a group ``subject``; by default promotions.
    """
    found: set[Subject] = set()
    for value in decisions:
        match = form.fullmatch(value)
        if match:
            try:
                found.add(Subject.parse(match["subject"]))
            except DecisionError:
                continue
    return frozenset(found)
