"""What an Experiment's templates and analyses come to: its phase and its conditions (docs/behaviour.md §19)."""

from __future__ import annotations

from typing import Final

from gitops_rollouts.api.analysis import COMPLETED, ERROR, FAILED, INCONCLUSIVE, PENDING, RUNNING, SUCCESSFUL
from gitops_rollouts.api.experiment import ExperimentAnalysisRunStatus, ExperimentStatus, TemplateStatus
from gitops_rollouts.engine import conditions
from gitops_rollouts.engine.conditions import Conditions
from gitops_rollouts.engine.experiments.scene import ENDED, PROGRESSING, Scene

REQUIRED_DONE: Final = "Required AnalysisRuns completed"
_TEMPLATES: Final = (SUCCESSFUL, RUNNING, PROGRESSING, ERROR, FAILED)
_ANALYSES: Final = (SUCCESSFUL, RUNNING, INCONCLUSIVE, ERROR, FAILED)


def worst_template(templates: tuple[TemplateStatus, ...]) -> tuple[str, str]:
    """The worst state and its message; Successful without any."""
    return _worst(_TEMPLATES, [(one.status, one.message) for one in templates])


def phase(
    scene: Scene, templates: tuple[TemplateStatus, ...], runs: tuple[ExperimentAnalysisRunStatus, ...]
) -> tuple[str, str]:
    """The new phase and message. A completed one never changes again."""
    if scene.status.completed:
        return scene.status.phase, scene.status.message
    state, why = worst_template(templates)
    if state in (ERROR, FAILED):
        return state, why
    # a phase that nobody knows, as one that hasn't begun, is one that goes on
    told = [(one.phase if one.phase in COMPLETED else RUNNING, one.message) for one in runs]
    judged, said = _worst(_ANALYSES, told)
    if judged in COMPLETED - {SUCCESSFUL}:
        return judged, said
    if scene.required_done(runs):
        return SUCCESSFUL, REQUIRED_DONE
    if all(one.status in ENDED for one in templates):
        required = any(one.required_for_completion for one in scene.spec.analyses)
        return (judged, said) if required else (SUCCESSFUL, why)
    return (PENDING if state == PROGRESSING else RUNNING), why


def _worst(order: tuple[str, ...], found: list[tuple[str, str]]) -> tuple[str, str]:
    worst, message = order[0], ""
    for state, said in found:
        if order.index(state) > order.index(worst):
            worst, message = state, said
    return worst, message


def progress(scene: Scene, status: ExperimentStatus, *, moved: bool) -> Conditions:
    """The condition Progressing of a new status. ``moved``: a count of a template changed."""
    name, old = scene.name, conditions.without(status.conditions, conditions.INVALID_SPEC)
    kind = conditions.PROGRESSING
    if status.phase == SUCCESSFUL:
        text = f'Experiment "{name}" has successfully ran and completed.'
        return conditions.with_condition(old, kind, "False", "ExperimentCompleted", text, scene.now)
    if status.completed:
        return old
    if moved:
        text = f'Experiment "{name}" is progressing.'
        return conditions.with_condition(old, kind, "True", "ReplicaSetUpdated", text, scene.now, refresh=True)
    if status.available_at is not None and not scene.expired:
        text = f'Experiment "{name}" is running.'
        return conditions.with_condition(old, kind, "True", "NewReplicaSetAvailable", text, scene.now)
    return old
