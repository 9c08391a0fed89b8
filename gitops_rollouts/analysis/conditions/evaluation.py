"""The value of a tree: a walk that counts what it visits.

Whatever values come, it ends with a value or a `ConditionError` that points at the token to blame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from gitops_rollouts.analysis.conditions import methods, operators, patterns
from gitops_rollouts.analysis.conditions.budget import Budget
from gitops_rollouts.analysis.conditions.functions import FUNCTIONS
from gitops_rollouts.analysis.conditions.functions.function import Setting
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
from gitops_rollouts.analysis.conditions.values import (
    TEXT_A_STEP,
    Groups,
    Vector,
    is_list,
    map_key,
    truncated,
    type_name,
)
from gitops_rollouts.errors import ConditionError

_ENV: Final = "$env"


class _Absent:
    """The base of an optional member is nil: so is the whole chain."""


_ABSENT: Final = _Absent()


class Evaluation:
    """One walk over one tree. ``names``: the environment; ``setting``: what functions may look at besides arguments."""

    def __init__(self, names: Mapping[str, Any], setting: Setting, budget: Budget) -> None:
        self.budget = budget
        self.setting = setting
        self._names = names
        self._variables: dict[str, Any] = {}
        self._pointers: list[tuple[Any, int, Any]] = []

    def value(self, node: Node) -> Any:
        """What the node is worth. A `ConditionError` points into the source."""
        budget = self.budget
        budget.visits -= 1
        if budget.visits < 0:
            budget.at = node.at
            budget.visit(0)
        try:
            return _VISIT[type(node)](self, node)
        except (TypeError, ValueError, OverflowError, ArithmeticError, LookupError) as error:
            raise ConditionError(str(error) or type(error).__name__, at=node.at) from None

    def each(self, closure: Node, items: Any) -> Iterator[tuple[Any, Any]]:
        """Each item with what the closure makes of it."""
        for index, item in enumerate(items):
            yield item, self.once(closure, item, index, None)

    def once(self, closure: Node, item: Any, index: int, accumulated: Any) -> Any:
        """What the closure makes of one item."""
        body = closure.body if isinstance(closure, Closure) else closure
        self._pointers.append((item, index, accumulated))
        try:
            return self.value(body)
        finally:
            self._pointers.pop()

    def chosen(self, closure: Node, items: Any) -> Iterator[tuple[int, Any, bool]]:
        """Each item with its index and whether the closure, which must say true or false, chooses it."""
        for index, item in enumerate(items):
            yield index, item, self._bool(self.once(closure, item, index, None))

    # -- one method a kind of node

    def _literal(self, node: Literal) -> Any:
        return node.value

    def _name(self, node: Name) -> Any:
        if node.name in self._variables:
            return self._variables[node.name]
        return dict(self._names) if node.name == _ENV else self._names[node.name]

    def _pointer(self, node: Pointer) -> Any:
        item, index, accumulated = self._pointers[-1]
        if not node.name:
            return item
        return index if node.name == "index" else accumulated

    def _unary(self, node: Unary) -> Any:
        operand = self.value(node.operand)
        if node.operator == "not":
            return not self._bool(operand)
        return operators.negated(operand) if node.operator == "-" else operand

    def _binary(self, node: Binary) -> Any:
        """A chain of operators is a tree that leans to the left; it is walked in a loop, not by recursion."""
        if type(node.left) is not Binary:
            return self._apply(node, self.value(node.left))
        spine = [node]
        while isinstance(spine[-1].left, Binary):
            spine.append(spine[-1].left)
        self.budget.at = node.at
        self.budget.visit(len(spine) - 1)
        left = self.value(spine[-1].left)
        for each in reversed(spine):
            try:
                left = self._apply(each, left)
            except (TypeError, ValueError, OverflowError, ArithmeticError) as error:
                raise ConditionError(str(error), at=each.at) from None
        return left

    def _apply(self, node: Binary, left: Any) -> Any:
        name = node.operator
        compute = _BINARY.get(name)
        if compute is None:
            return self._lazily(node, left)
        right = self.value(node.right)
        self.budget.at = node.at
        if type(left) is str or type(right) is str:
            self._look_through(left, right)
        return compute(left, right, self.budget)

    def _lazily(self, node: Binary, left: Any) -> Any:
        """The right side only if it matters."""
        if node.operator == "??":
            return left if left is not None else self.value(node.right)
        if self._bool(left) == (node.operator == "or"):
            return left
        return self._bool(self.value(node.right))

    def _compared(self, node: Compared) -> bool:
        left = self.value(node.first)
        for at, name, other in node.others:
            right = self.value(other)
            try:
                if not operators.ordered(name, left, right):
                    return False
            except TypeError as error:
                raise ConditionError(str(error), at=at) from None
            left = right
        return True

    @staticmethod
    def _bool(value: Any) -> bool:
        if value is True or value is False:
            return bool(value)
        raise TypeError(f"expected bool, but got {type_name(value)}")

    def _conditional(self, node: Conditional) -> Any:
        test = self._bool(self.value(node.test))
        if test:
            return True if node.then is None else self.value(node.then)
        return self.value(node.other)

    def _let(self, node: Let) -> Any:
        self._variables[node.name] = self.value(node.value)
        try:
            return self.value(node.body)
        finally:
            del self._variables[node.name]

    def _sequence(self, node: Sequence) -> Any:
        found = None
        for each in node.nodes:
            found = self.value(each)
        return found

    def _list(self, node: ListOf) -> Any:
        self.budget.at = node.at
        self.budget.make(len(node.items))
        return [self.value(item) for item in node.items]

    def _map(self, node: MapOf) -> Any:
        self.budget.at = node.at
        self.budget.make(len(node.pairs))
        made: dict[str, Any] = {}
        for key, item in node.pairs:
            name = self.value(key)
            if not isinstance(name, str):
                raise TypeError(f"a map's key must be a string, and this is a {type_name(name)}")
            made.setdefault(name, self.value(item))
        return made

    # -- members

    def _chain(self, node: Chain) -> Any:
        found = self.value(node.inner)
        return None if found is _ABSENT else found

    def _member(self, node: Member) -> Any:
        base = self.value(node.base)
        if base is _ABSENT or (base is None and node.optional):
            return _ABSENT
        key = self.value(node.key)
        if isinstance(base, dict):
            if type(base) is dict and not isinstance(key, str):
                raise TypeError(f"a {type_name(key)} is no key of a map")
            return base.get(map_key(key), [] if isinstance(base, Groups) else None)
        if not is_list(base):
            raise TypeError(f"cannot fetch {key if isinstance(key, (str, int)) else 'a member'} from {type_name(base)}")
        index = truncated(key) if isinstance(key, float) else key
        if type(index) is not int:
            raise TypeError(f"an item of a list has an integer for its index, not a {type_name(key)}")
        if not -len(base) <= index < len(base):
            raise TypeError(f"index out of range: {index} (array length is {len(base)})")
        return base[index]

    def _slice(self, node: Slice) -> Any:
        base = self.value(node.base)
        if base is _ABSENT:
            return _ABSENT
        if isinstance(base, str):
            return self._cut(base.encode("utf-8", "replace"), node).decode("utf-8", "replace")
        if not is_list(base):
            raise TypeError(f"cannot slice {type_name(base)}")
        found = self._cut(base, node)
        return Vector(found) if isinstance(base, Vector) else found

    def _cut(self, base: Any, node: Slice) -> Any:
        """A text is cut between bytes of its UTF-8, as in Go."""
        low, high = self._end(node.low, 0, len(base)), self._end(node.high, len(base), len(base))
        found = base[min(low, high) : high]
        self.budget.make(len(found))
        return found

    def _end(self, node: Node | None, absent: int, length: int) -> int:
        if node is None:
            return absent
        end = self.value(node)
        if isinstance(end, float):
            end = truncated(end)
        if type(end) is not int:
            raise TypeError(f"a slice goes from integer to integer, not to a {type_name(end)}")
        return max(0, min(length, end + length if end < 0 else end))

    # -- calls

    def _call(self, node: Call) -> Any:
        function = FUNCTIONS[node.name]
        self.budget.at = node.at
        if function.closes:
            return function.run(self, node)
        found = [self.value(argument) for argument in node.arguments]
        self.budget.at = node.at
        self._look_through(*found)
        return function.run(self, found)

    def _look_through(self, *operands: Any) -> None:
        """Long texts cost more than short ones."""
        for operand in operands:
            if isinstance(operand, str) and len(operand) >= TEXT_A_STEP:
                self.budget.visit(len(operand) // TEXT_A_STEP)

    def _method(self, node: Method) -> Any:
        base = self.value(node.base)
        if base is _ABSENT or (base is None and node.optional):
            return _ABSENT
        return methods.call(base, node.name, [self.value(argument) for argument in node.arguments])


def _matches(left: Any, right: Any, budget: Budget) -> bool:
    if left is None or right is None:
        return False
    text, pattern = operators.text_pair("matches", left, right)
    return bool(patterns.compiled(pattern, budget.at).search(text))


def _text(name: str, test: Callable[[str, str], bool]) -> Callable[[Any, Any, Budget], bool]:
    """Nothing contains nil, and nil nothing."""
    return lambda left, right, _: None not in (left, right) and test(*operators.text_pair(name, left, right))


_BINARY: Final[dict[str, Callable[[Any, Any, Budget], Any]]] = {
    "+": operators.add,
    "-": lambda left, right, _: operators.subtract(left, right),
    "*": lambda left, right, _: operators.multiply(left, right),
    "/": lambda left, right, _: operators.divide(left, right),
    "%": lambda left, right, _: operators.modulo(left, right),
    "**": lambda left, right, _: operators.power(left, right),
    "==": operators.same,
    "!=": lambda left, right, budget: not operators.same(left, right, budget),
    "<": lambda left, right, _: operators.ordered("<", left, right),
    "<=": lambda left, right, _: operators.ordered("<=", left, right),
    ">": lambda left, right, _: operators.ordered(">", left, right),
    ">=": lambda left, right, _: operators.ordered(">=", left, right),
    "..": operators.span_of_ints,
    "in": operators.contained,
    "matches": _matches,
    "contains": _text("contains", lambda text, part: part in text),
    "startsWith": _text("startsWith", str.startswith),
    "endsWith": _text("endsWith", str.endswith),
}
_VISIT: Final[dict[type[Node], Callable[[Evaluation, Any], Any]]] = {
    Literal: Evaluation._literal,
    Name: Evaluation._name,
    Pointer: Evaluation._pointer,
    Unary: Evaluation._unary,
    Binary: Evaluation._binary,
    Compared: Evaluation._compared,
    Conditional: Evaluation._conditional,
    Let: Evaluation._let,
    Sequence: Evaluation._sequence,
    ListOf: Evaluation._list,
    MapOf: Evaluation._map,
    Chain: Evaluation._chain,
    Member: Evaluation._member,
    Slice: Evaluation._slice,
    Call: Evaluation._call,
    Method: Evaluation._method,
}
