"""What analyses and experiments mean for a canary (docs/behaviour.md §11.1, §11.7, §17.5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gitops_rollouts.api.analysis import AnalysisRun
from gitops_rollouts.api.names import STEP_INDEX
from gitops_rollouts.api.status import AnalysisRunStatus, CanaryStatus, PauseCondition
from gitops_rollouts.engine import current_runs, experiment_steps, gates, promotions, run_history
from gitops_rollouts.engine.current_runs import Current
from gitops_rollouts.engine.experiment_steps import Tried
from gitops_rollouts.engine.plan import Action, EmitEvent
from gitops_rollouts.engine.rollback import skips_steps
from gitops_rollouts.engine.scene import INCONCLUSIVE, INCONCLUSIVE_EXPERIMENT, Scene, pause_of

_EXPERIMENT: Final = "Experiment analysis phase is error/failed"


@dataclass(frozen=True, slots=True)
class Judged:
    """``added``: pauses that begin now. ``abort``: why the update is given up, "" if it isn't; ``reason``: one word.

    ``experiment``: the name that the status tells; ``tried``: whether it says yes.
    ``culprit``: the run that failed. ``error``: why a run that is needed can't begin. ``actions`` come last in a pass:
    nothing that fails with a run keeps traffic from where it belongs.
    """

    step: AnalysisRunStatus | None = None
    background: AnalysisRunStatus | None = None
    experiment: str = ""
    tried: bool = False
    added: tuple[PauseCondition, ...] = ()
    abort: str = ""
    reason: str = ""
    culprit: AnalysisRun | None = None
    error: str = ""
    actions: tuple[Action, ...] = ()
    events: tuple[EmitEvent, ...] = ()

    def into(self, status: CanaryStatus) -> CanaryStatus:
        """The canary's status with the runs that it waits for."""
        return status.model_copy(
            update={
                "current_step_analysis_run_status": self.step,
                "current_background_analysis_run_status": self.background,
                "current_experiment": self.experiment,
            }
        )


def judge(scene: Scene) -> Judged:
    """Look at what runs now, begin what is missing; an update that is over or goes back has no runs."""
    if scene.first or scene.promoted or scene.aborted or scene.leave.queued or skips_steps(scene):
        return Judged(actions=_ended(scene, frozenset()) + experiment_steps.ended(scene, ""))
    stored = scene.status.canary
    step, background = _step(scene), _background(scene)
    tried = experiment_steps.attend(scene)
    text, reason, culprit = _failure(step, background, tried)
    created = tuple(one.created for one in (step, background) if one.created is not None)
    names = frozenset(one.name for one in (step, background) if one.name)
    told = (
        (step, stored.current_step_analysis_run_status),
        (background, stored.current_background_analysis_run_status),
    )
    return Judged(
        step=step.shown,
        background=background.shown,
        experiment=tried.name,
        tried=tried.successful,
        added=() if text else _pauses(scene, step, background, tried),
        abort=text,
        reason=reason,
        culprit=culprit,
        error=step.error or background.error or tried.error,
        # what ends makes room first, should a quota count them
        actions=(*_ended(scene, names), *experiment_steps.ended(scene, tried.name), *created, *tried.created),
        events=(*current_runs.changes(told), *_not_in_git(scene, background)),
    )


def _ended(scene: Scene, left: frozenset[str]) -> tuple[Action, ...]:
    """What is asked to end and what is deleted; nothing while the spec isn't the one that was applied."""
    if scene.leave.edited:
        return ()
    deleted = run_history.outdated(scene, left)
    gone = frozenset(action.name for action in deleted)
    return (*run_history.cancelled(scene, left, gone), *deleted)


def _step(scene: Scene) -> Current:
    """The run of the current step. A pause leaves it alone, whatever step it is of."""
    current = current_runs.known(scene, "Step", scene.status.canary.current_step_analysis_run_status)
    if scene.leave.edited or scene.leave.back_to is not None or scene.status.pause_conditions:
        return current
    analysis = scene.step.analysis if scene.step is not None else None
    if analysis is None:
        return Current("Step")
    index = str(scene.status.current_step_index or 0)
    if current.run is not None and current.run.metadata.labels.get(STEP_INDEX) != index:
        return Current("Step")
    return current_runs.begun(scene, "Step", analysis) if current_runs.needs_new(scene, current) else current


def _background(scene: Scene) -> Current:
    """The run beside the steps. Where Git decides, a result without a verdict is Git's to release."""
    stored = scene.status.canary.current_background_analysis_run_status
    current = current_runs.known(scene, "Background", stored)
    analysis = scene.canary.analysis
    if scene.leave.edited or scene.leave.back_to is not None:
        return current
    if analysis is None or (scene.status.current_step_index or 0) < (analysis.starting_step or 0):
        return Current("Background")
    if pause_of(scene.status.pause_conditions, INCONCLUSIVE) is not None:
        return current
    if current.undecided and scene.observed.authority is not None:
        return current
    return current_runs.begun(scene, "Background", analysis) if current_runs.needs_new(scene, current) else current


def _failure(step: Current, background: Current, tried: Tried) -> tuple[str, str, AnalysisRun | None]:
    """Why the update is given up, in a sentence and in a word, and by which run; empty if it isn't."""
    for one in (step, background):
        if one.failed:
            message = "" if one.shown is None else one.shown.message
            return current_runs.given_up_text(one.kind, message), current_runs.GIVEN_UP, one.run
    if tried.failed:
        return f"{_EXPERIMENT}: {tried.message}" if tried.message else _EXPERIMENT, "ExperimentFailed", None
    return "", "", None


def _pauses(scene: Scene, step: Current, background: Current, tried: Tried) -> tuple[PauseCondition, ...]:
    """A result that says neither yes nor no pauses until a person has decided."""
    reasons = (
        (INCONCLUSIVE, step.undecided or (background.undecided and not released(scene))),
        (INCONCLUSIVE_EXPERIMENT, tried.undecided),
    )
    added = (current_runs.pause(scene, reason) for reason, waits in reasons if waits)
    return tuple(pause for pause in added if pause is not None)


def released(scene: Scene) -> bool:
    """Whether Git lets the update past the current step although the background analysis came to no verdict."""
    return gates.open_gate(scene, scene.status.current_step_index or 0)


def _not_in_git(scene: Scene, background: Current) -> tuple[EmitEvent, ...]:
    """A client that takes such a pause away doesn't release the step."""
    authority = scene.observed.authority
    if authority is None or not (background.undecided and scene.resumed) or released(scene):
        return ()
    text = (
        f"Git of {authority.target!r} does not approve going on after an inconclusive background analysis: "
        f"paused again. Use `{authority.promote_command}`"
    )
    return (EmitEvent(promotions.NOT_IN_GIT, text, "Warning"),)


def undecided(scene: Scene, judged: Judged) -> bool:
    """Whether a person has to look at a result first."""
    every = (*scene.status.pause_conditions, *judged.added)
    return any(pause.reason in (INCONCLUSIVE, INCONCLUSIVE_EXPERIMENT) for pause in every)


def succeeded(scene: Scene, judged: Judged) -> bool:
    """Whether the analysis or the experiment of the current step says yes."""
    step = scene.step
    if step is not None and step.experiment is not None:
        return judged.tried
    return judged.step is not None and judged.step.status == "Successful"
