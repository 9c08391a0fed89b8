"""A step's Experiment: begun, followed, ended, and kept for a while (docs/behaviour.md §19)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gitops_rollouts.api.analysis import INCONCLUSIVE, SUCCESSFUL
from gitops_rollouts.api.experiment import Experiment, ExperimentSpec, parse_experiment
from gitops_rollouts.api.meta import LabelSelector, Raw, parse_tolerant
from gitops_rollouts.api.names import CANCELLED, POD_TEMPLATE_HASH, REVISION
from gitops_rollouts.api.steps import RolloutExperimentStep, RolloutExperimentTemplate
from gitops_rollouts.api.templating import rollout_arguments
from gitops_rollouts.engine.experiments.outcome import REQUIRED_DONE
from gitops_rollouts.engine.observed import ReplicaSet
from gitops_rollouts.engine.outcome import Outcome
from gitops_rollouts.engine.plan import Action, CreateRun, DeleteRun, EmitEvent, TerminateRun
from gitops_rollouts.engine.run_history import no_longer_kept
from gitops_rollouts.engine.run_names import pick
from gitops_rollouts.engine.scene import Scene
from gitops_rollouts.errors import TemplateError

KIND: Final = "Experiment"


@dataclass(frozen=True, slots=True)
class Tried(Outcome):
    """The Experiment of the current step in this pass.

    ``name``: what the status tells; "" for none, and for one that came to no verdict: what follows is another.
    ``error``: why none can begin.
    """

    name: str = ""
    phase: str = ""
    message: str = ""
    created: tuple[Action, ...] = ()
    error: str = ""


def attend(scene: Scene) -> Tried:
    """What the Experiment of the current step says; it begins in the first pass of the step.

    Only for an update that goes forward: a first deploy, a promoted or an aborted version has none.
    """
    if scene.status.promote_full or scene.leave.back_to is not None:
        return Tried()
    stored = scene.status.canary.current_experiment
    if scene.leave.edited:
        return Tried(stored)
    step = scene.step.experiment if scene.step is not None else None
    if step is None:
        return Tried()
    current = _current(scene)
    if current is not None:
        return _said(scene, current)
    if scene.status.pause_conditions or scene.leave.held:
        return Tried()
    return _begun(scene, step)


def failed(scene: Scene) -> bool:
    """Whether the Experiment of the current step says no."""
    if scene.step is None or scene.step.experiment is None or scene.status.promote_full:
        return False
    current = None if scene.leave.back_to is not None else _current(scene)
    return current is not None and _said(scene, current).failed


def _current(scene: Scene) -> Experiment | None:
    """The one that the status names, if it is there and has a say in this step."""
    stored = scene.status.canary.current_experiment
    found = next((one for one in scene.observed.experiments if one.metadata.name == stored), None)
    return found if found is not None and _counts(found) and _is_of_step(scene, found) else None


def ended(scene: Scene, current: str) -> tuple[Action, ...]:
    """Those that nobody waits for are asked to end, and those beyond the limits are deleted (§17.5, §17.7)."""
    if scene.leave.edited:
        return ()
    needed = {one.metadata.name for one in scene.observed.experiments if _proves_a_step(scene, one)}
    surplus = no_longer_kept(scene, scene.observed.experiments, needed | {current})
    gone = {meta.name for meta in surplus}
    cancelled = tuple(
        TerminateRun(KIND, one.metadata.name, one.metadata.uid)
        for one in scene.observed.experiments
        if one.metadata.name not in gone | {current} and not (one.status.completed or one.spec.terminate)
    )
    return (*cancelled, *(DeleteRun(KIND, meta.name, meta.uid) for meta in surplus))


def said_yes(scene: Scene, index: int) -> bool:
    """Whether an Experiment of this step has said yes to the new version, which is why an update may be past it."""
    name = f"{scene.observed.rollout.metadata.name}-{scene.pod_hash}-"
    of_step = re.compile(rf"{re.escape(name)}[0-9]+-{index}(-[0-9]+)?")
    return any(
        of_step.fullmatch(one.metadata.name) and _counts(one) and _said(scene, one).successful
        for one in scene.observed.experiments
    )


def _proves_a_step(scene: Scene, experiment: Experiment) -> bool:
    """Whether Git's engine needs it still: it is why the running update could pass a step."""
    if scene.observed.authority is None or scene.promoted or scene.aborted:
        return False
    version = experiment.metadata.labels.get(POD_TEMPLATE_HASH)
    return version == scene.pod_hash and experiment.status.phase == SUCCESSFUL


def _counts(experiment: Experiment) -> bool:
    """Whether it is there and nobody has decided already that it doesn't count."""
    meta = experiment.metadata
    return meta.deletion_timestamp is None and CANCELLED not in meta.annotations


def _base(scene: Scene) -> str:
    index = scene.status.current_step_index or 0
    return f"{scene.observed.rollout.metadata.name}-{scene.pod_hash}-{scene.revision}-{index}"


def _is_of_step(scene: Scene, experiment: Experiment) -> bool:
    base = _base(scene)
    return experiment.metadata.name == base or experiment.metadata.name.startswith(f"{base}-")


def _said(scene: Scene, experiment: Experiment) -> Tried:
    """Its phase. Where Git decides, one that a client asked to end has not said yes: it is Inconclusive."""
    name, status = experiment.metadata.name, experiment.status
    phase = status.phase
    cut_short = experiment.spec.terminate and status.message != REQUIRED_DONE
    if phase == SUCCESSFUL and cut_short and scene.observed.authority is not None:
        phase = INCONCLUSIVE
    return Tried("" if phase == INCONCLUSIVE else name, phase, status.message)


def _begun(scene: Scene, step: RolloutExperimentStep) -> Tried:
    try:
        spec = _spec(scene, step)
    except TemplateError as error:
        return Tried(error=f"Experiment can't begin: {error.message}")
    # compared as it comes back from the API server
    wanted = parse_experiment({"spec": spec}).spec
    base, observed = _base(scene), scene.observed
    name, found = pick(base, "-", observed.experiments, observed.taken_runs, lambda one: _is(one, wanted))
    if found is not None:
        return _said(scene, found)
    if name in observed.refused_runs:
        return Tried(error=f"Experiment can't begin: {observed.refused_runs[name]}")
    metadata: Raw = {
        "labels": {**observed.rollout.metadata.labels, POD_TEMPLATE_HASH: scene.pod_hash},
        "annotations": {REVISION: str(scene.revision)},
    }
    create = CreateRun(KIND, name, {"metadata": metadata, "spec": spec})
    return Tried(name, created=(create, EmitEvent("ExperimentCreated", f"Created Experiment '{name}'")))


def _is(experiment: Experiment, wanted: ExperimentSpec) -> bool:
    """Whether it is the one that is wanted: created before the process died, and under way."""
    under_way = not (experiment.status.completed or experiment.spec.terminate)
    return under_way and _counts(experiment) and experiment.spec == wanted


def _spec(scene: Scene, step: RolloutExperimentStep) -> Raw:
    """The Experiment's spec. Raises TemplateError for what can't be filled in."""
    rollout = scene.observed.rollout
    spec: Raw = {"templates": [_template(scene, one) for one in step.templates]}
    if step.duration:
        spec["duration"] = step.duration
    if step.scale_down_delay_seconds is not None:
        spec["scaleDownDelaySeconds"] = step.scale_down_delay_seconds
    if rollout.spec.progress_deadline_seconds is not None:
        spec["progressDeadlineSeconds"] = rollout.spec.progress_deadline_seconds
    if step.dry_run:
        spec["dryRun"] = [one.encode() for one in step.dry_run]
    metadata = step.analysis_run_metadata.encode()
    if metadata:
        spec["analysisRunMetadata"] = metadata
    analyses = list(_analyses(scene, step))
    if analyses:
        spec["analyses"] = analyses
    return spec


def _analyses(scene: Scene, step: RolloutExperimentStep) -> Iterator[Raw]:
    for one in step.analyses:
        args = rollout_arguments(
            one.args, scene.observed.rollout, latest_hash=scene.pod_hash, stable_hash=scene.status.stable_rs
        )
        yield {
            **one.model_copy(update={"args": ()}).encode(),
            **({"args": [arg.encode() for arg in args]} if args else {}),
        }


def _template(scene: Scene, wanted: RolloutExperimentTemplate) -> Raw:
    source = _source(scene, wanted)
    selector = wanted.selector or parse_tolerant(LabelSelector, source.selector)
    labels = wanted.metadata.labels
    selector = selector.model_copy(update={"match_labels": {**selector.match_labels, **labels}})
    template: Raw = {"name": wanted.name}
    if wanted.replicas is not None:
        template["replicas"] = wanted.replicas
    if source.min_ready_seconds:
        template["minReadySeconds"] = source.min_ready_seconds
    if wanted.service is not None:
        template["service"] = wanted.service.encode()
    elif wanted.weight is not None:
        template["service"] = {}
    pods = _with_metadata(source.template, labels, wanted.metadata.annotations)
    return {**template, "selector": selector.encode(), "template": pods}


def _source(scene: Scene, wanted: RolloutExperimentTemplate) -> ReplicaSet:
    """The ReplicaSet whose pods are copied."""
    known = {"canary": scene.new, "stable": scene.stable}
    source = known.get(wanted.spec_ref)
    if source is None:
        why = "has no ReplicaSet" if wanted.spec_ref in known else "is neither 'canary' nor 'stable'"
        raise TemplateError(f"template '{wanted.name}': specRef '{wanted.spec_ref}' {why}")
    return source


def _with_metadata(template: Mapping[str, Any], labels: Mapping[str, str], annotations: Mapping[str, str]) -> Raw:
    """The pod template with more labels and annotations."""
    given = template.get("metadata") or {}
    metadata = {key: value for key, value in given.items() if value is not None}
    for key, more in (("labels", labels), ("annotations", annotations)):
        if more:
            metadata[key] = {**(metadata.get(key) or {}), **more}
    return {**template, "metadata": metadata}
