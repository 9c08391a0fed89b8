"""Builds a commit in the object store: a private index, no work tree, no hooks; every byte is the caller's."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gitops_rollouts.errors import GitError
from gitops_rollouts.git.child import GitChild
from gitops_rollouts.git.gpg import signing_settings
from gitops_rollouts.git.tree import FILE_MODES

_NEW_FILE = "100644"
_GONE = "0" * 40


@dataclass(frozen=True, slots=True)
class Author:
    """Who a commit is by."""

    name: str
    email: str


def build_commit(
    child: GitChild,
    directory: Path,
    base: str,
    edits: Mapping[str, bytes | None],
    message: str,
    author: Author | None,
    *,
    sign: str | None = None,
) -> str:
    """The id of a new commit on ``base``. See `Mirror.commit`."""
    with tempfile.TemporaryDirectory(prefix="gor-write-", dir=directory) as name:
        work = Path(name)
        index = {"GIT_INDEX_FILE": str(work / "index")}
        child.require("read-tree", base, variables=index)
        modes = _modes(child, edits, index)
        written = {path: data for path, data in edits.items() if data is not None}
        oids = _store(child, work, list(written.values()))
        records = [f"{modes.get(path, _NEW_FILE)} {oid}\t{path}" for path, oid in zip(written, oids, strict=True)]
        records += [f"0 {_GONE}\t{path}" for path, data in edits.items() if data is None]
        child.require("update-index", "-z", "--index-info", stdin="\x00".join([*records, ""]).encode(), variables=index)
        tree = child.require("write-tree", variables=index).text
    if tree == child.require("rev-parse", "--verify", f"{base}^{{tree}}").text:
        raise GitError("the commit would change nothing")
    return commit_tree(child, tree, base, message, author, sign=sign)


def commit_tree(
    child: GitChild, tree: str, parent: str, message: str, author: Author | None, *, sign: str | None = None
) -> str:
    """A commit of a tree that is already in the object store."""
    args = ["commit-tree", tree, "-p", parent]
    variables: dict[str, str] = {}
    if author is not None:
        variables = {
            "GIT_AUTHOR_NAME": author.name,
            "GIT_AUTHOR_EMAIL": author.email,
            "GIT_COMMITTER_NAME": author.name,
            "GIT_COMMITTER_EMAIL": author.email,
        }
    if sign:
        settings: tuple[tuple[str, str], ...] = (("gpg.format", "ssh"), ("user.signingKey", sign))
        if Path(sign).is_dir():
            settings, ring = signing_settings(Path(sign))
            variables |= ring
        variables["GIT_CONFIG_COUNT"] = str(len(settings))
        for number, (key, value) in enumerate(settings):
            variables |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
        args.append("-S")
    elif author is None and _person_signs(child):
        args.append("-S")
    finished = child.run(*args, "-F", "-", stdin=message.encode("utf-8", "replace"), variables=variables)
    if finished.code != 0 and "tell me who you are" in finished.err:
        raise GitError("git doesn't know who you are", remedy="git config --global user.name and user.email")
    if finished.code != 0:
        said = " ".join(finished.err.split())[:300]
        raise GitError(f"the commit can't be made: {said or 'no reason given'}")
    return finished.text


def _person_signs(child: GitChild) -> bool:
    # commit-tree, unlike commit, doesn't look at this setting itself
    found = child.run("config", "--type=bool", "--get", "commit.gpgSign")
    return found.text == "true"


def _modes(child: GitChild, edits: Mapping[str, bytes | None], index: Mapping[str, str]) -> dict[str, str]:
    listing = child.require("ls-files", "-s", "-z", variables=index).out
    found: dict[str, str] = {}
    for record in listing.split(b"\x00"):
        meta, _, raw = record.partition(b"\t")
        path = raw.decode("utf-8", "backslashreplace")
        if path in edits:
            mode = meta.split()[0].decode()
            if mode not in FILE_MODES:
                raise GitError(f"{path} is a link or a submodule and isn't written")
            found[path] = mode
        elif any(edit.startswith(path + "/") for edit in edits) and path:
            raise GitError(f"{path} is no directory")
    missing = [path for path, data in edits.items() if data is None and path not in found]
    if missing:
        raise GitError(f"{missing[0]} isn't there, so it can't be removed")
    return found


def _store(child: GitChild, work: Path, contents: list[bytes]) -> list[str]:
    if not contents:
        return []
    paths = []
    for number, data in enumerate(contents):
        path = work / str(number)
        path.write_bytes(data)
        paths.append(str(path))
    listed = child.require("hash-object", "-w", "--no-filters", "--stdin-paths", stdin="\n".join([*paths, ""]).encode())
    return listed.text.split()
