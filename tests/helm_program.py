"""The real Helm, built from its own Go module once and kept in the user's cache folder; pinned by ``helm/go.sum``."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Final

import pytest

from gitops_rollouts.local.build import report_on_stderr
from gitops_rollouts.local.toolchain import cache_folder, find_go

_HERE: Final = Path(__file__).resolve().parent / "helm"
_FILES: Final = ("go.mod", "go.sum", "pin.go")
_MODULE: Final = "helm.sh/helm/v3"


@pytest.fixture
def helm(monkeypatch: pytest.MonkeyPatch) -> str:
    """The path of Helm, which everything started by the test finds by ``$HELM``."""
    program = helm_program()
    monkeypatch.setenv("HELM", program)
    return program


def helm_program() -> str:
    """The path of Helm, built now if the cache lacks it (about 3 minutes on 2 cores)."""
    pins = b"".join((_HERE / name).read_bytes() for name in _FILES)
    program = cache_folder() / "helm" / hashlib.sha256(pins).hexdigest()[:16] / "helm"
    if program.exists():
        return str(program)
    program.parent.mkdir(parents=True, exist_ok=True)
    with (program.parent / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not program.exists():
            _build(program)
    return str(program)


def _build(program: Path) -> None:
    found = re.search(rf"{_MODULE} (v\S+)", (_HERE / "go.mod").read_text())
    assert found is not None
    with tempfile.TemporaryDirectory(dir=program.parent) as scratch:
        for name in _FILES:
            (Path(scratch) / name).write_bytes((_HERE / name).read_bytes())
        report_on_stderr(f"building Helm {found[1]} for the tests; once")
        flags = f"-s -w -X {_MODULE}/internal/version.version={found[1]}"
        done = subprocess.run(
            [find_go(report_on_stderr), "build", "-trimpath", "-ldflags", flags, "-o", "built", f"{_MODULE}/cmd/helm"],
            cwd=scratch,
            env=os.environ | {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOWORK": "off"},
            capture_output=True,
            text=True,
            check=False,
            timeout=1800,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        (Path(scratch) / "built").rename(program)
