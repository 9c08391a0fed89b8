"""What an evaluation may cost, so that a condition can delay nobody."""

from __future__ import annotations

from typing import Final

from gitops_rollouts.errors import ConditionError

MAX_VISITS: Final = 1_000_000
"""Nodes that are evaluated, and items that a function looks at."""
MAX_ITEMS: Final = 1_000_000
"""Items of all lists that are made, and characters of all texts."""
SLIGHT: Final = 5_000
"""Of either: what may be spent where everybody else waits."""


class Budget:
    """What is left to one evaluation. ``at``: the token that is being evaluated, for the message."""

    __slots__ = ("_most", "at", "items", "visits")

    def __init__(self, most: int = MAX_VISITS) -> None:
        self.visits = min(most, MAX_VISITS)
        self.items = min(most, MAX_ITEMS)
        self._most = self.visits, self.items
        self.at = -1

    def visit(self, count: int = 1) -> None:
        """So many nodes or items are looked at."""
        self.visits -= count
        if self.visits < 0:
            raise ConditionError(f"the condition takes more than {self._most[0]} steps", at=self.at)

    def make(self, count: int) -> None:
        """A list of so many items, or a text of so many characters, is made. Asked before it is."""
        self.items -= count
        if self.items <= 0:
            raise ConditionError(f"the condition makes more than {self._most[1]} items or characters", at=self.at)
