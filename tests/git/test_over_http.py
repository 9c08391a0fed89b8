"""A real server over HTTP: credentials, outages, read-only and protected remotes."""

from __future__ import annotations

from pathlib import Path

import pytest

from git_remote import BOT
from gitops_rollouts.errors import GitAccessDenied, GitError, GitUnreachable, PushRefused
from gitops_rollouts.git.credentials import Credentials
from gitops_rollouts.git.repository import Mirror
from gitops_rollouts.local.git_server import GitServer

HELD = Credentials(username="bot", password="hunter2-and-more")


def served(server: GitServer) -> str:
    return server.create_repository("app", {"a.yaml": b"one\n"})


def test_with_and_without_the_credential(git_server: GitServer, tmp_path: Path) -> None:
    url = served(git_server)
    git_server.user, git_server.password = HELD.username, HELD.password
    anonymous, wrong, right = (
        Mirror(tmp_path / f"{number}.git", url, held)
        for number, held in enumerate((None, Credentials(username="bot", password="wrong-one"), HELD))
    )
    for mirror in (anonymous, wrong):
        with pytest.raises(GitAccessDenied) as caught:
            mirror.ls_remote("main")
        assert "wrong-one" not in str(caught.value)
    base = right.fetch("main")
    right.push(right.commit(base, {"a.yaml": b"two\n"}, "m", BOT), "main", base)
    assert right.ls_remote("main") == right.head("main") != base
    reader = Mirror(tmp_path / "rw.git", url, HELD, write_credentials=Credentials(username="bot", password="other-one"))
    head = reader.fetch("main")
    with pytest.raises(GitAccessDenied):
        reader.push(reader.commit(head, {"a.yaml": b"3\n"}, "m", BOT), "main", head)
    for mirror in (anonymous, wrong, right, reader):
        mirror.close()


def test_outage_and_return(git_server: GitServer, tmp_path: Path) -> None:
    mirror = Mirror(tmp_path / "m.git", served(git_server))
    head = mirror.fetch("main")
    git_server.stop()
    with pytest.raises(GitUnreachable):
        mirror.fetch("main")
    with pytest.raises(GitUnreachable):
        mirror.push(mirror.commit(head, {"a.yaml": b"two\n"}, "m", BOT), "main", head)
    git_server.start()
    assert mirror.fetch("main") == head
    mirror.close()


def test_policies(git_server: GitServer, tmp_path: Path) -> None:
    mirror = Mirror(tmp_path / "m.git", served(git_server))
    head = mirror.fetch("main")
    commit = mirror.commit(head, {"a.yaml": b"two\n"}, "m", BOT)
    git_server.protect_branch("app", "main")
    with pytest.raises(PushRefused):
        mirror.push(commit, "main", head)
    mirror.push(commit, "rollouts/record/prod", None)
    git_server.set_read_only("app", True)
    with pytest.raises(GitError) as caught:
        mirror.push(commit, "rollouts/other", None)
    assert isinstance(caught.value, GitAccessDenied | PushRefused)
    mirror.close()


def test_no_such_repository(git_server: GitServer, tmp_path: Path) -> None:
    mirror = Mirror(tmp_path / "m.git", served(git_server).replace("app", "absent"))
    with pytest.raises(GitUnreachable, match="no such repository"):
        mirror.ls_remote("main")
    mirror.close()
