"""``spec.restartAt``: replace old pods by evictions, a few at a time (docs/behaviour.md §12)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from gitops_rollouts.engine.moments import until
from gitops_rollouts.engine.plan import Action, EvictPod
from gitops_rollouts.engine.scene import Scene

_AGAIN: Final = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Restarted:
    """Evictions end the pass without a status. ``restarted_at``: set if no old pod is left."""

    actions: tuple[Action, ...] = ()
    restarted_at: datetime | None = None
    look_again: timedelta | None = None


def restart(scene: Scene) -> Restarted:
    """What this pass does for the restart that is wanted."""
    asked, done = scene.spec.restart_at, scene.status.restarted_at
    wanted = None if asked is None else asked.replace(microsecond=0)
    if wanted is None or wanted == done:
        return Restarted(restarted_at=done)
    if scene.now < wanted:
        return Restarted(restarted_at=done, look_again=until(wanted, scene.now))
    pods = scene.observed.pods
    if pods is None:
        return Restarted(restarted_at=done, look_again=_AGAIN)
    owners = {replica_set.uid for replica_set in scene.all}
    ours = [pod for pod in pods if pod.owner_uid in owners]
    wanted_pods = max(scene.replicas, sum(replica_set.replicas for replica_set in scene.all))
    available = sum(1 for pod in ours if pod.available and not pod.deleting)
    allowed = available - (wanted_pods - max(scene.bounds.unavailable, 1))
    old = [pod for pod in ours if pod.created < wanted]
    staying = [pod for pod in old if not pod.deleting]
    if not old:
        return Restarted(restarted_at=wanted)
    # all of them: a pod that a PodDisruptionBudget keeps must not use up what others may have
    actions = tuple(EvictPod(pod.name, pod.uid, allowed) for pod in staying) if allowed > 0 else ()
    return Restarted(actions, done, _AGAIN)
