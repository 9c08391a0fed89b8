"""Rollbacks that need no steps (docs/behaviour.md §11.4, docs/decisions.md R2)."""

from __future__ import annotations

from typing import Final

from gitops_rollouts.api.names import PROVEN
from gitops_rollouts.engine.plan import Action, PatchReplicaSet
from gitops_rollouts.engine.scene import Scene

_DEFAULT_WINDOW: Final = 1
"""For a Rollout that a GitSync applies and that sets no window: a plain ``git revert`` is fast, to what was stable."""


def prove(scene: Scene) -> tuple[Action, ...]:
    """Mark the ReplicaSet of a version that became stable: one that was left behind at a gate never passes it so."""
    if scene.observed.authority is None or not scene.promoted or PROVEN in scene.new.annotations:
        return ()
    return (PatchReplicaSet(scene.new.name, annotations={PROVEN: "true"}),)


def is_older(scene: Scene) -> bool:
    """Whether the new version existed before the stable one. Equal times are not older."""
    return scene.apart is not None and scene.new.created < scene.apart.created


def in_window(scene: Scene) -> bool:
    """Whether the update goes back to a version so recent that steps and pauses are skipped.

    Where Git decides, only to one that was stable: a version that a gate has stopped doesn't pass it for being old.
    """
    window, managed = scene.spec.rollback_window, scene.observed.authority is not None
    if managed and PROVEN not in scene.new.annotations:
        return False
    revisions = (_DEFAULT_WINDOW if managed else 0) if window is None else window.revisions
    stable = scene.apart
    if stable is None or revisions <= 0 or not is_older(scene):
        return False
    between = sum(1 for other in scene.others if scene.new.created < other.created < stable.created)
    return between < revisions


def skips_steps(scene: Scene) -> bool:
    """Whether this update runs without its steps: a full promotion, or a rollback in the window.

    Where Git decides, an abort is stronger than either (docs/decisions.md §1.2).
    """
    if scene.promoted:
        return False
    if scene.aborted and scene.observed.authority is not None:
        return False
    return scene.status.promote_full or in_window(scene)
