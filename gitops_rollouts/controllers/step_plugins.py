"""Calls of step plugins beside the passes, and their answers for a later one (docs/behaviour.md §16).

Nothing of this is needed after a restart: a call whose answer got lost is asked for again by the next pass.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import orjson
import structlog

from gitops_rollouts.api.status import StepPluginStatus
from gitops_rollouts.controllers.observe import Key, LiveRollout
from gitops_rollouts.controllers.routing import routed
from gitops_rollouts.engine.observed import PluginAnswer
from gitops_rollouts.engine.plan import CallStepPlugin
from gitops_rollouts.errors import LeadershipLost, PluginError, PluginMissing, PluginUnusable
from gitops_rollouts.plugins.catalogue import STEP_PLUGINS
from gitops_rollouts.plugins.pool import Plugins

TRANSIENT_SECONDS: Final = 30.0
"""How long an answer is kept that nothing is recorded of: it is not asked for again before."""
_PHASES: Final = ("", "Running", "Successful", "Failed", "Error")
_LONGEST_MESSAGE: Final = 4096
_LARGEST_STATUS: Final = 16 * 1024
"""Bytes as JSON. All of them are kept in the Rollout's status, which has to stay far below a megabyte."""
_DEEPEST_STATUS: Final = 32
_LONGEST_WAIT: Final = 366 * 24 * 3600.0

Which = tuple[int, str, str]
"""index, name, operation"""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Call:
    """One call, under way or answered. ``mark``: for which state of the Rollout's status it was made."""

    mark: tuple[object, ...]
    task: asyncio.Task[None]
    answer: PluginAnswer | None = None


class StepPluginCalls:
    """Carries out `CallStepPlugin`. ``enqueue`` is called with a Rollout's key when an answer is there."""

    def __init__(
        self,
        plugins: Plugins,
        enqueue: Callable[[Key], None],
        clock: Callable[[], datetime],
        *,
        disabled: frozenset[str] = frozenset(),
    ) -> None:
        self.disabled = disabled
        self._plugins = plugins
        self._enqueue = enqueue
        self._clock = clock
        self._calls: dict[str, dict[Which, _Call]] = {}
        self._turns: dict[tuple[str, int, str], asyncio.Lock] = {}

    def call(self, live: LiveRollout, action: CallStepPlugin) -> None:
        """Begin the call, unless the same one is under way or answered already."""
        uid = live.rollout.metadata.uid
        which = (action.index, action.name, action.operation)
        mark = _mark(live, action.status)
        calls = self._calls.setdefault(uid, {})
        known = calls.get(which)
        if known is not None and known.mark == mark:
            return
        if known is not None:
            known.task.cancel()
        task = asyncio.create_task(self._run(live, action), name=f"step plugin {action.name}")
        calls[which] = _Call(mark, task)

    def answers(self, live: LiveRollout) -> tuple[PluginAnswer, ...]:
        """What was answered and isn't in the Rollout's status yet; forgets what is, or was for a former attempt."""
        now = self._clock()
        calls = self._calls.get(live.rollout.metadata.uid, {})
        for which, call in list(calls.items()):
            if not self._stands(live, which, call, now):
                # a call for an attempt that is over may still end: nobody waits for it
                del calls[which]
        given = [call.answer for call in calls.values() if call.answer is not None]
        return (*given, *self._absent(live, now))

    def forget(self, uid: str) -> None:
        """The Rollout is gone: end its calls."""
        for call in self._calls.pop(uid, {}).values():
            call.task.cancel()
        self._turns = {key: turn for key, turn in self._turns.items() if key[0] != uid}

    async def close(self) -> None:
        """End every call."""
        tasks = [call.task for calls in self._calls.values() for call in calls.values()]
        self._calls.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _stands(self, live: LiveRollout, which: Which, call: _Call, now: datetime) -> bool:
        stored = next(
            (
                status
                for status in live.rollout.status.canary.step_plugin_statuses
                if (status.index, status.name, status.operation) == which
            ),
            None,
        )
        if stored is None or _mark(live, stored) != call.mark:
            return False
        answer = call.answer
        if answer is None or not answer.transient:
            return True
        return now - answer.finished_at < timedelta(seconds=TRANSIENT_SECONDS)

    def _absent(self, live: LiveRollout, now: datetime) -> list[PluginAnswer]:
        """For a current step whose plugin can't be had, what a call would come to: so that none is begun."""
        status, steps = live.rollout.status, live.rollout.spec.steps
        index = status.current_step_index or 0
        step = steps[index].plugin if 0 <= index < len(steps) else None
        if step is None or step.name in self.disabled:
            return []
        try:
            self._plugins.find(STEP_PLUGINS, step.name)
        except (PluginMissing, PluginUnusable) as error:
            text = f"could not create step plugin at index {index} : {error.message}"
            return [PluginAnswer(index, step.name, "Run", now, error=text, transient=True)]
        return []

    async def _run(self, live: LiveRollout, action: CallStepPlugin) -> None:
        uid, key = live.rollout.metadata.uid, live.key
        which = (action.index, action.name, action.operation)
        try:
            # an Abort waits for the Run that it takes back
            async with self._turns.setdefault((uid, action.index, action.name), asyncio.Lock()):
                answer = await self._answer(live, action)
        except LeadershipLost:
            return
        call = self._calls.get(uid, {}).get(which)
        if call is None or call.task is not asyncio.current_task():
            return
        call.answer = answer
        log.info(
            "step plugin answered",
            namespace=key[0],
            name=key[1],
            plugin=action.name,
            step=action.index,
            operation=action.operation,
            phase=answer.phase,
            error=answer.error,
        )
        self._enqueue(key)
        if answer.transient:
            asyncio.get_running_loop().call_later(TRANSIENT_SECONDS, self._enqueue, key)

    async def _answer(self, live: LiveRollout, action: CallStepPlugin) -> PluginAnswer:
        index, name, operation = action.index, action.name, action.operation
        steps = live.rollout.spec.steps
        step = steps[index].plugin if 0 <= index < len(steps) else None
        config = step.config if step is not None and step.name == name else None
        given = {
            "rollout": routed(live, self._clock()).body(),
            "index": index,
            "config": config,
            "status": action.status.status,
        }
        error, transient, value = "", False, None
        try:
            value = await self._plugins.call(STEP_PLUGINS, name, operation.lower(), given)
        except (PluginMissing, PluginUnusable) as failure:
            error, transient = f"could not create step plugin at index {index} : {failure.message}", True
        except PluginError as failure:
            error = failure.message
        except LeadershipLost:
            raise
        except Exception as failure:  # whatever it is, it is the step's
            log.exception("step plugin not called", plugin=name)
            error = f"plugin {name} could not be called: {failure}"
        now = self._clock()
        if error:
            return PluginAnswer(index, name, operation, now, error=error[:_LONGEST_MESSAGE], transient=transient)
        return _read(action, value, now)


def _mark(live: LiveRollout, status: StepPluginStatus) -> tuple[object, ...]:
    """What tells one call from the next, and from those of another attempt."""
    return live.rollout.status.current_pod_hash, status.started_at, status.executions


def _read(action: CallStepPlugin, value: Any, now: datetime) -> PluginAnswer:
    """The plugin's answer, whatever it is."""
    index, name, operation = action.index, action.name, action.operation
    if not isinstance(value, dict):
        return PluginAnswer(index, name, operation, now, error=f"plugin {name} answered something that is no result")
    phase, message, after = value.get("phase"), value.get("message"), value.get("requeueAfter")
    if phase not in _PHASES:
        text = f"failed to {operation.lower()} plugin: plugin {name} answered with the phase {str(phase)[:40]!r}"
        return PluginAnswer(index, name, operation, now, error=text, transient=True)
    status = value.get("status")
    if not _shallow(status, _DEEPEST_STATUS) or len(orjson.dumps(status)) > _LARGEST_STATUS:
        limits = f"{_LARGEST_STATUS // 1024} KiB or deeper than {_DEEPEST_STATUS} levels"
        text = f"plugin {name} answered with a status that is larger than {limits}"
        return PluginAnswer(index, name, operation, now, error=text)
    wait = None
    if isinstance(after, int | float) and math.isfinite(after):
        wait = timedelta(seconds=min(max(0.0, float(after)), _LONGEST_WAIT))
    text = message[:_LONGEST_MESSAGE] if isinstance(message, str) else ""
    return PluginAnswer(index, name, operation, now, phase, text, wait, status)


def _shallow(value: Any, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return True
    inner = value.values() if isinstance(value, dict) else value
    return levels > 0 and all(_shallow(one, levels - 1) for one in inner)
