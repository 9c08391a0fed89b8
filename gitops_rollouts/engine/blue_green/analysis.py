"""What the analyses before and after the switch say (docs/behaviour.md §10 "Analysis")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from gitops_rollouts.api.status import AnalysisRunStatus, PauseCondition
from gitops_rollouts.engine.blue_green.roles import Roles
from gitops_rollouts.engine.observed import RunKind
from gitops_rollouts.engine.scene import INCONCLUSIVE, Scene, pause_of

FAILED: Final = "AnalysisFailed"
"""The reason of an abort that an analysis caused, as Git records it."""
_SUCCESSFUL: Final = "Successful"
_INCONCLUSIVE: Final = "Inconclusive"


@dataclass(frozen=True, slots=True)
class Analyses:
    """The runs that belong to this update, as the status shows them, and what follows.

    ``before``, ``after``: whether nothing is waited for before or after the switch.
    """

    pre: AnalysisRunStatus | None
    post: AnalysisRunStatus | None
    before: bool
    after: bool
    abort: str = ""
    added: PauseCondition | None = None


def read(scene: Scene, roles: Roles) -> Analyses:
    """The verdicts of this pass. An attempt that begins anew has none yet."""
    pre, post = _current(scene, "PrePromotion"), _current(scene, "PostPromotion")
    if not roles.shown or scene.status.promote_full:
        return Analyses(pre, post, before=True, after=True)
    strategy = roles.strategy
    before = strategy.pre_promotion_analysis is None or _phase(pre) == _SUCCESSFUL
    after = strategy.post_promotion_analysis is None or _phase(post) == _SUCCESSFUL
    # which of the two speaks is decided by what the status showed: the first pass after a switch still starts nothing
    switched = scene.status.blue_green.active_selector == scene.pod_hash
    wanted = strategy.post_promotion_analysis if switched else strategy.pre_promotion_analysis
    run = post if switched else pre
    if wanted is None or run is None:
        return Analyses(pre, post, before, after)
    if run.status in ("Failed", "Error"):
        return Analyses(pre, post, before, after, abort=_text("post" if switched else "pre", run))
    paused = pause_of(scene.status.pause_conditions, INCONCLUSIVE) is not None
    added = PauseCondition(reason=INCONCLUSIVE, start_time=scene.stamp)
    inconclusive = run.status == _INCONCLUSIVE and not paused
    return Analyses(pre, post, before, after, added=added if inconclusive else None)


def _current(scene: Scene, kind: RunKind) -> AnalysisRunStatus | None:
    shown = scene.status.blue_green
    stored = shown.pre_promotion_analysis_run_status
    if kind == "PostPromotion":
        stored = shown.post_promotion_analysis_run_status
    retried = scene.status.aborted_at is not None and not scene.status.abort
    if scene.changed or retried:
        return None
    verdict = scene.observed.verdicts.get(kind)
    current = stored
    if verdict is not None:
        current = AnalysisRunStatus(name=verdict.name, status=verdict.phase, message=verdict.message)
    if scene.resumed and _phase(current) == _INCONCLUSIVE:
        return None  # a person lets it be tried again: the next run has the word
    return current


def _phase(run: AnalysisRunStatus | None) -> str:
    return "" if run is None else run.status


def _text(which: Literal["pre", "post"], run: AnalysisRunStatus) -> str:
    cause = f": {run.message}" if run.message else ""
    return f"Blue/green {which}-promotion analysis phase error/failed{cause}"
