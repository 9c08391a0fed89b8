"""GitLab's REST API as its reference describes merge requests, approvals, versions, notes and commit statuses."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import unquote

from forges.shapes import TOKENS, Refused, Request, Shapes
from gitops_rollouts.forges.budget import Budget
from gitops_rollouts.forges.forge import ForgeSettings
from gitops_rollouts.forges.gitlab import GitLabForge
from http_server import Reply, Seen

PROJECT = "acme/infra/deploy"
_LIST = {
    "state", "source_branch", "target_branch", "scope", "order_by", "sort", "per_page", "page",
}  # fmt: skip
_STATES = {"open": "opened", "closed": "closed", "merged": "merged"}


class GitLab(Shapes):
    """One project. ``approval_times``: whether approvals say when they were given, as newer versions do."""

    approval_times = True
    approvals_are_reset = False
    ids = 35

    def __init__(self) -> None:
        super().__init__()
        self.rules_met = True
        self.jobs: list[dict[str, Any]] = []

    @property
    def forge(self) -> GitLabForge:
        return self.opened_by("bot")

    def intruder(self) -> GitLabForge:
        return self.opened_by("mallory")

    def opened_by(self, name: str) -> GitLabForge:
        settings = ForgeSettings("gitlab", f"{self.server.url}/api/v4", PROJECT, token=TOKENS[name], username="git")
        return GitLabForge(settings, Budget(calls=1000))

    def status(self, commit: str, context: str) -> tuple[str, str]:
        shown = next(each for each in reversed(self.jobs) if (each["sha"], each["name"]) == (commit, context))
        return {"failed": "failure"}.get(shown["status"], shown["status"]), str(shown["description"])

    def answer(self, seen: Seen, by: str) -> Reply:
        found = re.fullmatch(r"/api/v4/projects/([^/]+)(/.*)?", seen.target.partition("?")[0])
        if found is None:
            return self.unknown(seen)
        if unquote(found[1]) != PROJECT or "/" in found[1]:
            raise Refused(404, {"message": "404 Project Not Found"})
        return self._below(seen, found[2] or "", by)

    def _below(self, seen: Seen, path: str, by: str) -> Reply:
        if seen.method == "GET" and not path:
            return Reply.of({"id": self.ids, "path_with_namespace": PROJECT})
        if path == "/merge_requests":
            return self._list(seen) if seen.method == "GET" else self._open(seen, by)
        if one := re.fullmatch(r"/merge_requests/(\d+)(?:/(\w+))?", path):
            return self._one(seen, self.at(int(one[1])), one[2] or "", by)
        if one := re.fullmatch(r"/statuses/([0-9a-f]{40})", path):
            return self._status(seen, one[1], by)
        if one := re.fullmatch(r"/repository/commits/([0-9a-f]{40})/merge_requests", path):
            return self._of_commit(seen, one[1])
        return self.unknown(seen)

    # --- merge requests --------------------------------------------------------------------------------------------

    def _list(self, seen: Seen) -> Reply:
        query = dict(seen.query)
        if not set(query) <= _LIST:
            self.wrong.append(f"query {query}")
        if query.get("scope") != "all":
            return Reply.of([])  # created by the asker alone
        wanted = query.get("state", "all")
        found = [
            each
            for each in self.requests
            if wanted in ("all", _STATES[each.state])
            and query.get("source_branch", each.branch) == each.branch
            and query.get("target_branch", each.base) == each.base
        ]
        if query.get("sort", "desc") == "desc":
            found.reverse()
        return self._page(seen, [self._shown(each) for each in found])

    def _page(self, seen: Seen, found: list[dict[str, Any]]) -> Reply:
        per_page, page = int(seen.query.get("per_page", "20")), int(seen.query.get("page", "1"))
        assert per_page <= 100
        rows = found[(page - 1) * per_page : page * per_page]
        body = json.dumps(rows)
        tag = f'W/"{hash(body)}"'
        if seen.headers.get("If-None-Match") == tag:
            return Reply(status=304, headers={"ETag": tag})
        headers = {"Content-Type": "application/json", "ETag": tag}
        if page * per_page < len(found):
            rest = "&".join(f"{name}={value}" for name, value in {**seen.query, "page": str(page + 1)}.items())
            headers["Link"] = f'<{self.server.url}{seen.target.partition("?")[0]}?{rest}>; rel="next"'
        return Reply(body, 200, headers)

    def _open(self, seen: Seen, by: str) -> Reply:
        self._may(by)
        given = self.fields(
            seen.json, {"source_branch", "target_branch", "title"}, {"description", "remove_source_branch"}
        )
        branch, base = given["source_branch"], given["target_branch"]
        if branch not in self.branches:
            raise Refused(422, {"message": [f'Source branch "{branch}" does not exist']})
        there = [each for each in self.requests if (each.branch, each.base, each.state) == (branch, base, "open")]
        if there:
            said = f"Another open merge request already exists for this source branch: !{there[0].number}"
            raise Refused(409, {"message": [said]})
        made = self.add(branch, base, given["title"], self._run(None, given.get("description", "")), by)
        return Reply.of(self._shown(made), 201)

    def _one(self, seen: Seen, found: Request, what: str, by: str) -> Reply:
        if seen.method == "GET":
            return self._read(seen, found, what)
        self._may(by)
        if seen.method == "PUT" and not what:
            return self._update(seen, found, by)
        if seen.method == "PUT" and what == "merge":
            return self._merge(seen, found, by)
        if seen.method == "POST" and what == "notes":
            found.comments.append(self._run(found, self.fields(seen.json, {"body"}, set())["body"]))
            return Reply.of({"id": 1}, 201)
        return self.unknown(seen)

    def _read(self, seen: Seen, found: Request, what: str) -> Reply:
        if not what:
            return Reply.of(self._shown(found))
        if what == "approvals":
            return Reply.of({"iid": found.number, "approved": True, "approved_by": self._approved(found)})
        if what == "versions":
            versions = [
                {"id": number, "head_commit_sha": commit, "created_at": at, "state": "collected"}
                for number, (at, commit) in enumerate(found.heads)
            ]
            return self._page(seen, versions[::-1])
        return self.unknown(seen)

    def _update(self, seen: Seen, found: Request, by: str) -> Reply:
        given = self.fields(seen.json, set(), {"title", "description", "state_event"})
        found.title = given.get("title", found.title)
        if "description" in given:
            found.body = self._run(found, given["description"])
        event = given.get("state_event")
        if event == "close" and found.state == "open":
            self.close(found.number, by)
        if event == "reopen" and found.state == "closed" and found.branch in self.branches:
            found.state, found.closed_by = "open", ""
        return Reply.of(self._shown(found))

    def _merge(self, seen: Seen, found: Request, by: str) -> Reply:
        given = self.fields(
            seen.json,
            {"sha"},
            {"auto_merge", "merge_when_pipeline_succeeds", "should_remove_source_branch"},
        )
        if not self.may_merge:
            raise Refused(401, {"message": "401 Unauthorized"})
        if found.state != "open":
            raise Refused(405, {"message": "405 Method Not Allowed"})
        if given["sha"] != found.head:
            raise Refused(409, {"message": "SHA does not match HEAD of source branch: " + found.head})
        if not self.rules_met:
            if not given.get("auto_merge") or found.auto:
                raise Refused(405, {"message": "405 Method Not Allowed"})
            found.auto = True
            return Reply.of(self._shown(found))
        self.merge(found.number, by, "merge")
        return Reply.of(self._shown(found))

    def moved(self, request: Request) -> None:
        request.auto = False
        if self.approvals_are_reset:
            request.approvals.clear()

    def _run(self, found: Request | None, body: str) -> str:
        """Quick actions: a line that begins with a slash and a command is carried out and taken out."""
        kept = []
        for line in body.split("\n"):
            if re.match(r"\s*/(merge|close|approve|assign)\b", line):
                self.wrong.append(f"quick action {line!r} of {found}")
            else:
                kept.append(line)
        return "\n".join(kept)

    def _approved(self, found: Request) -> list[dict[str, Any]]:
        times = self.approval_times
        return [
            {"user": self._user(name), **({"approved_at": at} if times else {})} for name, at in found.approvals.items()
        ]

    # --- commits ---------------------------------------------------------------------------------------------------

    def _of_commit(self, seen: Seen, commit: str) -> Reply:
        if commit not in self.commits:
            raise Refused(404, {"message": "404 Commit Not Found"})
        found = [each for each in self.requests if commit in {each.became, *(head for _, head in each.heads)}]
        return self._page(seen, [self._shown(each) for each in found])

    def _status(self, seen: Seen, commit: str, by: str) -> Reply:
        """Its state machine: only what is pending or running is changed, and never to what it is."""
        self._may(by)
        given = self.fields(seen.json, {"state"}, {"name", "target_url", "description", "ref"})
        state, name = given["state"], given.get("name", "default")
        assert len(given.get("description", "")) <= 255
        live = next(
            (
                each
                for each in self.jobs
                if (each["sha"], each["name"]) == (commit, name) and each["status"] in ("pending", "running")
            ),
            None,
        )
        was = live["status"] if live else "created"
        events = {"pending": ("enqueue", ("created",)), "running": ("run", ("created", "pending"))}
        event, before = events.get(state, ("drop", ("created", "pending", "running")))
        if was not in before:
            raise Refused(400, {"message": f"Cannot transition status via :{event} from :{was}"})
        if live is None:
            live = {"sha": commit, "name": name}
            self.jobs.append(live)
        live |= {"status": state, "description": given.get("description"), "target_url": given.get("target_url")}
        return Reply.of(live, 201)

    def _may(self, by: str) -> None:
        if by != "bot":
            raise Refused(403, {"message": "403 Forbidden"})

    def _user(self, name: str) -> dict[str, Any] | None:
        return {"id": 1, "username": name, "name": name.title(), "state": "active"} if name else None

    def _shown(self, each: Request) -> dict[str, Any]:
        merges = each.style in ("merge", "squash, then merge")
        squashed = {"squash": each.became, "squash, then merge": each.became[::-1]}
        return {
            "id": 1000 + each.number,
            "iid": each.number,
            "project_id": self.ids,
            "title": each.title,
            "description": each.body,
            "state": _STATES[each.state],
            "target_branch": each.base,
            "source_branch": each.branch,
            "author": self._user(each.author),
            "source_project_id": self.ids + each.fork,
            "target_project_id": self.ids,
            "merge_when_pipeline_succeeds": each.auto,
            "merge_error": None,
            "sha": each.head,
            "merge_commit_sha": each.became if merges else None,
            "squash_commit_sha": squashed.get(each.style),
            "merged_by": self._user(each.merged_by),
            "merge_user": self._user(each.merged_by),
            "closed_by": self._user(each.closed_by),
            "web_url": f"{self.server.url}/{PROJECT}/-/merge_requests/{each.number}",
        }
