"""Bitbucket Cloud's API 2.0 as its OpenAPI description has pull requests, activity, comments and build statuses."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode

from forges.shapes import TOKENS, Refused, Request, Shapes
from gitops_rollouts.forges.bitbucket import BitbucketForge
from gitops_rollouts.forges.budget import Budget
from gitops_rollouts.forges.forge import ForgeSettings
from http_server import Reply, Seen

PROJECT = "acme/deploy"
_CONDITION = re.compile(r'([a-z_.]+) (=|~) "((?:[^"\\]|\\.)*)"')
_STATES = {"open": "OPEN", "closed": "DECLINED", "merged": "MERGED"}


class Bitbucket(Shapes):
    """One repository. ``commit_links``: whether the app is there that lists a commit's requests.

    An account id is ``id-`` and the name, unless ``plain_ids``.
    """

    commit_links = True
    plain_ids = False
    checks_met = True

    @property
    def forge(self) -> BitbucketForge:
        return self.opened_by("bot")

    def intruder(self) -> BitbucketForge:
        return self.opened_by("mallory")

    def opened_by(self, name: str) -> BitbucketForge:
        api = f"{self.server.url}/2.0"
        return BitbucketForge(ForgeSettings("bitbucket", api, PROJECT, TOKENS[name], "git"), Budget(calls=1000))

    def status(self, commit: str, context: str) -> tuple[str, str]:
        found = self.statuses[commit, context]
        state = {"INPROGRESS": "pending", "SUCCESSFUL": "success", "FAILED": "failure"}[found["state"]]
        return state, found["description"]

    def no_such(self) -> Any:
        return {"type": "error", "error": {"message": "Not found"}}

    def approve(self, number: int, by: str) -> None:
        super().approve(number, by)
        found = self.at(number)
        found.history.append({"approval": {"date": found.approvals[by], "user": self._user(by)}})

    def moved(self, request: Request) -> None:
        self._updated(request)

    def answer(self, seen: Seen, by: str) -> Reply:
        path = seen.target.partition("?")[0].removeprefix(f"/2.0/repositories/{PROJECT}")
        if path == seen.target.partition("?")[0]:
            raise Refused(404, self.no_such())
        if path == "/pullrequests":
            return self._list(seen) if seen.method == "GET" else self._open(seen, by)
        if one := re.fullmatch(r"/pullrequests/(\d+)(?:/(\w+))?", path):
            return self._one(seen, self.at(int(one[1])), one[2] or "", by)
        if one := re.fullmatch(r"/commit/([0-9a-f]{7,40})((?:/\w+)*)", path):
            return self._commit(seen, one[1], one[2], by)
        return self.unknown(seen)

    # --- pull requests ---------------------------------------------------------------------------------------------

    def _list(self, seen: Seen) -> Reply:
        query = parse_qs(seen.target.partition("?")[2])
        if not set(query) <= {"state", "q", "sort", "pagelen", "page"}:
            self.wrong.append(f"query {query}")
        states = query.get("state", ["OPEN"])
        conditions = query.get("q", [""])[0]
        found = [each for each in self.requests if _STATES[each.state] in states and self._fits(each, conditions)]
        order = query.get("sort", ["-updated_on"])[0]
        key = {"created_on": "opened", "updated_on": "touched"}[order.removeprefix("-")]
        found.sort(key=lambda each: (getattr(each, key), each.number), reverse=order.startswith("-"))
        return self._page(seen, [self._shown(each, whole=False) for each in found])

    def _fits(self, each: Request, conditions: str) -> bool:
        if not conditions:
            return True
        values = {"source.branch.name": each.branch, "destination.branch.name": each.base}
        for condition in conditions.split(" AND "):
            found = _CONDITION.fullmatch(condition)
            if found is None or found[1] not in values:
                self.wrong.append(f"condition {condition}")
                raise Refused(400, {"type": "error", "error": {"message": "Invalid query"}})
            wanted, value = re.sub(r"\\(.)", r"\1", found[3]), values[found[1]]
            if not (value == wanted if found[2] == "=" else wanted.lower() in value.lower()):
                return False
        return True

    def _page(self, seen: Seen, found: list[dict[str, Any]]) -> Reply:
        query = dict(parse_qsl(seen.target.partition("?")[2]))
        pagelen, page = int(query.get("pagelen", "10")), int(query.get("page", "1"))
        if pagelen > 50:
            raise Refused(400, {"type": "error", "error": {"message": "Invalid pagelen"}})
        answer = {"values": found[(page - 1) * pagelen : page * pagelen], "pagelen": pagelen, "page": page}
        if page * pagelen < len(found):
            pairs = [pair for pair in parse_qsl(seen.target.partition("?")[2]) if pair[0] != "page"]
            rest = urlencode([*pairs, ("page", page + 1)])
            answer["next"] = f"{self.server.url}{seen.target.partition('?')[0]}?{rest}"
        return Reply.of(answer)

    def _open(self, seen: Seen, by: str) -> Reply:
        """It takes as many from one branch as it is asked for."""
        self._may(by)
        given = self.fields(
            seen.json, {"title", "source"}, {"description", "destination", "close_source_branch", "reviewers"}
        )
        branch = given["source"]["branch"]["name"]
        if branch not in self.branches:
            raise Refused(400, {"type": "error", "error": {"message": f"branch not found: {branch}"}})
        base = given["destination"]["branch"]["name"]
        made = self.add(branch, base, given["title"], given.get("description", ""), by)
        self._updated(made)
        return Reply.of(self._shown(made), 201)

    def _one(self, seen: Seen, found: Request, what: str, by: str) -> Reply:
        if seen.method == "GET":
            if what == "activity":
                return self._page(seen, found.history[::-1])
            return Reply.of(self._shown(found)) if not what else self.unknown(seen)
        self._may(by)
        if seen.method == "PUT" and not what:
            return self._update(seen, found)
        if seen.method == "POST" and what == "decline":
            if found.state != "open":
                raise Refused(400, {"type": "error", "error": {"message": "You cannot decline a closed pull request"}})
            self.close(found.number, by)
            return Reply.of(self._shown(found))
        if seen.method == "POST" and what == "comments":
            given = self.fields(seen.json, {"content"}, set())
            found.comments.append(self.fields(given["content"], {"raw"}, set())["raw"])
            return Reply.of({"id": 1}, 201)
        return self._merge(seen, found, by) if (seen.method, what) == ("POST", "merge") else self.unknown(seen)

    def _update(self, seen: Seen, found: Request) -> Reply:
        """What a body leaves out is lost."""
        given = self.fields(seen.json, {"title"}, {"description", "reviewers", "destination"})
        if found.state != "open":
            raise Refused(400, {"type": "error", "error": {"message": "Only open pull requests can be mutated"}})
        found.title, found.body = given["title"], given.get("description", "")
        found.reviewers = [each["uuid"].strip("{}") for each in given.get("reviewers", [])]
        self._updated(found)
        return Reply.of(self._shown(found))

    def _merge(self, seen: Seen, found: Request, by: str) -> Reply:
        given = self.fields(seen.json, {"type"}, {"close_source_branch", "merge_strategy", "message"})
        assert given["type"] == "pullrequest_merge_parameters"
        if not self.may_merge:
            raise Refused(
                403, {"type": "error", "error": {"message": "You are not permitted to merge to this branch."}}
            )
        if found.state != "open":
            raise Refused(400, {"type": "error", "error": {"message": "This pull request is already closed."}})
        if not self.checks_met:
            raise Refused(400, {"type": "error", "error": {"message": "merge checks failed: 1 approval is required"}})
        self.merge(found.number, by, "merge")
        return Reply.of(self._shown(found))

    def _updated(self, found: Request) -> None:
        found.touched = self.now()
        source = {"branch": {"name": found.branch}, "commit": {"type": "commit", "hash": found.head[:12]}}
        began = found.heads[-1][0] if len(found.heads) > 1 else found.opened
        known = {each["update"]["source"]["commit"]["hash"] for each in found.history if "update" in each}
        date = found.touched if found.head[:12] in known else began
        found.history.append({"update": {"state": "OPEN", "title": found.title, "source": source, "date": date}})

    # --- commits ---------------------------------------------------------------------------------------------------

    def _commit(self, seen: Seen, named: str, below: str, by: str) -> Reply:
        commit = next((each for each in self.commits if each.startswith(named)), "")
        if not commit:
            raise Refused(404, self.no_such())
        if (seen.method, below) == ("GET", ""):
            return Reply.of({"type": "commit", "hash": commit})
        if (seen.method, below) == ("GET", "/pullrequests"):
            if not self.commit_links:
                raise Refused(404, {"type": "error", "error": {"message": "Repository not yet indexed"}})
            found = [each for each in self.requests if commit in {each.became, *(head for _, head in each.heads)}]
            return self._page(seen, [self._shown(each, whole=False) for each in found])
        if (seen.method, below) == ("POST", "/statuses/build"):
            self._may(by)
            given = self.fields(seen.json, {"key", "state", "url"}, {"name", "description", "refname"})
            if len(given["key"]) > 40 or not given["url"]:
                raise Refused(400, {"type": "error", "error": {"message": "key: too long, or no url"}})
            self.statuses[commit, given["key"]] = given
            return Reply.of(given, 201)
        return self.unknown(seen)

    def _may(self, by: str) -> None:
        if by != "bot":
            raise Refused(403, {"type": "error", "error": {"message": "Your credentials lack one or more scopes."}})

    def _user(self, name: str) -> dict[str, Any] | None:
        if not name:
            return None
        identity = name if self.plain_ids else f"id-{name}"
        return {
            "type": "user",
            "nickname": name,
            "display_name": name.title(),
            "account_id": identity,
            "uuid": "{" + name + "}",
        }

    def _shown(self, each: Request, *, whole: bool = True) -> dict[str, Any]:
        def side(branch: str, commit: str, repository: str) -> dict[str, Any]:
            return {
                "branch": {"name": branch},
                "commit": {"type": "commit", "hash": commit[:12]},
                "repository": {"type": "repository", "full_name": repository, "uuid": "{" + repository + "}"},
            }

        shown = {
            "type": "pullrequest",
            "id": each.number,
            "title": each.title,
            "description": each.body,
            "state": _STATES[each.state],
            "author": self._user(each.author),
            "source": side(each.branch, each.head, "mallory/deploy" if each.fork else PROJECT),
            "destination": side(each.base, self.branches.get(each.base, ""), PROJECT),
            "merge_commit": {"type": "commit", "hash": each.became[:12]} if each.became else None,
            "closed_by": self._user(each.merged_by or each.closed_by),
            "created_on": each.opened,
            "updated_on": each.touched,
            "links": {"html": {"href": f"https://bitbucket.org/{PROJECT}/pull-requests/{each.number}"}},
        }
        if whole:
            shown["reviewers"] = [self._user(name) for name in each.reviewers]
            shown["participants"] = [
                {
                    "type": "participant",
                    "user": self._user(name),
                    "role": "PARTICIPANT",
                    "approved": True,
                    "state": "approved",
                }
                for name in each.approvals
            ]
        return shown
