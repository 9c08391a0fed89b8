"""The sizes of a canary whose traffic is routed: pods follow their traffic (docs/behaviour.md §8.4, §8.7)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from gitops_rollouts.api.names import SCALE_DOWN_DEADLINE
from gitops_rollouts.api.status import TrafficWeights
from gitops_rollouts.api.strategy import UNLIMITED_REVISIONS
from gitops_rollouts.engine.delay import delayed
from gitops_rollouts.engine.desired import abort_delay, canary_scale, delayed_on_abort, ladder, share, weight
from gitops_rollouts.engine.observed import ReplicaSet
from gitops_rollouts.engine.scene import Scene, desired_of, hash_of


@dataclass(frozen=True, slots=True)
class Traffic:
    """What scaling has to know of the routers: the weights as they stand after this pass has routed.

    ``proven``: False while a router still has to confirm them.
    """

    weights: TrafficWeights | None
    proven: bool = True


@dataclass(frozen=True, slots=True)
class RoutedSizes:
    """The sizes to ask for now. ``deadline``: what the new ReplicaSet's scale-down-deadline should be."""

    new: int
    stable: int
    deadline: str | None = None
    look_again: timedelta | None = None


def split(scene: Scene, index: int | None) -> tuple[int, int]:
    """(new, stable): the sizes that this step ends at, wherever the traffic is now."""
    if scene.first or scene.promoted:
        return scene.replicas, 0
    scale = canary_scale(scene, index)
    if scale is not None and scale.replicas is not None:
        return max(0, scale.replicas), _stable(scene, 0)
    if scale is not None and scale.weight is not None:
        part = scale.weight
    else:
        part = ladder(scene) if scene.aborted and scene.dynamic else weight(scene, index)
    return _floored(scene, share(scene.replicas, part, scene.whole)), _stable(scene, part)


def _stable(scene: Scene, part: int) -> int:
    if not scene.dynamic:
        return scene.replicas
    return _floored(scene, share(scene.replicas, scene.whole - part, scene.whole))


def _floored(scene: Scene, count: int) -> int:
    """minPodsPerReplicaSet, of which 0 pods are excepted."""
    least = scene.canary.min_pods_per_replica_set
    return count if count == 0 or least is None else max(count, min(least, scene.replicas))


def carried(scene: Scene, weights: TrafficWeights | None, replica_set: ReplicaSet) -> int:
    """The traffic that these weights send to the ReplicaSet, as a weight of today's maxTrafficWeight.

    The most that it can be, if that was another one when they were recorded.
    """
    if weights is None:
        return 0
    every = (weights.canary, weights.stable, *weights.additional)
    part = sum(max(0, one.weight) for one in every if one.pod_template_hash == hash_of(replica_set))
    return max(min(part, scene.whole), share(scene.whole, part, recorded_whole(scene, weights)))


def recorded_whole(scene: Scene, weights: TrafficWeights) -> int:
    """The whole that these weights are parts of: maxTrafficWeight may be another one by now (§8.4)."""
    every = (weights.canary, weights.stable, *weights.additional)
    return sum(max(0, one.weight) for one in every) or scene.whole


def next_sizes(scene: Scene, traffic: Traffic) -> RoutedSizes:
    """The sizes of the new and the stable ReplicaSet, as far as traffic and Git let them change."""
    if scene.first and scene.leave.tree_abort is not None:
        return RoutedSizes(0, 0)
    back_to = scene.leave.back_to
    index = scene.status.current_step_index if back_to is None else back_to
    new, stable = split(scene, index)
    if scene.first or scene.promoted:
        return RoutedSizes(new, stable)
    if scene.leave.held and not scene.aborted:
        kept = 0 if scene.leave.queued else _kept(scene, scene.new)
        new = kept if scene.leave.edited else min(new, kept)
        if scene.leave.queued:  # traffic that an earlier version still has comes back
            stable = max(stable, scene.replicas)
    stable = _while_traffic_is_there(scene, traffic, stable)
    new = _not_before_its_traffic(scene, traffic, index, new)
    if delayed_on_abort(scene):
        return _waiting(scene, traffic, stable)
    if _alone(scene):
        new = max(new, min(scene.new.replicas, scene.replicas))
    return RoutedSizes(new, stable)


def _alone(scene: Scene) -> bool:
    """Whether an aborted canary has the only pods that serve: the last write of its weights may have been lost."""
    stable = scene.apart
    return scene.aborted and stable is not None and stable.available == 0 and scene.new.available > 0


def _while_traffic_is_there(scene: Scene, traffic: Traffic, stable: int) -> int:
    """With dynamicStableScale the stable version keeps the pods for its traffic before this pass and after."""
    apart = scene.apart
    if not scene.dynamic or apart is None:
        return stable
    recorded = scene.recorded
    known = (
        recorded is not None
        and any(one.weight > 0 for one in (recorded.canary, recorded.stable))
        # weights of before its promotion tell nothing: its Services may have switched already
        and recorded.stable.pod_template_hash == hash_of(apart)
    )
    before = _left_to(scene, recorded, apart) if known else scene.whole
    part = max(before, _left_to(scene, traffic.weights, apart))
    stable = max(stable, _floored(scene, share(scene.replicas, part, scene.whole)))
    if scene.leave.held and not scene.aborted:
        stable = max(stable, _kept(scene, apart))
    return stable if traffic.proven else max(stable, min(apart.replicas, scene.replicas))


def _left_to(scene: Scene, weights: TrafficWeights | None, stable: ReplicaSet) -> int:
    """Its traffic with that of experiments, which falls back to it when they end (§15.1)."""
    if weights is None:
        return 0
    tried = sum(max(0, one.weight) for one in weights.additional if one.pod_template_hash != hash_of(stable))
    part = share(scene.whole, tried, recorded_whole(scene, weights))
    return min(scene.whole, carried(scene, weights, stable) + part)


def _not_before_its_traffic(scene: Scene, traffic: Traffic, index: int | None, new: int) -> int:
    """The canary keeps the pods for its traffic, unless a setCanaryScale says how many it has.

    It keeps all of them while a router still has to confirm the weights.
    """
    if not traffic.proven:
        return max(new, min(scene.new.replicas, scene.replicas))
    carries = share(scene.replicas, carried(scene, traffic.weights, scene.new), scene.whole)
    if scene.aborted and scene.dynamic:
        return max(new, _floored(scene, carries))
    if canary_scale(scene, index) is not None and not scene.aborted:
        return new
    return max(new, min(scene.new.replicas, carries))


def _waiting(scene: Scene, traffic: Traffic, stable_size: int) -> RoutedSizes:
    """The aborted canary: it stays until the stable version is whole, and from then on until its deadline."""
    new, stable = scene.new, scene.stable
    text = new.annotations.get(SCALE_DOWN_DEADLINE)
    whole = stable is not None and stable.available >= scene.replicas
    if not whole and text is None:
        return RoutedSizes(new.replicas, stable_size)
    (found,), look_again = delayed((new,), seconds=abort_delay(scene), limit=UNLIMITED_REVISIONS, now=scene.now)
    carries = share(scene.replicas, carried(scene, traffic.weights, new), scene.whole)
    if not traffic.proven:
        carries = scene.replicas
    size = max(found.size, min(new.replicas, carries))
    return RoutedSizes(size, stable_size, found.deadline or text, look_again)


def _kept(scene: Scene, replica_set: ReplicaSet) -> int:
    """Its size, or the same share of another number of replicas, rounded up."""
    before = desired_of(replica_set)
    if before is None or before <= 0 or before == scene.replicas:
        return replica_set.replicas
    return -(-replica_set.replicas * scene.replicas // before)


def referenced(scene: Scene, traffic: Traffic) -> frozenset[str]:
    """The hashes whose pods may get traffic: they aren't scaled down, whatever their age (§8.7)."""
    hashes = {scene.status.stable_rs, scene.pod_hash}
    if traffic.weights is not None:
        every = (traffic.weights.canary, traffic.weights.stable, *traffic.weights.additional)
        hashes |= {one.pod_template_hash for one in every}
    hashes |= {scene.observed.selected(name) for name in _services(scene)}
    return frozenset(hashes - {""})


def _services(scene: Scene) -> tuple[str, ...]:
    """The Services whose pods count as used; after a promotion nothing is behind the canary's side of ping-pong."""
    names = (scene.canary.canary_service, scene.canary.stable_service)
    ping_pong = scene.canary.ping_pong
    if ping_pong is None or scene.promoted:
        return names
    return (*names, ping_pong.ping_service, ping_pong.pong_service)


def may_empty(scene: Scene, traffic: Traffic) -> bool:
    """Whether it is known where the traffic is, so that what gets none of it may go (§8.7).

    Not while a router still has to confirm the weights, nor before the routers were told which version is stable.
    """
    if scene.first or not scene.canary.has_routers:
        return True
    weights = traffic.weights
    return traffic.proven and weights is not None and weights.stable.pod_template_hash == scene.status.stable_rs
