"""Tasks that live and end together, and threads for what blocks."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, TypeVar

import structlog

STOP: Final = "stop"
"""The name of the task whose end is an ordinary end."""
_SURPRISED_SECONDS: Final = 1.0

T = TypeVar("T")

log = structlog.get_logger(__name__)


class Threads:
    """Threads of their own for one sort of blocking work, made as they are needed.

    The loop's own are few (as many as cores, and four), and names are looked up in them: a server that hangs must not
    keep another sort of work from its thread.
    """

    def __init__(self, name: str, most: int) -> None:
        self._pool = ThreadPoolExecutor(most, thread_name_prefix=name)

    async def run(self, call: Callable[..., T], *args: Any) -> T:
        """Like `asyncio.to_thread`."""
        inside = partial(contextvars.copy_context().run, call, *args)
        return await asyncio.get_running_loop().run_in_executor(self._pool, inside)


async def first(work: Coroutine[Any, Any, None] | None, guards: Sequence[asyncio.Task[Any]]) -> bool:
    """Wait for ``work`` (None: for ever) as long as no guard ends. False if it was the one named `STOP` that did.

    Raises what a guard raised; a guard that ended without a reason is an error too.
    """
    task = asyncio.create_task(work) if work is not None else None
    try:
        done, _ = await asyncio.wait([*guards, *([task] if task else [])], return_when=asyncio.FIRST_COMPLETED)
    finally:
        if task is not None and not task.done():
            await cancel([task])
    for ended in done:
        if not ended.cancelled() and (error := ended.exception()) is not None:
            raise _innermost(error)
    if task is not None and task in done:
        return True
    for ended in done:
        if ended.get_name() != STOP:
            raise RuntimeError(f"the {ended.get_name()} ended")
    return False


async def woken(wake: asyncio.Event, stopping: asyncio.Future[Any], seconds: float | None) -> None:
    """Wait until ``wake`` is set or ``stopping`` is done, for ``seconds`` at most (None: for ever)."""
    waking = asyncio.ensure_future(wake.wait())
    try:
        await asyncio.wait({waking, stopping}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waking.cancel()


async def outliving(name: str, turn: Callable[[asyncio.Future[Any]], Awaitable[None]], stop: asyncio.Event) -> None:
    """Take turns until ``stop`` is set; each is given what is done then. A surprise in one of them is logged, and
    after a moment comes the next."""
    stopping: asyncio.Future[Any] = asyncio.ensure_future(stop.wait())
    try:
        while not stop.is_set():
            try:
                await turn(stopping)
            except Exception:
                log.exception("a turn ended by a surprise, another follows", loop=name)
                await asyncio.wait({stopping}, timeout=_SURPRISED_SECONDS)
    finally:
        stopping.cancel()


async def cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel and wait; what they raise is logged, it comes second to whatever ended them."""
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            log.warning("while stopping", error=str(_innermost(result)))


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
