"""Questions to the commit graph. Order comes from first-parent topology; commit dates are never read."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Final

from gitops_rollouts.errors import GitError, InputError, RefMissing
from gitops_rollouts.git.child import GitChild
from gitops_rollouts.git.objects import ObjectReader
from gitops_rollouts.git.tree import MODULE_MODE

_OBJECT: Final = re.compile(r"[0-9a-f]{4,64}")
_TRAILER: Final = re.compile(r"^(?P<key>[A-Z][A-Za-z-]+): (?P<value>.*)$")
_PAGE: Final = 1000
_REMEMBERED: Final = 4096
_NEEDLE: Final = 3
"""Texts that begin alike for so many characters are looked for together."""
_SPECIAL: Final = re.compile(r"[.\[\]\\()*+?{}|^$]")
_INFO: Final = "%x00%H%x00%P%x00%an%x00%ae%x00%s%x00%aI%x00%cI%x00%B"
_FIELDS: Final = _INFO.count("%x00")


@dataclass(frozen=True, slots=True)
class Change:
    """One path that a commit changed. An id of zeros: it wasn't there before, or isn't there after."""

    path: str
    old: str
    new: str
    old_mode: str
    new_mode: str

    @property
    def added(self) -> bool:
        """It wasn't there before."""
        return not self.old.strip("0")

    @property
    def removed(self) -> bool:
        """It isn't there any more."""
        return not self.new.strip("0")


@dataclass(frozen=True, slots=True)
class Step:
    """A commit on a first-parent chain, and what it changed against its first parent."""

    commit: str
    parent: str
    """Empty for a root commit."""
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Hit:
    """A commit on a first-parent chain that adds or takes away a text, and the files in which it does."""

    commit: str
    paths: frozenset[str]


@dataclass(frozen=True, slots=True)
class CommitInfo:
    """A commit as people see it."""

    commit: str
    parents: tuple[str, ...]
    author: str
    author_email: str
    subject: str
    body: str
    """The whole message."""
    authored: str
    """The author's date as ISO 8601, for people only: nothing is ever decided by it."""
    committed: str = ""
    """The committer's date, likewise for people only."""

    def trailers(self, key: str) -> tuple[str, ...]:
        """The values of a trailer, in order."""
        lines = [_TRAILER.match(line) for line in self.body.splitlines()]
        return tuple(match["value"].strip() for match in lines if match and match["key"] == key)


class History:
    """Reads one repository's commit graph. Any number of threads may use it; remembers only what can't change."""

    def __init__(self, child: GitChild, objects: ObjectReader) -> None:
        self._child = child
        self._objects = objects
        self._descents: OrderedDict[tuple[str, str], bool] = OrderedDict()
        self._infos: OrderedDict[str, CommitInfo] = OrderedDict()
        self._lock = threading.Lock()

    def resolve(self, prefix: str) -> str | None:
        """The full id of the one commit that starts so; None if there is none, or more than one."""
        found = self._objects.info(f"{prefix}^{{commit}}") if _OBJECT.fullmatch(prefix) else None
        return found.oid if found else None

    def parents(self, commit: str) -> tuple[str, ...]:
        """A commit's parents, the first first."""
        return self._objects.parents(commit)

    def is_ancestor(self, ancestor: str, descendant: str) -> bool:
        """Whether ``ancestor`` is ``descendant`` or is reachable from it. False if either isn't there."""
        if ancestor == descendant:
            return True
        key = (_object(ancestor), _object(descendant))
        with self._lock:
            if key in self._descents:
                return self._descents[key]
        code = self._child.run("merge-base", "--is-ancestor", *key).code
        if code in (0, 1):
            with self._lock:
                self._descents[key] = code == 0
                while len(self._descents) > _REMEMBERED:
                    self._descents.popitem(last=False)
        return code == 0

    def merge_base(self, one: str, other: str) -> str | None:
        """The best common ancestor, None if there is none."""
        found = self._child.run("merge-base", _object(one), _object(other))
        return found.text or None if found.code == 0 else None

    def first_parents(self, commit: str, until: str | None = None, limit: int | None = None) -> list[str]:
        """The first-parent chain, newest first, ``commit`` included; what is reachable from ``until`` is left out."""
        args = ["rev-list", "--first-parent"]
        if limit is not None:
            args.append(f"--max-count={limit}")
        args.append(_object(commit))
        if until is not None:
            args.append(f"^{_object(until)}")
        return self._child.require(*args, "--").text.split()

    def between(self, base: str, tip: str, *, but: str = "") -> list[str]:
        """Every commit, on any parent, that ``tip`` has and ``base`` has not; newest first.

        ``but``: a prefix of refs; what any of them has is left out as well.
        """
        left_out = ("--not", f"--glob={but}*") if but else ()
        return self._child.require("rev-list", _object(tip), f"^{_object(base)}", *left_out, "--").text.split()

    def walk(
        self, commit: str, *, until: str | None = None, paths: Sequence[str] = (), page: int = _PAGE
    ) -> Iterator[Step]:
        """The first-parent chain, newest first, with the files that each commit changed against its first parent.

        Only commits that touch ``paths`` (repository paths; ``:(exclude,…)`` works) appear, all if there are none.
        Read in pages, so that a caller that has seen enough pays for no more.
        """
        skip = 0
        while True:
            args = ["log", "--first-parent", "--diff-merges=first-parent", "--root", "--raw", "--no-abbrev", "-z"]
            args += ["--no-renames", "--no-color", "--format=%x01%H %P", f"--max-count={page}", f"--skip={skip}"]
            args.append(_object(commit))
            if until is not None:
                args.append(f"^{_object(until)}")
            steps = list(_steps(self._child.require(*args, "--", *paths).out))
            yield from steps
            if len(steps) < page:
                return
            skip += page

    def introduced(
        self, text: str, since: str | None, head: str, *, paths: Sequence[str] = (), limit: int | None = None
    ) -> list[str]:
        """First-parent commits of ``since..head`` that add or take away ``text``, newest first (a pickaxe, §4).

        Moving a file takes its text away and adds it. ``since`` None: the whole history of ``head``.
        """
        args = [
            "log",
            "--first-parent",
            "--diff-merges=first-parent",
            "--root",
            "--no-patch",
            "--no-renames",
            "--format=%H",
            f"-S{text}",
        ]
        if limit is not None:
            args.append(f"--max-count={limit}")
        args.append(_object(head))
        if since is not None:
            args.append(f"^{_object(since)}")
        return self._child.require(*args, "--", *paths).text.split()

    def introduced_each(
        self, texts: Iterable[str], since: str | None, head: str, *, paths: Sequence[str] = ()
    ) -> dict[str, list[Hit]]:
        """As `introduced`, for many texts that begin alike by one child; a text that no commit has gets an empty list.

        Git finds the files in whose changed lines the common beginning stands; the texts are counted here.
        """
        wanted = sorted(set(texts))
        common = _beginning(wanted)
        together = len(wanted) > 1 and len(common) >= _NEEDLE and not any("\n" in text for text in wanted)
        if together:
            steps = self._steps_with(f"-G{_SPECIAL.sub(_escaped, common)}", since, head, paths)
            try:
                return self._count(wanted, common, steps)
            except InputError:
                pass  # a file too large to be counted here: git itself looks, for one text after the other
        found: dict[str, list[Hit]] = {}
        for text in wanted:
            steps = self._steps_with(f"-S{text}", since, head, paths)
            found[text] = [Hit(step.commit, frozenset(change.path for change in step.changes)) for step in steps]
        return found

    def _steps_with(self, pickaxe: str, since: str | None, head: str, paths: Sequence[str]) -> list[Step]:
        args = ["log", "--first-parent", "--diff-merges=first-parent", "--root", "--raw", "--no-abbrev", "-z"]
        args += ["--no-renames", "--no-color", "--format=%x01%H %P", "--text", "--no-textconv", pickaxe]
        args.append(_object(head))
        if since is not None:
            args.append(f"^{_object(since)}")
        return list(_steps(self._child.require(*args, "--", *paths).out))

    def _count(self, texts: Sequence[str], common: str, steps: Iterable[Step]) -> dict[str, list[Hit]]:
        """The commits among these that change how often a text stands in a file."""
        wanted = {text.encode(): text for text in texts}
        counted: dict[str, dict[bytes, int]] = {}

        def of(oid: str, mode: str) -> dict[bytes, int]:
            if not oid.strip("0") or mode == MODULE_MODE:
                return {}
            if oid not in counted:
                counted[oid] = _counts(self._objects.read(oid), wanted, common.encode())
            return counted[oid]

        found: dict[str, list[Hit]] = {text: [] for text in texts}
        for step in steps:
            places: dict[bytes, set[str]] = {}
            for change in step.changes:
                before, after = of(change.old, change.old_mode), of(change.new, change.new_mode)
                for text in {*before, *after}:
                    if before.get(text, 0) != after.get(text, 0):
                        places.setdefault(text, set()).add(change.path)
            for text, paths in places.items():
                found[wanted[text]].append(Hit(step.commit, frozenset(paths)))
        return found

    def info(self, commit: str) -> CommitInfo:
        """A commit's author, subject and message. Raises RefMissing if it isn't there."""
        with self._lock:
            if commit in self._infos:
                return self._infos[commit]
        found = self._info(commit)
        with self._lock:
            self._infos[found.commit] = found  # a prefix may come to mean another commit, an id never
            while len(self._infos) > _REMEMBERED:
                self._infos.popitem(last=False)
        return found

    def _info(self, commit: str) -> CommitInfo:
        shown = self._child.run("show", "--no-patch", "--no-color", f"--format={_INFO}", _object(commit), "--")
        found = _infos(shown.text)
        if shown.code != 0 or len(found) != 1:
            raise RefMissing(f"commit {commit[:12]} isn't in the repository")
        return found[0]

    def infos(self, commits: Iterable[str]) -> dict[str, CommitInfo]:
        """Many commits by one child. Raises GitError if one isn't there."""
        wanted = "".join(f"{_object(commit)}\n" for commit in commits)
        if not wanted:
            return {}
        args = ("log", "--no-walk=unsorted", "--stdin", "--no-color", f"--format={_INFO}")
        return {info.commit: info for info in _infos(self._child.require(*args, stdin=wanted.encode()).text)}

    def telling(self, head: str, pattern: str) -> list[CommitInfo]:
        """Every commit, on any parent, with a line in its message that matches (a basic expression); newest first."""
        args = ("log", f"--grep={pattern}", "--no-color", f"--format={_INFO}", _object(head), "--")
        return _infos(self._child.require(*args).text)

    def merged_tree(self, one: str, other: str) -> str | None:
        """The tree that merging two commits gives; None: a conflict, or no common history."""
        merged = self._child.run("merge-tree", "--write-tree", "--no-messages", _object(one), _object(other))
        return merged.text.splitlines()[0] if merged.code == 0 and merged.text else None


def _object(name: str) -> str:
    if not _OBJECT.fullmatch(name):
        raise GitError(f"{name[:80]!r} is no commit's id")
    return name


def _beginning(texts: Sequence[str]) -> str:
    """What all of these, sorted, begin with."""
    pairs = zip(texts[0], texts[-1], strict=False) if texts else ()
    return "".join(one for one, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _escaped(match: re.Match[str]) -> str:
    return f"\\{match[0]}"


def _counts(data: bytes, wanted: Collection[bytes], common: bytes) -> dict[bytes, int]:
    """How often each text that begins with ``common`` stands in a file; those that don't aren't listed."""
    lengths = {len(text) for text in wanted}
    found: set[bytes] = set()
    at = data.find(common)
    while at >= 0:
        found |= {piece for length in lengths if (piece := data[at : at + length]) in wanted}
        at = data.find(common, at + 1)
    return {text: data.count(text) for text in found}


def _infos(out: str) -> list[CommitInfo]:
    """Commits as ``_INFO`` prints them; none of its fields can hold a NUL."""
    fields = out.split("\x00")[1:]
    found: list[CommitInfo] = []
    for at in range(0, len(fields) - _FIELDS + 1, _FIELDS):
        oid, parents, author, email, subject, authored, committed, body = fields[at : at + _FIELDS]
        found.append(
            CommitInfo(oid, tuple(parents.split()), author, email, subject, body.strip("\n"), authored, committed)
        )
    return found


def _steps(out: bytes) -> Iterator[Step]:
    """Parse ``log --raw -z``: a header for each commit, then pairs of metadata and path; all end with \\x00."""
    commit, parent = "", ""
    changes: list[Change] = []
    tokens = iter(out.split(b"\x00"))
    for token in tokens:
        text = token.lstrip(b"\n")
        if text.startswith(b":"):
            path = next(tokens, b"").decode("utf-8", "backslashreplace")
            old_mode, new_mode, old, new = (part.decode() for part in text[1:].split()[:4])
            changes.append(Change(path, old, new, old_mode, new_mode))
        elif text.startswith(b"\x01"):
            if commit:
                yield Step(commit, parent, tuple(changes))
            commit, *parents = text[1:].decode().split()
            parent = parents[0] if parents else ""
            changes = []
    if commit:
        yield Step(commit, parent, tuple(changes))
