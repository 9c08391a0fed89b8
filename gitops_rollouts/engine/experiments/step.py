"""One pass over one Experiment: templates, analyses, phase (docs/behaviour.md §19)."""

from __future__ import annotations

from datetime import datetime

from gitops_rollouts.api.analysis import RUNNING
from gitops_rollouts.api.validation.experiment import check_experiment
from gitops_rollouts.engine import conditions, moments
from gitops_rollouts.engine.experiments import outcome, texts
from gitops_rollouts.engine.experiments.analyses import Followed, follow
from gitops_rollouts.engine.experiments.observed import ExperimentPlan, ObservedExperiment
from gitops_rollouts.engine.experiments.scene import Scene
from gitops_rollouts.engine.experiments.templates import Sized, Tended, leftover, tend


def step(observed: ObservedExperiment, now: datetime) -> ExperimentPlan:
    """Decide what to do for this Experiment now. ``now`` is aware. Pure and total: the same input, the same plan."""
    experiment = observed.experiment
    if experiment.metadata.deletion_timestamp is not None:
        return ExperimentPlan()
    errors = check_experiment(experiment)
    if errors:
        return _invalid(observed, errors[0].render(), now)
    return _valid(Scene(observed, now))


def _valid(scene: Scene) -> ExperimentPlan:
    tended = tuple(tend(scene, template) for template in scene.spec.templates)
    gone = tuple(leftover(scene))
    followed = follow(scene)
    templates = tuple(one.status for one in tended)
    phase, message = outcome.phase(scene, templates, followed.runs)
    available_at = scene.status.available_at
    if available_at is None and scene.began and not scene.ending and outcome.worst_template(templates)[0] == RUNNING:
        available_at = scene.stamp
    status = scene.status.model_copy(
        update={
            "phase": phase,
            "message": message,
            "template_statuses": templates,
            "available_at": available_at,
            "analysis_runs": followed.runs,
        }
    )
    moved = any(one.moved for one in tended)
    status = status.model_copy(update={"conditions": outcome.progress(scene, status, moved=moved)})
    emitted = tuple(event for one in tended for event in one.events) + followed.events
    if phase != scene.status.phase:
        emitted += (texts.moved(scene.status.phase, phase),)
    done: tuple[Tended | Sized | Followed, ...] = (*tended, *gone, followed)
    return ExperimentPlan(
        actions=tuple(action for one in done for action in one.actions),
        status=status,
        events=emitted,
        owner_events=followed.events,
        look_again=moments.soonest(
            *(one.look_again for one in done),
            None if scene.ends_at is None or scene.expired else moments.until(scene.ends_at, scene.now),
        ),
    )


def _invalid(observed: ObservedExperiment, text: str, now: datetime) -> ExperimentPlan:
    """A spec that can't be carried out: say so once and touch nothing."""
    status, name = observed.experiment.status, observed.experiment.metadata.name
    message = f'The Experiment "{name}" is invalid: {text}'
    before = conditions.find(status.conditions, conditions.INVALID_SPEC)
    if before is not None and before.message == message:
        return ExperimentPlan()
    told = conditions.with_condition(
        status.conditions, conditions.INVALID_SPEC, "True", "InvalidSpec", message, now, refresh=True
    )
    return ExperimentPlan(status=status.model_copy(update={"conditions": told}), events=(texts.invalid(name, text),))
