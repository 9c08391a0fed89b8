"""Lines in force are carried over to a history that was rewritten under them (docs/decisions.md §3 R6).

An approval names the intent commit, a record the commit to render from: after a force-push of the same content neither
need exist any more. What counted at the head before goes on counting, and one commit of ours says so in Git, so that a
restart or a rebuild comes to the same. Nothing new is granted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from gitops_rollouts.api.names import PROMOTE, STABLE
from gitops_rollouts.decisions.editing.drafting import Draft, set_line
from gitops_rollouts.decisions.grammar import FULL
from gitops_rollouts.decisions.identity import INTENT_LENGTH
from gitops_rollouts.decisions.message import Note
from gitops_rollouts.decisions.planning.approval import promotion
from gitops_rollouts.decisions.reading.target import TargetReader
from gitops_rollouts.decisions.state import InGit, TargetAt
from gitops_rollouts.errors import GorError


def carry_over(draft: Draft, at: TargetAt, states: Iterable[InGit], reader: TargetReader, notes: list[Note]) -> None:
    """Write the lines of these Rollouts anew, for the history as it is now, and note what was done.

    What can't be written stays as it is: it goes on counting as long as this engine remembers it.
    """
    for state in states:
        try:
            note = _carry_over(draft, at, state, reader)
        except GorError:
            continue
        if note is not None:
            notes.append(note)


def _carry_over(draft: Draft, at: TargetAt, state: InGit, reader: TargetReader) -> Note | None:
    told: list[str] = []
    approval = state.promote if PROMOTE in state.unanchored else None
    if approval is not None:
        line = promotion(state, approval.gate)
        set_line(draft, at.spec, state, line)
        told.append("the approval of everything" if approval.gate == FULL else f"the approval of gate {approval.gate}")
    record = state.record if STABLE in state.unanchored else None
    commit = reader.contents.commit_with(at.spec, at.commit, state.key, record.template) if record else None
    if record is not None and commit is not None:
        set_line(draft, at.spec, state, replace(record, commit=commit[:INTENT_LENGTH]))
        told.append("the record")
    if not told:
        return None
    return Note(
        verb="anchor",
        subject=str(state.subject),
        headline=f"carry {' and '.join(told)} over to the rewritten history",
        where=f"gate={approval.gate}" if approval else "",
        ids=(promotion(state, approval.gate).id,) if approval else (),
        intent=state.attempt.intent,
        image=state.image,
        why="what counted before goes on, and nothing else is decided",
        actor="engine",
    )


def rewrite_text(at: TargetAt) -> str:
    """What people are told once of a rewrite."""
    same = [state for state in at.rollouts.values() if state.former]
    before = f" {at.previous[:12]}" if at.previous else ""
    text = (
        f"Branch {at.spec.branch} was rewritten: {at.commit[:12]} doesn't descend from{before}, which was synced before"
    )
    return (
        f"{text}. {len(same)} of {len(at.rollouts)} Rollouts go on as the same attempt, and what was approved stays so"
    )
