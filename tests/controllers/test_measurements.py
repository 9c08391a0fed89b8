"""Calls of providers beside the passes: answers, secrets, limits, ends (docs/behaviour.md §17.3)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from engine.lab import JOB, metric
from gitops_rollouts.analysis.hiding import Hider
from gitops_rollouts.analysis.provider import Order, Provider
from gitops_rollouts.api.analysis import Measurement, Metric, MetricResult, RunStatus
from gitops_rollouts.controllers.measurements import MeasurementCalls, Task, address_of
from gitops_rollouts.engine.analysis.observed import MetricAnswer, Operation
from gitops_rollouts.errors import LeadershipLost, MetricError
from waiting import eventually

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEY = ("ns", "run")


@dataclass
class Site:
    """A provider of any metric that answers what it is told to, and the calls that it gets."""

    answer: Measurement | BaseException | None = None
    kind: str = "web"
    asked: list[str] = field(default_factory=list)
    told: list[tuple[str, str]] = field(default_factory=list)
    lost: bool = False
    hold: asyncio.Event = field(default_factory=asyncio.Event)

    def of(self, metric: Metric) -> Provider:
        if metric.name == "unknown":
            raise MetricError("no provider specified")
        return self

    def fence(self) -> None:
        if self.lost:
            raise LeadershipLost("lost")

    async def _say(self, what: str) -> Measurement:
        self.asked.append(what)
        if self.answer is None:
            await self.hold.wait()
            return Measurement(phase="Successful")
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer

    async def run(self, order: Order, now: datetime) -> Measurement:
        return await self._say(f"run {order.taken}")

    async def resume(self, order: Order, measurement: Measurement, now: datetime) -> Measurement:
        return await self._say(f"resume {measurement.message}")

    async def terminate(self, order: Order, measurement: Measurement, now: datetime) -> Measurement:
        return await self._say(f"terminate {measurement.message}")

    async def collect_garbage(self, order: Order, limit: int) -> None:
        self.asked.append(f"collect {limit}")

    async def metadata(self, order: Order) -> Mapping[str, str]:
        assert order.metric.provider.web is not None
        return {"url": order.metric.provider.web.url}


@dataclass
class World:
    site: Site
    calls: MeasurementCalls
    woken: asyncio.Queue[tuple[str, str]]

    async def answered(self, status: RunStatus | None = None) -> MetricAnswer:
        assert await asyncio.wait_for(self.woken.get(), 10) == KEY
        (answer,) = self.calls.answers("u", status or RunStatus())
        return answer


@pytest.fixture
def world() -> World:
    site = Site()
    woken: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
    return World(site, MeasurementCalls(site, woken.put_nowait, lambda: NOW, site), woken)


def task(
    operation: Operation = "Measure", *, name: str = "m", secret: str = "", before: MetricResult | None = None
) -> Task:
    """A call; a secret stands in the metric's URL."""
    web = {"web": {"url": f"https://x.example/{secret}"}}
    order = Order("ns", "run", "u", Metric.model_validate(metric(name, provider=web)), NOW)
    shown = replace(
        order, metric=Metric.model_validate(metric(name, provider={"web": {"url": "https://x.example/*****"}}))
    )
    return Task(operation, order, shown, Hider([secret] if secret else []), before)


def result(*measurements: Measurement, **counters: Any) -> MetricResult:
    return MetricResult(name="m", phase="Running", measurements=measurements, **counters)


async def test_an_answer_is_kept_until_it_is_consumed(world: World) -> None:
    """A pass whose status write fails sees it again; one that is written already is dropped."""
    # a provider is told when the call began: the end is ours to tell
    world.site.answer = Measurement(phase="Successful", value="1", finished_at=NOW - timedelta(seconds=2))
    world.calls.begin(task())
    assert world.calls.busy("u") == {"m": "Measure"}
    answer = await world.answered()
    assert answer.measurement == Measurement(phase="Successful", value="1", started_at=NOW, finished_at=NOW)
    assert answer.metadata == {"url": "https://x.example/*****"}
    assert (world.calls.busy("u"), world.calls.answers("u", RunStatus())) == ({}, (answer,))
    world.calls.consumed("u", [answer])
    assert (world.calls.answers("u", RunStatus()), len(world.calls)) == ((), 0)

    world.calls.begin(task())
    await world.answered()
    written = RunStatus(metric_results=(result(count=1),))
    assert world.calls.answers("u", written) == (), "the write succeeded though we never heard so"


async def test_secrets_reach_neither_status_nor_message(world: World) -> None:
    """§17.3: however they are written: as they are, in a URL, in JSON, in base64."""
    secret = 'pa ss/"word'
    shown = 'pa ss/"word pa%20ss%2F%22word pa+ss%2F%22word pa ss/\\"word cGEgc3MvIndvcmQ='
    world.site.answer = Measurement(phase="Failed", message=shown, value=shown, metadata={"k": shown, secret: "v"})
    world.calls.begin(task(secret=secret))
    answer = await world.answered()
    hidden = " ".join(["*****"] * 5)
    assert (answer.measurement.message, answer.measurement.value) == (hidden, hidden)
    assert answer.measurement.metadata == {"k": hidden, "*****": "v"}
    for failure in (MetricError(f"GET {secret}"), RuntimeError(secret)):
        world.site.answer = failure
        world.calls.begin(task(secret=secret))
        answer = await world.answered()
        assert answer.measurement.phase == "Error"
        assert "*****" in answer.measurement.message
        assert secret not in answer.measurement.message


async def test_a_provider_that_cannot_be_had_is_an_error(world: World) -> None:
    world.calls.begin(task(name="unknown"))
    answer = await world.answered()
    assert (answer.measurement.phase, answer.measurement.message) == ("Error", "no provider specified")
    assert answer.measurement.finished_at == NOW


async def test_nonsense_of_a_provider_is_bounded(world: World) -> None:
    world.site.answer = Measurement(
        phase="Great", message="m" * 10**6, value="v" * 10**6, metadata={str(n): "x" * 1000 for n in range(999)}
    )
    world.calls.begin(task())
    answer = (await world.answered()).measurement
    assert (answer.phase, answer.message) == ("Error", "the provider answered with the phase 'Great'")
    assert len(answer.value) == 8192
    assert len(answer.metadata) == 16


async def test_resume_and_terminate_are_told_of_the_measurement(world: World) -> None:
    began = NOW - timedelta(minutes=1)
    running = result(Measurement(phase="Running", message="job-1", started_at=began, metadata={"job-name": "j"}))
    world.site.answer = MetricError("unreachable")
    world.calls.begin(task("Resume", before=running))
    answer = (await world.answered()).measurement
    assert (answer.phase, answer.started_at, answer.metadata) == ("Error", began, {"job-name": "j"})
    world.site.answer = None
    world.calls.begin(task("Resume", before=running))
    world.calls.begin(task("Terminate", before=running))
    assert world.calls.busy("u") == {"m": "Terminate"}
    world.site.hold.set()
    assert (await world.answered()).operation == "Terminate"
    assert "terminate job-1" in world.site.asked


async def test_an_answer_that_cannot_be_read_is_one_all_the_same(world: World) -> None:
    """Without an answer the metric would be in flight for ever, and its run with it."""
    world.site.answer = Measurement.model_construct(phase="Successful", value=None, message=None, metadata=None)
    world.calls.begin(task(secret="s3cr3t"))
    answer = await world.answered()
    assert (answer.measurement.phase, answer.measurement.finished_at) == ("Error", NOW)
    assert answer.measurement.message.startswith("the provider's answer can't be read: ")


async def test_a_wait_that_somebody_else_gave_up_is_an_error(world: World) -> None:
    world.site.answer = asyncio.CancelledError()
    world.calls.begin(task())
    answer = await world.answered()
    assert (answer.measurement.phase, answer.measurement.finished_at) == ("Error", NOW)


async def test_given_up_and_forgotten_calls_tell_nobody(world: World) -> None:
    world.calls.begin(task())
    world.calls.begin(task(name="n"))
    await eventually(lambda: _is(len(world.site.asked) == 2))
    world.calls.give_up("u", "m")
    assert world.calls.busy("u") == {"n": "Measure"}
    world.calls.forget("u")
    world.site.hold.set()
    await world.calls.close()
    assert (world.calls.busy("u"), world.woken.empty()) == ({}, True)


async def test_nothing_begins_without_the_lease(world: World) -> None:
    world.site.lost = True
    with pytest.raises(LeadershipLost):
        world.calls.begin(task())
    world.site.lost = False
    world.calls.begin(task())
    world.site.lost = True
    await world.calls.close()
    assert (world.site.asked, world.woken.empty()) == ([], True)


async def test_garbage_is_collected_beside_the_passes(world: World) -> None:
    world.calls.collect(task(), 3)
    await eventually(lambda: _is(world.site.asked == ["collect 3"]))


async def test_an_end_waits_for_no_turn(world: World) -> None:
    """Servers that never answer keep no Job from being deleted, nor its run from ending."""
    calls = MeasurementCalls(world.site, world.woken.put_nowait, lambda: NOW, world.site, at_once=1)
    silent = task()
    calls.begin(replace(silent, order=replace(silent.order, uid="v")))

    async def asked() -> bool:
        return world.site.asked == ["run 0"]

    await eventually(asked, what="the one turn is taken")
    world.site.answer = Measurement(phase="Inconclusive", finished_at=NOW)
    calls.begin(task("Terminate", before=result(Measurement(phase="Running", started_at=NOW))))
    assert await asyncio.wait_for(world.woken.get(), 10) == KEY
    assert [one.measurement.phase for one in calls.answers("u", RunStatus())] == ["Inconclusive"]
    await calls.close()


async def test_one_namespace_leaves_turns_to_the_others(world: World) -> None:
    """§17.3: however many silent servers its metrics ask."""
    world.calls = MeasurementCalls(
        world.site, world.woken.put_nowait, lambda: NOW, world.site, at_once=4, of_one_namespace=3
    )
    for number in range(9):
        call = task(name=f"m{number}")
        web = call.order.metric.model_copy(
            update={
                "provider": Metric.model_validate(
                    metric(provider={"web": {"url": f"https://x{number}.example"}})
                ).provider
            }
        )
        world.calls.begin(replace(call, order=replace(call.order, metric=web)))
    await eventually(lambda: _is(len(world.site.asked) == 3))
    other = task()
    world.calls.begin(replace(other, order=replace(other.order, namespace="other", uid="v")))
    await eventually(lambda: _is(len(world.site.asked) == 4))
    await world.calls.close()


def test_addresses() -> None:
    """Calls to the same server share its limit, whatever the query."""

    def of(**provider: Any) -> str:
        return address_of(Metric.model_validate(metric(provider=provider)))

    assert of(prometheus={"address": "http://p:9090/x", "query": "a"}) == "prometheus p:9090"
    assert of(web={"url": "https://A.example/b"}) == of(web={"url": "https://a.example/c"})
    assert of(web={"url": "http://[bad"}) == "web "
    assert of(**JOB) == "job"


async def _is(value: bool) -> bool:
    return value
