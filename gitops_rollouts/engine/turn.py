"""Whose turn it is: an update that begins only after another GitSync's (docs/decisions.md §5, ``spec.after``).

The gate stands before the first step. Once it was open, a mark on the ReplicaSet tells that the update has begun:
what the other GitSync does later takes nothing back.
"""

from __future__ import annotations

from gitops_rollouts.api.names import BEGUN
from gitops_rollouts.engine.blue_green.roles import is_unserved, within_delay
from gitops_rollouts.engine.observed import Authority
from gitops_rollouts.engine.plan import Action, PatchReplicaSet
from gitops_rollouts.engine.rollback import in_window
from gitops_rollouts.engine.scene import Scene


def is_queued(scene: Scene, authority: Authority) -> bool:
    """Whether the update may not begin yet. Ways back never wait, nor does what a person lets skip all its steps."""
    if not authority.waits or not authority.applied or authority.full or in_window(scene):
        return False
    if scene.blue_green is not None and (is_unserved(scene) or within_delay(scene) or _serves(scene)):
        return False
    return not _has_begun(scene, authority)


def begin(scene: Scene) -> tuple[Action, ...]:
    """The mark of an update whose turn has come."""
    authority = scene.observed.authority
    if authority is None or not authority.goes_after or not authority.intent:
        return ()
    idle = scene.first or scene.promoted or scene.changed or scene.status.abort
    if idle or scene.leave.held or _has_begun(scene, authority):
        return ()
    return (PatchReplicaSet(scene.new.name, annotations={BEGUN: authority.intent}),)


def _has_begun(scene: Scene, authority: Authority) -> bool:
    """Not by the step's index, which any client may write."""
    marked = scene.new.annotations.get(BEGUN, "")
    return marked != "" and (marked == authority.intent or marked in authority.former)


def _serves(scene: Scene) -> bool:
    blue_green = scene.blue_green
    return blue_green is not None and scene.observed.selected(blue_green.active_service) == scene.pod_hash
