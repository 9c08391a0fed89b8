"""Functions of bits, of ints of 64."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from gitops_rollouts.analysis.conditions.functions.function import Function, Machine, always, an_int, integer
from gitops_rollouts.analysis.conditions.kinds import INT
from gitops_rollouts.analysis.conditions.values import wrapped

_ALL: Final = 2**64 - 1


def _of_two(compute: Callable[[int, int], int]) -> Function:
    def run(_: Machine, given: list[Any]) -> int:
        return wrapped(compute(integer(given[0]), integer(given[1])))

    return Function(run, (an_int, an_int), always(INT))


def _shift(compute: Callable[[int, int], int]) -> Function:
    def by(value: int, count: int) -> int:
        if count < 0:
            raise TypeError(f"negative shift count {count}")
        return compute(value, min(count, 64))

    return _of_two(by)


FUNCTIONS: Final[Mapping[str, Function]] = {
    "bitand": _of_two(lambda one, other: one & other),
    "bitor": _of_two(lambda one, other: one | other),
    "bitxor": _of_two(lambda one, other: one ^ other),
    "bitnand": _of_two(lambda one, other: one & ~other),
    "bitnot": Function(lambda _, given: ~integer(given[0]), (an_int,), always(INT)),
    "bitshl": _shift(lambda value, count: value << count),
    "bitshr": _shift(lambda value, count: value >> count),
    "bitushr": _shift(lambda value, count: (value & _ALL) >> count),
}
