"""Gates that wait because somebody closed or deleted their request (docs/decisions.md §2 "hold")."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from gitops_rollouts.api.meta import format_time
from gitops_rollouts.decisions.gates import Gate
from gitops_rollouts.decisions.requests.names import Entry, HeldGate
from gitops_rollouts.decisions.requests.view import Standing, waits
from gitops_rollouts.decisions.state import TargetAt


@dataclass(frozen=True, slots=True)
class Hold:
    """Somebody deleted or closed a request: the Rollout waits, and nothing new is opened for this attempt and gate.

    ``who``: where a forge tells. ``when``: RFC 3339, when it was seen.
    """

    target: str
    namespace: str
    name: str
    intent: str
    gate: Gate
    who: str = ""
    when: str = ""

    @property
    def place(self) -> HeldGate:
        """What it is about."""
        return self.target, self.namespace, self.name, self.intent, self.gate


class Holds:
    """Those in force, as far as this process knows. A GitSync's status keeps them over a restart."""

    def __init__(self) -> None:
        self._holds: dict[HeldGate, Hold] = {}

    def __contains__(self, place: object) -> bool:
        return place in self._holds

    @property
    def all(self) -> frozenset[Hold]:
        """Every one."""
        return frozenset(self._holds.values())

    def restore(self, holds: Iterable[Hold]) -> None:
        """Those that a GitSync's status remembers."""
        self._holds |= {hold.place: hold for hold in holds}

    def note(
        self, entries: Iterable[Entry], targets: Mapping[str, TargetAt], standing: Standing, now: datetime
    ) -> None:
        """The request of these is closed or gone: those of them that still wait there are held."""
        for entry in entries:
            state = targets[entry.subject.target].rollouts.get(entry.key)
            if state and waits(state, entry.intent, entry.gate):
                hold = Hold(*entry.place, who=standing.who, when=standing.when or format_time(now))
                known = self._holds.get(hold.place)
                if known is None or (hold.who and hold.who != known.who):
                    self._holds[hold.place] = hold

    def forget(self, targets: Mapping[str, TargetAt], reopened: Container[HeldGate]) -> None:
        """Those whose attempt is over, whose gate is approved, or whose request is ``reopened``."""
        for place, hold in list(self._holds.items()):
            if hold.target not in targets:
                continue
            state = targets[hold.target].rollouts.get((hold.namespace, hold.name))
            if state is None or not waits(state, hold.intent, hold.gate) or place in reopened:
                del self._holds[place]
