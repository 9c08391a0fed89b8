"""Which GitSync is meant by ``gor allow-prune SHA``."""

from __future__ import annotations

import pytest

from gitops_rollouts.api.gitsync import GitSync, parse_gitsync
from gitops_rollouts.cli.allow_prune import choose
from gitops_rollouts.errors import ConfigError

HEAD = "ab" * 20


def sync(name: str, commit: str = HEAD, *, blocked: bool = False) -> GitSync:
    condition = {"type": "Pruned", "status": "False", "reason": "PruneBlocked" if blocked else "PruneOff"}
    status = {"lastFetchedCommit": commit, "conditions": [condition]}
    return parse_gitsync({"metadata": {"name": name}, "status": status})


def chosen(syncs: list[GitSync], sha: str = HEAD[:8], name: str | None = None) -> str:
    return choose(syncs, sha, name).metadata.name


def test_the_one_at_that_commit() -> None:
    assert chosen([sync("a"), sync("b", "cd" * 20)]) == "a"
    assert chosen([sync("a"), sync("b", "cd" * 20)], "CDCDCDC") == "b"


def test_of_several_at_that_commit_the_blocked_one() -> None:
    assert chosen([sync("a"), sync("b", blocked=True)]) == "b"
    with pytest.raises(ConfigError, match="a, b"):
        chosen([sync("a", blocked=True), sync("b", blocked=True)])
    assert chosen([sync("a", blocked=True), sync("b", blocked=True)], name="b") == "b"


def test_after_the_branch_has_moved_on_the_blocked_one() -> None:
    assert chosen([sync("a", "cd" * 20, blocked=True), sync("b", "cd" * 20)]) == "a"
    with pytest.raises(ConfigError, match="none is blocked"):
        chosen([sync("a", "cd" * 20)])


@pytest.mark.parametrize("sha", ["", "abc", "main", "ab" * 3 + "g"])
def test_what_is_no_commit(sha: str) -> None:
    with pytest.raises(ConfigError, match="no commit"):
        choose([sync("a")], sha, None)


def test_no_such_gitsync() -> None:
    with pytest.raises(ConfigError, match="no GitSync c"):
        chosen([sync("a")], name="c")
