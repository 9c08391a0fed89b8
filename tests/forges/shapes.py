"""A model of one repository on a forge that can't run here: what its API published, and nothing that it didn't.

A request that the published reference doesn't have is noted in ``wrong``, which the fixture of a test looks at.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from http_server import HttpServer, Reply, Seen, serving_in_thread

TOKENS = {"bot": "t0p-secret-token", "mallory": "no-rights-at-all"}


@dataclass
class Request:
    """One pull or merge request."""

    number: int
    branch: str
    base: str
    title: str
    body: str
    author: str
    opened: str
    heads: list[tuple[str, str]]
    state: str = "open"
    closed_by: str = ""
    merged_by: str = ""
    style: str = ""
    became: str = ""
    touched: str = ""
    auto: bool = False
    fork: bool = False
    approvals: dict[str, str] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    reviewers: list[str] = field(default_factory=list)

    @property
    def head(self) -> str:
        return self.heads[-1][1]


class Refused(Exception):
    """What the forge answers instead."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(status)
        self.status = status
        self.body = body


class Shapes:
    """Subclasses answer as their forge does. Commits are made-up ids, each a second after the one before."""

    server: HttpServer

    def __init__(self) -> None:
        self.branches: dict[str, str] = {}
        self.requests: list[Request] = []
        self.statuses: dict[tuple[str, str], dict[str, Any]] = {}
        self.commits: set[str] = set()
        self.wrong: list[str] = []
        self.dead = False
        self.may_merge = True
        self._ids = itertools.count(1)
        self._now = datetime(2026, 1, 1, tzinfo=UTC)
        self.branches["main"] = self.commit()

    # --- what a person does, see `forges.contract.Site` ------------------------------------------------------------

    def branch(self, name: str, base: str = "main") -> str:
        assert base in self.branches
        made = self.branches[name] = self.commit()
        for each in self.requests:
            if each.branch == name and each.state == "open" and not each.fork:
                each.heads.append((self.now(), made))
                self.moved(each)
        return made

    def remove_branch(self, name: str) -> None:
        del self.branches[name]

    def approve(self, number: int, by: str) -> None:
        self.at(number).approvals[by] = self.now()

    def close(self, number: int, by: str) -> None:
        found = self.at(number)
        found.state, found.closed_by, found.touched = "closed", by, self.now()

    def merge(self, number: int, by: str, style: str) -> str:
        found = self.at(number)
        found.became = found.head if style == "fast-forward" else self.commit()
        found.state, found.merged_by, found.style, found.touched = "merged", by, style, self.now()
        self.branches[found.base] = found.became
        return found.became

    def comments(self, number: int) -> list[str]:
        return self.at(number).comments

    def tip(self, branch: str = "main") -> str:
        return self.branches[branch]

    # --- what models share -----------------------------------------------------------------------------------------

    def moved(self, request: Request) -> None:
        """A request has another head."""

    def commit(self) -> str:
        made = hashlib.sha1(f"commit {next(self._ids)}".encode(), usedforsecurity=False).hexdigest()
        self.commits.add(made)
        return made

    def now(self) -> str:
        self._now += timedelta(seconds=1)
        return self._now.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def at(self, number: int) -> Request:
        found = next((each for each in self.requests if each.number == number), None)
        if found is None:
            raise Refused(404, self.no_such())
        return found

    def no_such(self) -> Any:
        return {"message": "404 Not found"}

    def add(self, branch: str, base: str, title: str, body: str, author: str, *, fork: bool = False) -> Request:
        opened = self.now()
        head = self.commit() if fork else self.branches[branch]
        made = Request(
            len(self.requests) + 1,
            branch,
            base,
            title,
            body,
            author,
            opened,
            [(opened, head)],
            touched=opened,
            fork=fork,
        )
        self.requests.append(made)
        return made

    def fields(self, given: Any, required: set[str], optional: set[str]) -> dict[str, Any]:
        """A body that has what it must and nothing that the reference doesn't know."""
        if not isinstance(given, dict) or not required <= set(given) <= required | optional:
            self.wrong.append(f"fields {sorted(given) if isinstance(given, dict) else given}, not {sorted(required)}")
            raise Refused(400, {"message": "wrong fields"})
        return given

    def who(self, seen: Seen) -> str:
        """Whose token it is."""
        given = seen.headers.get("Authorization", "")
        found = next((name for name, token in TOKENS.items() if given == f"Bearer {token}"), "")
        if not found:
            self.wrong.append(f"authorization {given!r}")
            raise Refused(401, {"message": "401 Unauthorized"})
        return found

    def handle(self, seen: Seen) -> Reply:
        if self.dead:
            return Reply("<html>bad gateway</html>", 502)
        try:
            return self.answer(seen, self.who(seen))
        except Refused as refused:
            return Reply.of(refused.body, refused.status)
        except Exception as error:
            self.wrong.append(f"{seen.method} {seen.path}: {error!r}")
            raise

    def answer(self, seen: Seen, by: str) -> Reply:
        raise NotImplementedError

    def unknown(self, seen: Seen) -> Reply:
        self.wrong.append(f"{seen.method} {seen.path} isn't in the reference")
        return Reply.of({"error": "404 Not Found"}, 404)


@contextmanager
def running(shapes: Shapes) -> Iterator[None]:
    """Serve a model; at the end nothing may have been asked that its forge doesn't know."""
    with serving_in_thread(shapes.handle) as server:
        shapes.server = server
        yield
    assert shapes.wrong == []
