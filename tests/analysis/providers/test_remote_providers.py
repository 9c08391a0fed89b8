"""docs/behaviour.md §18: whatever a server answers, and however slowly, the worst is an error of the measurement."""

from __future__ import annotations

from typing import Any

import pytest

from analysis.orders import NOW, order, secrets
from gitops_rollouts.analysis.http import LARGEST_ANSWER, Http
from gitops_rollouts.analysis.providers import datadog, graphite, influxdb, kayenta, new_relic, skywalking, wavefront
from gitops_rollouts.errors import MetricError
from http_server import Reply, serving

TOKEN = "t0p-s3cr3t"
KINDS = ("datadog", "datadog v2", "graphite", "influxdb", "kayenta", "newRelic", "skywalking", "wavefront")
WITH_SECRETS = ("datadog", "datadog v2", "influxdb", "newRelic", "wavefront")


async def measure(kind: str, http: Http, url: str) -> Any:
    """One measurement of this kind by the server at ``url``."""
    known = secrets(
        datadog={"api-key": TOKEN, "app-key": TOKEN, "address": url},
        newrelic={"personal-api-key": TOKEN, "account-id": "1", "base-url-nerdgraph": url},
        influxdb={"address": url, "authToken": TOKEN, "org": "o"},
        wavefront_api_tokens={url: TOKEN},
    )
    specs: dict[str, tuple[Any, dict[str, Any]]] = {
        "datadog": (datadog.Datadog(http, known, {}), {"query": "q", "requestTimeout": "300ms"}),
        "datadog v2": (
            datadog.Datadog(http, known, {}), {"query": "q", "apiVersion": "v2", "requestTimeout": "300ms"},
        ),
        "graphite": (graphite.Graphite(http), {"address": url, "query": "target=x"}),
        "influxdb": (influxdb.Influxdb(http, known), {"query": "q"}),
        "kayenta": (kayenta.Kayenta(http), {"address": url, "lookback": True, "canaryConfigName": "c"}),
        "newRelic": (new_relic.NewRelic(http, known), {"query": "q", "timeout": 0}),
        "skywalking": (skywalking.SkyWalking(http), {"address": url, "query": "q", "interval": "5m"}),
        "wavefront": (wavefront.Wavefront(http, known), {"address": url, "query": "q"}),
    }  # fmt: skip
    provider, spec = specs[kind]
    # with conditions that hold for nothing at all: what is read must be an answer
    return await provider.run(order(kind.split(maxsplit=1)[0], spec, successCondition="result == 'never'"), NOW)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No provider waits as long as it would."""
    for module in (graphite, influxdb, kayenta, skywalking, wavefront):
        monkeypatch.setattr(module, "_TIMEOUT_SECONDS", 0.3)
    monkeypatch.setattr(new_relic, "_MARGIN_SECONDS", 0.3)


ANSWERS = {
    "unauthorized": Reply(f"token {TOKEN} refused", 401),
    "forbidden": Reply("", 403),
    "not found": Reply("<html>", 404),
    "too many": Reply.of({"retry": True}, 429),
    "broken": Reply("oops", 500),
    "unavailable": Reply(b"\xff\xfe\x00", 503),
    "no body": Reply(""),
    "no json": Reply("<html>"),
    "a list": Reply("[]"),
    "a number": Reply("7"),
    "null": Reply("null"),
    "no utf-8": Reply(b'{"data": "\xff"}'),
    "deep": Reply('{"data":' * 5000 + "1" + "}" * 5000),
    "deep data": Reply('{"data":{"x":' + "[" * 900 + "]" * 900 + "}}"),
    "a huge number": Reply('{"series": ' + "9" * 6000 + "}"),
    "cut": Reply('{"data": ', cut=True),
    "slow": Reply("{}", after=1.0),
    "huge": Reply(b"[" + b"1," * (LARGEST_ANSWER // 2) + b"1]"),
    "a redirect to a cloud's metadata": Reply("", 302, {"Location": "http://169.254.169.254/latest/meta-data"}),
    "a redirect to itself": Reply("", 307, {"Location": "/"}),
}
HANDLED: dict[tuple[str, str], str] = {
    # no data is nil, which the condition may handle: this one compares it
    **{("datadog", how): "Failed" for how in ("a list", "a number", "null", "deep data")},
    ("datadog v2", "deep data"): "Failed",
}


@pytest.mark.parametrize("how", ANSWERS)
@pytest.mark.parametrize("kind", KINDS)
async def test_any_answer_ends_in_a_measurement_or_an_error_that_holds_no_secret(
    http: Http, kind: str, how: str
) -> None:
    phase, message = "Error", ""
    async with serving(lambda seen: ANSWERS[how]) as server:
        try:
            taken = await measure(kind, http, server.url)
            phase, message = taken.phase, taken.value
        except MetricError as error:
            message = str(error)
    assert phase == HANDLED.get((kind, how), "Error")
    assert 0 < len(message) < 1200
    assert TOKEN not in message or kind not in WITH_SECRETS


@pytest.mark.parametrize("kind", KINDS)
async def test_a_server_that_is_gone_is_named_without_the_query(http: Http, kind: str) -> None:
    async with serving(lambda seen: Reply("")) as server:
        pass
    with pytest.raises(MetricError, match=f"no answer from {server.url}") as raised:
        await measure(kind, http, server.url)
    assert TOKEN not in str(raised.value)
    assert "q=" not in str(raised.value)
