"""Which share of the traffic, and of the pods, a step wants (docs/behaviour.md §8.2)."""

from __future__ import annotations

from typing import Final

from gitops_rollouts.api.steps import SetCanaryScale
from gitops_rollouts.engine.scene import Scene

DEFAULT_ABORT_DELAY: Final = 30


def weight(scene: Scene, index: int | None) -> int:
    """The canary weight of this step; `canary_scale` may want another number of pods."""
    whole = scene.whole
    if scene.status.promote_full or scene.first or scene.promoted:
        return whole
    if scene.aborted:
        return 0
    if index is None:
        return 0 if scene.steps else whole
    if index >= len(scene.steps):
        return whole
    return nearest(scene, index)


def nearest(scene: Scene, index: int) -> int:
    """The weight of the last setWeight at or before this step; 0 if there is none."""
    past = (step.set_weight for step in reversed(scene.steps[: max(0, index + 1)]))
    found = next((value for value in past if value is not None), 0)
    return min(max(0, found), scene.whole)


def canary_scale(scene: Scene, index: int | None) -> SetCanaryScale | None:
    """The setCanaryScale that sizes the canary at this step; None where the pods follow the traffic."""
    if not scene.routed or index is None or index >= len(scene.steps):
        return None
    if scene.status.promote_full or scene.first or scene.promoted:
        return None
    if scene.aborted and abort_delay(scene) > 0:
        return None
    past = (step.set_canary_scale for step in reversed(scene.steps[: index + 1]))
    found = next((scale for scale in past if scale is not None), None)
    return None if found is None or found.match_traffic_weight else found


def abort_delay(scene: Scene) -> int:
    """For how many seconds an aborted canary stays up (§8.7); 0: not at all."""
    seconds = scene.canary.abort_scale_down_delay_seconds
    return DEFAULT_ABORT_DELAY if seconds is None else max(0, seconds)


def delayed_on_abort(scene: Scene) -> bool:
    """Whether the aborted canary stays up for a while once the stable version has its full size (§8.7)."""
    if not scene.aborted or not scene.routed or scene.stable is None or abort_delay(scene) == 0:
        return False
    return not scene.dynamic or scene.canary.abort_scale_down_delay_seconds is not None


def ladder(scene: Scene) -> int:
    """The setWeight to which an abort with dynamicStableScale steps back now (§8.4).

    The highest, from the last step backwards, that needs fewer pods than the stable version still lacks, or than the
    canary has; 0 below the first.
    """
    stable = scene.stable
    lacking = scene.replicas - (stable.available if stable is not None else 0)
    explicit = scene.canary.abort_scale_down_delay_seconds
    count = lacking if explicit is not None and explicit > 0 else max(lacking, scene.new.available)
    for step in reversed(scene.steps):
        if step.set_weight is not None and share(scene.replicas, step.set_weight, scene.whole) < count:
            return min(max(0, step.set_weight), scene.whole)
    return 0


def share(replicas: int, part: int, whole: int) -> int:
    """How many of ``replicas`` carry ``part`` of ``whole``, rounded up."""
    return -(-replicas * min(max(0, part), whole) // whole)
