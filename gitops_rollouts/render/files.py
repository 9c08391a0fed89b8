"""What rendering needs of a Git tree, and paths that stay inside it."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from typing import Final, Protocol

from gitops_rollouts.errors import RenderError

SYMLINK: Final = "120000"
SUBMODULE: Final = "160000"


class Entry(Protocol):
    """One file, symlink or submodule. ``path`` is relative to the repository's root, ``oid`` the blob's id."""

    @property
    def path(self) -> str: ...
    @property
    def mode(self) -> str: ...
    @property
    def oid(self) -> str: ...
    @property
    def size(self) -> int: ...


class Tree(Protocol):
    """One commit's files, read from Git objects: `gitops_rollouts.git.tree.Tree` is one."""

    @property
    def commit(self) -> str: ...

    def entries(self, path: str) -> Iterable[Entry]:
        """All files below ``path``, recursively, without reading them."""
        ...

    def read_blob(self, oid: str) -> bytes:
        """A blob's bytes; of a symlink, what it points to as text."""
        ...

    def subtree_oid(self, path: str) -> str | None:
        """The id of the directory or file at ``path``, None if there is none."""
        ...


def clean_path(path: str) -> str:
    """A GitSync's path as ``a/b``, ``""`` for the root. Raises `RenderError` if it would leave the repository."""
    if path.startswith("/") or "\0" in path or "\\" in path:
        raise RenderError("the path must be relative to the repository's root", path=path)
    normal = posixpath.normpath(path) if path else "."
    if normal == ".." or normal.startswith("../"):
        raise RenderError("the path leaves the repository", path=path)
    return "" if normal == "." else normal


def joined(directory: str, relative: str) -> str | None:
    """``relative`` seen from ``directory``, or None if it leaves the repository."""
    if relative.startswith("/") or "\0" in relative:
        return None
    normal = posixpath.normpath(posixpath.join(directory, relative))
    if normal == ".." or normal.startswith("../"):
        return None
    return "" if normal == "." else normal


def below(path: str, directory: str) -> bool:
    """Whether ``path`` is ``directory`` or lies in it."""
    return not directory or path == directory or path.startswith(directory + "/")
