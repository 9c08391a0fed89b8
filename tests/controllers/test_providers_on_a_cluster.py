"""Providers in AnalysisRuns on the real control plane: Secrets, a plugin in its process, boto3 (docs/behaviour.md §18).

The servers are fakes that answer in the published shapes which `tests/analysis/providers` asserts one by one.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from controllers.metric_site import ShownRun
from controllers.running import running
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import SECRETS
from gitops_rollouts.leader import Settings
from http_server import HttpServer, Reply, Seen, serving
from plugin_site import importing_from, install_example
from waiting import eventually

pytestmark = pytest.mark.cluster
TOKEN = "s3cr3t-t0ken"


async def _secret(client: Client, namespace: str, name: str, data: Mapping[str, str]) -> None:
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": encoded}
    await client.create(SECRETS, namespace, body)


class Servers:
    """All of them at one address."""

    def __init__(self) -> None:
        self.tests: dict[str, Any] = {}

    def answer(self, seen: Seen) -> Reply:
        """By path."""
        match seen.path.split("/")[1:]:
            case ["dd", "api", "v1", "query"]:
                return _datadog(seen.headers["DD-API-KEY"])
            case ["nr"]:
                return Reply.of({"data": {"actor": {"account": {"nrql": {"results": [{"rate": 0.99}]}}}}})
            case ["render"]:
                return Reply.of([{"target": "x", "datapoints": [[3, 1], [4, 2]]}])
            case ["load", name]:
                return self._load_test(seen, name)
            case [""]:
                return Reply.of({"MetricDataResults": [{"Id": "e", "Label": "e", "Timestamps": [1], "Values": [7.5]}]})
        return Reply("", 404)

    def _load_test(self, seen: Seen, name: str) -> Reply:
        if seen.method == "DELETE":
            self.tests[name] = "ended"
            return Reply("null")
        self.tests.setdefault(name, json.loads(seen.body or b"{}").get("script"))
        return Reply.of({"over": self.tests[name] == "quick", "p95": 120})


def _datadog(key: str) -> Reply:
    if key != TOKEN:
        return Reply(f"key {key} is unknown", 403)
    return Reply.of({"status": "ok", "series": [{"pointlist": [[1, 0.5]]}]})


def _metric(kind: str, provider: Any, condition: str = "") -> dict[str, Any]:
    return {"name": "m", "successCondition": condition, "provider": {kind: provider}}


def _load(server: HttpServer, script: str) -> dict[str, Any]:
    config = {"url": f"{server.url}/load", "script": script, "below": 250}
    return _metric("plugin", {"example/load-test": config})


async def test_each_provider_gets_its_secret_and_decides(
    client: Client, settings: Settings, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, servers = ShownRun(client, namespace), Servers()
    install_example(tmp_path / "site")
    own = settings.namespace or namespace
    async with serving(servers.answer) as server:
        for name, value in {
            "AWS_ENDPOINT_URL": server.url, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": TOKEN,
            "AWS_DEFAULT_REGION": "eu-west-1", "AWS_EC2_METADATA_DISABLED": "true",
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        keys = {"api-key": TOKEN, "app-key": "app", "address": f"{server.url}/dd"}
        await _secret(client, own, "datadog", {**keys, "api-key": "wr0ng-key"})
        await _secret(client, namespace, "theirs", keys)
        account = {"personal-api-key": TOKEN, "account-id": "7", "base-url-nerdgraph": f"{server.url}/nr"}
        await _secret(client, own, "newrelic", account)
        with importing_from(tmp_path / "site"):
            async with running(settings):
                theirs = {"query": "q", "secretRef": {"name": "theirs", "namespaced": True}}
                await runs.create("datadog", _metric("datadog", theirs, "result == 0.5"))
                await runs.create("refused", {**_metric("datadog", {"query": "q"}), "consecutiveErrorLimit": 0})
                await runs.create("relic", _metric("newRelic", {"query": "SELECT 1"}, "result.rate < 0.9"))
                graphite = {"address": server.url, "query": "target=x"}
                await runs.create("graphite", _metric("graphite", graphite, "len(result) == 2 && result[1] == 4"))
                queries = {"metricDataQueries": [{"id": "e", "expression": "x"}]}
                await runs.create("aws", _metric("cloudWatch", queries, "result[0].Values[0] == 7.5"))
                await runs.create("load", _load(server, "quick"))
                await runs.create("endless", _load(server, "slow"))
                await runs.create("unknown", {**_metric("plugin", {"no/such": {}}), "consecutiveErrorLimit": 0})

                assert _value(await runs.ended("datadog", "Successful")) == "0.5"
                refused = await runs.ended("refused", "Error")
                assert "received authentication error response code: 403 key ***** is unknown" in refused["message"]
                assert "wr0ng-key" not in str(refused)
                relic = await runs.ended("relic", "Failed")
                assert _value(relic) == '{"rate":0.99}'
                assert relic["metricResults"][0]["metadata"] == {"ResolvedNewRelicQuery": "SELECT 1"}
                assert _value(await runs.ended("graphite", "Successful")) == "[3,4]"
                assert _value(await runs.ended("aws", "Successful")) == "[[7.5]]"
                load = await runs.ended("load", "Successful")
                assert _value(load) == "120 ms"
                assert load["metricResults"][0]["metadata"] == {"script": "quick"}
                assert "plugin 'no/such' is not installed" in (await runs.ended("unknown", "Error"))["message"]
                # one that is under way when the run is ended is ended by the plugin

                async def under_way() -> bool:
                    results = (await runs.status("endless")).get("metricResults") or [{}]
                    return bool(results[0].get("measurements"))

                await eventually(under_way, deadline=60, what="the endless load test to begin")
                await runs.end("endless")
                ended = await runs.ended("endless", "Inconclusive")
                assert ended["metricResults"][0]["measurements"][0]["message"] == "the load test was ended"
                assert sorted(servers.tests.values()) == ["ended", "quick"]


def _value(status: Mapping[str, Any]) -> str:
    (measurement,) = status["metricResults"][0]["measurements"]
    return str(measurement["value"])
