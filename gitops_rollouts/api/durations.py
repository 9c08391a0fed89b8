"""Go's duration text (``1h30m``, ``300ms``) to timedelta and back."""

from __future__ import annotations

import re
from datetime import timedelta
from fractions import Fraction
from typing import Final

_UNITS: Final = {
    "ns": Fraction(1, 1000),
    "us": Fraction(1),
    "µs": Fraction(1),  # micro sign
    "μs": Fraction(1),  # Greek mu
    "ms": Fraction(1000),
    "s": Fraction(10**6),
    "m": Fraction(60 * 10**6),
    "h": Fraction(3600 * 10**6),
}
_PART: Final = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?P<unit>ns|us|µs|μs|ms|s|m|h)")
_LONGEST: Final = (2**63 - 1) // 1000
"""Go's largest duration in microseconds."""


def parse_go_duration(text: str) -> timedelta:
    """Read Go's duration text as ``time.ParseDuration`` does, to the microsecond. Raises ValueError."""
    sign, rest = (-1, text[1:]) if text[:1] == "-" else (1, text[1:] if text[:1] == "+" else text)
    if rest == "0":
        return timedelta()
    if not rest or len(rest) > 100:
        raise ValueError(f"invalid duration {text[:40]!r}")
    total = Fraction(0)
    at = 0
    while at < len(rest):
        part = _PART.match(rest, at)
        if part is None:
            raise ValueError(f"invalid duration {text[:40]!r}")
        total += Fraction(part["number"].rstrip(".")) * _UNITS[part["unit"]]
        at = part.end()
    if total > _LONGEST:
        raise ValueError(f"invalid duration {text[:40]!r}: too long")
    return timedelta(microseconds=sign * int(total))


def format_go_duration(duration: timedelta) -> str:
    """Write a duration as Go's ``Duration.String`` does: ``1h0m0s``, ``1.5s``, ``300ms``, ``0s``."""
    micros = duration // timedelta(microseconds=1)
    sign, micros = ("-", -micros) if micros < 0 else ("", micros)
    if micros < 1000:
        return f"{sign}{micros}µs" if micros else "0s"
    if micros < 10**6:
        return f"{sign}{_decimal(micros, 3)}ms"
    minutes, rest = divmod(micros, 60 * 10**6)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{_decimal(rest, 6)}s"
    if hours:
        return f"{sign}{hours}h{minutes}m{seconds}"
    return f"{sign}{minutes}m{seconds}" if minutes else f"{sign}{seconds}"


def _decimal(value: int, digits: int) -> str:
    whole, fraction = divmod(value, 10**digits)
    return f"{whole}.{fraction:0{digits}d}".rstrip("0").rstrip(".") if fraction else str(whole)


def short_duration(span: timedelta) -> str:
    """The two leading units of a duration, the second one only where it says something."""
    seconds = max(0, int(span.total_seconds()))
    if seconds < 120:
        return f"{seconds}s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if minutes < 10:
        return f"{minutes}m{seconds % 60}s" if seconds % 60 else f"{minutes}m"
    if hours < 3:
        return f"{minutes}m"
    if hours < 10:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if days < 2:
        return f"{hours}h"
    return f"{days}d"
