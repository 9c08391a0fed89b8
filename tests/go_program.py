"""A program that tests run, built from its own Go module once and kept in the user's cache folder; pinned by a folder
of ours with ``go.mod``, ``go.sum`` and ``pin.go``."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from gitops_rollouts.local.build import report_on_stderr
from gitops_rollouts.local.toolchain import cache_folder, find_go

_HERE: Final = Path(__file__).resolve().parent
_FILES: Final = ("go.mod", "go.sum", "pin.go")


@dataclass(frozen=True)
class GoProgram:
    """``name``: of our folder and of the program. ``version``: the variable that is told the module's version.

    ``package``: below the module. ``beside``: the module's folders that the program reads when it runs; they are copied
    beside it.
    """

    name: str
    module: str
    version: str
    package: str = ""
    tags: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    beside: tuple[str, ...] = ()

    def path(self) -> Path:
        """The program, built now if the cache lacks it."""
        pins = b"".join((_HERE / self.name / name).read_bytes() for name in _FILES)
        folder = cache_folder() / self.name / hashlib.sha256(pins).hexdigest()[:16]
        if not (folder / self.name).exists():
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / "lock").open("w") as held:
                fcntl.flock(held, fcntl.LOCK_EX)
                if not (folder / self.name).exists():
                    self._build(folder)
        return folder / self.name

    def _build(self, folder: Path) -> None:
        found = re.search(rf"{re.escape(self.module)} (v\S+)", (_HERE / self.name / "go.mod").read_text())
        assert found is not None
        report_on_stderr(f"building {self.name} {found[1]} for the tests; once")
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            for name in _FILES:
                (Path(scratch) / name).write_bytes((_HERE / self.name / name).read_bytes())
            flags = f"-s -w -X {self.version}={found[1]}"
            more = ("-tags", self.tags) if self.tags else ()
            self._go(scratch, "build", "-trimpath", *more, "-ldflags", flags, "-o", "built", self.module + self.package)
            if self.beside:
                source = Path(self._go(scratch, "list", "-m", "-f", "{{.Dir}}", self.module).strip())
                for each in self.beside:
                    shutil.copytree(source / each, folder / each, dirs_exist_ok=True, copy_function=shutil.copyfile)
            (Path(scratch) / "built").rename(folder / self.name)

    def _go(self, folder: str, *arguments: str) -> str:
        settings = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOWORK": "off", **self.environment}
        done = subprocess.run(
            [find_go(report_on_stderr), *arguments],
            cwd=folder,
            env=os.environ | settings,
            capture_output=True,
            text=True,
            check=False,
            timeout=1800,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout
