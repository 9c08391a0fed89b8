"""The check on a request's head: whether merging it has an effect (docs/decisions.md §2)."""

from __future__ import annotations

from typing import Final

from gitops_rollouts.decisions.evidence import harmless
from gitops_rollouts.decisions.forge_side.commit_status import Said
from gitops_rollouts.decisions.grammar import ACTIVE
from gitops_rollouts.decisions.requests.view import RequestView

PROMOTABLE: Final = "rollout/promotable"
"""The context that a branch' protection may ask for."""


def promotable(view: RequestView) -> Said:
    """Green while merging does what the request says, red once it would do nothing."""
    if view.void:
        return Said("failure", "superseded", harmless(view.void))
    if view.kind == "record":
        return Said("success", "waiting", "it has happened, merging writes it down")
    if view.kind == "intent":
        return _copyable(view)
    live, all_of_it = sum(not member.struck for member in view.members), len(view.members)
    many = f"{live} of {all_of_it} Rollouts" if live != all_of_it else f"{live} Rollout{'s' if live != 1 else ''}"
    if view.rolling:
        return Said("success", "waiting", f"merging promotes {many} past the gates where they wait")
    past = "to active" if view.gate == ACTIVE else f"past gate {view.gate}"
    return Said("success", "waiting", f"merging promotes {many} {past}")


def check_of(view: RequestView) -> str:
    """The context under which a request's head is checked."""
    return f"rollout/from-{view.source}" if view.kind == "intent" else PROMOTABLE


def _copyable(view: RequestView) -> Said:
    """Green while what an intent brings is what is stable where it comes from (§5)."""
    old = [member for member in view.members if member.struck]
    if old:
        many = f"{len(old)} of {len(view.members)} Rollouts: " if len(view.members) > 1 else ""
        return Said("failure", "superseded", f"{many}{harmless(old[0].struck)}")
    return Said("success", "waiting", f"still stable in {harmless(view.source)}")
