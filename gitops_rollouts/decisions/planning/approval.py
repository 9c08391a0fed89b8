"""A promotion of the attempt in the tree: its line, and how it is told (docs/decisions.md §1.2, §7)."""

from __future__ import annotations

from gitops_rollouts.decisions.grammar import FULL, Promote
from gitops_rollouts.decisions.identity import INTENT_LENGTH, decision_id
from gitops_rollouts.decisions.message import Note, short_image, version_of
from gitops_rollouts.decisions.state import Attempt, InGit


def promotion(state: InGit, gate: int | str) -> Promote:
    """The line that approves all gates up to ``gate`` for the attempt in the tree."""
    attempt: Attempt = state.attempt
    made = decision_id(state.subject, "promote", attempt.template, attempt.steps, gate, attempt.intent, "")
    intent = attempt.intent[:INTENT_LENGTH]
    return Promote(attempt.template, attempt.steps, str(gate), intent, state.subject, made)


def promotion_note(
    state: InGit, gate: int | str, *, weight: int | None = None, next_weight: int | None = None, actor: str
) -> tuple[Note, str]:
    """How a promotion is told, and the comment of its line."""
    version = version_of(state.image, state.attempt.template)
    what = short_image(state.image, state.attempt.template)
    weights = f"{weight}% -> {next_weight}%" if weight is not None and next_weight is not None else ""
    if state.attempt.blue_green:
        at_once = " at once, without pause or analysis" if gate == FULL else ""
        headline, comment = f"promote {version} to active", f"approves {what} to become active{at_once}"
        headline += " at once" if at_once else ""
    elif gate == FULL:
        headline, comment = f"promote {version} past all gates", f"approves {what} past all steps"
    else:
        headline, comment = f"promote {version} past gate {gate}", f"approves {what} past step {gate}"
    note = Note(
        verb="promote",
        subject=str(state.subject),
        headline=f"{headline} (canary {weights})" if weights else headline,
        where=f"gate={gate}",
        ids=(promotion(state, gate).id,),
        intent=state.attempt.intent,
        image=state.image,
        actor=actor,
    )
    return note, f"{comment}: {weights}" if weights else comment
