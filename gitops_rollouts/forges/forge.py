"""What we ask of a forge (docs/decisions.md §2, §6, §7). A module a forge implements it; nobody else speaks to one.

Everything blocks, may be called from any thread, ends in time, and raises `ForgeError` alone. All that comes from a
forge is hostile input: read totally, capped, and never believed further than the forge itself is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

RequestState = Literal["open", "closed", "merged"]
StatusState = Literal["pending", "success", "failure"]
MAX_DESCRIPTION: Final = 140
"""Characters of a status' description: the least that forges take."""


@dataclass(frozen=True, slots=True)
class PullRequest:
    """A request to merge ``branch`` into ``base``, both of this repository: forks' requests are never shown.

    ``number`` is what people call it by (GitLab's iid). ``head``: the commit that the branch has, full id. What a forge
    doesn't tell is empty.
    """

    number: int
    branch: str
    base: str
    head: str
    state: RequestState
    title: str = ""
    body: str = ""
    url: str = ""
    author: str = ""
    closed_by: str = ""
    """Who closed it, where the forge tells."""
    merged_by: str = ""
    merge_commit: str = ""
    """What the merge made of it on ``base``: merge commit, squashed commit, or the new head."""


@dataclass(frozen=True, slots=True)
class Merged:
    """A merged request as far as authority goes (§6). ``approvers``: who approved its last commit and didn't take
    that back, never its author.

    What became of it is the forge's word. Some let people with the right to write say that a request became any commit
    (Gitea's ``manually-merged``): whoever believes it checks that ``head`` holds what ``merge_commit`` brings. ``head``
    is that last commit, or what GitLab squashed it to and then merged.
    """

    number: int
    url: str
    author: str
    merged_by: str
    approvers: frozenset[str]
    base: str
    """The branch that it was merged into."""
    head: str
    merge_commit: str


@dataclass(frozen=True, slots=True)
class CommitStatus:
    """What a commit shows under one context. ``description``: cut to `MAX_DESCRIPTION`."""

    context: str
    state: StatusState
    description: str
    url: str = ""


@dataclass(frozen=True, slots=True)
class ForgeSettings:
    """Where a forge is and what opens it. ``api``: the root of its API, without a slash at the end.

    ``project``: ``owner/name``; GitLab has more parts. ``ca_certificate``: PEM, for a forge with a CA of its own.
    """

    kind: Literal["github", "gitlab", "gitea", "bitbucket"]
    api: str
    project: str
    token: str = field(default="", repr=False)
    username: str = ""
    """Bitbucket's app passwords need one."""
    ca_certificate: str = field(default="", repr=False)


class Forge(Protocol):
    """One repository on a forge."""

    @property
    def title(self) -> str:
        """What people call it: ``GitHub``."""
        ...

    def open_requests(self, base: str, prefix: str) -> Sequence[PullRequest]:
        """The open requests into ``base`` from branches that begin with ``prefix``, oldest first. One question for all,
        and a cheap one if nothing has changed where the forge can tell. At most 1000."""
        ...

    def find(self, branch: str, base: str) -> PullRequest | None:
        """The newest request from this branch into ``base``, whatever its state."""
        ...

    def open(self, branch: str, base: str, title: str, body: str) -> PullRequest:
        """Open one. Where one from this branch is open already it is returned as it is: asking twice opens one."""
        ...

    def edit(self, number: int, *, title: str | None = None, body: str | None = None) -> None:
        """Change what people read."""
        ...

    def close(self, number: int) -> None:
        """Close it, unmerged. One that is closed or merged stays so."""
        ...

    def reopen(self, number: int) -> None:
        """Open it again. Raises `ForgeRefused` where the forge can't any more (its branch was made anew)."""
        ...

    def comment(self, number: int, text: str) -> None:
        """Say something below it."""
        ...

    def merge(self, number: int, head: str, *, when_ready: bool = False) -> None:
        """Merge it if its head still is ``head``. ``when_ready``: let the forge do so once its rules are met.

        Raises `ForgeRefused` if the head moved, or the rules aren't met and the forge can't wait for them.
        """
        ...

    def set_status(self, commit: str, status: CommitStatus) -> None:
        """Show a status on a commit, in place of an earlier one of the same context. The same again is no error."""
        ...

    def merged_as(self, commit: str) -> Merged | None:
        """The merged request that became this commit of the base branch; None if none did."""
        ...

    def commit_url(self, commit: str) -> str:
        """Where people look at a commit."""
        ...
