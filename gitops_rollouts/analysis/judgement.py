"""What a metric's value means: its conditions decide (docs/behaviour.md §17.4).

The result is typed as `gitops_rollouts.analysis.conditions.values` says: samples of Prometheus are a `Vector`, what
comes as JSON goes through `from_json` first, since a condition tells 1 from 1.0.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import Any, Final

from gitops_rollouts.analysis.conditions import compile_condition
from gitops_rollouts.analysis.conditions.budget import MAX_VISITS, SLIGHT
from gitops_rollouts.api.analysis import FAILED, INCONCLUSIVE, SUCCESSFUL, Metric
from gitops_rollouts.errors import ConditionError

_NO_DATA = "metric result is nil or empty: no data returned from the metric provider"
_SMALL: Final = 1000
"""Items, and characters of text, of a result that any walk is over with at once."""
_THREADS: Final = ThreadPoolExecutor(4, thread_name_prefix="conditions")


async def judge_beside(metric: Metric, result: Any, *, now: datetime) -> str:
    """As `judge`, but what may take long is done in a few threads, where it holds nobody up.

    Nearly all results are small and nearly all conditions cheap: they never wait for somebody's dear one.
    """
    if _size(result, _SMALL) < _SMALL:
        try:
            return judge(metric, result, now=now, most=SLIGHT)
        except ConditionError:
            # it costs more, or it really is one
            pass
    return await asyncio.get_running_loop().run_in_executor(_THREADS, partial(judge, metric, result, now=now))


def _size(value: Any, most: int) -> int:
    """About how much there is to walk over; looks no further than ``most``."""
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, Mapping):
        items: Any = (part for pair in value.items() for part in pair)
    elif isinstance(value, list | tuple):
        items = value
    else:
        return 1
    size = max(1, len(value))
    for item in items if size < most else ():
        size += _size(item, most - size)
        if size >= most:
            break
    return size


def judge(metric: Metric, result: Any, *, now: datetime | None = None, most: int = MAX_VISITS) -> str:
    """The phase of a measurement with this result: Successful, Failed or Inconclusive.

    A condition that can't be evaluated is a `ConditionError` that quotes it: the measurement's phase is Error.
    ``now``: what ``now()`` is in a condition. ``most``: steps that each may take.
    """
    succeeded = _holds("successCondition", metric.success_condition, result, now, most)
    failed = _holds("failureCondition", metric.failure_condition, result, now, most)
    if failed:
        return FAILED
    if succeeded is not False:
        return SUCCESSFUL
    return FAILED if failed is None else INCONCLUSIVE


def _holds(field: str, source: str, result: Any, now: datetime | None, most: int) -> bool | None:
    """Whether this condition holds; None if the metric hasn't got it."""
    if not source:
        return None
    try:
        return compile_condition(source).evaluate(result, now=now, most=most)
    except ConditionError as error:
        empty = result is None or (isinstance(result, (list, tuple)) and not result)
        reason = _NO_DATA if empty else error.message
        raise ConditionError(f'could not evaluate {field} "{source}": {reason}', at=error.at) from None
