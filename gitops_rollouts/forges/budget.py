"""How many calls that make or change something an API takes from us in a minute, all projects together
(docs/decisions.md §2). It never waits: who is over it is told when to come again."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

CALLS: Final = 40
WINDOW_SECONDS: Final = 60.0
_ORIGINS: Final = 1000


class Budget:
    """One for all forges of this process. ``monotonic`` gives seconds. Any thread may ask."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic, calls: int = CALLS) -> None:
        self.monotonic: Final = monotonic
        self._calls = calls
        self._taken: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def take(self, origin: str, *, spare: bool = False) -> float:
        """Take one call to this API: 0, or the seconds until there is one again; then none was taken.

        ``spare``: one that others go before, so that it gets only what leaves half of them for those.
        """
        with self._lock:
            now = self.monotonic()
            if origin not in self._taken and len(self._taken) >= _ORIGINS:
                self._taken = {each: taken for each, taken in self._taken.items() if now - taken[-1] < WINDOW_SECONDS}
            taken = self._taken.setdefault(origin, deque())
            while taken and now - taken[0] >= WINDOW_SECONDS:
                taken.popleft()
            most = self._calls // 2 if spare else self._calls
            if len(taken) >= most:
                return max(taken[len(taken) - most] + WINDOW_SECONDS - now, 0.001)
            taken.append(now)
            return 0.0

    def forget(self) -> None:
        """As if nothing had been asked yet."""
        with self._lock:
            self._taken.clear()


SHARED: Final = Budget()
"""The one that a forge uses which isn't given another."""
