"""Step plugins: when one is called, and what its answer means (docs/behaviour.md §9.4, §16).

A call goes on beside the passes. The pass that asks for it writes a status with phase Running and no execution; the
pass that sees the answer writes what came of it. So a call whose answer got lost is simply made again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from gitops_rollouts.api.durations import format_go_duration, parse_go_duration
from gitops_rollouts.api.status import PROGRESSING, StepPluginStatus
from gitops_rollouts.engine import events, moments
from gitops_rollouts.engine.observed import PluginAnswer, PluginOperation
from gitops_rollouts.engine.plan import Action, CallStepPlugin, EmitEvent
from gitops_rollouts.engine.rollback import skips_steps
from gitops_rollouts.engine.scene import Scene

RUNNING: Final = "Running"
SUCCESSFUL: Final = "Successful"
FAILED: Final = "Failed"
ERROR: Final = "Error"
STEP_PLUGIN_FAILED: Final = "StepPluginFailed"
"""Why the engine aborts, in one word."""
_BACKOFF: Final = timedelta(seconds=30)
_SHORTEST_BACKOFF: Final = timedelta(seconds=10)
_MOST_EXECUTIONS: Final = 2**31 - 1

Statuses = tuple[StepPluginStatus, ...]


@dataclass(frozen=True, slots=True)
class Played:
    """What the plugins come to in this pass. ``abort``: why the update is given up, "" if it isn't."""

    statuses: Statuses
    actions: tuple[Action, ...] = ()
    events: tuple[EmitEvent, ...] = ()
    done: bool = False
    """The current step is a plugin's and is over."""
    abort: str = ""
    look_again: timedelta | None = None


def play(scene: Scene, *, settled: bool, undecided: bool = False) -> Played:
    """The part of the pass that is about step plugins.

    ``settled``: nothing was scaled in it. ``undecided``: an analysis waits for a person, so that no step may end.
    """
    stored = scene.status.canary.step_plugin_statuses
    if not scene.aborted and _left_over(scene, stored):
        return Played(())
    if not settled:
        return Played(stored)
    if scene.aborted:
        return _abort(scene, stored)
    if scene.promoted or skips_steps(scene):
        return _terminate(scene, stored)
    halted = undecided or scene.spec.paused or scene.leave.held or scene.leave.back_to is not None
    if halted or scene.first or scene.step is None or scene.step.plugin is None:
        return Played(stored)
    return _run(scene, stored, scene.step.plugin.name)


def _left_over(scene: Scene, stored: Statuses) -> bool:
    """Whether the statuses are those of an attempt before a retry: at step 0 nothing can have run to its end yet."""
    if not stored or scene.status.current_step_index != 0 or scene.promoted or scene.step is None:
        return False
    if scene.step.plugin is None:
        return True
    run = _find(stored, 0, scene.step.plugin.name, "Run")
    return run is None or _over(run, stored)


def _run(scene: Scene, stored: Statuses, name: str) -> Played:
    index = scene.status.current_step_index or 0
    run = _find(stored, index, name, "Run")
    if name in scene.observed.disabled_plugins:
        skipped = (run or StepPluginStatus(index=index, name=name, operation="Run")).model_copy(
            update={"disabled": True}
        )
        return Played(_with(stored, skipped), done=True)
    if run is not None and _over(run, stored):
        return Played(stored, done=run.phase != FAILED, abort=_failure(run) if run.phase == FAILED else "")
    answer = _answer(scene, index, name, "Run")
    if answer is None:
        return _call_again(scene, stored, run or _begun(scene, index, name, "Run"))
    if answer.transient:
        return _not_called(scene, stored, answer)
    return _take(scene, stored, run or _begun(scene, index, name, "Run"), answer)


def _not_called(scene: Scene, stored: Statuses, answer: PluginAnswer) -> Played:
    if scene.status.phase != PROGRESSING:
        return Played(stored)
    return Played(stored, events=(events.reconciliation_failed(answer.error),), look_again=_later(scene, answer))


def _take(scene: Scene, stored: Statuses, run: StepPluginStatus, answer: PluginAnswer) -> Played:
    """Record an answer, and what follows from it."""
    new = _ran(run, answer, scene.stamp)
    changed = new.phase not in (run.phase if run.executions else "", SUCCESSFUL)
    told = (events.plugin_transition(new, f"transitioned to {new.phase}"),) if changed else ()
    if new.phase == FAILED:
        return Played(_with(stored, new), events=told, abort=_failure(new))
    wait = None if new.phase == SUCCESSFUL else moments.until(_due(new, scene.now), scene.now)
    return Played(_with(stored, new), events=told, done=new.phase == SUCCESSFUL, look_again=wait)


def _call_again(scene: Scene, stored: Statuses, run: StepPluginStatus) -> Played:
    """Call it, unless it said or got a moment before which it isn't called."""
    if scene.status.phase != PROGRESSING:
        return Played(stored)
    if run.executions > 0:
        due = _due(run, scene.now)
        if due > scene.now:
            return Played(stored, look_again=moments.until(due, scene.now))
    return Played(_with(stored, run), (CallStepPlugin(run.index, run.name, "Run", run),))


def _abort(scene: Scene, stored: Statuses) -> Played:
    """Abort what ran or runs, the last first, one after the other (§16)."""
    played = Played(stored)
    for run in reversed([status for status in stored if status.operation == "Run"]):
        if run.phase in (RUNNING, SUCCESSFUL):
            played = _undo(scene, played, run, "Abort")
            if played.actions:
                break
    return played


def _terminate(scene: Scene, stored: Statuses) -> Played:
    """End the last one if it still runs: nothing waits for it any more (§16)."""
    runs = [status for status in stored if status.operation == "Run"]
    if not runs or runs[-1].phase != RUNNING:
        return Played(stored)
    return _undo(scene, Played(stored), runs[-1], "Terminate")


def _undo(scene: Scene, played: Played, run: StepPluginStatus, operation: PluginOperation) -> Played:
    """One Abort or Terminate, which is never repeated once it was answered."""
    undone = _find(played.statuses, run.index, run.name, operation)
    if run.disabled or run.name in scene.observed.disabled_plugins or _answered(undone):
        return played
    answer = _answer(scene, run.index, run.name, operation)
    begun = undone or _begun(scene, run.index, run.name, operation)
    if answer is None:
        # it is told what the run left behind; only its own answer is stored as its own
        handed = begun.model_copy(update={"status": run.status})
        action = CallStepPlugin(run.index, run.name, operation, handed)
        return Played(_with(played.statuses, begun), (action,), played.events, look_again=played.look_again)
    if answer.transient:
        told = events.reconciliation_failed(answer.error)
        wait = moments.soonest(played.look_again, _later(scene, answer))
        return Played(played.statuses, events=(*played.events, told), look_again=wait)
    new = _undid(begun, answer, scene.stamp)
    word = "aborted" if operation == "Abort" else "terminated"
    told = events.plugin_transition(new, f"{word} ({new.phase})")
    return Played(_with(played.statuses, new), events=(*played.events, told), look_again=played.look_again)


def _ran(run: StepPluginStatus, answer: PluginAnswer, now: datetime) -> StepPluginStatus:
    """The status of a Run after an answer."""
    phase = ERROR if answer.error else answer.phase or run.phase
    wait = _BACKOFF
    if phase == RUNNING and answer.requeue_after is not None and answer.requeue_after > _SHORTEST_BACKOFF:
        wait = answer.requeue_after
    ended = phase in (SUCCESSFUL, FAILED)
    return run.model_copy(
        update={
            "phase": phase,
            "message": answer.error or answer.message,
            "updated_at": now,
            "finished_at": now if ended else None,
            "executions": _one_more(run),
            "backoff": "" if ended else format_go_duration(wait),
            "status": run.status if phase == ERROR else answer.status,
        }
    )


def _undid(begun: StepPluginStatus, answer: PluginAnswer, now: datetime) -> StepPluginStatus:
    """The status of an Abort or Terminate after its answer: nothing of it goes on."""
    phase = ERROR if answer.error else answer.phase or SUCCESSFUL
    phase = FAILED if phase == RUNNING else phase
    return begun.model_copy(
        update={
            "phase": phase,
            "message": answer.error or answer.message,
            "updated_at": now,
            "finished_at": None if phase == ERROR else now,
            "executions": _one_more(begun),
            "status": answer.status,
        }
    )


def _over(run: StepPluginStatus, stored: Statuses) -> bool:
    """Whether a Run has come to its end, or was brought to it."""
    if run.disabled or run.phase in (SUCCESSFUL, FAILED):
        return True
    undone = (_find(stored, run.index, run.name, "Abort"), _find(stored, run.index, run.name, "Terminate"))
    return run.phase == RUNNING and any(_answered(status) for status in undone)


def _answered(undone: StepPluginStatus | None) -> bool:
    return undone is not None and (undone.executions > 0 or undone.phase != RUNNING)


def _answer(scene: Scene, index: int, name: str, operation: PluginOperation) -> PluginAnswer | None:
    asked = (index, name, operation)
    given = (answer for answer in scene.observed.plugin_answers)
    return next((answer for answer in given if (answer.index, answer.name, answer.operation) == asked), None)


def _begun(scene: Scene, index: int, name: str, operation: PluginOperation) -> StepPluginStatus:
    return StepPluginStatus(index=index, name=name, operation=operation, phase=RUNNING, started_at=scene.stamp)


def _find(stored: Statuses, index: int, name: str, operation: PluginOperation) -> StepPluginStatus | None:
    wanted = (index, name, operation)
    return next((status for status in stored if (status.index, status.name, status.operation) == wanted), None)


def _with(stored: Statuses, new: StepPluginStatus) -> Statuses:
    """``new`` in the place of the one that it replaces, or at the end."""
    key = (new.index, new.name, new.operation)
    if not any((old.index, old.name, old.operation) == key for old in stored):
        return (*stored, new)
    return tuple(new if (old.index, old.name, old.operation) == key else old for old in stored)


def _due(run: StepPluginStatus, now: datetime) -> datetime:
    """When a Run may be called again; a backoff that can't be read counts as 30 s."""
    if run.updated_at is None:
        return now
    try:
        wait = parse_go_duration(run.backoff)
    except ValueError:
        wait = _BACKOFF
    return moments.after(run.updated_at, max(0, math.ceil(wait.total_seconds())))


def _later(scene: Scene, answer: PluginAnswer) -> timedelta:
    """What nothing is recorded of is tried again 30 s after it happened."""
    left = moments.until(moments.after(answer.finished_at, 30), scene.now)
    return left or _BACKOFF


def _one_more(status: StepPluginStatus) -> int:
    return min(max(0, status.executions) + 1, _MOST_EXECUTIONS)


def _failure(run: StepPluginStatus) -> str:
    text = f"Step Plugin {run.index + 1} ({run.name}) failed"
    return f"{text}: {run.message}" if run.message else text
