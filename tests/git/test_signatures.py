"""Signing with a key from a file, and reading who signed what (docs/decisions.md §6)."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from git_remote import BOT, Remote
from gitops_rollouts.errors import ConfigError
from gitops_rollouts.git.repository import Mirror
from gitops_rollouts.git.signatures import Signatures, SigningKeys, parse_signers
from ssh_keys import Key


def test_a_commit_made_without_a_work_tree_is_signed_and_git_says_so(
    remote: Remote, mirror: Mirror, tmp_path: Path
) -> None:
    head = remote.put({"a": "1"})
    mirror.fetch("main")
    engine, other = Key(tmp_path, "engine@prod"), Key(tmp_path, "other@prod")
    keys = SigningKeys()
    keys.put("prod", engine.private.rstrip("\n"))
    path = Path(keys.path("prod") or "")
    assert (stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(path.parent.stat().st_mode)) == (0o600, 0o700)
    signed = mirror.commit(head, {"a": b"2"}, "signed", BOT, sign=str(path))
    with other.signs(remote):
        strange = remote.put({"b": "1"})
    with engine.signs(remote):
        good = remote.put({"b": "2"})
    mirror.fetch("main")
    signatures = Signatures(mirror.path)
    found = signatures.look([signed, head, strange, good], parse_signers(engine.line, "here"))
    assert [found[one].state for one in (signed, head, strange, good)] == ["good", "none", "unknown", "good"]
    assert found[signed].principals == ("engine@prod",)
    assert "SHA256:" in found[strange].text
    # another list of signers is another question
    assert signatures.look([signed], parse_signers(other.line, "here"))[signed].state == "unknown"
    keys.put("prod", None)
    assert (keys.path("prod"), path.exists()) == (None, False)
    keys.put("prod", engine.private)
    keys.close()
    assert not path.parent.exists()


def test_a_forged_signature_does_not_hold(remote: Remote, mirror: Mirror, tmp_path: Path) -> None:
    alice = Key(tmp_path, "alice@example.com")
    with alice.signs(remote):
        commit = remote.put({"a": "1"})
    body = remote.git("cat-file", "commit", commit)
    (tmp_path / "forged").write_text(body.replace("change", "other") + "\n")
    forged = remote.git("hash-object", "-t", "commit", "-w", str(tmp_path / "forged"))
    remote.git("push", "-q", "--force", "origin", f"{forged}:refs/heads/main")
    mirror.fetch("main")
    assert Signatures(mirror.path).look([forged], parse_signers(alice.line, "here"))[forged].state == "bad"


@pytest.mark.parametrize(
    ("options", "state"),
    [
        ("", "good"),
        ('namespaces="git"', "good"),
        ('namespaces="file"', "bad"),
        ('valid-before="20200101"', "bad"),
        ('namespaces="git",valid-after="20200101"', "good"),
    ],
)
def test_the_options_of_a_line_count(remote: Remote, mirror: Mirror, tmp_path: Path, options: str, state: str) -> None:
    alice = Key(tmp_path, "alice@example.com")
    with alice.signs(remote):
        commit = remote.put({"a": "1"})
    mirror.fetch("main")
    line = f"alice@example.com,al@example.com {options} {alice.public} her laptop"
    found = Signatures(mirror.path).look([commit], parse_signers(f"# people\n\n{line}\n", "here"))[commit]
    assert (found.state == "good") is (state == "good")
    assert found.principals == (("alice@example.com", "al@example.com") if state == "good" else ())


@pytest.mark.parametrize(
    "text",
    [
        "alice@example.com",
        "alice@example.com ssh-ed25519",
        "alice@example.com ssh-ed25519 AAAAB3NzaC1yc2EAAAADAQABAAABAQDxxxxxxxxxxxxxxxx",
        "alice@example.com cert-authority ssh-ed25519 AAAA",
        "alice@example.com verify-required ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGx",
        "a" * 300_000,
    ],
)
def test_what_is_no_allowed_signer_is_refused_by_its_line(text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_signers(f"# first\n{text}", "the list")
    assert "the list" in str(raised.value)


@pytest.mark.parametrize("passphrase", ["secret", ""])
def test_a_key_that_cannot_sign_is_refused_and_not_told(tmp_path: Path, passphrase: str) -> None:
    key = Key(tmp_path, "engine@prod", passphrase=passphrase)
    private = key.private if passphrase else key.private.replace("A", "B")
    keys = SigningKeys()
    with pytest.raises(ConfigError) as raised:
        keys.put("prod", private)
    assert private.splitlines()[1] not in str(raised.value)
    assert (keys.path("prod"), list((keys._folder or tmp_path / "none").iterdir())) == (None, [])
    keys.close()
