"""For which intent an update runs: the mark on its ReplicaSet (docs/decisions.md §1.1, §3 R11, R13).

A revert and its revert, fetched at once, change neither template nor steps: the mark alone tells that what runs is
another attempt. So it is never set before the status has begun anew, and a crash between the two does no harm.
"""

from __future__ import annotations

from collections.abc import Mapping

from gitops_rollouts.api.names import INTENT
from gitops_rollouts.engine.observed import Authority
from gitops_rollouts.engine.scene import Scene


def mark(authority: Authority | None) -> dict[str, str]:
    """The annotation of a ReplicaSet that is created for the applied attempt."""
    if authority is None or not authority.applied or not authority.intent:
        return {}
    return {INTENT: authority.intent}


def is_new(scene: Scene) -> bool:
    """Whether the running update is for another intent than Git's, though its template and steps are the same.

    Never if the mark is missing, or if only history was rewritten (R6).
    """
    authority, marked = scene.observed.authority, scene.new.annotations.get(INTENT)
    if authority is None or not mark(authority) or marked is None or scene.first or scene.promoted:
        return False
    return marked != authority.intent and marked not in authority.former


def correction(scene: Scene, changes: Mapping[str, str]) -> dict[str, str]:
    """The mark if it is wrong and matters: an update runs, or the ReplicaSet is patched with ``changes`` anyway."""
    wanted = mark(scene.observed.authority)
    if wanted.items() <= scene.new.annotations.items():
        return {}
    running = not scene.first and not scene.promoted
    return wanted if running or changes else {}
