"""The AnalysisRuns that an update waits for: which is current, and what it says (docs/behaviour.md §11.8, §17.5)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from gitops_rollouts.api.analysis import INCONCLUSIVE, SUCCESSFUL, AnalysisRun
from gitops_rollouts.api.analysis_refs import RolloutAnalysis
from gitops_rollouts.api.names import CANCELLED
from gitops_rollouts.api.status import AnalysisRunStatus, PauseCondition
from gitops_rollouts.engine import events, moments
from gitops_rollouts.engine.new_runs import begin
from gitops_rollouts.engine.observed import RunKind
from gitops_rollouts.engine.outcome import Outcome
from gitops_rollouts.engine.plan import CreateRun, EmitEvent, Plan
from gitops_rollouts.engine.scene import BLUE_GREEN_PAUSE, CANARY_PAUSE, Scene, pause_of
from gitops_rollouts.engine.scene import INCONCLUSIVE as UNDECIDED

GIVEN_UP: Final = "AnalysisFailed"
"""The reason of an abort that an analysis caused, as Git records it."""
_GIVEN_UP: Final[dict[str, str]] = {
    "Step": "Step-based analysis phase error/failed",
    "Background": "Background analysis phase error/failed",
    "PrePromotion": "Blue/green pre-promotion analysis phase error/failed",
    "PostPromotion": "Blue/green post-promotion analysis phase error/failed",
}
_TERMINATED: Final = "Run Terminated"
_AGAIN: Final = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Current(Outcome):
    """The run of one kind in this pass, as the status shows it.

    ``run``: itself, as it is in the cluster; None if there is none yet. ``error``: why none can begin.
    """

    kind: RunKind
    shown: AnalysisRunStatus | None = None
    run: AnalysisRun | None = None
    created: CreateRun | None = None
    error: str = ""

    @property
    def name(self) -> str:
        """The run's name; "" if there is none."""
        return "" if self.shown is None else self.shown.name

    @property
    def phase(self) -> str:
        """What it says; "" while it says nothing."""
        return "" if self.shown is None else self.shown.status


def given_up_text(kind: str, message: str) -> str:
    """Why an update is given up after a run of this kind that ended with this message; "" for an unknown kind."""
    text = _GIVEN_UP.get(kind, "")
    return f"{text}: {message}" if text and message else text


def known(scene: Scene, kind: RunKind, stored: AnalysisRunStatus | None) -> Current:
    """The run that the status names, if the cluster has it and it wasn't told that nobody waits for it."""
    run = None if stored is None else next(_named(scene, stored.name), None)
    if run is None or run.metadata.deletion_timestamp is not None or _cancelled(run):
        return Current(kind)
    return Current(kind, _shown(scene, run), run)


def all_known(scene: Scene) -> tuple[Current, ...]:
    """All runs that the status names and that still have a say."""
    canary, blue_green = scene.status.canary, scene.status.blue_green
    return (
        known(scene, "Step", canary.current_step_analysis_run_status),
        known(scene, "Background", canary.current_background_analysis_run_status),
        known(scene, "PrePromotion", blue_green.pre_promotion_analysis_run_status),
        known(scene, "PostPromotion", blue_green.post_promotion_analysis_run_status),
    )


def _named(scene: Scene, name: str) -> Iterator[AnalysisRun]:
    return (run for run in scene.observed.analysis_runs if run.metadata.name == name)


def _cancelled(run: AnalysisRun) -> bool:
    return CANCELLED in run.metadata.annotations


def _shown(scene: Scene, run: AnalysisRun) -> AnalysisRunStatus:
    return AnalysisRunStatus(name=run.metadata.name, status=says(scene, run), message=run.status.message)


def says(scene: Scene, run: AnalysisRun) -> str:
    """The phase of a run, "" if it counts for nothing as nobody waited for it any more.

    Where Git decides, one that a client asked to end has not said yes: it is Inconclusive.
    """
    phase, ended = run.status.phase, run.spec.terminate and run.status.message == _TERMINATED
    if _cancelled(run):
        return ""
    return INCONCLUSIVE if scene.observed.authority is not None and ended and phase == SUCCESSFUL else phase


def needs_new(scene: Scene, current: Current) -> bool:
    """Whether another run has to begin (§11.8)."""
    if current.run is None:
        return True
    pauses = scene.status.pause_conditions
    if scene.status.controller_pause and not any(pause_of(pauses, why) for why in (CANARY_PAUSE, BLUE_GREEN_PAUSE)):
        return current.undecided and not scene.resumes_later
    return scene.status.aborted_at is not None


def begun(scene: Scene, kind: RunKind, analysis: RolloutAnalysis) -> Current:
    """The run that begins in this pass."""
    found = begin(scene, kind, analysis)
    if found.error:
        return Current(kind, error=found.error)
    shown = AnalysisRunStatus(name=found.name) if found.found is None else _shown(scene, found.found)
    return Current(kind, shown, found.found, found.created)


def pause(scene: Scene, reason: str = UNDECIDED) -> PauseCondition | None:
    """The pause for a result that says neither yes nor no, if it isn't there already.

    A run that a person has let go on isn't measured anew before ``spec.paused`` goes, so it doesn't pause again.
    """
    there = pause_of(scene.status.pause_conditions, reason) is not None
    waits = reason == UNDECIDED and scene.resumes_later
    return None if there or waits else PauseCondition(reason=reason, start_time=scene.stamp)


def changes(currents: tuple[tuple[Current, AnalysisRunStatus | None], ...]) -> tuple[EmitEvent, ...]:
    """An event for each run that came to another phase than the status told."""
    found: list[EmitEvent] = []
    for current, stored in currents:
        before = stored.status if stored is not None and stored.name == current.name else ""
        if current.phase and current.phase != before:
            found.append(events.run_changed(current.kind, current.name, current.phase, before))
    return tuple(found)


def look_again(plan: Plan, error: str) -> Plan:
    """A run that could not begin is tried again, whether or not anything tells that the obstacle is gone."""
    return replace(plan, look_again=moments.soonest(plan.look_again, _AGAIN)) if error else plan
