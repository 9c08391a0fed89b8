"""How many calls go on at once, in all, to one address, for one namespace: a slow server holds up only its own."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_Waiting = OrderedDict[str, deque[asyncio.Future[None]]]


class Turns:
    """At most ``total`` at once, ``each`` of one address and ``share`` of one namespace.

    Namespaces that wait take turns, and in each its addresses do: whoever has many waits for them alone.
    """

    def __init__(self, total: int, each: int, share: int | None = None) -> None:
        self._free = total
        self._each = each
        self._share = total if share is None else share
        self._active: Counter[str] = Counter()
        self._of_namespace: Counter[str] = Counter()
        self._waiting: OrderedDict[str, _Waiting] = OrderedDict()
        """By namespace, then by address."""

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return sum(len(queue) for queues in self._waiting.values() for queue in queues.values())

    @asynccontextmanager
    async def turn(self, address: str, namespace: str = "") -> AsyncIterator[None]:
        """Wait for a turn, and keep it for as long as the context lasts."""
        await self._take(address, namespace)
        try:
            yield
        finally:
            self._give_back(address, namespace)

    async def _take(self, address: str, namespace: str) -> None:
        if self._may(address, namespace) and address not in self._waiting.get(namespace, ()):
            self._grant(address, namespace)
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(namespace, OrderedDict()).setdefault(address, deque()).append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                # its turn had just come
                self._give_back(address, namespace)
            raise

    def _may(self, address: str, namespace: str) -> bool:
        share = self._of_namespace[namespace] < self._share
        return self._free > 0 and share and self._active[address] < self._each

    def _grant(self, address: str, namespace: str) -> None:
        self._free -= 1
        self._active[address] += 1
        self._of_namespace[namespace] += 1

    def _give_back(self, address: str, namespace: str) -> None:
        self._free += 1
        for counter, key in ((self._active, address), (self._of_namespace, namespace)):
            counter[key] -= 1
            if not counter[key]:
                del counter[key]
        while self._free > 0 and self._next():
            pass

    def _next(self) -> bool:
        """Give one turn to the namespace that has waited longest for one and may have it."""
        for namespace in list(self._waiting):
            if self._of_namespace[namespace] >= self._share:
                continue
            queues = self._waiting[namespace]
            granted = self._next_of(namespace, queues)
            if not queues:
                del self._waiting[namespace]
            elif granted:
                self._waiting.move_to_end(namespace)
            if granted:
                return True
        return False

    def _next_of(self, namespace: str, queues: _Waiting) -> bool:
        """Likewise for an address of a namespace."""
        for address in list(queues):
            queue = queues[address]
            while queue and queue[0].done():
                queue.popleft()
            if not queue:
                del queues[address]
            elif self._may(address, namespace):
                queue.popleft().set_result(None)
                self._grant(address, namespace)
                queues.move_to_end(address)
                if not queue:
                    del queues[address]
                return True
        return False
