"""Counts wait for each other, everything else goes at once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from gitops_rollouts.api.status import Condition, RolloutStatus
from gitops_rollouts.controllers.coalesce import Patience
from gitops_rollouts.engine.plan import EmitEvent, PatchReplicaSet, Plan

KEY = ("shop", "web")
OLD = RolloutStatus(phase="Progressing", replicas=4, conditions=(Condition(type="Available", status="True"),))


def _new(**changes: Any) -> RolloutStatus:
    return OLD.model_copy(update=changes)


COUNTS = _new(replicas=5, available_replicas=3, conditions=(Condition(type="Available", status="False"),))


class _Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_counts_wait_up_to_a_second_and_actions_dont() -> None:
    time = _Time()
    patience = Patience(time)
    action = PatchReplicaSet("web-h", replicas=1)
    held = patience.hold(KEY, OLD, Plan(actions=(action,), status=COUNTS, look_again=timedelta(minutes=5)))
    assert held == Plan(actions=(action,), look_again=timedelta(seconds=1))
    time.now = 0.6
    assert patience.hold(KEY, OLD, Plan(status=COUNTS)).look_again == timedelta(seconds=0.4)
    time.now = 1.0
    assert patience.hold(KEY, OLD, Plan(status=COUNTS)).status == COUNTS
    assert patience.hold(KEY, OLD, Plan(status=COUNTS)).status is None


def test_a_sooner_moment_stands() -> None:
    soon = timedelta(milliseconds=10)
    assert Patience(_Time()).hold(KEY, OLD, Plan(status=COUNTS, look_again=soon)).look_again == soon


@pytest.mark.parametrize(
    "plan",
    [
        Plan(status=OLD),
        Plan(status=_new(phase="Healthy", replicas=5)),
        Plan(status=_new(abort=True)),
        Plan(status=_new(current_step_index=1, replicas=5)),
        Plan(status=_new(conditions=(*OLD.conditions, Condition(type="Progressing", status="True")))),
        Plan(status=COUNTS, status_first=True),
        Plan(status=COUNTS, events=(EmitEvent("RolloutPaused", "x"),)),
        Plan(),
    ],
)
def test_everything_else_is_told_at_once(plan: Plan) -> None:
    assert Patience(_Time()).hold(KEY, OLD, plan) is plan


def test_something_else_ends_the_wait() -> None:
    time = _Time()
    patience = Patience(time)
    patience.hold(KEY, OLD, Plan(status=COUNTS))
    time.now = 0.9
    patience.hold(KEY, OLD, Plan(status=_new(phase="Paused", replicas=5)))
    assert patience.hold(KEY, OLD, Plan(status=COUNTS)).look_again == timedelta(seconds=1)
