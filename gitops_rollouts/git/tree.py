"""One commit's files, read from Git objects: nothing is checked out, no symbolic link is followed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from gitops_rollouts.errors import InputError
from gitops_rollouts.git.child import GitChild
from gitops_rollouts.git.objects import MAX_BLOB, ObjectReader

FILE_MODES: Final = ("100644", "100755", "100664")
LINK_MODE: Final = "120000"
MODULE_MODE: Final = "160000"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, symbolic link or submodule. ``path`` is relative to the repository's root, ``size`` in bytes."""

    path: str
    mode: str
    oid: str
    size: int

    @property
    def is_file(self) -> bool:
        """A regular file; a link or a submodule isn't one."""
        return self.mode in FILE_MODES


def clean_path(path: str) -> str:
    """A path inside a repository, without ``./`` and slashes around it. Raises InputError if it leads out of it."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("/") or ".." in parts or "\x00" in path or any(part.lower() == ".git" for part in parts):
        raise InputError(f"{path[:200]!r} is no path inside the repository", remedy="write it relative to the root")
    return "/".join(parts)


class Tree:
    """The files of one commit. Immutable in effect; listings are kept as long as the object lives."""

    def __init__(self, child: GitChild, objects: ObjectReader, commit: str) -> None:
        self.commit = commit
        self._child = child
        self._objects = objects
        self._listings: dict[str, tuple[Entry, ...]] = {}
        self._oids: dict[str, str | None] = {}

    def entries(self, under: str = "") -> tuple[Entry, ...]:
        """Everything below a directory, in Git's order, without reading a file. A directory that isn't there is empty.

        A path that is itself a file gives that one entry.
        """
        path = clean_path(under)
        if path not in self._listings:
            args = ["ls-tree", "-r", "-l", "-z", "--full-tree", self.commit]
            # a literal pathspec: ls-tree takes no magic
            listing = self._child.require(*args, "--", path) if path else self._child.require(*args)
            self._listings[path] = tuple(_parse(listing.out))
        return self._listings[path]

    def entry(self, path: str) -> Entry | None:
        """The file, link or submodule at exactly this path."""
        clean = clean_path(path)
        parent = next((known for known in self._listings if not known or clean.startswith(known + "/")), None)
        found = self.entries(clean if parent is None else parent)
        return next((entry for entry in found if entry.path == clean), None)

    def read(self, path: str, *, cap: int = MAX_BLOB) -> bytes:
        """A file's content. Raises InputError: not there, a link, a submodule, or larger than ``cap`` bytes."""
        entry = self.entry(path)
        if entry is None:
            raise InputError("no such file", path=path)
        return self.read_entry(entry, cap=cap)

    def read_entry(self, entry: Entry, *, cap: int = MAX_BLOB) -> bytes:
        """As `read`, for an entry of this tree."""
        if entry.mode == LINK_MODE:
            raise InputError("a symbolic link isn't followed", path=entry.path, remedy="put the file itself there")
        if not entry.is_file:
            raise InputError("a submodule isn't read", path=entry.path, remedy="copy its files into this repository")
        if entry.size > cap:
            message = f"the file has {entry.size / 2**20:.1f} MiB, more than the {cap / 2**20:.0f} MiB that are read"
            raise InputError(message, path=entry.path, remedy="split it, or keep it out of the synced directory")
        return self._objects.read(entry.oid, cap=cap)

    def read_blob(self, oid: str, *, cap: int = MAX_BLOB) -> bytes:
        """A blob by its id, whatever commit holds it."""
        return self._objects.read(oid, cap=cap)

    def subtree_oid(self, path: str) -> str | None:
        """The object id of a directory (or file): equal ids, equal content. None if it isn't there."""
        clean = clean_path(path)
        if clean not in self._oids:
            found = self._objects.info(f"{self.commit}:{clean}" if clean else f"{self.commit}^{{tree}}")
            self._oids[clean] = found.oid if found else None
        return self._oids[clean]

    def oid_without(self, name: str) -> str:
        """A digest of everything at the root but ``name``: equal digests, equal content beside it."""
        listing = self._child.require("ls-tree", "-z", "--full-tree", self.commit).out
        kept = [record for record in listing.split(b"\x00") if record.partition(b"\t")[2] != name.encode()]
        return hashlib.sha256(b"\x00".join(kept)).hexdigest()


def _parse(listing: bytes) -> Iterator[Entry]:
    for record in listing.split(b"\x00"):
        if not record:
            continue
        fields, _, path = record.partition(b"\t")
        mode, _kind, oid, size = fields.split()
        try:
            name = path.decode("utf-8")
        except UnicodeDecodeError:
            name = path.decode("utf-8", "backslashreplace")
        yield Entry(name, mode.decode(), oid.decode(), int(size) if size != b"-" else 0)
