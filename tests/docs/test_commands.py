"""Each `gor` command that a page names exists in the command line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from gitops_rollouts.cli.main import build

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("sample-repo/**/*.md")])
COMMAND = re.compile(r"(?:^|[`\n]|\$\()\s*gor ([a-z][a-z-]*(?: [a-z][a-z-]*)?)")


def _commands(app: typer.Typer) -> dict[str, frozenset[str]]:
    """Top-level command → its sub-commands (none for a plain command)."""
    group = typer.main.get_command(app)
    commands: dict[str, object] = getattr(group, "commands", {})
    return {name: frozenset(getattr(command, "commands", {})) for name, command in commands.items()}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_named_commands_exist(page: Path) -> None:
    known = _commands(build())
    missing = []
    for words in COMMAND.findall(page.read_text()):
        first, _, second = words.partition(" ")
        if first not in known or (known[first] and second and second not in known[first]):
            missing.append(f"gor {words}")
    assert not missing
