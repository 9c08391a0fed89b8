"""docs/behaviour.md §18, newRelic, against New Relic's "NerdGraph tutorial: Query your data using NRQL"."""

from __future__ import annotations

from typing import Any

import pytest

from analysis.orders import NOW, order, secrets
from gitops_rollouts.analysis.http import Http
from gitops_rollouts.analysis.providers.new_relic import NewRelic, account_from
from gitops_rollouts.analysis.reading import Reading
from gitops_rollouts.errors import MetricError
from http_server import HttpServer, Reply, serving

QUERY = 'SELECT count(*) FROM Transaction WHERE app = "a b" SINCE 1 HOUR AGO'


def results(*rows: Any) -> dict[str, Any]:
    return {"data": {"actor": {"account": {"nrql": {"results": list(rows)}}}}}


async def read(http: Http, answer: Any, status: int = 200, **spec: Any) -> tuple[Reading, HttpServer]:
    reply = Reply(answer, status) if isinstance(answer, str) else Reply.of(answer, status)
    async with serving(lambda seen: reply) as server:
        account = {"personal-api-key": "NRAK-1", "account-id": "42", "base-url-nerdgraph": f"{server.url}/graphql"}
        provider = NewRelic(http, secrets(newrelic=account, other={**account, "account-id": "7"}))
        return await provider.read(order("newRelic", {"query": QUERY, **spec}), NOW), server


async def test_one_row_is_an_object(http: Http) -> None:
    reading, server = await read(http, results({"count": 1000, "average.duration": 0.25}))
    assert reading == Reading({"count": 1000, "average.duration": 0.25}, '{"count":1000,"average.duration":0.25}')
    (seen,) = server.seen
    assert (seen.method, seen.path) == ("POST", "/graphql")
    assert (seen.headers["Api-Key"], seen.headers["Content-Type"]) == ("NRAK-1", "application/json")
    assert seen.json["variables"] == {"accountId": 42, "query": QUERY, "timeout": 5}
    assert "nrql(query: $query, timeout: $timeout) { results }" in seen.json["query"]


async def test_several_rows_are_a_list(http: Http) -> None:
    rows = [{"facet": "a", "count": 1}, {"facet": "b", "count": None}]
    reading, server = await read(http, results(*rows), profile="other", timeout=20)
    assert (reading.result, reading.value) == (rows, '[{"facet":"a","count":1},{"facet":"b","count":null}]')
    assert server.seen[0].json["variables"] == {"accountId": 7, "query": QUERY, "timeout": 20}


@pytest.mark.parametrize("answer", [results(), results({}), {"data": {"actor": {"account": None}}}, [], 7])
async def test_no_row_or_an_empty_one_is_an_error(http: Http, answer: Any) -> None:
    with pytest.raises(MetricError, match="no results returned from NRQL query"):
        await read(http, answer)


@pytest.mark.parametrize(
    ("answer", "status", "told"),
    [
        ({"data": {"actor": {"account": {"nrql": None}}}, "errors": [
            {"extensions": {"errorClass": "NRQL_SYNTAX_ERROR"}, "message": "NRQL Syntax Error: line 1"}]}, 200,
         "New Relic could not answer the query: NRQL Syntax Error: line 1"),
        ({"errors": [{}]}, 200, "New Relic could not answer the query: no reason given"),
        ({"errors": {"a": 1}}, 200, "New Relic could not answer the query: no reason given"),
        ({"errors": [{"message": "The API key NRAK-1 is invalid"}]}, 401,
         'New Relic answered with status 401: {"errors": [{"message": "The API key ***** is invalid"}]}'),
        ("slow down", 429, "New Relic answered with status 429: slow down"),
        ("", 502, "New Relic answered with status 502"),
        ("<html>", 200, "New Relic answered something that is no JSON"),
    ],
)  # fmt: skip
async def test_errors_are_told_without_the_key(http: Http, answer: Any, status: int, told: str) -> None:
    with pytest.raises(MetricError) as raised:
        await read(http, answer, status)
    assert raised.value.message == told


async def test_the_result_tells_the_query(http: Http) -> None:
    asked = order("newRelic", {"query": QUERY})
    assert await NewRelic(http, secrets()).metadata(asked) == {"ResolvedNewRelicQuery": QUERY}


def test_an_account_has_a_region() -> None:
    known = {"personal-api-key": "k", "account-id": "42"}
    assert account_from(known, "it").url == "https://api.newrelic.com/graphql"
    assert account_from({**known, "region": "US"}, "it").url == "https://api.newrelic.com/graphql"
    assert account_from({**known, "region": "eu"}, "it").url == "https://api.eu.newrelic.com/graphql"
    for given, told in (
        ({}, "it has no personal-api-key and no account-id"),
        ({**known, "account-id": "x1"}, "account-id of it is no number"),
        ({**known, "region": "moon"}, "region of it is neither us nor eu"),
    ):
        with pytest.raises(MetricError, match=told):
            account_from(given, "it")
