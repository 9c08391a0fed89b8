"""The Services of a canary (docs/behaviour.md §14.1 to §14.3)."""

from __future__ import annotations

from gitops_rollouts.engine import events, routed_sizes, traffic
from gitops_rollouts.engine.desired import share
from gitops_rollouts.engine.observed import ReplicaSet, Service
from gitops_rollouts.engine.plan import Action, PointService
from gitops_rollouts.engine.scene import Scene, hash_of
from gitops_rollouts.engine.traffic import Target


def point(scene: Scene, wanted: Target | None) -> tuple[Action, ...]:
    """Point ping and pong, then the stable Service at the stable pods, then the canary Service at the new ones.

    ``wanted``: where this pass sends the traffic, None without routers.
    """
    return (
        *_ping_pong(scene),
        *_pointed(scene, scene.canary.stable_service, scene.stable),
        *_canary(scene, wanted),
    )


def _ping_pong(scene: Scene) -> tuple[Action, ...]:
    """The stable side keeps its pods; the other one gets the new version's while there is an update (§14.3)."""
    if scene.canary.ping_pong is None:
        return ()
    canary_side, stable_side = traffic.service_names(scene)
    actions = _pointed(scene, stable_side, scene.stable)
    if scene.promoted or _busy(scene, canary_side):
        return actions
    return (*actions, *_pointed(scene, canary_side, scene.new, at_once=True))


def _busy(scene: Scene, canary_side: str) -> bool:
    """Whether the canary's side has traffic that the new version can't take, or must not take all at once."""
    recorded = scene.recorded
    if scene.new.available == 0 and _serves(scene, canary_side):
        return True  # what is recorded may not be what the routers were told last
    if recorded is None:
        return False
    if (recorded.canary.weight > 0 and scene.new.available == 0) or _overwhelmed(scene, canary_side):
        return True
    # promoted, but the routers haven't been told yet: the former stable version still has its share over this side
    former, behind = recorded.stable.pod_template_hash, scene.observed.selected(canary_side)
    if recorded.stable.weight <= 0 or not former or behind != former or former == scene.status.stable_rs:
        return False
    return any(hash_of(other) == former and other.available > 0 for other in scene.others)


def _serves(scene: Scene, name: str) -> bool:
    """Whether another version than the new one serves behind this Service."""
    found = scene.with_hash(scene.observed.selected(name))
    return found is not None and found.name != scene.new.name and found.available > 0


def _overwhelmed(scene: Scene, name: str) -> bool:
    """Whether the new version would get the traffic of the one that it supersedes, and has too few pods for it.

    So a third version in an update waits until the routers know of it.
    """
    recorded = scene.recorded
    if recorded is None or recorded.canary.pod_template_hash == scene.pod_hash or not _serves(scene, name):
        return False
    whole = routed_sizes.recorded_whole(scene, recorded)
    return scene.new.available < share(scene.replicas, recorded.canary.weight, whole)


def _canary(scene: Scene, wanted: Target | None) -> tuple[Action, ...]:
    """On abort it selects stable pods; a routed one as soon as nothing of its weight is left (§15.1)."""
    name, stable = scene.canary.canary_service, scene.stable
    if wanted is not None and wanted.frozen:
        return ()
    if not scene.aborted or stable is None:
        if not scene.promoted and _overwhelmed(scene, name):
            return ()
        return _pointed(scene, name, scene.new)
    if not scene.routed:
        return _pointed(scene, name, stable)
    if scene.dynamic and wanted is not None and not (wanted.weight == 0 and traffic.opens(scene, wanted)):
        return ()
    return _pointed(scene, name, stable, at_once=True) if stable.available >= 1 else ()


def _pointed(scene: Scene, name: str, target: ReplicaSet | None, *, at_once: bool = False) -> tuple[Action, ...]:
    service = scene.observed.services.get(name) if name else None
    if service is None or target is None:
        return ()
    before, after = scene.observed.selected(name), hash_of(target)
    if before == after or not (at_once or _ready(service, target)):
        return ()
    managed_by = scene.observed.rollout.metadata.name if service.managed_by is None else None
    return PointService(name, after, managed_by), events.switched(name, before, after)


def _ready(service: Service, target: ReplicaSet) -> bool:
    """A Service of ours needs one available pod; one that isn't yet needs all of them."""
    if service.managed_by is None:
        return target.replicas != 0 and target.available >= target.replicas
    return target.available >= 1
