"""docs/behaviour.md §18, web: against real servers, with TLS where it matters."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from gitops_rollouts.analysis.http import Http
from gitops_rollouts.analysis.oauth2 import Tokens
from gitops_rollouts.analysis.provider import Order
from gitops_rollouts.analysis.providers.web import Web
from gitops_rollouts.analysis.reading import Reading
from gitops_rollouts.api.analysis import FAILED, SUCCESSFUL, Metric
from gitops_rollouts.errors import MetricError
from http_server import Certificate, Reply, Seen, serving

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
SECRET = "s3cret"


def order(url: str, *, condition: str = "", **more: Any) -> Order:
    provider = {"web": {"url": url, **more}}
    return Order(
        "ns", "run", "uid", Metric.model_validate({"name": "m", "successCondition": condition, "provider": provider})
    )


@pytest.fixture
def provider(http: Http) -> Web:
    return Web(http, Tokens(http))


@pytest.mark.parametrize(
    ("body", "path", "reading"),
    [
        ('{"a": {"b": 1}}', "", Reading({"a": {"b": 1.0}}, '{"a":{"b":1}}')),
        ('{"a": {"b": 1}}', "{$.a.b}", Reading(1.0, "1")),
        ('{"a": [1.5, "x", null, true]}', "{.a}", Reading([1.5, "x", None, True], '[1.5,"x",null,true]')),
        ('{"a": [{"n": 1}, {"n": 2}]}', "{.a[*].n}", Reading(1.0, "1")),
        ('{"a": [{"n": 1}, {"n": 2}]}', "{.a[?(@.n==2)]}", Reading({"n": 2.0}, '{"n":2}')),
        ('{"a": "ok"}', "{$.a}", Reading("ok", '"ok"')),
        ('{"a": null}', "{.a}", Reading(None, "null")),
        ("3", "", Reading(3.0, "3")),
        ("12345678901234567890", "", Reading(12345678901234567890.0, "12345678901234567000.0")),
        ("fine\n", "{$.a}", Reading("fine\n", "fine\n")),
        ("", "", Reading("", "")),
        ("NaN", "", Reading("NaN", "NaN")),
        ("[1e999]", "", Reading("[1e999]", "[1e999]")),
        ("[" * 3000 + "]" * 3000, "", Reading("[" * 3000 + "]" * 3000, "[" * 3000 + "]" * 1095 + "…")),
    ],
)
async def test_what_an_answer_comes_to(provider: Web, body: str, path: str, reading: Reading) -> None:
    async with serving(lambda seen: Reply(body)) as server:
        found = await provider.read(order(server.url, jsonPath=path), NOW)
    assert type(found.result) is type(reading.result)
    assert found.result == reading.result
    assert found.value == reading.value or body.startswith("123")


async def test_conditions_see_the_first_match(provider: Web) -> None:
    async with serving(lambda seen: Reply.of({"data": {"rate": 0.97, "ok": True}})) as server:
        given = order(server.url, jsonPath="{$.data}", condition="result.ok && result.rate >= 0.95")
        good = await provider.run(given, NOW)
        bad = await provider.run(order(server.url, jsonPath="{$.data.rate}", condition="result > 0.99"), NOW)
    assert (good.phase, good.value, good.started_at) == (SUCCESSFUL, '{"rate":0.97,"ok":true}', NOW)
    assert (bad.phase, bad.value) == (FAILED, "0.97")


async def test_methods_bodies_and_headers_arrive(provider: Web) -> None:
    headers = [{"key": "X-Token", "value": SECRET}, {"key": "Content-Type", "value": "text/plain"}]
    async with serving(lambda seen: Reply("1")) as server:
        await provider.read(order(server.url, headers=headers), NOW)
        await provider.read(order(server.url, method="POST", body="hello", headers=headers), NOW)
        await provider.read(order(server.url, method="PUT", jsonBody={"a": [1, {"b": None}]}, headers=headers), NOW)
    get, post, put = server.seen
    assert (get.method, get.body, get.headers["X-Token"]) == ("GET", b"", SECRET)
    assert (post.method, post.body, post.headers["Content-Type"]) == ("POST", b"hello", "text/plain")
    assert (put.method, put.json, put.headers["Content-Type"]) == ("PUT", {"a": [1, {"b": None}]}, "application/json")


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"url": ""}, r"provider\.web\.url: Required value"),
        ({"method": "DELETE"}, 'Unsupported value: "DELETE"'),
        (
            {"method": "POST", "body": "a", "jsonBody": {}},
            "use either Body or JSONBody; both cannot exists for WebMetric payload",
        ),
        ({"body": SECRET}, "Body/JSONBody can only be used with POST or PUT WebMetric Method types"),
        ({"jsonBody": {}}, "Body/JSONBody can only be used with POST or PUT WebMetric Method types"),
        ({"url": f"ftp://me:{SECRET}@h/"}, "no http or https URL"),
        (
            {"authentication": {"oauth2": {"tokenUrl": "http://a"}}},
            "missing mandatory parameter in metric for OAuth2 setup",
        ),
    ],
)
async def test_what_can_not_be_asked_says_why(provider: Web, more: dict[str, Any], told: str) -> None:
    with pytest.raises(MetricError, match=told) as caught:
        await provider.run(order(**{"url": "http://nowhere.invalid", **more}), NOW)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (Reply(SECRET, 500), "^received non 2xx response code: 500$"),
        (Reply(status=304), "^received non 2xx response code: 304$"),
        (Reply.of({"b": SECRET}), "^Could not find JSONPath in body: a is not found$"),
        (Reply.of({"a": []}), "^result of web metric produced no value$"),
        (Reply("1", cut=True), "its answer ends half-way"),
        (Reply(after=60), "within 1 seconds"),
    ],
)
async def test_answers_that_are_none_are_errors(provider: Web, reply: Reply, told: str) -> None:
    async with serving(lambda seen: reply) as server:
        with pytest.raises(MetricError, match=told) as caught:
            await provider.read(order(f"{server.url}?t={SECRET}", jsonPath="{.a[*]}", timeoutSeconds=1), NOW)
    assert SECRET not in str(caught.value)


async def test_a_large_answer_is_read_beside_the_loop(provider: Web) -> None:
    async with serving(lambda seen: Reply.of({"a": ["x" * 1000] * 1000, "b": 7})) as server:
        assert await provider.read(order(server.url, jsonPath="{.b}"), NOW) == Reading(7.0, "7")


async def test_tls_is_verified_and_oauth2_has_its_token_sent(provider: Web, certificate: Certificate) -> None:
    def answer(seen: Seen) -> Reply:
        return Reply.of({"access_token": "t"}) if seen.path == "/token" else Reply(seen.headers["Authorization"])

    async with serving(answer, certificate) as server:
        grant = {"tokenUrl": f"{server.url}/token", "clientId": "a", "clientSecret": SECRET, "scopes": ["s"]}
        with pytest.raises(MetricError, match="its certificate is not trusted"):
            await provider.read(order(server.url, authentication={"oauth2": grant}), NOW)
        given = order(server.url, authentication={"oauth2": grant}, insecure=True)
        assert await provider.read(given, NOW) == Reading("Bearer t", "Bearer t")
        await provider.read(given, NOW)
    assert [seen.path for seen in server.seen] == ["/token", "/", "/"]
