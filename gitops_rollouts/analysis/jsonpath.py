"""Kubernetes' dialect of JSONPath, as the web provider's ``jsonPath`` is written (docs/behaviour.md §18).

``{$.a.b}``, ``{.items[0].x}``, ``[-1]``, ``[1:3]``, ``[::2]``, ``[*]``, ``['a','b']``, ``..x``, ``[?(@.x>=1)]``.
Reading a path is total, as it comes from elsewhere; `jsonpath_search` finds what it leads to.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from gitops_rollouts.errors import MetricError

_LONGEST: Final = 4096
_DEEPEST: Final = 16
_NAME: Final = re.compile(r"(?:\\.|[^\s.,\[\](){}$@*'\"?=<>!\\])+", re.DOTALL)
_NUMBER: Final = re.compile(r"-?[0-9]{1,300}(?:\.[0-9]{1,300})?")
_INTEGER: Final = re.compile(r"-?[0-9]{1,18}")
_QUOTED: Final = re.compile(r"'((?:\\.|[^'\\])*)'|\"((?:\\.|[^\"\\])*)\"", re.DOTALL)
OPERATORS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
"""How a filter may compare two values."""


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
        sign = next((sign for sign in OPERATORS if self._take(sign)), "")
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
