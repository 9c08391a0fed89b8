"""Sizes: which ones are wanted, which can be asked for now, and are they reached (docs/behaviour.md §8)."""

from __future__ import annotations

from dataclasses import dataclass

from gitops_rollouts.api.names import DESIRED_REPLICAS, SCALE_DOWN_DEADLINE
from gitops_rollouts.engine import events
from gitops_rollouts.engine.arithmetic import Pods, Wanted, approximate_weighted, next_sizes, surplus_sizes
from gitops_rollouts.engine.observed import ReplicaSet
from gitops_rollouts.engine.plan import Action, PatchReplicaSet
from gitops_rollouts.engine.scene import Scene, desired_of, revision_of


@dataclass(frozen=True, slots=True)
class Scaled:
    """The pass after its scaling: ``changed`` if a size was, which ends the pass."""

    scene: Scene
    actions: tuple[Action, ...] = ()
    changed: bool = False


def weight(scene: Scene, index: int | None) -> int:
    """The wanted canary weight at this step (§8.2)."""
    whole = scene.canary.max_weight
    if scene.status.promote_full or scene.first or scene.promoted:
        return whole
    if scene.aborted:
        return 0
    if index is None:
        return 0 if scene.steps else whole
    if index >= len(scene.steps):
        return whole
    past = (step.set_weight for step in reversed(scene.steps[: index + 1]))
    return next((value for value in past if value is not None), 0)


def split(scene: Scene, index: int | None) -> tuple[int, int]:
    """(new, stable): the sizes that this step ends at."""
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
        kept = _kept(scene.new, scene.replicas)
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
    stable = scene.stable
    return (
        _enough(scene, wanted_new)
        and stable is not None
        and stable.replicas == stable.current == wanted_stable
        and not any(other.available for other in scene.others)
    )


def _enough(scene: Scene, wanted: int) -> bool:
    new, threshold = scene.new, scene.canary.replica_progress_threshold
    if threshold is None or threshold.value < 0:
        return wanted == new.replicas == new.available
    if threshold.type == "Pods":
        return new.available >= threshold.value
    return wanted == 0 or new.available * 100 >= threshold.value * wanted


def enough_to_promote(scene: Scene) -> bool:
    """Whether the new version alone can serve everything."""
    if scene.canary.replica_progress_threshold is None:
        return scene.new.available >= scene.replicas
    return scene.new.available >= scene.replicas or _enough(scene, scene.replicas)


def scale(scene: Scene) -> Scaled:
    """Stable, then new, then the others; the first of them that changes its size ends the pass (§8.3)."""
    new, apart = scene.new, scene.apart
    wanted_new, wanted_stable = current_split(scene)
    new_size, stable_size = next_sizes(
        Wanted(scene.replicas, wanted_new, wanted_stable, scene.bounds),
        _pods(new),
        _pods(apart) if apart else None,
        sum(other.replicas for other in scene.others),
        same=scene.promoted,
    )
    actions: tuple[Action, ...] = ()
    if apart is not None:
        if scene.leave.held and not scene.aborted and _kept(apart, scene.replicas) >= apart.replicas:
            stable_size = max(stable_size, apart.replicas)
        actions = _sized(scene, apart, stable_size)
        if apart.replicas != stable_size:
            return Scaled(scene.with_sizes({apart.name: stable_size}), actions, changed=True)
    actions += _sized(scene, new, new_size)
    if new.replicas != new_size:
        return Scaled(scene.with_sizes({new.name: new_size}), actions, changed=True)
    others = _scale_others(scene)
    return Scaled(others.scene, actions + others.actions, others.changed)


def _pods(replica_set: ReplicaSet) -> Pods:
    """A pod beyond its ReplicaSet's size is as good as gone, though it is still counted as available."""
    return Pods(replica_set.replicas, min(replica_set.available, replica_set.replicas))


def _sized(scene: Scene, replica_set: ReplicaSet, size: int) -> tuple[Action, ...]:
    """Tell a ReplicaSet its size, or only what the Rollout's size is."""
    annotations: dict[str, str | None] = {DESIRED_REPLICAS: str(scene.replicas)}
    if SCALE_DOWN_DEADLINE in replica_set.annotations and (size == 0 or replica_set not in scene.others):
        annotations[SCALE_DOWN_DEADLINE] = None
    if replica_set.replicas != size:
        event = events.scaled(replica_set.name, revision_of(replica_set), replica_set.replicas, size)
        return PatchReplicaSet(replica_set.name, replicas=size, annotations=annotations), event
    if desired_of(replica_set) != scene.replicas or SCALE_DOWN_DEADLINE in annotations:
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
            actions += _sized(scene, other, size)
    changed = bool(actions) and removable > 0
    wanted = {other.name: size for other, size in zip(newest_first, sizes, strict=True)}
    return Scaled(scene.with_sizes(wanted), tuple(actions), changed)


def resized(scene: Scene) -> bool:
    """Whether the Rollout's size is another one than its ReplicaSets were told (§7.6)."""
    for replica_set in (scene.new, scene.apart):
        if replica_set is not None and replica_set.replicas > 0:
            told = desired_of(replica_set)
            if told is not None and told != scene.replicas:
                return True
    return False
