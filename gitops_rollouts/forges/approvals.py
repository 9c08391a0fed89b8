"""Who approves what a request's branch has now, on forges that keep reviews (docs/decisions.md §6)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Review:
    """What somebody said of a commit. ``void``: taken back, or about something that the branch no longer has."""

    by: str
    says: Literal["yes", "no"]
    commit: str
    void: bool = False


def approvers(reviews: Iterable[Review], head: str, author: str) -> frozenset[str]:
    """Whose last word, oldest review first, is yes to ``head``. Never the author, however the login is spelled."""
    last = {each.by.lower(): each for each in reviews if each.by}
    return frozenset(
        each.by
        for login, each in last.items()
        if each.says == "yes" and not each.void and head and each.commit == head and login != author.lower()
    )
