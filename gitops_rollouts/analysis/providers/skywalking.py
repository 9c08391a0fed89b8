"""SkyWalking: whatever a GraphQL query of its OAP server answers (docs/behaviour.md §18)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import orjson

from gitops_rollouts.analysis.http import Http, Request
from gitops_rollouts.analysis.large_answers import read_beside
from gitops_rollouts.analysis.provider import Order
from gitops_rollouts.analysis.providers.at_once import AtOnce
from gitops_rollouts.analysis.providers.refusing import refuse_status
from gitops_rollouts.analysis.reading import Reading, decode, json_text, rows, seen_by_conditions, short, within
from gitops_rollouts.api.durations import parse_go_duration
from gitops_rollouts.api.metric_providers import SkyWalkingMetric
from gitops_rollouts.errors import MetricError

_TIMEOUT_SECONDS: Final = 30.0


def request(metric: SkyWalkingMetric, now: datetime) -> Request:
    """The query with its variable ``duration``: the last ``interval``, in minutes and UTC."""
    start = now - parse_go_duration(metric.interval)
    duration = {"start": _minute(start), "end": _minute(now), "step": "MINUTE"}
    body = orjson.dumps({"query": metric.query, "variables": {"duration": duration}})
    headers = (("Content-Type", "application/json"),)
    url = f"{metric.address.rstrip('/')}/graphql"
    return Request(url, "POST", headers, body, _TIMEOUT_SECONDS, repeatable=True)


def read(answer: Any) -> Reading:
    """The object ``data`` as it is. Raises `MetricError`."""
    if errors := within(answer, "errors"):
        told = [str(within(error, "message") or "no reason given") for error in rows(errors)] or [json_text(errors)]
        raise MetricError(f"SkyWalking could not answer the query: {short('; '.join(told))}")
    data = within(answer, "data")
    if not isinstance(data, dict):
        raise MetricError("SkyWalking answered without data")
    return Reading(seen_by_conditions(data, "SkyWalking"), json_text(data))


def _minute(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H%M")


class SkyWalking(AtOnce):
    """Without authentication."""

    kind = "skywalking"

    def __init__(self, http: Http) -> None:
        self._http = http

    async def read(self, order: Order, now: datetime) -> Reading:
        """What the query answers. Raises `MetricError`."""
        metric = order.metric.provider.skywalking or SkyWalkingMetric()
        answer = await self._http.send(request(metric, now))
        refuse_status(answer, "SkyWalking")
        return await read_beside(answer.body, lambda: read(decode(answer.body, "SkyWalking")))
