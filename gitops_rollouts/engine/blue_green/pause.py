"""The pause before the switch (docs/behaviour.md §10 "The pause")."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from gitops_rollouts.api.status import PauseCondition
from gitops_rollouts.engine import moments
from gitops_rollouts.engine.blue_green.roles import Roles, is_gated, needs_approval
from gitops_rollouts.engine.blue_green.sizes import Sized
from gitops_rollouts.engine.scene import BLUE_GREEN_PAUSE, Scene, pause_of


@dataclass(frozen=True, slots=True)
class Pausing:
    """``completed``: the switch needs no pause any more. ``resumed``: somebody ended it, and it has no effect yet."""

    completed: bool = False
    added: PauseCondition | None = None
    resumed: bool = False
    look_again: timedelta | None = None


def pausing(scene: Scene, roles: Roles, sized: Sized, *, analysed: bool) -> Pausing:
    """Begin the pause, end it, or wait for it. ``analysed``: no analysis is waited for before it."""
    if roles.aborted:
        return Pausing()
    strategy, status = roles.strategy, scene.status
    if roles.fast or (status.blue_green.scale_up_preview_check_point and not roles.gated):
        return Pausing(completed=True)
    resumed = scene.resumed and not roles.gated
    if roles.halted or not sized.ready or not analysed:
        return Pausing(resumed=resumed and analysed)
    running = pause_of(status.pause_conditions, BLUE_GREEN_PAUSE)
    needless = strategy.auto_promotion and strategy.auto_promotion_seconds <= 0
    if running is not None and not needless:
        return _running(scene, roles, running)
    approved = needs_approval(scene) and not is_gated(scene) and not roles.held
    if needless or resumed or approved:
        return Pausing(completed=not roles.held, resumed=resumed and roles.held)
    added = PauseCondition(reason=BLUE_GREEN_PAUSE, start_time=scene.stamp)
    return Pausing(added=added, look_again=_running(scene, roles, added).look_again)


def _running(scene: Scene, roles: Roles, pause: PauseCondition) -> Pausing:
    """A pause of ``autoPromotionSeconds`` ends by itself; where people decide, it never does."""
    strategy = roles.strategy
    if not strategy.auto_promotion or pause.start_time is None or roles.held:
        return Pausing()
    end = moments.after(pause.start_time, max(0, strategy.auto_promotion_seconds))
    if scene.now >= end:
        return Pausing(completed=True)
    return Pausing(look_again=moments.until(end, scene.now))
