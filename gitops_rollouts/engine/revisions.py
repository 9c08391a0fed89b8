"""ReplicaSets: claiming them, finding the one of a template, creating it, numbering (docs/behaviour.md §5–§7)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from gitops_rollouts.api.names import (
    DESIRED_REPLICAS,
    LAST_APPLIED_CONFIGURATION,
    NOTIFIED,
    OWN_PREFIX,
    POD_TEMPLATE_HASH,
    REVISION,
    REVISION_HISTORY,
    WORKLOAD_GENERATION,
)
from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.engine import affinity, conditions, ephemeral, events, intent
from gitops_rollouts.engine.observed import Observed, ReplicaSet
from gitops_rollouts.engine.plan import (
    Action,
    AdoptReplicaSet,
    CreateReplicaSet,
    PatchReplicaSet,
    PatchRollout,
    Plan,
    ReleaseReplicaSet,
)
from gitops_rollouts.engine.scene import Scene, hash_of, revision_of
from gitops_rollouts.engine.specs import shape, template_hash

_NOT_COPIED: Final = frozenset(
    {LAST_APPLIED_CONFIGURATION, REVISION, REVISION_HISTORY, DESIRED_REPLICAS, NOTIFIED, WORKLOAD_GENERATION}
)


@dataclass(frozen=True, slots=True)
class Claimed:
    """The ReplicaSets that are the Rollout's from now on, and what makes them so."""

    owned: tuple[ReplicaSet, ...]
    actions: tuple[Action, ...]


def claim(observed: Observed) -> Claimed:
    """Adopt orphans that the selector matches, release what it matches no longer, as Deployments do.

    But for one with pods that nobody relabelled: another selector in the spec must not take the stable version away.
    """
    rollout = observed.rollout
    selector = rollout.spec.selector
    owned: list[ReplicaSet] = []
    actions: list[Action] = []
    for replica_set in observed.replica_sets:
        matches = selector is not None and selector.matches(replica_set.labels)
        if replica_set.owner_uid == rollout.metadata.uid:
            if matches or replica_set.deleting or (replica_set.replicas > 0 and _as_created(replica_set)):
                owned.append(replica_set)
            else:
                actions.append(ReleaseReplicaSet(replica_set.name, replica_set.uid))
        elif replica_set.owner_uid is None and matches and not replica_set.deleting and hash_of(replica_set):
            owned.append(replace(replica_set, owner_uid=rollout.metadata.uid))
            actions.append(AdoptReplicaSet(replica_set.name, replica_set.uid))
    return Claimed(tuple(owned), tuple(actions))


def _as_created(replica_set: ReplicaSet) -> bool:
    """Whether its labels are still those by which it selects its pods, which can't change."""
    wanted = replica_set.selector.get("matchLabels")
    labels = wanted if isinstance(wanted, Mapping) else {}
    return POD_TEMPLATE_HASH in labels and labels.items() <= replica_set.labels.items()


def find(rollout: Rollout, owned: Iterable[ReplicaSet]) -> ReplicaSet | None:
    """The ReplicaSet of the Rollout's template: by its own hash, else the oldest with an equal template (§6)."""
    template = rollout.spec.template or {}
    wanted = template_hash(template, rollout.status.collision_count)
    oldest_first = sorted(owned, key=lambda replica_set: (replica_set.created, replica_set.name))
    for replica_set in oldest_first:
        if hash_of(replica_set) == wanted:
            return replica_set
    if not oldest_first:
        return None
    return next((found for found in oldest_first if _alike(rollout, template, found)), None)


def _alike(rollout: Rollout, template: Mapping[str, Any], replica_set: ReplicaSet) -> bool:
    """Whether a ReplicaSet makes the pods of a template, which may have been copied back from one."""
    injected = ephemeral.known(rollout.spec, replica_set)
    if not injected:
        return shape(template) == shape(replica_set.template)
    theirs = ephemeral.removed(replica_set.template, (ephemeral.recorded(replica_set),), whatever_value=True)
    wanted, theirs = (ephemeral.removed(one, injected, whatever_value=False) for one in (template, theirs))
    return shape(wanted) == shape(theirs)


def with_hash(owned: Iterable[ReplicaSet], pod_hash: str) -> ReplicaSet | None:
    """The ReplicaSet with this hash label."""
    if not pod_hash:
        return None
    return next((replica_set for replica_set in owned if hash_of(replica_set) == pod_hash), None)


def create(observed: Observed, claimed: Claimed, now: datetime) -> Plan:
    """The pass that creates the template's ReplicaSet with size 0 (§7.4). Another name on a clash (§6)."""
    rollout = observed.rollout
    template = rollout.spec.template or {}
    taken = observed.taken_names | {replica_set.name for replica_set in observed.replica_sets}
    count = rollout.status.collision_count
    pod_hash = template_hash(template, count)
    while f"{rollout.metadata.name}-{pod_hash}" in taken:
        count = (count or 0) + 1
        pod_hash = template_hash(template, count)
    name = f"{rollout.metadata.name}-{pod_hash}"
    revision = next_revision(claimed.owned)
    stable = with_hash(claimed.owned, rollout.status.stable_rs)
    metadata = ephemeral.for_role(rollout.spec, challenger=stable is not None)
    annotations = {
        **_copied(rollout),
        **intent.mark(observed.authority),
        **ephemeral.noted(metadata),
        REVISION: str(revision),
        DESIRED_REPLICAS: str(rollout.spec.desired_replicas),
    }
    status = rollout.status.model_copy(
        update={
            "collision_count": count,
            "conditions": conditions.with_condition(
                rollout.status.conditions,
                conditions.PROGRESSING,
                "True",
                "NewReplicaSetCreated",
                f'Created new replica set "{name}"',
                now,
            ),
        }
    )
    return Plan(
        actions=(
            *claimed.actions,
            CreateReplicaSet(name, _body(rollout, name, pod_hash, _dressed(rollout, metadata), annotations)),
            PatchRollout({REVISION: str(revision)}),
            events.updated(revision),
            events.created(name, revision),
        ),
        status=status,
    )


def create_failed(rollout: Rollout, name: str, error: str, now: datetime) -> Plan:
    """What to write when the API server refused to create the ReplicaSet ``name`` (§4.1 ``ReplicaSetCreateError``)."""
    message = f'Failed to create new replica set "{name}": {error}'
    changed = conditions.with_condition(
        rollout.status.conditions, conditions.PROGRESSING, "False", "ReplicaSetCreateError", message, now
    )
    return Plan(
        status=rollout.status.model_copy(update={"conditions": changed}), events=(events.create_failed(message),)
    )


def _dressed(rollout: Rollout, metadata: ephemeral.Metadata) -> dict[str, Any]:
    """The pod template with what goes with the role of a new version."""
    template = ephemeral.injected(rollout.spec.template or {}, metadata)
    away_from = rollout.status.stable_rs
    pods = affinity.injected(template.get("spec") or {}, rollout.spec, away_from, rollout.metadata.namespace)
    return {**template, "spec": pods}


def _body(
    rollout: Rollout, name: str, pod_hash: str, template: dict[str, Any], annotations: Mapping[str, str]
) -> dict[str, Any]:
    own = (rollout.spec.template or {}).get("metadata") or {}
    labels = {**(own.get("labels") or {}), POD_TEMPLATE_HASH: pod_hash}
    metadata = dict(template.get("metadata") or {})
    template = {
        **template,
        "metadata": {**metadata, "labels": {**(metadata.get("labels") or {}), POD_TEMPLATE_HASH: pod_hash}},
    }
    selector = rollout.spec.selector
    spec: dict[str, Any] = {
        "replicas": 0,
        "selector": selector.with_label(POD_TEMPLATE_HASH, pod_hash).encode() if selector else {},
        "template": template,
    }
    if rollout.spec.min_ready_seconds:
        spec["minReadySeconds"] = rollout.spec.min_ready_seconds
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": name,
            "namespace": rollout.metadata.namespace,
            "labels": labels,
            "annotations": dict(annotations),
        },
        "spec": spec,
    }


def next_revision(older: Iterable[ReplicaSet]) -> int:
    """One more than the highest number among these."""
    return max((revision_of(replica_set) for replica_set in older), default=0) + 1


def _copied(rollout: Rollout) -> dict[str, str]:
    return {
        key: value
        for key, value in rollout.metadata.annotations.items()
        if key not in _NOT_COPIED and not key.startswith(OWN_PREFIX)
    }


def sync(scene: Scene) -> tuple[Scene, tuple[Action, ...]]:
    """Keep the new ReplicaSet's number, copied annotations, mark and minReadySeconds right; tell the Rollout (§7)."""
    if scene.leave.edited:
        return scene, ()
    rollout, new = scene.observed.rollout, scene.new
    revision = max(
        scene.revision, next_revision(replica_set for replica_set in scene.all if replica_set.name != new.name)
    )
    changes = {key: value for key, value in _copied(rollout).items() if new.annotations.get(key) != value}
    if revision != scene.revision:
        changes[REVISION] = str(revision)
    if changes and REVISION in new.annotations:
        changes[REVISION_HISTORY] = _history(new)
    changes |= intent.correction(scene, changes)
    template = _affinity_patch(scene, regenerate=bool(changes))
    ready_after = rollout.spec.min_ready_seconds if rollout.spec.min_ready_seconds != new.min_ready_seconds else None
    actions: list[Action] = []
    if changes or ready_after is not None or template:
        actions.append(PatchReplicaSet(new.name, min_ready_seconds=ready_after, annotations=changes, template=template))
        new = replace(new, annotations={**new.annotations, **changes}, min_ready_seconds=rollout.spec.min_ready_seconds)
    if rollout.metadata.annotations.get(REVISION) != str(revision):
        actions += [PatchRollout({REVISION: str(revision)}), events.updated(revision)]
    stable = new if scene.stable is not None and scene.stable.name == new.name else scene.stable
    return replace(scene, new=new, stable=stable), tuple(actions)


def _affinity_patch(scene: Scene, *, regenerate: bool) -> dict[str, Any]:
    """What makes the anti-affinity right. Of a promoted version only along with another change (§13)."""
    if scene.promoted and not regenerate:
        return {}
    pods = scene.new.template.get("spec") or {}
    away_from = "" if scene.promoted else scene.status.stable_rs
    wanted = affinity.injected(pods, scene.spec, away_from, scene.observed.rollout.metadata.namespace)
    return affinity.patch(pods, wanted)


def _history(replica_set: ReplicaSet) -> str:
    former = replica_set.annotations.get(REVISION_HISTORY, "")
    return ",".join(part for part in (former, str(revision_of(replica_set))) if part)


def surplus(scene: Scene) -> tuple[ReplicaSet, ...]:
    """The old ReplicaSets to delete: beyond revisionHistoryLimit, oldest first, only empty ones (§2.1)."""
    count = len(scene.others) - max(0, scene.spec.history_limit)
    if count <= 0:
        return ()
    oldest = sorted(scene.others, key=lambda replica_set: (replica_set.created, replica_set.name))[:count]
    return tuple(
        replica_set
        for replica_set in oldest
        if replica_set.replicas == 0
        and replica_set.current == 0
        and replica_set.generation <= replica_set.observed_generation
        and not replica_set.deleting
    )
