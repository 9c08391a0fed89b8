"""The pool of mirrors: what GitSyncs share, and what stays on disk."""

from __future__ import annotations

from pathlib import Path

from gitops_rollouts.git.credentials import Credentials
from gitops_rollouts.sync.repositories import Remote, Repositories


def test_rotated_credentials_use_the_same_few_directories(tmp_path: Path) -> None:
    repositories = Repositories(tmp_path)
    used: set[Path] = set()
    for rotation in range(6):
        held = Credentials.from_secret({"username": b"u", "password": f"p{rotation}".encode()})
        remote = Remote("https://git.example.com/acme/deploy.git", held)
        mirrors = [repositories.mirror(name, remote) for name in ("prod", "staging")]
        assert mirrors[0] is mirrors[1]
        used.add(mirrors[0].path)
    repositories.close()
    assert len(used) == 2
