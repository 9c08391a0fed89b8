"""What Go would make of a JSON value: decode it into a Go type and write it again (docs/behaviour.md §6).

A type is described by its fields in Go's order; ``goshape/main.go`` says how. Decoding is total: an unknown key is
dropped, and a value of a wrong type is as if absent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from gitops_rollouts.api.meta import Raw, format_time, parse_time
from gitops_rollouts.api.quantity import canonical_quantity, go_number

Types = Mapping[str, Sequence[Sequence[str]]]
"""Name → fields, each (JSON name, kind, flag)."""
Hook = Callable[[Raw], None]
"""Changes an encoded struct in place; how defaults are filled in."""

_WRONG: Final = object()
_INT64: Final = 2**63
_DEEPEST: Final = 100
"""What is nested deeper in a plugin's configuration is as if absent."""
_ESCAPES: Final = (
    (b"<", b"\\u003c"),
    (b">", b"\\u003e"),
    (b"&", b"\\u0026"),
    ("\u2028".encode(), b"\\u2028"),
    ("\u2029".encode(), b"\\u2029"),
)


@dataclass(frozen=True, slots=True)
class _Kind:
    """How to convert a value (`_WRONG`: it has a wrong type), the zero value, and when omitempty leaves it out."""

    convert: Callable[[Any], Any]
    zero: Callable[[], Any]
    omit: Callable[[Any], bool]


class GoTypes:
    """A family of Go types. ``hooks`` by type name are called on every struct after its fields were converted."""

    def __init__(self, types: Types, hooks: Mapping[str, Hook] | None = None) -> None:
        self._types = types
        self._hooks = hooks or {}
        self._kinds: dict[str, _Kind] = {}

    def convert(self, name: str, raw: Any) -> Raw:
        """``raw`` as Go would write it after decoding it into the struct ``name``; keys in Go's order."""
        kind = self._kind(f"@{name}")
        converted = kind.convert(raw)
        return kind.zero() if converted is _WRONG else converted  # type: ignore[no-any-return]

    def convert_list(self, name: str, raw: Any) -> list[Raw] | None:
        """The same for a slice of that struct; None if there is no list."""
        converted = self._kind(f"[@{name}").convert(raw)
        return None if converted is _WRONG else converted

    def _kind(self, kind: str) -> _Kind:
        known = self._kinds.get(kind)
        if known is None:
            known = self._kinds[kind] = self._compile(kind)
        return known

    def _compile(self, kind: str) -> _Kind:
        match kind[0]:
            case "*":
                inner = self._kind(kind[1:])
                return _Kind(lambda raw: None if raw is None else inner.convert(raw), _nil, _is_nil)
            case "[":
                return _Kind(_slice(self._kind(kind[1:])), _nil, _is_empty)
            case "{":
                return _Kind(_map(self._kind(kind[1:])), _nil, _is_empty)
            case "@":
                convert = self._struct(kind[1:])
                return _Kind(convert, lambda: convert({}), _never)
            case _:
                return _SCALARS[kind]

    def _struct(self, name: str) -> Callable[[Any], Any]:
        fields = [(field[0], self._kind(field[1]), field[2]) for field in self._types[name]]
        hook = self._hooks.get(name)

        def convert(raw: Any) -> Any:
            if raw is None:
                raw = {}
            if not isinstance(raw, Mapping):
                return _WRONG
            written: Raw = {}
            for key, kind, flag in fields:
                value = kind.convert(raw[key]) if key in raw else _WRONG
                if value is _WRONG:
                    value = kind.zero()
                if not ((flag == "e" and kind.omit(value)) or (flag == "z" and value is None)):
                    written[key] = value
            if hook is not None:
                hook(written)
            return written

        return convert


def encode_go(value: Any) -> bytes:
    """Compact JSON as Go's encoder writes it: HTML characters and line separators escaped."""
    encoded = orjson.dumps(value)
    for plain, escaped in _ESCAPES:
        encoded = encoded.replace(plain, escaped)
    return encoded


def _nil() -> None:
    return None


def _is_nil(value: Any) -> bool:
    return value is None


def _is_empty(value: Any) -> bool:
    return not value


def _never(_: Any) -> bool:
    return False


def _slice(item: _Kind) -> Callable[[Any], Any]:
    def convert(raw: Any) -> Any:
        if raw is None:
            return None
        if not isinstance(raw, list | tuple):
            return _WRONG
        return [item.zero() if value is _WRONG else value for value in map(item.convert, raw)]

    return convert


def _map(item: _Kind) -> Callable[[Any], Any]:
    def convert(raw: Any) -> Any:
        if raw is None:
            return None
        if not isinstance(raw, Mapping):
            return _WRONG
        pairs = ((_text(key), item.convert(raw[key])) for key in sorted(key for key in raw if isinstance(key, str)))
        return {key: value for key, value in pairs if value is not _WRONG}

    return convert


def _text(raw: Any) -> Any:
    if raw is None:
        return ""
    if not isinstance(raw, str):
        return _WRONG
    if raw.isascii():
        return raw
    return raw.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _boolean(raw: Any) -> Any:
    if raw is None:
        return False
    return raw if isinstance(raw, bool) else _WRONG


def _integer(bits: int) -> Callable[[Any], Any]:
    limit = 2 ** (bits - 1)

    def convert(raw: Any) -> Any:
        if raw is None:
            return 0
        if isinstance(raw, float) and raw.is_integer():
            raw = int(raw)
        return raw if isinstance(raw, int) and not isinstance(raw, bool) and -limit <= raw < limit else _WRONG

    return convert


def _quantity(raw: Any) -> Any:
    if raw is None:
        return "0"
    if isinstance(raw, bool) or not isinstance(raw, str | int | float):
        return _WRONG
    try:
        return canonical_quantity(raw)
    except ValueError:
        return _WRONG


def _int_or_string(raw: Any) -> Any:
    return _text(raw) if isinstance(raw, str) else _integer(32)(raw)


def _moment(raw: Any) -> Any:
    if raw is None:
        return None
    try:
        return format_time(parse_time(raw)) if isinstance(raw, str) else _WRONG
    except ValueError:
        return _WRONG


def _any(raw: Any, depth: int = 0) -> Any:
    if depth > _DEEPEST:
        return None
    if isinstance(raw, Mapping):
        return {_text(key): _any(raw[key], depth + 1) for key in sorted(key for key in raw if isinstance(key, str))}
    if isinstance(raw, list | tuple):
        return [_any(item, depth + 1) for item in raw]
    return _text(raw) if isinstance(raw, str) else _number(raw)


def _number(raw: Any) -> Any:
    """Floats, and integers beyond 64 bits, as Go writes a float; everything else as it is."""
    whole = isinstance(raw, int) and (isinstance(raw, bool) or -_INT64 <= raw < _INT64)
    if whole or not isinstance(raw, int | float):
        return raw
    try:
        return orjson.Fragment(go_number(float(raw)))
    except (ValueError, OverflowError):
        return None


_SCALARS: Final[Mapping[str, _Kind]] = {
    "s": _Kind(_text, str, _is_empty),
    "b": _Kind(_boolean, bool, _is_empty),
    "i": _Kind(_integer(32), int, _is_empty),
    "I": _Kind(_integer(64), int, _is_empty),
    "q": _Kind(_quantity, lambda: "0", _never),
    "n": _Kind(_int_or_string, int, _never),
    "t": _Kind(_moment, _nil, _never),
    "x": _Kind(_any, _nil, _is_nil),
}
