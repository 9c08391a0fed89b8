"""docs/behaviour.md §18, graphite, against Graphite's documentation, "The Render URL API"."""

from __future__ import annotations

from typing import Any

import pytest

from analysis.orders import NOW, order
from gitops_rollouts.analysis.conditions.values import Vector
from gitops_rollouts.analysis.http import Http
from gitops_rollouts.analysis.providers.graphite import Graphite
from gitops_rollouts.analysis.reading import Reading
from gitops_rollouts.errors import MetricError
from http_server import HttpServer, Reply, serving


async def read(http: Http, answer: Any, query: str = "target=x", status: int = 200) -> tuple[Reading, HttpServer]:
    reply = Reply(answer, status) if isinstance(answer, str) else Reply.of(answer, status)
    async with serving(lambda seen: reply) as server:
        metric = {"address": f"{server.url}/graphite/", "query": query}
        return await Graphite(http).read(order("graphite", metric), NOW), server


async def test_the_query_is_the_urls_own_and_whitespace_only_serves_reading(http: Http) -> None:
    answer = [
        {"target": "entries", "datapoints": [[1.0, 1311836008], [None, 1311836009], [2.5, 1311836010]]},
        {"target": "other", "datapoints": [[9, 1311836008]]},
    ]
    query = """
      target=summarize(
        asPercent(app.{a,b}.#1.count, 'x+y "ü"'), '5min')
      &from=-5min
    """
    reading, server = await read(http, answer, query)
    assert reading == Reading(Vector((1.0, 2.5)), "[1,2.5]")
    (seen,) = server.seen
    assert (seen.method, seen.path, seen.body) == ("GET", "/graphite/render", b"")
    assert seen.query == {
        "target": "summarize(asPercent(app.{a,b}.#1.count,'x y\"ü\"'),'5min')",  # a + is a space in any URL
        "from": "-5min",
        "format": "json",
    }


@pytest.mark.parametrize(
    "answer",
    [[], [{"target": "x", "datapoints": []}], [{"target": "x", "datapoints": [[None, 1]]}], {}, None, [7], [{}]],
)
async def test_no_value_is_an_error(http: Http, answer: Any) -> None:
    with pytest.raises(MetricError, match=r"^no values found$"):
        await read(http, answer)


async def test_numbers_that_json_does_not_have_are_read(http: Http) -> None:
    reading, _ = await read(http, '[{"datapoints": [[NaN, 1], [1e9999, 2], [-Infinity, 3], ["7", 4], [true, 5], 6]}]')
    assert reading.value == "[NaN,+Inf,-Inf]"


@pytest.mark.parametrize(
    ("answer", "status", "told"),
    [
        ("Invalid target\n<b>x</b>", 400, "error response: Invalid target <b>x</b>"),
        ("", 503, "error response: "),
        ("not json", 200, "Graphite answered something that is no JSON"),
        ("[" * 5000, 200, "Graphite answered something that is no JSON"),
    ],
)
async def test_errors_tell_the_answer(http: Http, answer: str, status: int, told: str) -> None:
    with pytest.raises(MetricError) as raised:
        await read(http, answer, status=status)
    assert raised.value.message == told
