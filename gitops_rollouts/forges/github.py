"""GitHub and GitHub Enterprise (docs/decisions.md §2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Literal

from gitops_rollouts.errors import ForgeDenied, ForgeError, ForgeLimited, ForgeMissing, ForgeRefused, ForgeUnreachable
from gitops_rollouts.forges.approvals import Review, approvers
from gitops_rollouts.forges.budget import SHARED, Budget
from gitops_rollouts.forges.fields import CHECK_URL, at, commit, flag, number, text
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

_HEADERS: Final = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
_PAGE: Final = "100"
_STYLES: Final = (
    ("merge", "allow_merge_commit"),
    ("rebase", "allow_rebase_merge"),
    ("squash", "allow_squash_merge"),
)
_SAYS: Final[Mapping[str, Literal["yes", "no"]]] = {"APPROVED": "yes", "CHANGES_REQUESTED": "no", "DISMISSED": "no"}
_PUBLIC: Final = "https://api.github.com"
_WHEN_READY: Final = """\
mutation($input: EnablePullRequestAutoMergeInput!) {
  enablePullRequestAutoMerge(input: $input) { pullRequest { number } }
}"""
_ALLOW: Final = "allow auto-merge in the repository's settings, or let a person merge it"


class GitHubForge(PullsApi):
    """One repository on GitHub. See `Forge` for what each does."""

    def __init__(self, settings: ForgeSettings, budget: Budget = SHARED) -> None:
        super().__init__(ForgeHttp(settings, "GitHub", headers=_HEADERS, budget=budget), settings.project, _STYLES)
        self._owner = settings.project.partition("/")[0]
        root = settings.api.removesuffix("/api/v3")
        self._web = f"{'https://github.com' if settings.api == _PUBLIC else root}/{settings.project}"
        self._graphql = f"{root}/graphql" if root == settings.api else f"{root}/api/graphql"

    def open_requests(self, base: str, prefix: str) -> Sequence[PullRequest]:
        """Costs nothing of the rate limit while nothing changes (ETag)."""
        query = {"state": "open", "base": base, "sort": "created", "direction": "asc", "per_page": _PAGE}
        found = (_request(each) for each in self._http.pages(f"{self._repo}/pulls", query))
        return [each for each in found if each and each.base == base and each.branch.startswith(prefix)]

    def find(self, branch: str, base: str) -> PullRequest | None:
        """Who closed it or merged it costs another question."""
        query = {
            "state": "all",
            "head": f"{self._owner}:{branch}",
            "base": base,
            "sort": "created",
            "direction": "desc",
            "per_page": _PAGE,
        }
        wanted = (branch, base)
        found = (_request(each) for each in self._http.pages(f"{self._repo}/pulls", query, most=100))
        newest = next((each for each in found if each and (each.branch, each.base) == wanted), None)
        if newest is None or newest.state == "open":
            return newest
        if newest.state == "merged":
            return replace(newest, merged_by=text(self._get(newest.number), "merged_by", "login"))
        issue = self._http.get(f"{self._repo}/issues/{newest.number}").data
        return replace(newest, closed_by=text(issue, "closed_by", "login"))

    def open(self, branch: str, base: str, title: str, body: str) -> PullRequest:
        """A second one is refused by the forge: then the first is what is wanted."""
        wanted = {"head": branch, "base": base, "title": title, "body": body}
        return open_or_find(
            self.title,
            lambda: _request(self._http.post(f"{self._repo}/pulls", json=wanted).data),
            lambda: self.find(branch, base),
        )

    def reopen(self, number: int) -> None:
        """Refused by the forge when the branch is gone, or was made anew."""
        self._patch(number, {"state": "open"})

    def merge(self, number: int, head: str, *, when_ready: bool = False) -> None:
        """At once if the rules are met, else by auto-merge if that is wanted. Both are pinned to the head."""
        style = self._style()
        try:
            self._http.put(f"{self._repo}/pulls/{number}/merge", json={"sha": head, "merge_method": style})
        except ForgeRefused:
            live = self._get(number)
            if commit(live, "head", "sha") == head and flag(live, "merged"):
                return
            if not when_ready or commit(live, "head", "sha") != head or at(live, "state") != "open":
                raise
            if at(live, "auto_merge") is None:
                self._merge_later(text(live, "node_id"), head, style)

    def set_status(self, commit: str, status: CommitStatus) -> None:
        """The newest of a context is what it shows."""
        wanted = {
            "context": status.context,
            "state": status.state,
            "description": status.description[:MAX_DESCRIPTION],
            **({"target_url": status.url} if status.url else {}),
        }
        self._http.post(f"{self._repo}/statuses/{commit}", json=wanted, spare=True)

    def merged_as(self, commit: str) -> Merged | None:
        """GitHub keeps a merged request's head as it was merged, whatever its branch has had since."""
        rows = self._http.pages(f"{self._repo}/commits/{commit}/pulls", {"per_page": _PAGE}, most=200)
        found = (_request(each, of_forks=True) for each in rows)
        merged = next((each for each in found if each and each.state == "merged" and each.merge_commit == commit), None)
        if merged is None:
            return None
        live = _request(self._get(merged.number), of_forks=True)
        if live is None or live.state != "merged" or live.merge_commit != commit:
            raise ForgeUnreachable(f"{self.title} says two things about request {merged.number}")
        return Merged(
            number=live.number,
            url=live.url,
            base=live.base,
            author=live.author,
            merged_by=live.merged_by,
            approvers=approvers(self._reviews(live.number), live.head, live.author),
            head=live.head,
            merge_commit=commit,
        )

    def commit_url(self, commit: str) -> str:
        """On its web site."""
        return f"{self._web}/commit/{commit}"

    def _merge_later(self, node: str, head: str, style: str) -> None:
        wanted = {"pullRequestId": node, "expectedHeadOid": head, "mergeMethod": style.upper()}
        asked = {"query": _WHEN_READY, "variables": {"input": wanted}}
        answer = self._http.post(self._graphql, json=asked).data
        if not isinstance(answer, dict):
            raise ForgeUnreachable(f"{self.title} answered with something that its API doesn't give", remedy=CHECK_URL)
        errors = answer.get("errors") or []
        if errors:
            raise _refusal(self.title, errors[0] if isinstance(errors, list) else errors)

    def _reviews(self, index: int) -> list[Review]:
        rows = self._http.pages(f"{self._repo}/pulls/{index}/reviews", {"per_page": _PAGE})
        return [
            Review(
                by=text(each, "user", "login"),
                says=_SAYS[text(each, "state")],
                commit=commit(each, "commit_id"),
            )
            for each in rows
            if text(each, "state") in _SAYS
        ]


def _refusal(title: str, error: Any) -> ForgeError:
    """GraphQL says no with a 200."""
    said = " ".join("".join(each if each.isprintable() else " " for each in text(error, "message", most=300)).split())
    message = f"{title} doesn't merge it when it is ready: {said}"
    kind = text(error, "type")
    if kind == "FORBIDDEN":
        return ForgeDenied(message, remedy=_ALLOW)
    if kind == "NOT_FOUND":
        return ForgeMissing(message)
    if kind == "RATE_LIMITED":
        return ForgeLimited(message)
    return ForgeRefused(message, remedy=_ALLOW)


def _request(live: Any, *, of_forks: bool = False) -> PullRequest | None:
    """None for a fork's, and for what is none. Until it is merged its "merge commit" is only a trial."""
    if not number(live, "number") or not (of_forks or _is_own(live)):
        return None
    return read_request(live, branch=text(live, "head", "ref"), merged=bool(text(live, "merged_at")))


def _is_own(live: Any) -> bool:
    return number(live, "head", "repo", "id") == number(live, "base", "repo", "id") != 0
