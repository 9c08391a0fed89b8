"""Functions of numbers. Those that fold take numbers and lists of them, nested as they may be."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from gitops_rollouts.analysis.conditions.functions.function import Function, Machine, a_number, always, same
from gitops_rollouts.analysis.conditions.kinds import ANY, BYTES, FLOAT, NUMBERS, Kind, may_be_list
from gitops_rollouts.analysis.conditions.values import Vector, is_list, is_number, type_name, wrapped


def _number(value: Any) -> int | float:
    if is_number(value):
        number: int | float = value
        return number
    raise TypeError(f"expected a number, but got {type_name(value)}")


def _flat(machine: Machine, given: Any) -> list[int | float]:
    """All numbers, lists taken apart."""
    machine.budget.visit(len(given))
    if isinstance(given, Vector):
        return list(given)
    found: list[int | float] = []
    for value in given:
        if is_list(value):
            found += _flat(machine, value)
        else:
            found.append(_number(value))
    return found


def _min(machine: Machine, given: list[Any]) -> Any:
    return min(_flat(machine, given), default=None)


def _max(machine: Machine, given: list[Any]) -> Any:
    return max(_flat(machine, given), default=None)


def _mean(machine: Machine, given: list[Any]) -> float:
    numbers = _flat(machine, given)
    total = 0.0
    for number in numbers:
        total += number
    return total / len(numbers) if numbers else 0.0


def _median(machine: Machine, given: list[Any]) -> float:
    """A NaN is less than any number."""
    numbers = [float(number) for number in _flat(machine, given)]
    machine.budget.visit(len(numbers))
    ordered = sorted(number for number in numbers if not math.isnan(number))
    ordered = [math.nan] * (len(numbers) - len(ordered)) + ordered
    if not ordered:
        return 0.0
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _abs(_: Machine, given: list[Any]) -> int | float:
    number = abs(_number(given[0]))
    return wrapped(number) if isinstance(number, int) else number


def _ceil(_: Machine, given: list[Any]) -> float:
    number = float(_number(given[0]))
    return math.copysign(float(math.ceil(number)), number) if math.isfinite(number) else number


def _floor(_: Machine, given: list[Any]) -> float:
    number = float(_number(given[0]))
    return math.copysign(float(math.floor(number)), number) if math.isfinite(number) else number


def _round(_: Machine, given: list[Any]) -> float:
    """Half away from zero."""
    number = float(_number(given[0]))
    if not math.isfinite(number):
        return number
    whole = float(math.trunc(number))
    if abs(number - whole) >= 0.5:
        whole += math.copysign(1.0, number)
    return math.copysign(whole, number)


def _foldable(kind: Kind) -> bool:
    return kind in NUMBERS or kind == ANY or (may_be_list(kind) and kind != BYTES)


def _extreme(kinds: Sequence[Kind]) -> Kind:
    return kinds[0] if all(kind in NUMBERS for kind in kinds) else ANY


FUNCTIONS: Final[Mapping[str, Function]] = {
    "min": Function(_min, (_foldable,), _extreme, repeats=True),
    "max": Function(_max, (_foldable,), _extreme, repeats=True),
    "mean": Function(_mean, (_foldable,), always(ANY), repeats=True),
    "median": Function(_median, (_foldable,), always(ANY), repeats=True),
    "abs": Function(_abs, (a_number,), same),
    "ceil": Function(_ceil, (a_number,), always(FLOAT)),
    "floor": Function(_floor, (a_number,), always(FLOAT)),
    "round": Function(_round, (a_number,), always(FLOAT)),
}
