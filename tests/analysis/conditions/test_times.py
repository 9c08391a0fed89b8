"""The start, end and step of a range query, and dates in conditions (§18)."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime, timedelta, timezone

import pytest

from gitops_rollouts.analysis.conditions import compile_condition, evaluate_duration, evaluate_time, times
from gitops_rollouts.errors import ConditionError

NOW = datetime(2026, 3, 4, 5, 6, 7, 891011, tzinfo=UTC)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("now()", NOW),
        ('now() - duration("1h")', NOW - timedelta(hours=1)),
        ('now().Add(duration("-90m"))', NOW - timedelta(minutes=90)),
        ('now().Truncate(duration("1h"))', NOW.replace(minute=0, second=0, microsecond=0)),
        ('date("2026-01-01")', datetime(2026, 1, 1, tzinfo=UTC)),
        ('date("2026-01-01 00:00:00", "2006-01-02 15:04:05", "Europe/Zurich")', datetime(2025, 12, 31, 23, tzinfo=UTC)),
    ],
)
def test_an_expression_stands_for_a_time(source: str, expected: datetime) -> None:
    assert evaluate_time(source, NOW) == expected


def test_the_time_may_be_told_in_any_zone() -> None:
    assert evaluate_time("now()", NOW.astimezone(timezone(timedelta(hours=9)))) == NOW


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "unexpected the end"),
        ('duration("1h")', "expected a date, but got time.Duration"),
        ("1", "expected a date, but got int"),
        ("result", "unknown name result"),
        ("asInt('1')", "unknown function asInt"),
        ("now() - 1", "mismatched types time.Time and int"),
        ('date("yesterday")', "invalid date yesterday"),
        ('date("9999-12-31").AddDate(5, 0, 0)', "the date is out of range"),
    ],
)
def test_what_is_no_time_is_an_error(source: str, message: str) -> None:
    with pytest.raises(ConditionError, match=message.replace("(", r"\(")):
        evaluate_time(source, NOW)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("1m", timedelta(minutes=1)),
        ("1h30m", timedelta(minutes=90)),
        ("0.5s", timedelta(milliseconds=500)),
        ('duration("2h")', timedelta(hours=2)),
        ('duration("1m") * 5', timedelta(minutes=5)),
    ],
)
def test_a_step_is_a_duration(source: str, expected: timedelta) -> None:
    assert evaluate_duration(source) == expected


@pytest.mark.parametrize("source", ["", "5", "1d", "now()", "1h 1m"])
def test_what_is_no_duration_is_an_error(source: str) -> None:
    with pytest.raises(ConditionError):
        evaluate_duration(source)


def test_summer_time_follows_the_zone() -> None:
    shown = 'date("2026-07-01 12:00:00").In(timezone("Europe/Zurich")).Hour() == 14'
    assert compile_condition(shown).evaluate(None)
    assert compile_condition(shown.replace("-07-", "-01-").replace("14", "13")).evaluate(None)


def test_zones_are_known_where_the_system_has_none() -> None:
    """As in a slim image (§17.4)."""
    try:
        zoneinfo.reset_tzpath(to=[])
        zoneinfo.ZoneInfo.clear_cache()
        times.zone.cache_clear()
        assert evaluate_time('date("2026-07-01 12:00:00", "2006-01-02 15:04:05", "Pacific/Auckland")', NOW).hour == 0
    finally:
        zoneinfo.reset_tzpath()
