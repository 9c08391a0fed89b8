"""Calls of metric providers beside the passes, and their answers for a later one (docs/behaviour.md §17.3).

Nothing of this is needed after a restart: a measurement whose answer got lost is taken again by the next pass.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol
from urllib.parse import urlsplit

import structlog

from gitops_rollouts.analysis.hiding import Hider, noting_secrets
from gitops_rollouts.analysis.large_answers import keeping_room
from gitops_rollouts.analysis.provider import Order, Provider
from gitops_rollouts.api.analysis import COMPLETED, ERROR, RUNNING, Measurement, Metric, MetricResult, RunStatus
from gitops_rollouts.controllers.passes import Key
from gitops_rollouts.controllers.turns import Turns
from gitops_rollouts.engine.analysis.observed import MetricAnswer, Operation
from gitops_rollouts.errors import LeadershipLost, MetricError
from gitops_rollouts.kube.lease import Fence

AT_ONCE: Final = 896
AT_ONCE_OF_ONE_ADDRESS: Final = 640
AT_ONCE_OF_ONE_NAMESPACE: Final = 768
"""Below all, so that one whose metrics ask many silent servers leaves turns to the others."""
CALL_SECONDS: Final = 900.0
"""A provider has its own, shorter limits; this one is for those that forget themselves."""
_TERMINATE_SECONDS: Final = 60.0
_BETWEEN_RESUMES: Final = 1.0
"""A provider that asks to be looked at again at once is looked at after so many seconds."""
_LONGEST_MESSAGE: Final = 2048
_LONGEST_VALUE: Final = 8 * 1024
_LONGEST_METADATA: Final = 16 * 1024
_MOST_METADATA: Final = 32

log = structlog.get_logger(__name__)


class ProviderSource(Protocol):
    """The providers of this process."""

    def of(self, metric: Metric) -> Provider:
        """The provider of a metric. Raises `MetricError`."""
        ...


@dataclass(frozen=True, slots=True)
class Task:
    """One call to be made. ``shown``: the order with values from Secrets hidden; ``hider`` takes them out of answers.

    ``before``: the metric's result as it is stored, None if there is none.
    """

    operation: Operation
    order: Order
    shown: Order
    hider: Hider
    before: MetricResult | None = None

    @property
    def metric(self) -> str:
        """The metric's name."""
        return self.order.metric.name

    @property
    def last(self) -> Measurement | None:
        """The newest measurement that the status tells of."""
        return self.before.measurements[-1] if self.before and self.before.measurements else None


@dataclass(slots=True)
class _Call:
    """One call, under way or answered. ``taken``: how many measurements of the metric had ended when it was made."""

    operation: Operation
    taken: int
    begun: float
    running: asyncio.Task[None]
    answer: MetricAnswer | None = None


@dataclass(slots=True)
class _OfRun:
    key: Key
    calls: dict[str, _Call] = field(default_factory=dict)
    resumed: dict[str, float] = field(default_factory=dict)


class MeasurementCalls:
    """Makes the calls. ``enqueue`` is called with a run's key when an answer is there."""

    def __init__(
        self,
        providers: ProviderSource,
        enqueue: Callable[[Key], None],
        clock: Callable[[], datetime],
        fence: Fence,
        *,
        at_once: int = AT_ONCE,
        of_one_address: int = AT_ONCE_OF_ONE_ADDRESS,
        of_one_namespace: int = AT_ONCE_OF_ONE_NAMESPACE,
    ) -> None:
        self._providers = providers
        self._enqueue = enqueue
        self._clock = clock
        self._fence = fence
        self._turns = Turns(at_once, of_one_address, of_one_namespace)
        self._runs: dict[str, _OfRun] = {}
        self._collecting: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        """How many runs have a call that is under way or isn't consumed."""
        return len(self._runs)

    def begin(self, task: Task) -> None:
        """Begin a call; one that is under way for the same metric is given up for it."""
        self._fence.fence()
        order = task.order
        of = self._runs.setdefault(order.uid, _OfRun((order.namespace, order.name)))
        known = of.calls.pop(task.metric, None)
        if known is not None:
            known.running.cancel()
        running = asyncio.create_task(self._run(task), name=f"measurement of {order.name}")
        of.calls[task.metric] = _Call(task.operation, order.taken, asyncio.get_running_loop().time(), running)

    def busy(self, uid: str) -> dict[str, Operation]:
        """The calls of a run that are under way, by metric."""
        of = self._runs.get(uid)
        return {} if of is None else {name: call.operation for name, call in of.calls.items() if call.answer is None}

    def answers(self, uid: str, status: RunStatus) -> tuple[MetricAnswer, ...]:
        """What was answered and isn't in the run's status yet."""
        of = self._runs.get(uid)
        if of is None:
            return ()
        taken = {result.name: taken_of(result) for result in status.metric_results}
        given: list[MetricAnswer] = []
        for name, call in list(of.calls.items()):
            if call.answer is None:
                continue
            if call.taken == taken.get(name, 0):
                given.append(call.answer)
            else:
                # written already, though we never heard so, or the status was lost
                del of.calls[name]
        return tuple(given)

    def consumed(self, uid: str, answers: Iterable[MetricAnswer]) -> None:
        """These answers are in the run's status."""
        of = self._runs.get(uid)
        if of is None:
            return
        for answer in answers:
            call = of.calls.get(answer.metric)
            if call is not None and call.answer is answer:
                del of.calls[answer.metric]
        if not of.calls and not of.resumed:
            del self._runs[uid]

    def give_up(self, uid: str, metric: str) -> None:
        """Nobody waits for this metric's call any more."""
        of = self._runs.get(uid)
        call = of.calls.pop(metric, None) if of is not None else None
        if call is not None:
            call.running.cancel()

    def collect(self, task: Task, limit: int) -> None:
        """Have the provider remove what is beyond the newest ``limit`` measurements."""
        self._fence.fence()
        running = asyncio.create_task(self._collect(task, limit), name=f"garbage of {task.order.name}")
        self._collecting.add(running)
        running.add_done_callback(self._collecting.discard)

    def forget(self, uid: str) -> None:
        """The run is over or gone: end its calls."""
        of = self._runs.pop(uid, None)
        for call in of.calls.values() if of is not None else ():
            call.running.cancel()

    async def close(self) -> None:
        """End every call."""
        tasks = [call.running for of in self._runs.values() for call in of.calls.values()] + list(self._collecting)
        self._runs.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, task: Task) -> None:
        uid, name = task.order.uid, task.metric
        if task.operation == "Resume":
            await self._after_a_while(uid, name)
        try:
            # an end frees something, and a verdict may wait for it
            ending = task.operation == "Terminate"
            turn = self._turns.turn(address_of(task.order.metric), task.order.namespace)
            async with nullcontext() if ending else turn:
                self._fence.fence()
                answer = await self._answer(task)
        except LeadershipLost:
            return
        except asyncio.CancelledError:
            if _is_cancelled():
                raise
            # something that the provider waited for was given up by somebody else
            answer = self._unreadable(task, "what it waited for was given up")
        except Exception as error:  # noqa: BLE001 - without an answer the metric would count as busy for ever
            answer = self._unreadable(task, type(error).__name__)
        of = self._runs.get(uid)
        call = of.calls.get(name) if of is not None else None
        if of is None or call is None or call.running is not asyncio.current_task():
            return
        call.answer = answer
        self._enqueue(of.key)

    async def _after_a_while(self, uid: str, name: str) -> None:
        of, now = self._runs.get(uid), asyncio.get_running_loop().time()
        if of is None:
            return
        wait = of.resumed.get(name, now - _BETWEEN_RESUMES) + _BETWEEN_RESUMES - now
        if wait > 0:
            await asyncio.sleep(wait)
        of.resumed[name] = asyncio.get_running_loop().time()

    async def _answer(self, task: Task) -> MetricAnswer:
        with noting_secrets() as sent:
            async with keeping_room():
                return await self._noting(task, sent)

    async def _noting(self, task: Task, sent: Iterable[str]) -> MetricAnswer:
        """``sent``: what the provider sends along that nobody may read, known once it was called."""
        started = self._clock()
        metadata: Mapping[str, str] = {}
        try:
            provider = self._providers.of(task.order.metric)
            async with asyncio.timeout(_TERMINATE_SECONDS if task.operation == "Terminate" else CALL_SECONDS):
                measurement = await self._ask(provider, task, started)
                if task.operation == "Measure" and (task.before is None or not task.before.metadata):
                    metadata = await provider.metadata(task.shown)
        except LeadershipLost:
            raise
        except MetricError as error:
            measurement = self._failed(task, started, str(error))
        except TimeoutError:
            measurement = self._failed(task, started, "the provider didn't answer in time")
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the measurement's; a traceback may show secrets
            text = task.hider.and_also(sent).text(f"{type(error).__name__}: {error}")
            log.error("measurement failed", namespace=task.order.namespace, run=task.order.name, error=text)
            measurement = self._failed(task, started, text)
        hider = task.hider.and_also(sent)
        measurement = _bounded(hider.measurement(self._whole(measurement, started)))
        return MetricAnswer(task.metric, task.operation, measurement, _few(hider.mapping(metadata)))

    def _ask(self, provider: Provider, task: Task, now: datetime) -> Awaitable[Measurement]:
        if task.operation == "Measure":
            return provider.run(task.order, now)
        last = task.last or Measurement(phase=RUNNING)
        if task.operation == "Resume":
            return provider.resume(task.order, last, now)
        return provider.terminate(task.order, last, now)

    def _failed(self, task: Task, started: datetime, message: str) -> Measurement:
        """A measurement of phase Error; one that was Running keeps what is known of it."""
        last = task.last
        if task.operation == "Measure" or last is None:
            last = Measurement(started_at=started)
        return last.model_copy(
            update={"phase": ERROR, "message": message, "finished_at": self._clock(), "resume_at": None}
        )

    def _unreadable(self, task: Task, why: str) -> MetricAnswer:
        log.error("no measurement", namespace=task.order.namespace, run=task.order.name, metric=task.metric, error=why)
        failed = self._failed(task, self._clock(), f"the provider's answer can't be read: {why}")
        return MetricAnswer(task.metric, task.operation, failed)

    def _whole(self, measurement: Measurement, started: datetime) -> Measurement:
        """With a phase and the times that a measurement has."""
        update: dict[str, object] = {}
        phase = measurement.phase
        if phase not in COMPLETED and phase != RUNNING:
            update |= {"phase": ERROR, "message": f"the provider answered with the phase {phase[:40]!r}"}
            phase = ERROR
        if measurement.started_at is None:
            update["started_at"] = started
        if phase in COMPLETED:
            # a provider is told one time only, that of the beginning
            update["finished_at"] = self._clock()
        return measurement.model_copy(update=update) if update else measurement

    async def _collect(self, task: Task, limit: int) -> None:
        order = task.order
        try:
            async with asyncio.timeout(_TERMINATE_SECONDS), self._turns.turn(address_of(order.metric), order.namespace):
                self._fence.fence()
                await self._providers.of(order.metric).collect_garbage(order, limit)
        except LeadershipLost:
            return
        except Exception as error:  # noqa: BLE001 - tried again when the next measurement is trimmed
            text = task.hider.text(f"{type(error).__name__}: {error}")
            log.warning("garbage not collected", namespace=order.namespace, run=order.name, error=text)


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def taken_of(result: MetricResult | None) -> int:
    """How many measurements of a metric have ended."""
    return 0 if result is None else result.count + result.error


def address_of(metric: Metric) -> str:
    """What stands for the server that a metric's calls go to, so that a slow one holds up only its own."""
    kind = next(iter(metric.provider.named), "")
    provider = metric.provider
    for known in (provider.prometheus, provider.wavefront, provider.graphite, provider.skywalking, provider.kayenta):
        if known is not None:
            return f"{kind} {_host(known.address)}"
    return f"{kind} {_host(provider.web.url)}" if provider.web is not None else kind


def _host(url: str) -> str:
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return ""


def _bounded(measurement: Measurement) -> Measurement:
    """No larger than a status can hold ten of."""
    long = len(measurement.message) > _LONGEST_MESSAGE or len(measurement.value) > _LONGEST_VALUE
    if not long and not measurement.metadata:
        return measurement
    return measurement.model_copy(
        update={
            "message": _cut(measurement.message, _LONGEST_MESSAGE),
            "value": _cut(measurement.value, _LONGEST_VALUE),
            "metadata": _few(measurement.metadata),
        }
    )


def _few(texts: Mapping[str, str]) -> dict[str, str]:
    """As many entries as fit."""
    kept: dict[str, str] = {}
    room = _LONGEST_METADATA
    for key, value in list(texts.items())[:_MOST_METADATA]:
        room -= len(key) + len(value)
        if room < 0:
            break
        kept[key] = value
    return kept


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
