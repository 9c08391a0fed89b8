"""The check on a request's head: whether merging it has an effect (docs/decisions.md §2)."""

from __future__ import annotations

from typing import Final

from gitops_rollouts.decisions.commit_status import Said
from gitops_rollouts.decisions.evidence import harmless
from gitops_rollouts.decisions.grammar import ACTIVE
from gitops_rollouts.decisions.request_view import RequestView

PROMOTABLE: Final = "rollout/promotable"
"""The context that a branch' protection may ask for."""


def promotable(view: RequestView) -> Said:
    """Green while merging does what the request says, red once it would do nothing."""
    if view.void:
        return Said("failure", "superseded", harmless(view.void))
    if view.kind == "record":
        return Said("success", "waiting", "it has happened, merging writes it down")
    if view.kind == "intent":
        return Said("success", "waiting", "merging brings this version here")
    live, all_of_it = sum(not member.struck for member in view.members), len(view.members)
    many = f"{live} of {all_of_it} Rollouts" if live != all_of_it else f"{live} Rollout{'s' if live != 1 else ''}"
    past = "to active" if view.gate == ACTIVE else f"past gate {view.gate}"
    return Said("success", "waiting", f"merging promotes {many} {past}")
