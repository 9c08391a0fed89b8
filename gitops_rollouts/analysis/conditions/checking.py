"""What is wrong with a condition before it is evaluated: unknown names, wrong arguments, types that don't fit.

The types are those of the actual result. An error here holds whichever way the evaluation would go, so that
``len(result) == 0 || result > 1`` is refused for a list, empty or not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from gitops_rollouts.analysis.conditions import kinds
from gitops_rollouts.analysis.conditions.functions import FUNCTIONS, environment
from gitops_rollouts.analysis.conditions.functions.function import Function
from gitops_rollouts.analysis.conditions.kinds import ANY, BOOL, ENVIRONMENT, INT, NIL, STRING, Kind
from gitops_rollouts.analysis.conditions.methods import METHODS
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

_ARITHMETIC: Final = frozenset({"+", "-", "*", "/", "%", "**"})
_TEXT: Final = frozenset({"contains", "startsWith", "endsWith", "matches"})
_KNOWN: Final = {"map": frozenset({"index"}), "reduce": frozenset({"index", "acc"})}


def check(node: Node, names: Mapping[str, Kind], functions: frozenset[str]) -> Kind:
    """The type of a whole condition. ``names``: the environment's variables; ``functions``: those it may call."""
    return _Check(names, functions).kind(node)


class _Check:
    """One walk over a tree. ``_items``: what the items of open closures are, and what else each knows."""

    def __init__(self, names: Mapping[str, Kind], functions: frozenset[str]) -> None:
        self._names = names
        self._functions = functions
        self._variables: dict[str, Kind] = {}
        self._items: list[tuple[Kind, frozenset[str]]] = []

    def kind(self, node: Node) -> Kind:
        return _VISIT[type(node)](self, node)

    def _literal(self, node: Literal) -> Kind:
        return kinds.kind_of(node.value)

    def _name(self, node: Name) -> Kind:
        if node.name in self._variables:
            return self._variables[node.name]
        if node.name in self._names:
            return self._names[node.name]
        if node.name == "$env":
            return ENVIRONMENT
        if node.name in self._functions:
            raise ConditionError(f"{node.name} is a function, call it as {node.name}(…)", at=node.at)
        raise ConditionError(f"unknown name {node.name}", at=node.at)

    def _pointer(self, node: Pointer) -> Kind:
        item, known = self._items[-1]
        if node.name and node.name not in known:
            raise ConditionError(f"#{node.name} isn't known here", at=node.at)
        return {"": item, "index": INT, "acc": ANY}[node.name]

    def _unary(self, node: Unary) -> Kind:
        kind = self.kind(node.operand)
        if node.operator == "not":
            return self._must(kind in (BOOL, ANY), BOOL, node, kind)
        return self._must(kinds.numeric(kind), kind, node, kind)

    def _must(self, fits: bool, kind: Kind, node: Unary, operand: Kind) -> Kind:
        if not fits:
            raise ConditionError(f"invalid operation: {node.operator} (mismatched type {operand})", at=node.at)
        return kind

    # -- operators

    def _binary(self, node: Binary) -> Kind:
        spine = [node]
        while isinstance(spine[-1].left, Binary):
            spine.append(spine[-1].left)
        left = self.kind(spine[-1].left)
        for each in reversed(spine):
            left = self._operation(each, left, self.kind(each.right))
        return left

    def _operation(self, node: Binary, left: Kind, right: Kind) -> Kind:
        name = node.operator
        if name == "??":
            return kinds.united(left, right)
        if name == "in":
            return self._in(node, left, right)
        if name in _ARITHMETIC:
            found = kinds.arithmetic(name, left, right)
        else:
            found = BOOL if self._fits(name, left, right) else None
            if name == ".." and found:
                found = kinds.INTS
        if found is None:
            raise self._mismatch(node.at, name, left, right)
        if name == "%" and isinstance(node.right, Literal) and node.right.value == 0:
            raise ConditionError("integer divide by zero", at=node.at)
        return found

    @staticmethod
    def _fits(name: str, left: Kind, right: Kind) -> bool:
        if name in {"and", "or"}:
            return left in (BOOL, ANY) and right in (BOOL, ANY)
        if name in {"==", "!="}:
            return kinds.comparable(left, right)
        if name in _TEXT:
            return left in (STRING, ANY) and right in (STRING, ANY)
        if name == "..":
            return left in (INT, ANY) and right in (INT, ANY)
        return kinds.ordered(left, right)

    @staticmethod
    def _mismatch(at: int, name: str, left: Kind, right: Kind) -> ConditionError:
        return ConditionError(f"invalid operation: {name} (mismatched types {left} and {right})", at=at)

    def _in(self, node: Binary, left: Kind, right: Kind) -> Kind:
        if right == ENVIRONMENT or right.name == "map":
            if left not in (STRING, ANY) and (right == ENVIRONMENT or right.text_keys):
                raise ConditionError(f"the map's keys are strings, and this is a {left}", at=node.at)
        elif right.name == "array":
            if left != NIL and not kinds.comparable(left, right.item):
                raise ConditionError(f"the list holds {right.item}, and this is a {left}", at=node.at)
        elif right not in (ANY, kinds.BYTES):
            raise self._mismatch(node.at, "in", left, right)
        return BOOL

    def _compared(self, node: Compared) -> Kind:
        left = self.kind(node.first)
        for at, name, other in node.others:
            right = self.kind(other)
            if not kinds.ordered(left, right):
                raise self._mismatch(at, name, left, right)
            left = right
        return BOOL

    def _conditional(self, node: Conditional) -> Kind:
        test = self.kind(node.test)
        if test not in (BOOL, ANY):
            raise ConditionError(f"a {test} is used as a condition", at=node.test.at)
        then = test if node.then is None else self.kind(node.then)
        return kinds.united(then, self.kind(node.other))

    # -- structure

    def _let(self, node: Let) -> Kind:
        if node.name in self._variables or node.name in self._names or node.name in self._functions:
            raise ConditionError(f"{node.name} can't be declared, it is known already", at=node.at)
        self._variables[node.name] = self.kind(node.value)
        found = self.kind(node.body)
        del self._variables[node.name]
        return found

    def _sequence(self, node: Sequence) -> Kind:
        return [self.kind(each) for each in node.nodes][-1]

    def _list(self, node: ListOf) -> Kind:
        found = {self.kind(item) for item in node.items}
        return kinds.list_of(found.pop()) if len(found) == 1 else kinds.LIST

    def _map(self, node: MapOf) -> Kind:
        for key, value in node.pairs:
            kind = self.kind(key)
            if kind not in (STRING, ANY):
                raise ConditionError(f"a map's key must be a string, and this is a {kind}", at=key.at)
            self.kind(value)
        return kinds.MAP

    def _chain(self, node: Chain) -> Kind:
        self.kind(node.inner)
        return ANY

    def _member(self, node: Member) -> Kind:
        base, key = self.kind(node.base), self.kind(node.key)
        named = node.key.value if isinstance(node.key, Literal) else None
        if base == ENVIRONMENT:
            if not isinstance(named, str):
                return ANY
            if named not in self._names and named not in environment.FUNCTIONS and not node.optional:
                raise ConditionError(f"unknown name {named}", at=node.at)
            return self._names.get(named, ANY)
        if base == ANY:
            return ANY
        if base.name in {"map", "array"} or base == kinds.BYTES:
            self._key(base, key, node.at)
            return INT if base == kinds.BYTES else base.item
        raise ConditionError(
            f"type {base} has no {f'field {named}' if isinstance(named, str) else 'items'}", at=node.at
        )

    @staticmethod
    def _key(base: Kind, key: Kind, at: int) -> None:
        if base.name == "map" and base.text_keys and key not in (STRING, ANY, NIL):
            raise ConditionError(f"a {key} is no key of a {base}", at=at)
        if (base.name == "array" or base == kinds.BYTES) and key not in (INT, ANY):
            raise ConditionError(f"an item of a list has an integer for its index, not a {key}", at=at)

    def _slice(self, node: Slice) -> Kind:
        base = self.kind(node.base)
        if not kinds.may_be_list(base) and base != STRING:
            raise ConditionError(f"cannot slice {base}", at=node.at)
        for end in (node.low, node.high):
            if end is not None and (kind := self.kind(end)) not in (INT, ANY) and base != ANY:
                raise ConditionError(f"a slice goes from integer to integer, not to a {kind}", at=end.at)
        return base

    # -- calls

    def _call(self, node: Call) -> Kind:
        if node.name not in self._functions:
            if node.name in self._variables or node.name in self._names:
                raise ConditionError(f"{node.name} is no function", at=node.at)
            raise ConditionError(f"unknown function {node.name}", at=node.at)
        function = FUNCTIONS[node.name]
        self._arity(node, function)
        found: list[Kind] = []
        for index, argument in enumerate(node.arguments):
            if isinstance(argument, Closure):
                self._items.append((found[0].item if found else ANY, _KNOWN.get(node.name, frozenset())))
                kind = self.kind(argument.body)
                self._items.pop()
            else:
                kind = self.kind(argument)
            test = function.tests[min(index, len(function.tests) - 1)]
            if not test(kind):
                raise ConditionError(f"{node.name} does not take a {kind} as argument {index + 1}", at=argument.at)
            if isinstance(argument, Closure) and function.chooses and kind not in (BOOL, ANY):
                raise ConditionError(f"{node.name} asks for true or false, not for a {kind}", at=argument.at)
            found.append(kind)
        if node.name == "get":
            self._key(found[0], found[1], node.arguments[1].at)
        return function.returns(found)

    @staticmethod
    def _arity(node: Call, function: Function) -> None:
        least, most = len(function.tests) - function.optional, len(function.tests)
        if len(node.arguments) >= least and (function.repeats or len(node.arguments) <= most):
            return
        expected = f"at least {least}" if function.repeats else str(least) if least == most else f"{least} to {most}"
        raise ConditionError(f"{node.name} takes {expected} arguments, not {len(node.arguments)}", at=node.at)

    def _method(self, node: Method) -> Kind:
        base = self.kind(node.base)
        arguments = tuple(self.kind(argument) for argument in node.arguments)
        if base == ANY or base.name == "map":
            return ANY
        method = METHODS.get(base, {}).get(node.name)
        if method is None:
            raise ConditionError(f"type {base} has no method {node.name}", at=node.at)
        if len(arguments) != len(method.takes) or any(
            given not in (taken, ANY) for given, taken in zip(arguments, method.takes, strict=True)
        ):
            expected = ", ".join(map(str, method.takes)) or "no arguments"
            raise ConditionError(f"{node.name} takes {expected}", at=node.at)
        return method.returns


_VISIT: Final[dict[type[Node], Callable[[_Check, Any], Kind]]] = {
    Literal: _Check._literal,
    Name: _Check._name,
    Pointer: _Check._pointer,
    Unary: _Check._unary,
    Binary: _Check._binary,
    Compared: _Check._compared,
    Conditional: _Check._conditional,
    Let: _Check._let,
    Sequence: _Check._sequence,
    ListOf: _Check._list,
    MapOf: _Check._map,
    Chain: _Check._chain,
    Member: _Check._member,
    Slice: _Check._slice,
    Call: _Check._call,
    Method: _Check._method,
}
