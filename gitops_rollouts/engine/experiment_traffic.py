"""The traffic that an experiment of a step gets beside canary and stable (docs/behaviour.md §15.1)."""

from __future__ import annotations

from gitops_rollouts.api.analysis import RUNNING
from gitops_rollouts.api.experiment import Experiment
from gitops_rollouts.api.names import CANCELLED
from gitops_rollouts.api.status import WeightDestination
from gitops_rollouts.api.steps import RolloutExperimentStep
from gitops_rollouts.engine.rollback import skips_steps
from gitops_rollouts.engine.scene import Scene

Destinations = tuple[WeightDestination, ...]


def destinations(scene: Scene, canary_weight: int) -> Destinations:
    """Where else traffic goes: to the Services of the current experiment's templates with a weight, while it runs.

    Nothing grows while Git holds the update, and steps that were edited outside Git have no say. Never more than the
    canary leaves.
    """
    step, experiment = _step(scene), _running(scene)
    recorded = scene.recorded.additional if scene.recorded is not None else ()
    if experiment is None:
        return ()
    if scene.leave.edited:
        return recorded
    if step is None:
        return ()
    wanted = tuple(_wanted(step, experiment))
    if scene.leave.held:
        before = {(one.service_name, one.pod_template_hash): one.weight for one in recorded}
        wanted = tuple(
            one.model_copy(update={"weight": min(one.weight, before[one.service_name, one.pod_template_hash])})
            for one in wanted
            if (one.service_name, one.pod_template_hash) in before
        )
    return _within(wanted, scene.whole - canary_weight)


def _step(scene: Scene) -> RolloutExperimentStep | None:
    return scene.step.experiment if scene.step is not None else None


def _running(scene: Scene) -> Experiment | None:
    """The experiment that the stored status names, if it runs and the update goes forward through its steps."""
    if scene.first or scene.promoted or scene.aborted or scene.status.promote_full or skips_steps(scene):
        return None
    name = scene.status.canary.current_experiment
    if not name or scene.leave.back_to is not None:
        return None
    found = next((one for one in scene.observed.experiments if one.metadata.name == name), None)
    if found is None or found.status.phase != RUNNING or found.metadata.deletion_timestamp is not None:
        return None
    return None if CANCELLED in found.metadata.annotations else found


def _wanted(step: RolloutExperimentStep, experiment: Experiment) -> list[WeightDestination]:
    """In the order of the template statuses; a template without a Service can't be sent anything."""
    weights = {template.name: template.weight for template in step.templates if template.weight is not None}
    return [
        WeightDestination(
            weight=max(0, weights[one.name]), service_name=one.service_name, pod_template_hash=one.pod_template_hash
        )
        for one in experiment.status.template_statuses
        if one.name in weights and one.service_name
    ]


def _within(wanted: Destinations, room: int) -> Destinations:
    fitted: list[WeightDestination] = []
    for one in wanted:
        weight = min(one.weight, max(0, room))
        fitted.append(one if weight == one.weight else one.model_copy(update={"weight": weight}))
        room -= weight
    return tuple(fitted)
