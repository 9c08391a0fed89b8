"""What one process remembers of a GitSync between passes. All of it can be found again; it saves work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from gitops_rollouts.decisions.state import Attempt, InGit, Key, TargetAt, TargetSpec
from gitops_rollouts.render.objects import Identity, Problem, RenderedObject
from gitops_rollouts.sync.inventory import Entry
from gitops_rollouts.sync.rebuild import Recorded
from gitops_rollouts.sync.validate import problems_of


@dataclass(slots=True)
class Memory:
    """One GitSync. ``inventory`` begins as the status' and is ahead of it during a pass."""

    inventory: dict[Identity, Entry] = field(default_factory=dict)
    at: TargetAt | None = None
    """What was read last, as it stands in Git."""
    published: Mapping[Key, InGit] = field(default_factory=dict)
    """What the board shows: where a document can't be used, what it last was."""
    base: Mapping[Identity, RenderedObject] = field(default_factory=dict)
    """The objects of the last commit that was applied completely."""
    base_at: TargetAt | None = None
    """That commit, as it stood in Git."""
    applied: dict[Identity, RenderedObject] = field(default_factory=dict)
    """What this process applied, as it stands in Git."""
    stamped: dict[Key, Attempt] = field(default_factory=dict)
    dirty: set[Key] = field(default_factory=set)
    """Rollouts that somebody changed or deleted in the cluster."""
    full_pass_at: datetime | None = None
    """When everything is applied again, changed or not; None: now."""
    recorded: dict[Key, tuple[str, Recorded]] = field(default_factory=dict)
    """Recorded versions that are being brought up, with the record's commit."""
    begun: bool = False
    released: set[Identity] = field(default_factory=set)
    """What Git let go and nobody pruned: no longer ours to steer."""
    verdicts: dict[Identity, tuple[RenderedObject, list[Problem]]] = field(default_factory=dict)

    def check(self, item: RenderedObject) -> list[Problem]:
        """The rules of one object, from memory if it didn't change."""
        known = self.verdicts.get(item.identity)
        if known is not None and known[0] == item and same_body(known[0], item):
            return known[1]
        found = problems_of(item)
        self.verdicts[item.identity] = (item, found)
        return found

    def bodies(self) -> dict[Identity, Mapping[str, Any]]:
        """How objects were applied last, as far as this process knows."""
        return {one: item.raw for one, item in {**self.base, **self.applied}.items()}

    def keep_verdicts(self, identities: set[Identity]) -> None:
        """Forget the rules' findings on all other objects."""
        self.verdicts = {one: verdict for one, verdict in self.verdicts.items() if one in identities}

    def forget(self, identity: Identity) -> None:
        """An object is gone, or another GitSync's."""
        self.inventory.pop(identity, None)
        self.applied.pop(identity, None)
        self.verdicts.pop(identity, None)
        self.released.discard(identity)

    def is_new(self, item: RenderedObject, states: Mapping[Key, InGit], now: datetime) -> bool:
        """Whether an object has to be sent: it, or what its stamp says, isn't what was applied last."""
        if self.full_pass_at is None or now >= self.full_pass_at:
            return True
        known = self.applied.get(item.identity)
        if known is None or not same_body(known, item):
            return True
        if not item.is_rollout:
            return False
        key = (item.namespace, item.name)
        state = states.get(key)
        return key in self.dirty or (state is not None and self.stamped.get(key) != state.attempt)

    def knows(self, spec: TargetSpec, head: str) -> bool:
        """Whether this commit was read already."""
        return self.at is not None and self.at.commit == head and self.at.spec == spec


def same_body(one: RenderedObject, other: RenderedObject) -> bool:
    """Whether two renders of an object are applied in the same way."""
    return one.raw is other.raw or (one.api_version == other.api_version and one.raw == other.raw)
