"""Decisions on their way into Git, without a cluster: one writer that gathers them against many that don't."""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gitops_rollouts.decisions.board import Board
from gitops_rollouts.decisions.gathering import RequestSettings
from gitops_rollouts.decisions.lanes import WriterSettings
from gitops_rollouts.decisions.reading import TargetReader
from gitops_rollouts.decisions.round import WriterTarget, Writing
from gitops_rollouts.decisions.state import Key, TargetAt, TargetSpec
from gitops_rollouts.decisions.wants import WantAbort, WantRequest
from gitops_rollouts.decisions.writer import DecisionWriter
from gitops_rollouts.git.repository import Mirror
from gitops_rollouts.git.writing import Author
from gitops_rollouts.render.renderer import Renderer

WRITERS = 8
_BOT = Author("gitops-rollouts[bot]", "bot@example.invalid")
_PROD = TargetSpec("prod", "main", "envs/prod")
_AT_ONCE = WriterSettings(batch=timedelta(0), requests=RequestSettings(quiet=timedelta(0)))
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


@dataclass(frozen=True)
class DecisionFigures:
    """The same aborts written twice; then one gate for many and for one, with the reading of its merge."""

    decisions: int
    batched: Spent
    one_by_one: Spent
    members: int
    request: Spent
    request_of_one: Spent
    read: Spent


class _Remote:
    """A bare repository with so many Rollouts at v2, one file each; counts the pushes that reach it."""

    def __init__(self, folder: Path, count: int) -> None:
        folder.mkdir(parents=True)
        self.bare, self.log = folder / "remote.git", folder / "pushes"
        self._work = folder / "work"
        self.keys: tuple[Key, ...] = tuple(("shop", f"app-{number:03}") for number in range(count))
        self._git(folder, "init", "-q", "--bare", "-b", "main", str(self.bare))
        hook = self.bare / "hooks" / "pre-receive"
        hook.write_text(f"#!/bin/sh\necho >> '{self.log}'\n")
        hook.chmod(0o755)
        self._git(folder, "clone", "-q", str(self.bare), str(self._work))
        for tag in ("v1", "v2"):
            for _, name in self.keys:
                path = self._work / "envs" / "prod" / f"{name}.yaml"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(_ROLLOUT.format(name=name, tag=tag))
            self._git(self._work, "add", "-A")
            self._git(self._work, "commit", "-q", "-m", tag)
        self._git(self._work, "push", "-q", "origin", "HEAD:main")
        self.log.write_text("")

    def _git(self, folder: Path, *argv: str) -> str:
        who = {
            f"GIT_{role}_{what}": "bench@example.invalid"
            for role in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        }
        environment = {**os.environ, **who, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        return subprocess.run(
            ["git", *argv], cwd=folder, env=environment, check=True, capture_output=True, text=True
        ).stdout

    def merge(self) -> None:
        """Merge the one request there is."""
        self._git(self._work, "fetch", "-q", "origin")
        branch = self._git(self._work, "branch", "-r", "--list", "origin/rollouts/promote/*").split()[0]
        self._git(self._work, "merge", "-q", "--no-ff", "-m", "merge", branch)
        self._git(self._work, "push", "-q", "origin", "HEAD:main")

    def measured(self, work: Callable[[], None]) -> Spent:
        """What the work costs, and what it leaves."""
        before, pushes, cpu, began = self._commits(), self.pushes(), _cpu(), time.monotonic()
        work()
        seconds = time.monotonic() - began
        return Spent(seconds, _cpu() - cpu, self._commits() - before, self.pushes() - pushes)

    def _commits(self) -> int:
        return int(self._git(self.bare, "rev-list", "--count", "--all"))

    def pushes(self) -> int:
        return self.log.read_text().count("\n")


@dataclass
class _Engine:
    """A writer with a mirror of its own."""

    folder: Path
    remote: _Remote
    pushed: asyncio.Event = field(default_factory=asyncio.Event)
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.mirror = Mirror(self.folder, f"file://{self.remote.bare}", allow_file=True)
        self.reader = TargetReader(self.mirror, Renderer())
        self.board = Board()
        self.at = self.read(None)

    def read(self, previous: str | None) -> TargetAt:
        """Fetch, read and publish, as a sync does."""
        self.at = self.reader.read(_PROD, self.mirror.fetch("main"), previous)
        self.board.publish(_PROD.name, self.at, datetime.now(UTC))
        return self.at

    def writer(self) -> DecisionWriter:
        """Made where the event loop runs."""
        made = DecisionWriter(
            self.mirror,
            self.reader,
            self.board,
            Writing("main", "bench/1", _BOT, lambda target: None),
            lambda: datetime.now(UTC),
            settings=_AT_ONCE,
            on_pushed=lambda commit: self.pushed.set(),
            on_views=lambda target, views: self.asked.set() if views else None,
        )
        made.saw_requests(self.mirror.list_refs())
        made.register(WriterTarget(_PROD))
        return made

    def abort(self, key: Key) -> WantAbort:
        return WantAbort(self.at.rollouts[key].attempt, 1, "2026-01-01T00:00:00Z", "Requested", "bench")

    def request(self, key: Key) -> WantRequest:
        return WantRequest(self.at.rollouts[key].attempt, 1, 20, 100)


def measure_decisions(folder: Path, decisions: int, members: int) -> DecisionFigures:
    """Some minutes for 200 and 500. ``folder`` takes the repositories."""
    batched = _batched(folder / "batched", decisions)
    one_by_one = _one_by_one(folder / "one", decisions)
    alone, _ = _at_a_gate(folder / "gate-of-one", 1)
    request, read = _at_a_gate(folder / "gate", members)
    return DecisionFigures(decisions, batched, one_by_one, members, request, alone, read)


def _batched(folder: Path, count: int) -> Spent:
    remote = _Remote(folder, count)
    engine = _Engine(folder / "mirror.git", remote)

    async def work() -> None:
        writer = engine.writer()
        for key in remote.keys:
            writer.set_wants(_PROD.name, key, (engine.abort(key),))
        await _until(engine.pushed, writer)

    return remote.measured(lambda: asyncio.run(work()))


def _one_by_one(folder: Path, count: int) -> Spent:
    """`WRITERS` of them, each with its share, each decision a commit and a push of its own."""
    remote = _Remote(folder, count)
    engines = [_Engine(folder / f"mirror-{number}.git", remote) for number in range(WRITERS)]

    async def work(engine: _Engine, keys: tuple[Key, ...]) -> None:
        writer, stop = engine.writer(), asyncio.Event()
        running = asyncio.create_task(writer.run(stop))
        for key in keys:
            engine.pushed.clear()
            writer.set_wants(_PROD.name, key, (engine.abort(key),))
            await engine.pushed.wait()
            writer.set_wants(_PROD.name, key, ())
        stop.set()
        await running

    def all_of_them() -> None:
        shares = [(engine, remote.keys[number::WRITERS]) for number, engine in enumerate(engines)]
        threads = [threading.Thread(target=asyncio.run, args=(work(*share),)) for share in shares]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return remote.measured(all_of_them)


def _at_a_gate(folder: Path, count: int) -> tuple[Spent, Spent]:
    """The request for so many, and the reading of its merge."""
    remote = _Remote(folder, count)
    engine = _Engine(folder / "mirror.git", remote)

    async def work() -> None:
        writer = engine.writer()
        for key in remote.keys:
            writer.set_wants(_PROD.name, key, (engine.request(key),))
        await _until(engine.asked, writer)

    def read() -> None:
        at = engine.read(engine.at.commit)
        approved = sum(state.promote is not None for state in at.rollouts.values())
        if approved != count:
            raise RuntimeError(f"{approved} of {count} are approved by the merge")

    request = remote.measured(lambda: asyncio.run(work()))
    remote.merge()
    return request, remote.measured(read)


async def _until(done: asyncio.Event, writer: DecisionWriter) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(writer.run(stop))
    await done.wait()
    stop.set()
    await running


def _cpu() -> float:
    """CPU seconds of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)
