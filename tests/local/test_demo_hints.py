"""What ``gor demo`` tells a person to type works in a shell that knows nothing yet."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from gitops_rollouts.local.demo import _HINTS, Demo, _path_hint


def test_another_shell_is_told_where_gor_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    assert _path_hint() == f"\n  export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH"
    monkeypatch.setenv("VIRTUAL_ENV", sys.prefix)
    assert _path_hint() == ""


def test_a_person_whom_git_does_not_know_gets_a_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "none"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for variable in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "EMAIL"):
        monkeypatch.delenv(variable, raising=False)
    demo = Demo(tmp_path, print)
    demo.clone.mkdir(parents=True)
    assert "export GIT_AUTHOR_NAME=You" in demo._identity_hint()
    (tmp_path / "none").write_text("[user]\n\tname = Ann\n\temail = ann@example.com\n")
    assert demo._identity_hint() == ""


def test_a_hint_that_is_pasted_whole_is_a_command_and_a_comment() -> None:
    commands = [line.strip() for line in _HINTS.splitlines() if line.startswith(("  gor ", "  git ", "  sed "))]
    assert len(commands) >= 7
    for line in commands:
        assert "  " not in line.partition(" #")[0].strip(), line
