"""What the parser makes of a condition. Every node knows the offset of its token in the source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Node:
    """Any expression. ``at``: offset of the token that stands for it."""

    at: int


@dataclass(frozen=True, slots=True)
class Literal(Node):
    """A number, string, bytes, true, false or nil."""

    value: Any


@dataclass(frozen=True, slots=True)
class Name(Node):
    """A variable, or a name of the environment."""

    name: str


@dataclass(frozen=True, slots=True)
class Pointer(Node):
    """What a closure is called with: the item (``""``), its ``index`` or the accumulator ``acc``."""

    name: str


@dataclass(frozen=True, slots=True)
class Unary(Node):
    """``-``, ``+`` or ``not``."""

    operator: str
    operand: Node


@dataclass(frozen=True, slots=True)
class Binary(Node):
    """Two operands; ``and``, ``or`` and ``??`` evaluate the right one only if needed."""

    operator: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Compared(Node):
    """``a < b <= c``: every neighbours are as the operator between them says. Each is (offset, operator, operand)."""

    first: Node
    others: tuple[tuple[int, str, Node], ...]


@dataclass(frozen=True, slots=True)
class Member(Node):
    """``base.name`` or ``base[key]``; ``optional``: nil if the base is."""

    base: Node
    key: Node
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Slice(Node):
    """``base[low:high]``."""

    base: Node
    low: Node | None
    high: Node | None


@dataclass(frozen=True, slots=True)
class Chain(Node):
    """Members of which one is optional: if its base is nil, so is all of this."""

    inner: Node


@dataclass(frozen=True, slots=True)
class Call(Node):
    """A function of the environment or of the language."""

    name: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Method(Node):
    """A method, of a date or a duration."""

    base: Node
    name: str
    arguments: tuple[Node, ...]
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Closure(Node):
    """An expression that is evaluated once an item."""

    body: Node


@dataclass(frozen=True, slots=True)
class Let(Node):
    """``let name = value; body``."""

    name: str
    value: Node
    body: Node


@dataclass(frozen=True, slots=True)
class Conditional(Node):
    """``test ? then : other``, or ``if test {then} else {other}``. ``then`` None: the test's own value, ``?:``."""

    test: Node
    then: Node | None
    other: Node


@dataclass(frozen=True, slots=True)
class ListOf(Node):
    """``[…]``."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class MapOf(Node):
    """``{…}``."""

    pairs: tuple[tuple[Node, Node], ...]


@dataclass(frozen=True, slots=True)
class Sequence(Node):
    """``a; b``: all are evaluated, the last one counts."""

    nodes: tuple[Node, ...]
