"""What an evaluation may cost, so that a condition can delay nobody."""

from __future__ import annotations

from typing import Final

from gitops_rollouts.errors import ConditionError

MAX_VISITS: Final = 1_000_000
"""Nodes that are evaluated, and items that a function looks at."""
MAX_ITEMS: Final = 1_000_000
"""Items of all lists that are made, and characters of all texts."""


class Budget:
    """What is left to one evaluation. ``at``: the token that is being evaluated, for the message."""

    __slots__ = ("at", "items", "visits")

    def __init__(self) -> None:
        self.visits = MAX_VISITS
        self.items = MAX_ITEMS
        self.at = -1

    def visit(self, count: int = 1) -> None:
        """So many nodes or items are looked at."""
        self.visits -= count
        if self.visits < 0:
            raise ConditionError(f"the condition takes more than {MAX_VISITS} steps", at=self.at)

    def make(self, count: int) -> None:
        """A list of so many items, or a text of so many characters, is made. Asked before it is."""
        self.items -= count
        if self.items <= 0:
            raise ConditionError(f"the condition makes more than {MAX_ITEMS} items or characters", at=self.at)
