"""Processes that a test starts and that must not outlive it."""

from __future__ import annotations

import shutil


def tied(signal: str = "KILL") -> list[str]:
    """What stands before a command so that the kernel ends it with the process that runs the tests."""
    return ["setpriv", "--pdeathsig", signal] if shutil.which("setpriv") else []
