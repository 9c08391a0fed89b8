"""Graphite: the values of the first target (docs/behaviour.md §18)."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

from gitops_rollouts.analysis.conditions.values import Vector
from gitops_rollouts.analysis.http import Answer, Http, Request
from gitops_rollouts.analysis.large_answers import read_beside
from gitops_rollouts.analysis.provider import Order
from gitops_rollouts.analysis.providers.at_once import AtOnce
from gitops_rollouts.analysis.reading import Reading, as_float, decode, excerpt, list_text, rows, within
from gitops_rollouts.api.metric_providers import GraphiteMetric
from gitops_rollouts.errors import MetricError

_TIMEOUT_SECONDS: Final = 10.0
_AS_IT_IS: Final = "!$%&'()*+,/:;=?@[]~-._"
"""Characters of the query that are sent as they are written, as far as a URL can hold them."""


def request(metric: GraphiteMetric) -> Request:
    """The query is the query of the URL itself, ``target=…&from=…``, in which whitespace only serves reading."""
    query = quote("".join(metric.query.split()), safe=_AS_IT_IS)
    return Request(f"{metric.address.rstrip('/')}/render?{query}&format=json", seconds=_TIMEOUT_SECONDS)


def refusal(answer: Answer) -> MetricError | None:
    """What a status of 400 and above means."""
    return MetricError(f"error response: {excerpt(answer.body)}") if answer.status >= 400 else None


def read(answer: Any) -> Reading:
    """All values of the first target, without gaps. Raises `MetricError` if there is none."""
    points = rows(within(answer, 0, "datapoints"))
    values = [value for point in points if (value := as_float(within(point, 0))) is not None]
    if not values:
        raise MetricError("no values found")
    return Reading(Vector(values), list_text(values))


class Graphite(AtOnce):
    """Without authentication."""

    kind = "graphite"

    def __init__(self, http: Http) -> None:
        self._http = http

    async def read(self, order: Order, now: datetime) -> Reading:
        """The values of the query. Raises `MetricError`."""
        metric = order.metric.provider.graphite or GraphiteMetric()
        answer = await self._http.send(request(metric))
        refused = refusal(answer)
        if refused is not None:
            raise refused
        return await read_beside(answer.body, lambda: read(decode(answer.body, "Graphite")))
