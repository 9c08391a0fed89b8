"""When a process of the model dies, and which of its parts are cut off (the fault points of docs/decisions.md §4)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from gitops_rollouts.errors import GitUnreachable
from gitops_rollouts.git.repository import Mirror
from gitops_rollouts.git.writing import Author


class Killed(BaseException):
    """The process is gone: nobody catches this but who starts the next one."""


class Fate:
    """Counts effects, each of which the process may die before or after; Git may be away, or lose its answer."""

    def __init__(self) -> None:
        self.left: int | None = None
        """So many effects until death; None: not soon. An odd death of a push comes after the server's accept."""
        self.overtaken: int | None = None
        """So many effects until another process leads: the next one passed the fence, and comes after all it does."""
        self.take_over: Callable[[], None] = lambda: None
        """The other process begins, and works for a while."""
        self.violations: list[BaseException] = []
        """What must never happen and did, where the program outlives every surprise."""
        self.git_down = False
        self.lose_answer = False
        """The next push is taken by the server, and nobody is told."""
        self.deaths: list[str] = []

    def before(self, what: str) -> None:
        """An effect is about to happen: two chances to die, this one and `after`."""
        self._count(f"before {what}")
        if self.overtaken == 0:
            self.overtaken = None
            self.take_over()
            self.left = 0  # what is under way still happens; the fence stops the next
        elif self.overtaken is not None:
            self.overtaken -= 1

    def after(self, what: str) -> None:
        """It has happened."""
        self._count(f"after {what}")

    def _count(self, where: str) -> None:
        if self.left is None:
            return
        if self.left == 0:
            self.left = None
            self.deaths.append(where)
            raise Killed(where)
        self.left -= 1

    def noting(self, check: Callable[..., None]) -> Callable[..., None]:
        """A check that is called from inside the program: what it finds is kept, whoever catches it."""

        @functools.wraps(check)
        def checked(*args: Any) -> None:
            try:
                check(*args)
            except Exception as err:
                self.violations.append(err)
                raise

        return checked


class FaultyMirror(Mirror):
    """A mirror whose process dies at any of its effects.

    ``pushed`` sees each commit that the server took, its branch, what it was to follow and what it followed.
    """

    fate: Fate
    pushed: Callable[[str, str, str | None, str | None], None]

    def look(self, branch: str) -> tuple[str | None, dict[str, str]]:
        self._reach()
        return super().look(branch)

    def fetch(self, branch: str) -> str:
        self._reach()
        head = super().fetch(branch)
        self.fate.after("the fetch")
        return head

    def commit(
        self,
        base: str,
        edits: Mapping[str, bytes | None],
        message: str,
        author: Author | None = None,
        *,
        sign: str | None = None,
    ) -> str:
        made = super().commit(base, edits, message, author, sign=sign)
        self.fate.after("the commit is built")  # between temp index and push
        return made

    def push(self, commit: str, branch: str, expected: str | None) -> None:
        self._reach()
        self.fate.before(f"the push to {branch}")
        tip = self.ls_remote(branch)
        super().push(commit, branch, expected)
        self.pushed(commit, branch, expected, tip)
        self._told(branch)

    def delete_branch(self, branch: str, expected: str) -> None:
        self._reach()
        self.fate.before(f"the deletion of {branch}")
        super().delete_branch(branch, expected)
        self._told(branch)

    def _told(self, branch: str) -> None:
        self.fate.after(f"the push to {branch}")
        if self.fate.lose_answer:
            self.fate.lose_answer = False
            raise GitUnreachable("the connection broke off")

    def _reach(self) -> None:
        if self.fate.git_down:
            raise GitUnreachable("git is away")


def mirror_class(fate: Fate, pushed: Callable[[str, str, str | None, str | None], None]) -> Callable[..., Any]:
    """What makes mirrors of this fate, in place of `Mirror`."""

    class Bound(FaultyMirror):
        pass

    Bound.fate = fate
    Bound.pushed = staticmethod(fate.noting(pushed))
    return Bound
