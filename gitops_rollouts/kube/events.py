"""core/v1 Events, with the correlation that clients expect (docs/behaviour.md §4.3 "Mechanics").

The same event again raises ``count``; more than ten different messages of one reason within ten minutes become one
`(combined from similar events): …`; an object gets 100 events at once and then one every five minutes
(client-go's 25 would lose the end of a second update within ten minutes).
Events are sent in the background, in order for one object; they never hold up or fail the work they tell of.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Generic, TypeVar

import structlog

from gitops_rollouts.api.names import EVENT_COMPONENT
from gitops_rollouts.errors import KubeError, KubeUnreachable, NotFound
from gitops_rollouts.kube.client import Client, Raw
from gitops_rollouts.kube.failures import NAMESPACE_TERMINATING
from gitops_rollouts.kube.resources import EVENTS

_BURST: Final = 100
_REFILL_SECONDS: Final = 300.0
_SIMILAR: Final = 10
_SIMILAR_SECONDS: Final = 600.0
_MEMORY: Final = 4096
_LANES: Final = 4
_WAITING: Final = 2000
_MAX_MESSAGE: Final = 1024
_COMBINED: Final = "(combined from similar events): "
_TRIES: Final = 3

V = TypeVar("V")
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class About:
    """The object that an event is about."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str
    resource_version: str = ""


@dataclass(slots=True)
class _Sent:
    name: str = ""
    first: str = ""
    count: int = 0


@dataclass(slots=True)
class _Similar:
    messages: set[str] = field(default_factory=set)
    last: float = 0.0


@dataclass(slots=True)
class _Bucket:
    tokens: float
    last: float


class _Recent(Generic[V]):
    """The last few thousand entries, oldest forgotten first."""

    def __init__(self, make: Callable[[], V]) -> None:
        self._make = make
        self._entries: OrderedDict[Hashable, V] = OrderedDict()

    def get(self, key: Hashable) -> V:
        value = self._entries.get(key)
        if value is None:
            value = self._entries[key] = self._make()
            if len(self._entries) > _MEMORY:
                self._entries.popitem(last=False)
        else:
            self._entries.move_to_end(key)
        return value


@dataclass(frozen=True, slots=True)
class _Event:
    about: About
    type: str
    reason: str
    message: str
    at: str


class EventRecorder:
    """`emit` from anywhere on the loop; `run` sends; `drain` before the end.

    ``wall`` gives the timestamps, ``monotonic`` the windows.
    """

    def __init__(
        self,
        client: Client,
        wall: Callable[[], datetime],
        *,
        component: str = EVENT_COMPONENT,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._wall = wall
        self._component = component
        self._monotonic = monotonic
        self._similar: _Recent[_Similar] = _Recent(_Similar)
        self._sent: _Recent[_Sent] = _Recent(_Sent)
        self._buckets: _Recent[_Bucket] = _Recent(lambda: _Bucket(_BURST, self._monotonic()))
        self._lanes: list[asyncio.Queue[_Event]] = [asyncio.Queue(_WAITING) for _ in range(_LANES)]
        self._serial = 0

    def emit(self, about: About, reason: str, message: str, type: str = "Normal") -> None:  # noqa: A002
        """Queue an event. Drops it, with a log line, when thousands wait already."""
        at = self._wall().strftime("%Y-%m-%dT%H:%M:%SZ")
        lane = self._lanes[hash(about.uid or about.name) % _LANES]
        try:
            lane.put_nowait(_Event(about, type, reason, _cut(message), at))
        except asyncio.QueueFull:
            log.warning("event dropped", reason=reason, namespace=about.namespace, name=about.name)

    async def run(self) -> None:
        """Send until cancelled."""
        async with asyncio.TaskGroup() as group:
            for lane in self._lanes:
                group.create_task(self._run_lane(lane))

    async def drain(self, seconds: float = 3.0) -> None:
        """Wait until what was queued is sent, at most ``seconds``."""
        try:
            async with asyncio.timeout(seconds):
                for lane in self._lanes:
                    await lane.join()
        except TimeoutError:
            log.warning("events left unsent", count=sum(lane.qsize() for lane in self._lanes))

    async def _run_lane(self, lane: asyncio.Queue[_Event]) -> None:
        while True:
            event = await lane.get()
            try:
                await self._send(event)
            except KubeError as error:
                # in a namespace that is going nobody will read it
                level = log.debug if error.reason == NAMESPACE_TERMINATING else log.warning
                level("event not sent", reason=event.reason, error=str(error))
            finally:
                lane.task_done()

    async def _send(self, event: _Event) -> None:
        if not self._take_token(event.about):
            return
        message, combined = self._correlate(event)
        key = (event.about, event.type, event.reason, None if combined else message)
        sent = self._sent.get(_without_version(key))
        for attempt in range(_TRIES):
            try:
                await self._write(event, message, sent)
            except KubeUnreachable:
                if attempt + 1 == _TRIES:
                    raise
                await asyncio.sleep(0.5 * 2**attempt)
            else:
                return

    async def _write(self, event: _Event, message: str, sent: _Sent) -> None:
        if sent.name:
            change: Raw = {"count": sent.count + 1, "lastTimestamp": event.at, "message": message}
            try:
                await self._client.patch(EVENTS, event.about.namespace or "default", sent.name, change)
            except NotFound:
                sent.name, sent.count = "", 0
            else:
                sent.count += 1
                return
        self._serial += 1
        sent.name = f"{event.about.name[:200]}.{time.time_ns():x}{self._serial % 256:02x}"
        sent.first = event.at
        sent.count = 1
        try:
            await self._client.create(EVENTS, event.about.namespace or "default", self._body(event, message, sent))
        except KubeError:
            sent.name = ""
            raise

    def _body(self, event: _Event, message: str, sent: _Sent) -> Raw:
        about = event.about
        involved = {
            "apiVersion": about.api_version,
            "kind": about.kind,
            "namespace": about.namespace,
            "name": about.name,
            "uid": about.uid,
            "resourceVersion": about.resource_version,
        }
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": sent.name, "namespace": about.namespace or "default"},
            "involvedObject": {k: v for k, v in involved.items() if v},
            "reason": event.reason,
            "message": message,
            "type": event.type,
            "count": sent.count,
            "firstTimestamp": sent.first,
            "lastTimestamp": event.at,
            "source": {"component": self._component},
            "reportingComponent": self._component,
        }

    def _take_token(self, about: About) -> bool:
        now = self._monotonic()
        bucket = self._buckets.get((about.kind, about.namespace, about.name, about.uid))
        bucket.tokens = min(_BURST, bucket.tokens + (now - bucket.last) / _REFILL_SECONDS)
        bucket.last = now
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True

    def _correlate(self, event: _Event) -> tuple[str, bool]:
        now = self._monotonic()
        about = event.about
        similar = self._similar.get((about.kind, about.namespace, about.name, about.uid, event.type, event.reason))
        if now - similar.last > _SIMILAR_SECONDS:
            similar.messages.clear()
        similar.last = now
        similar.messages.add(event.message)
        if len(similar.messages) <= _SIMILAR:
            return event.message, False
        similar.messages.discard(next(iter(similar.messages - {event.message}), ""))
        return _cut(_COMBINED + event.message), True


def _without_version(key: tuple[About, str, str, str | None]) -> Hashable:
    about, kind, reason, message = key
    return (about.kind, about.namespace, about.name, about.uid, kind, reason, message)


def _cut(message: str) -> str:
    return message if len(message) <= _MAX_MESSAGE else message[: _MAX_MESSAGE - 1] + "…"
