"""When a group's request opens: once all of its Rollouts are there, or after a while (docs/decisions.md §2)."""

from __future__ import annotations

from collections.abc import Container, Mapping, Set
from dataclasses import dataclass
from datetime import datetime, timedelta

from gitops_rollouts.decisions.planning.wants import WantRequest
from gitops_rollouts.decisions.requests.names import Group
from gitops_rollouts.decisions.requests.view import waits
from gitops_rollouts.decisions.state import Key, TargetAt


@dataclass(frozen=True, slots=True)
class RequestSettings:
    """How long a group waits for its last members."""

    quiet: timedelta = timedelta(seconds=60)
    longest: timedelta = timedelta(minutes=10)


@dataclass(slots=True)
class _Waiting:
    """A group that isn't open yet."""

    first: datetime
    newest: datetime
    members: frozenset[Key]


class Gathering:
    """Remembers since when groups wait for their last members. What a restart forgets begins anew."""

    def __init__(self, settings: RequestSettings) -> None:
        self._settings = settings
        self._waiting: dict[Group, _Waiting] = {}

    def ready(
        self, group: Group, members: Mapping[Key, WantRequest], at: TargetAt, now: datetime, asked: Set[Key]
    ) -> datetime | None:
        """None if the group may open now, else when to look again. ``asked``: whom nobody has to wait for."""
        keys = frozenset(members)
        waiting = self._waiting.get(group)
        if waiting is None:
            waiting = self._waiting[group] = _Waiting(now, now, keys)
        elif keys - waiting.members:
            waiting.newest, waiting.members = now, keys
        others = {
            key
            for key, state in at.rollouts.items()
            if key not in asked and waits(state, group.intent, group.gate) and state.abort is None
        }
        until = min(waiting.newest + self._settings.quiet, waiting.first + self._settings.longest)
        return until if others and now < until else None

    def forget(self, group: Group) -> None:
        """It has opened, or nobody waits any more."""
        self._waiting.pop(group, None)

    def keep(self, groups: Container[Group]) -> None:
        """Only these still wait."""
        self._waiting = {group: waiting for group, waiting in self._waiting.items() if group in groups}
