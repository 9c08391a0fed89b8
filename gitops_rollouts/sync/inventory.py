"""What a GitSync applied: the entries of ``status.inventory``, and who may claim an object."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from gitops_rollouts.render.objects import Identity, RenderedObject


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """One applied object. ``api_version`` is the version that it was last applied in."""

    identity: Identity
    api_version: str

    def __str__(self) -> str:
        one = self.identity
        return f"{self.api_version}|{one.kind}|{one.namespace}|{one.name}"

    @classmethod
    def parse(cls, text: str) -> Entry | None:
        """Read an entry of the status; None for anything else: a person may have edited it."""
        parts = text.split("|")
        if len(parts) != 4 or not (parts[0] and parts[1] and parts[3]):
            return None
        api_version, kind, namespace, name = parts
        return cls(Identity(api_version.rpartition("/")[0], kind, namespace, name), api_version)

    @classmethod
    def of(cls, item: RenderedObject) -> Entry:
        """The entry of an object."""
        return cls(item.identity, item.api_version)


def parse_inventory(lines: Iterable[str]) -> dict[Identity, Entry]:
    """All readable entries by identity."""
    entries = (Entry.parse(line) for line in lines)
    return {entry.identity: entry for entry in entries if entry is not None}


def written(entries: Mapping[Identity, Entry]) -> tuple[str, ...]:
    """The entries as they stand in the status, sorted."""
    return tuple(sorted(str(entry) for entry in entries.values()))


class Claims:
    """Which GitSync has which object in its tree: two can't share one. Belongs to the event loop.

    ``granted`` is called with a GitSync's name when it gets an object that another one had until now.
    """

    def __init__(self, granted: Callable[[str], None] = lambda name: None) -> None:
        self._granted = granted
        self._holders: dict[Identity, str] = {}
        self._asked: dict[str, set[Identity]] = {}

    def remember(self, target: str, inventory: Iterable[Identity]) -> None:
        """Take over what a GitSync's status says that it holds, before its tree was read in this process."""
        if target not in self._asked:
            self.claim(target, inventory)

    def claim(self, target: str, wanted: Iterable[Identity]) -> dict[Identity, str]:
        """Replace a GitSync's claims. Returns those that another one holds, with its name; they aren't claimed.

        What its tree no longer names goes to whoever waits for it, so an object can move without being deleted.
        """
        before, asked = self._asked.get(target, set()), set(wanted)
        self._asked[target] = asked
        self._pass_on(target, before - asked)
        holders = {identity: self._holders.setdefault(identity, target) for identity in asked}
        return {identity: holder for identity, holder in holders.items() if holder != target}

    def holder(self, identity: Identity) -> str | None:
        """The GitSync that has the object."""
        return self._holders.get(identity)

    def release(self, target: str) -> None:
        """A GitSync is gone."""
        self._pass_on(target, self._asked.pop(target, set()))

    def _pass_on(self, target: str, given_up: set[Identity]) -> None:
        for identity in given_up:
            if self._holders.get(identity) != target:
                continue
            del self._holders[identity]
            waiting = sorted(name for name, asked in self._asked.items() if name != target and identity in asked)
            if waiting:
                self._holders[identity] = waiting[0]
                self._granted(waiting[0])
