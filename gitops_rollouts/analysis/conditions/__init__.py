"""The language of success and failure conditions: what decides whether a measurement is good.

`compile_condition` reads one, `Condition.evaluate` asks it about a result. Both are total and bounded in time: any
source and any result end with an answer or a `ConditionError` (docs/conditions.md, docs/behaviour.md §17.4).
"""

from gitops_rollouts.analysis.conditions.condition import (
    Condition,
    compile_condition,
    evaluate_duration,
    evaluate_time,
    snippet,
)
from gitops_rollouts.analysis.conditions.values import Vector, from_json

__all__ = [
    "Condition",
    "Vector",
    "compile_condition",
    "evaluate_duration",
    "evaluate_time",
    "from_json",
    "snippet",
]
