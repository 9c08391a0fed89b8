"""What the language knows of a function: its arguments' types, its result's, and what it does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from gitops_rollouts.analysis.conditions.budget import Budget
from gitops_rollouts.analysis.conditions.kinds import ANY, BOOL, INT, STRING, Kind, may_be_list, numeric
from gitops_rollouts.analysis.conditions.tree import Call, Node
from gitops_rollouts.analysis.conditions.values import Moment, type_name

Test = Callable[[Kind], bool]
"""Whether an argument may be of this type."""
Returns = Callable[[Sequence[Kind]], Kind]
"""The result's type, from those of the arguments; a closure's is what it returns."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What functions see besides their arguments. ``now`` None: nobody told the time."""

    result: Any = None
    now: Moment | None = None


class Machine(Protocol):
    """What a function needs of an evaluation."""

    budget: Budget
    setting: Setting

    def value(self, node: Node) -> Any:
        """The value of an argument that is not yet evaluated."""
        ...

    def each(self, closure: Node, items: Any) -> Iterator[tuple[Any, Any]]:
        """Each item with what the closure makes of it."""
        ...

    def once(self, closure: Node, item: Any, index: int, accumulated: Any) -> Any:
        """What the closure makes of one item."""
        ...

    def chosen(self, closure: Node, items: Any) -> Iterator[tuple[int, Any, bool]]:
        """Each item with its index and whether the closure chooses it."""
        ...


@dataclass(frozen=True, slots=True)
class Function:
    """One function. It takes as many arguments as there are ``tests``, the last ``optional`` of which may be left out.

    ``repeats``: the last test holds for any number of further arguments. ``closes``: ``run`` gets the call itself and
    evaluates the arguments; else it gets their values. ``chooses``: the closure must return a bool.
    """

    run: Callable[[Any, Any], Any]
    tests: tuple[Test, ...]
    returns: Returns
    optional: int = 0
    repeats: bool = False
    closes: bool = False
    chooses: bool = False


def always(kind: Kind) -> Returns:
    """The result is of this type, whatever the arguments are."""
    return lambda _: kind


def same(kinds: Sequence[Kind]) -> Kind:
    """The result is of the first argument's type."""
    return kinds[0]


def item(kinds: Sequence[Kind]) -> Kind:
    """The result is an item of the first argument."""
    return kinds[0].item


def anything(_: Kind) -> bool:
    """Any argument."""
    return True


def a_text(kind: Kind) -> bool:
    """A string, or what may be one."""
    return kind in (STRING, ANY)


def a_bool(kind: Kind) -> bool:
    """A bool, or what may be one."""
    return kind in (BOOL, ANY)


def an_int(kind: Kind) -> bool:
    """An int, or what may be one."""
    return kind in (INT, ANY)


a_number: Test = numeric
a_list: Test = may_be_list


def a_map(kind: Kind) -> bool:
    """A map, or what may be one."""
    return kind.name == "map" or kind == ANY


def text(value: Any) -> str:
    """A value that must be a string."""
    if isinstance(value, str):
        return value
    raise TypeError(f"expected a string, but got {type_name(value)}")


def integer(value: Any) -> int:
    """A value that must be an int."""
    if type(value) is int:
        return value
    raise TypeError(f"expected an int, but got {type_name(value)}")


def closing(call: Call) -> Node | None:
    """The closure of a call, if it has one."""
    return call.arguments[1] if len(call.arguments) > 1 else None
