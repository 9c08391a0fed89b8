"""What is known of a value before it exists: the types of the language, as Go has them.

They follow from the actual result of a metric, so ``result > 0.5`` is refused if the result is a text, whichever way
the evaluation would go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from gitops_rollouts.analysis.conditions.values import (
    AnyMap,
    Groups,
    Moment,
    Month,
    Span,
    Vector,
    Weekday,
    Zone,
)


@dataclass(frozen=True, slots=True)
class Kind:
    """A type. ``element``: of a list's items or a map's values; ``text_keys``: a map's keys are strings."""

    name: str
    element: Kind | None = None
    text_keys: bool = True

    def __str__(self) -> str:
        if self.name == "array":
            return f"[]{self.item}"
        if self.name == "map":
            return f"map[{'string' if self.text_keys else 'interface {}'}]{self.item}"
        return self.name

    @property
    def item(self) -> Kind:
        """What an item of it is."""
        return self.element or ANY


ANY: Final = Kind("interface {}")
NIL: Final = Kind("nil")
BOOL: Final = Kind("bool")
INT: Final = Kind("int")
FLOAT: Final = Kind("float64")
STRING: Final = Kind("string")
BYTES: Final = Kind("[]uint8")
TIME: Final = Kind("time.Time")
DURATION: Final = Kind("time.Duration")
MONTH: Final = Kind("time.Month")
WEEKDAY: Final = Kind("time.Weekday")
LOCATION: Final = Kind("*time.Location")
ENVIRONMENT: Final = Kind("$env")
LIST: Final = Kind("array")
MAP: Final = Kind("map")
ANY_MAP: Final = Kind("map", text_keys=False)
FLOATS: Final = Kind("array", FLOAT)
INTS: Final = Kind("array", INT)
STRINGS: Final = Kind("array", STRING)
GROUPS: Final = Kind("map", LIST, text_keys=False)

NUMBERS: Final = (INT, FLOAT)
_ORDERED: Final = (STRING, TIME, DURATION)
_BY_CLASS: Final[Mapping[type, Kind]] = {
    type(None): NIL, bool: BOOL, int: INT, float: FLOAT, str: STRING, bytes: BYTES, Moment: TIME, Span: DURATION,
    Month: MONTH, Weekday: WEEKDAY, Zone: LOCATION, list: LIST, Vector: FLOATS, dict: MAP, AnyMap: ANY_MAP,
    Groups: GROUPS,
}  # fmt: skip


def kind_of(value: Any) -> Kind:
    """The type of a value, from outside only: a list's items are not looked at."""
    return _BY_CLASS.get(type(value), ANY)


def list_of(kind: Kind) -> Kind:
    """A list of such items."""
    return Kind("array", None if kind == ANY else kind)


def united(one: Kind, other: Kind) -> Kind:
    """The type of what may be either."""
    if other in (one, NIL):
        return one
    if one == NIL:
        return other
    return one if one.name == other.name == "array" and FLOATS not in (one, other) else ANY


def numeric(kind: Kind) -> bool:
    """Whether it is a number, or may be."""
    return kind in NUMBERS or kind == ANY


def arithmetic(operator: str, left: Kind, right: Kind) -> Kind | None:
    """The type of a sum, a product and so on; None: there is none of these two."""
    if left in NUMBERS and right in NUMBERS:
        return _of_numbers(operator, left, right)
    special = _SPECIAL.get((operator, left, right))
    if special is not None:
        return special
    if ANY not in (left, right):
        return None
    other = right if left == ANY else left
    if operator in {"+", "-"}:
        allowed = other == ANY or other in NUMBERS or other in (TIME, DURATION) or (operator == "+" and other == STRING)
    elif operator == "*":
        allowed = numeric(other) or other == DURATION
    else:
        allowed = numeric(other) and not (operator == "%" and other == FLOAT)
    if not allowed:
        return None
    return FLOAT if operator in {"/", "**"} else INT if operator == "%" else ANY


def _of_numbers(operator: str, left: Kind, right: Kind) -> Kind | None:
    whole = left == INT and right == INT
    if operator == "%":
        return INT if whole else None
    return INT if whole and operator in {"+", "-", "*"} else FLOAT


_SPECIAL: Final[Mapping[tuple[str, Kind, Kind], Kind]] = {
    ("+", STRING, STRING): STRING,
    ("+", TIME, DURATION): TIME,
    ("+", DURATION, TIME): TIME,
    ("+", DURATION, DURATION): DURATION,
    ("-", TIME, TIME): DURATION,
    ("-", TIME, DURATION): TIME,
    ("-", DURATION, DURATION): DURATION,
    ("*", DURATION, DURATION): DURATION,
    ("*", DURATION, INT): DURATION,
    ("*", INT, DURATION): DURATION,
    ("*", DURATION, FLOAT): FLOAT,
    ("*", FLOAT, DURATION): FLOAT,
}


def ordered(left: Kind, right: Kind) -> bool:
    """Whether ``<`` and the like may compare these two."""
    if numeric(left) and numeric(right):
        return True
    if ANY in (left, right):
        return (right if left == ANY else left) in _ORDERED
    return left == right and left in _ORDERED


def comparable(left: Kind, right: Kind) -> bool:
    """Whether ``==`` may compare these two."""
    if NIL in (left, right) or ANY in (left, right) or left == right:
        return True
    if left in NUMBERS and right in NUMBERS:
        return True
    if left.name == right.name == "array":
        return True
    return left.name == right.name == "map" and left.text_keys == right.text_keys and GROUPS not in (left, right)


def may_be_list(kind: Kind) -> bool:
    """Whether it is a list, or may be."""
    return kind.name == "array" or kind in (ANY, BYTES)
