"""From tokens to a tree: operators by precedence, everything else by descent.

Total: any source gives a tree or a `ConditionError`, and how deep the one nests is bounded, so that no later walk can
exhaust the stack. A chain of binary operators of any length is one level, as all walks go down its left side in a loop.
"""

from __future__ import annotations

from typing import Final

from gitops_rollouts.analysis.conditions import patterns
from gitops_rollouts.analysis.conditions.tokens import (
    BYTES,
    END,
    NAME,
    NUMBER,
    OPERATOR,
    STRING,
    Token,
    tokenize,
)
from gitops_rollouts.analysis.conditions.tree import (
    Binary,
    Call,
    Chain,
    Closure,
    Compared,
    Conditional,
    Let,
    ListOf,
    Literal,
    MapOf,
    Member,
    Method,
    Name,
    Node,
    Pointer,
    Sequence,
    Slice,
    Unary,
)
from gitops_rollouts.errors import ConditionError

MAX_DEPTH: Final = 64
TAKES_CLOSURE: Final = frozenset({
    "all", "any", "none", "one", "filter", "map", "find", "findIndex", "findLast", "findLastIndex", "count", "sum",
    "groupBy", "sortBy", "reduce",
})  # fmt: skip
"""Builtins whose second argument is evaluated once an item."""

_BINARY: Final = {
    "or": 10, "||": 10, "and": 15, "&&": 15,
    "==": 20, "!=": 20, "<": 20, ">": 20, "<=": 20, ">=": 20,
    "in": 20, "matches": 20, "contains": 20, "startsWith": 20, "endsWith": 20,
    "..": 25, "+": 30, "-": 30, "*": 60, "/": 60, "%": 60, "**": 100, "^": 100, "??": 500,
}  # fmt: skip
_UNARY: Final = {"not": 50, "!": 50, "-": 90, "+": 90}
_SAME: Final = {"||": "or", "&&": "and", "!": "not", "^": "**"}
_ORDER: Final = frozenset({"<", ">", "<=", ">="})
_NEGATABLE: Final = frozenset({"in", "matches", "contains", "startsWith", "endsWith"})
_CONSTANTS: Final = {"true": True, "false": False, "nil": None}


def parse(source: str) -> Node:
    """The tree of a whole source; what can't be read is a `ConditionError` that points at the token."""
    parser = _Parser(tokenize(source))
    node = parser.sequence()
    parser.must_end()
    return node


class _Parser:
    """The tokens with a place in them. ``_closures``: how many closures are open, ``_depth``: how deep it nests."""

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._next = 0
        self._closures = 0
        self._depth = 0

    @property
    def _token(self) -> Token:
        return self._tokens[self._next]

    def _is(self, text: str) -> bool:
        token = self._token
        return token.kind == OPERATOR and token.text == text

    def _take(self) -> Token:
        token = self._tokens[self._next]
        if token.kind != END:
            self._next += 1
        return token

    def _took(self, text: str) -> bool:
        if self._is(text):
            self._next += 1
            return True
        return False

    def _expect(self, text: str) -> Token:
        if not self._is(text):
            raise self._unexpected(f', expected "{text}"')
        return self._take()

    def _unexpected(self, more: str = "") -> ConditionError:
        return ConditionError(f"unexpected {self._token}{more}", at=self._token.at)

    def must_end(self) -> None:
        if self._token.kind != END:
            raise self._unexpected()

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ConditionError(f"the condition nests deeper than {MAX_DEPTH} levels", at=self._token.at)

    # -- statements

    def sequence(self) -> Node:
        first = self._token.at
        nodes = [self._expression()]
        while self._took(";"):
            if self._token.kind == END:
                break
            nodes.append(self._expression())
        return nodes[0] if len(nodes) == 1 else Sequence(first, tuple(nodes))

    def _let(self) -> Node:
        at = self._take().at
        name = self._take()
        if name.kind != NAME:
            raise ConditionError(f"unexpected {name}, expected a name", at=name.at)
        self._expect("=")
        value = self._expression()
        self._expect(";")
        return Let(at, name.text, value, self.sequence())

    def _if(self) -> Node:
        at = self._take().at
        test = self._expression()
        then = self._block()
        self._expect("else")
        if self._is("if"):
            self._deeper()
            other = self._if()
            self._depth -= 1
        else:
            other = self._block()
        return Conditional(at, test, then, other)

    def _block(self) -> Node:
        self._expect("{")
        node = self.sequence()
        self._expect("}")
        return node

    # -- operators

    def _expression(self, least: int = 0) -> Node:
        depth = self._depth
        self._deeper()
        try:
            if least == 0 and self._is("let"):
                return self._let()
            if least == 0 and self._is("if"):
                return self._if()
            left = self._operations(self._operand(), least)
            return self._ternary(left) if least == 0 else left
        finally:
            self._depth = depth

    def _operations(self, left: Node, least: int) -> Node:
        coalesced = False
        while self._token.kind == OPERATOR:
            token = self._token
            if token.text == "|" and least == 0:
                self._take()
                self._deeper()
                left = self._pipe(left)
                coalesced = False
                continue
            negated = self._negated()
            if negated:
                self._take()
            operator = self._token
            precedence = _BINARY.get(operator.text, -1)
            if precedence < least:
                self._next -= negated
                break
            if coalesced and operator.text != "??":
                raise ConditionError(f"{operator} after ?? needs parentheses around one of them", at=operator.at)
            coalesced = operator.text == "??"
            self._take()
            left = self._binary(left, operator, precedence)
            if negated:
                self._deeper()
                left = Unary(token.at, "not", left)
        return left

    def _negated(self) -> int:
        """1 if what comes is ``not in`` or the like."""
        if not self._is("not"):
            return 0
        following = self._tokens[self._next + 1]
        if following.kind != OPERATOR or following.text not in _NEGATABLE:
            raise ConditionError(f"unexpected {following} after not", at=following.at)
        return 1

    def _binary(self, left: Node, operator: Token, precedence: int) -> Node:
        name = _SAME.get(operator.text, operator.text)
        right = self._expression(precedence if name == "**" else precedence + 1)
        if name == "matches" and isinstance(right, Literal) and isinstance(right.value, str):
            patterns.compiled(right.value, operator.at)
        if name not in _ORDER:
            return Binary(operator.at, name, left, right)
        compared = [(operator.at, name, right)]
        while self._token.kind == OPERATOR and self._token.text in _ORDER:
            following = self._take()
            compared.append((following.at, following.text, self._expression(precedence + 1)))
        if len(compared) == 1:
            return Binary(operator.at, name, left, right)
        self._deeper()
        return Compared(operator.at, left, tuple(compared))

    def _ternary(self, test: Node) -> Node:
        if not self._is("?"):
            return test
        at = self._take().at
        if self._took(":"):
            return Conditional(at, test, None, self._expression())
        then = self._expression()
        self._expect(":")
        return Conditional(at, test, then, self._expression())

    def _operand(self) -> Node:
        token = self._token
        if token.kind == OPERATOR and token.text in _UNARY:
            self._take()
            operand = self._expression(_UNARY[token.text])
            return Unary(token.at, _SAME.get(token.text, token.text), operand)
        return self._primary()

    def _pipe(self, left: Node) -> Node:
        token = self._take()
        if token.kind != NAME:
            raise ConditionError(f"unexpected {token}, expected the name of a function after |", at=token.at)
        self._expect("(")
        return Call(token.at, token.text, self._arguments(token.text, left))

    # -- operands

    def _primary(self) -> Node:
        token = self._take()
        node: Node | None = None
        if token.kind == NUMBER or token.text in _CONSTANTS:
            return Literal(token.at, _CONSTANTS.get(token.text, token.value))
        if token.kind in (STRING, BYTES):
            node = Literal(token.at, token.value)
        elif token.kind == NAME:
            node = self._named(token)
        elif token.kind == OPERATOR:
            node = self._opened(token)
        if node is None:
            raise ConditionError(f"unexpected {token}", at=token.at)
        return self._postfix(node)

    def _opened(self, token: Token) -> Node | None:
        """What begins with a bracket, or stands for an item of a closure; None: nothing begins so."""
        node: Node | None = None
        if token.text == "(":
            node = self.sequence()
            self._expect(")")
        elif token.text == "[":
            node = ListOf(token.at, self._items("]"))
        elif token.text == "{":
            node = self._map(token.at)
        elif token.text == "#" and self._closures:
            node = self._pointer(token)
        elif token.text == "." and self._closures:
            self._next -= 1
            node = Pointer(token.at, "")
        return node

    def _named(self, token: Token) -> Node:
        if self._took("("):
            return Call(token.at, token.text, self._arguments(token.text, None))
        return Name(token.at, token.text)

    def _pointer(self, token: Token) -> Node:
        following = self._token
        if following.kind != NAME or following.at != token.at + 1:
            return Pointer(token.at, "")
        if following.text not in {"acc", "index"}:
            raise ConditionError(f"unknown #{following.text}, there are #, #index and #acc", at=token.at)
        self._take()
        return Pointer(token.at, following.text)

    def _arguments(self, name: str, first: Node | None) -> tuple[Node, ...]:
        found: list[Node] = [] if first is None else [first]
        while not self._took(")"):
            if name in TAKES_CLOSURE and len(found) == 1:
                found.append(self._closure())
            else:
                found.append(self._expression())
            if not self._is(")"):
                self._expect(",")
                if name in TAKES_CLOSURE and self._is(")"):
                    raise self._unexpected()
        return tuple(found)

    def _closure(self) -> Node:
        self._closures += 1
        at = self._token.at
        body = self._block() if self._is("{") else self._expression()
        self._closures -= 1
        return Closure(at, body)

    def _items(self, close: str) -> tuple[Node, ...]:
        items: list[Node] = []
        while not self._took(close):
            items.append(self._expression())
            if not self._is(close):
                self._expect(",")
        return tuple(items)

    def _map(self, at: int) -> Node:
        pairs: list[tuple[Node, Node]] = []
        while not self._took("}"):
            token = self._take()
            key: Node
            if token.kind == OPERATOR and token.text == "(":
                key = self.sequence()
                self._expect(")")
            elif token.kind in (NAME, NUMBER):
                key = Literal(token.at, token.text)
            elif token.kind == STRING:
                key = Literal(token.at, token.value)
            else:
                raise ConditionError(
                    f"unexpected {token}, expected a map's key: a name, a string, a number or (…)", at=token.at
                )
            self._expect(":")
            pairs.append((key, self._expression()))
            if not self._is("}"):
                self._expect(",")
        return MapOf(at, tuple(pairs))

    # -- what follows an operand

    def _postfix(self, node: Node) -> Node:
        deeper, optional = 0, isinstance(node, Chain)
        if isinstance(node, Chain):
            node = node.inner
        while self._token.kind == OPERATOR and self._token.text in {".", "?.", "["}:
            self._deeper()
            deeper += 1
            token = self._take()
            optional = optional or token.text == "?."
            if token.text == "[":
                node = self._index(node, token.at, optional=False)
            elif token.text == "?." and self._took("["):
                node = self._index(node, token.at, optional=True)
            else:
                node = self._field(node, token)
        self._depth -= deeper
        return Chain(node.at, node) if optional else node

    def _field(self, base: Node, dot: Token) -> Node:
        name = self._take()
        if name.kind != NAME:
            raise ConditionError(f"unexpected {name}, expected a name after {dot}", at=name.at)
        optional = dot.text == "?."
        if self._took("("):
            return Method(name.at, base, name.text, self._items(")"), optional)
        return Member(name.at, base, Literal(name.at, name.text), optional)

    def _index(self, base: Node, at: int, *, optional: bool) -> Node:
        low = None if self._is(":") else self._expression()
        if low is not None and self._took("]"):
            return Member(at, base, low, optional)
        self._expect(":")
        high = None if self._is("]") else self._expression()
        self._expect("]")
        return Slice(at, base, low, high)
