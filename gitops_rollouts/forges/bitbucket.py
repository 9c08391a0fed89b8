"""Bitbucket Cloud, API 2.0 (docs/decisions.md §2). Bitbucket Server and Data Center speak another one.

People have no login names there that last: who opened, merged and approved is told by account id.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any, Final

from gitops_rollouts.errors import ForgeMissing, ForgeRefused
from gitops_rollouts.forges.approvals import Review, approvers
from gitops_rollouts.forges.budget import SHARED, Budget
from gitops_rollouts.forges.fields import MAX_BODY, at, flag, number, rows, text, web_link
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
from gitops_rollouts.forges.opening import opened

_PAGE: Final = "50"
_MOST_OPEN: Final = 1000
_RECENT: Final = 200
_ACTIVITY: Final = 500
_KNOWN_COMMITS: Final = 2000
_TITLE: Final = 255
_KEY: Final = 40
_KEY_START: Final = 27
_STATES: Final[dict[str, RequestState]] = {
    "OPEN": "open", "DRAFT": "open", "QUEUED": "open", "MERGED": "merged", "DECLINED": "closed", "SUPERSEDED": "closed",
}  # fmt: skip
_ALL_STATES: Final = "state=OPEN&state=MERGED&state=DECLINED&state=SUPERSEDED"
_BUILD: Final = {"pending": "INPROGRESS", "success": "SUCCESSFUL", "failure": "FAILED"}
_SHORT: Final = re.compile(r"[0-9a-f]{7,64}")


class BitbucketForge:
    """One repository on Bitbucket Cloud. See `Forge` for what each does."""

    def __init__(self, settings: ForgeSettings, budget: Budget = SHARED) -> None:
        self.title = "Bitbucket"
        self._http = ForgeHttp(settings, self.title, budget=budget)
        self._repo = f"/repositories/{settings.project}"
        self._all = f"{self._repo}/pullrequests"
        self._web = f"https://bitbucket.org/{settings.project}"
        self._full: dict[str, str] = {}

    def open_requests(self, base: str, prefix: str) -> Sequence[PullRequest]:
        """It cuts commit ids short: each new one is one question more, once."""
        wanted = f"destination.branch.name = {_quoted(base)} AND source.branch.name ~ {_quoted(prefix)}"
        query = {"state": "OPEN", "q": wanted, "sort": "created_on", "pagelen": _PAGE}
        found = self._http.pages(self._all, query, most=_MOST_OPEN, values="values")
        fit = (each for each in found if _branches(each)[1] == base and _branches(each)[0].startswith(prefix))
        return [made for each in fit if (made := self._request(each)) is not None]

    def find(self, branch: str, base: str) -> PullRequest | None:
        """Forks' requests from a branch of the same name are passed over."""
        wanted = f"source.branch.name = {_quoted(branch)} AND destination.branch.name = {_quoted(base)}"
        query = {"q": wanted, "sort": "-created_on", "pagelen": _PAGE}

        def fits(live: Any) -> bool:
            return _is_own(live) and _branches(live) == (branch, base)

        found = self._http.pages(f"{self._all}?{_ALL_STATES}", query, values="values", enough=fits)
        newest = max((each for each in found if fits(each)), key=_number, default=None)
        return self._request(newest) if newest is not None else None

    def open(self, branch: str, base: str, title: str, body: str) -> PullRequest:
        """It takes a second one from a branch, so it is looked first."""
        there = self.find(branch, base)
        if there is not None and there.state == "open":
            return there
        wanted = {
            "title": title[:_TITLE],
            "description": body,
            "source": {"branch": {"name": branch}},
            "destination": {"branch": {"name": base}},
            "close_source_branch": False,
        }
        return opened(self.title, self._request(self._http.post(self._all, json=wanted).data))

    def edit(self, number: int, *, title: str | None = None, body: str | None = None) -> None:
        """It takes the whole request: what isn't to change is sent as it is, so that no reviewer is lost."""
        live = self._get(number)
        reviewers = [each for each in _list(live, "reviewers") if text(each, "uuid")]
        wanted: dict[str, Any] = {
            "title": title[:_TITLE] if title is not None else text(live, "title"),
            "description": body if body is not None else text(live, "description", most=MAX_BODY),
            "reviewers": [{"uuid": text(each, "uuid")} for each in reviewers],
        }
        self._http.put(f"{self._all}/{number}", json=wanted)

    def close(self, number: int) -> None:
        """It declines."""
        try:
            self._http.post(f"{self._all}/{number}/decline")
        except ForgeRefused:
            if _state(self._get(number)) == "open":
                raise

    def reopen(self, number: int) -> None:
        """It can't."""
        if _state(self._get(number)) != "open":
            raise ForgeRefused(f"{self.title} can't reopen request {number}", remedy="open another from its branch")

    def comment(self, number: int, text: str) -> None:
        """Below the request."""
        self._http.post(f"{self._all}/{number}/comments", json={"content": {"raw": text}})

    def merge(self, number: int, head: str, *, when_ready: bool = False) -> None:
        """It can't be told to wait, nor which head is meant: the head is compared just before, and it merges now or
        refuses."""
        live = self._get(number)
        if self._head(live) != head:
            raise ForgeRefused(f"request {number} on {self.title} has another head than {head[:12]} by now")
        if _state(live) == "merged":
            return
        wanted = {"type": "pullrequest_merge_parameters", "close_source_branch": False}
        answer = self._http.post(f"{self._all}/{number}/merge", json=wanted)
        if answer.status != 202 and _state(answer.data) != "merged":
            raise ForgeRefused(f"{self.title} didn't merge request {number}")

    def set_status(self, commit: str, status: CommitStatus) -> None:
        """A build status: its key has 40 characters, and it has to lead somewhere."""
        wanted = {
            "key": _key(status.context),
            "name": status.context[:255],
            "state": _BUILD[status.state],
            "description": status.description[:MAX_DESCRIPTION],
            "url": status.url or self.commit_url(commit),
        }
        self._http.post(f"{self._repo}/commit/{commit}/statuses/build", json=wanted, spare=True)

    def merged_as(self, commit: str) -> Merged | None:
        """By its list of a commit's requests where the workspace has that, else among those that changed last."""
        found = next((each for each in self._of_commit(commit) if _became(each, commit)), None)
        if found is None:
            query = {"state": "MERGED", "sort": "-updated_on", "pagelen": _PAGE}
            recent = self._http.pages(
                self._all, query, most=_RECENT, values="values", enough=lambda each: _became(each, commit)
            )
            found = next((each for each in recent if _became(each, commit)), None)
        if found is None:
            return None
        live = self._get(number(found, "id"))
        head, author = self._head(live), _account(live, "author")
        if _state(live) != "merged" or not _became(live, commit):
            return None
        return Merged(
            number=number(live, "id"),
            url=web_link(live, "links", "html", "href"),
            base=_branches(live)[1],
            author=author,
            merged_by=_account(live, "closed_by"),
            approvers=approvers(self._reviews(live, head), head, author),
            head=head,
            merge_commit=commit,
        )

    def commit_url(self, commit: str) -> str:
        """On its web site."""
        return f"{self._web}/commits/{commit}"

    def _get(self, index: int) -> Any:
        return self._http.get(f"{self._all}/{index}").data

    def _of_commit(self, commit: str) -> list[Any]:
        """Nothing (404) without its app "Pull Request Commit Links", nor (202) while it is gathered."""
        try:
            answer = self._http.get(f"{self._repo}/commit/{commit}/pullrequests", query={"pagelen": _PAGE})
        except ForgeMissing:
            return []
        return rows(at(answer.data, "values"), self.title) if answer.status == 200 else []

    def _reviews(self, live: Any, head: str) -> list[Review]:
        """Who approves, and did so while the branch had this head: an approval may outlive a push."""
        yes = {_account(each, "user") for each in _list(live, "participants") if flag(each, "approved")} - {""}
        if not yes:
            return []
        path = f"{self._all}/{number(live, 'id')}/activity"
        activity = self._http.pages(path, {"pagelen": _PAGE}, most=_ACTIVITY, values="values")
        updates = [at(each, "update") for each in activity if at(each, "update") is not None]
        since = head_since(((moment(each, "date"), _short(each, "source", "commit", "hash")) for each in updates), head)
        given = [at(each, "approval") for each in activity if at(each, "approval") is not None]
        timely = {
            _account(each, "user")
            for each in given
            if since is not None and (when := moment(each, "date")) is not None and when >= since
        }
        return [Review(each, "yes", head, void=each not in timely) for each in sorted(yes)]

    def _request(self, live: Any) -> PullRequest | None:
        """None for a fork's, and for what is none."""
        state = _state(live)
        if not number(live, "id") or state is None or not _is_own(live):
            return None
        closer = text(live, "closed_by", "nickname") or text(live, "closed_by", "display_name")
        branch, base = _branches(live)
        return PullRequest(
            number=number(live, "id"),
            branch=branch,
            base=base,
            head=self._head(live),
            state=state,
            title=text(live, "title"),
            body=text(live, "description", most=MAX_BODY),
            url=web_link(live, "links", "html", "href"),
            author=text(live, "author", "nickname") or text(live, "author", "display_name"),
            closed_by=closer if state == "closed" else "",
            merged_by=closer if state == "merged" else "",
            merge_commit=self._whole(_short(live, "merge_commit", "hash")) if state == "merged" else "",
        )

    def _head(self, live: Any) -> str:
        return self._whole(_short(live, "source", "commit", "hash"))

    def _whole(self, short: str) -> str:
        """The full id of a commit that is named by its beginning; empty if there is none."""
        if not short or commit_id({"hash": short}, "hash"):
            return short
        if short not in self._full:
            try:
                found = commit_id(self._http.get(f"{self._repo}/commit/{short}").data, "hash")
            except ForgeMissing:
                return ""
            if not found.startswith(short):
                return ""
            if len(self._full) >= _KNOWN_COMMITS:
                self._full.clear()
            self._full[short] = found
        return self._full.get(short, "")


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _key(context: str) -> str:
    """The context itself if it is short enough, else its beginning and what tells it from others of that beginning."""
    if len(context) <= _KEY:
        return context
    return f"{context[:_KEY_START]}-{hashlib.sha256(context.encode()).hexdigest()[: _KEY - _KEY_START - 1]}"


def _state(live: Any) -> RequestState | None:
    return _STATES.get(text(live, "state"))


def _branches(live: Any) -> tuple[str, str]:
    return text(live, "source", "branch", "name"), text(live, "destination", "branch", "name")


def _is_own(live: Any) -> bool:
    source, base = (text(live, side, "repository", "uuid") for side in ("source", "destination"))
    if not source or not base:
        source, base = (text(live, side, "repository", "full_name") for side in ("source", "destination"))
    return source == base != ""


def _short(live: Any, *path: str) -> str:
    found = text(live, *path)
    return found if _SHORT.fullmatch(found) else ""


def _became(live: Any, commit: str) -> bool:
    short = _short(live, "merge_commit", "hash")
    return bool(short) and commit.startswith(short) and _state(live) == "merged"


def _account(live: Any, *path: str) -> str:
    return text(live, *path, "account_id") or text(live, *path, "uuid")


def _list(live: Any, *path: str) -> list[Any]:
    found = at(live, *path)
    return found[:1000] if isinstance(found, list) else []


def _number(live: Any) -> int:
    return number(live, "id")
