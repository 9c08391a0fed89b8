"""Metrics of a real Prometheus decide about Rollouts on a real control plane (docs/behaviour.md §10, §11, §17.5)."""

from __future__ import annotations

from typing import Any

import pytest

from controllers.running import Raw, Shown, rollout, running
from controllers.test_blue_green_on_a_cluster import blue_green, selected, services
from gitops_rollouts.api.meta import parse_time
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import ANALYSIS_RUNS, ANALYSIS_TEMPLATES, ROLLOUTS
from gitops_rollouts.leader import Settings
from prometheus_server import PrometheusServer
from waiting import eventually

pytestmark = pytest.mark.cluster


class Measured:
    """Series of this test's own, the templates that look at them, and the runs that came of it."""

    def __init__(self, client: Client, namespace: str, server: PrometheusServer) -> None:
        self.client = client
        self.namespace = namespace
        self.server = server

    def _series(self, name: str) -> str:
        return f'{name}{{ns="{self.namespace}"}}'

    def is_now(self, name: str, value: float) -> None:
        """The series has this value from now on."""
        self.server.set(self._series(name), value)
        self.server.shows(self._series(name), value)

    async def template(self, name: str, **metric: Any) -> None:
        """One metric of this name: below 0.05 is good; what is more, the test says."""
        provider = {"prometheus": {"address": self.server.url, "query": f'{name}{{ns="{{{{args.ns}}}}"}}'}}
        whole = {"name": name, "successCondition": "result[0] < 0.05", "provider": provider, **metric}
        body = {
            "apiVersion": ANALYSIS_TEMPLATES.api_version,
            "kind": "AnalysisTemplate",
            "metadata": {"name": name},
            "spec": {"args": [{"name": "ns"}], "metrics": [whole]},
        }
        await self.client.create(ANALYSIS_TEMPLATES, self.namespace, body)

    def analysis(self, name: str) -> Raw:
        """How a Rollout refers to it."""
        source = {"fieldRef": {"fieldPath": "metadata.namespace"}}
        return {"templates": [{"templateName": name}], "args": [{"name": "ns", "valueFrom": source}]}

    async def runs(self) -> dict[str, Raw]:
        """By the part of their name behind the hash."""
        found = await self.client.list(ANALYSIS_RUNS, self.namespace)
        return {run["metadata"]["name"].split("-", 2)[2]: run for run in found}

    async def ended(self, name: str, phase: str) -> Raw:
        """Wait for the end of a run; the run."""

        async def over() -> Raw | None:
            run = (await self.runs()).get(name)
            return run if run is not None and (run.get("status") or {}).get("phase") == phase else None

        found = await eventually(over, what=f"run {name} {phase}")
        assert found is not None
        return found


@pytest.fixture
def measured(client: Client, namespace: str, prometheus_server: PrometheusServer) -> Measured:
    return Measured(client, namespace, prometheus_server)


async def test_a_canary_goes_as_its_metrics_go(
    client: Client, settings: Settings, web: Shown, measured: Measured
) -> None:
    """§17.5, §11.1, §11.7: on to the end while they are good, a stop when they tell nothing, back when they are bad."""
    await measured.template("errors", interval="1s")
    await measured.template("quality", interval="1s", count=2, failureCondition="result[0] > 0.3")
    steps = [{"setWeight": 25}, {"analysis": measured.analysis("quality")}, {"setWeight": 50}, {"pause": {}}]
    strategy = {"canary": {"steps": steps, "analysis": measured.analysis("errors")}}
    measured.is_now("errors", 0.01)
    measured.is_now("quality", 0.01)
    await client.create(ROLLOUTS, web.namespace, rollout(strategy=strategy))
    async with running(settings):
        await web.phase("Healthy")
        assert await measured.runs() == {}

        await web.set_image("app:v2")
        status = (await web.phase("Paused", step=3))["status"]
        step = await measured.ended("2-1", "Successful")
        assert step["metadata"]["labels"]["step-index"] == "1"
        assert step["metadata"]["ownerReferences"][0]["name"] == "web"
        assert step["spec"]["args"] == [{"name": "ns", "value": web.namespace}]
        beside = status["canary"]["currentBackgroundAnalysisRunStatus"]
        assert (beside["name"], beside["status"]) == (f"web-{status['currentPodHash']}-2", "Running")
        await web.patch_status(pauseConditions=None)
        await web.phase("Healthy", image="app:v2")
        ended = await measured.ended("2", "Successful")
        assert (ended["status"]["message"], ended["spec"]["terminate"]) == ("Run Terminated", True)

        measured.is_now("quality", 0.2)
        await web.set_image("app:v3")
        asks = (await web.phase("Paused", image="app:v3", step=1))["status"]
        assert asks["message"] == "InconclusiveAnalysisRun"
        measured.is_now("quality", 0.01)
        await web.patch_status(pauseConditions=None)
        await web.phase("Paused", image="app:v3", step=3)
        runs = await measured.runs()
        assert {name: run["status"]["phase"] for name, run in runs.items() if name.startswith("3-1")} == {
            "3-1": "Inconclusive",
            "3-1.1": "Successful",
        }

        measured.is_now("errors", 0.5)
        given_up = (await web.phase("Degraded", image="app:v3"))["status"]
        why = 'Metric "errors" assessed Failed due to failed (1) > failureLimit (0)'
        text = f"Rollout aborted update to revision 3: Background analysis phase error/failed: {why}"
        assert given_up["message"] == f"RolloutAborted: {text}"
        failed = (await measured.ended("3", "Failed"))["status"]
        assert (parse_time(given_up["abortedAt"]) - parse_time(failed["completedAt"])).total_seconds() <= 5
        await web.has_sizes({"app:v2": 4})
        assert set((await web.get())["status"]["canary"]) <= {"weights"}

        async def told() -> bool:
            return {"AnalysisRunInconclusive", "AnalysisRunFailed", "RolloutAborted"} <= set(await web.events())

        await eventually(told, what="the events of what the runs said")

        measured.is_now("errors", 0.01)
        await web.patch_status(abort=False)
        await web.phase("Paused", image="app:v3", step=3)
        assert {"3.1", "3-1.2"} <= set(await measured.runs())


async def test_blue_green_switches_and_stays_as_its_metrics_say(
    client: Client, settings: Settings, web: Shown, measured: Measured
) -> None:
    """§10.8: checked before the switch and after it; either sends it back, and what was asked for is gone then."""
    await services(client, web.namespace)
    await measured.template("before", interval="1s", count=2)
    await measured.template("after", interval="1s", count=2)
    checks = {key: measured.analysis(name) for key, name in CHECKS.items()}
    measured.is_now("before", 0.01)
    measured.is_now("after", 0.01)
    await client.create(ROLLOUTS, web.namespace, blue_green(**checks))
    async with running(settings):
        await web.phase("Healthy")
        await web.set_image("app:v2")
        done = (await web.phase("Healthy", image="app:v2"))["status"]
        good = done["stableRS"]
        shown = done["blueGreen"]
        assert [shown[f"{key}RunStatus"]["status"] for key in CHECKS] == ["Successful", "Successful"]
        assert sorted(await measured.runs()) == ["2-post", "2-pre"]

        measured.is_now("before", 0.5)
        await web.set_image("app:v3")
        stopped = (await web.phase("Degraded", image="app:v3"))["status"]
        assert "Blue/green pre-promotion analysis phase error/failed: Metric" in stopped["message"]
        assert (stopped["blueGreen"]["activeSelector"], await web.selector("active")) == (good, good)
        assert "3-post" not in await measured.runs()

        measured.is_now("before", 0.01)
        measured.is_now("after", 0.5)
        await web.set_image("app:v4")
        back = (await web.phase("Degraded", image="app:v4"))["status"]
        assert "Blue/green post-promotion analysis phase error/failed: Metric" in back["message"]
        await selected(web, good)
        assert back["stableRS"] == good
        assert (await measured.runs())["4-pre"]["status"]["phase"] == "Successful"


CHECKS = {"prePromotionAnalysis": "before", "postPromotionAnalysis": "after"}
