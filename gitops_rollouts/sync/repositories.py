"""One mirror for each (repository, credentials), whatever the number of GitSyncs that read it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

from gitops_rollouts.errors import ConfigError
from gitops_rollouts.git.address import parse_address
from gitops_rollouts.git.credentials import Credentials
from gitops_rollouts.git.repository import Mirror


@dataclass(frozen=True, slots=True)
class Remote:
    """What a GitSync reads and writes: its address and what opens it."""

    url: str
    read: Credentials | None = None
    write: Credentials | None = None

    @property
    def key(self) -> str:
        """Equal for GitSyncs that can share a mirror; tells nothing of the credentials."""
        parts = [self.read.fingerprint if self.read else "", self.write.fingerprint if self.write else ""]
        return hashlib.sha256("\n".join([self.url, *parts]).encode()).hexdigest()[:32]


class Repositories:
    """The pool of mirrors under one directory. Belongs to the event loop; the mirrors' own methods block.

    ``before_push``: see `Mirror`.
    """

    def __init__(
        self, directory: Path, *, allow_file: bool = False, before_push: Callable[[], None] = lambda: None
    ) -> None:
        self._directory = directory
        self._before_push = before_push
        self._allow_file = allow_file
        self._mirrors: dict[str, Mirror] = {}
        self._users: dict[str, set[str]] = {}

    def mirror(self, user: str, remote: Remote) -> Mirror:
        """The mirror for a GitSync (``user``: its name). Raises `ConfigError` for an address that isn't allowed."""
        address = parse_address(remote.url, allow_file=self._allow_file)
        key = remote.key
        for other, users in self._users.items():
            if other != key:
                users.discard(user)
        self._close_unused()
        if key not in self._mirrors:
            self._mirrors[key] = Mirror(
                self._path(address.identity),
                remote.url,
                remote.read,
                allow_file=self._allow_file,
                write_credentials=remote.write,
                before_push=self._before_push,
            )
        self._users.setdefault(key, set()).add(user)
        return self._mirrors[key]

    def release(self, user: str) -> None:
        """A GitSync is gone."""
        for users in self._users.values():
            users.discard(user)
        self._close_unused()

    def close(self) -> None:
        """End all child processes. What was fetched stays on disk."""
        for mirror in self._mirrors.values():
            mirror.close()
        self._mirrors.clear()
        self._users.clear()

    def _path(self, identity: str) -> Path:
        """The remote's directory, so that a rotated credential keeps what was fetched; its own if that is in use."""
        first = self._directory / _directory_name(identity)
        in_use = {mirror.path for mirror in self._mirrors.values()}
        # numbered, not named after the credential: each rotation would leave a whole copy behind
        paths = (first.with_name(f"{first.name}-{number}") for number in count(2))
        return next(path for path in chain([first], paths) if path not in in_use)

    def _close_unused(self) -> None:
        for key in [key for key, users in self._users.items() if not users]:
            del self._users[key]
            self._mirrors.pop(key).close()


def _directory_name(identity: str) -> str:
    readable = "".join(char if char.isalnum() or char in "-." else "-" for char in identity.rpartition("/")[2])[:40]
    return f"{readable.strip('-.') or 'repository'}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"


def mirror_directory(chosen: Path | None, environment: Mapping[str, str]) -> Path:
    """Where mirrors are kept: the chosen directory, else the user's cache folder. Raises `ConfigError`."""
    if chosen is not None:
        return chosen
    home = environment.get("XDG_CACHE_HOME") or (f"{environment['HOME']}/.cache" if environment.get("HOME") else "")
    if not home:
        raise ConfigError("there is no place for repositories", remedy="name one with --state-dir")
    return Path(home) / "gitops-rollouts" / "repositories"
