"""The values that a condition works with, and what holds of all of them: equality, order, how they read as text.

Go's types in Python's: nil None, bool, int (64 bits), float64 float, string str, ``[]interface{}`` list, ``[]float64``
`Vector`, ``map[string]interface{}`` dict with str keys. An int and a float are different things, as in Go: JSON has
floats only, see `from_json`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

from gitops_rollouts.errors import ConditionError

MIN_INT: Final = -(2**63)
MAX_NESTING: Final = 100
TEXT_A_STEP: Final = 64
"""Characters of a text that cost as much to look at as an item of a list."""
MONTHS: Final = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
WEEKDAYS: Final = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")


class Vector(tuple[float, ...]):
    """A ``[]float64``: what a query of Prometheus gives."""

    __slots__ = ()


class AnyMap(dict[Any, Any]):
    """A map whose keys may be anything; one that is no string stands in it as made by `map_key`."""


class Groups(AnyMap):
    """What groupBy makes: a key that is missing has an empty list."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key that is no string. Its type counts, as 1, 1.0 and true are three keys."""

    kind: str
    value: Any


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A duration."""

    nanoseconds: int


@dataclass(frozen=True, slots=True)
class Zone:
    """A time zone by its IANA name, or a fixed offset in seconds east of UTC."""

    name: str
    offset: int | None = None


UTC: Final = Zone("UTC", 0)


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in time, and the zone that its clock shows."""

    unix_ns: int
    zone: Zone = UTC


class Month(int):
    """A month from 1; no number can be compared with it."""


class Weekday(int):
    """A day of the week, Sunday 0."""


_GO_NAMES: Final = {
    type(None): "<nil>",
    bool: "bool",
    int: "int",
    float: "float64",
    str: "string",
    bytes: "[]uint8",
    list: "[]interface {}",
    Vector: "[]float64",
    dict: "map[string]interface {}",
    AnyMap: "map[interface {}]interface {}",
    Groups: "map[interface {}][]interface {}",
    Span: "time.Duration",
    Moment: "time.Time",
    Zone: "*time.Location",
    Month: "time.Month",
    Weekday: "time.Weekday",
}


def from_json(value: Any, depth: int = 0) -> Any:
    """JSON as conditions see it: every number is a float, and what JSON can't hold is a string.

    A `ConditionError` if it nests deeper than `MAX_NESTING`.
    """
    if value is None or isinstance(value, (bool, str, float)):
        return value
    if isinstance(value, int):
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
    if depth >= MAX_NESTING:
        raise ConditionError(f"the JSON nests deeper than {MAX_NESTING} levels")
    if isinstance(value, (list, tuple)):
        return [from_json(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {str(key): from_json(item, depth + 1) for key, item in value.items()}
    return str(value)


def type_name(value: Any) -> str:
    """A value's type as Go writes it."""
    return _GO_NAMES.get(type(value), type(value).__name__)


def is_number(value: Any) -> bool:
    """Whether it is an int or a float; true is none."""
    return type(value) in (int, float)


def is_list(value: Any) -> bool:
    """Whether it is a list of any kind."""
    return isinstance(value, (list, Vector, bytes))


def wrapped(number: int) -> int:
    """An int in 64 bits, over which Go's arithmetic wraps around."""
    if -(2**63) <= number < 2**63:
        return number
    return (number + 2**63) % 2**64 - 2**63


def truncated(number: float) -> int:
    """A float as an int; what doesn't fit, as amd64 has it."""
    if math.isnan(number) or not -(2.0**63) <= number < 2.0**63:
        return MIN_INT
    return int(number)


def map_key(value: Any) -> Any:
    """What stands for this key in an `AnyMap`. Raises TypeError for a list or a map."""
    if isinstance(value, str):
        return value
    if isinstance(value, (list, Vector, bytes, dict)):
        raise TypeError(f"a {type_name(value)} can't be a key")
    if isinstance(value, float) and math.isnan(value):
        return Key("NaN", object())
    return Key(type_name(value), value)


def key_value(key: Any) -> Any:
    """The key that stands in a map."""
    if isinstance(key, Key):
        return math.nan if key.kind == "NaN" else key.value
    return key


def equal(left: Any, right: Any) -> bool:
    """``==``: numbers by value, lists item by item, maps with the very same types inside."""
    if is_number(left) and is_number(right):
        return bool(left == right) if type(left) is type(right) else float(left) == float(right)
    if is_list(left) and is_list(right):
        return len(left) == len(right) and all(map(equal, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return identical(left, right)
    if isinstance(left, Moment) and isinstance(right, Moment):
        return left.unix_ns == right.unix_ns
    return type(left) is type(right) and bool(left == right)


def identical(left: Any, right: Any) -> bool:
    """Equal with all types inside."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return len(left) == len(right) and all(key in right and identical(left[key], right[key]) for key in left)
    if is_list(left):
        return len(left) == len(right) and all(map(identical, left, right))
    return bool(left == right)


def sort_key_class(value: Any) -> type | None:
    """Values of one such class are ordered among each other; None: these never are."""
    if is_number(value):
        return float
    if isinstance(value, (str, Span, Moment)):
        return type(value)
    return None


def size(value: Any, most: int) -> int:
    """What it costs to walk a value: its items, all the way down; counting stops beyond ``most``.

    A list may hold the same list twice and that one another twice, so that few items are many.
    """
    if isinstance(value, str):
        return 1 + len(value) // TEXT_A_STEP
    if not is_list(value) and not isinstance(value, dict):
        return 1
    waiting, count = [value], 0
    while waiting and count <= most:
        one = waiting.pop()
        count += 1
        if isinstance(one, str):
            count += len(one) // TEXT_A_STEP
        elif isinstance(one, dict):
            waiting.extend(one.values())
        elif isinstance(one, Vector):
            count += len(one)
        elif isinstance(one, list):
            waiting.extend(one)
    return count
