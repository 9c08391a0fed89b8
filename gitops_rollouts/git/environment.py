"""The environment of git's children.

The engine's children get one that is built afresh: no user configuration, no hooks, no prompts, an allow-list of
protocols. The CLI's get the person's own, because a decision written by a person is written with their identity,
credentials and signing key.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from gitops_rollouts.git.credentials import InstalledCredentials

PASSED_ON: Final = (
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "TMPDIR"),
)
"""What the engine's children may see of this process's environment, besides PATH."""
_REPOSITORY_VARIABLES: Final = (
    *("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES"),
    *("GIT_COMMON_DIR", "GIT_NAMESPACE", "GIT_PREFIX", "GIT_QUARANTINE_PATH", "GIT_REPLACE_REF_BASE", "GIT_TRACE"),
    *("GIT_SHALLOW_FILE", "GIT_GRAFT_FILE", "GIT_CEILING_DIRECTORIES", "GIT_CONFIG_PARAMETERS"),
)
_ALWAYS: Final = (
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.quotePath", "false"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("advice.fetchShowForcedUpdates", "false"),
)
_ENGINE_ONLY: Final = (
    ("credential.helper", ""),
    ("http.followRedirects", "initial"),
    ("http.lowSpeedLimit", "1000"),
    ("http.lowSpeedTime", "30"),
    ("transfer.fsckObjects", "true"),
    # what old but harmless histories are known for
    ("fetch.fsck.zeroPaddedFilemode", "ignore"),
    ("fetch.fsck.badTimezone", "ignore"),
    ("fetch.fsck.missingSpaceBeforeDate", "ignore"),
    ("fetch.fsck.missingEmail", "ignore"),
)


@dataclass(frozen=True, slots=True)
class ChildEnvironment:
    """The whole environment of a child, and the settings that it gets by ``-c``."""

    variables: Mapping[str, str]
    settings: tuple[tuple[str, str], ...]
    own_identity: bool
    """Commits are the person's: author, committer and signing come from their configuration."""

    def with_variables(self, **extra: str) -> ChildEnvironment:
        """The same with more variables."""
        return replace(self, variables={**self.variables, **extra})


def engine_environment(
    installed: InstalledCredentials, *, scheme: str, process: Mapping[str, str] | None = None
) -> ChildEnvironment:
    """A clean environment for a remote that is reached by ``scheme``, and by no other: a redirect can't change it.

    ``process``: this process's environment (default: the real one).
    """
    outer = os.environ if process is None else process
    variables = {name: outer[name] for name in PASSED_ON if name in outer}
    variables |= {
        "PATH": outer.get("PATH", os.defpath),
        "HOME": "/nonexistent",
        "LC_ALL": "C",
        "LANGUAGE": "C",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": scheme,
    }
    if installed.ssh_command:
        variables["GIT_SSH_COMMAND"] = installed.ssh_command
    return ChildEnvironment(variables, (*_ALWAYS, *_ENGINE_ONLY, *installed.settings), own_identity=False)


def person_environment(process: Mapping[str, str] | None = None) -> ChildEnvironment:
    """The person's own environment, less what binds git to a repository that they happen to stand in."""
    outer = os.environ if process is None else process
    variables = {name: value for name, value in outer.items() if name not in _REPOSITORY_VARIABLES}
    variables |= {"LC_ALL": "C", "LANGUAGE": "C", "GIT_NO_REPLACE_OBJECTS": "1"}
    return ChildEnvironment(variables, _ALWAYS, own_identity=True)
