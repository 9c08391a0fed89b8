"""Runs git as a child process, through GitPython, with exactly the environment that was built for it.

GitPython copies ``os.environ`` into each child and can only add to it. So the command is started through ``env``,
which takes out every inherited name that isn't wanted: the child sees the built environment and nothing else, and no
value ever stands in an argument list.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import git

from gitops_rollouts.errors import GitError
from gitops_rollouts.git.environment import ChildEnvironment

LOCAL_TIMEOUT: Final = 120.0
"""Seconds after which a command that touches only this disk is killed."""
_KILLED: Final = -9


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that ended. ``killed``: it was stopped because it took too long."""

    code: int
    out: bytes
    err: str
    killed: bool = False

    @property
    def text(self) -> str:
        """Standard output as text, without the last newline."""
        return self.out.decode("utf-8", "replace").removesuffix("\n")


class GitChild:
    """Runs ``git --git-dir=<directory> …`` in one environment. Stateless; any number of threads may use it."""

    def __init__(self, directory: Path, environment: ChildEnvironment) -> None:
        self._directory = directory
        self.environment = environment

    def run(
        self,
        *args: str,
        stdin: bytes | None = None,
        timeout: float = LOCAL_TIMEOUT,
        variables: Mapping[str, str] | None = None,
    ) -> Finished:
        """Run to the end, whatever the exit code. Raises GitError only if git itself can't be started."""
        wanted = {**self.environment.variables, **(variables or {})}
        with contextlib.ExitStack() as stack:
            source = None
            if stdin is not None:
                source = stack.enter_context(tempfile.TemporaryFile())
                source.write(stdin)
                source.seek(0)
            try:
                result = git.Git(str(self._cwd())).execute(
                    self._argv(args, wanted),
                    istream=source,
                    env=wanted,
                    with_extended_output=True,
                    with_exceptions=False,
                    stdout_as_string=False,
                    strip_newline_in_stdout=False,
                    kill_after_timeout=timeout,
                )
            except git.exc.GitCommandNotFound as err:
                raise GitError("git can't be started", remedy="install git 2.38 or later") from err
        code, out, err_text = result
        killed = code == _KILLED and "did not complete in" in err_text
        return Finished(code, out if isinstance(out, bytes) else out.encode(), err_text, killed)

    def require(self, *args: str, stdin: bytes | None = None, variables: Mapping[str, str] | None = None) -> Finished:
        """Run a local command that must succeed. Raises GitError with git's own last words."""
        finished = self.run(*args, stdin=stdin, variables=variables)
        if finished.code != 0:
            raise GitError(f"git {args[0]} failed: {last_words(finished)}")
        return finished

    def start(self, *args: str) -> git.Git.AutoInterrupt:
        """Start a command that stays, with pipes on both sides. The caller ends it."""
        wanted = dict(self.environment.variables)
        process = git.Git(str(self._cwd())).execute(
            self._argv(args, wanted), istream=subprocess.PIPE, env=wanted, as_process=True
        )
        if not isinstance(process, git.Git.AutoInterrupt):
            raise GitError("git can't be started")
        return process

    def _argv(self, args: Sequence[str], wanted: Mapping[str, str]) -> list[str]:
        argv = ["env"]
        for name in os.environ:
            if name not in wanted:
                argv += ["-u", name]
        argv += ["git", f"--git-dir={self._directory}"]
        for key, value in self.environment.settings:
            argv += ["-c", f"{key}={value}"]
        return [*argv, *args]

    def _cwd(self) -> Path:
        return self._directory if self._directory.is_dir() else Path("/")


def last_words(finished: Finished) -> str:
    """The line of git's output that says what went wrong."""
    if finished.killed:
        return "it took too long and was stopped"
    lines = [line.strip() for line in finished.err.splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("fatal:", "error:", "remote:", "ERROR"))] or lines
    return telling[0][:400] if telling else f"exit code {finished.code}"
