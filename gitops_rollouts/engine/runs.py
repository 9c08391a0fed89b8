"""What analyses and experiments mean for a canary (docs/behaviour.md §11.1, §11.7)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gitops_rollouts.api.status import AnalysisRunStatus, CanaryStatus, PauseCondition
from gitops_rollouts.engine.observed import RunKind, Verdict
from gitops_rollouts.engine.rollback import skips_steps
from gitops_rollouts.engine.scene import INCONCLUSIVE, INCONCLUSIVE_EXPERIMENT, Scene, pause_of

_FAILED: Final = ("Failed", "Error")
_TEXTS: Final[dict[RunKind, tuple[str, str]]] = {
    "Step": ("Step-based analysis phase error/failed", "AnalysisFailed"),
    "Background": ("Background analysis phase error/failed", "AnalysisFailed"),
    "Experiment": ("Experiment analysis phase is error/failed", "ExperimentFailed"),
}


@dataclass(frozen=True, slots=True)
class Judged:
    """``added``: pauses that begin now. ``abort``: why the update is given up, "" if it isn't; ``reason``: one word."""

    step: AnalysisRunStatus | None = None
    background: AnalysisRunStatus | None = None
    experiment: str = ""
    added: tuple[PauseCondition, ...] = ()
    abort: str = ""
    reason: str = ""

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
    """Look at the verdicts of what runs now; an update that is over or goes back has no runs."""
    if scene.first or scene.promoted or scene.aborted or skips_steps(scene):
        return Judged()
    step, stored = scene.step, scene.status.canary
    at_analysis = step is not None and step.analysis is not None
    at_experiment = step is not None and step.experiment is not None
    found = scene.observed.verdicts
    running: dict[RunKind, Verdict] = {}
    if at_analysis and "Step" in found:
        running["Step"] = found["Step"]
    if scene.canary.analysis is not None and "Background" in found:
        running["Background"] = found["Background"]
    if at_experiment and "Experiment" in found:
        running["Experiment"] = found["Experiment"]
    experiment = running.get("Experiment")
    name = stored.current_experiment if experiment is None else experiment.name
    done = experiment is not None and experiment.phase == "Successful"
    text, reason = _failure(running)
    return Judged(
        step=_shown(running.get("Step"), stored.current_step_analysis_run_status) if at_analysis else None,
        background=(
            _shown(running.get("Background"), stored.current_background_analysis_run_status)
            if scene.canary.analysis is not None
            else None
        ),
        experiment=name if at_experiment and not done else "",
        added=() if text else _pauses(scene, running),
        abort=text,
        reason=reason,
    )


def _shown(verdict: Verdict | None, stored: AnalysisRunStatus | None) -> AnalysisRunStatus | None:
    if verdict is None:
        return stored
    return AnalysisRunStatus(name=verdict.name, status=verdict.phase, message=verdict.message)


def _failure(running: dict[RunKind, Verdict]) -> tuple[str, str]:
    for kind, verdict in running.items():
        if verdict.phase in _FAILED:
            text, reason = _TEXTS[kind]
            return f"{text}: {verdict.message}" if verdict.message else text, reason
    return "", ""


def _pauses(scene: Scene, running: dict[RunKind, Verdict]) -> tuple[PauseCondition, ...]:
    """A result that says neither yes nor no pauses once; whoever removes the pause has seen it."""
    stored = scene.status.canary
    seen = {
        "Step": stored.current_step_analysis_run_status,
        "Background": stored.current_background_analysis_run_status,
    }
    reasons: list[str] = []
    for kind, verdict in running.items():
        if verdict.phase != "Inconclusive":
            continue
        if kind == "Experiment":
            if not scene.resumed:
                reasons.append(INCONCLUSIVE_EXPERIMENT)
            continue
        known = seen[kind]
        if known is None or (known.name, known.status) != (verdict.name, "Inconclusive"):
            reasons.append(INCONCLUSIVE)
    return tuple(
        PauseCondition(reason=reason, start_time=scene.stamp)
        for reason in dict.fromkeys(reasons)
        if pause_of(scene.status.pause_conditions, reason) is None
    )


def undecided(scene: Scene, judged: Judged) -> bool:
    """Whether a person has to look at a result first."""
    every = (*scene.status.pause_conditions, *judged.added)
    return any(pause.reason in (INCONCLUSIVE, INCONCLUSIVE_EXPERIMENT) for pause in every)


def succeeded(scene: Scene) -> bool:
    """Whether the analysis or the experiment of the current step says yes."""
    step = scene.step
    kind: RunKind = "Experiment" if step is not None and step.experiment is not None else "Step"
    verdict = scene.observed.verdicts.get(kind)
    return verdict is not None and verdict.phase == "Successful"
