"""A real repository, bare on disk unless it is elsewhere, and a person who writes to it with a plain git client."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from gitops_rollouts.git.writing import Author

BOT = Author("gitops-rollouts[bot]", "bot@example.invalid")


class Remote:
    """A repository and a person who pushes to it from a clone.

    ``url``: of one that is on a server, which ``credentials`` opens (a file as git's own ``store`` has it).
    """

    def __init__(self, root: Path, url: str = "", credentials: Path | None = None) -> None:
        self.bare = root / "remote.git"
        self.work = root / "work"
        self.url = url or f"file://{self.bare}"
        self._git("init", "-q", "--template=", "-b", "main", str(self.work), cwd=root)
        if credentials is not None:
            self.git("config", "credential.helper", f"store --file={credentials}")
        self.git("remote", "add", "origin", url or str(self.bare))
        if not url:
            self._git("init", "-q", "--bare", "--template=", "-b", "main", str(self.bare), cwd=root)
            self._git("config", "receive.denyDeleteCurrent", "ignore", cwd=self.bare)

    def git(self, *args: str) -> str:
        return self._git(*args, cwd=self.work)

    def _git(self, *args: str, cwd: Path) -> str:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(cwd),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_NAME": "Dana Dev",
            "GIT_AUTHOR_EMAIL": "dana@example.invalid",
            "GIT_COMMITTER_NAME": "Dana Dev",
            "GIT_COMMITTER_EMAIL": "dana@example.invalid",
        }
        done = subprocess.run(["git", *args], cwd=cwd, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def write(self, files: dict[str, str | bytes | None], message: str = "change") -> str:
        """Commit files (None removes one) on the current branch; returns the id."""
        for name, content in files.items():
            path = self.work / name
            if content is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")

    def push(self, *args: str, branch: str = "main") -> None:
        self.git("push", "-q", *args, "origin", f"HEAD:refs/heads/{branch}")

    def put(self, files: dict[str, str | bytes | None], message: str = "change") -> str:
        commit = self.write(files, message)
        self.push()
        return commit

    def pull(self) -> str:
        self.git("fetch", "-q", "--prune", "origin")
        self.git("reset", "-q", "--hard", "origin/main")
        return self.git("rev-parse", "HEAD")
