"""What a client of the cluster promotes under Git: whether it stood at a gate, and what follows (docs/decisions.md §4).

It is undone all the same: Git alone opens a gate. Only where the GitSync says so does the wish become a line there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from gitops_rollouts.api.analysis import INCONCLUSIVE
from gitops_rollouts.api.status import PAUSED, AnalysisRunStatus
from gitops_rollouts.engine.observed import Authority, Observed
from gitops_rollouts.engine.plan import Action, EmitEvent, ForgetPromotions, RecordPromotion
from gitops_rollouts.engine.scene import BLUE_GREEN_PAUSE, CANARY_PAUSE, Scene

NOT_IN_GIT: Final = "PromotionNotInGit"
_ACTIVE: Final = "active"
FULL: Final = "full"


def asked_gate(scene: Scene) -> str:
    """The gate whose pause a client has just taken away; "" if none did.

    The stored phase still tells of that pause: what this program itself resumes, it writes in one go. Not beside a
    result without a verdict: there a client asks for another measurement (docs/behaviour.md §11.7).
    """
    stored = scene.observed.rollout.status
    if scene.spec.paused or stored.phase != PAUSED or not stored.controller_pause or stored.pause_conditions:
        return ""
    if scene.blue_green is not None:
        before = stored.blue_green.pre_promotion_analysis_run_status
        return _ACTIVE if stored.message == BLUE_GREEN_PAUSE and not _undecided(before) else ""
    step, beside = scene.step, stored.canary.current_background_analysis_run_status
    gate = stored.message == CANARY_PAUSE and step is not None and step.is_indefinite_pause
    return str(stored.current_step_index or 0) if gate and not _undecided(beside) else ""


def _undecided(run: AnalysisRunStatus | None) -> bool:
    return run is not None and run.status == INCONCLUSIVE


def told(authority: Authority, said: Iterable[tuple[str, str]]) -> tuple[tuple[Action, ...], tuple[EmitEvent, ...]]:
    """What follows from promotions that are undone: actions, and events.

    ``said``: the gate, "" if it is for none, and what was done about it, a sentence without its full stop.
    """
    actions: dict[str, Action] = {}
    events: list[EmitEvent] = []
    for gate, undone in said:
        advice = f"Use `{authority.promote_command}`"
        if gate and authority.commits_promotions and authority.intent:
            actions.setdefault(gate, _record(authority, gate, f"{undone}, but it could not be noted for Git. {advice}"))
            continue
        if gate and authority.why_not:
            advice = f"No line is written of it, as {authority.why_not}: merge the request that waits for it, or use "
            advice += f"`{authority.promote_command}`"
        elif authority.commits_promotions:
            advice = (
                f"Only what is asked for at a gate becomes a line, and not beside a result without a verdict. {advice}"
            )
        events.append(EmitEvent(NOT_IN_GIT, f"{undone}. {advice}", "Warning"))
    return tuple(actions.values()), tuple(events)


def _record(authority: Authority, gate: str, failure: str) -> RecordPromotion:
    where = {FULL: "past all that is left", _ACTIVE: "to become active"}.get(gate, f"past step {gate}")
    text = f"asked for by {{actor}} in the cluster: a promote line ({where}) is being pushed to Git of "
    text += f"{authority.target!r}, and counts once it is there"
    return RecordPromotion(gate, authority.intent, text, EmitEvent(NOT_IN_GIT, failure, "Warning"))


def settle(observed: Observed) -> tuple[tuple[Action, ...], tuple[EmitEvent, ...]]:
    """What is done with requests that need nothing more."""
    authority = observed.authority
    if authority is None or not authority.asked_over:
        return (), ()
    emitted = tuple(
        EmitEvent(
            NOT_IN_GIT,
            f"A promotion (gate={gate}) was asked for in the cluster that somebody has taken back in Git of "
            f"{authority.target!r}: it is not pushed again. Use `{authority.promote_command}`",
            "Warning",
        )
        for gate in authority.asked_refused
    )
    return (ForgetPromotions(authority.asked_over),), emitted
