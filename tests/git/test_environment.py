"""What git's children see."""

from __future__ import annotations

from pathlib import Path

import pytest

from git_remote import BOT, Remote
from gitops_rollouts.git.child import GitChild
from gitops_rollouts.git.credentials import InstalledCredentials
from gitops_rollouts.git.environment import engine_environment, person_environment
from gitops_rollouts.git.repository import Mirror


def seen_by(child: GitChild) -> dict[str, str]:
    # an alias is the shortest way to run env(1) where git runs its helpers
    shown = child.run("-c", "alias.see=!env -0", "see").out.decode().split("\x00")
    return dict(line.split("=", 1) for line in shown if line)


def test_the_engine_inherits_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_PARAMETERS", "'core.sshCommand=touch x'")
    monkeypatch.setenv("GIT_SSH_COMMAND", "touch x")
    monkeypatch.setenv("SECRET_TOKEN", "hunter2")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    child = GitChild(tmp_path, engine_environment(InstalledCredentials(), scheme="https"))
    seen = seen_by(child)
    assert "SECRET_TOKEN" not in seen
    assert "GIT_SSH_COMMAND" not in seen
    assert "touch" not in seen.get("GIT_CONFIG_PARAMETERS", "")
    assert seen["HTTPS_PROXY"] == "http://proxy:3128"
    assert seen["HOME"] == "/nonexistent"
    assert seen["GIT_CONFIG_GLOBAL"] == "/dev/null"
    assert seen["GIT_ALLOW_PROTOCOL"] == "https"


def test_a_person_keeps_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/agent")
    monkeypatch.setenv("GIT_DIR", "/elsewhere")
    monkeypatch.setenv("HOME", str(tmp_path))
    seen = seen_by(GitChild(tmp_path / "x.git", person_environment()))
    assert seen["SSH_AUTH_SOCK"] == "/run/agent"
    assert seen["HOME"] == str(tmp_path)
    assert seen.get("GIT_DIR", "") != "/elsewhere"


def test_no_hook_of_the_mirror_runs(remote: Remote, mirror: Mirror, tmp_path: Path) -> None:
    base = remote.put({"a": "1\n"})
    mirror.fetch("main")
    for name in ("reference-transaction", "pre-push", "post-checkout", "pre-commit"):
        hook = mirror.path / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
        hook.chmod(0o755)
    mirror.push(mirror.commit(base, {"a": b"2\n"}, "m", BOT), "main", base)
    mirror.fetch("main")
    assert not (tmp_path / "ran").exists()


def test_a_person_commits_under_their_name_and_key(
    remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = remote.put({"a": "1\n"})
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    (tmp_path / ".gitconfig").write_text("[user]\n\tname = Alice Ops\n\temail = alice@example.invalid\n")
    mirror = Mirror(tmp_path / "p.git", remote.url, allow_file=True, environment=person_environment())
    mirror.fetch("main")
    assert mirror.info(mirror.commit(base, {"a": b"2\n"}, "m")).author == "Alice Ops"
    mirror.close()
