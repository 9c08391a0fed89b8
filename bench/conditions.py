"""What a condition takes to read, and to evaluate once it has been read. No cluster."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gitops_rollouts.analysis.conditions import Vector, compile_condition
from gitops_rollouts.analysis.conditions.condition import Condition

_ROUNDS = 7
_ROUND_SECONDS = 0.05
_PODS = [{"name": f"web-{number}", "restarts": 0.0, "state": "ok"} for number in range(100)]
_CASES: tuple[tuple[str, str, Any], ...] = (
    ("a scalar", "result < 0.05", 0.01),
    ("a vector of one", "len(result) == 0 || isNaN(result[0]) || result[0] < 0.05", Vector([0.01])),
    ("a vector of 1 000", "all(result, # < 0.5)", Vector([0.01] * 1000)),
    ("100 objects", 'count(result.pods, .restarts > 0 || .state not in ["ok"]) == 0', {"pods": _PODS}),
    ("a pattern", 'result matches "^(ok|healthy)$"', "healthy"),
)


@dataclass(frozen=True)
class ConditionFigure:
    """One condition: microseconds to read it and to evaluate it, the best of some rounds."""

    what: str
    source: str
    reading: float
    evaluating: float


def measure_conditions() -> list[ConditionFigure]:
    """Every case, some seconds in all."""
    return [_measured(what, source, result) for what, source, result in _CASES]


def _measured(what: str, source: str, result: Any) -> ConditionFigure:
    condition = compile_condition(source)
    assert condition.evaluate(result)
    reading = _best(lambda: Condition(source).check())
    evaluating = _best(lambda: compile_condition(source).evaluate(result))
    return ConditionFigure(what, source, reading * 1e6, evaluating * 1e6)


def _best(act: Callable[[], object]) -> float:
    """Seconds of one call, the least of some rounds."""
    rounds = []
    for _ in range(_ROUNDS):
        calls, start = 0, time.perf_counter()
        while (passed := time.perf_counter() - start) < _ROUND_SECONDS:
            act()
            calls += 1
        rounds.append(passed / calls)
    return min(rounds)
