"""Takes a commit's change back on a newer tree: a three-way merge among objects, no work tree."""

from __future__ import annotations

from dataclasses import dataclass

from gitops_rollouts.errors import GitError
from gitops_rollouts.git.child import GitChild, last_words

_NOBODY = {
    "GIT_AUTHOR_NAME": "nobody",
    "GIT_AUTHOR_EMAIL": "nobody@localhost",
    "GIT_AUTHOR_DATE": "@0 +0000",
    "GIT_COMMITTER_NAME": "nobody",
    "GIT_COMMITTER_EMAIL": "nobody@localhost",
    "GIT_COMMITTER_DATE": "@0 +0000",
}


@dataclass(frozen=True, slots=True)
class Reverted:
    """The tree without the change; where git can't say what it is, ``conflicts`` names the files."""

    tree: str
    conflicts: tuple[str, ...] = ()


def revert_tree(child: GitChild, head: str, commit: str, parent: str) -> Reverted:
    """The tree of ``head`` less what ``commit`` changed against ``parent``."""
    # git before 2.40 can't be told a merge base, so three commits are made whose base is the right one
    base = _bare_commit(child, commit)
    ours, theirs = _bare_commit(child, head, base), _bare_commit(child, parent, base)
    merged = child.run("merge-tree", "--write-tree", "--name-only", "--no-messages", "-z", ours, theirs)
    if merged.code not in (0, 1):
        raise GitError(f"git merge-tree failed: {last_words(merged)}")
    tree, *conflicts = [part.decode("utf-8", "backslashreplace") for part in merged.out.split(b"\x00") if part]
    return Reverted(tree, tuple(dict.fromkeys(conflicts)) if merged.code == 1 else ())


def _bare_commit(child: GitChild, of: str, parent: str = "") -> str:
    """A commit of the same tree with another parent, known to nobody and the same each time."""
    args = ["commit-tree", f"{of}^{{tree}}", *(("-p", parent) if parent else ()), "-m", "base"]
    return child.require(*args, variables=_NOBODY).text
