"""How values read as text: Go's ``%v``, and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final

from gitops_rollouts.analysis.conditions import times
from gitops_rollouts.analysis.conditions.values import (
    MONTHS,
    WEEKDAYS,
    Groups,
    Moment,
    Month,
    Span,
    Weekday,
    Zone,
    is_list,
    key_value,
)

_ESCAPED: Final = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def float_text(number: float) -> str:
    """A float as Go's ``%v`` writes it: 1, 1.5, 1e+06."""
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "+Inf" if number > 0 else "-Inf"
    digits, exponent = _digits(number)
    sign = "-" if math.copysign(1.0, number) < 0 else ""
    decimal_exponent = exponent + len(digits) - 1
    if not -4 <= decimal_exponent < 6:
        return sign + _scientific(digits, decimal_exponent, 2)
    return sign + _plain(digits, exponent)


def json_float(number: float) -> str:
    """A float as Go's JSON writes it: 1e+21 and 1e-7, but 100000000."""
    digits, exponent = _digits(number)
    sign = "-" if math.copysign(1.0, number) < 0 else ""
    if number != 0 and not 1e-6 <= abs(number) < 1e21:
        return sign + _scientific(digits, exponent + len(digits) - 1, 1)
    return sign + _plain(digits, exponent)


def _digits(number: float) -> tuple[str, int]:
    """The shortest digits that stand for it, and the power of ten that they are multiplied with."""
    _, digits, exponent = Decimal(repr(abs(number))).as_tuple()
    text = "".join(map(str, digits)).lstrip("0")
    stripped = text.rstrip("0")
    return (stripped or "0"), (int(exponent) + len(text) - len(stripped) if stripped else 0)


def _scientific(digits: str, exponent: int, least: int) -> str:
    fraction = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{digits[0]}{fraction}e{'-' if exponent < 0 else '+'}{abs(exponent):0{least}d}"


def _plain(digits: str, exponent: int) -> str:
    if exponent >= 0:
        return digits + "0" * exponent
    if len(digits) > -exponent:
        return f"{digits[:exponent]}.{digits[exponent:]}"
    return "0." + "0" * (-exponent - len(digits)) + digits


def plain(value: Any) -> str:  # noqa: PLR0911 -- one line a type
    """A value as Go's ``%v`` writes it: ``[1 a]``, ``map[a:1]``, ``<nil>``."""
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Month):
        return MONTHS[(value - 1) % 12]
    if isinstance(value, Weekday):
        return WEEKDAYS[value % 7]
    if isinstance(value, float):
        return float_text(value)
    if is_list(value):
        return "[" + " ".join(map(plain, value)) + "]"
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{plain(item)}" for key, item in _sorted(value)) + "]"
    if isinstance(value, Span):
        return duration_text(value)
    if isinstance(value, (Moment, Zone)):
        return times.text(value) if isinstance(value, Moment) else value.name
    return str(value)


def _sorted(value: dict[Any, Any]) -> list[tuple[str, Any]]:
    return sorted(((plain(key_value(key)), item) for key, item in value.items()), key=lambda pair: pair[0])


def json_text(value: Any) -> str:
    """Indented JSON as Go writes it. ValueError: it holds what JSON doesn't."""
    return "".join(_json(value, "\n"))


def _json(value: Any, line: str) -> Iterator[str]:
    if isinstance(value, bytes):
        yield f'"{_base64(value)}"'
    elif is_list(value):
        yield from _json_items("[", "]", [("", item) for item in value], line)
    elif isinstance(value, dict):
        if any(not isinstance(key, str) for key in value) or isinstance(value, Groups):
            raise ValueError("a map whose keys are no strings is no JSON")
        yield from _json_items("{", "}", [(json_string(key) + ": ", value[key]) for key in sorted(value)], line)
    else:
        yield _json_scalar(value)


def _json_items(opening: str, closing: str, items: list[tuple[str, Any]], line: str) -> Iterator[str]:
    if not items:
        yield opening + closing
        return
    inner = line + "  "
    for number, (prefix, item) in enumerate(items):
        yield (opening if number == 0 else ",") + inner + prefix
        yield from _json(item, inner)
    yield line + closing


def _json_scalar(value: Any) -> str:
    written = "{}"
    if value is None or isinstance(value, bool):
        written = {None: "null", True: "true", False: "false"}[value]
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{float_text(value)} is no JSON")
        written = json_float(value)
    elif isinstance(value, int):
        written = str(int(value))
    elif isinstance(value, Span):
        written = str(value.nanoseconds)
    elif isinstance(value, Moment):
        written = json_string(times.formatted(value, times.RFC3339_NANO))
    elif isinstance(value, str):
        written = json_string(value)
    return written


def json_string(text: str) -> str:
    """A JSON string that is safe inside HTML, too."""
    quoted = json.dumps(text, ensure_ascii=False)
    for char, escape in _ESCAPED.items():
        quoted = quoted.replace(char, escape)
    return quoted


def _base64(value: bytes) -> str:
    import base64  # noqa: PLC0415 -- seldom needed

    return base64.b64encode(value).decode()


def duration_text(span: Span) -> str:
    """A duration as Go writes it: 1h0m0s, 1.5s, 20ms, 0s."""
    total = abs(span.nanoseconds)
    sign = "-" if span.nanoseconds < 0 else ""
    if total == 0:
        return "0s"
    for unit, size in (("ns", 1), ("µs", 1000), ("ms", 1_000_000)):
        if total < size * 1000:
            return f"{sign}{_fraction(total, size)}{unit}"
    minutes, rest = divmod(total, 60_000_000_000)
    hours, minutes = divmod(minutes, 60)
    seconds = _fraction(rest, 1_000_000_000) + "s"
    if hours:
        return f"{sign}{hours}h{minutes}m{seconds}"
    return f"{sign}{minutes}m{seconds}" if minutes else sign + seconds


def _fraction(count: int, size: int) -> str:
    whole, rest = divmod(count, size)
    if not rest:
        return str(whole)
    return f"{whole}.{str(rest).zfill(len(str(size)) - 1).rstrip('0')}"
