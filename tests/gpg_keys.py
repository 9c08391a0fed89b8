"""Real GPG keys made by gpg, and people who sign with them."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from git_remote import Remote
from gitops_rollouts.git.gpg import GpgSigner, parse_gpg_key


class GpgKey:
    """One key in a home of its own. ``principal``: whose it is, whatever the key says of itself."""

    def __init__(self, folder: Path, principal: str, *, says: str = "", passphrase: str = "") -> None:
        if shutil.which("gpg") is None:
            pytest.skip("there is no gpg")
        self.principal = principal
        self.home = folder / f"g{len(list(folder.iterdir()))}"  # short: sockets are in there
        self.home.mkdir(mode=0o700)
        self._passphrase = passphrase
        self.run("--quick-generate-key", says or principal, "ed25519", "sign", "never")
        listed = self.run("--with-colons", "--list-secret-keys").decode()
        self.fingerprint = next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr"))
        self.public = self.run("--armor", "--export").decode()
        self.private = self.run("--armor", "--export-secret-keys").decode()

    def run(self, *args: str) -> bytes:
        argv = ["gpg", "--homedir", str(self.home), "--batch", "--pinentry-mode", "loopback"]
        argv += ["--passphrase", self._passphrase, *args]
        return subprocess.run(argv, check=True, capture_output=True, timeout=60).stdout

    @property
    def signer(self) -> GpgSigner:
        return parse_gpg_key(self.principal, self.public, "the test's key")

    @contextmanager
    def signs(self, remote: Remote) -> Iterator[None]:
        """Everything that the person commits meanwhile is signed with it."""
        wrapper = self.home / "gpg"
        wrapper.write_text(f'#!/bin/sh\nexec gpg --homedir "{self.home}" --batch "$@"\n')
        wrapper.chmod(0o755)
        settings = {"gpg.program": str(wrapper), "user.signingkey": self.fingerprint, "commit.gpgsign": "true"}
        for name, value in settings.items():
            remote.git("config", name, value)
        try:
            yield
        finally:
            for name in settings:
                remote.git("config", "--unset", name)

    def end(self) -> None:
        """End its agent."""
        subprocess.run(["gpgconf", "--homedir", str(self.home), "--kill", "all"], check=False, capture_output=True)


MakeGpgKey = Callable[..., GpgKey]


@pytest.fixture
def gpg_keys() -> Iterator[MakeGpgKey]:
    """Keys in a short folder: a socket's path has an end."""
    made: list[GpgKey] = []
    with tempfile.TemporaryDirectory(prefix="gk", ignore_cleanup_errors=True) as name:

        def key(principal: str, **more: str) -> GpgKey:
            made.append(GpgKey(Path(name), principal, **more))
            return made[-1]

        yield key
        for each in made:
            each.end()
