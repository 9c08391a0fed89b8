"""A template's ReplicaSet and Service, and how far it is (docs/behaviour.md §19)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from gitops_rollouts.api.analysis import ERROR, FAILED, RUNNING, SUCCESSFUL
from gitops_rollouts.api.experiment import Experiment, ExperimentTemplate, TemplateStatus
from gitops_rollouts.api.hashing import pod_template_hash
from gitops_rollouts.api.meta import LabelSelector, Raw
from gitops_rollouts.api.names import (
    EXPERIMENT_NAME,
    EXPERIMENT_TEMPLATE_NAME,
    POD_TEMPLATE_HASH,
    SCALE_DOWN_DEADLINE,
)
from gitops_rollouts.api.strategy import UNLIMITED_REVISIONS
from gitops_rollouts.engine import moments
from gitops_rollouts.engine.delay import Delayed, delayed
from gitops_rollouts.engine.experiments import texts
from gitops_rollouts.engine.experiments.observed import CreateService, DeleteService, ExperimentAction
from gitops_rollouts.engine.experiments.scene import ENDED, PROGRESSING, Scene
from gitops_rollouts.engine.observed import ReplicaSet
from gitops_rollouts.engine.plan import CreateReplicaSet, EmitEvent, PatchReplicaSet
from gitops_rollouts.engine.scene import hash_of

REPLICA_SET: Final = "ReplicaSet"
SERVICE: Final = "Service"
_MOST_TRIES: Final = 100


@dataclass(frozen=True, slots=True)
class Tended:
    """What a pass does for a template. ``moved``: a count or the size changed."""

    status: TemplateStatus
    actions: tuple[ExperimentAction, ...] = ()
    events: tuple[EmitEvent, ...] = ()
    look_again: timedelta | None = None
    moved: bool = False


@dataclass(frozen=True, slots=True)
class Sized:
    """What a pass does for a ReplicaSet. ``refused``: why it can't be had, "" if it can."""

    actions: tuple[ExperimentAction, ...] = ()
    look_again: timedelta | None = None
    moved: bool = False
    refused: str = ""


@dataclass(frozen=True, slots=True)
class _Served:
    """``name``: of the Service at the end of the pass, "" for none; ``refused``: why it can't be had."""

    name: str = ""
    actions: tuple[ExperimentAction, ...] = ()
    refused: str = ""


def replica_set_name(experiment: str, template: str) -> str:
    """The name of a template's ReplicaSet (§6)."""
    return f"{experiment}-{template}"


def service_name(experiment: str, template: ExperimentTemplate) -> str:
    """The name of a template's Service, "" if it has none."""
    if template.service is None:
        return ""
    return template.service.name or replica_set_name(experiment, template.name)


def service_names(experiment: Experiment) -> frozenset[str]:
    """The Services that an Experiment wants."""
    named = (service_name(experiment.metadata.name, template) for template in experiment.spec.templates)
    return frozenset(named) - {""}


def tend(scene: Scene, template: ExperimentTemplate) -> Tended:
    """Create, size and serve a template's pods, and say how far they are."""
    stored = scene.stored(template.name)
    found = scene.by_template.get(template.name)
    over = scene.ending or (stored is not None and stored.status in ENDED)
    wanted = 0 if over else max(0, template.desired_replicas)
    sized = _replica_set(scene, template, found, wanted, over=over)
    served = _service(scene, template, found, wanted) if not sized.refused else _Served()
    status = _counted(scene, template, found, moved=sized.moved)
    status = status.model_copy(
        update={
            "service_name": served.name,
            "pod_template_hash": hash_of(found) if served.name and found is not None else "",
        }
    )
    status = _judged(scene, template, status, sized.refused or served.refused)
    emitted: tuple[EmitEvent, ...] = ()
    before = "" if stored is None else stored.status
    if status.status != before:
        emitted = (texts.template_moved(template.name, before, status.status, status.message),)
    return Tended(
        status,
        sized.actions + served.actions,
        emitted,
        moments.soonest(sized.look_again, _deadline(scene, template, status)),
        moved=stored is None or _counts(stored) != _counts(status),
    )


def leftover(scene: Scene) -> Iterator[Sized]:
    """What becomes of ReplicaSets that no template has: their template was taken out of the spec."""
    kept = {scene.by_template[one.name].name for one in scene.spec.templates if one.name in scene.by_template}
    for found in scene.observed.replica_sets:
        if found.name not in kept:
            yield _down(scene, found)


def _replica_set(
    scene: Scene, template: ExperimentTemplate, found: ReplicaSet | None, wanted: int, *, over: bool
) -> Sized:
    if found is None:
        return Sized() if over else _created(scene, template)
    if found.deleting:
        return Sized()
    if over:
        return _down(scene, found)
    marked = SCALE_DOWN_DEADLINE in found.annotations
    if found.replicas == wanted and not marked:
        return Sized()
    unmarked: dict[str, str | None] = {SCALE_DOWN_DEADLINE: None} if marked else {}
    if found.replicas == wanted:
        return Sized((PatchReplicaSet(found.name, annotations=unmarked),))
    patch = PatchReplicaSet(found.name, replicas=wanted, annotations=unmarked)
    return Sized((patch, texts.scaled(found.name, found.replicas, wanted)), moved=True)


def _created(scene: Scene, template: ExperimentTemplate) -> Sized:
    name = replica_set_name(scene.name, template.name)
    refused = scene.observed.refused.get((REPLICA_SET, name))
    if refused is not None:
        message = f"Failed to create ReplicaSet {name} for template '{template.name}': {refused}"
        return Sized((texts.replica_set_refused(message),), refused=message)
    create = CreateReplicaSet(name, _body(scene, template, name))
    return Sized((create, texts.replica_set_created(name)), moved=True)


def _down(scene: Scene, found: ReplicaSet) -> Sized:
    """Size 0, once the delay is over that lets whoever still sends requests notice."""
    if found.deleting or found.replicas == 0:
        return Sized()
    (to,), look_again = delayed(
        (found,), seconds=max(0, scene.spec.scale_down_delay), limit=UNLIMITED_REVISIONS, now=scene.now
    )
    return Sized(tuple(_resize(found, to)), look_again, moved=to.size != found.replicas)


def _resize(found: ReplicaSet, to: Delayed) -> Iterator[PatchReplicaSet | EmitEvent]:
    marked = found.annotations.get(SCALE_DOWN_DEADLINE)
    annotations: dict[str, str | None] = {} if marked == to.deadline else {SCALE_DOWN_DEADLINE: to.deadline}
    if to.size != found.replicas:
        yield PatchReplicaSet(found.name, replicas=to.size, annotations=annotations)
        yield texts.scaled(found.name, found.replicas, to.size)
    elif annotations:
        yield PatchReplicaSet(found.name, annotations=annotations)


def _service(scene: Scene, template: ExperimentTemplate, found: ReplicaSet | None, wanted: int) -> _Served:
    """The Service is there as long as pods are wanted or available."""
    name = service_name(scene.name, template)
    if not name:
        return _Served()
    present = scene.observed.services.get(name)
    ours = present if present and present.owner_uid == scene.observed.experiment.metadata.uid else None
    here = _Served(name if ours else "")
    if wanted == 0:
        gone = found is None or found.available == 0
        return _Served(actions=(DeleteService(name, ours.uid),)) if ours and gone else here
    if ours or found is None or found.deleting:
        return here
    ports = _ports(found.template)
    refused = scene.observed.refused.get((SERVICE, name))
    if refused is not None:
        return _Served(refused=f"Failed to create Service {name} for template '{template.name}': {refused}")
    return _Served(name, (CreateService(name, _service_body(scene, template, name, found, ports)),)) if ports else here


def _service_body(scene: Scene, template: ExperimentTemplate, name: str, found: ReplicaSet, ports: list[Raw]) -> Raw:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "annotations": _annotations(scene.name, template)},
        "spec": {"selector": dict(found.labels), "ports": ports},
    }


def _ports(template: Mapping[str, Any]) -> list[Raw]:
    """A port for each that a container names, each once; several need names, so those without get one."""
    ports: dict[tuple[Any, str], Raw] = {}
    for container in (template.get("spec") or {}).get("containers") or ():
        for port in container.get("ports") or ():
            number, protocol = port.get("containerPort"), port.get("protocol") or "TCP"
            named = {"name": port["name"]} if port.get("name") else {}
            ports.setdefault((number, protocol), {**named, "protocol": protocol, "port": number, "targetPort": number})
    if len(ports) > 1:
        for (number, protocol), port in ports.items():
            port.setdefault("name", f"{protocol.lower()}-{number}")
    return list(ports.values())


def _counted(scene: Scene, template: ExperimentTemplate, found: ReplicaSet | None, *, moved: bool) -> TemplateStatus:
    """The counts as the ReplicaSet has them, and when they or its size last changed."""
    stored = scene.stored(template.name) or TemplateStatus(name=template.name)
    counts: dict[str, Any] = {
        "replicas": found.current if found else 0,
        "updated_replicas": found.current if found else 0,
        "ready_replicas": found.ready if found else 0,
        "available_replicas": found.available if found else 0,
    }
    status = stored.model_copy(update=counts)
    changed = moved or stored.last_transition_time is None or _counts(stored) != _counts(status)
    return status.model_copy(update={"last_transition_time": scene.stamp}) if changed else status


def _counts(status: TemplateStatus) -> tuple[int, ...]:
    return status.replicas, status.updated_replicas, status.ready_replicas, status.available_replicas


def _judged(scene: Scene, template: ExperimentTemplate, status: TemplateStatus, refused: str) -> TemplateStatus:
    """The status with its state; a state that is an end stays."""
    if status.status in ENDED:
        return status
    state, message = _state(scene, template, status)
    if refused and not scene.ending:
        state, message = ERROR, refused
    return status.model_copy(update={"status": state, "message": message})


def _state(scene: Scene, template: ExperimentTemplate, status: TemplateStatus) -> tuple[str, str]:
    if status.available_replicas == max(0, template.desired_replicas):
        return (SUCCESSFUL if scene.expired or scene.ending else RUNNING), ""
    seconds = max(0, scene.spec.progress_deadline)
    changed = status.last_transition_time
    if changed is not None and scene.now >= moments.after(changed, seconds):
        return FAILED, f"Template '{template.name}' exceeded its progressDeadlineSeconds ({seconds})"
    return (SUCCESSFUL if scene.ending else PROGRESSING), ""


def _deadline(scene: Scene, template: ExperimentTemplate, status: TemplateStatus) -> timedelta | None:
    """When a template that isn't there yet fails."""
    if status.status != PROGRESSING or status.last_transition_time is None:
        return None
    due = moments.after(status.last_transition_time, max(0, scene.spec.progress_deadline))
    return moments.until(due, scene.now)


def _body(scene: Scene, template: ExperimentTemplate, name: str) -> Raw:
    pods = _without_hash(template.template)
    pod_hash = _new_hashes(scene)[template.name]
    metadata = pods.get("metadata") or {}
    labels = {**(metadata.get("labels") or {}), POD_TEMPLATE_HASH: pod_hash}
    selector = template.selector or LabelSelector()
    spec: Raw = {
        "replicas": 0,
        "selector": selector.with_label(POD_TEMPLATE_HASH, pod_hash).encode(),
        "template": {**pods, "metadata": {**metadata, "labels": labels}},
    }
    if template.min_ready_seconds:
        spec["minReadySeconds"] = template.min_ready_seconds
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": name, "labels": labels, "annotations": _annotations(scene.name, template)},
        "spec": spec,
    }


def _annotations(experiment: str, template: ExperimentTemplate) -> dict[str, str]:
    return {EXPERIMENT_NAME: experiment, EXPERIMENT_TEMPLATE_NAME: template.name}


def _without_hash(template: Mapping[str, Any]) -> Raw:
    """A pod template without the hash label, which a copy of a Rollout's ReplicaSet brings along."""
    metadata = template.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    given = metadata.get("labels")
    labels: Raw = {**given} if isinstance(given, dict) else {}
    labels.pop(POD_TEMPLATE_HASH, None)
    rest = {key: value for key, value in metadata.items() if key != "labels"}
    return {**template, "metadata": {**rest, "labels": labels} if labels else rest}


def _new_hashes(scene: Scene) -> dict[str, str]:
    """The hash of each template without a ReplicaSet (§6), but none that selects the pods of another.

    Those others are the pods that the template is a copy of, and those of the templates before it.
    """
    taken = set(map(hash_of, scene.by_template.values()))
    found: dict[str, str] = {}
    for template in scene.spec.templates:
        if template.name in scene.by_template:
            continue
        pods, original = _without_hash(template.template), _given_hash(template)
        for count in (None, *range(1, _MOST_TRIES)):
            found[template.name] = pod_template_hash(pods, count)
            if found[template.name] not in taken | {original}:
                break
        taken.add(found[template.name])
    return found


def _given_hash(template: ExperimentTemplate) -> str:
    metadata = template.template.get("metadata")
    labels = metadata.get("labels") if isinstance(metadata, dict) else None
    found = labels.get(POD_TEMPLATE_HASH) if isinstance(labels, dict) else None
    return found if isinstance(found, str) else ""
