"""A directory on disk, seen as the tree that would be committed: what ``gor validate`` and ``gor render`` look at."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gitops_rollouts.errors import ConfigError, InputError
from gitops_rollouts.render.files import SUBMODULE, SYMLINK, below

_OID: Final = "worktree:"
_LIST_SECONDS: Final = 120


@dataclass(frozen=True, slots=True)
class WorkEntry:
    """A file, symbolic link or nested repository below the root. ``oid`` names it within this tree only."""

    path: str
    mode: str
    oid: str
    size: int


class WorkTree:
    """The files below ``root``: inside a Git work tree those that Git doesn't ignore, else all but hidden folders.

    Nothing is cached on disk and no symbolic link is followed.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.commit = ""
        self._entries = tuple(_entries(root))

    def entries(self, path: str) -> list[WorkEntry]:
        """Everything below ``path``."""
        return [entry for entry in self._entries if below(entry.path, path)]

    def read_blob(self, oid: str) -> bytes:
        """A file's bytes; of a symbolic link, what it points to."""
        path = oid.removeprefix(_OID)
        try:
            target = self.root / path
            if target.is_symlink():
                return os.fsencode(target.readlink())
            return target.read_bytes()
        except OSError as error:
            raise InputError(f"can't be read: {error.strerror}", path=path) from error

    def subtree_oid(self, path: str) -> str | None:
        """A name for what is at ``path``; the files don't change while a command looks at them."""
        return f"{_OID}{path}" if self.entries(path) else None


def repository_root(path: Path) -> Path:
    """The top of the Git work tree around ``path``; without one, ``path`` itself."""
    top = _git(path, "rev-parse", "--show-toplevel")
    return Path(os.fsdecode(top.stdout).removesuffix("\n")) if top.returncode == 0 and top.stdout.strip() else path


def git_directory(root: Path) -> Path:
    """The repository behind a work tree. Raises `ConfigError` if there is none."""
    found = _git(root, "rev-parse", "--absolute-git-dir")
    if found.returncode != 0 or not found.stdout.strip():
        raise ConfigError(f"{root} is in no Git repository", remedy="leave --rev out")
    return Path(os.fsdecode(found.stdout).removesuffix("\n"))


def relative_to_root(path: Path, *, file_too: bool = False) -> tuple[Path, str]:
    """(the repository's root, the path inside it) of an existing directory. Raises `ConfigError` if it is none.

    ``file_too``: a file will do; without a repository its root is the directory that it is in.
    """
    if file_too and path.is_file():
        root, folder = relative_to_root(path.parent)
        return root, f"{folder}/{path.name}" if folder else path.name
    if not path.is_dir():
        what = "is a file" if path.exists() else "isn't there"
        raise ConfigError(f"{path} {what}", remedy="name a directory of manifests, such as envs/prod")
    real = path.resolve()
    root = repository_root(real).resolve()
    inside = real.relative_to(root).as_posix() if real.is_relative_to(root) else "."
    return (root, "" if inside == "." else inside) if real.is_relative_to(root) else (real, "")


def _git(directory: Path, *args: str) -> subprocess.CompletedProcess[bytes]:
    argv = ["git", "-C", str(directory), "-c", "core.fsmonitor=false", *args]
    try:
        return subprocess.run(argv, capture_output=True, check=False, timeout=_LIST_SECONDS)
    except FileNotFoundError:
        return subprocess.CompletedProcess(argv, 127, b"", b"")


def _entries(root: Path) -> Iterator[WorkEntry]:
    for path in sorted(_paths(root)):
        try:
            found = (root / path).lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue  # still in the index, gone from the disk: the next commit won't have it
        if stat.S_ISLNK(found.st_mode):
            yield WorkEntry(path, SYMLINK, _OID + path, found.st_size)
        elif stat.S_ISREG(found.st_mode):
            yield WorkEntry(path, "100644", _OID + path, found.st_size)
        elif stat.S_ISDIR(found.st_mode):
            yield WorkEntry(path.rstrip("/"), SUBMODULE, _OID + path, 0)


def _paths(root: Path) -> set[str]:
    listing = _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    if listing.returncode == 0:
        return {os.fsdecode(name) for name in listing.stdout.split(b"\0") if name}
    found: set[str] = set()
    for folder, folders, files in os.walk(root):
        # .rollouts holds decisions; every other hidden folder is a tool's
        folders[:] = [name for name in folders if not name.startswith(".") or name == ".rollouts"]
        base = Path(folder).relative_to(root)
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        found.update((base / name).as_posix() for name in (*files, *links))
    return found
