"""What people read in the pull request that a protected branch' refusal makes necessary (docs/decisions.md §2, §7)."""

from __future__ import annotations

from typing import Final

from gitops_rollouts.decisions.evidence import harmless
from gitops_rollouts.decisions.requests.view import RequestView

_MOST: Final = 100
"""Decisions that are listed."""


def record_title(view: RequestView) -> str:
    """One line."""
    if len(view.decisions) == 1:
        return f"{view.target}: {_said(view.decisions[0])}"
    return f"{view.target}: {len(view.decisions)} decisions to be written down"


def record_verdict(view: RequestView) -> str:
    """What this is, in one sentence."""
    many = len(view.decisions)
    if any(value.startswith("promote ") for value in view.decisions):
        what = "This was decided" if many == 1 else f"These {many} things were decided"
    else:
        what = "This has happened" if many == 1 else f"These {many} things have happened"
    return f"{what} in {harmless(view.target)}, and {harmless(view.base)} takes no commit of ours"


def record_rows(view: RequestView) -> list[str]:
    """The decisions, cut to what fits."""
    lines = ["| what | Rollout |", "| --- | --- |"]
    for value in view.decisions[:_MOST]:
        verb, _, rest = value.partition(" ")
        subject, _, more = rest.partition(" ")
        lines.append(f"| {_cell(f'{verb} {more}'.strip())} | {_cell(subject)} |")
    left = len(view.decisions) - _MOST
    return ["\n".join(lines), *([f"… and {left} more, all of them in the change itself."] if left > 0 else [])]


def record_words(view: RequestView) -> str:
    """What a person can do."""
    promotes = any(value.startswith("promote ") for value in view.decisions)
    effect = "what is promoted here goes on by it, as somebody asked the cluster for" if promotes else ""
    return (
        f"**Merge** = it is written down; {effect or 'nothing changes in the cluster by that'}. "
        "**Close** = it is opened again, "
        "because it states what is so. The way out of an abort is `gor retry`, or a new version. Let the engine push "
        "to this branch, and such decisions are commits again."
    )


def _said(decision: str) -> str:
    return harmless(decision, 150)


def _cell(text: str) -> str:
    return harmless(text, 160).replace("|", "/")
