"""What the tree says of the attempt that sync applied, as the engine takes it (docs/decisions.md §1.1, §2, §4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Protocol

from gitops_rollouts.api.hashing import pod_template_hash
from gitops_rollouts.controllers.observe import Key, LiveRollout
from gitops_rollouts.decisions.asking import Asking
from gitops_rollouts.decisions.gates import asks_person
from gitops_rollouts.decisions.identity import steps_digest
from gitops_rollouts.decisions.message import at_step
from gitops_rollouts.decisions.planning.outbox import pending, read_asked
from gitops_rollouts.decisions.planning.wants import outbox_entry, told_id
from gitops_rollouts.decisions.state import InGit
from gitops_rollouts.engine.observed import Authority, TreeAbort, Workload

Version = tuple[str | int, ...]
"""uid and generation of a Rollout; uid and template of the workload that it refers to."""
_MAX_STAMP: Final = 1024
_DIGITS: Final = 12
"""So much of an intent is shown, and told to the engine."""
_ALL_GATES: Final = 2**31 - 1
_SETTLE: Final = timedelta(seconds=3)
"""Sync applies and then stamps: a change of the spec that has no stamp yet isn't somebody's edit for so long."""

_FIRST_LOOK: Final = timedelta(seconds=8)
"""A process that has just started hasn't asked any remote yet: that alone makes no Rollout's Git stale."""
_LOOK_AGAIN: Final = timedelta(seconds=1)
_APPLYING: Final = timedelta(seconds=10)
"""Sync publishes what it read and then applies it: for so long that is no news for a status."""
_CONFIRMING: Final = timedelta(seconds=15)
"""A forge is asked again by every process that starts, and after every merge: for so long that is no news either."""


class GitView(Protocol):
    """What the controllers read of Git: a `decisions.board.Board`, and which GitSyncs there are."""

    def get(self, namespace: str, name: str) -> InGit | None: ...

    def fetched_at(self, target: str) -> datetime | None: ...

    def see_abort(self, namespace: str, name: str, aborted_at: str | None) -> None: ...

    def withdrawn(self, namespace: str, name: str) -> frozenset[str]: ...

    def refused(self, namespace: str, name: str) -> frozenset[str]: ...

    def asking(self, target: str) -> Asking: ...

    def expects(self, target: str) -> bool:
        """A GitSync of this name exists, whether or not its tree could be read yet."""
        ...


class Staleness(Protocol):
    """How old the last good fetch of a GitSync may be."""

    def __call__(self, target: str) -> timedelta: ...


def read_stamp(text: str) -> dict[str, str]:
    """The tokens of an ``applied`` annotation. Total: what isn't ``k=v`` is left out."""
    tokens = (part.partition("=") for part in text[:_MAX_STAMP].split())
    return {key: value for key, separator, value in tokens if separator}


@dataclass(frozen=True, slots=True)
class Reading:
    """What `AuthorityReader.read` found. ``wait``: decide nothing yet, sync is about to stamp what it applied."""

    authority: Authority | None = None
    wait: timedelta | None = None


class AuthorityReader:
    """Remembers the digests of each live object's spec, which are the costly part."""

    def __init__(self, git: GitView, staleness: Staleness) -> None:
        self._git = git
        self._staleness = staleness
        self._digests: dict[Key, _Digests] = {}
        self._behind: dict[Key, datetime] = {}
        self._unconfirmed: dict[Key, datetime] = {}
        self._first_read: datetime | None = None

    def read(self, live: LiveRollout, now: datetime, workload: Workload | None = None) -> Reading:
        """The authority over one live Rollout; none if no GitSync applies it. ``workload``: what it refers to.

        Calls `see_abort` first, so that an abort that was taken back in Git is told from a new one.
        """
        namespace, name = live.key
        aborted_at = live.status.get("abortedAt")
        self._git.see_abort(namespace, name, aborted_at if isinstance(aborted_at, str) else None)
        state = self._git.get(namespace, name)
        stamp = read_stamp(live.stamp)
        target = state.target if state is not None else stamp.get("target", "")
        if state is None and not (target and self._git.expects(target)):
            return Reading()
        digests = self._digests_of(live, workload, now)
        applied = stamp.get("target") == target and digests.matches(stamp)
        if not applied and now - digests.seen < _SETTLE:
            return Reading(wait=_SETTLE - (now - digests.seen))
        fetched = self._git.fetched_at(target)
        asked_to_abort = live.status.get("abort") is True and not aborted_at
        if fetched is None and now - self._began(now) < _FIRST_LOOK and not asked_to_abort:
            return Reading(wait=_LOOK_AGAIN)
        command = f"gor promote {name} -n {namespace}"
        fresh = fetched is not None and now - fetched <= self._staleness(target)
        unconfirmed = state is not None and bool(state.unconfirmed)
        if not unconfirmed:
            self._unconfirmed.pop(live.key, None)
        if state is None or unconfirmed or (applied and _is_behind(live, stamp, state)):
            # the tree can't be read, speaks of another attempt than the one that runs (§1.1), or of what a forge has to
            # confirm (§6): nothing goes on, and nothing looks withdrawn
            if fresh and applied and not unconfirmed and live.status.get("abort") is not True:
                since = self._behind.setdefault(live.key, now)
                if now - since < _APPLYING:
                    return Reading(wait=_LOOK_AGAIN)
            behind = fresh and not unconfirmed
            held = Authority(target, False, applied, _ALL_GATES, True, promote_command=command, behind=behind)
            if fresh and unconfirmed:
                unsaid = now - self._unconfirmed.setdefault(live.key, now) < _CONFIRMING
                held = replace(held, unconfirmed=True, unsaid=unsaid)
            return Reading(held)
        self._behind.pop(live.key, None)
        asking = self._git.asking(target)
        over, refused = _asked(live, state, asking, self._git.refused(namespace, name))
        return Reading(
            Authority(
                target=target,
                fresh=fresh,
                applied=applied,
                approved_through=state.approved_through,
                full=state.full,
                approved_active=state.approved_active,
                abort=_tree_abort(live, state),
                withdrawn=self._git.withdrawn(namespace, name),
                promote_command=command,
                intent=state.attempt.intent[:_DIGITS] if applied else "",
                former=_former(stamp, state),
                goes_after=state.goes_after,
                waits=state.waits,
                commits_promotions=asking.commits,
                why_not=asking.why_not,
                asked_over=over,
                asked_refused=refused,
            )
        )

    def forget(self, key: Key) -> None:
        """The object is gone."""
        self._digests.pop(key, None)
        self._behind.pop(key, None)
        self._unconfirmed.pop(key, None)

    def _began(self, now: datetime) -> datetime:
        if self._first_read is None:
            self._first_read = now
        return self._first_read

    def _digests_of(self, live: LiveRollout, workload: Workload | None, now: datetime) -> _Digests:
        meta = live.rollout.metadata
        known = self._digests.get(live.key)
        version: Version = (meta.uid, meta.generation)
        hashed = ""
        if workload is not None:
            # not by its generation, which a size changes too
            hashed = pod_template_hash(workload.template, None)
            version += (workload.uid, hashed)
        if known is None or known.version != version:
            if workload is None and live.rollout.spec.template is not None:
                hashed = pod_template_hash(live.rollout.spec.template, None)
            known = _Digests(version, hashed, steps_digest({"spec": live.spec}), now)
            self._digests[live.key] = known
        return known


def _is_behind(live: LiveRollout, stamp: Mapping[str, str], state: InGit) -> bool:
    """Whether Git wants another attempt than the one that was applied, or a gate that the live object lacks.

    The gate of blue-green is a field that no digest covers: without this, an edit of the live object would open it.
    """
    if (stamp.get("template"), stamp.get("steps")) != state.attempt.content:
        return True
    return state.gated and not asks_person({"spec": live.spec})


def _former(stamp: Mapping[str, str], state: InGit) -> frozenset[str]:
    """The names that the intent lost to rewritten history: from Git, or after a restart from the stamp."""
    told = stamp.get("former", "").split(",") if stamp.get("intent") == state.attempt.intent else ()
    return frozenset(name[:_DIGITS] for name in (*state.former, *told) if name)


def _asked(
    live: LiveRollout, state: InGit, asking: Asking, refused: frozenset[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Of the promotions in the outbox: the ids of those that are over, and the gates of those that Git took back."""
    asked = read_asked(live.outbox)
    open_ones = pending(live.outbox, state) if asking.commits and live.status.get("abort") is not True else ()
    over = tuple(each.id for each in asked if each not in open_ones or each.id in refused)
    return over, tuple(str(each.gate) for each in open_ones if each.id in refused)


def _tree_abort(live: LiveRollout, state: InGit) -> TreeAbort | None:
    if state.abort is None:
        return None
    noted = told_id(outbox_entry(live.outbox, str(live.status.get("abortedAt") or "")))
    return TreeAbort(state.abort_commit, _abort_cause(state), state.abort.id, noted == state.abort.id)


@dataclass(frozen=True, slots=True)
class _Digests:
    """What a live object's spec digests to, and when this process first saw that generation."""

    version: Version
    template_hash: str
    steps: str
    seen: datetime

    def matches(self, stamp: Mapping[str, str]) -> bool:
        return (self.template_hash, self.steps) == (stamp.get("hash"), stamp.get("steps"))


def _abort_cause(state: InGit) -> str:
    """Who aborted, and where; the commit is named beside it."""
    if state.abort is None or not state.abort.id:
        return ", ".join(part for part in (state.abort_by, "by a line that can't be read") if part)
    where = at_step(state.attempt, state.abort.at).strip()
    return ", ".join(part for part in (state.abort_by, where) if part)
