"""The sizes of a blue-green Rollout's ReplicaSets (docs/behaviour.md §8.5, §8.7)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from gitops_rollouts.api.meta import format_time
from gitops_rollouts.api.names import DESIRED_REPLICAS, SCALE_DOWN_DEADLINE
from gitops_rollouts.api.strategy import DEFAULT_SCALE_DOWN_DELAY, UNLIMITED_REVISIONS
from gitops_rollouts.engine import delay, events, moments
from gitops_rollouts.engine.blue_green.roles import Roles
from gitops_rollouts.engine.observed import ReplicaSet
from gitops_rollouts.engine.plan import Action, PatchReplicaSet
from gitops_rollouts.engine.scene import INCONCLUSIVE, Scene, desired_of, hash_of, pause_of, revision_of


@dataclass(frozen=True, slots=True)
class Sized:
    """The pass after its scaling. ``target``: the size at which the new version is complete for now."""

    scene: Scene
    target: int
    actions: tuple[Action, ...] = ()
    look_again: timedelta | None = None

    @property
    def ready(self) -> bool:
        """Whether the new version has that size, and all of it is available (§10 ``ReadyForPause``).

        Counts from before its last change may be of pods that are going.
        """
        new = self.scene.new
        return new.replicas == self.target == new.available and new.generation <= new.observed_generation

    @property
    def saturated(self) -> bool:
        """Whether the new version alone can serve everything."""
        return self.ready and self.target == self.scene.replicas


def scale(scene: Scene, roles: Roles, *, analysed: bool) -> Sized:
    """Stable to its full size, then new, then the others.

    ``analysed``: no post-promotion analysis is waited for.
    """
    actions: tuple[Action, ...] = ()
    sizes: dict[str, int] = {}
    if scene.apart is not None:
        sizes[scene.apart.name] = scene.replicas
        actions += _told(scene, scene.apart, scene.replicas, None)
    size, deadline = _new(scene, roles)
    sizes[scene.new.name] = size
    actions += _told(scene, scene.new, size, deadline)
    end = delay.deadline_of(deadline)
    look_again = None if end is None else moments.until(end, scene.now)
    for other in _others(scene, roles, analysed=analysed):
        sizes[other.after.name] = other.after.size
        actions += _told(scene, other.before, other.after.size, other.after.deadline)
        look_again = moments.soonest(look_again, other.look_again)
    return Sized(scene.with_sizes(sizes), size, actions, look_again)


def _new(scene: Scene, roles: Roles) -> tuple[int, str | None]:
    """(size, scale-down deadline) of the new version."""
    if roles.aborted and scene.apart is not None:
        return _aborted(scene, roles, scene.apart)
    if scene.first and scene.leave.tree_abort is not None:
        return 0, None
    if scene.leave.queued:
        return 0, None
    # until it is used, the delay is what tells that this version is still up for a fast way back
    kept = scene.new.annotations.get(SCALE_DOWN_DEADLINE) if roles.within_delay else None
    preview = roles.strategy.preview_replica_count
    if preview is None or roles.fast or roles.active is None or roles.serves:
        return scene.replicas, kept
    if scene.status.blue_green.scale_up_preview_check_point and not scene.paused:
        return scene.replicas, kept
    return max(0, preview), kept


def _aborted(scene: Scene, roles: Roles, stable: ReplicaSet) -> tuple[int, str | None]:
    """It stays as it is until the stable version can serve everything and the delay is over."""
    new = scene.new
    deadline = new.annotations.get(SCALE_DOWN_DEADLINE)
    seconds = roles.strategy.abort_scale_down_delay_seconds
    seconds = DEFAULT_SCALE_DOWN_DELAY if seconds is None else seconds
    size = min(new.replicas, max(scene.replicas, roles.strategy.preview_replica_count or 0))
    if new.replicas == 0:
        return 0, None
    if seconds <= 0:
        return size, None
    if deadline is None:
        if roles.serves or stable.available < scene.replicas:
            return size, None
        return size, format_time(moments.after(scene.stamp, seconds))
    end = delay.deadline_of(deadline)
    if not roles.serves and (end is None or end <= scene.now):
        return 0, None
    return size, deadline


@dataclass(frozen=True, slots=True)
class _Other:
    before: ReplicaSet
    after: delay.Delayed
    look_again: timedelta | None


def _others(scene: Scene, roles: Roles, *, analysed: bool) -> tuple[_Other, ...]:
    strategy = roles.strategy
    if pause_of(scene.status.pause_conditions, INCONCLUSIVE) is not None:
        return ()
    if strategy.scale_down_delay_seconds is None and not analysed:
        return ()
    used = referenced(scene, roles)
    left = [other for other in scene.others if hash_of(other) not in used]
    newest_first = sorted(left, key=lambda other: (-revision_of(other), other.name))
    seconds, limit = strategy.scale_down_delay_seconds, strategy.scale_down_delay_revision_limit
    waits, look_again = delay.delayed(
        newest_first,
        seconds=DEFAULT_SCALE_DOWN_DELAY if seconds is None else max(0, seconds),
        limit=UNLIMITED_REVISIONS if limit is None else max(0, limit),
        now=scene.now,
    )
    return tuple(
        _Other(before, _resized(scene, before, after), look_again)
        for before, after in zip(newest_first, waits, strict=True)
    )


def _resized(scene: Scene, before: ReplicaSet, after: delay.Delayed) -> delay.Delayed:
    """One that was of full size stays so, so that it can take over at once; a smaller preview stays small."""
    whole = after.size > 0 and before.replicas == desired_of(before)
    return delay.Delayed(after.name, scene.replicas, after.deadline) if whole else after


def referenced(scene: Scene, roles: Roles) -> frozenset[str]:
    """The hashes that a Service or the status names: their ReplicaSets are nobody's leftovers."""
    shown, strategy = scene.status.blue_green, roles.strategy
    named = {scene.observed.selected(strategy.active_service), scene.observed.selected(strategy.preview_service)}
    return frozenset({scene.pod_hash, scene.status.stable_rs, shown.active_selector, shown.preview_selector, *named})


def _told(scene: Scene, replica_set: ReplicaSet, size: int, deadline: str | None) -> tuple[Action, ...]:
    """Tell a ReplicaSet its size, until when it stays, and the Rollout's size; nothing if it knows."""
    annotations: dict[str, str | None] = {}
    if size > 0 and desired_of(replica_set) != scene.replicas:
        annotations[DESIRED_REPLICAS] = str(scene.replicas)
    if replica_set.annotations.get(SCALE_DOWN_DEADLINE) != deadline:
        annotations[SCALE_DOWN_DEADLINE] = deadline
    if replica_set.replicas == size:
        return (PatchReplicaSet(replica_set.name, annotations=annotations),) if annotations else ()
    annotations.setdefault(DESIRED_REPLICAS, str(scene.replicas))
    event = events.scaled(replica_set.name, revision_of(replica_set), replica_set.replicas, size)
    return PatchReplicaSet(replica_set.name, replicas=size, annotations=annotations), event
