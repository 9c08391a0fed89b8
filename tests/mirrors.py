"""A repository on disk and mirrors of it, as fixtures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from git_remote import Remote
from gitops_rollouts.git.repository import Mirror


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    return Remote(tmp_path)


@pytest.fixture
def new_mirror(remote: Remote, tmp_path: Path) -> Iterator[Callable[..., Mirror]]:
    """Makes mirrors, by name, which end with the test."""
    made: list[Mirror] = []

    def make(name: str = "mirror") -> Mirror:
        mirror = Mirror(tmp_path / f"{name}.git", remote.url, allow_file=True)
        made.append(mirror)
        return mirror

    yield make
    for mirror in made:
        mirror.close()


@pytest.fixture
def mirror(new_mirror: Callable[..., Mirror]) -> Mirror:
    return new_mirror()
