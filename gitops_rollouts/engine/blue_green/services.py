"""Which version the preview and the active Service select (docs/behaviour.md §10 "The switch", §14.1)."""

from __future__ import annotations

from dataclasses import dataclass

from gitops_rollouts.engine import events
from gitops_rollouts.engine.blue_green.roles import Roles
from gitops_rollouts.engine.blue_green.sizes import Sized
from gitops_rollouts.engine.observed import ReplicaSet
from gitops_rollouts.engine.plan import Action, PointService
from gitops_rollouts.engine.scene import Scene, hash_of


@dataclass(frozen=True, slots=True)
class Pointed:
    """A Service after this pass. ``pod_hash``: what it selects then. ``backward``: it goes back to what is proven."""

    pod_hash: str
    actions: tuple[Action, ...] = ()
    backward: bool = False


def preview(scene: Scene, roles: Roles) -> Pointed:
    """The preview Service shows the new version as soon as its ReplicaSet exists."""
    name = roles.strategy.preview_service
    return _point(scene, name, None if roles.halted else scene.new)


def active(scene: Scene, roles: Roles, sized: Sized, *, released: bool) -> Pointed:
    """The active Service. ``released``: neither a pause nor an analysis keeps the new version from it."""
    name = roles.strategy.active_service
    target = _way_back(scene, roles)
    if target is not None:
        pointed = _point(scene, name, target)
        return Pointed(pointed.pod_hash, pointed.actions, backward=bool(pointed.actions))
    if _moves(scene, roles, sized, released=released):
        return _point(scene, name, scene.new)
    return _point(scene, name, _served_before(scene, roles))


def _way_back(scene: Scene, roles: Roles) -> ReplicaSet | None:
    """What takes over at once because the update is given up; it need not be complete, but it must have pods."""
    apart = scene.apart
    if apart is not None and apart.available > 0 and (roles.aborted or (roles.gated and roles.serves)):
        return apart
    if scene.promoted and roles.active is not None and not roles.serves and scene.new.available > 0:
        return scene.new
    return None


def _moves(scene: Scene, roles: Roles, sized: Sized, *, released: bool) -> bool:
    """Whether the switch to the new version is due."""
    if roles.aborted or roles.halted or roles.gated or not sized.saturated:
        return False
    if roles.held and not (scene.promoted or scene.first):
        return False
    return roles.fast or released


def _served_before(scene: Scene, roles: Roles) -> ReplicaSet | None:
    """A Service that selects no version of ours yet, or one that is gone or has no pods, is given the stable one."""
    apart, serving = scene.apart, roles.active
    if serving is None:
        return apart if apart is not None and apart.available >= max(1, scene.replicas) else None
    deserted = apart is not None and apart.available > serving.available == 0 and serving.name != scene.new.name
    return apart if deserted else serving


def _point(scene: Scene, name: str, target: ReplicaSet | None) -> Pointed:
    """Nothing is sent if the Service has the hash, and the mark of who manages it, already."""
    service = scene.observed.services.get(name) if name else None
    before = scene.observed.selected(name)
    if service is None or target is None:
        return Pointed(before)
    after = hash_of(target)
    managed_by = scene.observed.rollout.metadata.name if service.managed_by is None else None
    if before == after and managed_by is None:
        return Pointed(after)
    sent: tuple[Action, ...] = (PointService(name, after, managed_by),)
    return Pointed(after, sent if before == after else (*sent, events.switched(name, before, after)))
