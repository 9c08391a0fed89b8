"""docs/behaviour.md §18, datadog, against what Datadog's API reference says of its requests and answers.

"Query timeseries points" (v1) and "Query scalar data across multiple products" (v2).
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from analysis.orders import NOW, OURS, SECONDS, THEIRS, KnownSecrets, order, secrets
from gitops_rollouts.analysis.conditions.values import Vector
from gitops_rollouts.analysis.http import Http
from gitops_rollouts.analysis.providers.datadog import DEFAULT_ADDRESS, Datadog, keys_from
from gitops_rollouts.analysis.reading import Reading
from gitops_rollouts.errors import MetricError
from http_server import HttpServer, Reply, serving

SERIES = {
    "status": "ok",
    "res_type": "time_series",
    "resp_version": 1,
    "query": "avg:system.cpu.idle{*}",
    "from_date": 1772367915000,
    "to_date": 1772368215000,
    "series": [
        {
            "unit": [{"family": "percentage", "name": "percent", "scale_factor": 1.0}, None],
            "aggr": "avg", "metric": "system.cpu.idle", "scope": "*", "interval": 20, "length": 2,
            "tag_set": [], "start": 1772367920000, "end": 1772368199000,
            "pointlist": [[1772367920000.0, 99.0], [1772368180000.0, 98.25]],
            "expression": "avg:system.cpu.idle{*}", "query_index": 0, "display_name": "system.cpu.idle",
        },
        {"pointlist": [[1772367920000.0, 1.0]], "scope": "host:b"},
    ],
    "values": [], "times": [], "message": "", "group_by": [],
}  # fmt: skip


def scalar(*columns: Any) -> dict[str, Any]:
    return {"data": {"type": "scalar_response", "id": "0", "attributes": {"columns": list(columns)}}}


def number(*values: Any, **more: Any) -> dict[str, Any]:
    return {"name": "query", "type": "number", "values": list(values), "meta": {"unit": [None, None]}, **more}


def group(name: str, *values: list[str]) -> dict[str, Any]:
    return {"name": name, "type": "group", "values": list(values)}


V1 = {"query": "avg:system.cpu.idle{*}"}
V2 = {"apiVersion": "v2", **V1}


async def read(http: Http, answer: Any, spec: dict[str, Any], *, status: int = 200) -> tuple[Reading, HttpServer]:
    """What one answer comes to, and what was asked for it."""
    reply = Reply(answer, status) if isinstance(answer, str | bytes) else Reply.of(answer, status)
    async with serving(lambda seen: reply) as server:
        keys = {"api-key": "k-api", "app-key": "k-app\n", "address": f"{server.url}/"}
        return await Datadog(http, secrets(datadog=keys), {}).read(order("datadog", spec), NOW), server


async def test_v1_asks_for_a_span_in_seconds_and_takes_the_last_point_of_the_first_series(http: Http) -> None:
    reading, server = await read(http, SERIES, {**V1, "interval": "10m"})
    assert reading == Reading(98.25, "98.25")
    (seen,) = server.seen
    assert (seen.method, seen.path, seen.body) == ("GET", "/api/v1/query", b"")
    assert seen.query == {"query": V1["query"], "from": str(SECONDS - 600), "to": str(SECONDS)}
    assert (seen.headers["DD-API-KEY"], seen.headers["DD-APPLICATION-KEY"]) == ("k-api", "k-app")


async def test_v2_asks_for_scalars_in_milliseconds(http: Http) -> None:
    reading, server = await read(http, scalar(number(None, 0.5, 0.7)), V2)
    assert reading == Reading(0.5, "0.5")
    (seen,) = server.seen
    assert (seen.method, seen.path, seen.query) == ("POST", "/api/v2/query/scalar", {})
    assert seen.headers["Content-Type"] == "application/json"
    assert seen.json == {
        "data": {
            "type": "scalar_request",
            "attributes": {
                "from": (SECONDS - 300) * 1000,
                "to": SECONDS * 1000,
                "queries": [{"aggregator": "last", "data_source": "metrics", "name": "query", "query": V1["query"]}],
            },
        }
    }


async def test_v2_sends_queries_with_their_formula(http: Http) -> None:
    spec = {"apiVersion": "v2", "queries": {"a": "sum:x{*}", "b": "sum:y{*}"}, "formula": "a/b", "aggregator": "sum"}
    reading, server = await read(http, scalar(number(2)), spec)
    assert reading == Reading(2.0, "2")
    asked = server.seen[0].json["data"]["attributes"]
    assert asked["formulas"] == [{"formula": "a/b"}]
    assert [(query["name"], query["query"], query["aggregator"]) for query in asked["queries"]] == [
        ("a", "sum:x{*}", "sum"),
        ("b", "sum:y{*}", "sum"),
    ]


async def test_v2_answers_a_list_for_groups_and_tells_which_is_which(http: Http) -> None:
    columns = (group("env", ["env:prod"], ["env:dev"], ["env:gone"]), group("zone", ["a", "b"], ["c"], ["d"]))
    reading, _ = await read(http, scalar(*columns, number(3, 1.5, None), number(9, 9, 9)), V2)
    assert (reading.result, reading.value) == (Vector((3.0, 1.5)), "[3,1.5]")
    assert json.loads(reading.metadata["groups"]) == [
        {"name": "env:prod,a,b", "value": 3.0},
        {"name": "env:dev,c", "value": 1.5},
    ]
    assert "groups_truncated" not in reading.metadata
    one, _ = await read(http, scalar(group("env", ["env:prod"]), number(3)), V2)
    assert one.result == Vector((3.0,))


async def test_v2_tells_the_fifty_lowest_and_highest_of_many_groups(http: Http) -> None:
    names = [[f"pod:{index}"] for index in range(130)]
    values = [(index * 37) % 130 for index in range(130)]
    reading, _ = await read(http, scalar(group("pod", *names), number(*values)), V2)
    assert reading.result == Vector(float(value) for value in values)
    told = json.loads(reading.metadata["groups"])
    assert [one["value"] for one in told] == [*range(50), *range(80, 130)]
    assert reading.metadata["groups_truncated"] == "true"


@pytest.mark.parametrize(
    ("spec", "answer"),
    [
        (V1, {"status": "ok", "series": []}),
        (V1, {"status": "ok", "series": None}),
        (V1, {"status": "ok", "series": [{"pointlist": []}]}),
        (V1, {"status": "ok", "series": [{"pointlist": [[1772367920000.0, None]]}]}),
        (V1, {"status": "ok", "series": [{"pointlist": [[1772367920000.0, "7"], 5]}]}),
        (V1, [1, 2]),
        (V2, scalar()),
        (V2, scalar(number())),
        (V2, scalar(number(None))),
        (V2, scalar(group("env"), number())),
        (V2, scalar({"name": "q", "type": "text", "values": [1]})),
        (V2, scalar("x", 7, None, {"values": {"a": 1}})),
    ],
)
async def test_no_data_is_nil_for_the_condition_to_handle(http: Http, spec: Any, answer: Any) -> None:
    assert (await read(http, answer, spec))[0] == Reading(None, "[]")


async def test_a_column_without_a_type_holds_numbers(http: Http) -> None:
    column = {"name": "query", "values": [float("nan"), 4]}
    reading, _ = await read(http, json.dumps(scalar(column)), V2)
    assert (str(reading.result), reading.value) == ("nan", "NaN")


@pytest.mark.parametrize(
    ("spec", "answer", "status", "told"),
    [
        (V1, {"errors": ["Forbidden k-app"]}, 403,
         'received authentication error response code: 403 {"errors": ["Forbidden *****"]}'),
        (V2, {"errors": ["Unauthorized"]}, 401, "received authentication error response code: 401"),
        (V1, {"errors": ["Rate limit exceeded"]}, 429, "received non 2xx response code: 429"),
        (V2, "k-api k-app <p>\n500</p>", 500, "received non 2xx response code: 500 ***** ***** <p> 500</p>"),
        (V1, "", 204, "received non 2xx response code: 204"),
        (V2, {"data": {"attributes": {}}, "errors": "bad query"}, 200, "There were errors in your query: bad query"),
        (V2, {"data": {"errors": ["no such metric"]}}, 200, 'There were errors in your query: ["no such metric"]'),
        (V1, {"status": "error", "error": "Rule 'x' didn't match"}, 200, "There were errors in your query: Rule 'x'"),
        (V2, {"meta": {}}, 200, "Datadog answered without data"),
        (V1, "<html>", 200, "Datadog answered something that is no JSON"),
    ],
)  # fmt: skip
async def test_errors_are_told_without_the_keys(http: Http, spec: Any, answer: Any, status: int, told: str) -> None:
    with pytest.raises(MetricError) as raised:
        await read(http, answer, spec, status=status)
    assert raised.value.message.startswith(told)
    assert "k-ap" not in str(raised.value)


async def test_keys_come_from_the_named_secret_the_environment_or_the_secret_datadog(http: Http) -> None:
    async with serving(lambda seen: Reply.of(SERIES)) as server:
        known = {"api-key": "k", "app-key": "a", "address": server.url}
        given = KnownSecrets(datadog={**known, "api-key": "ours"})
        given.known[OURS, "other"] = {**known, "api-key": "other"}
        given.known[THEIRS, "other"] = {**known, "api-key": "theirs"}
        environment = {"DD_API_KEY": "e", "DD_APP_KEY": "a", "DD_ADDRESS": server.url}
        provider = Datadog(http, given, environment)  # type: ignore[arg-type]
        for spec in ({}, {"secretRef": {"name": "other"}}, {"secretRef": {"name": "other", "namespaced": True}}):
            await provider.read(order("datadog", {**V1, **spec}), NOW)
        del environment["DD_APP_KEY"]
        await provider.read(order("datadog", V1), NOW)
        assert [seen.headers["DD-API-KEY"] for seen in server.seen] == ["e", "other", "theirs", "ours"]
        assert given.read_ == [(OURS, "other"), (THEIRS, "other"), (OURS, "datadog")]
        with pytest.raises(MetricError, match="there is no Secret 'none' in the namespace shop"):
            await provider.read(order("datadog", {**V1, "secretRef": {"name": "none", "namespaced": True}}), NOW)


def test_a_secret_needs_both_keys_and_may_have_an_address() -> None:
    assert keys_from({"api-key": "k", "app-key": "a"}, "it").address == DEFAULT_ADDRESS == "https://api.datadoghq.com"
    with pytest.raises(MetricError, match="the Secret 'd' has no api-key and no app-key"):
        keys_from({"api-key": " "}, "the Secret 'd'")


async def test_a_rule_that_is_broken_is_an_error_before_anything_is_asked(http: Http) -> None:
    known = KnownSecrets()
    asked = order("datadog", {"query": "a", "queries": {"b": "c"}})
    with pytest.raises(MetricError, match="cannot have both query and queries"):
        await Datadog(http, known, {}).run(replace(asked, uid="u2"), NOW)  # type: ignore[arg-type]
    assert known.read_ == []
