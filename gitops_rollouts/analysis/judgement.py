"""What a metric's value means: its conditions decide (docs/behaviour.md §17.4).

The result is typed as `gitops_rollouts.analysis.conditions.values` says: samples of Prometheus are a `Vector`, what
comes as JSON goes through `from_json` first, since a condition tells 1 from 1.0.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from gitops_rollouts.analysis.conditions import compile_condition
from gitops_rollouts.api.analysis import FAILED, INCONCLUSIVE, SUCCESSFUL, Metric
from gitops_rollouts.errors import ConditionError

_NO_DATA = "metric result is nil or empty: no data returned from the metric provider"


def judge(metric: Metric, result: Any, *, now: datetime | None = None) -> str:
    """The phase of a measurement with this result: Successful, Failed or Inconclusive.

    A condition that can't be evaluated is a `ConditionError` that quotes it: the measurement's phase is Error.
    ``now``: what ``now()`` is in a condition.
    """
    succeeded = _holds("successCondition", metric.success_condition, result, now)
    failed = _holds("failureCondition", metric.failure_condition, result, now)
    if failed:
        return FAILED
    if succeeded is not False:
        return SUCCESSFUL
    return FAILED if failed is None else INCONCLUSIVE


def _holds(field: str, source: str, result: Any, now: datetime | None) -> bool | None:
    """Whether this condition holds; None if the metric hasn't got it."""
    if not source:
        return None
    try:
        return compile_condition(source).evaluate(result, now=now)
    except ConditionError as error:
        empty = result is None or (isinstance(result, (list, tuple)) and not result)
        reason = _NO_DATA if empty else error.message
        raise ConditionError(f'could not evaluate {field} "{source}": {reason}', at=error.at) from None
