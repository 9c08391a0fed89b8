"""The functions that a metric's condition has besides the language's own (docs/behaviour.md §17.4)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from gitops_rollouts.analysis.conditions.functions.conversions import as_float, as_int
from gitops_rollouts.analysis.conditions.functions.function import Function, Machine, always, anything
from gitops_rollouts.analysis.conditions.kinds import ANY, BOOL, FLOAT, INT, NUMBERS, Kind
from gitops_rollouts.analysis.conditions.values import is_number, type_name


def _number(value: Any) -> float:
    if is_number(value):
        return float(value)
    raise TypeError(f"expected a number, but got {type_name(value)}")


def _is_nil(machine: Machine, _: list[Any]) -> bool:
    """It looks at the whole result, whatever it is asked of, as templates rely on it."""
    return machine.setting.result is None


def _default(machine: Machine, given: list[Any]) -> Any:
    """It looks at the whole result, as isNil does."""
    return given[1] if machine.setting.result is None else machine.setting.result


def _a_number(kind: Kind) -> bool:
    return kind in NUMBERS or kind == ANY


FUNCTIONS: Final[Mapping[str, Function]] = {
    "asInt": Function(lambda _, given: as_int(given[0]), (anything,), always(INT)),
    "asFloat": Function(lambda _, given: as_float(given[0]), (anything,), always(FLOAT)),
    "isNaN": Function(lambda _, given: math.isnan(_number(given[0])), (_a_number,), always(BOOL)),
    "isInf": Function(lambda _, given: math.isinf(_number(given[0])), (_a_number,), always(BOOL)),
    "isNil": Function(_is_nil, (anything,), always(BOOL)),
    "default": Function(_default, (anything, anything), always(ANY)),
}
