"""Secrets become private files, bound to one origin."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from gitops_rollouts.errors import ConfigError
from gitops_rollouts.git.address import parse_address
from gitops_rollouts.git.credentials import Credentials, install


def test_http_credential_is_bound_to_its_origin(tmp_path: Path) -> None:
    held = Credentials.from_secret({"username": b"bot", "password": b"hunter2"})
    installed = install(held, parse_address("https://git.example.com/acme/deploy"), tmp_path / "s")
    ((key, helper),) = installed.settings
    assert key == "credential.https://git.example.com.helper"
    assert "hunter2" not in helper
    written = tmp_path / "s" / "credential"
    assert written.read_text() == "username=bot\npassword=hunter2\n"
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o700


def test_token_needs_no_user() -> None:
    assert Credentials.from_secret({"token": b"abc\n"}) == Credentials(username="git", password="abc")


def test_ssh_checks_the_host_and_reads_no_configuration(tmp_path: Path) -> None:
    held = Credentials.from_secret({"ssh-privatekey": b"KEY", "known_hosts": b"example.com ssh-ed25519 AAAA"})
    installed = install(held, parse_address("git@example.com:a"), tmp_path / "s")
    assert installed.ssh_command.startswith("ssh -F /dev/null -o BatchMode=yes")
    assert "StrictHostKeyChecking=yes" in installed.ssh_command
    assert (tmp_path / "s" / "key").read_text() == "KEY\n"
    assert not installed.settings


def test_nothing_secret_is_printed() -> None:
    held = Credentials.from_secret({"username": b"bot", "password": b"hunter2"})
    assert "hunter2" not in repr(held)
    assert held.redact("it said hunter2") == "it said …"


@pytest.mark.parametrize(
    "data",
    [{}, {"username": b"bot"}, {"password": b"a\nb"}, {"password": b"\xff"}, {"password": b"x" * 100_000}],
)
def test_unusable_secrets(data: dict[str, bytes]) -> None:
    with pytest.raises(ConfigError):
        Credentials.from_secret(data)


def test_from_a_mounted_secret(tmp_path: Path) -> None:
    (tmp_path / "username").write_text("bot")
    (tmp_path / "password").write_text("pw")
    (tmp_path / "..data").mkdir()
    assert Credentials.from_directory(tmp_path) == Credentials(username="bot", password="pw")
    with pytest.raises(ConfigError):
        Credentials.from_directory(tmp_path / "absent")
