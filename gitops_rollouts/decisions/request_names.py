"""What request branches are called, and whom one is for (docs/decisions.md §2)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from gitops_rollouts.decisions.gates import Gate, read_gate
from gitops_rollouts.decisions.grammar import ACTIVE
from gitops_rollouts.decisions.identity import Subject
from gitops_rollouts.errors import DecisionError

PREFIX: Final = "rollouts/promote/"
_BRANCH: Final = re.compile(
    rf"rollouts/promote/(?P<target>[^/]+)/(?P<intent>[0-9a-f]{{12}})-g(?P<gate>[0-9]{{1,4}}|{ACTIVE})(?:-(?P<part>[0-9]{{1,4}}))?"
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

    def free_name(self, taken: Iterable[str]) -> str:
        """The branch' name of the first part that is not taken."""
        names, part = frozenset(taken), 1
        while self.branch(part) in names:
            part += 1
        return self.branch(part)


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
