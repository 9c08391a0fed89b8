"""docs/decisions.md §2: an abort's commit waits for nothing that isn't its own."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from typing import Any

import pytest

from decision_engine import KEY, WEB_YAML, Engine
from decision_repo import PROD, lines, manifest, stable
from git_remote import Remote
from gitops_rollouts.decisions.identity import Subject
from gitops_rollouts.decisions.planning.wants import WantRecord
from gitops_rollouts.decisions.state import Other, Promotion, TargetSpec
from gitops_rollouts.git.repository import Mirror
from waiting import eventually
from written import an_abort

STAGING = TargetSpec("staging", "main", "envs/staging")
SOURCE = Other("staging", "envs/staging")
STAGING_YAML = "envs/staging/web.yaml"


class Gate:
    """Renders of one directory that come to no end until the test lets them."""

    def __init__(self, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self.leave = threading.Event(), threading.Event()
        self.blocks = ""
        renderer = engine.reading.reader._renderer
        render = renderer.render

        def slow(tree: Any, *, path: str, **more: Any) -> Any:
            if path == self.blocks and threading.current_thread().name.startswith("requests"):
                self.reached.set()
                assert self.leave.wait(60)
            return render(tree, path=path, **more)

        monkeypatch.setattr(renderer, "render", slow)


async def aborted_meanwhile(remote: Remote, engine: Engine, gate: Gate) -> None:
    """The other lane is stuck in a render when the abort comes; its commit is on the branch all the same."""
    stop = asyncio.Event()
    running = asyncio.create_task(engine.writer.run(stop))
    try:
        await eventually(lambda: asyncio.sleep(0, gate.reached.is_set()))
        engine.want(an_abort(engine.published().rollouts[KEY]))

        async def written() -> bool:
            remote.git("fetch", "-q", "origin")
            return "abort v1" in remote.git("log", "-1", "--format=%s", "origin/main")

        await eventually(written)
        assert not gate.leave.is_set()
    finally:
        gate.leave.set()
        stop.set()
        await running


def recorded(remote: Remote, engine: Engine) -> None:
    """v1 serves here and is stable in staging with v2."""
    remote.put({WEB_YAML: manifest("web:v1"), STAGING_YAML: manifest("web:v2")})
    attempt = engine.reading.at(None, STAGING).rollouts[KEY].attempt
    record = stable(attempt, Subject("staging", *KEY))
    remote.put({STAGING_YAML: manifest("web:v2", annotations=lines(record))})


@pytest.mark.parametrize("blocked", ["envs/prod", "envs/staging"])
async def test_an_abort_is_written_while_images_are_copied(
    remote: Remote, mirror: Mirror, monkeypatch: pytest.MonkeyPatch, blocked: str
) -> None:
    """§5: the copy's own renders, and those of the environment that it comes from."""
    engine = Engine(mirror, promotion=Promotion(SOURCE))
    recorded(remote, engine)
    engine.sync()
    gate = Gate(engine, monkeypatch)
    engine.reading.reader.read(PROD, mirror.head("main") or "")
    gate.blocks = blocked
    engine.writer._look_at_requests()
    await aborted_meanwhile(remote, engine, gate)


async def test_an_abort_is_written_while_a_record_of_another_target_is_planned(
    remote: Remote, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(mirror, specs=[PROD, STAGING])
    remote.put({WEB_YAML: manifest("web:v1"), STAGING_YAML: manifest("web:v2", name="api")})
    engine.sync()
    gate = Gate(engine, monkeypatch)
    gate.blocks = "envs/staging"
    state = engine.published("staging").rollouts["shop", "api"]
    engine.want(WantRecord(state.attempt), key=state.key, target="staging")
    remote.put({"envs/staging/more.yaml": manifest("web:v2", name="more")})
    await aborted_meanwhile(remote, engine, gate)


async def test_an_abort_is_written_while_whose_turn_it_is_cant_be_told(
    remote: Remote, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    """§5: the environment that goes first is slow to render; here nobody asks it, and no lock is held for it."""
    after = replace(PROD, after=SOURCE)
    engine = Engine(mirror, specs=[after])
    recorded(remote, engine)
    engine.sync()
    gate = Gate(engine, monkeypatch)
    gate.blocks = "envs/staging"
    remote.put({"envs/staging/more.yaml": manifest("web:v2", name="more")})
    engine.writer._look_at_requests()
    await aborted_meanwhile(remote, engine, gate)


async def test_beyond_the_breaker_a_first_abort_of_a_version_is_written_and_no_second(
    remote: Remote, engine: Engine
) -> None:
    """§1.4: a robot that takes each abort back is a loop; a version that fails for the first time is none."""
    remote.put({WEB_YAML: manifest("web:v1")})
    state = engine.sync()
    for number in range(30):
        engine.want(replace(an_abort(state), aborted_at=f"2026-01-01T00:00:{number:02}Z"))
        await engine.settle()
        if number < 9:
            remote.pull()
            remote.put({WEB_YAML: manifest("web:v1")}, "taken back")
        else:
            remote.pull()
            remote.put({WEB_YAML: manifest(f"web:v{number}")}, "another version")
        state = engine.sync()
    assert len(engine.pushed) == 20
    assert engine.reason == "CircuitOpen"
