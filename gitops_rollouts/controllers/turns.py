"""How many calls go on at once, in all and to one address, so that a slow server holds up only its own."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """At most ``total`` at once, at most ``each`` of one address; addresses that wait take turns."""

    def __init__(self, total: int, each: int) -> None:
        self._free = total
        self._each = each
        self._active: Counter[str] = Counter()
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return sum(len(queue) for queue in self._waiting.values())

    @asynccontextmanager
    async def turn(self, address: str) -> AsyncIterator[None]:
        """Wait for a turn, and keep it for as long as the context lasts."""
        await self._take(address)
        try:
            yield
        finally:
            self._give_back(address)

    async def _take(self, address: str) -> None:
        if self._free > 0 and self._active[address] < self._each and address not in self._waiting:
            self._grant(address)
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(address, deque()).append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                # its turn had just come
                self._give_back(address)
            raise

    def _grant(self, address: str) -> None:
        self._free -= 1
        self._active[address] += 1

    def _give_back(self, address: str) -> None:
        self._free += 1
        self._active[address] -= 1
        if not self._active[address]:
            del self._active[address]
        while self._free > 0 and self._next():
            pass

    def _next(self) -> bool:
        """Give one turn to the address that has waited longest for one and may have it."""
        for address in list(self._waiting):
            queue = self._waiting[address]
            while queue and queue[0].done():
                queue.popleft()
            if not queue:
                del self._waiting[address]
            elif self._active[address] < self._each:
                queue.popleft().set_result(None)
                self._grant(address)
                self._waiting.move_to_end(address)
                if not queue:
                    del self._waiting[address]
                return True
        return False
