"""Decisions on their way into Git, without a cluster: one writer that gathers them against many that don't."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from pathlib import Path

from bench.git_side import PROD, BenchEngine, BenchRemote, Spent
from bench.people import PeopleFigures, measure_people
from gitops_rollouts.decisions.state import Key
from gitops_rollouts.decisions.writing.writer import DecisionWriter

WRITERS = 8


@dataclass(frozen=True)
class DecisionFigures:
    """Aborts written by one writer, and fewer of them one by one; one gate for many and for one, and the reading of
    its merge; people who push meanwhile."""

    decisions: int
    batched: Spent
    lone: int
    one_by_one: Spent
    races: int
    """Pushes of the lone writers that another was faster than."""
    members: int
    request: Spent
    request_of_one: Spent
    read: Spent
    people: PeopleFigures


def measure_decisions(folder: Path, decisions: int, lone: int, members: int) -> DecisionFigures:
    """Some three minutes for 200, 24 and 500. ``folder`` takes the repositories, each of ``decisions`` or ``members``.

    ``lone``: so many of the decisions are written one by one, which takes too long for all.
    """
    batched = _batched(folder / "batched", decisions)
    one_by_one, races = _one_by_one(folder / "one", decisions, lone)
    alone, _ = _at_a_gate(folder / "gate-of-one", 1)
    request, read = _at_a_gate(folder / "gate", members)
    people = measure_people(folder / "people", members)
    return DecisionFigures(decisions, batched, lone, one_by_one, races, members, request, alone, read, people)


def _batched(folder: Path, count: int) -> Spent:
    remote = BenchRemote(folder, count)
    engine = BenchEngine(folder / "mirror.git", remote)

    async def work() -> None:
        writer = engine.writer()
        for key in remote.keys:
            writer.set_wants(PROD.name, key, (engine.abort(key),))
        await _until(engine.pushed, writer)

    return remote.measured(lambda: asyncio.run(work()))


def _one_by_one(folder: Path, count: int, lone: int) -> tuple[Spent, int]:
    """`WRITERS` of them, each with its share, each decision a commit and a push of its own. Returns lost races, too."""
    remote = BenchRemote(folder, count)
    engines = [BenchEngine(folder / f"mirror-{number}.git", remote) for number in range(WRITERS)]

    async def work(engine: BenchEngine, keys: tuple[Key, ...]) -> None:
        writer, stop = engine.writer(), asyncio.Event()
        running = asyncio.create_task(writer.run(stop))
        for key in keys:
            engine.pushed.clear()
            writer.set_wants(PROD.name, key, (engine.abort(key),))
            await engine.pushed.wait()
            writer.set_wants(PROD.name, key, ())
        stop.set()
        await running

    def all_of_them() -> None:
        shares = [(engine, remote.keys[number:lone:WRITERS]) for number, engine in enumerate(engines)]
        threads = [threading.Thread(target=asyncio.run, args=(work(*share),)) for share in shares]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return remote.measured(all_of_them), sum(engine.races for engine in engines)


def _at_a_gate(folder: Path, count: int) -> tuple[Spent, Spent]:
    """The request for so many, and the reading of its merge."""
    remote = BenchRemote(folder, count)
    engine = BenchEngine(folder / "mirror.git", remote)

    async def work() -> None:
        writer = engine.writer()
        for key in remote.keys:
            writer.set_wants(PROD.name, key, (engine.request(key),))
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
