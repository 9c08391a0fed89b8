"""A bare mirror of one remote: fetch, read, build commits in the object store, push. There is never a work tree."""

from __future__ import annotations

import re
import shutil
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from gitops_rollouts.errors import ConfigError, GitError, RefMissing
from gitops_rollouts.git.address import parse_address, strip_user_info
from gitops_rollouts.git.child import Finished, GitChild
from gitops_rollouts.git.credentials import Credentials, install
from gitops_rollouts.git.environment import ChildEnvironment, engine_environment
from gitops_rollouts.git.failures import check_push, remote_failure
from gitops_rollouts.git.history import CommitInfo, History
from gitops_rollouts.git.objects import ObjectReader
from gitops_rollouts.git.reverting import revert_tree
from gitops_rollouts.git.tree import Tree, clean_path
from gitops_rollouts.git.writing import Author, build_commit, commit_tree

REQUEST_PREFIX: Final = "rollouts/"
"""Branches under it are the engine's: requests and records that wait for a merge."""
_LOCAL: Final = "refs/remotes/origin/"
_SEEN: Final = "refs/gitops-rollouts/seen/"
_MARKS: Final = "refs/gitops-rollouts/marks/"
LOOK_TIMEOUT: Final = 30.0
FETCH_TIMEOUT: Final = 300.0
FIRST_FETCH_TIMEOUT: Final = 1800.0
PUSH_TIMEOUT: Final = 120.0
_UPKEEP_EVERY: Final = 200
_TREES: Final = 16
_BRANCH: Final = re.compile(r"[^\x00-\x20\x7f~^:?*\[\\-][^\x00-\x20\x7f~^:?*\[\\]{0,199}")


def check_branch(name: str) -> str:
    """The name, if git takes it as a branch's. Raises ConfigError."""
    parts = name.split("/")
    if (
        not _BRANCH.fullmatch(name)
        or ".." in name
        or "@{" in name
        or name.endswith(".")
        or any(not part or part.startswith(".") or part.endswith(".lock") for part in parts)
    ):
        raise ConfigError(f"{name[:80]!r} is no branch's name")
    return name


def _split(line: str) -> tuple[str, str]:
    oid, _, ref = line.partition("\t")
    return oid, ref


class Mirror:
    """One remote. Methods block (call them through a thread); any number of threads may call them.

    ``path`` is the bare repository's own directory, made at first use and kept between runs. Everything that was
    fetched stays in it: the head that a forced push replaced is kept reachable, so that a rebuild finds it.
    ``before_push`` is called before the remote is changed in any way; what it raises stops that.
    """

    def __init__(
        self,
        path: Path,
        url: str,
        credentials: Credentials | None = None,
        *,
        allow_file: bool = False,
        write_credentials: Credentials | None = None,
        environment: ChildEnvironment | None = None,
        before_push: Callable[[], None] = lambda: None,
    ) -> None:
        self.path = path
        self._before_push = before_push
        self.address = parse_address(url, allow_file=allow_file)
        self._secrets = Path(tempfile.mkdtemp(prefix="gor-git-"))
        self._credentials = tuple(held for held in (credentials, write_credentials) if held)

        def child(held: Credentials | None, kind: str) -> GitChild:
            if environment is not None:
                return GitChild(path, environment)
            installed = install(held, self.address, self._secrets / kind)
            return GitChild(path, engine_environment(installed, scheme=self.address.scheme))

        self._child = child(credentials, "read")
        self._pusher = child(write_credentials, "write") if write_credentials else self._child
        self._objects = ObjectReader(self._child)
        self._lock = threading.RLock()
        self._changes = 0
        self._ready = False
        self._trees: OrderedDict[str, Tree] = OrderedDict()
        self._trees_lock = threading.Lock()  # of its own: a tree that is here never waits for a fetch under way
        self.history = History(self._child, self._objects)

    # --- talking to the remote ---------------------------------------------------------------------------------

    def ls_remote(self, branch: str) -> str | None:
        """The branch's head on the remote, None if the remote has no such branch. Changes nothing here."""
        return self.look(branch)[0]

    def look(self, branch: str) -> tuple[str | None, dict[str, str]]:
        """One question for a branch's head and all request branches: (head, short name → id)."""
        check_branch(branch)
        self._prepare()
        finished = self._child.run(
            *("ls-remote", "--quiet", "--", self.address.url),
            *(f"refs/heads/{branch}", f"refs/heads/{REQUEST_PREFIX}*"),
            timeout=LOOK_TIMEOUT,
        )
        self._check(finished, "the repository can't be read")
        refs = {ref.removeprefix("refs/heads/"): oid for oid, ref in map(_split, finished.text.splitlines())}
        head = refs.pop(branch, None)
        return head, {name: oid for name, oid in refs.items() if name.startswith(REQUEST_PREFIX)}

    def fetch(self, branch: str) -> str:
        """Fetch a branch and all request branches. Returns the branch's new head.

        Raises RefMissing if the branch is gone; what was fetched before stays as it was.
        """
        check_branch(branch)
        with self._lock:
            self._prepare()
            before = self.head(branch)
            finished = self._child.run(
                *("fetch", "--quiet", "--no-tags", "--prune", "--no-write-fetch-head", "--no-auto-maintenance"),
                *("--no-recurse-submodules", "--", self.address.url),
                f"+refs/heads/{branch}:{_LOCAL}{branch}",
                f"+refs/heads/{REQUEST_PREFIX}*:{_LOCAL}{REQUEST_PREFIX}*",
                timeout=FETCH_TIMEOUT if before else FIRST_FETCH_TIMEOUT,
            )
            self._check(finished, "the repository can't be fetched")
            head = self.head(branch)
            if head is None:
                raise RefMissing(f"branch {branch} isn't in the repository", remedy="check the branch's name")
            if before and before != head:
                self._keep(before, head)
            return head

    def push(self, commit: str, branch: str, expected: str | None) -> None:
        """Let a branch point to ``commit`` if it still points to ``expected`` (None: if it doesn't exist).

        Raises PushRaced, PushRefused, GitAccessDenied or GitUnreachable; after the last the push may have been taken.
        """
        check_branch(branch)
        self._push(f"{commit}:refs/heads/{branch}", branch, expected)
        with self._lock:
            self._child.require("update-ref", f"{_LOCAL}{branch}", commit)

    def delete_branch(self, branch: str, expected: str) -> None:
        """Delete a request branch on the remote if it still points to ``expected``."""
        if not branch.startswith(REQUEST_PREFIX):
            raise GitError(f"{branch} isn't a branch that may be deleted")
        self._push(f":refs/heads/{branch}", branch, expected)
        with self._lock:
            self._child.run("update-ref", "-d", f"{_LOCAL}{branch}")

    def _push(self, refspec: str, branch: str, expected: str | None) -> None:
        self._prepare()
        self._before_push()
        finished = self._pusher.run(
            *("push", "--porcelain", "--no-verify", "--no-recurse-submodules"),
            *(f"--force-with-lease=refs/heads/{branch}:{expected or ''}", "--", self.address.url, refspec),
            timeout=PUSH_TIMEOUT,
        )
        check_push(self._clean(finished), f"the push to {branch} failed")

    # --- reading -----------------------------------------------------------------------------------------------

    def head(self, branch: str) -> str | None:
        """The branch's head as last fetched or pushed."""
        check_branch(branch)
        self._prepare()
        found = self._objects.info(f"{_LOCAL}{branch}^{{commit}}")
        return found.oid if found else None

    def tree(self, commit: str) -> Tree:
        """The files of a commit. ``commit`` is a full id; raises RefMissing if it isn't here."""
        self._prepare()
        with self._trees_lock:
            if commit in self._trees:
                self._trees.move_to_end(commit)
                return self._trees[commit]
        full = self.history.resolve(commit)
        if full is None:
            raise RefMissing(f"commit {commit[:12]} isn't in the repository")
        with self._trees_lock:
            self._trees[full] = Tree(self._child, self._objects, full)
            while len(self._trees) > _TREES:
                self._trees.popitem(last=False)
            return self._trees[full]

    def list_refs(self, prefix: str = REQUEST_PREFIX) -> dict[str, str]:
        """Branches whose names start so, as last fetched: short name → id."""
        self._prepare()
        return {name: oid for name, oid in self._refs(_LOCAL).items() if name.startswith(prefix)}

    def added(self, head: str, tip: str) -> list[str]:
        """Every commit that ``tip`` adds to ``head``, and to what was head before history was rewritten."""
        return self.history.between(head, tip, but=_SEEN)

    def read_blob(self, oid: str, *, cap: int) -> bytes:
        """A blob by id."""
        self._prepare()
        return self._objects.read(oid, cap=cap)

    def is_ancestor(self, ancestor: str, descendant: str) -> bool:
        """See `History.is_ancestor`."""
        self._prepare()
        return self.history.is_ancestor(ancestor, descendant)

    def first_parents(self, commit: str, until: str | None = None) -> list[str]:
        """See `History.first_parents`."""
        self._prepare()
        return self.history.first_parents(commit, until)

    def introduced(self, text: str, since: str | None, head: str, *, paths: Sequence[str] = ()) -> list[str]:
        """See `History.introduced`."""
        self._prepare()
        return self.history.introduced(text, since, head, paths=paths)

    def info(self, commit: str) -> CommitInfo:
        """See `History.info`."""
        self._prepare()
        return self.history.info(commit)

    # --- writing here --------------------------------------------------------------------------------------------

    def commit(
        self,
        base: str,
        edits: Mapping[str, bytes | None],
        message: str,
        author: Author | None = None,
        *,
        sign: str | None = None,
    ) -> str:
        """Make a commit on ``base`` that writes (or, with None, removes) files. Returns its id; no ref moves.

        ``author`` None: the person whose environment this mirror has. ``sign``: an SSH key or GPG key ring.
        Raises GitError if nothing would change, or if a path is a link, a submodule or outside the repository.
        """
        self._prepare()
        checked = {clean_path(path): data for path, data in edits.items()}
        return build_commit(self._child, self.path, base, checked, message, author, sign=sign)

    def reverted(self, head: str, commit: str, parent: str, message: str, author: Author) -> str | tuple[str, ...]:
        """A commit on ``head`` that takes back what ``commit`` changed against ``parent``; no ref moves.

        Where it conflicts with what came later: the files. Returns ``head`` itself if there is nothing to take back.
        """
        self._prepare()
        found = revert_tree(self._child, head, commit, parent)
        if found.conflicts:
            return found.conflicts
        if found.tree == self.tree(head).subtree_oid(""):
            return head
        return commit_tree(self._child, found.tree, head, message, author)

    def commit_again(self, draft: str, parent: str, message: str) -> str:
        """The same files as a commit by, and signed as, the person whose environment this mirror has."""
        self._prepare()
        return commit_tree(self._child, f"{draft}^{{tree}}", parent, message, None)

    def difference(self, base: str, commit: str) -> str:
        """What changed between two commits, as a patch that ``git apply`` takes."""
        self._prepare()
        args = ["-p", "-r", "--no-renames", "--no-ext-diff", "--no-textconv", "--no-color"]
        args += ["--src-prefix=a/", "--dst-prefix=b/", base, commit]
        return self._child.require("diff-tree", *args, "--").out.decode("utf-8", "replace")

    def changed(self, base: str, commit: str) -> tuple[str, ...]:
        """The paths that differ between two commits, sorted."""
        self._prepare()
        listed = self._child.require("diff-tree", "-r", "--no-renames", "--name-only", "-z", base, commit, "--").out
        return tuple(sorted(path.decode("utf-8", "backslashreplace") for path in listed.split(b"\x00") if path))

    def mark(self, name: str, commit: str) -> None:
        """Remember a commit under a name in this mirror only: survives restarts, lost with the disk."""
        with self._lock:
            self._child.require("update-ref", f"{_MARKS}{check_branch(name)}", commit)

    def unmark(self, name: str) -> None:
        """Forget a mark."""
        with self._lock:
            self._child.run("update-ref", "-d", f"{_MARKS}{check_branch(name)}")

    def marks(self, prefix: str = "") -> dict[str, str]:
        """All marks whose names start so: name → commit."""
        self._prepare()
        return {name: oid for name, oid in self._refs(_MARKS).items() if name.startswith(prefix)}

    def close(self) -> None:
        """End the child that reads blobs and remove the private files. The mirror itself stays on disk."""
        self._objects.close()
        shutil.rmtree(self._secrets, ignore_errors=True)

    # --- inside ------------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        if self._ready:
            return
        with self._lock:
            self.path.mkdir(parents=True, exist_ok=True)
            self._child.require("init", "--quiet", "--bare", "--template=", "--initial-branch=main")
            for lock in (*self.path.glob("*.lock"), *self.path.glob("refs/**/*.lock")):
                lock.unlink(missing_ok=True)  # left by a process that was killed; this one is the only user
            self._ready = True

    def _refs(self, under: str) -> dict[str, str]:
        listing = self._child.require("for-each-ref", "--format=%(objectname)%09%(refname)", under).text
        return {ref.removeprefix(under): oid for oid, ref in map(_split, listing.splitlines())}

    def _keep(self, before: str, head: str) -> None:
        if not self.history.is_ancestor(before, head):
            self._child.require("update-ref", f"{_SEEN}{before}", before)
        self._changes += 1
        if self._changes % _UPKEEP_EVERY == 0:
            # packs what daemons leave lying about; removes nothing, reachable or not
            self._child.run(
                "maintenance",
                "run",
                "--quiet",
                "--task=loose-objects",
                "--task=incremental-repack",
                "--task=commit-graph",
                timeout=FETCH_TIMEOUT,
            )

    def _check(self, finished: Finished, what: str) -> None:
        if finished.code != 0:
            raise remote_failure(self._clean(finished), what)

    def _clean(self, finished: Finished) -> Finished:
        text = finished.err
        for held in self._credentials:
            text = held.redact(text)
        return Finished(finished.code, finished.out, strip_user_info(text), finished.killed)
