"""What a metric's conditions make of a result (§17.4)."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime
from typing import Any

import pytest

from gitops_rollouts.analysis import judgement
from gitops_rollouts.analysis.conditions import Vector
from gitops_rollouts.analysis.conditions.budget import MAX_VISITS
from gitops_rollouts.analysis.judgement import judge, judge_beside
from gitops_rollouts.api.analysis import FAILED, INCONCLUSIVE, SUCCESSFUL, Metric
from gitops_rollouts.errors import ConditionError, MetricError

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def _metric(success: str = "", failure: str = "") -> Metric:
    return Metric(name="m", success_condition=success, failure_condition=failure)


@pytest.mark.parametrize(
    ("success", "failure", "result", "phase"),
    [
        ("", "", 5.0, SUCCESSFUL),
        ("result < 1", "", 0.5, SUCCESSFUL),
        ("result < 1", "", 2.0, FAILED),
        ("", "result > 1", 0.5, SUCCESSFUL),
        ("", "result > 1", 2.0, FAILED),
        ("result < 1", "result > 5", 0.5, SUCCESSFUL),
        ("result < 1", "result > 5", 9.0, FAILED),
        ("result < 1", "result > 5", 3.0, INCONCLUSIVE),
        ("result > 1", "result > 1", 3.0, FAILED),
        ("len(result) == 0 || result[0] < 1", "", Vector(), SUCCESSFUL),
        ("default(result, 0) == 0", "", None, SUCCESSFUL),
    ],
)
def test_success_and_failure_decide_together(success: str, failure: str, result: Any, phase: str) -> None:
    assert judge(_metric(success, failure), result) == phase


def test_a_condition_that_does_not_fit_the_result_is_an_error_that_quotes_it() -> None:
    with pytest.raises(MetricError) as caught:
        judge(_metric(success="result > 0.5"), "high")
    assert str(caught.value) == (
        'could not evaluate successCondition "result > 0.5": '
        "invalid operation: > (mismatched types string and float64) (1:8)"
    )


def test_an_error_of_the_success_condition_is_told_before_that_of_the_failure_condition() -> None:
    with pytest.raises(ConditionError, match="successCondition"):
        judge(_metric("result.a", "result.b"), 1.0)
    with pytest.raises(ConditionError, match=r'failureCondition "result\.b"'):
        judge(_metric("result > 0", "result.b"), 1.0)


@pytest.mark.parametrize("result", [None, [], Vector()])
def test_an_error_about_no_data_says_that_there_is_none(result: Any) -> None:
    with pytest.raises(ConditionError) as caught:
        judge(_metric(success="result[0] > 1"), result)
    assert str(caught.value) == (
        'could not evaluate successCondition "result[0] > 1": '
        "metric result is nil or empty: no data returned from the metric provider"
    )


def test_a_value_that_is_no_bool_is_an_error() -> None:
    with pytest.raises(ConditionError, match="expected bool, but got float64"):
        judge(_metric(success="result"), 1.0)


def test_the_time_is_told_and_never_read_from_a_clock() -> None:
    old = _metric(success='now() - date(result) < duration("1h")')
    assert judge(old, "2026-01-01T00:00:00Z", now=datetime(2026, 1, 1, 0, 30, tzinfo=UTC)) == SUCCESSFUL
    assert judge(old, "2026-01-01T00:00:00Z", now=datetime(2026, 1, 1, 1, 30, tzinfo=UTC)) == FAILED
    with pytest.raises(ConditionError, match=r"now\(\) isn't known here"):
        judge(old, "2026-01-01T00:00:00Z")


class _Waits:
    """A condition that holds once somebody else has had a turn."""

    def __init__(self) -> None:
        self.others = threading.Event()

    def evaluate(self, result: Any, *, now: datetime, most: int) -> bool:
        if most < MAX_VISITS:
            raise ConditionError("the condition takes more steps")
        return self.others.wait(10)


@pytest.mark.parametrize("result", [1.0, Vector([1.0] * 5000), {"text": "x" * 5000}])
async def test_a_condition_that_takes_long_holds_nobody_up(monkeypatch: pytest.MonkeyPatch, result: Any) -> None:
    """Rollouts are decided in the same process: what isn't over at once is evaluated in a thread (§17.4)."""
    condition = _Waits()
    monkeypatch.setattr(judgement, "compile_condition", lambda _source: condition)
    judged = asyncio.create_task(judge_beside(_metric("dear"), result, now=NOW))
    await asyncio.sleep(0)
    condition.others.set()
    assert await judged == SUCCESSFUL


async def test_a_cheap_condition_of_a_small_result_waits_for_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judgement, "_THREADS", None)
    small = {"ok": True, "errors": [{"text": "x" * 100}] * 5}
    assert (
        await judge_beside(_metric("result.ok && all(result.errors, len(#.text) < 200)"), small, now=NOW) == SUCCESSFUL
    )


@pytest.mark.parametrize(
    "source", ["all(1..100000, # > 0)", 'len(repeat("x", 500000)) > 0', "result[0].ok == 1", "all(1..900000, # > 0)"]
)
async def test_it_comes_to_the_same_wherever_it_is_judged(source: str) -> None:
    outcomes = []
    for judging in (lambda: judge_beside(_metric(source), 1.0, now=NOW), lambda: _at_once(source)):
        try:
            outcomes.append(await judging())
        except ConditionError as error:
            outcomes.append(error.message)
    assert outcomes[0] == outcomes[1]


async def _at_once(source: str) -> str:
    return judge(_metric(source), 1.0, now=NOW)
