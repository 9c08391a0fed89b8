"""From the source of a condition to tokens."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from gitops_rollouts.errors import ConditionError

NUMBER: Final = "number"
STRING: Final = "string"
BYTES: Final = "bytes"
NAME: Final = "name"
OPERATOR: Final = "operator"
END: Final = "end"

WORD_OPERATORS: Final = frozenset(
    {"in", "not", "and", "or", "matches", "contains", "startsWith", "endsWith", "let", "if", "else"}
)
MAX_SOURCE: Final = 4096
"""Bytes of a condition's source."""
MAX_INT: Final = 2**63 - 1

_SPACE = re.compile(r"[\s\u0085]+")
_WORD = re.compile(r"[^\W\d]\w*|\$\w*")
_RADIX = re.compile(r"0(?:[xX][0-9a-fA-F_]*|[bB][01_]*|[oO][0-7_]*)")
_DECIMAL = re.compile(r"(?:\d[\d_]*)?(?:\.(?!\.)[\d_]*)?(?:[eE][+-]?[\d_]*)?")
_OPERATOR = re.compile(r"\.\.|\?\.|\?\?|\*\*|==|!=|<=|>=|&&|\|\||[-+*/%^<>!?:;,.|#(){}\[\]=&]")
_HEX_LENGTH: Final = {"x": 2, "u": 4, "U": 8}
_PLAIN_ESCAPES: Final = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", '"': '"', "'": "'",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Token:
    """``text``: as it is written, for names and operators; ``value``: of a literal."""

    kind: str
    text: str
    at: int
    value: Any = None

    def __str__(self) -> str:
        return "the end" if self.kind == END else f'"{self.text}"'


def tokenize(source: str) -> list[Token]:
    """All tokens, an END last. A source that is no sequence of tokens, or too long, is a `ConditionError`."""
    if len(source) > MAX_SOURCE or len(source.encode("utf-8", "surrogatepass")) > MAX_SOURCE:
        raise ConditionError(f"the condition is longer than {MAX_SOURCE} bytes")
    tokens: list[Token] = []
    at = _skip(source, 0)
    while at < len(source):
        token, at = _next(source, at, tokens)
        tokens.append(token)
        at = _skip(source, at)
    tokens.append(Token(END, "", len(source)))
    return tokens


def _skip(source: str, at: int) -> int:
    """Over white space and comments."""
    while True:
        start = at
        if found := _SPACE.match(source, at):
            at = found.end()
        if source.startswith("//", at):
            end = source.find("\n", at)
            at = len(source) if end < 0 else end
        elif source.startswith("/*", at):
            end = source.find("*/", at + 2)
            if end < 0:
                raise ConditionError("unclosed comment", at=at)
            at = end + 2
        if at == start:
            return at


def _next(source: str, at: int, before: list[Token]) -> tuple[Token, int]:
    char = source[at]
    if char in "\"'":
        value, end = _quoted(source, at + 1, char)
        return Token(STRING, source[at:end], at, value), end
    if char == "`":
        return _raw(source, at)
    if char in "bB" and source[at + 1 : at + 2] in ('"', "'"):
        raw, end = _quoted_bytes(source, at + 2, source[at + 1])
        return Token(BYTES, source[at:end], at, raw), end
    if char.isdecimal() or (char == "." and _digit(source, at + 1) and not source.startswith("..", at)):
        return _number(source, at)
    if found := _WORD.match(source, at):
        text = found.group()
        word_operator = text in WORD_OPERATORS and not (before and before[-1].text in {".", "?."})
        return Token(OPERATOR if word_operator else NAME, text, at), found.end()
    if found := _OPERATOR.match(source, at):
        return Token(OPERATOR, found.group(), at), found.end()
    raise ConditionError(f"unrecognized character {char!r}", at=at)


def _digit(source: str, at: int) -> bool:
    return source[at : at + 1].isascii() and source[at : at + 1].isdigit()


def _number(source: str, at: int) -> tuple[Token, int]:
    found = _RADIX.match(source, at) or _DECIMAL.match(source, at)
    end = found.end() if found else at
    text = source[at:end]
    if end < len(source) and (source[end].isalnum() or source[end] == "_"):
        raise ConditionError(f'bad number syntax "{source[at : end + 1]}"', at=at)
    digits = text.replace("_", "")
    try:
        value: int | float
        if digits[:1] == "0" and digits[1:2] in set("xXbBoO") - {""}:
            value = int(digits, 0)
        elif set(".eE") & set(digits):
            value = float(digits)
        else:
            value = int(digits)
    except ValueError:
        raise ConditionError(f'bad number syntax "{text}"', at=at) from None
    if (value > MAX_INT and isinstance(value, int)) or value == float("inf"):
        raise ConditionError(f"the number {text} is out of range", at=at)
    return Token(NUMBER, text, at, value), end


def _raw(source: str, at: int) -> tuple[Token, int]:
    """A string in backticks; two of them stand for one."""
    parts: list[str] = []
    start = at + 1
    while True:
        end = source.find("`", start)
        if end < 0:
            raise ConditionError("literal not terminated", at=at)
        parts.append(source[start:end])
        if not source.startswith("``", end):
            return Token(STRING, source[at : end + 1], at, "`".join(parts)), end + 1
        start = end + 2


def _quoted(source: str, at: int, quote: str) -> tuple[str, int]:
    parts: list[str] = []
    start = at - 1
    while True:
        char = source[at : at + 1]
        if char in ("", "\n"):
            raise ConditionError("literal not terminated", at=start)
        if char == quote:
            return "".join(parts), at + 1
        if char != "\\":
            parts.append(char)
            at += 1
            continue
        code, at = _escape(source, at, quote)
        is_text = code <= 0x10FFFF and not 0xD800 <= code < 0xE000
        parts.append(chr(code) if is_text else "\ufffd")


def _escape(source: str, at: int, quote: str) -> tuple[int, int]:
    """The code that the escape at this backslash stands for, and where it ends."""
    char = source[at + 1 : at + 2]
    if char in _PLAIN_ESCAPES and (char not in "\"'" or char == quote):
        return ord(_PLAIN_ESCAPES[char]), at + 2
    if char in _HEX_LENGTH:
        if char == "u" and source[at + 2 : at + 3] == "{":
            end = source.find("}", at)
            digits = source[at + 3 : max(end, 0)]
            end += 1
        else:
            end = at + 2 + _HEX_LENGTH[char]
            digits = source[at + 2 : end]
        short = end - at - 2 < _HEX_LENGTH[char] and "{" not in source[at + 2 : at + 3]
        if (
            re.fullmatch("[0-9a-fA-F]{1,8}", digits)
            and not short
            and len(source) >= end
            and int(digits, 16) <= 0x10FFFF
        ):
            return int(digits, 16), end
    elif re.fullmatch("[0-3][0-7]{2}", source[at + 1 : at + 4]):
        return int(source[at + 1 : at + 4], 8), at + 4
    raise ConditionError("invalid escape in a string", at=at)


def _quoted_bytes(source: str, at: int, quote: str) -> tuple[bytes, int]:
    parts = bytearray()
    start = at - 2
    while True:
        char = source[at : at + 1]
        if char in ("", "\n"):
            raise ConditionError("literal not terminated", at=start)
        if char == quote:
            return bytes(parts), at + 1
        if char != "\\":
            parts += char.encode("utf-8", "replace")
            at += 1
            continue
        if source[at + 1 : at + 2] in ("u", "U"):
            raise ConditionError("bytes have no \\u escapes, use \\x", at=at)
        code, at = _escape(source, at, quote)
        parts.append(code)
