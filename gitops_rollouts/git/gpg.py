"""GPG keys of commits, in key rings of our own: nobody's home has a say (docs/decisions.md §6).

A key ring is a folder that only this user may enter. To verify, one is made of the public keys that the cluster trusts
and goes at once; to sign, one holds the engine's private key as long as the GitSync is in use.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gitops_rollouts.errors import ConfigError, GitError

MAX_KEYS: Final = 200
_MAX_KEY: Final = 128 * 1024
_SECONDS: Final = 30
_FINGERPRINT: Final = re.compile(r"[0-9A-F]{40}|[0-9A-F]{64}")
_PRINCIPAL: Final = re.compile(r"[!-~]{1,200}")
_SIGNER: Final = "signer"
_OPTIONS: Final = """\
batch
no-tty
no-greeting
trust-model always
no-auto-key-retrieve
no-auto-key-locate
disable-dirmngr
no-random-seed-file
weak-digest SHA1
"""
_MISSING: Final = "install gpg (GnuPG), or use SSH keys"


@dataclass(frozen=True, slots=True)
class GpgSigner:
    """Whose key it is. ``fingerprint``: of the primary key. ``block``: the public key, in ASCII armour."""

    principals: tuple[str, ...]
    fingerprint: str
    block: str


def is_private_block(text: str) -> bool:
    """Whether a signing key is one of GPG's."""
    return "-----BEGIN PGP PRIVATE KEY BLOCK-----" in text


def parse_gpg_key(principal: str, block: str, what: str) -> GpgSigner:
    """Read one public key. ``what``: where it stands, for errors. Blocks for a moment: gpg looks at it.

    Raises ConfigError; GitError without a gpg.
    """
    remedy = "give a principal, and what gpg --armor --export prints for one key"
    if not _PRINCIPAL.fullmatch(principal):
        raise ConfigError(f"{what}: no principal can be read", remedy=remedy)
    if len(block) > _MAX_KEY:
        raise ConfigError(f"{what} is larger than {_MAX_KEY // 1024} KiB")
    with _home() as home:
        listed = _gpg(home, "--with-colons", "--import-options", "show-only", "--import", stdin=block)
    found = _primaries(listed.stdout)
    if len(found) != 1 or "PRIVATE" in block:
        raise ConfigError(f"{what} is not one public GPG key", remedy=remedy)
    return GpgSigner((principal,), found[0], block)


@contextmanager
def key_ring(signers: tuple[GpgSigner, ...]) -> Iterator[Path]:
    """A key ring with these public keys, and nothing else, as long as it is used. Raises GitError without a gpg."""
    with _home() as home:
        done = _gpg(home, "--no-autostart", "--import", stdin="\n".join(one.block for one in signers))
        if done.returncode != 0:
            raise GitError("the trusted GPG keys can't be read", remedy="look at spec.authority.gpgKeys")
        yield home


def make_signing_ring(home: Path, private_key: str) -> None:
    """Put a private key into a new key ring, and see that it signs without asking anybody.

    Raises ConfigError, never with the key's text. End the ring by `end_signing_ring`.
    """
    _prepare(home, "pinentry-mode loopback\n")
    remedy = "export one without a passphrase: gpg --armor --export-secret-keys ID"
    if len(private_key) > _MAX_KEY:
        raise ConfigError(f"the signing key is larger than {_MAX_KEY // 1024} KiB")
    try:
        _gpg(home, "--passphrase", "", "--import", stdin=private_key)
        found = _primaries(_gpg(home, "--with-colons", "--list-secret-keys", "--with-fingerprint").stdout)
        if len(found) != 1:
            raise ConfigError("the signing key is not one private GPG key", remedy=remedy)
        tried = _gpg(home, "--passphrase", "", "--local-user", found[0], "--output", "-", "--detach-sign", stdin="try")
        if tried.returncode != 0:
            raise ConfigError("the GPG signing key can't sign, or has a passphrase", remedy=remedy)
    except GitError as err:
        raise ConfigError(err.message, remedy=err.remedy) from err
    (home / _SIGNER).write_text(found[0], encoding="ascii")


def end_signing_ring(home: Path) -> None:
    """End what gpg left running for a key ring, and remove it."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):  # they end by themselves once their folder is gone
        subprocess.run(
            ["gpgconf", "--homedir", str(home), "--kill", "all"], capture_output=True, timeout=5, check=False
        )
    shutil.rmtree(home, ignore_errors=True)


def signing_settings(ring: Path) -> tuple[tuple[tuple[str, str], ...], dict[str, str]]:
    """Git's settings and the variables by which a commit is signed with a ring's key."""
    fingerprint = (ring / _SIGNER).read_text(encoding="ascii")
    return (("gpg.format", "openpgp"), ("gpg.program", "gpg"), ("user.signingKey", fingerprint)), {
        "GNUPGHOME": str(ring)
    }


# --- inside ------------------------------------------------------------------------------------------------------


@contextmanager
def _home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="gor-gpg-", ignore_cleanup_errors=True) as name:  # mode 0700
        home = Path(name)
        _prepare(home, "no-autostart\n")
        yield home


def _prepare(home: Path, more: str) -> None:
    home.mkdir(mode=0o700, exist_ok=True)
    (home / "gpg.conf").write_text(_OPTIONS + more, encoding="ascii")
    (home / "common.conf").write_text("", encoding="ascii")  # so that no daemon keeps the public keys


def _gpg(home: Path, *args: str, stdin: str = "") -> subprocess.CompletedProcess[bytes]:
    environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": "/nonexistent", "LC_ALL": "C"}
    try:
        return subprocess.run(
            ["gpg", "--homedir", str(home), "--status-fd", "2", *args], input=stdin.encode("utf-8", "replace"),
            env=environment, capture_output=True, timeout=_SECONDS, check=False,
        )  # fmt: skip
    except FileNotFoundError as err:
        raise GitError("GPG keys can't be used", remedy=_MISSING) from err
    except (OSError, subprocess.SubprocessError) as err:
        raise GitError("gpg can't be run, or gives no answer", remedy=_MISSING) from err


def _primaries(listing: bytes) -> list[str]:
    """The fingerprints of the primary keys in gpg's listing."""
    found: list[str] = []
    primary = False
    for line in listing.decode("utf-8", "replace").splitlines():
        fields = line.split(":")
        if fields[0] in ("pub", "sec"):
            primary = True
        elif fields[0] == "fpr" and primary and len(fields) > 9 and _FINGERPRINT.fullmatch(fields[9]):
            found.append(fields[9])
            primary = False
    return found
