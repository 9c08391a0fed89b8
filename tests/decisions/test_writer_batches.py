"""docs/decisions.md §2, §4: what goes into one commit and when, beside whom, and how often."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from decision_engine import KEY, WEB_YAML, Engine
from decision_repo import PROD, lines, manifest, stable
from git_remote import Remote
from gitops_rollouts.api.names import ABORT, STABLE
from gitops_rollouts.decisions.planning.wants import WantRecord
from gitops_rollouts.decisions.state import TargetSpec
from gitops_rollouts.git.repository import Mirror
from waiting import eventually
from written import an_abort, deployed, log


async def test_records_wait_until_the_target_is_at_rest(remote: Remote, engine: Engine) -> None:
    remote.put({WEB_YAML: manifest("web:v1") + "---\n" + manifest(name="api")})
    engine.sync()
    engine.now += timedelta(seconds=5)
    states = engine.published().rollouts
    engine.want(WantRecord(states[KEY].attempt))
    engine.want(key=("shop", "api"), moving=True)
    await engine.settle()
    assert engine.pushed == []
    engine.want(WantRecord(states["shop", "api"].attempt), key=("shop", "api"))
    await engine.settle()
    assert log(remote)[0] == "rollouts: 2 decisions in prod"


@pytest.mark.parametrize(("gap", "rounds"), [(timedelta(seconds=61), 1), (timedelta(seconds=50), 13)])
async def test_but_not_for_ever(remote: Remote, engine: Engine, gap: timedelta, rounds: int) -> None:
    names = [f"web{n}" for n in range(rounds)]
    remote.put({WEB_YAML: "---\n".join(manifest(name=name) for name in ["web", *names])})
    engine.sync()
    states = engine.published().rollouts
    engine.want(moving=True)
    for name in names:
        engine.want(WantRecord(states["shop", name].attempt), key=("shop", name))
        engine.now += gap
        await engine.settle()
    assert len(engine.pushed) == 1


async def test_adopting_many_is_one_commit(remote: Remote, engine: Engine) -> None:
    names = [f"web{n}" for n in range(30)]
    remote.put({f"envs/prod/{name}.yaml": manifest(name=name) for name in ["web", *names]})
    engine.sync()
    states = engine.published().rollouts
    for key, state in states.items():
        engine.want(WantRecord(state.attempt), key=key)
    await engine.settle()
    assert log(remote)[0] == "rollouts: 31 decisions in prod"
    assert len(engine.pushed) == 1
    numstat = remote.git("show", "--numstat", "--format=", "origin/main").splitlines()
    assert {line.split("\t")[0:2][0] + line.split("\t")[1] for line in numstat} == {"10"}


async def test_overlays_for_kustomize(remote: Remote, engine: Engine) -> None:
    remote.put({WEB_YAML: manifest("web:v1"), "envs/prod/kustomization.yaml": "resources: [web.yaml]\n"})
    state = engine.sync()
    engine.want(WantRecord(state.attempt))
    await engine.settle()
    remote.pull()
    assert remote.git("show", "--name-only", "--format=") == ".rollouts/prod/shop/web.yaml"
    after = engine.sync()
    assert after.recorded
    assert after.attempt == state.attempt
    remote.put({WEB_YAML: manifest("web:v2")})
    state = engine.sync()
    engine.want(an_abort(state))
    await engine.settle()
    assert engine.sync().abort is not None
    remote.pull()
    text = (remote.work / ".rollouts/prod/shop/web.yaml").read_text()
    assert text.index(ABORT) < text.index(STABLE)


async def test_the_overlay_of_a_rollout_that_is_gone_goes_too(remote: Remote, engine: Engine) -> None:
    await test_overlays_for_kustomize(remote, engine)
    remote.pull()
    remote.put({WEB_YAML: manifest("web:v3", name="other")})
    at = engine.published()
    engine.board.publish("prod", engine.reading.at(at.commit), engine.now)
    engine.writer.gone("prod", KEY)
    await engine.settle()
    assert log(remote)[0] == "rollout(prod/shop/web): gone from Git, and its decisions with it"
    assert remote.git("ls-tree", "-r", "--name-only", "origin/main", ".rollouts/") == ""
    await engine.settle()
    assert len(engine.pushed) == 3


async def test_another_engine_writes_under_our_name(remote: Remote, new_mirror: Callable[..., Mirror]) -> None:
    ours, theirs = Engine(new_mirror("a"), name="eu/1"), Engine(new_mirror("b"), name="us/1")
    remote.put({WEB_YAML: manifest("web:v1")})
    for engine in (ours, theirs):
        engine.sync()
    ours.want(WantRecord(ours.sync().attempt))
    await ours.settle()
    remote.pull()
    text = (remote.work / WEB_YAML).read_text().replace("web:v1", "web:v2")
    remote.put({WEB_YAML: text})
    theirs.want(WantRecord(theirs.sync().attempt))
    await theirs.settle()
    assert theirs.pushed == []
    assert theirs.reason == "TargetNameTaken"
    ours.want(WantRecord(ours.sync().attempt))
    await ours.settle()
    assert len(ours.pushed) == 2


async def test_the_circuit_breaker(remote: Remote, engine: Engine) -> None:
    state = deployed(remote, engine)
    for number in range(12):
        engine.want(an_abort(state, aborted_at=f"2026-01-01T00:00:{number:02}Z"))
        await engine.settle()
        remote.pull()
        remote.put({WEB_YAML: manifest("web:v2")}, "taken back by some robot")
        engine.sync()
    assert len(engine.pushed) == 10
    assert engine.reason == "CircuitOpen"
    at = engine.writer._next(engine.now)
    assert at is not None  # nobody else wakes the writer for the abort that waits
    engine.now = at
    await engine.settle()
    assert len(engine.pushed) == 11


async def test_what_sync_published_during_a_round_is_looked_at_again(
    remote: Remote, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote.put({WEB_YAML: manifest("web:v1")})
    state = engine.sync()
    remote.put({WEB_YAML: manifest("web:v1", annotations=lines(stable(state.attempt)))})
    engine.want(WantRecord(state.attempt))
    run = engine.writer._round.run

    def meanwhile(*args: Any, **more: Any) -> Any:
        monkeypatch.setattr(engine.writer._round, "run", run)
        result = run(*args, **more)
        remote.put({WEB_YAML: manifest("web:v1")}, "the record is taken away")
        engine.sync()
        return result

    monkeypatch.setattr(engine.writer._round, "run", meanwhile)
    await engine.settle()
    assert engine.sync().recorded


async def test_a_manifest_that_cannot_be_read_is_waited_for(remote: Remote, engine: Engine) -> None:
    state = deployed(remote, engine)
    remote.put({WEB_YAML: manifest("web:v2") + "  x: [\n"})
    engine.want(an_abort(state))
    await engine.settle()
    assert engine.reason == "Stuck"
    remote.put({WEB_YAML: manifest("web:v2")})
    engine.sync()
    engine.want(an_abort(state))
    await engine.settle()
    assert len(engine.pushed) == 1
    assert engine.reason == "Ready"


async def test_two_targets_in_one_commit(remote: Remote, mirror: Mirror) -> None:
    staging = TargetSpec("staging", "main", "envs/staging")
    engine = Engine(mirror, specs=[PROD, staging])
    files = {WEB_YAML: manifest(), "envs/staging/web.yaml": manifest().replace("shop", "shop-staging")}
    remote.put(files)
    engine.sync()
    for spec in (PROD, staging):
        for key, state in engine.published(spec.name).rollouts.items():
            engine.want(WantRecord(state.attempt), key=key, target=spec.name)
    await engine.settle()
    assert log(remote)[0] == "rollouts: 2 decisions in prod, staging"


async def test_eight_writers_race(remote: Remote, new_mirror: Callable[..., Mirror]) -> None:
    specs = [TargetSpec(f"t{n}", "main", f"envs/{n}") for n in range(8)]
    remote.put({f"envs/{n}/web.yaml": manifest() for n in range(8)})
    engines = [Engine(new_mirror(f"m{n}"), specs=[spec]) for n, spec in enumerate(specs)]

    async def work(engine: Engine) -> None:
        name = engine.specs[0].name
        at = engine.reading.at(None, engine.specs[0])
        engine.board.publish(name, at, engine.now)
        engine.want(WantRecord(at.rollouts[KEY].attempt), target=name)
        await engine.settle(200)

    await asyncio.gather(*(work(engine) for engine in engines))
    assert len([one for one in log(remote) if "stable" in one]) == 8
    assert [len(engine.pushed) for engine in engines] == [1] * 8


async def test_the_loop_runs_and_stops(remote: Remote, engine: Engine) -> None:
    state = deployed(remote, engine)
    stop = asyncio.Event()
    running = asyncio.create_task(engine.writer.run(stop))
    engine.want(an_abort(state))
    await eventually(lambda: asyncio.sleep(0, bool(engine.pushed)))
    stop.set()
    await running
