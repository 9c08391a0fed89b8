"""Gitea, and Forgejo which speaks the same API (docs/decisions.md §2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Literal
from urllib.parse import quote

from gitops_rollouts.errors import ForgeMissing, ForgeRefused
from gitops_rollouts.forges.approvals import Review, approvers
from gitops_rollouts.forges.budget import SHARED, Budget
from gitops_rollouts.forges.fields import at, commit, flag, number, text
from gitops_rollouts.forges.forge import (
    MAX_DESCRIPTION,
    CommitStatus,
    ForgeSettings,
    Merged,
    PullRequest,
)
from gitops_rollouts.forges.http import ForgeHttp
from gitops_rollouts.forges.opening import open_or_find
from gitops_rollouts.forges.pulls_api import PullsApi, read_request

_PAGE: Final = "50"
_STYLES: Final = (
    ("merge", "allow_merge_commits"),
    ("rebase", "allow_rebase"),
    ("rebase-merge", "allow_rebase_explicit"),
    ("squash", "allow_squash_merge"),
    ("fast-forward-only", "allow_fast_forward_only_merge"),
)
_NO_MANUAL: Final = "switch Manual merge off in the repository's settings"
_SAYS: Final[Mapping[str, Literal["yes", "no"]]] = {"APPROVED": "yes", "REQUEST_CHANGES": "no"}


class GiteaForge(PullsApi):
    """One repository on a Gitea or Forgejo. See `Forge` for what each does."""

    def __init__(self, settings: ForgeSettings, budget: Budget = SHARED) -> None:
        super().__init__(ForgeHttp(settings, "Gitea", budget=budget), settings.project, _STYLES)
        self._web = f"{settings.api.removesuffix('/api/v1')}/{settings.project}"

    def open_requests(self, base: str, prefix: str) -> Sequence[PullRequest]:
        """It knows no ETag: the question is asked in full each time."""
        query = {"state": "open", "base_branch": base, "sort": "oldest", "limit": _PAGE}
        found = (self._request(each) for each in self._http.pages(f"{self._repo}/pulls", query))
        return [each for each in found if each and each.base == base and each.branch.startswith(prefix)]

    def find(self, branch: str, base: str) -> PullRequest | None:
        """One question where there never was one; its answer to that one may be an older request."""
        try:
            oldest = self._http.get(f"{self._repo}/pulls/{quote(base, safe='')}/{quote(branch)}").data
        except ForgeMissing:
            return None
        newest = self._newest(branch, base) or self._request(oldest)
        if newest is None or (newest.branch, newest.base) != (branch, base):
            return None
        if newest.state == "merged":
            return replace(newest, merged_by=text(self._get(newest.number), "merged_by", "login"))
        return self._with_closer(newest) if newest.state == "closed" else newest

    def open(self, branch: str, base: str, title: str, body: str) -> PullRequest:
        """A second one is refused by the forge: then the first is what is wanted."""
        wanted = {"head": branch, "base": base, "title": title, "body": body}
        return open_or_find(
            self.title,
            lambda: self._request(self._http.post(f"{self._repo}/pulls", json=wanted).data),
            lambda: next((each for each in self.open_requests(base, branch) if each.branch == branch), None),
        )

    def reopen(self, number: int) -> None:
        """It would open one whose branch is gone; that is refused here."""
        live = self._get(number)
        if text(live, "head", "ref").startswith("refs/"):
            raise ForgeRefused(f"{self.title} can't reopen request {number}: its branch is gone")
        if at(live, "state") != "open":
            self._patch(number, {"state": "open"})

    def merge(self, number: int, head: str, *, when_ready: bool = False) -> None:
        """A merge that it puts off isn't pinned by Gitea: its rules should dismiss approvals when commits are added."""
        live = self._get(number)
        if self._head(number) != head:
            raise ForgeRefused(f"request {number} on {self.title} has another head than {head[:12]} by now")
        if flag(live, "merged"):
            return
        wanted = {
            "Do": self._style(),
            "head_commit_id": head,
            "merge_when_checks_succeed": when_ready,
            "delete_branch_after_merge": False,
        }
        try:
            self._http.post(f"{self._repo}/pulls/{number}/merge", json=wanted)
        except ForgeRefused as error:
            if not (when_ready and "already scheduled" in str(error)):
                raise

    def set_status(self, commit: str, status: CommitStatus) -> None:
        """The newest of a context is what it shows."""
        wanted = {
            "context": status.context,
            "state": status.state,
            "description": status.description[:MAX_DESCRIPTION],
            "target_url": status.url,
        }
        self._http.post(f"{self._repo}/statuses/{commit}", json=wanted, spare=True)

    def merged_as(self, commit: str) -> Merged | None:
        """Approvals count that are of the head which was merged, whatever the branch has had since.

        Raises `ForgeRefused` where people may name any commit as what a request became.
        """
        try:
            live = self._http.get(f"{self._repo}/commits/{commit}/pull").data
        except ForgeMissing:
            self._http.get(self._repo)
            return None
        found = self._request(live, of_forks=True)
        if found is None or found.state != "merged" or found.merge_commit != commit:
            return None
        if flag(self._http.get(self._repo).data, "allow_manual_merge"):
            raise ForgeRefused(f"{self.title} lets people say which commit a request became", remedy=_NO_MANUAL)
        head = self._head(found.number)
        return Merged(
            number=found.number,
            url=found.url,
            base=found.base,
            author=found.author,
            merged_by=found.merged_by,
            approvers=approvers(self._reviews(found.number), head, found.author),
            head=head,
            merge_commit=commit,
        )

    def commit_url(self, commit: str) -> str:
        """On its web site."""
        return f"{self._web}/commit/{commit}"

    def _newest(self, branch: str, base: str) -> PullRequest | None:
        query = {"state": "all", "base_branch": base, "limit": _PAGE}
        rows = self._http.pages(f"{self._repo}/pulls", query, enough=lambda each: _is(each, branch, base))
        return next((self._request(each) for each in rows if _is(each, branch, base)), None)

    def _head(self, index: int) -> str:
        """What the request's own ref has: a branch may have been made anew since it was merged."""
        found = self._http.get(f"{self._repo}/git/refs/pull/{index}/head").data
        rows = found if isinstance(found, list) else [found]
        return next((commit(each, "object", "sha") for each in rows if text(each, "ref") == _ref(index)), "")

    def _reviews(self, index: int) -> list[Review]:
        rows = self._http.pages(f"{self._repo}/pulls/{index}/reviews", {"limit": _PAGE})
        return [
            Review(
                by=text(each, "user", "login"),
                says=_SAYS[text(each, "state")],
                commit=commit(each, "commit_id"),
                void=at(each, "stale") is not False or at(each, "dismissed") is not False,
            )
            for each in sorted(rows, key=lambda each: number(each, "id"))
            if text(each, "state") in _SAYS
        ]

    def _with_closer(self, found: PullRequest) -> PullRequest:
        rows = self._http.pages(f"{self._repo}/issues/{found.number}/timeline", {"limit": _PAGE})
        closed = [text(each, "user", "login") for each in rows if text(each, "type") == "close"]
        return replace(found, closed_by=closed[-1] if closed else "")

    def _request(self, live: Any, *, of_forks: bool = False) -> PullRequest | None:
        """None for a fork's, and for what is none."""
        if not number(live, "number") or not (of_forks or _is_own(live)):
            return None
        return read_request(live, branch=text(live, "head", "label"), merged=flag(live, "merged"))


def _ref(index: int) -> str:
    return f"refs/pull/{index}/head"


def _is_own(live: Any) -> bool:
    return number(live, "head", "repo_id") == number(live, "base", "repo_id") != 0


def _is(live: Any, branch: str, base: str) -> bool:
    return _is_own(live) and (text(live, "head", "label"), text(live, "base", "ref")) == (branch, base)
