"""docs/behaviour.md §18: which provider a metric gets, and what a provider reads of a Secret."""

from __future__ import annotations

import base64
from typing import Any, cast

import pytest

from gitops_rollouts.analysis.registry import Context, Providers
from gitops_rollouts.analysis.secrets import Secrets
from gitops_rollouts.api.analysis import Metric
from gitops_rollouts.errors import MetricError
from gitops_rollouts.kube.client import Client
from gitops_rollouts.local.api_server import ApiServer


def metric(**provider: Any) -> Metric:
    return Metric.model_validate({"name": "m", "provider": provider})


def test_a_metric_needs_exactly_one_known_provider_and_gets_the_same_one_again() -> None:
    made: list[Any] = []
    providers = Providers(cast("Context", None), {"web": lambda context: made.append(context) or cast("Any", object())})
    assert providers.of(metric(web={})) is providers.of(metric(web={"url": "x"}))
    assert len(made) == 1
    for given, told in (
        ({}, "no provider specified"),
        ({"web": {}, "job": {}}, "multiple providers specified"),
        ({"kayenta": {}}, "the provider kayenta is not part of this version"),
    ):
        with pytest.raises(MetricError, match=told):
            providers.of(metric(**given))


async def test_a_secret_is_read_once_for_a_few_seconds(control_plane: Any, namespace: str) -> None:
    api: ApiServer = control_plane.api_server()
    path = f"/api/v1/namespaces/{namespace}/secrets"
    data = {"api-key": base64.b64encode(b"k1").decode(), "raw": base64.b64encode(b"\xff").decode()}
    api.request("POST", path, {"metadata": {"name": "datadog"}, "data": data})
    now = 100.0
    async with await Client.connect(str(control_plane.kubeconfig)) as client:
        secrets = Secrets(client, namespace, clock=lambda: now)
        assert await secrets.read("datadog") == {"api-key": "k1"}
        changed = {"data": {"api-key": base64.b64encode(b"k2").decode()}}
        api.request("PATCH", f"{path}/datadog", changed, content_type="application/merge-patch+json")
        assert await secrets.read("datadog", namespace) == {"api-key": "k1"}
        now += 6
        assert await secrets.read("datadog") == {"api-key": "k2"}
        with pytest.raises(MetricError, match=f"there is no Secret 'x' in the namespace {namespace}"):
            await secrets.read("x")
        with pytest.raises(MetricError, match="can't be the name of a Secret"):
            await secrets.read("../x")
