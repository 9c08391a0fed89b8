"""What the tree says of the attempt that sync applied, as the engine takes it (docs/decisions.md §1.1, §2, §4)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Protocol

from gitops_rollouts.api.hashing import pod_template_hash
from gitops_rollouts.controllers.observe import Key, LiveRollout
from gitops_rollouts.decisions.identity import steps_digest
from gitops_rollouts.decisions.state import InGit
from gitops_rollouts.engine.observed import Authority, TreeAbort

_MAX_STAMP = 1024


class GitView(Protocol):
    """What the controllers read of Git; `decisions.board.Board` fits."""

    def get(self, namespace: str, name: str) -> InGit | None: ...

    def fetched_at(self, target: str) -> datetime | None: ...

    def see_abort(self, namespace: str, name: str, aborted_at: str | None) -> None: ...

    def withdrawn(self, namespace: str, name: str) -> frozenset[str]: ...


class Staleness(Protocol):
    """How old the last good fetch of a GitSync may be."""

    def __call__(self, target: str) -> timedelta: ...


def read_stamp(text: str) -> dict[str, str]:
    """The tokens of an ``applied`` annotation. Total: what isn't ``k=v`` is left out."""
    tokens = (part.partition("=") for part in text[:_MAX_STAMP].split())
    return {key: value for key, separator, value in tokens if separator}


class AuthorityReader:
    """Remembers the digests of each live object's spec, which are the costly part."""

    def __init__(self, git: GitView, staleness: Staleness) -> None:
        self._git = git
        self._staleness = staleness
        self._digests: dict[Key, tuple[str, int, str, str]] = {}

    def read(self, live: LiveRollout, now: datetime) -> Authority | None:
        """The authority over one live Rollout; None if no GitSync applies it.

        Calls `see_abort` first, so that an abort that was taken back in Git is told from a new one.
        """
        namespace, name = live.key
        aborted_at = live.status.get("abortedAt")
        self._git.see_abort(namespace, name, aborted_at if isinstance(aborted_at, str) else None)
        state = self._git.get(namespace, name)
        if state is None:
            return None
        fetched = self._git.fetched_at(state.target)
        return Authority(
            target=state.target,
            fresh=fetched is not None and now - fetched <= self._staleness(state.target),
            applied=self._is_applied(live, state),
            approved_through=state.approved_through,
            full=state.full,
            abort=TreeAbort(state.abort_commit, state.abort_text) if state.abort is not None else None,
            withdrawn=self._git.withdrawn(namespace, name),
            promote_command=f"gor promote {name} -n {namespace}",
        )

    def state(self, live: LiveRollout) -> InGit | None:
        """What Git says of this Rollout."""
        return self._git.get(*live.key)

    def forget(self, key: Key) -> None:
        """The object is gone."""
        self._digests.pop(key, None)

    def _is_applied(self, live: LiveRollout, state: InGit) -> bool:
        """Template and steps of the live object are those that sync applied, and those that the tree speaks of."""
        stamp = read_stamp(live.stamp)
        if stamp.get("target") != state.target:
            return False
        if (stamp.get("template"), stamp.get("steps")) != state.attempt.content:
            return False
        return self._live_digests(live) == (stamp.get("hash"), stamp.get("steps"))

    def _live_digests(self, live: LiveRollout) -> tuple[str, str]:
        meta = live.rollout.metadata
        known = self._digests.get(live.key)
        if known is None or known[:2] != (meta.uid, meta.generation):
            template = live.rollout.spec.template
            hashed = pod_template_hash(template, None) if template is not None else ""
            known = (meta.uid, meta.generation, hashed, steps_digest({"spec": live.spec}))
            self._digests[live.key] = known
        return known[2:]
