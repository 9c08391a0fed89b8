"""A mirror over SSH, against a real sshd on this machine; skipped where there is none."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from git_remote import BOT, Remote
from gitops_rollouts.errors import GitAccessDenied, GitError
from gitops_rollouts.git.credentials import Credentials
from gitops_rollouts.git.repository import Mirror
from waiting import wait_for

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
pytestmark = pytest.mark.skipif(SSHD is None, reason="needs sshd (Debian: openssh-server)")


def keypair(path: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


def answers(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        return connection.recv(4) == b"SSH-"


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[int]:
    """An sshd of this test alone that lets one key in; its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    host, person = keypair(tmp_path / "host"), keypair(tmp_path / "person")
    allowed = tmp_path / "authorized_keys"
    allowed.write_text(person.with_suffix(".pub").read_text())
    allowed.chmod(0o600)
    config = tmp_path / "sshd_config"
    config.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {host}\nAuthorizedKeysFile {allowed}\nPidFile none\n"
        "StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n"
    )
    assert SSHD is not None
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # where sshd, as root, gives up its rights
    process = subprocess.Popen([SSHD, "-D", "-e", "-f", str(config)], stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: answers(port), what="sshd answers", ignore=(OSError,))
        yield port
    finally:
        process.terminate()
        process.wait(timeout=10)


def secret(tmp_path: Path, port: int, *, key: str = "person", host: str = "host") -> Credentials:
    """As a Secret of type kubernetes.io/ssh-auth holds it."""
    public = (tmp_path / host).with_suffix(".pub").read_text()
    return Credentials.from_secret(
        {
            "ssh-privatekey": (tmp_path / key).read_bytes(),
            "known_hosts": f"[127.0.0.1]:{port} {public}".encode(),
        }
    )


def url(remote: Remote, port: int) -> str:
    return f"ssh://{getpass.getuser()}@127.0.0.1:{port}{remote.bare}"


def test_fetch_and_push(sshd: int, remote: Remote, tmp_path: Path) -> None:
    first = remote.put({"a.yaml": "one\n"})
    mirror = Mirror(tmp_path / "mirror", url(remote, sshd), secret(tmp_path, sshd))
    assert mirror.look("main")[0] == first
    assert mirror.fetch("main") == first
    commit = mirror.commit(first, {"a.yaml": b"two\n"}, "two", BOT)
    mirror.push(commit, "main", first)
    assert mirror.ls_remote("main") == commit
    mirror.close()


def test_a_key_that_is_not_let_in(sshd: int, remote: Remote, tmp_path: Path) -> None:
    remote.put({"a.yaml": "one\n"})
    keypair(tmp_path / "stranger")
    mirror = Mirror(tmp_path / "mirror", url(remote, sshd), secret(tmp_path, sshd, key="stranger"))
    with pytest.raises(GitAccessDenied):
        mirror.look("main")
    mirror.close()


def test_a_host_that_is_not_the_known_one(sshd: int, remote: Remote, tmp_path: Path) -> None:
    remote.put({"a.yaml": "one\n"})
    keypair(tmp_path / "elsewhere")
    mirror = Mirror(tmp_path / "mirror", url(remote, sshd), secret(tmp_path, sshd, host="elsewhere"))
    with pytest.raises(GitError, match=r"(?i)host key"):
        mirror.look("main")
    mirror.close()
