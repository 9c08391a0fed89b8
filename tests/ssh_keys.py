"""Real SSH keys made by ssh-keygen, and people who sign with them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from git_remote import Remote
from gitops_rollouts.decisions.policy import Policy
from gitops_rollouts.git.signatures import parse_signers


class Key:
    """One key pair. ``principal``: whose it is."""

    def __init__(self, folder: Path, principal: str, *, passphrase: str = "") -> None:
        self.principal = principal
        self.path = folder / f"key-{principal.partition('@')[0]}"
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", principal, "-f", str(self.path)]
        subprocess.run(argv, check=True, capture_output=True)
        self.private = self.path.read_text()
        self.public = " ".join(self.path.with_suffix(".pub").read_text().split()[:2])

    @property
    def line(self) -> str:
        """Its line among the allowed signers."""
        return f"{self.principal} {self.public}"

    @contextmanager
    def signs(self, remote: Remote) -> Iterator[None]:
        """Everything that the person commits meanwhile is signed with it."""
        settings = {"gpg.format": "ssh", "user.signingkey": str(self.path), "commit.gpgsign": "true"}
        for name, value in settings.items():
            remote.git("config", name, value)
        try:
            yield
        finally:
            for name in settings:
                remote.git("config", "--unset", name)


def policy(*keys: Key, promoters: tuple[Key, ...] = (), engines: tuple[Key, ...] = ()) -> Policy:
    """A policy that trusts ``keys``, promoters and engines."""
    lines = "\n".join(key.line for key in (*keys, *promoters, *engines))
    names = frozenset(key.principal for key in promoters), frozenset(key.principal for key in engines)
    return Policy(parse_signers(lines, "the test's signers"), *names)
