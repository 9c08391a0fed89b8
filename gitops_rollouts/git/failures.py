"""What git's words mean: stderr and ``push --porcelain`` → the exceptions of errors.py."""

from __future__ import annotations

import re
from typing import Final

from gitops_rollouts.errors import GitAccessDenied, GitError, GitUnreachable, PushRaced, PushRefused, RefMissing
from gitops_rollouts.git.child import Finished, last_words

_DENIED: Final = re.compile(
    r"Authentication failed|could not read (Username|Password)|Permission denied|Host key verification failed"
    r"|terminal prompts disabled|requested URL returned error: 40[13]|No supported authentication|publickey",
    re.IGNORECASE,
)
_NO_REF: Final = re.compile(r"couldn't find remote ref|no such ref", re.IGNORECASE)
_HOST_KEY: Final = re.compile(r"Host key verification failed|no \w+ host key is known", re.IGNORECASE)
_NO_REPOSITORY: Final = re.compile(
    r"Repository not found|does not appear to be a git repository|returned error: 404|repository '.*' not found",
    re.IGNORECASE,
)
_RESULT: Final = re.compile(r"^(?P<flag>[ +*=!-])\t[^\t\n]*\t(?P<summary>[^\t\n]*)$", re.MULTILINE)
_LOST_RACE: Final = re.compile(
    r"\[remote rejected\] \((failed to update ref|cannot lock ref|incorrect old value|reference already exists|"
    r"failed to lock|fetch first|non-fast-forward)",
    re.IGNORECASE,
)


def remote_failure(finished: Finished, what: str) -> GitError:
    """The error for a command that talked to a remote and failed. ``what``: the sentence's start."""
    words = last_words(finished)
    text = finished.err
    if _NO_REF.search(text):
        return RefMissing(f"{what}: the branch isn't there", remedy="check the branch's name")
    if _HOST_KEY.search(text):
        return GitAccessDenied(f"{what}: the server's host key isn't known", remedy="put known_hosts into the Secret")
    if _DENIED.search(text):
        return GitAccessDenied(f"{what}: access was denied ({words})", remedy="check the credential and its rights")
    if _NO_REPOSITORY.search(text):
        return GitUnreachable(f"{what}: there is no such repository, or no access to it", remedy="check the address")
    return GitUnreachable(f"{what}: {words}")


def check_push(finished: Finished, what: str) -> None:
    """Raise what a push came to, nothing if it was accepted (docs/decisions.md §2 "Push refused").

    ``[rejected]`` and a ref that can't be locked are a lost race; any other ``[remote rejected]`` is policy; no verdict
    at all is an answer that was lost, and the push may have been accepted.
    """
    verdicts = [
        match["summary"] for match in _RESULT.finditer(finished.out.decode("utf-8", "replace")) if match["flag"] == "!"
    ]
    if not verdicts:
        if finished.code == 0:
            return
        raise remote_failure(finished, what)
    for verdict in verdicts:
        if verdict.startswith("[remote rejected]") and not _LOST_RACE.match(verdict):
            reason = verdict.removeprefix("[remote rejected]").strip().strip("()")
            said = [
                line.strip() for line in finished.err.splitlines() if line.startswith("remote: ") and line[8:].strip()
            ]
            detail = f" ({said[0].removeprefix('remote: ').strip()[:200]})" if said else ""
            raise PushRefused(f"{what}: the server refused it: {reason[:200]}{detail}")
        if verdict.startswith("[remote failure]"):
            raise GitUnreachable(f"{what}: {verdict[:200]}")
    raise PushRaced(f"{what}: somebody else pushed first")
