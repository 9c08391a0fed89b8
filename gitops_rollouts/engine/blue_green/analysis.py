"""What the analyses before and after the switch say (docs/behaviour.md §10 "Analysis", §17.5)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from gitops_rollouts.api.analysis import AnalysisRun
from gitops_rollouts.api.status import AnalysisRunStatus, PauseCondition
from gitops_rollouts.engine import current_runs, experiment_steps, run_history, targets
from gitops_rollouts.engine.blue_green.roles import Roles
from gitops_rollouts.engine.blue_green.sizes import Sized
from gitops_rollouts.engine.current_runs import Current
from gitops_rollouts.engine.plan import Action, CreateRun, EmitEvent
from gitops_rollouts.engine.scene import INCONCLUSIVE, Scene, pause_of

Side = Literal["PrePromotion", "PostPromotion"]


@dataclass(frozen=True, slots=True)
class Analyses:
    """The runs that belong to this update, as the status shows them, and what follows.

    ``before``, ``after``: whether nothing is waited for before or after the switch. ``side``: the analysis that speaks
    now; None: neither does. ``culprit``: the run that failed. ``error``: why a run that is needed can't begin.
    """

    pre: Current
    post: Current
    before: bool
    after: bool
    side: Side | None = None
    abort: str = ""
    culprit: AnalysisRun | None = None
    added: PauseCondition | None = None
    created: CreateRun | None = None
    error: str = ""


def none_yet(*, after: bool) -> Analyses:
    """Those of an attempt that begins anew: nothing has run for it. ``after``: no analysis follows the switch."""
    return Analyses(Current("PrePromotion"), Current("PostPromotion"), before=False, after=after)


def read(scene: Scene, roles: Roles) -> Analyses:
    """The verdicts of this pass. An attempt that begins anew has none yet."""
    strategy = roles.strategy
    pre, post = _current(scene, "PrePromotion"), _current(scene, "PostPromotion")
    if not roles.shown or scene.status.promote_full:
        return Analyses(_unless_unserved(roles, pre), _unless_unserved(roles, post), before=True, after=True)
    before = strategy.pre_promotion_analysis is None or pre.successful or (pre.undecided and _released(scene))
    after = strategy.post_promotion_analysis is None or post.successful
    # which of the two speaks is decided by what the status showed: the first pass after a switch still starts nothing
    switched = scene.status.blue_green.active_selector == scene.pod_hash
    side: Side = "PostPromotion" if switched else "PrePromotion"
    run = post if switched else pre
    found = Analyses(pre, post, before, after, side)
    if (strategy.post_promotion_analysis if switched else strategy.pre_promotion_analysis) is None:
        return replace(found, side=None)
    if run.failed:
        return replace(found, abort=_text(run), culprit=run.run)
    waits = run.undecided and not (before and not switched)
    return replace(found, added=current_runs.pause(scene) if waits else None)


def begin(scene: Scene, roles: Roles, sized: Sized, found: Analyses) -> Analyses:
    """The same with the run that begins in this pass, once the version that it looks at has all its pods (§10.8)."""
    side = found.side
    if side is None or scene.leave.edited or scene.leave.queued or not sized.ready or _is_paused(scene):
        return found
    switched = side == "PostPromotion"
    if switched and targets.waits(scene):
        return found
    shows = scene.status.blue_green.active_selector
    if not shows or roles.serves is not switched or (switched and not sized.saturated):
        return found
    analysis = roles.strategy.post_promotion_analysis if switched else roles.strategy.pre_promotion_analysis
    run = found.post if switched else found.pre
    if analysis is None or run.run is not None:
        return found
    begun = current_runs.begun(scene, side, analysis)
    if switched:
        return replace(found, post=begun, created=begun.created, error=begun.error)
    return replace(found, pre=begun, created=begun.created, error=begun.error)


def actions(scene: Scene, found: Analyses) -> tuple[Action, ...]:
    """What is created, asked to end and deleted. It comes last in a pass: nothing that fails with it keeps traffic."""
    created = () if found.created is None else (found.created,)
    if scene.leave.edited:
        return created
    speaks = found.post if found.side == "PostPromotion" else found.pre
    left = frozenset({speaks.name} if found.side is not None else ())
    deleted = run_history.outdated(scene, frozenset({found.pre.name, found.post.name}))
    gone = frozenset(action.name for action in deleted)
    # what a canary's steps have left behind
    tried = experiment_steps.ended(scene, "")
    return (*run_history.cancelled(scene, left, gone), *deleted, *tried, *created)


def changes(scene: Scene, found: Analyses) -> tuple[EmitEvent, ...]:
    """The events of runs that came to another phase."""
    shown = scene.status.blue_green
    pre, post = shown.pre_promotion_analysis_run_status, shown.post_promotion_analysis_run_status
    return current_runs.changes(((found.pre, pre), (found.post, post)))


def _current(scene: Scene, side: Side) -> Current:
    """The run that the status names, unless another one has to begin instead (§11.8)."""
    retried = scene.status.aborted_at is not None and not scene.status.abort
    if scene.changed or retried:
        return Current(side)
    current = current_runs.known(scene, side, _stored(scene, side))
    again = scene.resumed and not scene.resumes_later
    if again and current.undecided and not (side == "PrePromotion" and _released(scene)):
        return Current(side)  # a person lets it be tried again: the next run has the word
    return current


def _stored(scene: Scene, side: Side) -> AnalysisRunStatus | None:
    shown = scene.status.blue_green
    if side == "PostPromotion":
        return shown.post_promotion_analysis_run_status
    return shown.pre_promotion_analysis_run_status


def _unless_unserved(roles: Roles, current: Current) -> Current:
    """While nothing serves there is no analysis, and one that is cancelled for that isn't waited for afterwards."""
    return Current(current.kind) if roles.unserved and not roles.back else current


def _released(scene: Scene) -> bool:
    """Whether Git approves the switch although the analysis before it came to no verdict (docs/decisions.md §1.1)."""
    authority = scene.observed.authority
    return authority is not None and not scene.leave.held and (authority.approved_active or authority.full)


def _is_paused(scene: Scene) -> bool:
    return pause_of(scene.status.pause_conditions, INCONCLUSIVE) is not None


def _text(run: Current) -> str:
    return current_runs.given_up_text(run.kind, run.shown.message if run.shown is not None else "")
