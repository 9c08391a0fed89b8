"""What the routers have to make true in this pass, and what they have said so far (docs/behaviour.md §15.1, §15.2)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from gitops_rollouts.api.status import TrafficWeights, WeightDestination
from gitops_rollouts.engine import events, experiment_traffic, moments, routed_sizes, scaling, switched, targets
from gitops_rollouts.engine.desired import ladder, nearest, share
from gitops_rollouts.engine.experiment_traffic import Destinations
from gitops_rollouts.engine.observed import ReplicaSet
from gitops_rollouts.engine.plan import Action, Destination, RemoveManagedRoutes, RouteTraffic
from gitops_rollouts.engine.rollback import skips_steps
from gitops_rollouts.engine.scene import Scene, hash_of

_ASK_AGAIN: Final = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Target:
    """The row of §15.1 that applies. ``frozen``: going back to stable, whose traffic stays until stable is whole."""

    weight: int
    pod_hash: str
    clear_routes: bool = False
    frozen: bool = False
    empty: bool = False
    """The canary has no available pod."""
    additional: Destinations = ()
    """What an experiment's templates get besides."""

    def stable(self, whole: int) -> int:
        """What is left to the stable version."""
        return whole - self.weight - sum(one.weight for one in self.additional)


@dataclass(frozen=True, slots=True)
class Routed:
    """What routing came to. ``weights`` belong into the status."""

    weights: TrafficWeights | None
    actions: tuple[Action, ...] = ()
    look_again: timedelta | None = None
    routes_set: bool = True
    """Whether a header or mirror step got through, so that it is complete."""
    proven: bool = True
    """False while a router still has to confirm ``weights``."""
    at_most: bool = False
    """All traffic is on the canary."""

    @property
    def traffic(self) -> routed_sizes.Traffic:
        """What scaling has to know of it."""
        return routed_sizes.Traffic(self.weights, self.proven)

    @property
    def holds(self) -> bool:
        """Whether nothing is scaled or promoted: all traffic should be on the canary, and isn't proven to be."""
        return self.at_most and not self.proven


def service_names(scene: Scene) -> tuple[str, str]:
    """(canary, stable): the Services that the routers send traffic to (§14.3)."""
    ping_pong = scene.canary.ping_pong
    if ping_pong is None:
        return scene.canary.canary_service, scene.canary.stable_service
    if scene.status.canary.stable_ping_pong == "ping":
        return ping_pong.pong_service, ping_pong.ping_service
    return ping_pong.ping_service, ping_pong.pong_service


def target(scene: Scene) -> Target | None:
    """Where the traffic should go now; None while no version is stable, or without a router (§15.1)."""
    if not scene.canary.has_routers or scene.first:
        return None
    wanted = _target(scene)
    return replace(wanted, additional=experiment_traffic.destinations(scene, wanted.weight))


def _target(scene: Scene) -> Target:
    here = scene.pod_hash
    if scene.promoted:
        former = _former(scene)
        if former is not None:
            return Target(_recorded_weight(scene, hash_of(former)), hash_of(former), frozen=True)
        # pods behind the stable Service that routers don't know yet get nothing more
        stays = targets.waits(scene) or switched.settles(scene) is not None
        return Target(_recorded_weight(scene, here) if stays else 0, here, clear_routes=True)
    empty = scene.new.available == 0
    if scene.aborted:
        return Target(0 if empty else _on_abort(scene), here, clear_routes=True, empty=empty)
    if empty:
        return Target(0, here, clear_routes=True, empty=True)
    return Target(_allowed(scene, _forward(scene)), here, clear_routes=_clears(scene))


def _former(scene: Scene) -> ReplicaSet | None:
    """The version that still serves while dynamicStableScale brings the stable one back to its size (§11.5)."""
    weights, stable = scene.recorded, scene.stable
    if not scene.dynamic or weights is None or stable is None or stable.available >= scene.replicas:
        return None
    former = _with_hash(scene, weights.canary.pod_template_hash)
    if former is None or former.name == scene.new.name or former.available == 0 or weights.canary.weight <= 0:
        return None
    return former


def _with_hash(scene: Scene, pod_hash: str) -> ReplicaSet | None:
    return next((found for found in scene.all if pod_hash and hash_of(found) == pod_hash), None)


def _recorded_weight(scene: Scene, pod_hash: str) -> int:
    """The weight that this version has as the canary, 0 if another one is the canary.

    The least that it can be, if maxTrafficWeight was another one when it was recorded.
    """
    weights = scene.recorded
    if weights is None or weights.canary.pod_template_hash != pod_hash:
        return 0
    raw = min(max(0, weights.canary.weight), scene.whole)
    return min(raw, max(0, weights.canary.weight) * scene.whole // routed_sizes.recorded_whole(scene, weights))


def _on_abort(scene: Scene) -> int:
    """The weight of §15.2. It never rises."""
    stable = scene.stable
    if stable is None or scene.replicas == 0 or (scene.recorded is None and not scene.dynamic):
        return 0
    whole, step_back = scene.whole, ladder(scene) if scene.dynamic else 0
    able = whole * stable.available // scene.replicas
    if scene.recorded is None:
        return max(0, whole - able)
    current = _recorded_weight(scene, scene.pod_hash)
    if step_back <= 0:
        return min(max(0, whole - able), current)
    return current if able < whole - step_back else min(step_back, current)


def _forward(scene: Scene) -> int:
    """The weight of an update that goes on, as far as the pods for it are there."""
    index = scene.status.current_step_index or 0
    if scene.status.promote_full:
        if scene.dynamic and scene.replicas > 0:
            return min(scene.whole, scene.whole * scene.new.available // scene.replicas)
        return _recorded_weight(scene, scene.pod_hash)
    if not scene.steps:
        return 0
    if scene.leave.back_to is not None:
        index = scene.leave.back_to
    here = nearest(scene, index) if index < len(scene.steps) else scene.whole
    if scene.dynamic and _recorded_weight(scene, scene.pod_hash) > here:
        return here  # no lower: the stable version gets pods for this much and no more
    # fewer pods than that: what the steps before had, but a step down needs no pods
    return here if scaling.reached(scene, index) else min(here, nearest(scene, index - 1))


def _allowed(scene: Scene, weight: int) -> int:
    """No weight grows while Git holds the update, and none is left before its turn.

    Steps edited outside Git have no say at all.
    """
    if not scene.leave.held:
        return weight
    if scene.leave.queued:
        return 0
    recorded = _recorded_weight(scene, scene.pod_hash)
    return recorded if scene.leave.edited else min(weight, recorded)


def _clears(scene: Scene) -> bool:
    """Full promotion needs no routes, and going back to a gate takes away those that were set after it."""
    return scene.status.promote_full or (scene.leave.back_to is not None and _set_after(scene, scene.leave.back_to))


def _set_after(scene: Scene, gate: int) -> bool:
    later = scene.steps[gate + 1 : max(0, scene.status.current_step_index or 0) + 1]
    return any(step.set_header_route is not None or step.set_mirror_route is not None for step in later)


def without_later_routes(scene: Scene, gate: int) -> tuple[Action, ...]:
    """What takes away the routes that steps after this gate may have set."""
    return _cleared(scene) if _set_after(scene, gate) else ()


def _cleared(scene: Scene) -> tuple[Action, ...]:
    routing = scene.canary.traffic_routing
    return (RemoveManagedRoutes(),) if routing is not None and routing.has_routers and routing.managed_routes else ()


def route(scene: Scene, wanted: Target | None) -> Routed:
    """What to tell the routers, and the weights as the status shows them afterwards."""
    found = _route(scene, wanted)
    found = replace(found, actions=(*found.actions, *targets.told(scene)))
    if not targets.waits(scene):
        return replace(found, look_again=moments.soonest(found.look_again, switched.settles(scene)))
    # no version is emptied, but sizes may change
    soon = moments.soonest(found.look_again, targets.look_again(scene))
    return replace(found, look_again=soon, proven=False, at_most=False)


def _route(scene: Scene, wanted: Target | None) -> Routed:
    if not scene.canary.has_routers:
        return Routed(None)
    if wanted is None:
        return Routed(scene.recorded, routes_set=False)
    clear = _cleared(scene) if wanted.clear_routes else ()
    recorded = scene.recorded
    if not opens(scene, wanted):
        if not _leaves_experiment(scene, wanted):
            return _verified(scene, Routed(recorded, clear, routes_set=False))
        wanted = _as_recorded(scene, wanted)
    weights = _weights(scene, wanted)
    action = _route_traffic(scene, wanted)
    routes_set = not wanted.empty or scaling.split(scene, scene.status.current_step_index)[0] == 0
    if recorded is not None and _same(recorded, weights):
        return _verified(scene, Routed(recorded, _in_order(scene, clear, action), routes_set=routes_set))
    verifies = scene.observed.routers.verifies
    besides = wanted.additional if recorded is None or recorded.additional != wanted.additional else None
    before = None if recorded is None else recorded.canary.weight
    # the status of an abort's first pass goes before its actions and doesn't show these weights yet
    begins = scene.aborted and scene.status.aborted_at is None
    told = () if begins else (events.weight_updated(before, wanted.weight, besides),)
    return Routed(
        weights,
        (*_in_order(scene, clear, action), *told),
        timedelta() if verifies else None,
        routes_set=routes_set,
        proven=not verifies,
        at_most=wanted.weight >= scene.whole,
    )


def _in_order(scene: Scene, clear: tuple[Action, ...], action: Action) -> tuple[Action, ...]:
    """Routes go before weights move; but a router that can't remove a route never keeps an abort from moving them."""
    return (action, *clear) if scene.aborted else (*clear, action)


def opens(scene: Scene, wanted: Target) -> bool:
    """Whether the stable version has the pods for what would be left to it.

    Traffic on a canary without a pod moves to whatever the stable version has.
    """
    stable = scene.stable
    available = stable.available if stable is not None else 0
    if available == 0 and _gives_back(scene, wanted):
        return False
    needed = (scene.whole - wanted.weight) * scene.replicas // scene.whole
    if available >= needed or _stranded(scene, available):
        return True
    relaxed = scene.canary.replica_progress_threshold is not None
    return relaxed and stable is not None and scaling.threshold_met(scene, stable, needed)


def _gives_back(scene: Scene, wanted: Target) -> bool:
    """Whether the stable version would get more than it has; a share so small that it needs no pod needs one, too.

    Without weights that were sent it has nothing: a first version that never came up gets no traffic later.
    """
    recorded, stable = scene.recorded, scene.stable
    if scene.replicas == 0:
        return False
    has = 0 if stable is None or recorded is None else routed_sizes.carried(scene, recorded, stable)
    return wanted.stable(scene.whole) > has


def _leaves_experiment(scene: Scene, wanted: Target) -> bool:
    """Whether pods of an experiment that are about to go have traffic that some stable pod could take."""
    recorded, stable = scene.recorded, scene.stable
    if recorded is None or stable is None or stable.available == 0:
        return False
    kept = {(one.service_name, one.pod_template_hash): one.weight for one in wanted.additional}
    return any(one.weight > kept.get((one.service_name, one.pod_template_hash), 0) for one in recorded.additional)


def _as_recorded(scene: Scene, wanted: Target) -> Target:
    """The canary's weight as it is: only the experiment's traffic goes, and to the stable version."""
    recorded = scene.recorded
    if recorded is None:
        return wanted
    pod_hash = recorded.canary.pod_template_hash
    return replace(wanted, weight=_recorded_weight(scene, pod_hash), pod_hash=pod_hash, additional=())


def _stranded(scene: Scene, available: int) -> bool:
    weights = scene.recorded
    if weights is None or weights.canary.weight <= 0 or available == 0:
        return False
    canary = _with_hash(scene, weights.canary.pod_template_hash)
    return canary is None or canary.available == 0


def _weights(scene: Scene, wanted: Target) -> TrafficWeights:
    canary = scene.canary
    return TrafficWeights(
        canary=WeightDestination(
            weight=wanted.weight, service_name=canary.canary_service, pod_template_hash=wanted.pod_hash
        ),
        stable=WeightDestination(
            weight=wanted.stable(scene.whole),
            service_name=canary.stable_service,
            pod_template_hash=scene.status.stable_rs,
        ),
        additional=wanted.additional,
    )


def _same(recorded: TrafficWeights, weights: TrafficWeights) -> bool:
    return (recorded.canary, recorded.stable, recorded.additional) == (
        weights.canary,
        weights.stable,
        weights.additional,
    )


def _route_traffic(scene: Scene, wanted: Target) -> RouteTraffic:
    canary_service, stable_service = service_names(scene)
    recorded, step = scene.recorded, scene.step if _sets_routes(scene, wanted) else None
    return RouteTraffic(
        canary=Destination(canary_service, wanted.pod_hash, wanted.weight),
        stable=Destination(stable_service, scene.status.stable_rs, wanted.stable(scene.whole)),
        additional=tuple(Destination(one.service_name, one.pod_template_hash, one.weight) for one in wanted.additional),
        max_weight=scene.whole,
        drain_first=scene.new.available == 0 and recorded is not None and recorded.canary.weight > 0,
        header_route=step.set_header_route if step else None,
        mirror_route=step.set_mirror_route if step else None,
        short=_short(scene, wanted),
    )


def _short(scene: Scene, wanted: Target) -> str:
    """The canary's ReplicaSet if it lacks the pods for its weight; nothing on the way back (§15.3 *Delay*).

    The stable version has its pods: the gate is open.
    """
    new = scene.new
    if scene.promoted or scene.aborted or wanted.frozen:
        return ""
    needed = share(scene.replicas, wanted.weight, scene.whole)
    relaxed = scene.canary.replica_progress_threshold is not None
    enough = new.available >= min(needed, new.replicas) or (relaxed and scaling.threshold_met(scene, new, needed))
    return "" if enough else new.name


def _sets_routes(scene: Scene, wanted: Target) -> bool:
    """Whether the current step's routes may be set: something to route to, and nothing that goes back or is held."""
    if scene.promoted or scene.aborted or wanted.empty or skips_steps(scene):
        return False
    return scene.revision > 1 and not scene.leave.held and scene.leave.back_to is None


def _verified(scene: Scene, routed: Routed) -> Routed:
    """Add what the routers said of weights that this pass leaves as they are (§15.1 step 6)."""
    weights, seen = routed.weights, scene.observed.routers
    if weights is None:
        return routed
    verified = None if seen.error else seen.verified
    proven = not seen.verifies if seen.error else verified is not False
    failed: tuple[Action, ...] = (events.verify_failed(seen.error),) if seen.error else ()
    if seen.missing and not proven:
        failed = (events.no_load_balancer(seen.missing),)
    return Routed(
        weights.model_copy(update={"verified": verified}),
        (*routed.actions, *failed),
        None if proven and not seen.error else _ASK_AGAIN,
        routes_set=routed.routes_set,
        proven=proven,
        at_most=weights.canary.weight >= scene.whole,
    )
