"""GitLab, of any tier (docs/decisions.md §2). Requests are merge requests, their numbers the project's own (iid)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote

from gitops_rollouts.errors import ForgeMissing, ForgeRefused, ForgeUnreachable
from gitops_rollouts.forges.approvals import Review, approvers
from gitops_rollouts.forges.budget import SHARED, Budget
from gitops_rollouts.forges.fields import MAX_BODY, at, flag, number, text, web_link
from gitops_rollouts.forges.fields import commit as commit_id
from gitops_rollouts.forges.forge import (
    MAX_DESCRIPTION,
    CommitStatus,
    ForgeSettings,
    Merged,
    PullRequest,
    RequestState,
)
from gitops_rollouts.forges.http import ForgeHttp
from gitops_rollouts.forges.moments import head_since, moment
from gitops_rollouts.forges.opening import open_or_find

_PAGE: Final = "100"
_MOST_OPEN: Final = 1000
_LISTED: Final = 10_000
"""It filters by whole branch names alone, so other people's requests are listed as well."""
_OF_ONE_BRANCH: Final = 500
_TITLE: Final = 255
_STATES: Final[dict[str, RequestState]] = {"opened": "open", "locked": "open", "closed": "closed", "merged": "merged"}
"""``locked``: while it is being merged."""
_STATUSES: Final = {"pending": ("pending", "running"), "success": ("success",), "failure": ("failed",)}
"""Its state machine takes no state twice in a row; for a new text it may go from pending to running, once."""
_SAME_STATE: Final = "cannot transition status"
_BUSY: Final = "status is in progress"
_QUICK_ACTION: Final = re.compile(r"^([ \t]*\\*)/", re.MULTILINE)
_QUOTED_ACTION: Final = re.compile(r"^([ \t]*\\*)\\/", re.MULTILINE)


class GitLabForge:
    """One project on a GitLab. See `Forge` for what each does."""

    def __init__(self, settings: ForgeSettings, budget: Budget = SHARED) -> None:
        self.title = "GitLab"
        self._http = ForgeHttp(settings, self.title, budget=budget)
        self._project = f"/projects/{quote(settings.project, safe='')}"
        self._all = f"{self._project}/merge_requests"
        self._web = f"{settings.api.removesuffix('/api/v4')}/{settings.project}"

    def open_requests(self, base: str, prefix: str) -> Sequence[PullRequest]:
        """Each page has an ETag: where nothing has changed, the answer is empty."""
        query = {
            "state": "opened",
            "target_branch": base,
            "scope": "all",
            "order_by": "created_at",
            "sort": "asc",
            "per_page": _PAGE,
        }
        found = (_request(each) for each in self._http.pages(self._all, query, most=_LISTED))
        return [each for each in found if each and each.base == base and each.branch.startswith(prefix)][:_MOST_OPEN]

    def find(self, branch: str, base: str) -> PullRequest | None:
        """Forks' requests from a branch of the same name are passed over."""
        query = {
            "state": "all",
            "source_branch": branch,
            "target_branch": base,
            "scope": "all",
            "order_by": "created_at",
            "sort": "desc",
            "per_page": _PAGE,
        }

        def fits(live: Any) -> bool:
            found = _request(live)
            return found is not None and (found.branch, found.base) == (branch, base)

        rows = self._http.pages(self._all, query, most=_OF_ONE_BRANCH, enough=fits)
        return max((one for each in rows if fits(each) and (one := _request(each))), key=_number, default=None)

    def open(self, branch: str, base: str, title: str, body: str) -> PullRequest:
        """A second one from a branch is refused (409): then the first is what is wanted."""
        wanted = {
            "source_branch": branch,
            "target_branch": base,
            "title": title[:_TITLE],
            "description": _without_actions(body),
            "remove_source_branch": False,
        }
        return open_or_find(
            self.title,
            lambda: _request(self._http.post(self._all, json=wanted).data),
            lambda: self.find(branch, base),
        )

    def edit(self, number: int, *, title: str | None = None, body: str | None = None) -> None:
        """Only what is given."""
        given: dict[str, str] = {}
        if title is not None:
            given["title"] = title[:_TITLE]
        if body is not None:
            given["description"] = _without_actions(body)
        if given:
            self._put(number, given)

    def close(self, number: int) -> None:
        """What isn't open stays as it is, whether it says so or refuses."""
        try:
            live = self._put(number, {"state_event": "close"})
        except ForgeRefused:
            live = self._get(number)
            if _state(live) == "open":
                raise
        if _state(live) == "open":
            raise ForgeRefused(f"{self.title} didn't close request {number}")

    def reopen(self, number: int) -> None:
        """It keeps silent about a branch that is gone, so its answer is looked at."""
        if _state(self._put(number, {"state_event": "reopen"})) != "open":
            raise ForgeRefused(f"{self.title} can't reopen request {number}: it is merged, or its branch is gone")

    def comment(self, number: int, text: str) -> None:
        """A note."""
        self._http.post(f"{self._all}/{number}/notes", json={"body": _without_actions(text)})

    def merge(self, number: int, head: str, *, when_ready: bool = False) -> None:
        """Pinned by ``sha``; a push takes a merge back that is put off."""
        wanted: dict[str, Any] = {"sha": head, "should_remove_source_branch": False}
        if when_ready:
            # the first is what GitLab calls it since 17.11, the second before
            wanted |= {"auto_merge": True, "merge_when_pipeline_succeeds": True}
        try:
            live = self._http.put(f"{self._all}/{number}/merge", json=wanted).data
        except ForgeRefused:
            live = self._get(number)
            if text(live, "sha") != head or not _is_done(live, when_ready):
                raise
        if not _is_done(live, when_ready):
            why = text(live, "merge_error", most=200)
            raise ForgeRefused(f"{self.title} didn't merge request {number}" + (f": {why}" if why else ""))

    def set_status(self, commit: str, status: CommitStatus) -> None:
        """A text that changes while the state stays is shown once more, then with the next state."""
        wanted = {"name": status.context, "description": status.description[:MAX_DESCRIPTION]}
        if status.url:
            wanted["target_url"] = status.url
        for state in _STATUSES[status.state]:
            try:
                self._http.post(f"{self._project}/statuses/{commit}", json={**wanted, "state": state}, spare=True)
            except ForgeRefused as error:
                said = str(error).lower()
                if _BUSY in said:
                    raise ForgeUnreachable(error.message) from error
                if _SAME_STATE not in said:
                    raise
            else:
                return

    def merged_as(self, commit: str) -> Merged | None:
        """A merge commit, a squashed commit where there is none, or the head itself if it was moved forward."""
        try:
            rows = self._http.pages(f"{self._project}/repository/commits/{commit}/merge_requests", {"per_page": _PAGE})
        except ForgeMissing:
            self._http.get(self._project)
            return None
        live = next((each for each in rows if _state(each) == "merged" and _became(each) == commit), None)
        index = number(live, "iid")
        if live is None or not index or number(live, "target_project_id") != number(live, "project_id"):
            return None
        head, author = commit_id(live, "sha"), text(live, "author", "username")
        return Merged(
            number=index,
            url=web_link(live, "web_url"),
            base=text(live, "target_branch"),
            author=author,
            merged_by=_merger(live),
            approvers=approvers(self._reviews(index, head), head, author),
            head=_squashed(live) or head,
            merge_commit=commit,
        )

    def commit_url(self, commit: str) -> str:
        """On its web site."""
        return f"{self._web}/-/commit/{commit}"

    def _get(self, index: int) -> Any:
        return self._http.get(f"{self._all}/{index}").data

    def _put(self, index: int, wanted: dict[str, str]) -> Any:
        return self._http.put(f"{self._all}/{index}", json=wanted).data

    def _reviews(self, index: int, head: str) -> list[Review]:
        """Approvals that were not taken back. A GitLab that doesn't say when they were given is only believed while
        the branch has had one head: without a rule to reset them they outlive a push."""
        said = at(self._http.get(f"{self._all}/{index}/approvals").data, "approved_by")
        given = said if isinstance(said, list) else []
        if not given:
            return []
        versions = self._http.pages(f"{self._all}/{index}/versions", {"per_page": _PAGE})
        since = head_since(
            ((moment(each, "created_at"), commit_id(each, "head_commit_sha")) for each in versions), head
        )
        only = {commit_id(each, "head_commit_sha") for each in versions} == {head}

        def of_head(each: Any) -> bool:
            when = moment(each, "approved_at")
            return only or (since is not None and when is not None and when >= since)

        return [Review(text(each, "user", "username"), "yes", head, void=not of_head(each)) for each in given[:1000]]


def _request(live: Any) -> PullRequest | None:
    """None for a fork's, and for what is none."""
    index, state = number(live, "iid"), _state(live)
    if not index or state is None or number(live, "source_project_id") != number(live, "target_project_id"):
        return None
    return PullRequest(
        number=index,
        branch=text(live, "source_branch"),
        base=text(live, "target_branch"),
        head=commit_id(live, "sha"),
        state=state,
        title=text(live, "title"),
        body=_QUOTED_ACTION.sub(r"\1/", text(live, "description", most=MAX_BODY)),
        url=web_link(live, "web_url"),
        author=text(live, "author", "username"),
        closed_by=text(live, "closed_by", "username"),
        merged_by=_merger(live),
        merge_commit=_became(live) if state == "merged" else "",
    )


def _state(live: Any) -> RequestState | None:
    return _STATES.get(text(live, "state"))


def _merger(live: Any) -> str:
    return text(live, "merge_user", "username") or text(live, "merged_by", "username")


def _became(live: Any) -> str:
    """Of a merged one: what it is on the base branch."""
    return commit_id(live, "merge_commit_sha") or commit_id(live, "squash_commit_sha") or commit_id(live, "sha")


def _squashed(live: Any) -> str:
    """What a merge commit of it merges instead of the head, if it was squashed before. Only GitLab itself says so."""
    return commit_id(live, "squash_commit_sha") if commit_id(live, "merge_commit_sha") else ""


def _is_done(live: Any, when_ready: bool) -> bool:
    return _state(live) == "merged" or (when_ready and flag(live, "merge_when_pipeline_succeeds"))


def _number(found: PullRequest) -> int:
    return found.number


def _without_actions(body: str) -> str:
    """A line that begins with a slash would be a command to GitLab (``/merge``, ``/close``); `_request` undoes this."""
    return _QUICK_ACTION.sub(r"\1\\/", body)
