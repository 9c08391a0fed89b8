"""Labels and annotations that go with a pod's role, not with its version (docs/behaviour.md §13).

They stand in a ReplicaSet's pod template, are remembered in one of its annotations, and follow on its pods. Pods come
before the template in a pass, so that what was injected is known until the last of them has lost it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

from gitops_rollouts.api.meta import LabelSelector
from gitops_rollouts.api.names import EPHEMERAL_METADATA, POD_TEMPLATE_HASH
from gitops_rollouts.api.rollout import RolloutSpec
from gitops_rollouts.api.status import RolloutStatus
from gitops_rollouts.api.steps import TemplateMetadata
from gitops_rollouts.engine.observed import Observed, Pod, ReplicaSet
from gitops_rollouts.engine.plan import Action, PatchPod, PatchReplicaSet
from gitops_rollouts.engine.scene import Scene, hash_of

_AGAIN: Final = timedelta(seconds=5)
_KINDS: Final = ("labels", "annotations")
_LONGEST: Final = 256 * 1024
Settled = frozenset[tuple[str, str]]
"""(uid of a ReplicaSet, what its pods carry), for those whose pods were seen to carry it."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """Labels and annotations."""

    labels: Mapping[str, str]
    annotations: Mapping[str, str]

    def __bool__(self) -> bool:
        return bool(self.labels or self.annotations)

    def __str__(self) -> str:
        """As the annotation holds it."""
        parts = {"labels": dict(self.labels), "annotations": dict(self.annotations)}
        return json.dumps({key: value for key, value in parts.items() if value}, sort_keys=True, separators=(",", ":"))


NOTHING: Final = Metadata({}, {})


@dataclass(frozen=True, slots=True)
class Synced:
    """The pass after it. ``look_again``: pods aren't all seen right yet."""

    scene: Scene
    actions: tuple[Action, ...] = ()
    look_again: timedelta | None = None

    @property
    def early(self) -> tuple[Action, ...]:
        """What comes before sizes and traffic: what is made larger has its metadata then."""
        return () if self._leads_back else self.actions

    @property
    def late(self) -> tuple[Action, ...]:
        """What comes after them: a Pod that may not be patched must not keep the traffic from a way back."""
        return self.actions if self._leads_back else ()

    @property
    def _leads_back(self) -> bool:
        return self.scene.promoted or self.scene.aborted


def recorded(replica_set: ReplicaSet) -> Metadata:
    """What was injected into a ReplicaSet. Total: an annotation that can't be read is as if absent.

    What the ReplicaSet selects its pods by was never ours.
    """
    text = replica_set.annotations.get(EPHEMERAL_METADATA, "")
    if not 0 < len(text) <= _LONGEST:
        return NOTHING
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return NOTHING
    if not isinstance(found, dict):
        return NOTHING
    selector = replica_set.selector
    fixed = {POD_TEMPLATE_HASH, *_mapping(selector.get("matchLabels"))}
    expressions = selector.get("matchExpressions")
    fixed |= {str(_mapping(one).get("key")) for one in (expressions if isinstance(expressions, list) else ())}
    labels = {key: value for key, value in _texts(found.get("labels")).items() if key not in fixed}
    return Metadata(labels, _texts(found.get("annotations")))


def for_role(spec: RolloutSpec, *, challenger: bool) -> Metadata:
    """What pods get: those of a new version beside a stable one (``challenger``), or the stable ones."""
    canary, blue_green = spec.strategy.canary, spec.strategy.blue_green
    if canary is not None:
        return _usable(spec.selector, canary.canary_metadata if challenger else canary.stable_metadata)
    if blue_green is not None:
        return _usable(spec.selector, blue_green.preview_metadata if challenger else blue_green.active_metadata)
    return NOTHING


def known(spec: RolloutSpec, *replica_sets: ReplicaSet) -> tuple[Metadata, ...]:
    """All that may have been injected: what the strategy names now, and what these ReplicaSets remember."""
    configured = (for_role(spec, challenger=True), for_role(spec, challenger=False))
    return tuple(found for found in (*configured, *map(recorded, replica_sets)) if found)


def removed(template: Mapping[str, Any], injected: Iterable[Metadata], *, whatever_value: bool) -> dict[str, Any]:
    """A pod template without these; ``whatever_value``: by their keys alone."""
    metadata = _mapping(template.get("metadata"))
    labels, annotations = dict(_mapping(metadata.get("labels"))), dict(_mapping(metadata.get("annotations")))
    for one in injected:
        for kept, gone in ((labels, one.labels), (annotations, one.annotations)):
            for key, value in gone.items():
                if key in kept and (whatever_value or kept[key] == value):
                    del kept[key]
    return {**template, "metadata": {**metadata, "labels": labels, "annotations": annotations}}


def injected(template: Mapping[str, Any], metadata: Metadata) -> dict[str, Any]:
    """A pod template with this metadata on top of its own."""
    if not metadata:
        return dict(template)
    own = _mapping(template.get("metadata"))
    merged = {
        **own,
        "labels": {**_mapping(own.get("labels")), **metadata.labels},
        "annotations": {**_mapping(own.get("annotations")), **metadata.annotations},
    }
    return {**template, "metadata": {key: value for key, value in merged.items() if value}}


def asked(observed: Observed) -> Settled:
    """What every ReplicaSet's pods should carry, where anything may ever have been injected."""
    return frozenset((one.uid, str(wanted)) for one, wanted, everything in _of(observed) if everything)


def watched(observed: Observed) -> Settled:
    """Those of `asked` that have pods."""
    return frozenset(
        (one.uid, str(wanted))
        for one, wanted, everything in _of(observed)
        if everything and (one.replicas or one.current) and not one.deleting
    )


def settled(observed: Observed) -> Settled:
    """Those of `asked` that are right and stay so: by their pods, if these were loaded, or because there are none.

    A ReplicaSet that its controller hasn't seen since it was changed may still get pods of the former template.
    """
    return frozenset(
        (one.uid, str(wanted))
        for one, wanted, everything in _of(observed)
        if everything
        and (one.generation <= max(1, one.observed_generation))
        and recorded(one) == wanted
        and (
            not (one.replicas or one.current)
            or (observed.pods is not None and not _pod_patches(one, {}, observed.pods, wanted, everything))
        )
    )


def sync(scene: Scene) -> Synced:
    """Bring templates and pods in line with their roles. For a full pass of either strategy."""
    actions: list[Action] = []
    changed: dict[str, ReplicaSet] = {}
    waiting = False
    for one, wanted, everything in _roles(scene.spec, scene.status, scene.all):
        if not everything or one.deleting:
            continue
        template = _template_patch(one, wanted, _own_template(scene, one))
        patches = _pod_patches(one, template, scene.observed.pods or (), wanted, everything)
        actions += patches
        if template or recorded(one) != wanted:
            note = str(wanted) if wanted else None
            actions.append(PatchReplicaSet(one.name, annotations={EPHEMERAL_METADATA: note}, template=template))
            changed[one.name] = _noted(one, note)
            waiting = waiting or one.current > 0
        waiting = waiting or bool(patches)
    return Synced(_with(scene, changed), tuple(actions), _AGAIN if waiting else None)


def _of(observed: Observed) -> list[tuple[ReplicaSet, Metadata, tuple[Metadata, ...]]]:
    rollout = observed.rollout
    ours = [one for one in observed.replica_sets if one.owner_uid == rollout.metadata.uid]
    return _roles(rollout.spec, rollout.status, ours)


def _roles(
    spec: RolloutSpec, status: RolloutStatus, replica_sets: Iterable[ReplicaSet]
) -> list[tuple[ReplicaSet, Metadata, tuple[Metadata, ...]]]:
    """Each ReplicaSet with what it should carry, and all that may have been injected into it."""
    every = list(replica_sets)
    beside = status.stable_rs not in ("", status.current_pod_hash) and any(
        hash_of(one) == status.stable_rs for one in every
    )
    found = []
    for one in every:
        wanted = NOTHING
        if hash_of(one) and hash_of(one) in (status.current_pod_hash, status.stable_rs):
            wanted = for_role(spec, challenger=beside and hash_of(one) != status.stable_rs)
        found.append((one, wanted, known(spec, one)))
    return found


def _own_template(scene: Scene, replica_set: ReplicaSet) -> Mapping[str, Any]:
    """What the version itself says, where that is known: of the new one, unless somebody edited it outside Git."""
    if replica_set.name != scene.new.name or scene.leave.edited:
        return {}
    return removed(scene.spec.template or {}, known(scene.spec), whatever_value=False)


def _template_patch(replica_set: ReplicaSet, wanted: Metadata, own: Mapping[str, Any]) -> dict[str, Any]:
    before = recorded(replica_set)
    now, original = _mapping(replica_set.template.get("metadata")), _mapping(own.get("metadata"))
    metadata = {}
    for kind, injected_before, injected_now in (
        ("labels", before.labels, wanted.labels),
        ("annotations", before.annotations, wanted.annotations),
    ):
        values, restored = _mapping(now.get(kind)), _mapping(original.get(kind))
        target = {key: restored.get(key) for key in injected_before} | dict(injected_now)
        changes = {key: value for key, value in target.items() if values.get(key) != value}
        if changes:
            metadata[kind] = changes
    return {"metadata": metadata} if metadata else {}


def _pod_patches(
    replica_set: ReplicaSet,
    template: Mapping[str, Any],
    pods: Iterable[Pod],
    wanted: Metadata,
    everything: tuple[Metadata, ...],
) -> list[PatchPod]:
    """What the pods lack, and what they carry that was injected for another role.

    ``template``: how the ReplicaSet's template is changed in this pass, which tells what a pod has of its own.
    """
    before, changes = _mapping(replica_set.template.get("metadata")), _mapping(template.get("metadata"))
    metadata = {kind: {**_mapping(before.get(kind)), **_mapping(changes.get(kind))} for kind in _KINDS}
    found = []
    for pod in pods:
        if pod.owner_uid != replica_set.uid or pod.deleting:
            continue
        labels = _changes(pod.labels, wanted.labels, [one.labels for one in everything], metadata["labels"])
        annotations = _changes(
            pod.annotations, wanted.annotations, [one.annotations for one in everything], metadata["annotations"]
        )
        if labels or annotations:
            found.append(PatchPod(pod.name, pod.uid, labels, annotations))
    return found


def _changes(
    now: Mapping[str, str], wanted: Mapping[str, str], everything: Iterable[Mapping[str, str]], own: Mapping[str, Any]
) -> dict[str, str | None]:
    changes: dict[str, str | None] = {key: value for key, value in wanted.items() if now.get(key) != value}
    for one in everything:
        for key, value in one.items():
            if key not in wanted and now.get(key) == value and own.get(key) != value:
                changes[key] = own.get(key)
    return changes


def _usable(selector: LabelSelector | None, metadata: TemplateMetadata | None) -> Metadata:
    """Less the labels by which pods are selected: without them, a ReplicaSet would lose its pods."""
    if metadata is None:
        return NOTHING
    fixed = {POD_TEMPLATE_HASH}
    if selector is not None:
        fixed |= set(selector.match_labels) | {one.key for one in selector.match_expressions}
    labels = {key: value for key, value in metadata.labels.items() if key not in fixed}
    return Metadata(labels, dict(metadata.annotations))


def noted(metadata: Metadata) -> dict[str, str]:
    """The annotation of a ReplicaSet that is created with this metadata."""
    return {EPHEMERAL_METADATA: str(metadata)} if metadata else {}


def _noted(replica_set: ReplicaSet, note: str | None) -> ReplicaSet:
    annotations = {key: value for key, value in replica_set.annotations.items() if key != EPHEMERAL_METADATA}
    return replace(replica_set, annotations=annotations if note is None else {**annotations, EPHEMERAL_METADATA: note})


def _with(scene: Scene, changed: Mapping[str, ReplicaSet]) -> Scene:
    if not changed:
        return scene
    stable = scene.stable
    return replace(
        scene,
        new=changed.get(scene.new.name, scene.new),
        stable=None if stable is None else changed.get(stable.name, stable),
        others=tuple(changed.get(other.name, other) for other in scene.others),
    )


def _texts(value: Any) -> dict[str, str]:
    return {key: one for key, one in _mapping(value).items() if isinstance(one, str)}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
