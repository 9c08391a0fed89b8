"""What our first pass over a Rollout would do, worked out and not carried out: for ``gor migrate check``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from gitops_rollouts.api.meta import Raw
from gitops_rollouts.api.validation import FieldError
from gitops_rollouts.controllers.observe import (
    LiveRollout,
    project_replica_set,
    project_rollout,
    project_service,
    service_names,
)
from gitops_rollouts.controllers.workloads import project_workload, reference_of
from gitops_rollouts.engine import conditions
from gitops_rollouts.engine.observed import Observed, Service
from gitops_rollouts.engine.plan import (
    Action,
    AdoptReplicaSet,
    CallStepPlugin,
    CreateReplicaSet,
    DeleteReplicaSet,
    EvictPod,
    PatchReplicaSet,
    PointService,
    ReleaseReplicaSet,
    RouteTraffic,
    ScaleWorkload,
)
from gitops_rollouts.engine.step import step


@dataclass(frozen=True, slots=True)
class FirstPass:
    """``refused``: why nothing would be done. ``does``: what would be written, in words, nothing of mere bookkeeping.

    ``starts_anew``: a new version would be started, or the running update would begin at its first step again.
    """

    refused: tuple[str, ...] = ()
    does: tuple[str, ...] = ()
    starts_anew: bool = False


def first_pass(
    raw: Raw,
    replica_sets: Iterable[Raw],
    services: Iterable[Raw],
    workload: Raw | None,
    now: datetime,
    routes: tuple[FieldError, ...] = (),
) -> FirstPass:
    """Rehearse it with what the cluster shows now.

    ``replica_sets`` and ``services``: all of the namespace. ``workload``: what ``spec.workloadRef`` names. ``routes``:
    what is wrong with the objects that its routers refer to.
    """
    live = project_rollout(raw)
    observed = replace(_observed(live, replica_sets, services, workload), route_errors=routes)
    plan = step(observed, now)
    after = plan.status if plan.status is not None else live.rollout.status
    invalid = conditions.find(after.conditions, conditions.INVALID_SPEC)
    if invalid is not None:
        return FirstPass(refused=(invalid.message,))
    before = live.rollout.status
    again = before.current_pod_hash != "" and (
        after.current_pod_hash != before.current_pod_hash
        or (after.current_step_index or 0) < (before.current_step_index or 0)
    )
    does = [text for action in plan.actions if (text := _in_words(action, observed))]
    new_version = any(isinstance(action, CreateReplicaSet) for action in plan.actions)
    return FirstPass(does=tuple(does), starts_anew=again or new_version)


def _observed(
    live: LiveRollout, replica_sets: Iterable[Raw], services: Iterable[Raw], raw_workload: Raw | None
) -> Observed:
    reference = reference_of(live.rollout)
    workload = project_workload(reference[0], raw_workload) if reference is not None and raw_workload else None
    uid = live.rollout.metadata.uid
    selector = live.rollout.spec.selector or (workload.selector if workload is not None else None)
    known = [project_replica_set(raw) for raw in replica_sets]
    mine = [
        rs
        for rs in known
        if rs.owner_uid == uid or (rs.owner_uid is None and selector is not None and selector.matches(rs.labels))
    ]
    named = service_names(live.rollout)
    found = {each.name: each for each in map(project_service, services) if each.name in named}
    return Observed(
        rollout=live.rollout,
        replica_sets=tuple(sorted(mine, key=lambda rs: rs.name)),
        taken_names=frozenset(rs.name for rs in known) - {rs.name for rs in mine},
        services={name: Service(name, each.selector, each.managed_by) for name, each in found.items()},
        workload=workload,
    )


def _in_words(action: Action, observed: Observed) -> str:
    """What an action does to pods or traffic, "" if nothing."""
    match action:
        case PointService(name, pod_hash):
            return "" if _points(observed.services, name, pod_hash) else f"points the Service {name} at {pod_hash}"
        case RouteTraffic(canary):
            weights = observed.rollout.status.canary.weights
            was = weights.canary.weight if weights is not None else None
            return "" if was == canary.weight else f"routes {canary.weight} % of the traffic to the canary"
        case EvictPod(name):
            return f"evicts the Pod {name} (restartAt)"
        case CallStepPlugin(_, name, operation):
            return f"calls the step plugin {name} ({operation})"
        case ScaleWorkload(name, _, replicas):
            return f"scales the Deployment {name} to {replicas}"
        case _:
            return _of_replica_set(action, observed)


def _of_replica_set(action: Action, observed: Observed) -> str:
    match action:
        case CreateReplicaSet(name):
            return f"creates the ReplicaSet {name}"
        case PatchReplicaSet(name, replicas) if replicas is not None:
            was = {rs.name: rs.replicas for rs in observed.replica_sets}
            return f"scales the ReplicaSet {name} from {was.get(name, 0)} to {replicas}"
        case DeleteReplicaSet(name):
            return f"deletes the empty ReplicaSet {name} (revisionHistoryLimit)"
        case AdoptReplicaSet(name):
            return f"adopts the ReplicaSet {name}, which nothing controls"
        case ReleaseReplicaSet(name):
            return f"gives up the ReplicaSet {name}, which the selector doesn't match"
        case _:
            return ""


def _points(services: Mapping[str, Service], name: str, pod_hash: str) -> bool:
    service = services.get(name)
    return service is not None and pod_hash in service.selector.values() and service.managed_by is not None
