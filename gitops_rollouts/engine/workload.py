"""``spec.workloadRef``: the pod template of another object, taken over in memory (docs/behaviour.md §2.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from gitops_rollouts.api.names import WORKLOAD_GENERATION
from gitops_rollouts.api.rollout import ObjectRef, Rollout
from gitops_rollouts.api.status import HEALTHY
from gitops_rollouts.api.validation import FieldError
from gitops_rollouts.engine.observed import Observed, Workload
from gitops_rollouts.engine.plan import Action, PatchRollout, ScaleWorkload
from gitops_rollouts.engine.scene import Scene, revision_of

_PLURALS: Final[Mapping[tuple[str, str], str]] = {
    ("apps", "Deployment"): "deployments.apps",
    ("apps", "ReplicaSet"): "replicasets.apps",
    ("", "PodTemplate"): "podtemplates",
}
SCALABLE: Final = "Deployment"
ON_SUCCESS: Final = "onsuccess"
PROGRESSIVELY: Final = "progressively"


@dataclass(frozen=True, slots=True)
class Resolved:
    """The snapshot with the workload's template and selector in place of the Rollout's own."""

    observed: Observed
    error: FieldError | None = None
    """Why there is none; it comes before every other rule."""
    actions: tuple[Action, ...] = ()
    """Keep the annotation that tells clients which generation of the workload is the newest."""


def group_kind(reference: ObjectRef) -> tuple[str, str]:
    """(group, kind) that a reference names; the version doesn't matter. The core group is ``""``."""
    return reference.api_version.rpartition("/")[0], reference.kind


def is_supported(reference: ObjectRef) -> bool:
    """Whether a template can be taken from objects of this kind."""
    return group_kind(reference) in _PLURALS


def resolve(observed: Observed) -> Resolved:
    """Put the workload's template and selector where the rules look. Nothing of it is ever written."""
    rollout = observed.rollout
    reference, noted = rollout.spec.workload_ref, rollout.metadata.annotations.get(WORKLOAD_GENERATION)
    if reference is None:
        return Resolved(observed, actions=() if noted is None else (PatchRollout({WORKLOAD_GENERATION: None}),))
    error = _error(rollout, reference, observed.workload)
    if error is not None or observed.workload is None:
        return Resolved(observed, error)
    workload, spec = observed.workload, rollout.spec
    generation = str(workload.generation)
    template = spec.model_copy(
        update={
            "template": dict(workload.template),
            "selector": workload.selector if spec.selector is None else spec.selector,
        }
    )
    annotations = {**rollout.metadata.annotations, WORKLOAD_GENERATION: generation}
    metadata = rollout.metadata.model_copy(update={"annotations": annotations})
    resolved = rollout.model_copy(update={"spec": template, "metadata": metadata})
    actions = () if noted == generation else (PatchRollout({WORKLOAD_GENERATION: generation}),)
    return Resolved(replace(observed, rollout=resolved), actions=actions)


def generation_of(rollout: Rollout) -> str:
    """What ``status.workloadObservedGeneration`` becomes: of a resolved Rollout; "" without a reference."""
    return rollout.metadata.annotations.get(WORKLOAD_GENERATION, "") if rollout.spec.workload_ref is not None else ""


def _error(rollout: Rollout, reference: ObjectRef, workload: Workload | None) -> FieldError | None:
    group, kind = group_kind(reference)
    plural = _PLURALS.get((group, kind))
    if plural is None:
        return FieldError("", f"workload of type {group}/{kind} is not supported")
    if workload is None:
        return FieldError("", f'{plural} "{rollout.metadata.namespace}/{reference.name}" not found')
    metadata = (rollout.spec.template or {}).get("metadata")
    if isinstance(metadata, Mapping) and (metadata.get("labels") or metadata.get("annotations")):
        return FieldError("", "template must be empty for workload reference rollout")
    return None


def hand_over(scene: Scene) -> tuple[Action, ...]:
    """Scale the Deployment to 0 once the first revision is the stable one and serves (``onsuccess``)."""
    if _policy(scene) != ON_SUCCESS or not scene.promoted or scene.revision != 1:
        return ()
    return _sized(scene, 0) if scene.status.phase == HEALTHY else ()


def shrink(before: Scene, after: Scene) -> tuple[Action, ...]:
    """Let the Deployment make room for the first revision's ready pods (``progressively``).

    ``before`` and ``after``: the pass before and after its sizes were decided.
    """
    if _policy(before) != PROGRESSIVELY or revision_of(before.new) != 1 or before.leave.held:
        return ()
    if before.status.phase == HEALTHY:
        return _sized(before, 0)
    told = max(0, before.status.ready_replicas)
    if told == 0 and before.new.replicas <= after.new.replicas:
        return ()
    # pods that have failed since give their room back now: once the status says that none is ready, nothing would
    ready = min(told, sum(replica_set.ready for replica_set in before.all))
    return _sized(before, max(0, before.replicas - ready))


def _policy(scene: Scene) -> str:
    reference, workload = scene.spec.workload_ref, scene.observed.workload
    if reference is None or workload is None or workload.kind != SCALABLE:
        return ""
    return reference.scale_down


def _sized(scene: Scene, size: int) -> tuple[Action, ...]:
    workload = scene.observed.workload
    if workload is None or workload.replicas == size:
        return ()
    return (ScaleWorkload(workload.name, workload.uid, size),)
