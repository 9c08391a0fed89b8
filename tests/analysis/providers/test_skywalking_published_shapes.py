"""docs/behaviour.md §18, skywalking, against SkyWalking's documentation, "Query Protocol"."""

from __future__ import annotations

from typing import Any

import pytest

from analysis.orders import NOW, order
from gitops_rollouts.analysis.http import Http
from gitops_rollouts.analysis.providers.skywalking import SkyWalking
from gitops_rollouts.analysis.reading import Reading
from gitops_rollouts.errors import MetricError
from http_server import HttpServer, Reply, serving

QUERY = "query queryData($duration: Duration!) { service_apdex: readMetricsValues(condition: {}, duration: $duration) }"


async def read(http: Http, answer: Any, status: int = 200) -> tuple[Reading, HttpServer]:
    reply = Reply(answer, status) if isinstance(answer, str) else Reply.of(answer, status)
    async with serving(lambda seen: reply) as server:
        metric = {"address": server.url, "query": QUERY, "interval": "3m"}
        return await SkyWalking(http).read(order("skywalking", metric), NOW), server


async def test_the_data_of_a_query_over_the_last_minutes(http: Http) -> None:
    data = {"service_apdex": {"label": None, "values": {"values": [{"value": 9900}, {"value": 10000}]}}}
    reading, server = await read(http, {"data": data})
    assert reading.result == data
    assert reading.value == '{"service_apdex":{"label":null,"values":{"values":[{"value":9900},{"value":10000}]}}}'
    (seen,) = server.seen
    assert (seen.method, seen.path, seen.headers["Content-Type"]) == ("POST", "/graphql", "application/json")
    assert seen.json == {
        "query": QUERY,
        "variables": {"duration": {"start": "2026-03-01 1227", "end": "2026-03-01 1230", "step": "MINUTE"}},
    }


@pytest.mark.parametrize(
    ("answer", "status", "told"),
    [
        ({"data": None, "errors": [{"message": "Validation error of type UnknownArgument", "locations": []}]}, 200,
         "SkyWalking could not answer the query: Validation error of type UnknownArgument"),
        ({"errors": "x"}, 200, 'SkyWalking could not answer the query: "x"'),
        ({"data": None}, 200, "SkyWalking answered without data"),
        ({"data": [1]}, 200, "SkyWalking answered without data"),
        ([], 200, "SkyWalking answered without data"),
        ("", 404, "SkyWalking answered with status 404"),
        ("", 200, "SkyWalking answered something that is no JSON"),
    ],
)  # fmt: skip
async def test_errors_are_told(http: Http, answer: Any, status: int, told: str) -> None:
    with pytest.raises(MetricError) as raised:
        await read(http, answer, status)
    assert raised.value.message == told


async def test_the_interval_is_needed(http: Http) -> None:
    asked = order("skywalking", {"address": "http://127.0.0.1:1", "query": QUERY})
    with pytest.raises(MetricError, match=r"provider.skywalking.interval: Required value"):
        await SkyWalking(http).run(asked, NOW)
