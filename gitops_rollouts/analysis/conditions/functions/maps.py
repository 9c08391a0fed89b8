"""Functions of maps. Go keeps no order of keys; here it is the order in which they came."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gitops_rollouts.analysis.conditions.functions.function import Function, Machine, a_list, a_map, always
from gitops_rollouts.analysis.conditions.functions.lists import listed
from gitops_rollouts.analysis.conditions.kinds import ANY_MAP, LIST
from gitops_rollouts.analysis.conditions.values import AnyMap, is_list, key_value, map_key, type_name


def _of(machine: Machine, value: Any) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"expected a map, but got {type_name(value)}")
    machine.budget.visit(len(value))
    machine.budget.make(len(value))
    return value


def _keys(machine: Machine, given: list[Any]) -> list[Any]:
    return [key_value(key) for key in _of(machine, given[0])]


def _values(machine: Machine, given: list[Any]) -> list[Any]:
    return list(_of(machine, given[0]).values())


def _to_pairs(machine: Machine, given: list[Any]) -> list[Any]:
    return [[key_value(key), value] for key, value in _of(machine, given[0]).items()]


def _from_pairs(machine: Machine, given: list[Any]) -> AnyMap:
    found = AnyMap()
    for pair in listed(machine, given[0]):
        if not is_list(pair) or len(pair) != 2:
            raise TypeError("fromPairs takes a list of lists of two, a key and a value")
        found[map_key(pair[0])] = pair[1]
    machine.budget.make(len(found))
    return found


FUNCTIONS: Final[Mapping[str, Function]] = {
    "keys": Function(_keys, (a_map,), always(LIST)),
    "values": Function(_values, (a_map,), always(LIST)),
    "toPairs": Function(_to_pairs, (a_map,), always(LIST)),
    "fromPairs": Function(_from_pairs, (a_list,), always(ANY_MAP)),
}
