"""How a request is opened that may be open already (docs/decisions.md §2)."""

from __future__ import annotations

from collections.abc import Callable

from gitops_rollouts.errors import ForgeRefused, ForgeUnreachable
from gitops_rollouts.forges.fields import CHECK_URL
from gitops_rollouts.forges.forge import PullRequest


def open_or_find(
    forge: str, ask: Callable[[], PullRequest | None], find: Callable[[], PullRequest | None]
) -> PullRequest:
    """What the forge opens, or if it refuses a second one, the first; else its refusal is raised."""
    try:
        made = ask()
    except ForgeRefused:
        there = find()
        if there is None or there.state != "open":
            raise
        return there
    return opened(forge, made)


def opened(forge: str, made: PullRequest | None) -> PullRequest:
    """What was opened. Raises `ForgeUnreachable` where the answer doesn't show it: that was no forge."""
    if made is None:
        raise ForgeUnreachable(f"{forge} answered without the request that it opened", remedy=CHECK_URL)
    return made
