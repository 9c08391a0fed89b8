"""AnalysisRuns made by hand, on the real control plane with a real HTTP server (docs/behaviour.md §17.3, §17.6)."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from controllers.child import child
from controllers.metric_site import Raw, ShownRun, metric_site
from controllers.running import running
from gitops_rollouts.api.names import INSTANCE_ID
from gitops_rollouts.errors import NotFound
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import JOBS, SECRETS
from gitops_rollouts.leader import Settings
from waiting import eventually

pytestmark = pytest.mark.cluster
TOKEN = "s3cr3t/t0ken+x"


@pytest.fixture
def runs(client: Client, namespace: str) -> ShownRun:
    return ShownRun(client, namespace)


async def _secret(client: Client, namespace: str) -> None:
    data = {"token": base64.b64encode(TOKEN.encode()).decode()}
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "creds"}, "data": data}
    await client.create(SECRETS, namespace, body)


async def test_runs_end_as_their_metrics_say(client: Client, settings: Settings, runs: ShownRun) -> None:
    """§17.3: each way in which a run ends, and that one that is over costs nothing."""
    async with metric_site() as site, running(settings) as manager:
        one = {"successCondition": "result == 1"}
        await runs.create("good", site.metric("good", interval="1s", count=3, **one))
        await runs.create("bad", site.metric("bad", "value/0", **one))
        unsure = {"successCondition": "result > 5", "failureCondition": "result < 0"}
        await runs.create("unsure", site.metric("unsure", **unsure))
        await runs.create("broken", site.metric("broken", "status/503", consecutiveErrorLimit=0))
        await runs.create("invalid", site.metric("invalid", count=2))
        pair = site.metric("pair", "value/0", name="a", **one), site.metric("pair", name="b", interval="1h")
        await runs.create("pair", *pair, dryRun=[{"metricName": "b"}])
        await runs.create("endless", site.metric("endless", interval="1h"))
        await runs.create("short", site.metric("short"), ttlStrategy={"secondsAfterSuccess": 1})
        await runs.create("foreign", site.metric("foreign"), labels={INSTANCE_ID: "other"})

        good = await runs.ended("good", "Successful")
        (result,) = good["metricResults"]
        assert (result["count"], result["successful"], result["phase"]) == (3, 3, "Successful")
        assert [m["value"] for m in result["measurements"]] == ["1", "1", "1"]
        assert all(m["startedAt"] and m["finishedAt"] for m in result["measurements"])
        assert (good["runSummary"], good["dryRunSummary"]) == ({"count": 1, "successful": 1}, {})
        assert "message" not in good
        bad = await runs.ended("bad", "Failed")
        assert bad["message"] == 'Metric "m" assessed Failed due to failed (1) > failureLimit (0)'
        assert (await runs.ended("unsure", "Inconclusive"))["message"].endswith(
            "inconclusive (1) > inconclusiveLimit (0)"
        )
        broken = (await runs.ended("broken", "Error"))["message"]
        assert broken.endswith('(1) > consecutiveErrorLimit (0): "Error Message: received non 2xx response code: 503"')
        invalid = await runs.ended("invalid", "Error")
        assert invalid["message"] == "Analysis spec invalid: metrics[0]: interval must be specified when count > 1"
        assert "completedAt" not in invalid
        assert "startedAt" not in invalid
        pair_status = await runs.ended("pair", "Failed")
        assert [r["phase"] for r in pair_status["metricResults"]] == ["Failed", "Successful"]
        await runs.measured("endless", 1)
        await runs.end("endless")
        assert (await runs.ended("endless", "Successful"))["message"] == "Run Terminated"

        async def gone() -> bool:
            try:
                await runs.status("short")
            except NotFound:
                return True
            return False

        await eventually(gone, what="the run whose time to live is over to go")
        assert await runs.status("foreign") == {}
        assert site.asked == {"good": 3, "bad": 1, "unsure": 1, "broken": 1, "pair": 2, "endless": 1, "short": 1}

        async def told() -> bool:
            return (await runs.events("bad")) == ["W MetricFailed", "W AnalysisRunFailed"]

        await eventually(told, what="the events")
        assert manager.client is not None
        patches = manager.client.requests["patch", "analysisruns"]
        # the start and each measurement; of the pair and the endless one the end too
        assert patches <= 7 + sum(site.asked.values()) + 3, manager.client.requests
        await runs.create("last", site.metric("last"))
        await runs.ended("last", "Successful")
        assert manager.client.requests["patch", "analysisruns"] == patches + 2, "what is over is left alone"


async def test_secrets_are_read_for_the_run_and_shown_to_nobody(
    client: Client, settings: Settings, runs: ShownRun
) -> None:
    """§17.1, §17.3: an argument from a Secret reaches the server, and no status."""
    await _secret(client, runs.namespace)
    async with metric_site() as site, running(settings):
        for name, key in (("known", "token"), ("lost", "other")):
            metric = site.metric(name, "token", successCondition='result == "none"')
            metric["provider"]["web"]["headers"] = [{"key": "X-Token", "value": "{{args.token}}"}]
            source = {"secretKeyRef": {"name": "creds", "key": key}}
            await runs.create(name, metric, args=[{"name": "token", "valueFrom": source}])
        known = await runs.ended("known", "Failed")
        assert known["metricResults"][0]["measurements"][0]["value"] in {"*****", '"*****"'}
        assert TOKEN not in str(known)
        lost = await runs.ended("lost", "Error")
        wanted = "Unable to resolve metric arguments: key 'other' does not exist in secret 'creds'"
        assert lost["message"] == wanted
        assert site.asked == {"known": 1}


def _job(name: str, result: str, **metric: Any) -> Raw:
    """A metric whose pods end as they are told to."""
    labels = {"gitops-rollouts.io/job-result": result}
    pods = {
        "metadata": {"labels": labels},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "t"}]},
    }
    job = {"spec": {"backoffLimit": 0, "template": pods}}
    return {"name": name, "provider": {"job": job}, **metric}


async def test_jobs_are_followed_to_their_end_and_ended_with_their_run(
    client: Client, settings: Settings, runs: ShownRun
) -> None:
    """§17.3: a measurement in flight, one whose run fails meanwhile, and the Jobs of measurements that aren't kept."""
    async with metric_site() as site, running(settings):
        keep = [{"metricName": "checks", "limit": 1}]
        checks = _job("{{args.what}}", "succeeded", count=2, interval="1s")
        await runs.create("good", checks, measurementRetention=keep, args=[{"name": "what", "value": "checks"}])
        await runs.create("bad", _job("checks", "failed"))
        late = site.metric("cut", "value/0", name="late", successCondition="result == 1", initialDelay="3s")
        await runs.create("cut", _job("forever", "runs-forever"), late)

        (good,) = (await runs.ended("good", "Successful"))["metricResults"]
        assert (good["name"], good["count"], len(good["measurements"])) == ("checks", 2, 1)
        (bad,) = (await runs.ended("bad", "Failed"))["metricResults"]
        assert bad["measurements"][0]["metadata"]["job-name"]
        cut = await runs.ended("cut", "Failed")
        forever = cut["metricResults"][0]
        assert (forever["phase"], forever["measurements"][0]["message"]) == ("Inconclusive", "Metric Terminated")
        assert cut["message"].startswith('Metric "late" assessed Failed')

        async def collected() -> bool:
            left = {job["metadata"]["name"] for job in await client.list(JOBS, runs.namespace)}
            kept = {result["measurements"][0]["metadata"]["job-name"] for result in (good, bad)}
            return left == kept

        await eventually(collected, deadline=60, what="the Jobs that nobody keeps to go")


async def test_a_leader_killed_in_the_middle_loses_no_measurement(
    client: Client, kubeconfig: Path, runs: ShownRun
) -> None:
    """§17.3: who takes over goes on from the status; at most the measurement under way is taken again."""
    flags = ("--leader-election-lease-duration", "4s", "--leader-election-renew-deadline", "3s")
    flags = (*flags, "--leader-election-retry-period", "500ms")
    async with metric_site() as site, child(kubeconfig, runs.namespace, *flags) as first:
        await runs.create("run", site.metric("run", interval="1s", count=8, successCondition="result == 1"))
        await runs.measured("run", 3)
        first.process.kill()
        await first.ended()
        async with child(kubeconfig, runs.namespace, *flags) as second:
            status = await runs.ended("run", "Successful")
            (result,) = status["metricResults"]
            assert (result["count"], result["successful"], len(result["measurements"])) == (8, 8, 8)
            starts = [measurement["startedAt"] for measurement in result["measurements"]]
            assert starts == sorted(starts)
            assert site.asked["run"] in {8, 9}
            labels = f'name="run",namespace="{runs.namespace}",phase="Successful"'
            assert await second.metric(f"analysis_run_info{{{labels}}}") == 1.0
