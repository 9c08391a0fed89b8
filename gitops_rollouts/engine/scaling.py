"""Sizes: which ones are wanted, which can be asked for now, and are they reached (docs/behaviour.md §8)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from gitops_rollouts.api.names import DESIRED_REPLICAS, SCALE_DOWN_DEADLINE
from gitops_rollouts.api.strategy import DEFAULT_SCALE_DOWN_DELAY, UNLIMITED_REVISIONS
from gitops_rollouts.engine import events, moments, routed_sizes
from gitops_rollouts.engine.arithmetic import Pods, Wanted, approximate_weighted, next_sizes, surplus_sizes
from gitops_rollouts.engine.delay import Delayed, delayed
from gitops_rollouts.engine.desired import weight
from gitops_rollouts.engine.observed import ReplicaSet
from gitops_rollouts.engine.plan import Action, PatchReplicaSet
from gitops_rollouts.engine.routed_sizes import RoutedSizes, Traffic
from gitops_rollouts.engine.scene import Scene, desired_of, hash_of, revision_of


@dataclass(frozen=True, slots=True)
class Scaled:
    """The pass after its scaling: ``changed`` if a size was, which ends the pass."""

    scene: Scene
    actions: tuple[Action, ...] = ()
    look_again: timedelta | None = None
    changed: bool = False


def split(scene: Scene, index: int | None) -> tuple[int, int]:
    """(new, stable): the sizes that this step ends at."""
    if scene.routed:
        return routed_sizes.split(scene, index)
    if scene.first or scene.promoted:
        return scene.replicas, 0
    return approximate_weighted(scene.replicas, weight(scene, index), scene.bounds.surge, scene.canary.max_weight)


def current_split(scene: Scene) -> tuple[int, int]:
    """(new, stable): the sizes that are wanted now, as far as Git lets the update go (docs/decisions.md §4)."""
    back_to = scene.leave.back_to
    new, stable = split(scene, scene.status.current_step_index if back_to is None else back_to)
    if scene.first and scene.leave.tree_abort is not None:
        return 0, 0
    if scene.leave.held and not (scene.first or scene.promoted or scene.aborted):
        kept = 0 if scene.leave.queued else _kept(scene.new, scene.replicas)
        new = kept if scene.leave.edited else min(new, kept)
        stable = max(stable, scene.replicas - new)
    return new, stable


def _kept(replica_set: ReplicaSet, replicas: int) -> int:
    """Its size, or the same share of another number of replicas, rounded down."""
    before = desired_of(replica_set)
    if before is None or before <= 0 or before == replicas:
        return replica_set.replicas
    return replica_set.replicas * replicas // before


def reached(scene: Scene, index: int) -> bool:
    """Whether the counts are those of this step (§8.6)."""
    wanted_new, wanted_stable = split(scene, index)
    if not threshold_met(scene, scene.new, wanted_new):
        return False
    if scene.dynamic:
        return True
    stable = scene.stable
    if stable is None or not stable.replicas == stable.current == wanted_stable:
        return False
    return scene.routed or not any(other.available for other in scene.others)


def threshold_met(scene: Scene, replica_set: ReplicaSet, wanted: int) -> bool:
    """Whether a ReplicaSet has enough of the pods that it should have (§8.6)."""
    threshold = scene.canary.replica_progress_threshold
    if threshold is None or threshold.value < 0:
        return wanted == replica_set.replicas == replica_set.available
    if threshold.type == "Pods":
        return replica_set.available >= threshold.value
    return wanted == 0 or replica_set.available * 100 >= threshold.value * wanted


def enough_to_promote(scene: Scene) -> bool:
    """Whether the new version alone can serve everything."""
    if scene.canary.replica_progress_threshold is None:
        return scene.new.available >= scene.replicas
    return scene.new.available >= scene.replicas or threshold_met(scene, scene.new, scene.replicas)


def scale(scene: Scene, traffic: Traffic) -> Scaled:
    """Stable, then new, then the others; the first of them that changes its size ends the pass (§8.3, §8.4)."""
    sizes = routed_sizes.next_sizes(scene, traffic) if scene.routed else _basic_sizes(scene)
    new, apart = scene.new, scene.apart
    actions: tuple[Action, ...] = ()
    if apart is not None:
        actions = _sized(scene, apart, sizes.stable)
        if apart.replicas != sizes.stable:
            return Scaled(scene.with_sizes({apart.name: sizes.stable}), actions, sizes.look_again, changed=True)
    actions += _sized(scene, new, sizes.new, sizes.deadline)
    if new.replicas != sizes.new:
        return Scaled(scene.with_sizes({new.name: sizes.new}), actions, sizes.look_again, changed=True)
    others = _scale_routed_others(scene, traffic) if scene.routed else _scale_others(scene)
    look_again = moments.soonest(sizes.look_again, others.look_again)
    return Scaled(others.scene, actions + others.actions, look_again, others.changed)


def _basic_sizes(scene: Scene) -> RoutedSizes:
    new, apart = scene.new, scene.apart
    wanted_new, wanted_stable = current_split(scene)
    new_size, stable_size = next_sizes(
        Wanted(scene.replicas, wanted_new, wanted_stable, scene.bounds),
        _pods(new),
        _pods(apart) if apart else None,
        sum(other.replicas for other in scene.others),
        same=scene.promoted,
    )
    if apart is not None and scene.leave.held and not scene.aborted and _kept(apart, scene.replicas) >= apart.replicas:
        stable_size = max(stable_size, apart.replicas)
    return RoutedSizes(new_size, stable_size)


def _pods(replica_set: ReplicaSet) -> Pods:
    """A pod beyond its ReplicaSet's size is as good as gone, though it is still counted as available."""
    return Pods(replica_set.replicas, min(replica_set.available, replica_set.replicas))


def _sized(scene: Scene, replica_set: ReplicaSet, size: int, deadline: str | None = None) -> tuple[Action, ...]:
    """Tell a ReplicaSet its size and its scale-down-deadline, or only what the Rollout's size is."""
    annotations: dict[str, str | None] = {DESIRED_REPLICAS: str(scene.replicas)}
    marked = replica_set.annotations.get(SCALE_DOWN_DEADLINE) != deadline
    if marked:
        annotations[SCALE_DOWN_DEADLINE] = deadline
    if replica_set.replicas != size:
        event = events.scaled(replica_set.name, revision_of(replica_set), replica_set.replicas, size)
        return PatchReplicaSet(replica_set.name, replicas=size, annotations=annotations), event
    if desired_of(replica_set) != scene.replicas or marked:
        return (PatchReplicaSet(replica_set.name, annotations=annotations),)
    return ()


def _scale_others(scene: Scene) -> Scaled:
    """Unavailable pods of the other ReplicaSets go at once, available ones as the bound allows (§8.7)."""
    if not any(other.replicas for other in scene.others):
        return Scaled(scene)
    newest_first = sorted(
        (other for other in scene.others if other.replicas), key=lambda other: (-revision_of(other), other.name)
    )
    removable = sum(_pods(replica_set).available for replica_set in scene.all)
    removable -= scene.replicas - scene.bounds.unavailable
    sizes = surplus_sizes(tuple(_pods(other) for other in newest_first), removable)
    actions: list[Action] = []
    for other, size in zip(newest_first, sizes, strict=True):
        if other.replicas != size:
            actions += _sized(scene, other, size, other.annotations.get(SCALE_DOWN_DEADLINE) if size else None)
    wanted = {other.name: size for other, size in zip(newest_first, sizes, strict=True)}
    return Scaled(scene.with_sizes(wanted), tuple(actions), changed=bool(actions) and removable > 0)


def _scale_routed_others(scene: Scene, traffic: Traffic) -> Scaled:
    """Unavailable pods go at once, a version that may get traffic stays, the former stable one waits (§8.7)."""
    newest_first = sorted(
        (other for other in scene.others if other.replicas), key=lambda other: (-revision_of(other), other.name)
    )
    cut = tuple(replace(other, replicas=_pods(other).available) for other in newest_first)
    spare = sum(_pods(replica_set).available for replica_set in scene.all)
    spare -= scene.replicas - scene.bounds.unavailable
    found, look_again = _without_traffic(scene, traffic, cut) if spare > 0 else ({}, None)
    actions: list[Action] = []
    for other, smaller in zip(newest_first, cut, strict=True):
        marked = other.annotations.get(SCALE_DOWN_DEADLINE)
        one = found.get(other.name, Delayed(other.name, smaller.replicas, marked if smaller.replicas else None))
        if one.size != other.replicas or one.deadline != marked:
            actions += _sized(scene, other, one.size, one.deadline)
            found[other.name] = one
    sizes = {name: one.size for name, one in found.items()}
    return Scaled(scene.with_sizes(sizes), tuple(actions), look_again, changed=bool(actions) and spare > 0)


def _without_traffic(
    scene: Scene, traffic: Traffic, newest_first: tuple[ReplicaSet, ...]
) -> tuple[dict[str, Delayed], timedelta | None]:
    """What becomes of each that gets no traffic: it waits if it was stable before, and goes if it never was."""
    if not routed_sizes.may_empty(scene, traffic):
        return {}, None
    kept = routed_sizes.referenced(scene, traffic)
    unused = [other for other in newest_first if hash_of(other) not in kept]
    waits = [other for other in unused if scene.promoted or SCALE_DOWN_DEADLINE in other.annotations]
    seconds = DEFAULT_SCALE_DOWN_DELAY
    if scene.canary.scale_down_delay_seconds is not None:
        seconds = scene.canary.scale_down_delay_seconds
    limit = scene.canary.scale_down_delay_revision_limit
    found, look_again = delayed(
        () if scene.dynamic else waits,
        seconds=seconds,
        limit=UNLIMITED_REVISIONS if limit is None else limit,
        now=scene.now,
    )
    gone = {other.name: Delayed(other.name, 0) for other in unused}
    return gone | {one.name: one for one in found}, look_again


def resized(scene: Scene) -> bool:
    """Whether the Rollout's size is another one than its ReplicaSets were told (§7.6)."""
    for replica_set in (scene.new, scene.apart):
        if replica_set is not None and replica_set.replicas > 0:
            told = desired_of(replica_set)
            if told is not None and told != scene.replicas:
                return True
    return False
