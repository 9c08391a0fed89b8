"""The intent of each Rollout: the commit since which its (T, S) is unbroken (docs/decisions.md §1.1).

What comes out depends on history alone, never on when it was polled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gitops_rollouts.decisions.history.contents import UNKNOWN, Content, ContentHistory, Delta
from gitops_rollouts.decisions.state import Attempt, Key, TargetSpec
from gitops_rollouts.git.repository import Mirror


@dataclass(frozen=True, slots=True)
class Base:
    """The last synced head, and the attempts there."""

    head: str
    attempts: Mapping[Key, Attempt]


@dataclass(frozen=True, slots=True)
class Chain:
    """The first-parent commits of a head that descend from another commit; newest first, never empty.

    ``linear``: that commit itself is the parent of the oldest.
    """

    commits: tuple[str, ...]
    linear: bool


class IntentReader:
    """Derives intents, and checks approvals, in one repository."""

    def __init__(self, mirror: Mirror, contents: ContentHistory) -> None:
        self._mirror = mirror
        self._contents = contents

    def intents(self, spec: TargetSpec, head: str, now: Mapping[Key, Content], base: Base | None) -> dict[Key, str]:
        """The intent of each Rollout at ``head``; ``now`` is what they are there. ``base`` None: nothing was synced."""
        if base is None or not self._mirror.is_ancestor(base.head, head):
            return self._whole_chain(spec, head, now)
        if base.head == head:
            found, left = _carried(now, base)
            return found | self._whole_chain(spec, head, left)
        chain = self.chain(base.head, head)
        found, pending, _oldest = _resolve(self._deltas(spec, head, base.head, chain), now)
        if not chain.linear and pending:
            there = self._contents.snapshot(spec, base.head)
            for key in [key for key in pending if there.value(key) not in (pending[key], UNKNOWN)]:
                found[key] = chain.commits[-1]
                del pending[key]
        carried, left = _carried(pending, base)
        return found | carried | self._whole_chain(spec, head, left)

    def holds_since(self, spec: TargetSpec, since: str, head: str, now: Mapping[Key, Content]) -> frozenset[Key]:
        """Which of these Rollouts are unchanged at ``since`` and on every first-parent commit that descends from it.

        The ancestor rule for approvals. ``since`` itself counts, so that no commit can approve itself by naming its
        parent.
        """
        if not self._mirror.is_ancestor(since, head):
            return frozenset()
        there = self._contents.snapshot(spec, since)
        same = {key: content for key, content in now.items() if there.value(key) == content}
        if since == head or not same:
            return frozenset(same)
        chain = self.chain(since, head)
        _, unbroken, _ = _resolve(self._deltas(spec, head, since, chain), same)
        return frozenset(unbroken)

    def chain(self, ancestor: str, head: str) -> Chain:
        """The first-parent commits of ``head`` that descend from ``ancestor``, which isn't ``head`` itself.

        Main merged into a branch and pushed fast-forward puts commits on the chain that don't.
        """
        commits = self._mirror.first_parents(head, ancestor)
        oldest_parents = self._mirror.history.parents(commits[-1])
        if oldest_parents and oldest_parents[0] == ancestor:
            return Chain(tuple(commits), True)
        low, high = 1, len(commits)  # commits[:low] descend; whoever descends, all newer ones do
        while low < high:
            middle = (low + high + 1) // 2
            if self._mirror.is_ancestor(ancestor, commits[middle - 1]):
                low = middle
            else:
                high = middle - 1
        return Chain(tuple(commits[:low]), False)

    def _deltas(self, spec: TargetSpec, head: str, until: str, chain: Chain) -> Iterable[Delta]:
        """The changes within a chain: against its oldest commit's parent only if the chain is linear."""
        inside = frozenset(chain.commits if chain.linear else chain.commits[:-1])
        for delta in self._contents.walk(spec, head, until):
            if delta.commit not in inside:
                return
            yield delta

    def _whole_chain(self, spec: TargetSpec, head: str, now: Mapping[Key, Content]) -> dict[Key, str]:
        if not now:
            return {}
        found, pending, oldest = _resolve(self._contents.walk(spec, head), now)
        return found | {key: oldest.get(key, head) for key in pending}


def _carried(now: Mapping[Key, Content], base: Base) -> tuple[dict[Key, str], dict[Key, Content]]:
    """Intents that stay as they were at the base, and what is left."""
    found: dict[Key, str] = {}
    left: dict[Key, Content] = {}
    for key, content in now.items():
        known = base.attempts.get(key)
        if known is not None and known.content == content:
            found[key] = known.intent
        else:
            left[key] = content
    return found, left


def _resolve(
    deltas: Iterable[Delta], now: Mapping[Key, Content]
) -> tuple[dict[Key, str], dict[Key, Content], dict[Key, str]]:
    """Walk back until every Rollout was something else.

    Returns the oldest commit of each unbroken run, the Rollouts whose run goes on beyond the deltas, and the oldest
    commit known to be in the run of each.
    """
    found: dict[Key, str] = {}
    pending = dict(now)
    values: dict[Key, object] = dict(now)
    oldest: dict[Key, str] = {}
    for delta in deltas:
        for key in [key for key in delta.before if key in pending]:
            if values[key] == pending[key]:
                oldest[key] = delta.commit
            before = delta.before[key]
            values[key] = before
            if before not in (pending[key], UNKNOWN):
                found[key] = oldest[key]
                del pending[key]
        if not pending:
            break
    return found, pending, oldest
