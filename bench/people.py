"""People who push to the very files into which decisions are written, and whether a line of theirs is lost."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from bench.git_side import PROD, BenchEngine, BenchRemote
from gitops_rollouts.decisions.writing.lanes import WriterSettings

PEOPLE = 8
TURNS = 60
"""One a second, and none after so many seconds, however slow the machine is."""
PATIENCE = 120.0
"""Seconds after the last decision in which Git must have all."""


@dataclass(frozen=True)
class PeopleFigures:
    """``lines``: what people pushed, one line a push; ``lost``: those that the end doesn't have, or more than once.

    ``decided``: the Rollouts that were aborted meanwhile; ``missing``: those of them that the end doesn't show.
    """

    seconds: float
    lines: int
    lost: int
    refused: int
    """Pushes of people that somebody was faster than, another person or the engine."""
    decided: int
    missing: int
    commits: int
    """The engine's."""
    races: int
    """Pushes of the engine that somebody was faster than."""
    behind: float
    """Seconds from the last decision until Git had all of them."""


@dataclass
class _Person:
    """Adds a line to a file each second, as one who commits on the newest tree and pushes."""

    name: str
    number: int
    remote: BenchRemote
    work: Path
    pushed: list[str] = field(default_factory=list)
    refused: int = 0

    def run(self, began: float) -> None:
        for turn in range(TURNS):
            time.sleep(max(0.0, began + turn - time.monotonic()))
            if time.monotonic() < began + TURNS:
                self._push(turn, began + TURNS)

    def _push(self, turn: int, until: float) -> None:
        _, name = self.remote.keys[(turn * PEOPLE + self.number) % len(self.remote.keys)]
        line = f"# {self.name} was here, {turn}"
        while time.monotonic() < until:
            self.remote.git(self.work, "fetch", "-q", "origin", "main")
            self.remote.git(self.work, "reset", "-q", "--hard", "FETCH_HEAD")
            path = self.work / "envs" / "prod" / f"{name}.yaml"
            path.write_text(f"{line}\n{path.read_text()}")
            self.remote.git(self.work, "commit", "-q", "-a", "-m", line)
            if self.remote.pushed(self.work):
                self.pushed.append(line)
                return
            self.refused += 1


def measure_people(folder: Path, members: int) -> PeopleFigures:
    """A minute of pushes by `PEOPLE`, each second, to the files of Rollouts that are aborted in that second."""
    remote = BenchRemote(folder, members)
    engine = BenchEngine(folder / "mirror.git", remote)
    people = []
    for number in range(PEOPLE):
        work = folder / f"person-{number}"
        remote.git(folder, "clone", "-q", str(remote.bare), str(work))
        people.append(_Person(f"person-{number}", number, remote, work))
    began = time.monotonic()
    threads = [threading.Thread(target=person.run, args=(began,)) for person in people]
    for thread in threads:
        thread.start()
    decided, missing, behind = asyncio.run(_decide(engine, remote))
    for thread in threads:
        thread.join()
    ended = time.monotonic()
    texts = [remote.git(remote.bare, "show", f"main:envs/prod/{name}.yaml") for _, name in remote.keys]
    found = "\n".join(texts).splitlines()
    lines = [line for person in people for line in person.pushed]
    return PeopleFigures(
        seconds=ended - began,
        lines=len(lines),
        lost=sum(found.count(line) != 1 for line in lines),
        refused=sum(person.refused for person in people),
        decided=decided,
        missing=missing,
        commits=remote.by_the_engine(),
        races=engine.races,
        behind=behind,
    )


async def _decide(engine: BenchEngine, remote: BenchRemote) -> tuple[int, int, float]:
    """Abort so many Rollouts each second as people push, until Git has all. Returns how many, how many Git lacks, and
    the seconds since the last."""
    writer, stop = engine.writer(WriterSettings()), asyncio.Event()
    running = asyncio.create_task(writer.run(stop))
    began = time.monotonic()
    keys = remote.keys[: PEOPLE * TURNS]
    for turn in range(TURNS):
        await asyncio.sleep(max(0.0, began + turn - time.monotonic()))
        for key in keys[turn * PEOPLE : (turn + 1) * PEOPLE]:
            writer.set_wants(PROD.name, key, (engine.abort(key),))
    last = time.monotonic()
    missing = len(keys)
    while missing and time.monotonic() < last + PATIENCE:
        await asyncio.sleep(0.5)
        at = await asyncio.to_thread(engine.read, engine.at.commit)
        missing = len(keys) - sum(state.abort is not None for state in at.rollouts.values())
    stop.set()
    await running
    return len(keys), missing, time.monotonic() - last
