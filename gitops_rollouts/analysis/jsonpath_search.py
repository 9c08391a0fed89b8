"""What a JSONPath (`jsonpath`) leads to in a document, within a budget: both come from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from gitops_rollouts.analysis.jsonpath import (
    OPERATORS,
    Below,
    Every,
    Field,
    Filter,
    Index,
    Literal,
    Node,
    Path,
    PathError,
    Slice,
    Union,
    parse,
)

_BUDGET: Final = 500_000
"""Values that may be looked at."""
_TEXT_A_VALUE: Final = 256
"""Characters that cost as much as a value where texts are compared."""


def find(expression: str, document: Any) -> list[Any]:
    """Every match, in the document's order. Raises `PathError`: no such path, too costly, not a JSONPath."""
    paths = parse(expression)
    search = _Search()
    return [value for path in paths for value in search.follow(path, [document])]


class _Search:
    """One evaluation with its budget."""

    def __init__(self) -> None:
        self._left = _BUDGET

    def follow(self, path: Path, values: Sequence[Any]) -> list[Any]:
        found = list(values)
        for node in path:
            found = self._step(node, found)
        return found

    def _step(self, node: Node, values: list[Any]) -> list[Any]:  # noqa: PLR0911  a line a kind of node
        self._spend(len(values))
        match node:
            case Literal():
                return [node.value]
            case Field():
                found = [value[node.name] for value in values if isinstance(value, dict) and node.name in value]
                if not found:
                    raise PathError(f"{node.name[:80]} is not found")
                return found
            case Every():
                return [inner for value in values for inner in self._inner(value)]
            case Below():
                return self._below(values)
            case Index() | Slice():
                return [inner for value in values if value is not None for inner in self._cut(node, value)]
            case Union():
                return [found for part in node.parts for found in self.follow(part, values)]
            case Filter():
                return [inner for value in values if value is not None for inner in self._kept(node, value)]

    def _spend(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise PathError("it would look at too many values")

    def _inner(self, value: Any) -> list[Any]:
        found = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
        self._spend(len(found))
        return found

    def _below(self, values: list[Any]) -> list[Any]:
        """Objects and lists that aren't empty, each before what is in it."""
        found: list[Any] = []
        waiting = values[::-1]
        while waiting:
            value = waiting.pop()
            inner = self._inner(value)
            if inner:
                found.append(value)
                waiting += inner[::-1]
        return found

    def _cut(self, node: Index | Slice, value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise PathError("an index was given for what is no list")
        length = len(value)
        if isinstance(node, Index):
            if not -length <= node.at < length:
                raise PathError(f"array index out of bounds: index {node.at}, length {length}")
            return [value[node.at]]
        start, end = (
            _from_start(place, length) for place in (node.start or 0, length if node.end is None else node.end)
        )
        if start == end:
            return []
        if not 0 <= start < length or not 0 <= end <= length:
            outside = end - 1 if 0 <= start < length else start
            raise PathError(f"array index out of bounds: index {outside}, length {length}")
        if start > end:
            raise PathError(f"starting index {start} is greater than ending index {end}")
        return value[start : end : node.step]

    def _kept(self, node: Filter, value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise PathError("a filter was given for what is no list")
        return [inner for inner in self._inner(value) if self._holds(node, inner)]

    def _holds(self, node: Filter, value: Any) -> bool:
        left = self._side(node.left, value)
        if not node.operator:
            return bool(left)
        right = self._side(node.right, value)
        if not left or not right:
            return False
        if len(left) > 1 or len(right) > 1:
            raise PathError("a filter can compare one value at a time")
        self._spend(min(_cost(left[0]), _cost(right[0])))
        return _compare(node.operator, left[0], right[0])

    def _side(self, path: Path, value: Any) -> list[Any]:
        left = self._left
        try:
            return self.follow(path, [value])
        except PathError:
            if self._left < 0 or left < 0:
                raise
            return []


def _cost(value: Any) -> int:
    """What it takes to compare a value, all the way down, beyond looking at it."""
    waiting, cost = [value], -1
    while waiting:
        one = waiting.pop()
        cost += 1
        if isinstance(one, str):
            cost += len(one) // _TEXT_A_VALUE
        elif isinstance(one, list | dict):
            waiting.extend(one.values() if isinstance(one, dict) else one)
    return cost


def _compare(sign: str, left: Any, right: Any) -> bool:
    kinds = [
        bool if isinstance(side, bool) else float if isinstance(side, int | float) else type(side)
        for side in (left, right)
    ]
    if kinds[0] is not kinds[1]:
        return sign == "!="
    if sign not in {"==", "!="} and kinds[0] not in {float, str}:
        raise PathError(f"a filter can't compare with {sign} what is neither a number nor a text")
    return bool(OPERATORS[sign](left, right))


def _from_start(place: int, length: int) -> int:
    return place + length if place < 0 else place
