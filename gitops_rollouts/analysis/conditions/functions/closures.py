"""Functions that evaluate a closure once an item."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from gitops_rollouts.analysis.conditions import operators
from gitops_rollouts.analysis.conditions.functions.function import (
    Function,
    Machine,
    a_list,
    a_text,
    always,
    anything,
    closing,
    item,
    same,
    text,
)
from gitops_rollouts.analysis.conditions.functions.lists import listed, ordering
from gitops_rollouts.analysis.conditions.kinds import ANY, BOOL, GROUPS, INT, NIL, Kind, list_of
from gitops_rollouts.analysis.conditions.tree import Call
from gitops_rollouts.analysis.conditions.values import Groups, Vector, is_number, map_key


def _all(machine: Machine, call: Call) -> bool:
    return all(chosen for _, _, chosen in _chosen(machine, call))


def _any(machine: Machine, call: Call) -> bool:
    return any(chosen for _, _, chosen in _chosen(machine, call))


def _none(machine: Machine, call: Call) -> bool:
    return not _any(machine, call)


def _one(machine: Machine, call: Call) -> bool:
    return sum(chosen for _, _, chosen in _chosen(machine, call)) == 1


def _chosen(machine: Machine, call: Call) -> Iterator[tuple[int, Any, bool]]:
    return machine.chosen(call.arguments[1], listed(machine, machine.value(call.arguments[0])))


def _filter(machine: Machine, call: Call) -> list[Any]:
    found = [value for _, value, chosen in _chosen(machine, call) if chosen]
    _made(machine, call, found)
    return found


def _made(machine: Machine, call: Call, found: list[Any]) -> None:
    machine.budget.at = call.at
    machine.budget.make(len(found))


def _map(machine: Machine, call: Call) -> list[Any]:
    items = listed(machine, machine.value(call.arguments[0]))
    found = [made for _, made in machine.each(call.arguments[1], items)]
    _made(machine, call, found)
    return found


def _find(machine: Machine, call: Call) -> Any:
    return next((value for _, value, chosen in _chosen(machine, call) if chosen), None)


def _find_index(machine: Machine, call: Call) -> Any:
    return next((index for index, _, chosen in _chosen(machine, call) if chosen), None)


def _backwards(machine: Machine, call: Call, choose: Callable[[int, Any], Any]) -> Any:
    items = listed(machine, machine.value(call.arguments[0]))
    for index in reversed(range(len(items))):
        for _, value, chosen in machine.chosen(call.arguments[1], items[index : index + 1]):
            if chosen:
                return choose(index, value)
    return None


def _find_last(machine: Machine, call: Call) -> Any:
    return _backwards(machine, call, lambda _, value: value)


def _find_last_index(machine: Machine, call: Call) -> Any:
    return _backwards(machine, call, lambda index, _: index)


def _count(machine: Machine, call: Call) -> int:
    closure = closing(call)
    if closure is not None:
        return sum(chosen for _, _, chosen in _chosen(machine, call))
    found = 0
    for value in listed(machine, machine.value(call.arguments[0])):
        if not isinstance(value, bool):
            raise TypeError("count without a condition takes a list of bools")
        found += value
    return found


def _sum(machine: Machine, call: Call) -> Any:
    closure = closing(call)
    items = listed(machine, machine.value(call.arguments[0]))
    values = items if closure is None else (made for _, made in machine.each(closure, items))
    total: int | float = 0
    for value in values:
        if not is_number(value):
            raise operators.mismatch("+", value, total)
        total = operators.add(total, value, machine.budget)
    return total


def _reduce(machine: Machine, call: Call) -> Any:
    items = listed(machine, machine.value(call.arguments[0]))
    start = 0
    if len(call.arguments) > 2:
        accumulated = machine.value(call.arguments[2])
    elif items:
        accumulated, start = items[0], 1
    else:
        raise TypeError("reduce of an empty list needs an initial value")
    for index in range(start, len(items)):
        accumulated = machine.once(call.arguments[1], items[index], index, accumulated)
    return accumulated


def _group_by(machine: Machine, call: Call) -> Groups:
    items = listed(machine, machine.value(call.arguments[0]))
    machine.budget.make(len(items))
    groups = Groups()
    for value, key in machine.each(call.arguments[1], items):
        groups.setdefault(map_key(key), []).append(value)
    return groups


def _sort_by(machine: Machine, call: Call) -> Any:
    items = listed(machine, machine.value(call.arguments[0]))
    machine.budget.make(len(items))
    keys = [key for _, key in machine.each(call.arguments[1], items)]
    order = text(machine.value(call.arguments[2])) if len(call.arguments) > 2 else "asc"
    placed = [items[place] for place in ordering(machine, keys, order)]
    return Vector(placed) if isinstance(items, Vector) else placed


def _mapped(kinds: Sequence[Kind]) -> Kind:
    return list_of(kinds[1])


def _summed(kinds: Sequence[Kind]) -> Kind:
    return kinds[1] if len(kinds) > 1 else kinds[0].item


def _a_value(kind: Kind) -> bool:
    return kind != NIL


_TESTS: Final = (a_list, _a_value)


def _choosing(run: Callable[[Machine, Call], Any], returns: Callable[[Sequence[Kind]], Kind]) -> Function:
    return Function(run, _TESTS, returns, closes=True, chooses=True)


FUNCTIONS: Final[Mapping[str, Function]] = {
    "all": _choosing(_all, always(BOOL)),
    "any": _choosing(_any, always(BOOL)),
    "none": _choosing(_none, always(BOOL)),
    "one": _choosing(_one, always(BOOL)),
    "filter": _choosing(_filter, lambda kinds: list_of(kinds[0].item)),
    "find": _choosing(_find, item),
    "findIndex": _choosing(_find_index, always(INT)),
    "findLast": _choosing(_find_last, item),
    "findLastIndex": _choosing(_find_last_index, always(INT)),
    "count": Function(_count, _TESTS, always(INT), optional=1, closes=True, chooses=True),
    "map": Function(_map, _TESTS, _mapped, closes=True),
    "sum": Function(_sum, _TESTS, _summed, optional=1, closes=True),
    "reduce": Function(_reduce, (a_list, _a_value, anything), always(ANY), optional=1, closes=True),
    "groupBy": Function(_group_by, _TESTS, always(GROUPS), closes=True),
    "sortBy": Function(_sort_by, (a_list, _a_value, a_text), same, optional=1, closes=True),
}
