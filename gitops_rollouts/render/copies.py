"""Copies of a tree's directories on disk, for a renderer that is a program: its inputs and nothing else."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gitops_rollouts.errors import RenderError
from gitops_rollouts.render.files import SUBMODULE, SYMLINK, Entry, Tree, below, joined

MAX_FILES: Final = 5000
MAX_BYTES: Final = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Copying:
    """What a renderer reads. ``whose`` and ``path``: for people, what asks for these directories and where it stands.

    ``hidden``: names at the top of a directory that are copied although they begin with a dot.
    """

    directories: tuple[str, ...]
    whose: str
    path: str
    hidden: frozenset[str] = frozenset()


def write_out(tree: Tree, copying: Copying, source: Path) -> None:
    """Write the directories below ``source``: symbolic links become copies of what they mean, or are refused.

    Raises `RenderError`, also for more than `MAX_FILES` or `MAX_BYTES`.
    """
    count, total = 0, 0
    for directory in copying.directories:
        (source / directory).mkdir(parents=True, exist_ok=True)
        for entry in tree.entries(directory):
            if entry.mode == SUBMODULE or _is_hidden(entry, directory, copying.hidden):
                continue
            content = _resolve_link(tree, entry, copying) if entry.mode == SYMLINK else entry
            count += 1
            total += content.size
            if count > MAX_FILES or total > MAX_BYTES:
                message = (
                    f"the {copying.whose}'s directories hold more than {MAX_FILES} files or {MAX_BYTES // 2**20} MiB"
                )
                raise RenderError(message, path=copying.path, remedy="keep other files elsewhere")
            destination = source / entry.path
            destination.parent.mkdir(parents=True, exist_ok=True)
            destination.write_bytes(tree.read_blob(content.oid))


def _is_hidden(entry: Entry, directory: str, kept: frozenset[str]) -> bool:
    relative = entry.path[len(directory) + 1 :] if directory else entry.path
    parts = relative.split("/")
    if any(part in ("", ".", "..") for part in entry.path.split("/")):
        raise RenderError("a file has an impossible name", path=entry.path)
    return parts[0].startswith(".") and parts[0] not in kept


def _resolve_link(tree: Tree, entry: Entry, copying: Copying) -> Entry:
    """The file that a link means. Raises `RenderError` unless it is a file among the inputs."""
    path, seen = entry.path, set[str]()
    while path not in seen:
        seen.add(path)
        found = next((one for one in tree.entries(path) if one.path == path), None)
        if found is None:
            break
        if found.mode != SYMLINK:
            return found
        target = joined(posixpath.dirname(path), tree.read_blob(found.oid).decode("utf-8", "replace"))
        if target is None:
            message = "a symbolic link that leaves the repository is refused"
            raise RenderError(message, path=entry.path, remedy="put the file itself there")
        if not any(below(target, directory) for directory in copying.directories):
            break
        path = target
    message = f"a symbolic link must mean a file among the {copying.whose}'s directories"
    raise RenderError(message, path=entry.path, remedy="put the file itself there")
