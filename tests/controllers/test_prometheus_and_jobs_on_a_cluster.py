"""Prometheus, Jobs and refused addresses in AnalysisRuns of a running controller (docs/behaviour.md §18)."""

from __future__ import annotations

from typing import Any

import pytest

from controllers.metric_site import ShownRun
from controllers.running import running
from gitops_rollouts.errors import NotFound
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import ANALYSIS_RUNS, JOBS
from gitops_rollouts.leader import Settings
from prometheus_server import PrometheusServer
from waiting import eventually

pytestmark = pytest.mark.cluster


def job(result: str, image: str = "tests:v1") -> dict[str, Any]:
    """A metric whose Job ends so (gitops_rollouts/local/stages/pods.yaml)."""
    template = {
        "metadata": {"labels": {"gitops-rollouts.io/job-result": result}},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": image}]},
    }
    return {"name": "smoke", "provider": {"job": {"spec": {"backoffLimit": 0, "template": template}}}}


async def test_a_run_fails_when_a_real_prometheus_says_so(
    client: Client, settings: Settings, namespace: str, prometheus_server: PrometheusServer
) -> None:
    """§18.2: Successful measurements while errors are few, a Failed one once they are many, and the query told."""
    series = f'errors{{ns="{namespace}"}}'
    prometheus_server.set(series, 0.01)
    prometheus_server.shows(series, 0.01)
    provider = {"prometheus": {"address": prometheus_server.url, "query": 'errors{ns="{{args.ns}}"}'}}
    metric = {"name": "errors", "interval": "1s", "successCondition": "result[0] < 0.05", "provider": provider}
    runs = ShownRun(client, namespace)
    async with running(settings):
        await runs.create("errors", metric, args=[{"name": "ns", "value": namespace}])
        good = await runs.measured("errors", 2)
        assert {measurement["value"] for measurement in good["measurements"]} == {"[0.01]"}
        assert good["metadata"] == {"ResolvedPrometheusQuery": series}
        prometheus_server.set(series, 0.5)
        ended = await runs.ended("errors", "Failed")
        prometheus_server.remove(series)
    (result,) = ended["metricResults"]
    assert (result["failed"], result["measurements"][-1]["value"]) == (1, "[0.5]")
    assert ended["message"] == 'Metric "errors" assessed Failed due to failed (1) > failureLimit (0)'


async def test_jobs_decide_their_runs_and_go_with_them(client: Client, settings: Settings, namespace: str) -> None:
    """§18.4: success, failure, an image that can't be had, the end of a run in between, the end of its Job."""
    runs = ShownRun(client, namespace)
    metadata = {"name": "m", "provider": {"web": {"url": "http://169.254.169.254/latest/meta-data"}}}
    async with running(settings):
        await runs.create("good", job("succeeded"))
        await runs.create("bad", job("failed"))
        await runs.create("stuck", job("succeeded", "tests:missing"))
        await runs.create("endless", job("runs-forever"))
        await runs.create("lost", {**job("runs-forever"), "consecutiveErrorLimit": 0})
        await runs.create("curious", {**metadata, "consecutiveErrorLimit": 0})

        good = await runs.ended("good", "Successful")
        (measurement,) = good["metricResults"][0]["measurements"]
        uid = (await client.get(ANALYSIS_RUNS, namespace, "good"))["metadata"]["uid"]
        assert measurement["metadata"] == {"job-name": f"{uid}.smoke.1", "job-namespace": namespace}
        bad = await runs.ended("bad", "Failed")
        assert '"Error Message: BackoffLimitExceeded: ' in bad["message"]
        stuck = await runs.ended("stuck", "Inconclusive")
        assert "container c has terminal error (ErrImagePull)" in stuck["message"]
        curious = await runs.ended("curious", "Error")
        assert "169.254.169.254 is a link-local or cloud metadata address: not asked" in curious["message"]
        assert "--allow-metadata-addresses" in curious["message"]

        await eventually(lambda: begun(runs, "lost"), 60, "the Job of lost")
        await client.delete(JOBS, namespace, await begun(runs, "lost"), propagation="Foreground")
        assert "not found" in (await runs.ended("lost", "Error"))["message"]

        name = await eventually(lambda: begun(runs, "endless"), 60, "the Job of endless")
        await runs.end("endless")
        ended = await runs.ended("endless", "Inconclusive")
        assert ended["metricResults"][0]["measurements"][0]["message"] == "Metric Terminated"
        await eventually(lambda: gone(client, namespace, name), 60, "the Job of endless to go")

        await client.delete(ANALYSIS_RUNS, namespace, "good")
        await eventually(lambda: gone(client, namespace, f"{uid}.smoke.1"), 60, "the Job of good to go with its run")


async def begun(runs: ShownRun, name: str) -> str:
    """The name of the Job that the run waits for, "" before it is there."""
    results = (await runs.status(name)).get("metricResults") or []
    measurements = results[0].get("measurements") if results else None
    return str(measurements[0]["metadata"]["job-name"]) if measurements else ""


async def gone(client: Client, namespace: str, name: str) -> bool:
    """Whether there is no such Job."""
    try:
        await client.get(JOBS, namespace, name)
    except NotFound:
        return True
    return False
