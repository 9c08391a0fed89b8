"""A stand-in for a forge, in memory, over a real bare repository: for tests of what we ask and when, and of crashes.

It follows `gitops_rollouts.forges.forge.Forge`. What real forges answer is tested against them.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from git_remote import Remote
from gitops_rollouts.errors import ForgeMissing, ForgeRefused, ForgeUnreachable
from gitops_rollouts.forges.forge import CommitStatus, Merged, PullRequest

T = TypeVar("T")


class ForgeDouble:
    """``remote``: whose branches the requests are of. ``closes``: a branch that is deleted closes its request, as on
    GitHub and unlike GitLab. ``reopens``: what was closed may be opened again, unlike on Bitbucket.

    ``calls``: each call's name. ``away``: nothing is answered. ``die_at``: (n, when) ends the n-th call, counted from
    1, before or after it was done; ``dies`` is raised then.
    """

    title = "ForgeDouble"

    def __init__(self, remote: Remote, *, reopens: bool = True, closes: bool = True) -> None:
        self.requests: dict[int, PullRequest] = {}
        self.comments: dict[int, list[str]] = {}
        self.statuses: dict[tuple[str, str], CommitStatus] = {}
        self.calls: list[str] = []
        self.away = False
        self.die_at: tuple[int, str] | None = None
        self.dies: Callable[[], Exception] = lambda: ForgeUnreachable("the connection broke")
        self._remote = remote
        self._reopens = reopens
        self._closes = closes

    # --- what people do ----------------------------------------------------------------------------------------

    def close_by(self, number: int, who: str) -> None:
        self.requests[number] = replace(self.requests[number], state="closed", closed_by=who)

    def reopen_by(self, number: int) -> None:
        self.requests[number] = replace(self.requests[number], state="open", closed_by="")

    def merge_by(self, number: int, who: str) -> str:
        """By a merge commit."""
        request = self.requests[number]
        self._remote.pull()
        self._remote.git("merge", "-q", "--no-ff", "-m", f"Merge #{number}", request.head)
        self._remote.push(branch=request.base)
        commit = self._remote.pull()
        self.requests[number] = replace(request, state="merged", merged_by=who, merge_commit=commit)
        return commit

    def edit_by(self, number: int, body: str) -> None:
        self.requests[number] = replace(self.requests[number], body=body)

    def open_ones(self) -> list[PullRequest]:
        self._follow()
        return [one for one in self.requests.values() if one.state == "open"]

    # --- the protocol ------------------------------------------------------------------------------------------

    def open_requests(self, base: str, prefix: str) -> Sequence[PullRequest]:
        return self._call(
            "open_requests",
            lambda: [one for one in self.open_ones() if one.base == base and one.branch.startswith(prefix)],
        )

    def find(self, branch: str, base: str) -> PullRequest | None:
        def do() -> PullRequest | None:
            self._follow()
            found = [one for one in self.requests.values() if (one.branch, one.base) == (branch, base)]
            return found[-1] if found else None

        return self._call("find", do)

    def open(self, branch: str, base: str, title: str, body: str) -> PullRequest:
        def do() -> PullRequest:
            there = [one for one in self.open_ones() if (one.branch, one.base) == (branch, base)]
            if there:
                return there[0]
            head = self._heads().get(branch)
            if head is None:
                raise ForgeRefused(f"no branch {branch}")
            number = len(self.requests) + 1
            url = f"https://forge.example/acme/shop/pulls/{number}"
            made = PullRequest(number, branch, base, head, "open", title, body, url, author="rollouts-bot")
            self.requests[number] = made
            return made

        return self._call("open", do)

    def edit(self, number: int, *, title: str | None = None, body: str | None = None) -> None:
        def do() -> None:
            one = self._one(number)
            one = replace(one, title=title if title is not None else one.title)
            self.requests[number] = replace(one, body=body if body is not None else one.body)

        self._call("edit", do)

    def close(self, number: int) -> None:
        def do() -> None:
            if self._one(number).state == "open":
                self.close_by(number, "rollouts-bot")

        self._call("close", do)

    def reopen(self, number: int) -> None:
        def do() -> None:
            if not self._reopens or self._one(number).branch not in self._heads():
                raise ForgeRefused("its branch was made anew")
            self.reopen_by(number)

        self._call("reopen", do)

    def comment(self, number: int, text: str) -> None:
        self._call("comment", lambda: self.comments.setdefault(self._one(number).number, []).append(text))

    def merge(self, number: int, head: str, *, when_ready: bool = False) -> None:
        def do() -> None:
            if self._one(number).head != head:
                raise ForgeRefused("its head moved")
            self.merge_by(number, "rollouts-bot")

        self._call("merge", do)

    def set_status(self, commit: str, status: CommitStatus) -> None:
        self._call("set_status", lambda: self.statuses.__setitem__((commit, status.context), status))

    def merged_as(self, commit: str) -> Merged | None:
        def do() -> Merged | None:
            for one in self.requests.values():
                if one.state == "merged" and one.merge_commit == commit:
                    return Merged(
                        number=one.number,
                        url=one.url,
                        author=one.author,
                        merged_by=one.merged_by,
                        approvers=frozenset(),
                        head=one.head,
                        merge_commit=commit,
                        base=one.base,
                    )
            return None

        return self._call("merged_as", do)

    def commit_url(self, commit: str) -> str:
        return f"https://forge.example/acme/shop/commit/{commit}"

    # --- inside ------------------------------------------------------------------------------------------------

    def _call(self, name: str, do: Callable[[], T]) -> T:
        self.calls.append(name)
        if self.away:
            raise ForgeUnreachable("no answer")
        at, when = self.die_at or (0, "")
        dies = len(self.calls) == at
        if dies and when == "before":
            raise self.dies()
        made = do()
        if dies:
            raise self.dies()
        return made

    def _one(self, number: int) -> PullRequest:
        if number not in self.requests:
            raise ForgeMissing(f"no request {number}")
        return self.requests[number]

    def _heads(self) -> dict[str, str]:
        done = subprocess.run(
            ["git", "for-each-ref", "--format=%(objectname) %(refname:lstrip=2)", "refs/heads"],
            cwd=self._remote.bare,
            capture_output=True,
            text=True,
            check=True,
        )
        return {name: oid for oid, _, name in (line.partition(" ") for line in done.stdout.splitlines())}

    def _follow(self) -> None:
        """Heads of open requests follow their branches."""
        heads = self._heads()
        for number, one in self.requests.items():
            if one.state == "open":
                self.requests[number] = self._followed(one, heads.get(one.branch))

    def _followed(self, one: PullRequest, head: str | None) -> PullRequest:
        if head is not None:
            return replace(one, head=head)
        return replace(one, state="closed") if self._closes else one
