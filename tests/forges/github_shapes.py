"""GitHub's REST API as its reference describes pull requests, reviews, comments and commit statuses, and its GraphQL
mutation ``enablePullRequestAutoMerge``."""

from __future__ import annotations

import json
import re
from typing import Any

from forges.shapes import TOKENS, Refused, Request, Shapes
from gitops_rollouts.forges.budget import Budget
from gitops_rollouts.forges.forge import ForgeSettings
from gitops_rollouts.forges.github import GitHubForge
from http_server import Reply, Seen

PROJECT = "acme/deploy"
_LIST = {"state", "head", "base", "sort", "direction", "per_page", "page"}
_MISSING = {"message": "Not Found", "documentation_url": "https://docs.github.com/rest"}


class GitHub(Shapes):
    """One repository on a GitHub Enterprise of the test. ``rules_met``: whether its branch protection lets merge."""

    def __init__(self) -> None:
        super().__init__()
        self.rules_met = True
        self.auto_merge_allowed = True
        self.styles_shown: dict[str, bool] = {}
        self.reviews: list[dict[str, Any]] = []
        self.recreated: set[int] = set()

    @property
    def forge(self) -> GitHubForge:
        return self.opened_by("bot")

    def intruder(self) -> GitHubForge:
        return self.opened_by("mallory")

    def opened_by(self, name: str) -> GitHubForge:
        settings = ForgeSettings("github", f"{self.server.url}/api/v3", PROJECT, token=TOKENS[name], username="git")
        return GitHubForge(settings, Budget(calls=1000))

    def approve(self, number: int, by: str) -> None:
        self.review(number, by, "APPROVED")

    def review(self, number: int, by: str, state: str) -> None:
        head = self.at(number).head
        self.reviews.append({"number": number, "user": self._user(by), "state": state, "commit_id": head})

    def status(self, commit: str, context: str) -> tuple[str, str]:
        shown = self.statuses[commit, context]
        return shown["state"], shown["description"]

    def no_such(self) -> Any:
        return _MISSING

    def answer(self, seen: Seen, by: str) -> Reply:
        if seen.headers.get("Accept") != "application/vnd.github+json":
            self.wrong.append(f"accepts {seen.headers.get('Accept')}")
        if seen.headers.get("X-GitHub-Api-Version") != "2022-11-28":
            self.wrong.append("names no version")
        if (seen.method, seen.path) == ("POST", "/api/graphql"):
            return self._graphql(seen, by)
        found = re.fullmatch(rf"/api/v3/repos/{PROJECT}(/.*)?", seen.path)
        return self._below(seen, found[1] or "", by) if found else self.unknown(seen)

    def _below(self, seen: Seen, path: str, by: str) -> Reply:
        if (seen.method, path) == ("GET", ""):
            return Reply.of({"id": 1, "full_name": PROJECT, **self.styles_shown})
        if one := re.fullmatch(r"/pulls(?:/(\d+))?(?:/(\w+))?", path):
            return self._pulls(seen, one[1] or "", one[2] or "", by)
        if one := re.fullmatch(r"/issues/(\d+)(?:/(comments))?", path):
            return self._issue(seen, self.at(int(one[1])), one[2] or "", by)
        if (one := re.fullmatch(r"/statuses/([0-9a-f]{40})", path)) and seen.method == "POST":
            return self._status(seen, one[1], by)
        if (one := re.fullmatch(r"/commits/([0-9a-f]{40})/pulls", path)) and seen.method == "GET":
            return self._of_commit(seen, one[1])
        return self.unknown(seen)

    # --- pull requests ---------------------------------------------------------------------------------------------

    def _pulls(self, seen: Seen, number: str, what: str, by: str) -> Reply:
        if number:
            return self._one(seen, self.at(int(number)), what, by)
        return self._list(seen) if seen.method == "GET" else self._open(seen, by)

    def _list(self, seen: Seen) -> Reply:
        query = dict(seen.query)
        if not set(query) <= _LIST:
            self.wrong.append(f"query {query}")
        state = query.get("state", "open")
        found = [
            each
            for each in self.requests
            if (state == "all" or (each.state == "open") == (state == "open"))
            and query.get("base", each.base) == each.base
            and query.get("head", self._label(each)) == self._label(each)
        ]
        if query.get("direction", "desc" if query.get("sort", "created") == "created" else "asc") == "desc":
            found.reverse()
        return self._page(seen, [self._shown(each) for each in found])

    def _page(self, seen: Seen, found: list[dict[str, Any]]) -> Reply:
        per_page, page = int(seen.query.get("per_page", "30")), int(seen.query.get("page", "1"))
        assert per_page <= 100
        body = json.dumps(found[(page - 1) * per_page : page * per_page])
        tag = f'W/"{hash(body):x}"'
        if seen.headers.get("If-None-Match") == tag:
            return Reply(status=304, headers={"ETag": tag})
        headers = {"Content-Type": "application/json; charset=utf-8", "ETag": tag}
        if page * per_page < len(found):
            rest = "&".join(f"{name}={value}" for name, value in {**seen.query, "page": str(page + 1)}.items())
            headers["Link"] = f'<{self.server.url}{seen.path}?{rest}>; rel="next", <x>; rel="last"'
        return Reply(body, 200, headers)

    def _open(self, seen: Seen, by: str) -> Reply:
        self._may(by)
        given = self.fields(seen.json, {"head", "base", "title"}, {"body", "draft", "maintainer_can_modify"})
        branch, base = given["head"], given["base"]
        if branch not in self.branches or base not in self.branches:
            raise self._invalid({"resource": "PullRequest", "field": "head", "code": "invalid"})
        if any((each.branch, each.base, each.state) == (branch, base, "open") for each in self.requests):
            said = f"A pull request already exists for acme:{branch}."
            raise self._invalid({"resource": "PullRequest", "code": "custom", "message": said})
        return Reply.of(self._shown(self.add(branch, base, given["title"], given.get("body", ""), by)), 201)

    def _one(self, seen: Seen, found: Request, what: str, by: str) -> Reply:
        if seen.method == "GET" and not what:
            return Reply.of({**self._shown(found), "merged": found.state == "merged", **self._merger(found)})
        if seen.method == "GET" and what == "reviews":
            return self._page(seen, [each for each in self.reviews if each["number"] == found.number])
        self._may(by)
        if seen.method == "PATCH" and not what:
            return self._update(seen, found, by)
        if seen.method == "PUT" and what == "merge":
            return self._merge(seen, found, by)
        return self.unknown(seen)

    def _update(self, seen: Seen, found: Request, by: str) -> Reply:
        given = self.fields(seen.json, set(), {"title", "body", "state", "base"})
        found.title, found.body = given.get("title", found.title), given.get("body", found.body)
        if given.get("state") == "closed" and found.state == "open":
            self.close(found.number, by)
        if given.get("state") == "open" and found.state != "open":
            if found.state == "merged" or found.branch not in self.branches or found.number in self.recreated:
                said = "state cannot be changed. The branch was force-pushed or recreated."
                raise self._invalid({"resource": "PullRequest", "code": "custom", "message": said})
            found.state, found.closed_by = "open", ""
        return Reply.of(self._shown(found))

    def _merge(self, seen: Seen, found: Request, by: str) -> Reply:
        given = self.fields(seen.json, set(), {"sha", "merge_method", "commit_title", "commit_message"})
        if found.state != "open":
            raise Refused(405, {"message": "Pull Request is not mergeable"})
        if given["sha"] != found.head:
            raise Refused(409, {"message": "Head branch was modified. Review and try the merge again."})
        if not self.rules_met:
            raise Refused(405, {"message": "At least 1 approving review is required by reviewers with write access."})
        style = given["merge_method"]
        if self.styles_shown and not self.styles_shown[_ALLOWS[style]]:
            raise Refused(405, {"message": f"{style} merges are not allowed on this repository."})
        sha = self.merge(found.number, by, style)
        return Reply.of({"sha": sha, "merged": True, "message": "Pull Request successfully merged"})

    def _graphql(self, seen: Seen, by: str) -> Reply:
        self._may(by)
        given = self.fields(seen.json, {"query", "variables"}, set())
        wanted = given["variables"]["input"]
        assert set(wanted) == {"pullRequestId", "expectedHeadOid", "mergeMethod"}
        assert wanted["mergeMethod"] in ("MERGE", "SQUASH", "REBASE")
        assert "mutation($input: EnablePullRequestAutoMergeInput!)" in given["query"]
        assert "enablePullRequestAutoMerge(input: $input)" in given["query"]
        found = self.at(int(wanted["pullRequestId"].removeprefix("PR_")))
        if not self.auto_merge_allowed:
            return _no("UNPROCESSABLE", "Pull request Auto merge is not allowed for this repository")
        if wanted["expectedHeadOid"] != found.head:
            return _no("UNPROCESSABLE", "Head sha didn't match expected head sha")
        if self.rules_met:
            return _no("UNPROCESSABLE", "Pull request Pull request is in clean status")
        found.auto = True
        return Reply.of({"data": {"enablePullRequestAutoMerge": {"pullRequest": {"number": found.number}}}})

    def _issue(self, seen: Seen, found: Request, what: str, by: str) -> Reply:
        if seen.method == "GET" and not what:
            return Reply.of({"number": found.number, "pull_request": {}, "closed_by": self._user(found.closed_by)})
        if seen.method == "POST" and what == "comments":
            self._may(by)
            found.comments.append(self.fields(seen.json, {"body"}, set())["body"])
            return Reply.of({"id": 1}, 201)
        return self.unknown(seen)

    # --- commits ---------------------------------------------------------------------------------------------------

    def _of_commit(self, seen: Seen, commit: str) -> Reply:
        if commit not in self.commits:
            raise Refused(422, {"message": f"No commit found for SHA: {commit}"})
        found = [each for each in self.requests if commit in {each.became, *(head for _, head in each.heads)}]
        return self._page(seen, [self._shown(each) for each in found])

    def _status(self, seen: Seen, commit: str, by: str) -> Reply:
        self._may(by)
        given = self.fields(seen.json, {"state"}, {"target_url", "description", "context"})
        if given["state"] not in ("error", "failure", "pending", "success") or len(given["description"]) > 140:
            raise self._invalid({"resource": "Status", "code": "custom", "message": "description is too long"})
        self.statuses[commit, given.get("context", "default")] = given
        return Reply.of(given, 201)

    # --- shapes ----------------------------------------------------------------------------------------------------

    def _may(self, by: str) -> None:
        if by != "bot":
            raise Refused(403, {"message": "Resource not accessible by personal access token"})

    def _invalid(self, error: dict[str, str]) -> Refused:
        return Refused(422, {"message": "Validation Failed", "errors": [error]})

    def _user(self, name: str) -> dict[str, Any] | None:
        return {"login": name, "id": 1, "type": "User"} if name else None

    def _merger(self, each: Request) -> dict[str, Any]:
        """What only a single request tells, not a list of them."""
        return {"merged_by": self._user(each.merged_by), "mergeable_state": "clean" if self.rules_met else "blocked"}

    def _label(self, each: Request) -> str:
        return f"{'mallory' if each.fork else 'acme'}:{each.branch}"

    def _shown(self, each: Request) -> dict[str, Any]:
        repo = {"id": 1 + each.fork, "full_name": PROJECT if not each.fork else "mallory/deploy"}
        return {
            "number": each.number,
            "node_id": f"PR_{each.number}",
            "state": "open" if each.state == "open" else "closed",
            "title": each.title,
            "body": each.body or None,
            "html_url": f"{self.server.url}/{PROJECT}/pull/{each.number}",
            "user": self._user(each.author),
            "created_at": each.opened,
            "merged_at": each.touched if each.state == "merged" else None,
            # until it is merged: a trial merge
            "merge_commit_sha": each.became or "f" * 40,
            "auto_merge": {"merge_method": "merge"} if each.auto else None,
            "head": {"label": self._label(each), "ref": each.branch, "sha": each.head, "repo": repo},
            "base": {"label": f"acme:{each.base}", "ref": each.base, "repo": {"id": 1, "full_name": PROJECT}},
        }


_ALLOWS = {"merge": "allow_merge_commit", "squash": "allow_squash_merge", "rebase": "allow_rebase_merge"}


def _no(kind: str, said: str) -> Reply:
    path = ["enablePullRequestAutoMerge"]
    return Reply.of({"data": {path[0]: None}, "errors": [{"type": kind, "path": path, "message": said}]})
