"""One file of a tree, seen as a plain directory that holds nothing else: what ``gor validate FILE`` looks at."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

from gitops_rollouts.errors import ConfigError
from gitops_rollouts.render.directory import RENDERED_BY, manifests
from gitops_rollouts.render.files import Entry, Tree, below, clean_path


class OneFile:
    """The tree of one file of another tree."""

    def __init__(self, tree: Tree, entry: Entry) -> None:
        self.commit = tree.commit
        self._tree = tree
        self._entry = entry

    def entries(self, path: str) -> Iterable[Entry]:
        """The file, if it is below ``path``."""
        return [self._entry] if below(self._entry.path, path) else []

    def read_blob(self, oid: str) -> bytes:
        """As of the whole tree."""
        return self._tree.read_blob(oid)

    def subtree_oid(self, path: str) -> str | None:
        """The file's own id for every directory around it."""
        return self._entry.oid if self.entries(path) else None


def narrowed(tree: Tree, path: str) -> tuple[Tree, str]:
    """``path`` of a tree as a directory: if it is a file, its own with only this file in it.

    Raises `ConfigError` for a file that is no manifest by its name, or makes no sense without its directory.
    """
    path = clean_path(path)
    entry = next(iter(tree.entries(path)), None) if path else None
    if entry is None or entry.path != path:
        return tree, path
    folder, name = posixpath.split(path)
    if name in RENDERED_BY:
        message = f"{path} makes its directory {RENDERED_BY[name]}"
        raise ConfigError(message, remedy="name that directory: it is rendered as a whole")
    one = OneFile(tree, entry)
    if not manifests(one, folder):
        raise ConfigError(f"{path} is no manifest", remedy="name a .yaml, .yml or .json file that isn't hidden")
    return one, folder
