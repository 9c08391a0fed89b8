"""docs/behaviour.md §18, wavefront, against the chart API and QueryResult of the "Operations for Applications" API."""

from __future__ import annotations

from typing import Any

import pytest

from analysis.orders import NOW, SECONDS, order, secrets
from gitops_rollouts.analysis.conditions.values import Vector
from gitops_rollouts.analysis.http import Http
from gitops_rollouts.analysis.providers.wavefront import Wavefront, request
from gitops_rollouts.analysis.reading import Reading
from gitops_rollouts.api.metric_providers import WavefrontMetric
from gitops_rollouts.errors import MetricError
from http_server import HttpServer, Reply, serving


def result(*series: Any, **more: Any) -> dict[str, Any]:
    shown = [{"label": "sum", "host": "", "tags": {}, "data": data} for data in series]
    return {"name": "q", "query": "ts(x)", "timeseries": shown, "granularity": 1, "stats": {"keys": 1}, **more}


async def read(http: Http, answer: Any, status: int = 200) -> tuple[Reading, HttpServer]:
    reply = Reply(answer, status) if isinstance(answer, str) else Reply.of(answer, status)
    async with serving(lambda seen: reply) as server:
        provider = Wavefront(http, secrets(wavefront_api_tokens={server.url: "t0k\n", "example.wavefront.com": "x"}))
        return await provider.read(order("wavefront", {"address": server.url, "query": "sum(ts(x))"}), NOW), server


async def test_one_series_is_the_point_nearest_to_now(http: Http) -> None:
    points = [[SECONDS - 60, 9.0], [SECONDS - 2, 0.987654], [SECONDS + 3, 8.0]]
    reading, server = await read(http, result(points))
    assert reading == Reading(0.987654, "0.99", {"timestamps": str(SECONDS - 2), "drift": "2"})
    (seen,) = server.seen
    assert (seen.method, seen.path, seen.headers["Authorization"]) == ("GET", "/api/v2/chart/api", "Bearer t0k")
    moment = f"{SECONDS}000"
    assert seen.query == {
        "q": "sum(ts(x))", "s": moment, "e": moment, "g": "s", "p": "1", "i": "true", "strict": "false",
    }  # fmt: skip


async def test_several_series_are_a_list(http: Http) -> None:
    reading, _ = await read(http, result([[SECONDS, 1]], [], [[SECONDS - 5, 2.5], ["x", 3]], warnings="slow query"))
    assert (reading.result, reading.value) == (Vector((1.0, 2.5)), "[1.00,2.50]")
    assert reading.metadata == {
        "timestamps": f"{SECONDS},{SECONDS - 5}", "drift": "0,5", "warnings": "slow query",
    }  # fmt: skip


@pytest.mark.parametrize("answer", [result(), result([]), result([[SECONDS, None]]), {}, [], None, result("x")])
async def test_no_data_is_an_error(http: Http, answer: Any) -> None:
    with pytest.raises(MetricError, match="Wavefront found no data for the query"):
        await read(http, answer)


async def test_not_a_number_is_a_number(http: Http) -> None:
    reading, _ = await read(http, f'{{"timeseries": [{{"data": [[{SECONDS}, NaN]]}}]}}')
    assert (str(reading.result), reading.value) == ("nan", "NaN")


@pytest.mark.parametrize(
    ("answer", "status", "told"),
    [
        ({"errorType": "QuerySyntaxError", "errorMessage": "unexpected token"}, 200,
         "Wavefront could not answer the query: unexpected token"),
        ({"status": {"result": "ERROR", "message": "bad t0k", "code": 401}}, 401,
         'Wavefront answered with status 401: {"status": {"result": "ERROR", "message": "bad *****", "code": 401}}'),
        ("", 406, "Wavefront answered with status 406"),
        ("nope", 200, "Wavefront answered something that is no JSON"),
    ],
)  # fmt: skip
async def test_errors_are_told_without_the_token(http: Http, answer: Any, status: int, told: str) -> None:
    with pytest.raises(MetricError) as raised:
        await read(http, answer, status)
    assert raised.value.message == told


async def test_a_bare_address_is_asked_by_https_with_its_own_token(http: Http) -> None:
    asked = request(WavefrontMetric(address="example.wavefront.com", query="q"), "t", NOW)
    assert asked.url.startswith("https://example.wavefront.com/api/v2/chart/api?q=q&")
    with pytest.raises(MetricError, match=r"has no key 'other\.wavefront\.com'"):
        await Wavefront(http, secrets(wavefront_api_tokens={"x": "y"})).read(
            order("wavefront", {"address": "other.wavefront.com", "query": "q"}), NOW
        )
