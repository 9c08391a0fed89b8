"""How Kubernetes' YAML library turns a scalar into a value, which differs from YAML 1.1 and from YAML 1.2.

``y`` is true, ``1e3`` is 1000, ``0o14`` and ``014`` are 12, ``1:30`` and ``2026-01-01`` are strings. Checked against
``kubectl annotate --local`` by a test. Source: docs/behaviour.md §1 asks for YAML as Kubernetes reads it.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from typing import Any, Final

TAG_PREFIX: Final = "tag:yaml.org,2002:"

_WORDS: Final[dict[str, Any]] = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
}
_FIRST: Final = frozenset("+-0123456789.")
_INT: Final = re.compile(r"([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|0[oO]?([0-7]+)|(0|[1-9][0-9]*))\Z", re.ASCII)
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z", re.ASCII)
_POINT_FIRST: Final = re.compile(r"\.[0-9]+(?:[eE][-+]?[0-9]+)?\Z", re.ASCII)
_LONGEST_NUMBER: Final = 400
"""No number that fits 64 bits is longer; the cap keeps conversions of hostile digits cheap."""
_BASES: Final = ((2, 16), (3, 2), (4, 8), (5, 10))


class ScalarError(ValueError):
    """A tagged scalar doesn't fit its tag. The message is a phrase without position."""


def plain(text: str) -> Any:
    """The value of an untagged plain scalar: None, bool, int, float or str."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _FIRST or len(text) > _LONGEST_NUMBER:
        return text
    if text[0] == ".":
        return _float(text) if _POINT_FIRST.match(text) else text
    digits = text.replace("_", "")
    number = _int(digits)
    if number is not None:
        return number
    return _float(digits, text) if _FLOAT.match(digits) else text


def tagged(tag: str, text: str) -> Any:
    """The value of a scalar with an explicit tag. Raises `ScalarError`. An unknown tag means a string, as in Go."""
    kind = tag.removeprefix(TAG_PREFIX) if tag.startswith(TAG_PREFIX) else "str"
    if kind == "binary":
        try:
            return base64.b64decode("".join(text.split()), validate=True).decode("utf-8")
        except (binascii.Error, UnicodeDecodeError) as err:
            raise ScalarError("the value tagged !!binary isn't base64 of UTF-8 text") from err
    value = plain(text) if kind in {"int", "float", "bool", "null"} else text
    if kind == "float" and isinstance(value, int) and not isinstance(value, bool):
        return value
    wanted: dict[str, type | tuple[type, ...]] = {"int": int, "float": float, "bool": bool, "null": type(None)}
    if kind in wanted and (not isinstance(value, wanted[kind]) or (kind == "int" and isinstance(value, bool))):
        raise ScalarError(f"the value can't be read as !!{kind}")
    return value


def key(value: Any) -> str:
    """A mapping key as JSON needs it: Go writes numbers and booleans out. Raises `ScalarError`."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _float_key(value)
    raise ScalarError("a mapping key must be a string, a number or a boolean")


def _int(digits: str) -> int | float | None:
    match = _INT.match(digits)
    if match is None:
        return None
    magnitude = next(int(match[group], base) for group, base in _BASES if match[group] is not None)
    value = -magnitude if match[1] == "-" else magnitude
    if -(2**63) <= value < 2**63:
        return value
    if match[5] is None and (value < 0 or value >= 2**64):
        return None  # Go has no float syntax for these, so the scalar stays a string
    return float(value)


def _float(digits: str, original: str | None = None) -> int | float | str:
    value = float(digits)
    if math.isinf(value):
        return original if original is not None else digits
    if value.is_integer() and -(2.0**63) <= value < 2.0**63:
        return int(value)  # JSON has no 1000.0: Go prints 1000 and reads an integer back
    return value


def _float_key(value: float) -> str:
    if math.isnan(value):
        return ".nan"
    if math.isinf(value):
        return ".inf" if value > 0 else "-.inf"
    return repr(value)
