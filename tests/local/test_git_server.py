"""The Git server that the demo and the tests use behaves like one of the large hosts, outages included."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from gitops_rollouts.errors import ConfigError
from gitops_rollouts.local.git_server import GitServer


def git(*argv: str, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_AUTHOR_NAME": "Dana",
        "GIT_AUTHOR_EMAIL": "dana@example.com",
        "GIT_COMMITTER_NAME": "Dana",
        "GIT_COMMITTER_EMAIL": "dana@example.com",
    }
    done = subprocess.run(["git", *argv], cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 or not check, done.stderr
    return done


def clone_and_commit(url: str, folder: Path) -> Path:
    git("clone", "-q", url, str(folder), cwd=folder.parent)
    (folder / "new.txt").write_text("new\n")
    git("add", "-A", cwd=folder)
    git("commit", "-q", "-m", "new", cwd=folder)
    return folder


def test_first_files_are_cloned_and_a_push_is_fetched(git_server: GitServer, tmp_path: Path) -> None:
    files = {"envs/prod/web.yaml": "kind: X\n", 'odd "name"\\.txt': b"\x00\xff", "naïve.txt": "é"}
    url = git_server.create_repository("acme/deploy", files)
    git("-c", "core.quotePath=false", "clone", "-q", url, "one", cwd=tmp_path)
    assert {
        str(p.relative_to(tmp_path / "one"))
        for p in (tmp_path / "one").rglob("*")
        if p.is_file() and ".git/" not in str(p)
    } == set(files)
    assert (tmp_path / "one" / 'odd "name"\\.txt').read_bytes() == b"\x00\xff"

    two = clone_and_commit(url, tmp_path / "two")
    git("push", "-q", "origin", "main", cwd=two)
    git("pull", "-q", cwd=tmp_path / "one")
    assert (tmp_path / "one" / "new.txt").read_text() == "new\n"


def test_a_push_larger_than_gits_buffer_arrives(git_repo: str, tmp_path: Path) -> None:
    work = clone_and_commit(git_repo, tmp_path / "work")
    (work / "large.bin").write_bytes(os.urandom(3_000_000))
    git("add", "-A", cwd=work)
    git("commit", "-q", "-m", "large", cwd=work)
    git("push", "-q", "origin", "HEAD:main", cwd=work)
    git("clone", "-q", git_repo, "again", cwd=tmp_path)
    assert (tmp_path / "again" / "large.bin").read_bytes() == (work / "large.bin").read_bytes()


def test_user_and_password_are_asked_for(git_server: GitServer, tmp_path: Path) -> None:
    url = git_server.create_repository("private", {"a": "1"})
    git_server.user, git_server.password = "robot", "s3cret"
    refused = git("ls-remote", url, cwd=tmp_path, check=False)
    assert refused.returncode != 0
    wrong = git("ls-remote", url.replace("http://", "http://robot:wrong@"), cwd=tmp_path, check=False)
    assert "Authentication failed" in wrong.stderr
    assert "refs/heads/main" in git("ls-remote", url.replace("http://", "http://robot:s3cret@"), cwd=tmp_path).stdout


def test_an_outage_ends_on_the_same_port_with_the_same_content(git_server: GitServer, tmp_path: Path) -> None:
    url = git_server.create_repository("app", {"a": "1"})
    before = git("ls-remote", url, cwd=tmp_path).stdout
    git_server.stop()
    assert git("ls-remote", url, cwd=tmp_path, check=False).returncode != 0
    git_server.stop()
    git_server.start()
    assert git("ls-remote", url, cwd=tmp_path).stdout == before
    assert git_server.url("app") == url


def test_a_protected_branch_refuses_and_says_why(git_server: GitServer, git_repo: str, tmp_path: Path) -> None:
    work = clone_and_commit(git_repo, tmp_path / "work")
    git_server.protect_branch("app", "main")
    refused = git("push", "origin", "HEAD:main", cwd=work, check=False)
    assert refused.returncode != 0
    assert "protected branch main" in refused.stderr
    assert "pre-receive hook declined" in refused.stderr
    git("push", "-q", "origin", "HEAD:refs/heads/other", cwd=work)
    git_server.set_pre_receive_hook("app", None)
    git("push", "-q", "origin", "HEAD:main", cwd=work)


def test_a_read_only_repository_answers_403(git_server: GitServer, git_repo: str, tmp_path: Path) -> None:
    work = clone_and_commit(git_repo, tmp_path / "work")
    git_server.set_read_only("app", True)
    refused = git("push", "origin", "HEAD:main", cwd=work, check=False)
    assert "403" in refused.stderr
    git_server.set_read_only("app", False)
    git("push", "-q", "origin", "HEAD:main", cwd=work)


def test_an_unknown_repository_is_not_found_and_requests_are_kept(git_server: GitServer, tmp_path: Path) -> None:
    refused = git("ls-remote", git_server.url("nothing"), cwd=tmp_path, check=False)
    assert "not found" in refused.stderr
    assert list(git_server.seen) == ["GET /nothing.git/info/refs?service=git-upload-pack"]


@pytest.mark.parametrize("name", ["", "../up", "/etc", "a/../b", "-x", ".hidden", "a b", "a\n"])
def test_a_name_that_leaves_the_root_is_refused(git_server: GitServer, name: str) -> None:
    with pytest.raises(ConfigError):
        git_server.create_repository(name)


def test_what_a_person_configured_changes_nothing(
    git_server: GitServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gitconfig").write_text("[transfer]\n\thideRefs = refs/heads\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    url = git_server.create_repository("app", {"a": "1"})
    assert "refs/heads/main" in git("ls-remote", url, cwd=tmp_path).stdout
