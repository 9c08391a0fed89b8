"""Functions of dates and durations. What the time is, is told to the evaluation; without it, now() is an error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gitops_rollouts.analysis.conditions import times
from gitops_rollouts.analysis.conditions.functions.function import Function, Machine, a_text, always, anything, text
from gitops_rollouts.analysis.conditions.kinds import DURATION, LOCATION, TIME, Kind
from gitops_rollouts.analysis.conditions.values import Moment, Span, Zone

_READING: Final = 20
"""A date costs as much to read as so many simple steps."""


def _now(machine: Machine, given: list[Any]) -> Moment:
    if machine.setting.now is None:
        raise TypeError("now() isn't known here")
    zone = given[0] if given and isinstance(given[0], Zone) else machine.setting.now.zone
    return Moment(machine.setting.now.unix_ns, zone)


def _duration(_: Machine, given: list[Any]) -> Span:
    return times.duration(text(given[0]))


def _date(machine: Machine, given: list[Any]) -> Moment:
    machine.budget.visit(_READING)
    given = list(given)
    zone = given.pop(0) if isinstance(given[0], Zone) else None
    words = [text(value) for value in given]
    if not words:
        raise TypeError("date takes a text")
    if len(words) > 2:
        zone = times.zone(words[2])
    layouts = (words[1],) if len(words) > 1 else times.LAYOUTS
    return times.parsed(words[0], layouts, zone)


def _timezone(_: Machine, given: list[Any]) -> Zone:
    return times.zone(text(given[0]))


def _a_zone(kind: Kind) -> bool:
    return kind == LOCATION


FUNCTIONS: Final[Mapping[str, Function]] = {
    "now": Function(_now, (_a_zone,), always(TIME), optional=1),
    "duration": Function(_duration, (a_text,), always(DURATION)),
    "date": Function(_date, (anything, anything, anything, anything), always(TIME), optional=3),
    "timezone": Function(_timezone, (a_text,), always(LOCATION)),
}
