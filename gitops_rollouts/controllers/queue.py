"""Which keys to look at, and when: a delay queue without duplicates.

A key that is added while it is being worked on waits until that is done: no key is ever worked on twice at once.
Of several moments for one key the earliest counts, because each pass says anew when to look again.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

FIRST_BACKOFF: Final = 0.001
LAST_BACKOFF: Final = 10.0

K = TypeVar("K")


class QueueMetrics(Protocol):
    """What a queue tells of itself; `telemetry.Metrics` fits."""

    def queue_depth(self, name: str, depth: Callable[[], int]) -> None: ...

    def queue(self, name: str, *, added: int = 0, retried: int = 0) -> None: ...

    def queue_times(self, name: str, *, waited: float | None = None, worked: float | None = None) -> None: ...


class DelayQueue(Generic[K]):
    """Belongs to one event loop. ``monotonic`` gives seconds; delays are seconds."""

    def __init__(
        self,
        name: str = "",
        *,
        monotonic: Callable[[], float] = time.monotonic,
        metrics: QueueMetrics | None = None,
    ) -> None:
        self._name = name
        self._monotonic = monotonic
        self._metrics = metrics
        self._ready: deque[K] = deque()
        self._waiting: set[K] = set()
        self._working: set[K] = set()
        self._since: dict[K, float] = {}
        """Since when a ready key waits, or one that is worked on is."""
        self._again: set[K] = set()
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._serial = 0
        self._failures: dict[K, int] = {}
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._closed = False
        if metrics is not None:
            metrics.queue_depth(name, self.__len__)

    def __len__(self) -> int:
        return len(self._ready)

    @property
    def idle(self) -> bool:
        """Nothing is ready or being worked on; later moments may be set."""
        return not self._ready and not self._working

    def add(self, key: K) -> None:
        """Look at ``key`` as soon as a worker is free."""
        if self._closed:
            return
        self._due.pop(key, None)
        if key in self._working:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            self._ready.append(key)
            self._since[key] = self._monotonic()
            self._wake_one()
            self._note(added=1)

    def add_after(self, key: K, seconds: float) -> None:
        """Look at ``key`` after ``seconds``, or earlier if something else asks for it."""
        if seconds <= 0:
            self.add(key)
            return
        if self._closed or key in self._waiting:
            return
        due = self._monotonic() + seconds
        known = self._due.get(key)
        if known is not None and known <= due:
            return
        self._due[key] = due
        self._serial += 1
        heapq.heappush(self._heap, (due, self._serial, key))
        self._set_timer()

    def add_failed(self, key: K) -> float:
        """Look at ``key`` again after its backoff, which doubles with each failure; returns the seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        seconds = min(LAST_BACKOFF, FIRST_BACKOFF * 2.0 ** min(failures, 20))
        self._note(retried=1)
        self.add_after(key, seconds)
        return seconds

    def succeeded(self, key: K) -> None:
        """Its next failure starts at the shortest backoff again."""
        self._failures.pop(key, None)

    def forget(self, key: K) -> None:
        """The object is gone: no later moment, no failures."""
        self._due.pop(key, None)
        self._failures.pop(key, None)

    async def get(self) -> K | None:
        """The next key to work on; None once the queue is closed. Call `done` with it afterwards."""
        while True:
            if self._closed:
                return None
            self._release_due()
            if self._ready:
                key = self._ready.popleft()
                self._waiting.discard(key)
                self._working.add(key)
                self._time(key, waited=True)
                return key
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    # it was woken for a key that it can't take any more
                    self._wake_one()
                raise

    def done(self, key: K) -> None:
        """The work on ``key`` is over, one way or the other."""
        self._working.discard(key)
        self._time(key, waited=False)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def close(self) -> None:
        """No more keys: every `get` returns None."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        while self._waiters:
            self._wake_one()

    def _release_due(self) -> None:
        now = self._monotonic()
        while self._heap and self._heap[0][0] <= now:
            due, _, key = heapq.heappop(self._heap)
            # an entry that was superseded stays in the heap until its time comes
            if self._due.get(key) == due:
                self.add(key)
        if len(self._heap) > 64 and len(self._heap) > 4 * len(self._due):
            self._heap = [entry for entry in self._heap if self._due.get(entry[2]) == entry[0]]
            heapq.heapify(self._heap)

    def _wake_one(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _set_timer(self) -> None:
        """One timer, for the earliest moment that stands."""
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        if self._closed or not self._heap:
            return
        due = self._heap[0][0]
        if self._timer is not None:
            if self._timer_due <= due:
                return
            self._timer.cancel()
        self._timer_due = due
        delay = max(0.0, due - self._monotonic())
        self._timer = asyncio.get_running_loop().call_later(delay, self._timer_fired)

    def _timer_fired(self) -> None:
        self._timer = None
        self._release_due()
        self._set_timer()

    def _time(self, key: K, *, waited: bool) -> None:
        """What ``key`` did until now is over; after waiting comes the work."""
        now = self._monotonic()
        seconds = now - self._since.pop(key, now)
        if waited:
            self._since[key] = now
        if self._metrics is not None:
            self._metrics.queue_times(
                self._name, waited=seconds if waited else None, worked=None if waited else seconds
            )

    def _note(self, *, added: int = 0, retried: int = 0) -> None:
        if self._metrics is not None:
            self._metrics.queue(self._name, added=added, retried=retried)
