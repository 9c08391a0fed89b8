"""What goes on from the head that was synced before: approvals, aborts, and the names of an intent (§3 R4, R6, §6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gitops_rollouts.decisions.authority.guard import Kept
from gitops_rollouts.decisions.grammar import Promote, format_line
from gitops_rollouts.decisions.history.lines import InForce
from gitops_rollouts.decisions.state import Attempt, InGit

_NAMES: Final = 8
"""So many former names of an intent are kept, for a branch that is force-pushed again and again."""


@dataclass(frozen=True, slots=True)
class Before:
    """A Rollout at the last synced head. ``descends``: the head that is read now descends from that one.

    ``follows``: that one, ``commit``, is on its first-parent chain, too.
    """

    state: InGit | None
    descends: bool
    follows: bool = True
    commit: str = ""

    def lost(self, lines: InForce, attempt: Attempt) -> Kept | None:
        """An abort that stood for the same (T, S) and that no commit took away: the history is another one."""
        state = self.state
        if state is None or state.abort is None or lines.abort or state.attempt.content != attempt.content:
            return None
        return Kept(state.abort, state.abort_commit, "") if state.dropped or not self.follows else None

    def aborted(self, attempt: Attempt) -> bool:
        """Whether an abort of the same (T, S) was in force."""
        state = self.state
        return state is not None and state.abort is not None and state.attempt.content == attempt.content

    def keeps(self, line: Promote, attempt: Attempt) -> bool:
        """Whether an approval that was in force goes on: the attempt does, or its history was merely rewritten (R6)."""
        state = self.state
        if state is None or state.promote != line or state.attempt.content != attempt.content:
            return False
        return not self.descends or state.attempt.intent == attempt.intent

    def former(self, attempt: Attempt) -> tuple[str, ...]:
        """The names that the attempt's intent lost to rewritten history (R6)."""
        state = self.state
        if state is None or state.attempt.content != attempt.content:
            return ()
        if state.attempt.intent == attempt.intent:
            return state.former
        names = (*state.former, state.attempt.intent)
        return () if self.descends else tuple(name for name in names if name != attempt.intent)[-_NAMES:]

    def lifted(self, lines: InForce, attempt: Attempt) -> str:
        """The abort that was in force for the same (T, S), if none is now."""
        state = self.state if self.descends else None
        if state is None or state.abort is None or lines.abort or state.attempt.content != attempt.content:
            return ""
        return state.abort.id or format_line(state.abort)
