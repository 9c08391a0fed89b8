"""Answers of servers that are large: few at once, and read beside the event loop (docs/behaviour.md §18.1).

The server may be anybody's. Nine hundred answers of megabytes each, or one of millions of values, would end the process
that serves everybody's Rollouts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Final, TypeVar

from gitops_rollouts.errors import MetricError

LARGE: Final = 64 * 1024
"""Bytes. A larger answer waits for room, and is read beside the event loop."""
MOST_VALUES: Final = 500_000
_AT_ONCE: Final = 12
_THREADS: Final = 2
"""Of their own: the process finds its API server by the shared ones."""

T = TypeVar("T")


class Room:
    """Room for so many large answers at once. A measurement keeps its own until it is over."""

    def __init__(self, at_once: int = _AT_ONCE) -> None:
        self._free = asyncio.Semaphore(at_once)

    async def wait(self) -> bool:
        """Wait for room, unless the measurement has some. Whether the caller has to give it back."""
        kept = _kept.get()
        if kept:
            return False
        await self._free.acquire()
        if kept is None:
            return True
        kept.append(self._free)
        return False

    def give_back(self) -> None:
        """What `wait` said has to be given back."""
        self._free.release()


_kept: ContextVar[list[asyncio.Semaphore] | None] = ContextVar("room kept", default=None)
_threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="large-answers")


@asynccontextmanager
async def keeping_room() -> AsyncIterator[None]:
    """One measurement: room that it takes is given back at its end, when its answer has been read."""
    kept: list[asyncio.Semaphore] = []
    token = _kept.set(kept)
    try:
        yield
    finally:
        _kept.reset(token)
        for free in kept:
            free.release()


async def read_beside(body: bytes, read: Callable[[], T]) -> T:
    """What ``read`` makes of an answer with this body. Raises what it raises."""
    if len(body) <= LARGE:
        return read()
    return await asyncio.get_running_loop().run_in_executor(_threads, read)


def refuse_many_values(body: bytes, source: str) -> None:
    """Refuse JSON of so many values that they alone would fill the memory. Raises `MetricError`.

    Every value but the first stands behind one of these characters; those in texts count too.
    """
    if len(body) > MOST_VALUES and sum(map(body.count, (b",", b"[", b"{"))) > MOST_VALUES:
        raise MetricError(f"{source} answered with more than {MOST_VALUES} values", remedy="ask for fewer")
