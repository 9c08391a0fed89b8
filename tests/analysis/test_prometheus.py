"""docs/behaviour.md §18, prometheus: against a real Prometheus, and against servers that misbehave."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gitops_rollouts.analysis.conditions import Vector
from gitops_rollouts.analysis.http import Answer, Http
from gitops_rollouts.analysis.oauth2 import Tokens
from gitops_rollouts.analysis.provider import Order
from gitops_rollouts.analysis.providers.prometheus import ADDRESS_VARIABLE, Prometheus, _reading
from gitops_rollouts.analysis.reading import Reading
from gitops_rollouts.api.analysis import FAILED, SUCCESSFUL, Metric
from gitops_rollouts.errors import MetricError
from http_server import Certificate, Reply, Seen, serving
from prometheus_server import PASSWORD, USER, PrometheusServer, prometheus

SECRET = "s3cret"
EMPTY = {"status": "success", "data": {"resultType": "vector", "result": []}}


def order(address: str, query: str = "vector(1)", *, condition: str = "", **more: Any) -> Order:
    provider = {"prometheus": {"address": address, "query": query, **more}}
    metric = Metric.model_validate({"name": "m", "successCondition": condition, "provider": provider})
    return Order("ns", "run", "uid", metric)


@pytest.fixture
def provider(http: Http) -> Prometheus:
    return Prometheus(http, Tokens(http), {})


async def read(provider: Prometheus, given: Order) -> Reading:
    return await provider.read(given, datetime.now(UTC))


async def test_scalars_vectors_and_matrices_of_a_real_prometheus(
    provider: Prometheus, prometheus_server: PrometheusServer
) -> None:
    """What conditions see, what people read, and what the metric's result tells of the query."""
    prometheus_server.set('checks_total{app="a"}', 1)
    prometheus_server.set('checks_total{app="b"}', 2.5)
    prometheus_server.shows('checks_total{app="b"}', 2.5)
    url = prometheus_server.url
    assert await read(provider, order(url, "scalar(vector(1.5))")) == Reading(1.5, "1.5")
    assert await read(provider, order(url + "/", "1e300 * 1e300")) == Reading(float("inf"), "+Inf")
    found = await read(provider, order(url, "sort(checks_total)"))
    assert found == Reading(Vector([1.0, 2.5]), "[1,2.5]")
    nothing = await read(provider, order(url, "no_such_series"))
    assert nothing == Reading(Vector(), "[]")
    span = {"start": 'now() - duration("3s")', "end": "now()", "step": "1s"}
    several = await read(provider, order(url, "vector(4)", rangeQuery=span))
    assert several == Reading(Vector([4.0] * 4), "[4,4,4,4]")
    at_once = await read(provider, order(url, 'checks_total{app="b"}[1m]'))
    assert set(at_once.result) == {2.5}
    with pytest.raises(MetricError, match=r"^Prometheus metric type not supported$"):
        await read(provider, order(url, '"text"'))
    with pytest.raises(MetricError, match=r'^bad_data: invalid parameter "query": 1:12: parse error'):
        await read(provider, order(url, "sum(up) by by"))
    with pytest.raises(MetricError, match=r"^execution: "):
        await read(provider, order(url, "checks_total / on() checks_total"))
    named = order(url, "checks_total")
    assert await provider.metadata(named) == {"ResolvedPrometheusQuery": "checks_total"}

    now = datetime.now(UTC)
    good = await provider.run(order(url, 'checks_total{app="a"}', condition="result[0] < 2"), now)
    assert (good.phase, good.value, good.started_at) == (SUCCESSFUL, "[1]", now)
    bad = await provider.run(order(url, 'checks_total{app="b"}', condition="result[0] < 2"), now)
    assert (bad.phase, bad.value) == (FAILED, "[2.5]")


async def test_a_real_prometheus_behind_tls_and_a_password(
    provider: Prometheus, certificate: Certificate, tmp_path: Path
) -> None:
    with prometheus(tmp_path, certificate=(certificate.file, certificate.key)) as server:
        good = {"basicAuth": {"username": USER, "password": PASSWORD}}
        with pytest.raises(MetricError, match="its certificate is not trusted"):
            await read(provider, order(server.url, authentication=good))
        trusting = order(server.url, "scalar(vector(2))", authentication=good, insecure=True)
        assert await read(provider, trusting) == Reading(2.0, "2")
        for given in ({}, {"basicAuth": {"username": USER, "password": SECRET}}):
            with pytest.raises(
                MetricError, match=r"^client_error: client error: 401 from https://127\.0\.0\.1:\d+/"
            ) as told:
                await read(provider, order(server.url, authentication=given, insecure=True))
            assert SECRET not in str(told.value)
        header = [{"key": "Authorization", "value": server.headers["Authorization"]}]
        assert (await read(provider, order(server.url, headers=header, insecure=True))).value == "[1]"


async def test_the_address_may_come_from_the_environment_and_must_be_a_url(
    http: Http, prometheus_server: PrometheusServer
) -> None:
    from_environment = Prometheus(http, Tokens(http), {ADDRESS_VARIABLE: prometheus_server.url})
    assert (await read(from_environment, order(""))).value == "[1]"
    nowhere = Prometheus(http, Tokens(http), {})
    with pytest.raises(MetricError, match="prometheus address is not configured"):
        await read(nowhere, order(""))
    for address in ("prometheus:9090", "localhost", "file:///etc", "http://", f"http://[{SECRET}"):
        with pytest.raises(MetricError, match="prometheus address is not in url format") as told:
            await read(nowhere, order(address))
        assert SECRET not in str(told.value)


@pytest.mark.parametrize("status", [403, 405, 501])
async def test_get_is_used_where_post_is_refused(provider: Prometheus, status: int) -> None:
    def answer(seen: Seen) -> Reply:
        return Reply(status=status) if seen.method == "POST" else Reply.of(EMPTY)

    headers = [{"key": "X-Scope-OrgID", "value": "tenant"}]
    async with serving(answer) as server:
        given = order(f"{server.url}/prefix/?tenant=a", "up + 1", headers=headers)
        assert (await read(provider, given)).value == "[]"
    post, get = server.seen
    assert (post.path, post.query, post.form["query"]) == ("/prefix/api/v1/query", {"tenant": "a"}, "up + 1")
    assert (get.method, get.path, get.body) == ("GET", "/prefix/api/v1/query", b"")
    assert get.query == {"tenant": "a", **post.form}
    assert [one.headers["X-Scope-OrgID"] for one in server.seen] == ["tenant", "tenant"]


async def test_the_time_asked_for_is_the_time_told(provider: Prometheus) -> None:
    now = datetime(2026, 5, 1, 12, 0, 0, 250_000, tzinfo=UTC)
    span = {"start": 'now() - duration("1h")', "end": 'date("2026-05-01T11:30:00Z")', "step": "1m30s"}
    async with serving(lambda seen: Reply.of(EMPTY)) as server:
        await provider.read(order(server.url), now)
        await provider.read(order(server.url, rangeQuery=span), now)
    assert server.seen[0].form == {"query": "vector(1)", "time": f"{now.timestamp():.3f}"}
    assert server.seen[1].path == "/api/v1/query_range"
    assert server.seen[1].form == {
        "query": "vector(1)",
        "start": f"{(now - timedelta(hours=1)).timestamp():.3f}",
        "end": f"{datetime(2026, 5, 1, 11, 30, tzinfo=UTC).timestamp():.3f}",
        "step": "90",
    }


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"query": " "}, r"provider\.prometheus\.query: Required value"),
        ({"timeout": -1}, "prometheus timeout should not be negative"),
        ({"authentication": {"basicAuth": {"username": "a"}}}, "parameter in metric for basic auth setup: password"),
        ({"authentication": {"basicAuth": {"password": SECRET}}}, "parameter in metric for basic auth setup: username"),
        ({"authentication": {"oauth2": {"tokenUrl": "http://a", "clientId": SECRET}}}, "metric for OAuth2 setup"),
        ({"rangeQuery": {"end": "now()", "step": "1m"}}, r"rangeQuery\.start: Required value"),
        ({"rangeQuery": {"start": "now()", "end": "now()"}}, r"rangeQuery\.step: .* must be a duration"),
        ({"rangeQuery": {"start": "1 + 1", "end": "now()", "step": "1m"}}, r"parse rangeQuery\.start: expected a date"),
        ({"rangeQuery": {"start": "now()", "end": "now(", "step": "1m"}}, r"failed to parse rangeQuery\.end: "),
        ({"rangeQuery": {"start": "now()", "end": "result", "step": "1m"}}, r"failed to parse rangeQuery\.end: "),
    ],
)  # fmt: skip
async def test_what_can_not_be_asked_says_why(provider: Prometheus, more: dict[str, Any], told: str) -> None:
    wanted = order("http://nowhere.invalid", **{"query": "up", **more})
    with pytest.raises(MetricError, match=told) as caught:
        await provider.run(wanted, datetime.now(UTC))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (Reply("<html>", 200), "Prometheus answered something that is no JSON"),
        (Reply("<html>", 502), r"^server_error: server error: 502 from http://127\.0\.0\.1:\d+/api/v1/query$"),
        (Reply("", 404), "^client_error: client error: 404"),
        (Reply.of({"status": "error", "errorType": "timeout", "error": "too slow"}, 503), "^timeout: too slow$"),
        (Reply.of({"status": "error"}), "Prometheus answered with an error"),
        (Reply.of([1]), "metric type not supported"),
        (Reply.of({"status": "success", "data": {"resultType": "scalar", "result": [1, "x"]}}), "is no number"),
        (Reply.of({"data": {"resultType": "vector", "result": [{"histogram": [1, {}]}]}}), "histogram"),
        (Reply("{", cut=True), "its answer ends half-way"),
    ],
)  # fmt: skip
async def test_broken_answers_are_errors(provider: Prometheus, reply: Reply, told: str) -> None:
    async with serving(lambda seen: reply) as server:
        with pytest.raises(MetricError, match=told):
            await read(provider, order(f"{server.url}?token={SECRET}"))


async def test_a_slow_server_is_given_up_after_the_timeout(provider: Prometheus) -> None:
    async with serving(lambda seen: Reply(after=60)) as server:
        with pytest.raises(MetricError, match="within 1 seconds"):
            await read(provider, order(server.url, timeout=1))


async def test_warnings_are_kept_and_odd_samples_read(provider: Prometheus) -> None:
    series = [{"value": [1, "NaN"]}, {"value": [1, "+Inf"]}, {"value": [1, "-Inf"]}, {"value": [1, "1e-3"]}]
    body = {"status": "success", "warnings": ["w1", "w2"], "data": {"resultType": "vector", "result": series}}
    async with serving(lambda seen: Reply.of(body)) as server:
        found = await read(provider, order(server.url))
    assert found.value == "[NaN,+Inf,-Inf,0.001]"
    assert found.metadata == {"warnings": '"w1", "w2"'}


async def test_oauth2_asks_for_a_token_once_and_anew_when_it_is_refused(provider: Prometheus) -> None:
    valid = "t1"

    def answer(seen: Seen) -> Reply:
        if seen.path == "/token":
            return Reply.of({"access_token": valid, "expires_in": 3600})
        return Reply.of(EMPTY) if seen.headers.get("Authorization") == f"Bearer {valid}" else Reply(status=401)

    async with serving(answer) as server:
        grant = {"tokenUrl": f"{server.url}/token", "clientId": "a", "clientSecret": SECRET}
        given = order(server.url, authentication={"oauth2": grant})
        await read(provider, given)
        await read(provider, given)
        assert [seen.path for seen in server.seen].count("/token") == 1
        valid = "t2"
        with pytest.raises(MetricError, match="client error: 401"):
            await read(provider, given)
        await read(provider, given)
    assert [seen.path for seen in server.seen].count("/token") == 2


async def test_requests_of_aws_prometheus_are_signed_and_others_never(
    provider: Prometheus, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The signature is the one that botocore's own signer makes of what arrived."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    async with serving(lambda seen: Reply.of(EMPTY)) as server:
        address = f"{server.url}/aps-workspaces/ws-1"
        await read(provider, order(address, authentication={"sigv4": {"region": "eu-west-1"}}))
        await read(provider, order(server.url, authentication={"sigv4": {"region": "eu-west-1"}}))
        signed, plain = server.seen
        assert "Authorization" not in plain.headers
        scope = f"/{signed.headers['X-Amz-Date'][:8]}/eu-west-1/aps/aws4_request"
        assert signed.headers["Authorization"].startswith(f"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE{scope}, ")
        assert signed.headers["Authorization"].endswith(_signature(signed, f"{server.url}{signed.path}"))
        with pytest.raises(MetricError, match="sigv4 needs a region"):
            await read(provider, order(address))
        with pytest.raises(MetricError, match=r"can't be signed: The config profile \(nobody\) could not be found"):
            await read(provider, order(address, authentication={"sigv4": {"region": "eu-west-1", "profile": "nobody"}}))


def _signature(seen: Seen, url: str) -> str:
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    signer = SigV4Auth(Credentials("AKIDEXAMPLE", SECRET), "aps", "eu-west-1")
    named = seen.headers["Authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    kept = {name: seen.headers[name] for name in named if name != "host"}
    request = AWSRequest(seen.method, url, kept, seen.body)
    request.context["timestamp"] = seen.headers["X-Amz-Date"]
    canonical = signer.canonical_request(request)
    return str(signer.signature(signer.string_to_sign(request, canonical), request))


_ASSUMED = """<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
<AccessKeyId>ASIAROLE</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>session</SessionToken>
<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"""


async def test_a_role_is_assumed_once_with_the_published_shapes_of_sts(
    provider: Prometheus, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    sts = Reply(_ASSUMED, headers={"Content-Type": "text/xml"})
    async with serving(lambda seen: sts if seen.path == "/" else Reply.of(EMPTY)) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", server.url)
        arn = "arn:aws:iam::123456789012:role/metrics"
        given = order(
            f"{server.url}/aps-workspaces/ws-1", authentication={"sigv4": {"region": "eu-west-1", "roleArn": arn}}
        )
        await read(provider, given)
        await read(provider, given)
        asked, first, second = server.seen
        assert (asked.form["Action"], asked.form["RoleArn"]) == ("AssumeRole", arn)
        for signed in (first, second):
            assert "Credential=ASIAROLE/" in signed.headers["Authorization"]
            assert signed.headers["X-Amz-Security-Token"] == "session"
        denied = "<ErrorResponse><Error><Code>AccessDenied</Code><Message>m</Message></Error></ErrorResponse>"
        sts.body, sts.status = denied, 403
        other = order(
            f"{server.url}/aps-workspaces/ws-1", authentication={"sigv4": {"region": "eu-west-1", "roleArn": arn + "2"}}
        )
        with pytest.raises(MetricError, match="can't be signed: AWS answered AccessDenied"):
            await read(provider, other)


async def test_without_boto3_a_request_of_aws_prometheus_says_what_to_install(
    provider: Prometheus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "botocore.auth", None)
    with pytest.raises(MetricError, match=r"install gitops-rollouts\[aws\]"):
        await read(provider, order("http://aps-workspaces.invalid/"))


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=4) | st.just("1.5"),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["value", "values"]), inner, max_size=2)
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["scalar", "vector", "matrix", "string", None]), _JSON, _JSON, st.integers(100, 599))
def test_whatever_is_answered_comes_to_a_reading_or_an_error(
    kind: Any, result: Any, warnings: Any, status: int
) -> None:
    body = {"status": "success", "warnings": warnings, "data": {"resultType": kind, "result": result}}
    try:
        found = _reading(Answer(status, {}, json.dumps(body).encode(), "http://h/"))
    except MetricError:
        return
    assert isinstance(found.result, float | Vector)
    assert isinstance(found.value, str)
