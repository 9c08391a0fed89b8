"""Kubernetes' dialect of JSONPath, as the web provider's ``jsonPath`` is written (docs/behaviour.md §18).

``{$.a.b}``, ``{.items[0].x}``, ``[-1]``, ``[1:3]``, ``[::2]``, ``[*]``, ``['a','b']``, ``..x``, ``[?(@.x>=1)]``.
Reading a path is total, and evaluating one has a budget, as both the path and the document come from elsewhere.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from gitops_rollouts.errors import MetricError

_LONGEST: Final = 4096
_DEEPEST: Final = 16
_BUDGET: Final = 500_000
"""Values that may be looked at."""
_TEXT_A_VALUE: Final = 256
"""Characters that cost as much as a value where texts are compared."""
_NAME: Final = re.compile(r"(?:\\.|[^\s.,\[\](){}$@*'\"?=<>!\\])+", re.DOTALL)
_NUMBER: Final = re.compile(r"-?[0-9]{1,300}(?:\.[0-9]{1,300})?")
_INTEGER: Final = re.compile(r"-?[0-9]{1,18}")
_QUOTED: Final = re.compile(r"'((?:\\.|[^'\\])*)'|\"((?:\\.|[^\"\\])*)\"", re.DOTALL)
_OPERATORS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}


class PathError(MetricError):
    """A JSONPath can't be read, or leads nowhere in this document."""


@dataclass(frozen=True, slots=True)
class Field:
    """``.name`` or ``['name']``."""

    name: str


@dataclass(frozen=True, slots=True)
class Index:
    """``[n]``; negative: from the end."""

    at: int


@dataclass(frozen=True, slots=True)
class Slice:
    """``[start:end:step]``."""

    start: int | None
    end: int | None
    step: int


@dataclass(frozen=True, slots=True)
class Every:
    """``[*]`` or ``.*``."""


@dataclass(frozen=True, slots=True)
class Below:
    """``..``: the value and every object and list in it."""


@dataclass(frozen=True, slots=True)
class Union:
    """``[a,b]``."""

    parts: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Filter:
    """``[?(left operator right)]``; without an operator: whether ``left`` leads anywhere."""

    left: Path
    operator: str
    right: Path


@dataclass(frozen=True, slots=True)
class Literal:
    """A text, a number or a truth value."""

    value: Any


Node = Field | Index | Slice | Every | Below | Union | Filter | Literal
Path = tuple[Node, ...]


def find(expression: str, document: Any) -> list[Any]:
    """Every match, in the document's order. Raises `PathError`: no such path, too costly, not a JSONPath."""
    paths = parse(expression)
    search = _Search()
    return [value for path in paths for value in search.follow(path, [document])]


@lru_cache(maxsize=512)
def parse(expression: str) -> tuple[Path, ...]:
    """The paths in braces, in order. Raises `PathError`."""
    if len(expression) > _LONGEST:
        raise PathError(f"the JSONPath is longer than {_LONGEST} characters")
    return _Reader(expression).paths()


class _Reader:
    """Reads an expression from left to right. Raises `PathError` that names the place."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0

    def paths(self) -> tuple[Path, ...]:
        found = []
        self._blank()
        while self._at < len(self._text):
            self._expect("{")
            found.append(self._path("}"))
            self._expect("}")
            self._blank()
        if not found:
            raise self._error("a path in braces, such as {$.a}, is missing")
        return tuple(found)

    def _path(self, ends: str) -> Path:
        """Nodes up to one of the characters in ``ends``, which is left."""
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._error("it is nested too deeply")
        nodes: list[Node] = []
        self._blank()
        if literal := self._literal():
            nodes.append(literal)
        elif self._next() in {"$", "@"}:
            self._at += 1
        self._blank()
        while self._next() and self._next() not in ends:
            self._node(nodes)
            self._blank()
        self._depth -= 1
        return tuple(nodes)

    def _node(self, nodes: list[Node]) -> None:
        if self._take(".."):
            nodes.append(Below())
            if self._next() not in {"[", "*", "}", ""}:
                nodes.append(Field(self._name()))
            elif self._take("*"):
                nodes.append(Every())
        elif self._take("."):
            if self._take("*"):
                nodes.append(Every())
            elif self._next() not in {"[", "}", ")", " ", ""}:
                nodes.append(Field(self._name()))
        elif self._take("["):
            nodes.append(self._brackets())
        else:
            raise self._error("expected . or [")

    def _brackets(self) -> Node:
        self._blank()
        if self._take("?"):
            return self._filter()
        parts = [self._part()]
        while self._take(","):
            parts.append(self._part())
        self._expect("]")
        return parts[0] if len(parts) == 1 else Union(tuple((part,) for part in parts))

    def _part(self) -> Node:
        self._blank()
        part: Node
        if self._take("*"):
            part = Every()
        elif self._next() in {"'", '"'}:
            part = Field(self._quoted())
        else:
            part = self._numbers()
        self._blank()
        return part

    def _numbers(self) -> Node:
        given = [self._integer()]
        while len(given) < 3 and self._take(":"):
            given.append(self._integer())
        if len(given) == 1:
            if given[0] is None:
                raise self._error("expected an index, a name in quotes, * or ?(")
            return Index(given[0])
        step = given[2] if len(given) == 3 and given[2] is not None else 1
        if step < 1:
            raise self._error("a step must be 1 or more")
        return Slice(given[0], given[1], step)

    def _filter(self) -> Filter:
        self._expect("(")
        left = self._path(")=<>!")
        sign = next((sign for sign in _OPERATORS if self._take(sign)), "")
        right = self._path(")") if sign else ()
        self._expect(")")
        self._blank()
        self._expect("]")
        return Filter(left, sign, right)

    def _literal(self) -> Literal | None:
        if self._next() in {"'", '"'}:
            return Literal(self._quoted())
        if number := _NUMBER.match(self._text, self._at):
            self._at = number.end()
            return Literal(float(number[0]))
        for word, value in (("true", True), ("false", False)):
            if self._take(word):
                return Literal(value)
        return None

    def _quoted(self) -> str:
        quoted = _QUOTED.match(self._text, self._at)
        if quoted is None:
            raise self._error("a quotation mark is missing")
        self._at = quoted.end()
        return _plain(quoted[1] if quoted[1] is not None else quoted[2])

    def _name(self) -> str:
        name = _NAME.match(self._text, self._at)
        if name is None:
            raise self._error("expected a name")
        self._at = name.end()
        return _plain(name[0])

    def _integer(self) -> int | None:
        self._blank()
        number = _INTEGER.match(self._text, self._at)
        if number is None:
            return None
        self._at = number.end()
        self._blank()
        return int(number[0])

    def _next(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self, text: str) -> bool:
        if not self._text.startswith(text, self._at):
            return False
        self._at += len(text)
        return True

    def _expect(self, text: str) -> None:
        if not self._take(text):
            hint = "; a path stands in braces, such as {$.a}" if text == "{" else ""
            raise self._error(f"expected {text}{hint}")

    def _blank(self) -> None:
        while self._next().isspace():
            self._at += 1

    def _error(self, why: str) -> PathError:
        return PathError(f"the JSONPath {self._text[:80]!r} can't be read at character {self._at + 1}: {why}")


def _plain(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


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
    return bool(_OPERATORS[sign](left, right))


def _from_start(place: int, length: int) -> int:
    return place + length if place < 0 else place
