"""The Services of a basic canary (docs/behaviour.md §14.1, §14.2)."""

from __future__ import annotations

from gitops_rollouts.api.names import POD_TEMPLATE_HASH
from gitops_rollouts.engine import events
from gitops_rollouts.engine.observed import ReplicaSet, Service
from gitops_rollouts.engine.plan import Action, PointService
from gitops_rollouts.engine.scene import Scene, hash_of


def point(scene: Scene) -> tuple[Action, ...]:
    """Point the stable Service at the stable pods, then the canary Service at the new ones (the stable, on abort)."""
    canary_target = scene.stable if scene.aborted and scene.stable is not None else scene.new
    return (
        *_pointed(scene, scene.canary.stable_service, scene.stable),
        *_pointed(scene, scene.canary.canary_service, canary_target),
    )


def _pointed(scene: Scene, name: str, target: ReplicaSet | None) -> tuple[Action, ...]:
    service = scene.observed.services.get(name) if name else None
    if service is None or target is None:
        return ()
    before, after = service.selector.get(POD_TEMPLATE_HASH, ""), hash_of(target)
    if before == after or not _ready(service, target):
        return ()
    managed_by = scene.observed.rollout.metadata.name if service.managed_by is None else None
    return PointService(name, after, managed_by), events.switched(name, before, after)


def _ready(service: Service, target: ReplicaSet) -> bool:
    """A Service of ours needs one available pod; one that isn't yet needs all of them."""
    if service.managed_by is None:
        return target.replicas != 0 and target.available >= target.replicas
    return target.available >= 1
