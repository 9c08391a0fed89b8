"""Replica counts change with every pod; clients are told of several changes at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from gitops_rollouts.api.status import Condition, RolloutStatus
from gitops_rollouts.controllers.observe import Key
from gitops_rollouts.engine.plan import Plan

COUNT_SECONDS: Final = 1.0
_COUNTS: Final = ("replicas", "updated_replicas", "ready_replicas", "available_replicas", "hpa_replicas", "message")
_FOLLOWS_COUNTS: Final = "Available"


def counts_only(old: RolloutStatus, new: RolloutStatus) -> bool:
    """Whether a status differs only in replica counts and what follows from them; the phase is the same."""
    if set(map(_lasting, new.conditions)) != set(map(_lasting, old.conditions)):
        return False
    unchanged: dict[str, Any] = {name: getattr(old, name) for name in _COUNTS}
    return new.model_copy(update={**unchanged, "conditions": old.conditions}) == old


class Patience:
    """Holds back a status of new counts for a second, unless something else is to be written. Seconds are monotonic."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._since: dict[Key, float] = {}

    def hold(self, key: Key, old: RolloutStatus, plan: Plan) -> Plan:
        """The plan, or the plan without its status and with a moment to look again.

        The next pass decides anew from the stored status, so that nothing is lost.
        """
        status = plan.status
        if status is None or status == old or plan.status_first or plan.events or not counts_only(old, status):
            self._since.pop(key, None)
            return plan
        now = self._monotonic()
        left = COUNT_SECONDS - (now - self._since.setdefault(key, now))
        if left <= 0:
            del self._since[key]
            return plan
        again = timedelta(seconds=left)
        return replace(plan, status=None, look_again=again if plan.look_again is None else min(again, plan.look_again))

    def forget(self, key: Key) -> None:
        """The object is gone."""
        self._since.pop(key, None)


def _lasting(condition: Condition) -> tuple[str, str, str, str]:
    """What of a condition must be told at once."""
    if condition.type == _FOLLOWS_COUNTS:
        return condition.type, "", "", ""
    return condition.type, condition.status, condition.reason, condition.message
