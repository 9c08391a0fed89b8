"""Which commit brought a line in, and who wrote it: of one line, or of all lines of a target at once.

Looking back over a whole history for each line is what costs, so that a head which follows one that was looked at
before costs the commits between them alone.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from gitops_rollouts.git.history import Hit
from gitops_rollouts.git.repository import Mirror

_REMEMBERED: Final = 16_384
_FEW: Final = 2


@dataclass(frozen=True, slots=True)
class Origin:
    """The first-parent commit that brought a line in, and its author. Empty where history doesn't tell."""

    commit: str = ""
    author: str = ""


@dataclass(frozen=True, slots=True, order=True)
class Wanted:
    """A text, and the files in which it stands: a commit that brought it into these comes before any other."""

    text: str
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Found:
    """``near``: the commit brought it into one of the files that were named."""

    commit: str = ""
    near: bool = False


class Origins:
    """Of one repository. Blocks; any number of threads may use it."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, Wanted], _Found] = OrderedDict()

    def of(self, text: str, head: str, paths: Iterable[str]) -> Origin:
        """Who brought a piece of text into these files, or else into any file; for text that stands there."""
        wanted = Wanted(text, tuple(paths))
        self.learn([wanted], head)
        commit = self._get(head, wanted).commit
        return Origin(commit, self._mirror.info(commit).author) if commit else Origin()

    def learn(self, wanted: Iterable[Wanted], head: str, before: str = "") -> None:
        """Look for many at once. ``before``: a commit of ``head``'s first-parent chain at which they may be known."""
        todo = {one for one in wanted if not self._has(head, one)}
        known = {one for one in todo if before and self._has(before, one)}
        if known:
            since = self._mirror.history.introduced_each({one.text for one in known}, before, head)
            for one in known:
                self._put(head, one, _newer(one, since[one.text], self._get(before, one)))
        todo -= known
        if len(todo) <= _FEW:
            for one in todo:
                self._put(head, one, self._alone(one, head))
        else:
            self._together(todo, head)

    # --- inside ------------------------------------------------------------------------------------------------

    def _alone(self, one: Wanted, head: str) -> _Found:
        """Git stops at the first commit that it finds."""
        history = self._mirror.history
        near = history.introduced(one.text, None, head, paths=[_literal(path) for path in one.paths], limit=1)
        found = near or history.introduced(one.text, None, head, limit=1)
        return _Found(found[0], bool(near)) if found else _Found()

    def _together(self, wanted: set[Wanted], head: str) -> None:
        """One look at what touches their files, and one at everything for those that aren't found there."""
        left = set(wanted)
        for paths in (_above(path for one in wanted for path in one.paths), []):
            hits = self._mirror.history.introduced_each({one.text for one in left}, None, head, paths=paths)
            for one in sorted(left):
                found = _newer(one, hits[one.text], _Found())
                if found.near or not paths:
                    self._put(head, one, found)
                    left.discard(one)

    def _has(self, head: str, one: Wanted) -> bool:
        with self._lock:
            return (head, one) in self._known

    def _get(self, head: str, one: Wanted) -> _Found:
        with self._lock:
            return self._known.get((head, one), _Found())

    def _put(self, head: str, one: Wanted, found: _Found) -> None:
        with self._lock:
            self._known[head, one] = found
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)


def _newer(one: Wanted, hits: Sequence[Hit], before: _Found) -> _Found:
    """What is so after these commits, newest first, if it was so before them."""
    near = next((hit.commit for hit in hits if not hit.paths.isdisjoint(one.paths)), "")
    if near:
        return _Found(near, near=True)
    return before if before.near or not hits else _Found(hits[0].commit)


def _above(paths: Iterable[str]) -> list[str]:
    """Pathspecs that take in all of these, one for each directory at the root."""
    groups: dict[str, list[str]] = {}
    for path in paths:
        groups.setdefault(path.partition("/")[0], []).append(path)
    return [_literal(os.path.commonpath(group)) for group in groups.values()]


def _literal(path: str) -> str:
    return f":(top,literal){path}"
