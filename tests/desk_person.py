"""A person with a git configuration of their own, who stands in a folder and writes decisions."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from decision_repo import PROD
from git_remote import Remote
from gitops_rollouts.decisions.desk.desk import Desk, open_desk
from gitops_rollouts.decisions.state import TargetSpec

WEB = ("shop", "web")
CONFIG = """\
[user]
    name = Olga Ops
    email = olga@example.invalid
"""


class Person:
    """Olga, unless the configuration says otherwise."""

    def __init__(self, root: Path, remote: Remote, config: str = CONFIG) -> None:
        self.remote = remote
        self.home = root / "olga"
        self.cache = root / "cache"
        self.home.mkdir()
        self.configuration = self.home / "gitconfig"
        self.configuration.write_text(config)
        self.process = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "GIT_CONFIG_GLOBAL": str(self.configuration),
            "GIT_CONFIG_NOSYSTEM": "1",
        }

    @contextmanager
    def desk(self, spec: TargetSpec = PROD, **more: Any) -> Iterator[Desk]:
        """The desk at which they decide."""
        given = {"cache": self.cache, "cwd": self.home, "process": self.process, **more}
        with open_desk(self.remote.url, spec, **given) as desk:
            yield desk

    def show(self, what: str, commit: str = "main") -> str:
        """A part of a commit in the remote, as ``git log --format`` gives it."""
        argv = ["git", "--git-dir", str(self.remote.bare), "log", "-1", f"--format={what}", commit]
        return subprocess.run(argv, capture_output=True, text=True, check=True, env=self.process).stdout.strip()


def added(diff: str) -> list[str]:
    """The lines that a patch adds."""
    return [line[1:] for line in diff.splitlines() if line.startswith("+") and not line.startswith("+++")]


def removed(diff: str) -> list[str]:
    """The lines that a patch takes away."""
    return [line[1:] for line in diff.splitlines() if line.startswith("-") and not line.startswith("---")]
