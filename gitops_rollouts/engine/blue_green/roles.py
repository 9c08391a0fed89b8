"""Who serves, and which shortcut this update takes (docs/behaviour.md §10 "Ways without a pause").

Everything here is as it was when the pass began, before any Service or ReplicaSet was touched.
"""

from __future__ import annotations

from dataclasses import dataclass

from gitops_rollouts.api.names import PROVEN, SCALE_DOWN_DEADLINE
from gitops_rollouts.api.strategy import BlueGreenStrategy
from gitops_rollouts.engine.delay import deadline_of
from gitops_rollouts.engine.observed import ReplicaSet
from gitops_rollouts.engine.rollback import in_window, is_older, skips_steps
from gitops_rollouts.engine.scene import INCONCLUSIVE, Scene, pause_of


@dataclass(frozen=True, slots=True)
class Roles:
    """One pass of a blue-green Rollout. ``active``: the ReplicaSet that the active Service selects, if there is one."""

    strategy: BlueGreenStrategy
    active: ReplicaSet | None
    serves: bool
    """The active Service selects the new version."""
    aborted: bool
    """Aborted, and nothing lifts that in this pass."""
    halted: bool
    """``spec.paused``, an inconclusive analysis, or not its turn yet: the preview, the pause and the switch wait."""
    held: bool
    """Git lets nothing move forward (docs/decisions.md §4)."""
    gated: bool
    """The active Service may not move to the new version, as Git doesn't approve it."""
    unserved: bool
    """Nothing serves yet, so there is nothing to be careful of: a first deploy."""
    within_delay: bool
    """Back to a version that is still up because its scale-down delay runs."""
    back: bool
    """A rollback that needs no pause and no analysis."""
    fast: bool
    """No pause and no analysis: a rollback, a full promotion, a first deploy, or the switch is done already."""

    @property
    def shown(self) -> bool:
        """Whether an analysis has anything to say: not of an abort or a shortcut."""
        return not (self.aborted or self.back or self.unserved)


def roles_of(scene: Scene) -> Roles:
    """The roles of this pass."""
    strategy = scene.blue_green or BlueGreenStrategy()
    active = scene.with_hash(scene.observed.selected(strategy.active_service))
    unserved, waiting = is_unserved(scene), within_delay(scene)
    back = scene.promoted or waiting or in_window(scene)
    gated = is_gated(scene)
    serves = active is not None and active.name == scene.new.name
    return Roles(
        strategy=strategy,
        active=active,
        serves=serves,
        aborted=scene.aborted and not skips_steps(scene),
        halted=(
            scene.spec.paused or scene.leave.queued or pause_of(scene.status.pause_conditions, INCONCLUSIVE) is not None
        ),
        held=scene.leave.held,
        gated=gated,
        unserved=unserved,
        within_delay=waiting,
        back=back,
        fast=back or scene.status.promote_full or unserved or (serves and not gated),
    )


def is_unserved(scene: Scene) -> bool:
    """Whether the active Service selects no version of ours, and there is no stable one that could serve instead.

    Where Git decides, a stable version that has served before is waited for: its pods are down, its approval stands.
    """
    if scene.first:
        return True
    strategy, apart = scene.blue_green, scene.apart
    if strategy is None or scene.with_hash(scene.observed.selected(strategy.active_service)) is not None:
        return False
    if scene.promoted or apart is None:
        return True
    has_served = scene.observed.authority is not None and PROVEN in apart.annotations
    return apart.available < 1 and not has_served


def within_delay(scene: Scene) -> bool:
    """Whether the update goes back to a version that was left so recently that its pods were kept.

    Not after a retry, whose delay is the abort's. Where Git decides, only to a version that was the stable one: a
    preview that another one replaced never passes its gate for being old (docs/behaviour.md §11.4).
    """
    if not is_older(scene):
        return False
    if scene.observed.authority is not None and PROVEN not in scene.new.annotations:
        return False
    if scene.status.aborted_at is not None and not scene.changed:
        return False
    end = deadline_of(scene.new.annotations.get(SCALE_DOWN_DEADLINE))
    return end is not None and end > scene.now


def needs_approval(scene: Scene) -> bool:
    """Whether Git has to approve this update: ``autoPromotionEnabled: false``, and no rollback or first deploy."""
    strategy = scene.blue_green
    if scene.observed.authority is None or strategy is None or strategy.auto_promotion:
        return False
    return not (scene.promoted or is_unserved(scene) or in_window(scene) or within_delay(scene))


def is_gated(scene: Scene) -> bool:
    """Whether it has to and doesn't."""
    authority = scene.observed.authority
    if authority is None or not needs_approval(scene):
        return False
    return not (authority.approved_active or authority.full)
