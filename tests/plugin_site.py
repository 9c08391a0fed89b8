"""Packages with plugins, installed as pip would, into a directory that this process and its children import from."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[1] / "docs/examples/plugins"


def write_package(site: Path, name: str, source: str, points: Mapping[str, Mapping[str, str]]) -> None:
    """A distribution ``name`` 1.0 with the module ``name``; ``points``: group → entry point name → class."""
    site.mkdir(parents=True, exist_ok=True)
    (site / f"{name}.py").write_text(textwrap.dedent(source))
    info = site / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [
        line
        for group, classes in points.items()
        for line in (f"[{group}]", *(f"{point} = {name}:{cls}" for point, cls in classes.items()), "")
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))


def install_example(site: Path) -> None:
    """The example of docs/plugins.md as its pyproject.toml has it, without a network: no build requirement is got."""
    (site / "example_plugins").mkdir(parents=True)
    for path in (EXAMPLE / "pyproject.toml", *(EXAMPLE / "example_plugins").glob("*.py")):
        (site / path.relative_to(EXAMPLE)).write_text(path.read_text())
    build = [sys.executable, "-c", "import setuptools; setuptools.setup()", "-q", "egg_info"]
    subprocess.run(build, cwd=site, check=True, capture_output=True)


@contextmanager
def importing_from(site: Path) -> Iterator[None]:
    """Let this process and every child of it see what is installed there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        known = os.environ.get("PYTHONPATH", "")
        patch.setenv("PYTHONPATH", f"{site}{os.pathsep}{known}" if known else str(site))
        yield
