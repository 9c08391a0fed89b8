"""A bounded memory for pure functions whose arguments can't be hashed: the caller brings the key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Memo(Generic[K, V]):
    """Keeps the last ``limit`` answers; forgets the oldest first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._known: dict[K, V] = {}

    def get(self, key: K, compute: Callable[[], V]) -> V:
        """The answer for ``key``, computed if it isn't known."""
        if key in self._known:
            return self._known[key]
        answer = compute()
        if len(self._known) >= self._limit:
            del self._known[next(iter(self._known))]
        self._known[key] = answer
        return answer
