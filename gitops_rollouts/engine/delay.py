"""Old ReplicaSets that stay up for a while after the traffic has left them (docs/behaviour.md §8.7 "Delay helper")."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from gitops_rollouts.api.meta import format_time, parse_time
from gitops_rollouts.api.names import SCALE_DOWN_DEADLINE
from gitops_rollouts.engine import moments
from gitops_rollouts.engine.observed import ReplicaSet


@dataclass(frozen=True, slots=True)
class Delayed:
    """What becomes of one old ReplicaSet. ``deadline``: the annotation that it should carry, None for none."""

    name: str
    size: int
    deadline: str | None = None


def delayed(
    newest_first: Iterable[ReplicaSet], *, seconds: int, limit: int, now: datetime, size: int | None = None
) -> tuple[tuple[Delayed, ...], timedelta | None]:
    """The size and deadline of each, and when the first deadline passes.

    ``seconds``: the delay, 0 for none; ``limit``: how many may wait at once, the newest; ``size``: what those that
    wait are sized to, None for as they are. An unreadable deadline counts as passed.
    """
    result: list[Delayed] = []
    waiting = 0
    look_again: timedelta | None = None
    for replica_set in newest_first:
        text = replica_set.annotations.get(SCALE_DOWN_DEADLINE)
        if text is None and replica_set.replicas > 0 and seconds > 0 and waiting < limit:
            text = format_time(moments.after(now.replace(microsecond=0), seconds))
        end = deadline_of(text)
        if text is None or end is None or replica_set.replicas == 0 or end <= now or waiting >= limit:
            result.append(Delayed(replica_set.name, 0))
            continue
        waiting += 1
        result.append(Delayed(replica_set.name, replica_set.replicas if size is None else size, text))
        look_again = moments.soonest(look_again, moments.until(end, now))
    return tuple(result), look_again


def deadline_of(text: str | None) -> datetime | None:
    """The moment that the annotation names; None if there is none or it can't be read."""
    try:
        return parse_time(text) if text else None
    except ValueError:
        return None
