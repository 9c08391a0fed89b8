"""Functions of lists that take no closure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cmp_to_key
from typing import Any, Final

from gitops_rollouts.analysis.conditions import operators
from gitops_rollouts.analysis.conditions.functions.function import (
    Function,
    Machine,
    a_list,
    a_text,
    always,
    an_int,
    anything,
    integer,
    item,
    text,
)
from gitops_rollouts.analysis.conditions.kinds import ANY, BYTES, FLOAT, FLOATS, INT, LIST, STRING, Kind
from gitops_rollouts.analysis.conditions.values import (
    Vector,
    is_list,
    is_number,
    sort_key_class,
    truncated,
    type_name,
)


def listed(machine: Machine, value: Any) -> Any:
    """A value that must be a list, each item of which will be looked at."""
    if not is_list(value):
        raise TypeError(f"expected a list, but got {type_name(value)}")
    machine.budget.visit(len(value))
    return value


def _copied(machine: Machine, value: Any) -> list[Any]:
    items = listed(machine, value)
    machine.budget.make(len(items))
    return list(items)


def _len(_: Machine, given: list[Any]) -> int:
    if isinstance(given[0], (str, dict)) or is_list(given[0]):
        return len(given[0])
    raise TypeError(f"a {type_name(given[0])} has no length")


def _first(_: Machine, given: list[Any]) -> Any:
    return given[0][0] if is_list(given[0]) and given[0] else None


def _last(_: Machine, given: list[Any]) -> Any:
    return given[0][-1] if is_list(given[0]) and given[0] else None


def _get(_: Machine, given: list[Any]) -> Any:
    base, key = given
    if isinstance(base, dict):
        return base.get(key) if isinstance(key, str) else None
    index = truncated(key) if isinstance(key, float) else key
    if not is_list(base):
        return None
    if type(index) is not int:
        raise TypeError(f"an item of a list has an integer for its index, not a {type_name(key)}")
    return base[index] if -len(base) <= index < len(base) else None


def _take(machine: Machine, given: list[Any]) -> Any:
    items, count = listed(machine, given[0]), integer(given[1])
    if count < 0:
        raise TypeError(f"{count} items can't be taken")
    machine.budget.make(min(count, len(items)))
    taken = items[:count]
    return Vector(taken) if isinstance(items, Vector) else taken


def _reverse(machine: Machine, given: list[Any]) -> list[Any]:
    return _copied(machine, given[0])[::-1]


def _concat(machine: Machine, given: list[Any]) -> list[Any]:
    return [each for value in given for each in _copied(machine, value)]


def _flatten(machine: Machine, given: list[Any]) -> list[Any]:
    found: list[Any] = []
    _flatten_into(found, machine, given[0])
    return found


def _flatten_into(found: list[Any], machine: Machine, value: Any) -> None:
    for each in _copied(machine, value):
        if is_list(each):
            _flatten_into(found, machine, each)
        else:
            found.append(each)


def _uniq(machine: Machine, given: list[Any]) -> list[Any]:
    """Numbers and texts are found by hash, all else is compared one by one."""
    seen: set[Any] = set()
    others: list[Any] = []
    found: list[Any] = []
    for value in _copied(machine, given[0]):
        if isinstance(value, str) or is_number(value):
            new = value not in seen or (isinstance(value, float) and math.isnan(value))
            seen.add(value)
        else:
            machine.budget.visit(len(others))
            new = not any(operators.same(value, other, machine.budget) for other in others)
            others.append(value)
        if new:
            found.append(value)
    return found


def ordering(machine: Machine, keys: Sequence[Any], order: str) -> list[int]:
    """The places of these keys, in their order: numbers, or texts, or dates, never mixed."""
    machine.budget.visit(len(keys) * max(1, len(keys).bit_length()))
    if order not in {"asc", "desc"}:
        raise TypeError(f'unknown order {order!r}, there are "asc" and "desc"')
    if len(keys) > 1:
        for key in keys:
            if sort_key_class(key) is None or sort_key_class(key) is not sort_key_class(keys[0]):
                raise operators.mismatch("<", key, keys[0])

    def compare(one: int, other: int) -> int:
        return operators.ordered("<", keys[other], keys[one]) - operators.ordered("<", keys[one], keys[other])

    return sorted(range(len(keys)), key=cmp_to_key(compare), reverse=order == "desc")


def _sort(machine: Machine, given: list[Any]) -> list[Any]:
    items = _copied(machine, given[0])
    return [items[place] for place in ordering(machine, items, text(given[1]) if len(given) > 1 else "asc")]


def _taken(kinds: Sequence[Kind]) -> Kind:
    return kinds[0] if kinds[0] == FLOATS else LIST


def _end(kinds: Sequence[Kind]) -> Kind:
    return FLOAT if kinds[0] == FLOATS else ANY


def _has_length(kind: Kind) -> bool:
    return a_list(kind) or kind.name == "map" or kind == STRING


def _indexable(kind: Kind) -> bool:
    return a_list(kind) or kind.name == "map"


def _sortable(kind: Kind) -> bool:
    return a_list(kind) and kind != BYTES


FUNCTIONS: Final[Mapping[str, Function]] = {
    "len": Function(_len, (_has_length,), always(INT)),
    "first": Function(_first, (a_list,), _end),
    "last": Function(_last, (a_list,), _end),
    "get": Function(_get, (_indexable, anything), item),
    "take": Function(_take, (a_list, an_int), _taken),
    "reverse": Function(_reverse, (a_list,), always(LIST)),
    "concat": Function(_concat, (a_list,), always(LIST), repeats=True),
    "flatten": Function(_flatten, (a_list,), always(LIST)),
    "uniq": Function(_uniq, (a_list,), always(LIST)),
    "sort": Function(_sort, (_sortable, a_text), always(LIST), optional=1),
}
