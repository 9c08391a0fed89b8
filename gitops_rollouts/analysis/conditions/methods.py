"""The methods of dates, durations, months and days of the week."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gitops_rollouts.analysis.conditions import times, writing
from gitops_rollouts.analysis.conditions.kinds import (
    BOOL,
    DURATION,
    FLOAT,
    INT,
    LOCATION,
    MONTH,
    STRING,
    TIME,
    WEEKDAY,
    Kind,
    kind_of,
)
from gitops_rollouts.analysis.conditions.operators import between
from gitops_rollouts.analysis.conditions.values import Moment, Month, Span, Weekday, type_name, wrapped


@dataclass(frozen=True, slots=True)
class MethodOf:
    """One method: its arguments' types, its result's, and what it does."""

    run: Callable[..., Any]
    returns: Kind
    takes: tuple[Kind, ...] = ()


def _add_date(moment: Moment, years: int, months: int, days: int) -> Moment:
    if max(abs(years), abs(months), abs(days)) > 10_000_000:
        raise TypeError("the date is out of range")
    shown = times.clock(moment)
    seconds = shown.hour * 3600 + shown.minute * 60 + shown.second
    clock_ns = times.civil_ns(shown.year + years, shown.month + months, shown.day + days, seconds, shown.nanosecond)
    return times.at_clock(clock_ns, moment.zone)


def _truncated(moment: Moment, span: Span) -> Moment:
    """Down to a multiple of the span since year 1."""
    if span.nanoseconds <= 0:
        return moment
    return Moment(moment.unix_ns - (moment.unix_ns - _YEAR_ONE) % span.nanoseconds, moment.zone)


def _rounded(moment: Moment, span: Span) -> Moment:
    if span.nanoseconds <= 0:
        return moment
    return _truncated(Moment(moment.unix_ns + (span.nanoseconds + 1) // 2, moment.zone), span)


def _clock(field: str, make: Callable[[int], Any] = int) -> Callable[[Moment], Any]:
    return lambda moment: make(getattr(times.clock(moment), field))


def _unix(size: int) -> Callable[[Moment], int]:
    return lambda moment: wrapped(moment.unix_ns // size)


def _whole(size: int) -> Callable[[Span], int]:
    return lambda span: abs(span.nanoseconds) // size * (-1 if span.nanoseconds < 0 else 1)


def _parts(size: int) -> Callable[[Span], float]:
    return lambda span: span.nanoseconds / size


_YEAR_ONE: Final = times.civil_ns(1, 1, 1)
_TEXT: Final = MethodOf(writing.plain, STRING)
_OF_TIME: Final[Mapping[str, MethodOf]] = {
    "Year": MethodOf(_clock("year"), INT),
    "Month": MethodOf(_clock("month", Month), MONTH),
    "Day": MethodOf(_clock("day"), INT),
    "Hour": MethodOf(_clock("hour"), INT),
    "Minute": MethodOf(_clock("minute"), INT),
    "Second": MethodOf(_clock("second"), INT),
    "Nanosecond": MethodOf(_clock("nanosecond"), INT),
    "Weekday": MethodOf(_clock("weekday", Weekday), WEEKDAY),
    "YearDay": MethodOf(_clock("year_day"), INT),
    "Unix": MethodOf(_unix(times.SECOND), INT),
    "UnixMilli": MethodOf(_unix(1_000_000), INT),
    "UnixMicro": MethodOf(_unix(1000), INT),
    "UnixNano": MethodOf(_unix(1), INT),
    "IsZero": MethodOf(lambda moment: moment.unix_ns == _YEAR_ONE, BOOL),
    "UTC": MethodOf(lambda moment: Moment(moment.unix_ns), TIME),
    "Local": MethodOf(lambda moment: Moment(moment.unix_ns), TIME),
    "Location": MethodOf(lambda moment: moment.zone, LOCATION),
    "In": MethodOf(lambda moment, zone: Moment(moment.unix_ns, zone), TIME, (LOCATION,)),
    "Add": MethodOf(lambda moment, span: Moment(moment.unix_ns + span.nanoseconds, moment.zone), TIME, (DURATION,)),
    "Sub": MethodOf(between, DURATION, (TIME,)),
    "Before": MethodOf(lambda one, other: one.unix_ns < other.unix_ns, BOOL, (TIME,)),
    "After": MethodOf(lambda one, other: one.unix_ns > other.unix_ns, BOOL, (TIME,)),
    "Equal": MethodOf(lambda one, other: one.unix_ns == other.unix_ns, BOOL, (TIME,)),
    "AddDate": MethodOf(_add_date, TIME, (INT, INT, INT)),
    "Truncate": MethodOf(_truncated, TIME, (DURATION,)),
    "Round": MethodOf(_rounded, TIME, (DURATION,)),
    "Format": MethodOf(times.formatted, STRING, (STRING,)),
    "String": _TEXT,
}
_OF_DURATION: Final[Mapping[str, MethodOf]] = {
    "Hours": MethodOf(_parts(3600 * times.SECOND), FLOAT),
    "Minutes": MethodOf(_parts(60 * times.SECOND), FLOAT),
    "Seconds": MethodOf(_parts(times.SECOND), FLOAT),
    "Milliseconds": MethodOf(_whole(1_000_000), INT),
    "Microseconds": MethodOf(_whole(1000), INT),
    "Nanoseconds": MethodOf(_whole(1), INT),
    "Abs": MethodOf(lambda span: Span(abs(span.nanoseconds)), DURATION),
    "String": _TEXT,
}
METHODS: Final[Mapping[Kind, Mapping[str, MethodOf]]] = {
    TIME: _OF_TIME,
    DURATION: _OF_DURATION,
    MONTH: {"String": _TEXT},
    WEEKDAY: {"String": _TEXT},
    LOCATION: {"String": _TEXT},
}


def call(base: Any, name: str, arguments: list[Any]) -> Any:
    """What the method of this value returns. TypeError: it has no such method, or not for these arguments."""
    method = METHODS.get(kind_of(base), {}).get(name)
    if method is None:
        raise TypeError(f"type {type_name(base)} has no method {name}")
    if tuple(map(kind_of, arguments)) != method.takes:
        expected = ", ".join(map(str, method.takes)) or "no arguments"
        raise TypeError(f"{name} takes {expected}")
    return method.run(base, *arguments)
