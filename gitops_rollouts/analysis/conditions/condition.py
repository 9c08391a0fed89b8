"""Conditions, read once and evaluated often, and the expressions of a range query."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from gitops_rollouts.analysis.conditions import kinds, times
from gitops_rollouts.analysis.conditions.budget import MAX_VISITS, SLIGHT, Budget
from gitops_rollouts.analysis.conditions.checking import check
from gitops_rollouts.analysis.conditions.evaluation import Evaluation
from gitops_rollouts.analysis.conditions.functions import FUNCTIONS, environment
from gitops_rollouts.analysis.conditions.functions.function import Setting
from gitops_rollouts.analysis.conditions.kinds import ANY, BOOL, Kind
from gitops_rollouts.analysis.conditions.parser import parse
from gitops_rollouts.analysis.conditions.tree import Node
from gitops_rollouts.analysis.conditions.values import Moment, Span, type_name
from gitops_rollouts.errors import ConditionError

MAX_COMPILED: Final = 1024
"""So many conditions are kept read, whoever wrote them."""
_ALL_FUNCTIONS: Final = frozenset(FUNCTIONS)
_OWN_FUNCTIONS: Final = _ALL_FUNCTIONS - frozenset(environment.FUNCTIONS)


class Condition:
    """A condition that has been read. ``source``: as it was written."""

    __slots__ = ("_tree", "_types", "source")

    def __init__(self, source: str) -> None:
        self.source = source
        self._tree = _parsed(source)
        self._types: dict[Kind, Kind | ConditionError] = {}

    def check(self, kind: Kind = ANY) -> Kind:
        """The type of what it gives for a result of this type. A `ConditionError` if it can't be evaluated at all."""
        found = self._types.get(kind)
        if found is None:
            try:
                found = _checked(self._tree, self.source, {"result": kind}, _ALL_FUNCTIONS)
            except ConditionError as error:
                found = error
            self._types[kind] = found
        if isinstance(found, ConditionError):
            raise ConditionError(found.message, at=found.at)
        return found

    def value(self, result: Any, *, now: datetime | None = None, most: int = MAX_VISITS) -> Any:
        """What it gives for this result, of any type. ``most``: steps that it may take."""
        self.check(kinds.kind_of(result))
        setting = Setting(result=result, now=times.from_datetime(now) if now else None)
        return _evaluated(self._tree, self.source, {"result": result}, setting, Budget(most))

    def evaluate(self, result: Any, *, now: datetime | None = None, most: int = MAX_VISITS) -> bool:
        """Whether it holds for this result, which is as `values` says: JSON goes through `from_json` first.

        ``now``: what ``now()`` is; without it that is an error. ``most``: steps that it may take. Raises
        `ConditionError`, with the token's offset if one is to blame, for a condition that doesn't fit the result,
        costs too much or gives no bool.
        """
        found = self.value(result, now=now, most=most)
        if found is True or found is False:
            return bool(found)
        raise ConditionError(f"expected bool, but got {type_name(found)}")


@lru_cache(maxsize=MAX_COMPILED)
def compile_condition(source: str) -> Condition:
    """Read a condition. A `ConditionError` for one that holds for no result whatever: bad syntax, an unknown name,
    wrong arguments, or a value that is never a bool."""
    condition = Condition(source)
    kind = condition.check()
    if kind not in (BOOL, ANY):
        raise ConditionError(f"expected bool, but got {kind}")
    return condition


def evaluate_time(source: str, now: datetime) -> datetime:
    """The date that an expression such as ``now() - duration("1h")`` stands for, in UTC. Raises `ConditionError`."""
    found = _expression(source, now)
    if not isinstance(found, Moment):
        raise ConditionError(f"expected a date, but got {type_name(found)}")
    try:
        return times.to_datetime(found).astimezone(UTC)
    except ValueError as error:
        raise ConditionError(str(error)) from None


def evaluate_duration(source: str) -> timedelta:
    """The duration that is written, as ``1m30s`` or as an expression such as ``duration("1m")``.

    Raises `ConditionError`.
    """
    try:
        found: Any = times.duration(source)
    except ValueError:
        found = _expression(source, None)
    if not isinstance(found, Span):
        raise ConditionError(f"expected a duration, but got {type_name(found)}")
    return timedelta(microseconds=found.nanoseconds / 1000)


def _expression(source: str, now: datetime | None) -> Any:
    tree = _parsed(source)
    _checked(tree, source, {}, _OWN_FUNCTIONS)
    return _evaluated(tree, source, {}, Setting(now=times.from_datetime(now) if now else None), Budget(SLIGHT))


def _parsed(source: str) -> Node:
    try:
        return parse(source)
    except ConditionError as error:
        raise placed(error, source) from None
    except RecursionError:
        raise ConditionError("the condition nests too deeply") from None


def _checked(tree: Node, source: str, names: Mapping[str, Kind], functions: frozenset[str]) -> Kind:
    try:
        return check(tree, names, functions)
    except ConditionError as error:
        raise placed(error, source) from None
    except RecursionError:
        raise ConditionError("the condition nests too deeply") from None


def _evaluated(tree: Node, source: str, names: Mapping[str, Any], setting: Setting, budget: Budget) -> Any:
    try:
        return Evaluation(names, setting, budget).value(tree)
    except ConditionError as error:
        raise placed(error, source) from None
    except RecursionError:
        raise ConditionError("the condition makes values that nest too deeply") from None


def placed(error: ConditionError, source: str) -> ConditionError:
    """The error with line and column of its token, both counted from 1."""
    if error.at < 0:
        return error
    line = source.count("\n", 0, error.at) + 1
    column = error.at - (source.rfind("\n", 0, error.at) + 1) + 1
    return ConditionError(f"{error.message} ({line}:{column})", at=error.at)


def snippet(source: str, at: int) -> str:
    """The line of the source that has this offset, and a caret below it. Empty: there is no such place."""
    if not 0 <= at <= len(source):
        return ""
    start = source.rfind("\n", 0, at) + 1
    end = source.find("\n", at)
    line = source[start : len(source) if end < 0 else end].replace("\t", " ")
    first = max(0, at - start - 60)
    shown = line[first : first + 100]
    return f"{shown}\n{' ' * (at - start - first)}^"
