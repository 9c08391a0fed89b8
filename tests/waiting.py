"""Wait for a condition with a deadline: the only way in which a test lets time pass."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
_POLL_SECONDS = 0.02


def _describe(what: str, last: object, error: BaseException | None) -> str:
    return f"timed out waiting for {what or 'a condition'}; last value: {last!r}" + (
        f"; last error: {error!r}" if error else ""
    )


def wait_for(
    condition: Callable[[], T], deadline: float = 30, what: str = "", *, ignore: tuple[type[Exception], ...] = ()
) -> T:
    """The first true value of ``condition``; AssertionError after ``deadline`` seconds, with the last value.

    An exception in ``ignore`` counts as "not yet"; every other one ends the wait.
    """
    end = time.monotonic() + deadline
    while True:
        last: object = None
        error: Exception | None = None
        try:
            value = condition()
            if value:
                return value
            last = value
        except ignore as caught:
            error = caught
        if time.monotonic() > end:
            raise AssertionError(_describe(what, last, error))
        time.sleep(_POLL_SECONDS)


async def eventually(
    condition: Callable[[], Awaitable[T]],
    deadline: float = 30,
    what: str = "",
    *,
    ignore: tuple[type[Exception], ...] = (),
) -> T:
    """``wait_for`` for a coroutine function."""
    end = time.monotonic() + deadline
    while True:
        last: object = None
        error: Exception | None = None
        try:
            value = await condition()
            if value:
                return value
            last = value
        except ignore as caught:
            error = caught
        if time.monotonic() > end:
            raise AssertionError(_describe(what, last, error))
        await asyncio.sleep(_POLL_SECONDS)
