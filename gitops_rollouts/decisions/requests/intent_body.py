"""What people read in a pull request that copies images from one environment to the next (docs/decisions.md §5, §7)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gitops_rollouts.decisions.evidence import harmless
from gitops_rollouts.decisions.message import short_image
from gitops_rollouts.decisions.requests.view import Member, RequestView

_MOST: Final = 200
"""Rollouts that are listed."""


def intent_title(view: RequestView) -> str:
    """One line, which names no version: that may be renewed, and a title is people's once it stands."""
    if len(view.members) == 1:
        return f"{view.target}: {view.members[0].subject.name} gets what is stable in {view.source}"
    return f"{view.target}: what is stable in {view.source}"


def intent_verdict(view: RequestView) -> str:
    """What this is, in one sentence."""
    if view.void:
        return "Nothing is left to copy: merging this has no effect"
    live = [member for member in view.members if not member.struck]
    if not live:
        return f"Out of date: {harmless(view.source)} has another version stable by now, and this will be renewed"
    if len(view.members) == 1:
        return f"{_image(live[0].image)} has been stable in {harmless(view.source)} for as long as was asked"
    what = f"{len(live)} of {len(view.members)}" if len(live) != len(view.members) else f"{len(live)}"
    return f"{what} Rollouts have other images stable in {harmless(view.source)}, for as long as was asked"


def intent_rows(members: Sequence[Member]) -> list[str]:
    """The table, cut to what fits."""
    lines = ["| Rollout | here | to come |", "| --- | --- | --- |"]
    for member in members[:_MOST]:
        name = _cell(f"{member.subject.namespace}/{member.subject.name}")
        here = _cell(_image(member.state.image)) if member.state is not None else "-"
        lines.append(f"| {name} | {here} | {_cell(member.struck or _image(member.image))} |")
    left = len(members) - _MOST
    return ["\n".join(lines), *([f"… and {left} more, all of them in the change itself."] if left > 0 else [])]


def intent_words(view: RequestView) -> str:
    """What a person can do."""
    target = harmless(view.target)
    return (
        f"**Merge** = {target} rolls it out, with its own steps and gates; nothing else changes. **Close** = not these "
        "images: they aren't asked for again, newer ones are; reopen to go on. After a merge, `git revert` of it is "
        "the way back."
    )


def _image(image: str) -> str:
    return short_image(image) if image else "-"


def _cell(text: str) -> str:
    return harmless(text, 160).replace("|", "/")
