"""A mirror against real repositories: look, fetch, read, commit, push."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from git_remote import BOT, Remote
from gitops_rollouts.errors import (
    ConfigError,
    GitError,
    GitUnreachable,
    InputError,
    LeadershipLost,
    PushRaced,
    PushRefused,
    RefMissing,
)
from gitops_rollouts.git.repository import Mirror
from gitops_rollouts.git.tree import clean_path


def test_look_and_fetch(remote: Remote, mirror: Mirror) -> None:
    first = remote.put({"a.yaml": "one\n"})
    assert mirror.ls_remote("main") == first
    assert mirror.ls_remote("absent") is None
    assert mirror.head("main") is None
    assert mirror.fetch("main") == first
    assert mirror.head("main") == first
    remote.git("push", "-q", "origin", "HEAD:refs/heads/rollouts/promote/prod/x-g1")
    second = remote.put({"a.yaml": "two\n"})
    assert mirror.look("main") == (second, {"rollouts/promote/prod/x-g1": first})
    assert mirror.fetch("main") == second
    assert mirror.list_refs() == {"rollouts/promote/prod/x-g1": first}
    remote.git("push", "-q", "origin", ":refs/heads/rollouts/promote/prod/x-g1")
    mirror.fetch("main")
    assert mirror.list_refs() == {}


def test_a_lost_branch_or_repository_keeps_what_was_fetched(remote: Remote, mirror: Mirror) -> None:
    first = remote.put({"a.yaml": "one\n"})
    mirror.fetch("main")
    remote.git("push", "-q", "origin", "HEAD:refs/heads/other", ":refs/heads/main")
    with pytest.raises(RefMissing):
        mirror.fetch("main")
    assert mirror.head("main") == first
    remote.bare.rename(remote.bare.with_name("moved.git"))
    with pytest.raises(GitUnreachable):
        mirror.fetch("main")
    with pytest.raises(GitUnreachable):
        mirror.ls_remote("main")
    assert mirror.tree(first).read("a.yaml") == b"one\n"


def test_a_replaced_head_stays_reachable(remote: Remote, mirror: Mirror) -> None:
    remote.put({"a.yaml": "one\n"})
    gone = remote.put({"a.yaml": "two\n"})
    mirror.fetch("main")
    remote.git("reset", "-q", "--hard", "HEAD~1")
    remote.write({"a.yaml": "three\n"})
    remote.push("-f")
    assert mirror.fetch("main") != gone
    os.system(f"git --git-dir={mirror.path} gc -q --prune=now")  # noqa: S605
    assert mirror.tree(gone).read("a.yaml") == b"two\n"


def test_tree(remote: Remote, mirror: Mirror) -> None:
    (remote.work / "envs").mkdir()
    (remote.work / "envs" / "link.yaml").symlink_to("/etc/passwd")
    commit = remote.put({"envs/a[1].yaml": "a\n", "envs/deep/b.yaml": "bb\n", "envsx/c.yaml": "c\n", "empty": b""})
    mirror.fetch("main")
    tree = mirror.tree(commit)
    assert [entry.path for entry in tree.entries("envs/")] == ["envs/a[1].yaml", "envs/deep/b.yaml", "envs/link.yaml"]
    assert [entry.path for entry in tree.entries("absent")] == []
    assert len(tree.entries()) == 5
    assert [entry.path for entry in tree.entries("empty")] == ["empty"]
    assert tree.read("envs/a[1].yaml") == b"a\n"
    assert tree.read("empty") == b""
    with pytest.raises(InputError, match="symbolic link"):
        tree.read("envs/link.yaml")
    with pytest.raises(InputError, match="no such file"):
        tree.read("envs")
    with pytest.raises(InputError, match="MiB"):
        tree.read("envs/deep/b.yaml", cap=2)
    assert tree.subtree_oid("absent") is None
    assert tree.subtree_oid("envs") == remote.git("rev-parse", "HEAD:envs")
    assert tree.subtree_oid("") == remote.git("rev-parse", "HEAD^{tree}")
    before = tree.oid_without(".rollouts")
    second = remote.put({".rollouts/x/y.yaml": "z\n"})
    mirror.fetch("main")
    assert mirror.tree(second).oid_without(".rollouts") == before
    with pytest.raises(RefMissing):
        mirror.tree("0" * 40)


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", ".git/config", "a/.GIT/x", "a\x00b"])
def test_paths_that_lead_out(path: str) -> None:
    with pytest.raises(InputError):
        clean_path(path)


def test_names_that_are_not_text(remote: Remote, mirror: Mirror) -> None:
    odd = remote.work / "odd"
    odd.mkdir()
    Path(os.fsdecode(os.fsencode(odd) + b"/\xff\x01.yaml")).write_bytes(b"x")
    commit = remote.put({"odd/fine.yaml": "y"})
    mirror.fetch("main")
    tree = mirror.tree(commit)
    assert [tree.read_entry(entry) for entry in tree.entries("odd")] == [b"y", b"x"]
    assert {change.path for step in mirror.history.walk(commit) for change in step.changes} == {
        "odd/fine.yaml",
        "odd/\\xff\x01.yaml",
    }


def test_commit_touches_nothing_else(remote: Remote, mirror: Mirror) -> None:
    (remote.work / "run.sh").write_text("#!/bin/sh\n")
    (remote.work / "run.sh").chmod(0o755)
    base = remote.put({"a.yaml": "one\r\n", "b.yaml": "keep\n", "deep/c.yaml": "c\n"})
    mirror.fetch("main")
    edits = {"a.yaml": b"two\r\n", "run.sh": b"#!/bin/sh\nx\n", "deep/c.yaml": None, ".rollouts/p/n/w.yaml": b"o\n"}
    commit = mirror.commit(base, edits, "say why\n\nbody\n", BOT)
    mirror.push(commit, "main", base)
    assert remote.pull() == commit
    assert remote.git("show", "--raw", "--no-abbrev", "--format=%an <%ae> %s", commit).splitlines()[0] == (
        "gitops-rollouts[bot] <bot@example.invalid> say why"
    )
    assert remote.git("ls-tree", "-r", "--format=%(objectmode) %(path)", commit).splitlines() == [
        "100644 .rollouts/p/n/w.yaml",
        "100644 a.yaml",
        "100644 b.yaml",
        "100755 run.sh",
    ]
    assert (remote.work / "a.yaml").read_bytes() == b"two\r\n"
    assert mirror.head("main") == commit
    assert not list(mirror.path.glob("gor-write-*"))


def test_commit_refusals(remote: Remote, mirror: Mirror) -> None:
    (remote.work / "link").symlink_to("a.yaml")
    base = remote.put({"a.yaml": "one\n"})
    mirror.fetch("main")
    for edits, words in (
        ({"a.yaml": b"one\n"}, "change nothing"),
        ({"link": b"x"}, "link"),
        ({"link/x.yaml": b"x"}, "no directory"),
        ({"absent": None}, "isn't there"),
    ):
        with pytest.raises(GitError, match=words):
            mirror.commit(base, edits, "m", BOT)
    with pytest.raises(InputError):
        mirror.commit(base, {"../x": b"x"}, "m", BOT)


def test_push_is_compare_and_swap(remote: Remote, mirror: Mirror) -> None:
    base = remote.put({"a.yaml": "one\n"})
    mirror.fetch("main")
    mine = mirror.commit(base, {"a.yaml": b"mine\n"}, "m", BOT)
    theirs = remote.put({"b.yaml": "theirs\n"})
    with pytest.raises(PushRaced):
        mirror.push(mine, "main", base)
    assert mirror.fetch("main") == theirs
    again = mirror.commit(theirs, {"a.yaml": b"mine\n"}, "m", BOT)
    mirror.push(again, "main", theirs)
    with pytest.raises(PushRaced):
        mirror.push(again, "new", theirs)
    mirror.push(again, "rollouts/x", None)
    with pytest.raises(PushRaced):
        mirror.push(theirs, "rollouts/x", None)
    with pytest.raises(PushRaced):
        mirror.delete_branch("rollouts/x", theirs)
    mirror.delete_branch("rollouts/x", again)
    assert mirror.look("main") == (again, {})
    with pytest.raises(GitError):
        mirror.delete_branch("main", again)


def test_policy_is_not_a_race(remote: Remote, mirror: Mirror) -> None:
    base = remote.put({"a.yaml": "one\n"})
    hook = remote.bare / "hooks" / "pre-receive"
    hook.parent.mkdir()
    hook.write_text("#!/bin/sh\necho 'GH006: Protected branch update failed'\nexit 1\n")
    hook.chmod(0o755)
    mirror.fetch("main")
    mine = mirror.commit(base, {"a.yaml": b"mine\n"}, "m", BOT)
    with pytest.raises(PushRefused, match=r"pre-receive hook declined.*GH006"):
        mirror.push(mine, "main", base)


def test_eight_at_once(remote: Remote, new_mirror: Callable[..., Mirror]) -> None:
    base = remote.put({f"{n}.yaml": "0\n" for n in range(8)})
    outcomes: list[str] = []

    def work(number: int) -> None:
        mirror = new_mirror(f"m{number}")
        mirror.fetch("main")
        commit = mirror.commit(base, {f"{number}.yaml": b"1\n"}, f"m{number}", BOT)
        try:
            mirror.push(commit, "main", base)
            outcomes.append("pushed")
        except PushRaced:
            outcomes.append("raced")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["pushed"] + ["raced"] * 7


def test_history(remote: Remote, mirror: Mirror) -> None:
    one = remote.put({"a/x": "1\n", "b/y": "1\n"})
    remote.git("checkout", "-q", "-b", "side")
    side = remote.write({"a/x": "2 id=d-abc\n"})
    remote.git("checkout", "-q", "main")
    two = remote.write({"b/y": "2\n"})
    remote.git("merge", "-q", "--no-ff", "-m", "merge", "side")
    merge = remote.git("rev-parse", "HEAD")
    three = remote.put({"a/x": None}, "gone\n\nRollout-Engine: e/1\nRollout-Engine: e/2")
    mirror.fetch("main")
    history = mirror.history
    assert mirror.first_parents(three) == [three, merge, two, one]
    assert mirror.first_parents(three, until=two) == [three, merge]
    assert [step.commit for step in history.walk(three, paths=["a"])] == [three, merge, one]
    assert [step.commit for step in history.walk(three, paths=["a"], page=1)] == [three, merge, one]
    steps = list(history.walk(three, until=two))
    assert [(change.path, change.added, change.removed) for change in steps[0].changes] == [("a/x", False, True)]
    assert steps[1].parent == two
    assert mirror.is_ancestor(side, three)
    assert not mirror.is_ancestor(side, two)
    assert not mirror.is_ancestor("f" * 40, two)
    assert history.merge_base(side, two) == one
    assert history.between(two, three) == [three, merge, side]
    assert mirror.introduced("id=d-abc", one, three) == [three, merge]
    assert mirror.introduced("id=d-abc", one, merge) == [merge]
    assert mirror.introduced("id=d-abc", None, two) == []
    info = mirror.info(three)
    assert (info.author, info.subject, info.trailers("Rollout-Engine")) == ("Dana Dev", "gone", ("e/1", "e/2"))
    assert history.resolve(three[:12]) == three
    assert history.resolve("--all") is None
    assert history.resolve("f" * 12) is None


def test_many_texts_are_looked_for_as_each_by_itself(remote: Remote, mirror: Mirror) -> None:
    """docs/decisions.md §4: one look into history for all ids finds what git's own finds for each."""
    ids = ["id=d-aaa", "id=d-bbb", "id=d-ccc", "id=d-a+(b", "id=d-never"]
    one = remote.put({"a/x": "id=d-aaa\n", "b/y": "nothing\n"})
    remote.git("checkout", "-q", "-b", "side")
    remote.write({"a/x": "id=d-aaa\nid=d-bbb\n", "link": "id=d-bbb"})
    remote.git("checkout", "-q", "main")
    remote.write({"b/y": "id=d-ccc and id=d-ccc, \\x00 id=d-a+(b\n", ".gitattributes": "b/* -diff\n"})
    remote.git("merge", "-q", "--no-ff", "-m", "merge", "side")
    remote.write({"b/y": b"\x00 id=d-ccc once\n", "c/z": "id=d-a+(b\n"})
    remote.write({"a/x": "id=d-bbb\nid=d-aaa\n"})  # other lines, as often as before
    remote.write({"a/x": None, "b/w": "id=d-bbb\nid=d-aaa\n"})
    head = remote.put({"a/x": "id=d-aaab\n"})
    mirror.fetch("main")
    history = mirror.history
    for since, paths in ((None, []), (one, []), (None, ["a"]), (None, ["b/y", "c"]), (head, [])):
        found = history.introduced_each(ids, since, head, paths=paths)
        alone = {text: history.introduced(text, since, head, paths=paths) for text in ids}
        assert {text: [hit.commit for hit in hits] for text, hits in found.items()} == alone
    moved = history.introduced_each(ids, None, head)["id=d-bbb"][0]
    assert moved.paths == {"a/x", "b/w"}
    apart = history.introduced_each(["id=d-bbb", "nothing"], None, head)  # they don't begin alike
    assert [hit.paths for hit in apart["nothing"]] == [{"b/y"}, {"b/y"}]
    assert history.introduced_each(["id=d-bbb"], None, head)["id=d-bbb"][0] == moved
    assert history.introduced_each([], None, head) == {}


def test_marks_survive_a_restart(remote: Remote, new_mirror: Callable[..., Mirror]) -> None:
    commit = remote.put({"a": "1\n"})
    mirror = new_mirror()
    mirror.fetch("main")
    mirror.mark("opened/rollouts/promote/prod/x-g1", commit)
    mirror.close()
    again = new_mirror()
    assert again.marks("opened/") == {"opened/rollouts/promote/prod/x-g1": commit}
    again.unmark("opened/rollouts/promote/prod/x-g1")
    assert again.marks() == {}


@pytest.mark.parametrize("name", ["", "-x", "a..b", "a b", "a~b", "a:b", "/a", "a//b", "a.lock", ".a", "a@{b", "a\nb"])
def test_branch_names(mirror: Mirror, name: str) -> None:
    with pytest.raises(ConfigError):
        mirror.ls_remote(name)


def test_a_reader_that_died_is_started_again(remote: Remote, mirror: Mirror) -> None:
    commit = remote.put({"a": "1\n"})
    mirror.fetch("main")
    tree = mirror.tree(commit)
    assert tree.read("a") == b"1\n"
    mirror._objects._process.proc.kill()
    mirror._objects._process.proc.wait()
    assert tree.read("a") == b"1\n"
    later = remote.put({"a": "2\n"})
    mirror.fetch("main")
    assert mirror.tree(later).read("a") == b"2\n"


def test_file_is_refused_unless_allowed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        Mirror(tmp_path / "m.git", f"file://{tmp_path}/x")


def test_who_leads_no_more_pushes_nothing(remote: Remote, tmp_path: Path) -> None:
    head = remote.put({"a.yaml": "one\n"})
    remote.git("push", "-q", "origin", "HEAD:refs/heads/rollouts/promote/prod/x-g1")

    def lost() -> None:
        raise LeadershipLost("another process leads")

    mirror = Mirror(tmp_path / "deposed.git", remote.url, allow_file=True, before_push=lost)
    mirror.fetch("main")
    commit = mirror.commit(head, {"a.yaml": b"two\n"}, "late\n", BOT)
    with pytest.raises(LeadershipLost):
        mirror.push(commit, "main", head)
    with pytest.raises(LeadershipLost):
        mirror.delete_branch("rollouts/promote/prod/x-g1", head)
    assert mirror.look("main") == (head, {"rollouts/promote/prod/x-g1": head})
    mirror.close()
