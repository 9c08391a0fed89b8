"""What operators do with values. A value of the wrong type is a TypeError, which the evaluation points at its token."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any, Final

from gitops_rollouts.analysis.conditions.budget import Budget
from gitops_rollouts.analysis.conditions.values import (
    Moment,
    Span,
    equal,
    is_list,
    is_number,
    map_key,
    size,
    sort_key_class,
    truncated,
    type_name,
    wrapped,
)

_ORDER: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def mismatch(name: str, left: Any, right: Any) -> TypeError:
    """The operator isn't defined on these two."""
    return TypeError(f"invalid operation: {type_name(left)} {name} {type_name(right)}")


def ordered(name: str, left: Any, right: Any) -> bool:
    """``<`` and the like: of numbers, texts, dates or durations."""
    if type(left) is float and type(right) in (float, int):
        return _ORDER[name](left, right)
    kind = sort_key_class(left)
    if kind is None or kind is not sort_key_class(right):
        raise mismatch(name, left, right)
    if kind is Moment:
        left, right = left.unix_ns, right.unix_ns
    return _ORDER[name](left, right)


def same(left: Any, right: Any, budget: Budget) -> bool:
    """``==``: counts what has to be compared."""
    if not is_number(left):
        budget.visit(size(left, budget.visits))
    return equal(left, right)


def add(left: Any, right: Any, budget: Budget) -> Any:
    """``+``: of numbers, texts, durations, or a date and a duration."""
    if is_number(left) and is_number(right):
        return _number(left + right)
    if isinstance(left, str) and isinstance(right, str):
        budget.make(len(left) + len(right))
        return left + right
    if isinstance(left, Span) and isinstance(right, Span):
        return Span(wrapped(left.nanoseconds + right.nanoseconds))
    if isinstance(left, Span) and isinstance(right, Moment):
        left, right = right, left
    if isinstance(left, Moment) and isinstance(right, Span):
        return Moment(left.unix_ns + right.nanoseconds, left.zone)
    raise mismatch("+", left, right)


def subtract(left: Any, right: Any) -> Any:
    """``-``: of numbers, durations, or from a date."""
    if is_number(left) and is_number(right):
        return _number(left - right)
    if isinstance(left, Span) and isinstance(right, Span):
        return Span(wrapped(left.nanoseconds - right.nanoseconds))
    if isinstance(left, Moment) and isinstance(right, Span):
        return Moment(left.unix_ns - right.nanoseconds, left.zone)
    if isinstance(left, Moment) and isinstance(right, Moment):
        return between(left, right)
    raise mismatch("-", left, right)


def between(later: Moment, earlier: Moment) -> Span:
    """The duration from one date to another, at most what 64 bits hold."""
    return Span(max(-(2**63), min(2**63 - 1, later.unix_ns - earlier.unix_ns)))


def multiply(left: Any, right: Any) -> Any:
    """``*``: of numbers and durations."""
    if is_number(left) and is_number(right):
        return _number(left * right)
    if isinstance(left, Span) or isinstance(right, Span):
        one = left.nanoseconds if isinstance(left, Span) else left
        other = right.nanoseconds if isinstance(right, Span) else right
        if is_number(one) and is_number(other):
            product = _number(one * other)
            return Span(product) if isinstance(product, int) else product
    raise mismatch("*", left, right)


def _number(value: int | float) -> int | float:
    return wrapped(value) if isinstance(value, int) else value


def divide(left: Any, right: Any) -> float:
    """``/``: always a float; by zero it is infinite, or no number."""
    if not (is_number(left) and is_number(right)):
        raise mismatch("/", left, right)
    dividend, divisor = float(left), float(right)
    if divisor:
        return dividend / divisor
    if not dividend or math.isnan(dividend):
        return math.nan
    return math.copysign(math.inf, dividend) * math.copysign(1.0, divisor)


def modulo(left: Any, right: Any) -> int:
    """``%``: of ints, with the sign of the dividend."""
    if type(left) is not int or type(right) is not int:
        raise mismatch("%", left, right)
    if right == 0:
        raise TypeError("integer divide by zero")
    rest = abs(left) % abs(right)
    return -rest if left < 0 else rest


def power(left: Any, right: Any) -> float:
    """``**``: always a float, and never an error, however large."""
    if not (is_number(left) and is_number(right)):
        raise mismatch("**", left, right)
    base, exponent = float(left), float(right)
    odd = exponent.is_integer() and exponent % 2 == 1
    try:
        return math.pow(base, exponent)
    except OverflowError:
        return -math.inf if base < 0 and odd else math.inf
    except ValueError:
        if base == 0:
            return math.copysign(math.inf, base) if odd else math.inf
        return math.nan


def negated(value: Any) -> int | float:
    """``-``, of a number."""
    if not is_number(value):
        raise TypeError(f"invalid operation: - {type_name(value)}")
    return _number(-value)


def contained(item: Any, container: Any, budget: Budget) -> bool:
    """``in``: an item of a list, or a key of a map."""
    if is_list(container):
        budget.visit(len(container))
        return any(same(item, other, budget) for other in container)
    if isinstance(container, dict):
        if item is None:
            return map_key(None) in container
        if type(container) is dict and not isinstance(item, str):
            raise TypeError(f"a key must be a string, and this is a {type_name(item)}")
        return map_key(item) in container
    if container is None:
        return False
    raise TypeError(f'operator "in" is not defined on {type_name(container)}')


def span_of_ints(low: Any, high: Any, budget: Budget) -> list[int]:
    """``low..high``, both included."""
    if not (is_number(low) and is_number(high)):
        raise mismatch("..", low, high)
    first, last = (truncated(end) if isinstance(end, float) else end for end in (low, high))
    if last < first:
        return []
    budget.make(last - first + 1)
    return list(range(first, last + 1))


def text_pair(name: str, left: Any, right: Any) -> tuple[str, str]:
    """Both operands, which must be texts."""
    if not (isinstance(left, str) and isinstance(right, str)):
        raise mismatch(name, left, right)
    return left, right
