"""Dates and durations as Go's time package reads and writes them, by layouts such as ``2006-01-02 15:04``.

A date is nanoseconds since 1970 and a zone, so that years and fractions that Python's datetime lacks are no case of
their own. No clock is read here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC as DATETIME_UTC
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from gitops_rollouts.analysis.conditions.values import MONTHS, UTC, WEEKDAYS, Moment, Span, Zone

RFC3339: Final = "2006-01-02T15:04:05Z07:00"
RFC3339_NANO: Final = "2006-01-02T15:04:05.999999999Z07:00"
LAYOUTS: Final = (
    "2006-01-02",
    "15:04:05",
    "2006-01-02 15:04:05",
    RFC3339,
    "02 Jan 06 15:04 MST",
    "Monday, 02-Jan-06 15:04:05 MST",
    "Mon, 02 Jan 2006 15:04:05 MST",
)
"""What date() reads if it is told no layout."""
SECOND: Final = 1_000_000_000
MAX_LAYOUT: Final = 256
_MAX_NAME: Final = 64
_MAX_SPAN: Final = 2**63 - 1
_UNITS: Final = {
    "ns": 1, "us": 1000, "µs": 1000, "μs": 1000, "ms": 1_000_000, "s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND,
}  # fmt: skip
_SPAN_PART = re.compile(r"(?:([0-9]{1,30})(?:\.([0-9]{0,30}))?|\.([0-9]{1,30}))([a-zµμ]+)")
_MONTHS: Final = tuple(name[:3] for name in MONTHS)
_DAYS: Final = tuple(name[:3] for name in WEEKDAYS)
_CHUNK = re.compile(
    r"2006|January|Jan|Monday|Mon|MST|Z07:00:00|Z07:00|Z0700|Z07|-07:00:00|-07:00|-0700|-07"
    r"|[.,](?:0+|9+)(?![0-9])|002|0[1-6]|15|_2|PM|pm|[1-5]"
)
_READS: Final = {
    "2006": r"\d{4}", "06": r"\d\d", "01": r"\d\d", "1": r"\d\d?", "02": r"\d\d", "2": r"\d\d?", "_2": r" ?\d\d?",
    "002": r"\d{3}", "15": r"\d\d?", "03": r"\d\d", "3": r"\d\d?", "04": r"\d\d", "4": r"\d\d?", "05": r"\d\d",
    "5": r"\d\d?", "PM": "AM|PM", "pm": "am|pm", "Jan": "(?i:" + "|".join(_MONTHS) + ")",
    "January": "(?i:" + "|".join(MONTHS) + ")", "Mon": "(?i:" + "|".join(_DAYS) + ")",
    "Monday": "(?i:" + "|".join(WEEKDAYS) + ")", "MST": r"[A-Z]{3,4}|[+-]\d\d", "-0700": r"[+-]\d{4}",
    "-07:00": r"[+-]\d\d:\d\d", "-07": r"[+-]\d\d", "Z0700": r"Z|[+-]\d{4}", "Z07:00": r"Z|[+-]\d\d:\d\d",
    "Z07": r"Z|[+-]\d\d", "Z07:00:00": r"Z|[+-]\d\d:\d\d:\d\d", "-07:00:00": r"[+-]\d\d:\d\d:\d\d",
}  # fmt: skip
_PATTERNS: Final = {chunk: re.compile(pattern, re.ASCII) for chunk, pattern in _READS.items()}
_FRACTION = re.compile(r"[.,](\d{1,20})", re.ASCII)


def from_datetime(moment: datetime) -> Moment:
    """A date of Python's, which must have a zone."""
    since = moment.astimezone(DATETIME_UTC) - datetime(1970, 1, 1, tzinfo=DATETIME_UTC)
    return Moment((since.days * 86400 + since.seconds) * SECOND + since.microseconds * 1000)


def to_datetime(moment: Moment) -> datetime:
    """As a date of Python's, in UTC and to the microsecond. ValueError: before year 1 or after 9999."""
    try:
        return datetime(1970, 1, 1, tzinfo=DATETIME_UTC) + timedelta(microseconds=moment.unix_ns // 1000)
    except OverflowError:
        raise ValueError("the date is out of range") from None


def duration(text: str) -> Span:
    """A duration such as 1h30m, 1.5s or -20ms. ValueError: it is none."""
    rest = text[1:] if text[:1] in ("-", "+") else text
    if rest == "0":
        return Span(0)
    total, at = 0, 0
    while at < len(rest):
        found = _SPAN_PART.match(rest, at)
        if found is None or found[4] not in _UNITS:
            raise ValueError(f'invalid duration "{text[:40]}", it reads like 1h30m')
        whole, fraction, size = int(found[1] or 0), found[2] or found[3] or "", _UNITS[found[4]]
        total += whole * size + (int(fraction) * size // 10 ** len(fraction) if fraction else 0)
        at = found.end()
        if at > _MAX_NAME:
            break
    if not rest or at < len(rest) or total > _MAX_SPAN:
        raise ValueError(f'invalid duration "{text[:40]}", it reads like 1h30m')
    return Span(-total if text[0] == "-" else total)


@lru_cache(maxsize=64)
def zone(name: str) -> Zone:
    """A zone by its IANA name. ValueError: there is none of that name. Local is UTC, wherever this runs."""
    if name in ("", "UTC", "Local"):
        return UTC
    try:
        if len(name) > _MAX_NAME:
            raise ValueError
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"unknown time zone {name[:60]}") from None
    return Zone(name)


def offset(moment: Moment) -> int:
    """Seconds east of UTC that the zone's clock is at this moment."""
    if moment.zone.offset is not None:
        return moment.zone.offset
    try:
        shift = to_datetime(moment).astimezone(ZoneInfo(moment.zone.name)).utcoffset()
    except (ValueError, OverflowError):
        return 0
    return round(shift.total_seconds()) if shift is not None else 0


@dataclass(frozen=True, slots=True)
class Clock:
    """What a clock and a calendar show. ``weekday``: Sunday 0."""

    year: int
    month: int
    day: int
    hour: int
    minute: int
    second: int
    nanosecond: int
    weekday: int
    year_day: int


def clock(moment: Moment) -> Clock:
    """What the zone's clock and calendar show at this moment."""
    seconds, nanosecond = divmod(moment.unix_ns + offset(moment) * SECOND, SECOND)
    days, rest = divmod(seconds, 86400)
    year, month, day = _civil(days)
    year_day = days - _days(year, 1, 1) + 1
    return Clock(
        year, month, day, rest // 3600, rest % 3600 // 60, rest % 60, nanosecond, (days + 4) % 7, year_day
    )  # fmt: skip


def at_clock(clock_ns: int, place: Zone) -> Moment:
    """The moment at which this zone's clock shows what UTC's shows so many nanoseconds after 1970."""
    guess = Moment(clock_ns - offset(Moment(clock_ns, place)) * SECOND, place)
    return Moment(clock_ns - offset(guess) * SECOND, place)


def civil_ns(year: int, month: int, day: int, seconds: int = 0, nanosecond: int = 0) -> int:
    """Nanoseconds from 1970 to this date and time in UTC. Months and days may be out of range, as Go normalises."""
    year, month = year + (month - 1) // 12, (month - 1) % 12 + 1
    return ((_days(year, month, 1) + day - 1) * 86400 + seconds) * SECOND + nanosecond


def _days(year: int, month: int, day: int) -> int:
    """Days from 1970-01-01 in the Gregorian calendar, counted in eras of 400 years that begin in March."""
    year -= month <= 2
    era, of_era = divmod(year, 400)
    of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468


def _civil(days: int) -> tuple[int, int, int]:
    era, of_era = divmod(days + 719468, 146097)
    year = (of_era - of_era // 1460 + of_era // 36524 - of_era // 146096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    shifted = (5 * of_year + 2) // 153
    month = shifted + 3 if shifted < 10 else shifted - 9
    return year + era * 400 + (month <= 2), month, of_year - (153 * shifted + 2) // 5 + 1


@lru_cache(maxsize=64)
def _chunks(layout: str) -> tuple[tuple[str, str], ...]:
    """The layout as pairs: text as it is, then what stands for a part of the date; the last may be empty."""
    found: list[tuple[str, str]] = []
    at = 0
    for chunk in _CHUNK.finditer(layout):
        found.append((layout[at : chunk.start()], chunk.group()))
        at = chunk.end()
    return (*found, (layout[at:], ""))


def parsed(text: str, layouts: tuple[str, ...], place: Zone | None) -> Moment:
    """The date that a text is by the first of these layouts that fits. ValueError: none does."""
    if max(len(layout) for layout in layouts) > MAX_LAYOUT:
        raise ValueError(f"a layout is longer than {MAX_LAYOUT} characters")
    for layout in layouts:
        fields = _read(text, layout)
        if fields is not None and (moment := _moment(fields, place or UTC)) is not None:
            return moment
    raise ValueError(f"invalid date {text[:60]}")


def _read(text: str, layout: str) -> dict[str, str] | None:
    """What the text has for each part of the layout. A part takes what it can, and there is no way back."""
    fields: dict[str, str] = {}
    at = 0
    for literal, chunk in _chunks(layout):
        if not text.startswith(literal, at):
            return None
        at += len(literal)
        if not chunk:
            break
        found = (_FRACTION if chunk[0] in ".," else _PATTERNS[chunk]).match(text, at)
        if found is None:
            if chunk[0] in ".," and chunk[1] == "9":
                continue
            return None
        fields["fraction" if chunk[0] in ".," else chunk] = found.group()
        at = found.end()
        if chunk in {"05", "5"} and (found := _FRACTION.match(text, at)) and not _fraction_follows(layout):
            fields["fraction"] = found.group()
            at = found.end()
    return fields if at == len(text) else None


@lru_cache(maxsize=64)
def _fraction_follows(layout: str) -> bool:
    return any(chunk[:1] in {".", ","} for _, chunk in _chunks(layout))


def _moment(fields: dict[str, str], place: Zone) -> Moment | None:
    month, day = _month(fields), int(fields.get("02") or fields.get("2") or fields.get("_2") or 1)
    year = int(fields.get("2006") or _short_year(fields.get("06")))
    minute = int(fields.get("04") or fields.get("4") or 0)
    second = int(fields.get("05") or fields.get("5") or 0)
    hour = _hour(fields)
    if not (1 <= month <= 12 and 1 <= day <= _month_length(year, month)):
        return None
    if hour is None or minute > 59 or second > 59:
        return None
    fraction = int(fields.get("fraction", ".0")[1:10].ljust(9, "0"))
    if "002" in fields:
        month, day = 1, int(fields["002"])
    clock_ns = civil_ns(year, month, day, hour * 3600 + minute * 60 + second, fraction)
    fixed = next((value for chunk, value in fields.items() if chunk[:1] in {"Z", "-"}), None)
    if fixed is not None:
        return _fixed(clock_ns, fixed)
    name = fields.get("MST", "")
    if name in ("", "UTC"):
        return at_clock(clock_ns, UTC if name else place)
    return Moment(clock_ns, Zone(name, 0))


def _fixed(clock_ns: int, text: str) -> Moment:
    if text == "Z":
        return Moment(clock_ns)
    digits = text[1:].replace(":", "").ljust(6, "0")
    east = int(digits[:2]) * 3600 + int(digits[2:4]) * 60 + int(digits[4:6])
    east = -east if text[0] == "-" else east
    return Moment(clock_ns - east * SECOND, Zone("", east))


def _month(fields: dict[str, str]) -> int:
    if name := fields.get("January") or fields.get("Jan"):
        return _MONTHS.index(name[:3].title()) + 1
    return int(fields.get("01") or fields.get("1") or 1)


def _short_year(digits: str | None) -> int:
    if digits is None:
        return 0
    return int(digits) + (1900 if int(digits) >= 69 else 2000)


def _hour(fields: dict[str, str]) -> int | None:
    if "15" in fields:
        hour = int(fields["15"])
    else:
        hour = int(fields.get("03") or fields.get("3") or 0)
        if hour > 12:
            return None
        half = (fields.get("PM") or fields.get("pm") or "").upper()
        hour = hour % 12 + 12 if half == "PM" else hour % 12 if half else hour
    return hour if hour < 24 else None


def _month_length(year: int, month: int) -> int:
    return (civil_ns(year, month + 1, 1) - civil_ns(year, month, 1)) // (86400 * SECOND)


def formatted(moment: Moment, layout: str) -> str:
    """The date by a layout. ValueError: that is too long."""
    if len(layout) > MAX_LAYOUT:
        raise ValueError(f"a layout is longer than {MAX_LAYOUT} characters")
    shown, shift = clock(moment), offset(moment)
    return "".join(
        literal + (_written(chunk, shown, shift, moment.zone) if chunk else "") for literal, chunk in _chunks(layout)
    )


def _written(chunk: str, shown: Clock, shift: int, place: Zone) -> str:
    if chunk[0] in ".,":
        digits = f"{shown.nanosecond:09d}"[: len(chunk) - 1]
        if chunk[1] == "9":
            digits = digits.rstrip("0")
        return chunk[0] + digits if digits else ""
    if chunk[0] in "Z-":
        return "Z" if chunk[0] == "Z" and shift == 0 else _offset_text(chunk, shift)
    if chunk == "MST":
        return _zone_text(shown, shift, place)
    hour12 = shown.hour % 12 or 12
    return {
        "2006": f"{'-' if shown.year < 0 else ''}{abs(shown.year):04d}",
        "06": f"{shown.year % 100:02d}", "01": f"{shown.month:02d}",
        "1": str(shown.month), "02": f"{shown.day:02d}", "2": str(shown.day), "_2": f"{shown.day:2d}",
        "002": f"{shown.year_day:03d}", "15": f"{shown.hour:02d}", "03": f"{hour12:02d}", "3": str(hour12),
        "04": f"{shown.minute:02d}", "4": str(shown.minute), "05": f"{shown.second:02d}", "5": str(shown.second),
        "PM": "PM" if shown.hour >= 12 else "AM", "pm": "pm" if shown.hour >= 12 else "am",
        "Jan": _MONTHS[shown.month - 1], "January": MONTHS[shown.month - 1], "Mon": _DAYS[shown.weekday],
        "Monday": WEEKDAYS[shown.weekday],
    }[chunk]  # fmt: skip


def _offset_text(chunk: str, shift: int) -> str:
    sign, rest = "-" if shift < 0 else "+", abs(shift)
    parts = [f"{rest // 3600:02d}", f"{rest % 3600 // 60:02d}", f"{rest % 60:02d}"]
    return sign + (":" if ":" in chunk else "").join(parts[: (len(chunk.replace(":", "")) - 1) // 2])


def _zone_text(shown: Clock, shift: int, place: Zone) -> str:
    if place.offset is None:
        try:
            name = datetime(
                shown.year, shown.month, shown.day, shown.hour, shown.minute, tzinfo=ZoneInfo(place.name)
            ).tzname()
        except (ValueError, OverflowError):
            name = None
        if name:
            return name
    elif place.name:
        return place.name
    return _offset_text("-0700", shift)


def text(moment: Moment) -> str:
    """The date as Go's ``%v`` writes it."""
    if moment.zone.offset is not None and not moment.zone.name:
        return formatted(moment, "2006-01-02 15:04:05.999999999 -0700 -0700")
    return formatted(moment, "2006-01-02 15:04:05.999999999 -0700 MST")
