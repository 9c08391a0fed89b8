"""The person who runs a command, as their own git knows them in the directory where they stand."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gitops_rollouts.errors import GitError
from gitops_rollouts.git.environment import ChildEnvironment, person_environment
from gitops_rollouts.git.writing import Author

_IDENT: Final = re.compile(r"(?P<name>.*?) <(?P<email>[^<>]*)> \d+ [+-]\d{4}")
_THEIRS: Final = re.compile(
    r"(user|author|committer|gpg|credential|http|ssh|url)\..*|commit\.gpgsign|core\.(sshcommand|askpass)", re.DOTALL
)
"""Settings that say who somebody is, how they sign and how they log in."""
_SECONDS: Final = 30


@dataclass(frozen=True, slots=True)
class Person:
    """Who writes. ``environment`` makes git, wherever it runs, write and log in as they would where they stand."""

    author: Author
    environment: ChildEnvironment


def person_at(directory: Path, process: Mapping[str, str] | None = None) -> Person:
    """The person as of ``directory``; ``process``: their environment (default: this process's).

    Raises GitError if git doesn't know their name.
    """
    environment = person_environment(process)
    author = _ident(directory, environment, "GIT_AUTHOR_IDENT")
    committer = _ident(directory, environment, "GIT_COMMITTER_IDENT")
    everywhere = _settings(Path("/"), environment)
    here = [pair for pair in _settings(directory, environment) if pair not in everywhere]
    # in the environment, not in an argument list, since http.extraHeader may hold a token
    number = int(environment.variables.get("GIT_CONFIG_COUNT") or 0)
    extra: dict[str, str] = {}
    for key, value in here:
        extra |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
        number += 1
    extra |= {
        "GIT_CONFIG_COUNT": str(number),
        "GIT_AUTHOR_NAME": author.name,
        "GIT_AUTHOR_EMAIL": author.email,
        "GIT_COMMITTER_NAME": committer.name,
        "GIT_COMMITTER_EMAIL": committer.email,
    }
    return Person(author, environment.with_variables(**extra))


def _ident(directory: Path, environment: ChildEnvironment, name: str) -> Author:
    done = _git(directory, environment, "var", name)
    match = _IDENT.fullmatch(done.stdout.decode("utf-8", "replace").strip())
    if done.returncode != 0 or match is None or not match["name"].strip():
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        if any("dubious ownership" in line for line in said):
            raise GitError(f"git refuses to read {directory}: it belongs to somebody else", remedy="run it elsewhere")
        remedy = 'git config --global user.name "Your Name", and user.email'
        raise GitError("git doesn't know who you are", remedy=remedy)
    return Author(match["name"], match["email"])


def _settings(directory: Path, environment: ChildEnvironment) -> list[tuple[str, str]]:
    done = _git(directory, environment, "config", "--list", "-z")
    pairs = [entry.decode("utf-8", "surrogateescape").partition("\n") for entry in done.stdout.split(b"\x00") if entry]
    # a key without a value is git's way to say true
    return [(key, value if sign else "true") for key, sign, value in pairs if _THEIRS.fullmatch(key)]


def _git(directory: Path, environment: ChildEnvironment, *args: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            ["git", *args], cwd=directory, env=dict(environment.variables), stdin=subprocess.DEVNULL,
            capture_output=True, check=False, timeout=_SECONDS,
        )  # fmt: skip
    except FileNotFoundError as err:
        raise GitError("git can't be started", remedy="install git 2.38 or later") from err
    except subprocess.TimeoutExpired as err:
        raise GitError(f"git {args[0]} took longer than {_SECONDS} s") from err
