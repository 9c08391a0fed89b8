"""What of a metric is written in a language of its own, besides its conditions: can it be read at all?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Final

from gitops_rollouts.analysis.conditions import evaluate_time
from gitops_rollouts.analysis.jsonpath import parse
from gitops_rollouts.api.analysis import Metric
from gitops_rollouts.errors import MetricError

_SOME_TIME: Final = datetime(2020, 1, 1, tzinfo=UTC)


def expression_problems(metric: Metric) -> Iterator[tuple[str, str, str]]:
    """Field below the metric, text and what is wrong: JSONPaths, and the span of a range query (behaviour.md §18).

    A text with an argument in it isn't judged.
    """
    checks: list[tuple[str, str, Callable[[str], object]]] = []
    if metric.provider.web is not None and metric.provider.web.json_path:
        checks.append(("provider.web.jsonPath", metric.provider.web.json_path, parse))
    span = metric.provider.prometheus.range_query if metric.provider.prometheus is not None else None
    for name, text in (("start", span.start), ("end", span.end)) if span is not None else ():
        checks.append((f"provider.prometheus.rangeQuery.{name}", text, lambda text: evaluate_time(text, _SOME_TIME)))
    for field, text, check in checks:
        if not text or "{{" in text:
            continue
        try:
            check(text)
        except MetricError as error:
            yield field, text, error.message
