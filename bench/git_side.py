"""Repositories full of Rollouts and engines that write to them, without a cluster, and what that costs."""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gitops_rollouts.decisions.board import Board
from gitops_rollouts.decisions.planning.wants import WantAbort, WantRequest
from gitops_rollouts.decisions.reading.target import TargetReader
from gitops_rollouts.decisions.requests.gathering import RequestSettings
from gitops_rollouts.decisions.state import Key, TargetAt, TargetSpec
from gitops_rollouts.decisions.writing.lanes import WriterSettings
from gitops_rollouts.decisions.writing.round import WriterTarget, Writing
from gitops_rollouts.decisions.writing.writer import DecisionWriter
from gitops_rollouts.errors import PushRaced
from gitops_rollouts.git.repository import Mirror
from gitops_rollouts.git.writing import Author
from gitops_rollouts.render.renderer import Renderer

_BOT = Author("gitops-rollouts[bot]", "bot@example.invalid")
PROD = TargetSpec("prod", "main", "envs/prod")
AT_ONCE = WriterSettings(batch=timedelta(0), requests=RequestSettings(quiet=timedelta(0)))
_ROLLOUT = """\
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata:
  name: {name}
  namespace: shop
spec:
  replicas: 5
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec: {{containers: [{{name: app, image: "app:{tag}"}}]}}
  strategy:
    canary:
      steps: [{{setWeight: 20}}, {{pause: {{}}}}]
"""


@dataclass(frozen=True)
class Spent:
    """Seconds, CPU seconds with those of all children, and what it took in Git."""

    seconds: float
    cpu: float
    commits: int
    pushes: int


class BenchRemote:
    """A bare repository with so many Rollouts at v2, one file each; counts the pushes that reach it."""

    def __init__(self, folder: Path, count: int) -> None:
        folder.mkdir(parents=True)
        self.bare, self.log = folder / "remote.git", folder / "pushes"
        self.work = folder / "work"
        self.keys: tuple[Key, ...] = tuple(("shop", f"app-{number:03}") for number in range(count))
        self.git(folder, "init", "-q", "--bare", "-b", "main", str(self.bare))
        hook = self.bare / "hooks" / "pre-receive"
        hook.write_text(f"#!/bin/sh\necho >> '{self.log}'\n")
        hook.chmod(0o755)
        self.git(folder, "clone", "-q", str(self.bare), str(self.work))
        for tag in ("v1", "v2"):
            for _, name in self.keys:
                path = self.work / "envs" / "prod" / f"{name}.yaml"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(_ROLLOUT.format(name=name, tag=tag))
            self.git(self.work, "add", "-A")
            self.git(self.work, "commit", "-q", "-m", tag)
        self.git(self.work, "push", "-q", "origin", "HEAD:main")
        self.log.write_text("")

    def git(self, folder: Path, *argv: str) -> str:
        who = {
            f"GIT_{role}_{what}": "bench@example.invalid"
            for role in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        }
        environment = {**os.environ, **who, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        return subprocess.run(
            ["git", *argv], cwd=folder, env=environment, check=True, capture_output=True, text=True
        ).stdout

    def pushed(self, folder: Path) -> bool:
        """Push a clone's head to the branch; False if somebody was faster."""
        done = subprocess.run(
            ["git", "push", "-q", "origin", "HEAD:main"], cwd=folder, capture_output=True, check=False
        )
        return done.returncode == 0

    def by_the_engine(self) -> int:
        """The commits of the branch that are the engine's."""
        return int(self.git(self.bare, "rev-list", "--count", f"--author={_BOT.email}", "main"))

    def merge(self) -> None:
        """Merge the one request there is."""
        self.git(self.work, "fetch", "-q", "origin")
        branch = self.git(self.work, "branch", "-r", "--list", "origin/rollouts/promote/*").split()[0]
        self.git(self.work, "merge", "-q", "--no-ff", "-m", "merge", branch)
        self.git(self.work, "push", "-q", "origin", "HEAD:main")

    def measured(self, work: Callable[[], None]) -> Spent:
        """What the work costs, and what it leaves."""
        before, pushes, cpu, began = self._commits(), self.pushes(), _cpu(), time.monotonic()
        work()
        seconds = time.monotonic() - began
        return Spent(seconds, _cpu() - cpu, self._commits() - before, self.pushes() - pushes)

    def _commits(self) -> int:
        return int(self.git(self.bare, "rev-list", "--count", "--all"))

    def pushes(self) -> int:
        return self.log.read_text().count("\n")


@dataclass
class BenchEngine:
    """A writer with a mirror of its own."""

    folder: Path
    remote: BenchRemote
    pushed: asyncio.Event = field(default_factory=asyncio.Event)
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.mirror = Mirror(self.folder, f"file://{self.remote.bare}", allow_file=True)
        self.reader = TargetReader(self.mirror, Renderer())
        self.board = Board()
        self.races = 0
        self._push, self.mirror.push = self.mirror.push, self._counted  # type: ignore[method-assign]
        self.at = self.read(None)

    def read(self, previous: str | None) -> TargetAt:
        """Fetch, read and publish, as a sync does."""
        self.at = self.reader.read(PROD, self.mirror.fetch("main"), previous)
        self.board.publish(PROD.name, self.at, datetime.now(UTC))
        return self.at

    def _counted(self, commit: str, branch: str, expected: str | None) -> None:
        try:
            self._push(commit, branch, expected)
        except PushRaced:
            self.races += 1
            raise

    def writer(self, settings: WriterSettings = AT_ONCE) -> DecisionWriter:
        """Made where the event loop runs."""
        made = DecisionWriter(
            self.mirror,
            self.reader,
            self.board,
            Writing("main", "bench/1", _BOT, lambda target: None),
            lambda: datetime.now(UTC),
            settings=settings,
            on_pushed=lambda commit: self.pushed.set(),
            on_views=lambda target, views: self.asked.set() if views else None,
        )
        made.saw_requests(self.mirror.list_refs())
        made.register(WriterTarget(PROD))
        return made

    def abort(self, key: Key) -> WantAbort:
        return WantAbort(self.at.rollouts[key].attempt, 1, "2026-01-01T00:00:00Z", "Requested", "bench")

    def request(self, key: Key) -> WantRequest:
        return WantRequest(self.at.rollouts[key].attempt, 1, 20, 100)


def _cpu() -> float:
    """CPU seconds of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)
