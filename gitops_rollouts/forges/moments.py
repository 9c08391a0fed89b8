"""Approvals of forges that say when somebody approved and not of which commit: GitLab and Bitbucket
(docs/decisions.md §6). All times are the forge's own."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from gitops_rollouts.api.meta import parse_time
from gitops_rollouts.forges.fields import text


def moment(data: Any, *path: str) -> datetime | None:
    """A time as RFC 3339 has it; None if it is none."""
    try:
        return parse_time(text(data, *path))
    except ValueError:
        return None


def head_since(heads: Iterable[tuple[datetime | None, str]], head: str) -> datetime | None:
    """Since when ``head`` has been what the request's branch has, by all that it had. None if that can't be told.

    ``heads``: what it had, and from when on; the same may stand there again. Ids may be cut short, as Bitbucket's are.
    """
    since: datetime | None = None
    for began, each in sorted(((at, one) for at, one in heads if at is not None), reverse=True):
        if not each or not head.startswith(each):
            break
        since = began
    return since if head else None
