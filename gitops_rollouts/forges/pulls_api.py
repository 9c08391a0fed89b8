"""What GitHub and Gitea have in common: requests below ``/pulls``, which are issues as well (docs/decisions.md §2)."""

from __future__ import annotations

from typing import Any

from gitops_rollouts.errors import ForgeRefused
from gitops_rollouts.forges.fields import MAX_BODY, at, commit, flag, number, text, web_link
from gitops_rollouts.forges.forge import PullRequest
from gitops_rollouts.forges.http import ForgeHttp


class PullsApi:
    """The part of a `Forge` that both answer alike. ``styles``: how merges are called, and which field allows each."""

    def __init__(self, http: ForgeHttp, project: str, styles: tuple[tuple[str, str], ...]) -> None:
        self.title = http.title
        self._http = http
        self._repo = f"/repos/{project}"
        self._styles = styles

    def edit(self, number: int, *, title: str | None = None, body: str | None = None) -> None:
        """Only what is given."""
        given = {"title": title, "body": body}
        self._patch(number, {name: value for name, value in given.items() if value is not None})

    def close(self, number: int) -> None:
        """What is merged can't be closed, and needn't be."""
        try:
            self._patch(number, {"state": "closed"})
        except ForgeRefused:
            if at(self._get(number), "state") != "closed":
                raise

    def comment(self, number: int, text: str) -> None:
        """Comments hang below the issue that a request is as well."""
        self._http.post(f"{self._repo}/issues/{number}/comments", json={"body": text})

    def _get(self, index: int) -> Any:
        return self._http.get(f"{self._repo}/pulls/{index}").data

    def _patch(self, index: int, wanted: dict[str, str]) -> None:
        self._http.patch(f"{self._repo}/pulls/{index}", json=wanted)

    def _style(self) -> str:
        """Who may not see which styles are allowed is shown none of them."""
        allowed = self._http.get(self._repo).data
        return next((style for style, field in self._styles if flag(allowed, field)), "merge")


def read_request(live: Any, *, branch: str, merged: bool) -> PullRequest:
    """A request as both show it, but for where it comes from and whether it is merged."""
    return PullRequest(
        number=number(live, "number"),
        branch=branch,
        base=text(live, "base", "ref"),
        head=commit(live, "head", "sha"),
        state="merged" if merged else "open" if text(live, "state") == "open" else "closed",
        title=text(live, "title"),
        body=text(live, "body", most=MAX_BODY),
        url=web_link(live, "html_url"),
        author=text(live, "user", "login"),
        merged_by=text(live, "merged_by", "login"),
        merge_commit=commit(live, "merge_commit_sha") if merged else "",
    )
