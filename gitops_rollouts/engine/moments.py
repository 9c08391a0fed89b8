"""Arithmetic on moments that can't overflow: stored times may be anything that parses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

_LAST: Final = datetime.max.replace(tzinfo=UTC, microsecond=0)


def after(moment: datetime, seconds: int) -> datetime:
    """So many seconds later, or the end of time. ``seconds`` is not negative."""
    return moment + timedelta(seconds=seconds) if seconds < (_LAST - moment).total_seconds() else _LAST


def plus(moment: datetime, span: timedelta) -> datetime:
    """So much later, or the end of time. ``span`` is not negative."""
    return moment + span if span < _LAST - moment else _LAST


def until(moment: datetime, now: datetime) -> timedelta:
    """How long from ``now``; never negative."""
    return max(moment - now, timedelta())


def soonest(*waits: timedelta | None) -> timedelta | None:
    """The shortest wait; None if there is nothing to wait for."""
    known = [wait for wait in waits if wait is not None]
    return min(known) if known else None
