"""An engine's decision writer with its mirror and board, as the tests of decisions run it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from decision_repo import PROD, Reading
from git_remote import BOT
from gitops_rollouts.decisions.board import Board
from gitops_rollouts.decisions.planning.wants import Want
from gitops_rollouts.decisions.requests.gathering import RequestSettings
from gitops_rollouts.decisions.requests.reported import WriteReport
from gitops_rollouts.decisions.requests.view import RequestView
from gitops_rollouts.decisions.state import InGit, TargetAt
from gitops_rollouts.decisions.writing.lanes import WriterSettings
from gitops_rollouts.decisions.writing.round import WriterTarget, Writing
from gitops_rollouts.decisions.writing.writer import DecisionWriter
from gitops_rollouts.git.repository import Mirror

WEB_YAML = "envs/prod/web.yaml"
KEY = ("shop", "web")
QUICK = WriterSettings(
    batch=timedelta(0),
    retry_least=timedelta(milliseconds=1),
    retry_most=timedelta(milliseconds=20),
    requests=RequestSettings(quiet=timedelta(seconds=60), longest=timedelta(minutes=10)),
)


class Engine:
    """A writer with its mirror and board, and a clock that the test moves."""

    def __init__(self, mirror: Mirror, *, name: str = "prod-eu1/0.1.0", **more: Any) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.mirror = mirror
        self.reading = Reading(mirror)
        self.board = Board()
        self.pushed: list[str] = []
        self.reports: list[WriteReport] = []
        self.views: dict[str, tuple[RequestView, ...]] = {}
        self.specs = more.pop("specs", [PROD])
        settings = more.pop("settings", QUICK)
        sign = more.pop("sign", lambda target: None)
        self.writer = DecisionWriter(
            mirror,
            self.reading.reader,
            self.board,
            Writing("main", name, BOT, sign),
            lambda: self.now,
            settings=settings,
            on_pushed=self.pushed.append,
            on_report=self.reports.append,
            on_views=self.views.__setitem__,
        )
        for spec in self.specs:
            self.writer.register(WriterTarget(spec, **more))

    def sync(self) -> InGit:
        """Fetch, read and publish, as sync does."""
        for spec in self.specs:
            at = self.board.target(spec.name)
            self.board.publish(spec.name, self.reading.at(at.commit if at else None, spec), self.now)
        self.writer.saw_requests(self.mirror.list_refs())
        state = self.board.get(*KEY)
        assert state is not None
        return state

    def published(self, target: str = "prod") -> TargetAt:
        at = self.board.target(target)
        assert at is not None
        return at

    def want(self, *wanted: Want, key: tuple[str, str] = KEY, moving: bool = False, target: str = "prod") -> None:
        self.writer.set_wants(target, key, wanted, moving=moving)

    async def settle(self, rounds: int = 20) -> None:
        """Run rounds until nothing is due at this moment."""
        for _ in range(rounds):
            at = self.writer._next(self.now)
            if at is None:
                return
            if at > self.now + timedelta(seconds=1):
                return
            self.now = max(self.now, at)
            await self.writer.step()
        raise AssertionError("the writer doesn't come to rest")

    @property
    def reason(self) -> str:
        return self.reports[-1].reason
