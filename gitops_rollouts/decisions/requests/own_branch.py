"""Branches under ``rollouts/`` that hold one commit of ours and wait for a merge (docs/decisions.md §2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gitops_rollouts.git.repository import Mirror
from gitops_rollouts.git.writing import Author


@dataclass(frozen=True, slots=True)
class Offer:
    """What a branch should hold: files and message on top of ``base``. ``target``: whose decisions these are."""

    target: str
    branch: str
    base: str
    edits: Mapping[str, bytes | None]
    message: str


class OwnBranches:
    """Makes, renews and deletes them. A branch with anybody else's commit on it is never touched."""

    def __init__(self, mirror: Mirror, author: Author, sign: Callable[[str], str | None]) -> None:
        self._mirror = mirror
        self._author = author
        self._sign = sign

    def is_ours(self, branch: str, head: str) -> bool:
        """Whether every commit that the branch adds to ``head`` is ours."""
        tip = self._mirror.list_refs().get(branch)
        if tip is None:
            return False
        commits = self._mirror.added(head, tip)
        return all(self._mirror.info(commit).author_email == self._author.email for commit in commits)

    def put(self, offer: Offer) -> str | None:
        """Push the offer, unless the branch is there and is somebody else's, or would merge to the same files.

        Returns the new commit, if any. Raises PushRaced, PushRefused and the other errors of `Mirror.push`.
        """
        tip = self._mirror.list_refs().get(offer.branch)
        if tip is not None and not self.is_ours(offer.branch, offer.base):
            return None
        commit = self._mirror.commit(
            offer.base, offer.edits, offer.message, self._author, sign=self._sign(offer.target)
        )
        if tip is not None and self.merged(tip, offer.base) == self._mirror.tree(commit).subtree_oid(""):
            return None
        self._mirror.push(commit, offer.branch, tip)
        return commit

    def merged(self, tip: str, base: str) -> str | None:
        """The tree that merging the branch would give; None: a conflict."""
        return self._mirror.history.merged_tree(base, tip)

    def delete(self, branch: str, head: str) -> bool:
        """Delete a branch that is there and ours. Says whether nothing is left of it."""
        tip = self._mirror.list_refs().get(branch)
        if tip is None:
            return True
        if not self.is_ours(branch, head):
            return False
        self._mirror.delete_branch(branch, tip)
        return True
