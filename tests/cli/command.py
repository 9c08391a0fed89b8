"""Runs ``gor`` as a person does: a process of its own, judged by its output and exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def gor(*argv: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run it to the end. No kubeconfig and no colour unless ``environment`` says so."""
    outer = {name: value for name, value in os.environ.items() if name not in ("KUBECONFIG", "GOR_DEBUG")}
    return subprocess.run(
        [sys.executable, "-m", "gitops_rollouts.cli.main", *argv],
        env={**outer, "NO_COLOR": "1", "COLUMNS": "100", **environment},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
