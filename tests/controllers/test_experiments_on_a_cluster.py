"""Experiments on the real control plane: good, bad, late, ended, and with a controller that dies (§19).

Where a test has to say when a run ends, the run's metric waits for an hour and the test judges in its place.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from controllers.child import child
from controllers.metric_site import metric_site
from controllers.running import Shown, rollout, running
from controllers.trial import Trial, template
from gitops_rollouts.errors import NotFound
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import ANALYSIS_RUNS, CONFIG_MAPS, EXPERIMENTS, ROLLOUTS, SERVICES
from gitops_rollouts.leader import Settings
from waiting import eventually

pytestmark = pytest.mark.cluster
HASH = "rollouts-pod-template-hash"


@pytest.fixture
def trial(client: Client, namespace: str) -> Trial:
    """The Experiment ``trial``, not created yet."""
    return Trial(client, namespace)


async def test_two_templates_and_their_analyses_pass(trial: Trial, settings: Settings) -> None:
    """§19: pods, Service, runs with arguments, the end by a required run, and what is left: nothing."""
    await trial.analysis_template("errors", "hash")
    hashed = [{"name": "hash", "value": "{{templates.two.podTemplateHash}}"}]
    analyses = [
        {"name": "errors", "templateName": "errors", "args": hashed, "requiredForCompletion": True},
        {"name": "slow", "templateName": "slow"},
    ]
    async with metric_site() as site, running(settings):
        await trial.analysis_template("slow", metric=site.metric("slow", interval="1s"))
        await trial.create(
            template("one", replicas=2, service={}),
            template("two", "app:v2"),
            analyses=analyses,
            scaleDownDelaySeconds=0,
        )
        await trial.phase("Running")
        await trial.has_pods(2, 1)
        one, two = await trial.replica_sets()
        service = (await trial.services())["trial-one"]
        assert service["spec"]["selector"] == one["metadata"]["labels"]
        assert [(port["name"], port["port"]) for port in service["spec"]["ports"]] == [("http", 8080)]
        run = await trial.run("errors")
        assert run["spec"]["args"] == [{"name": "hash", "value": two["metadata"]["labels"][HASH]}]
        assert run["metadata"]["ownerReferences"][0]["kind"] == "Experiment"
        await trial.judge("errors", "Successful")
        status = await trial.phase("Successful")
        assert status["message"] == "Required AnalysisRuns completed"
        await trial.terminated("slow")
        await trial.run("slow", phase="Successful")
        await trial.has_pods(0, 0)

        async def cleaned() -> bool:
            return await trial.services() == {}

        await eventually(cleaned, deadline=60, what="the Service goes")
        await trial.told(
            "NewReplicaSetCreated", "ScalingReplicaSet", "TemplateRunning", "AnalysisRunSuccessful",
            "AnalysisRunTerminating", "ExperimentRunning", "ExperimentSuccessful",
        )  # fmt: skip


async def test_a_bad_verdict_a_late_pod_and_what_cannot_be_created(
    client: Client, namespace: str, settings: Settings
) -> None:
    """§19: Failed by a run, Failed by the deadline, Error by the API server, Error by a missing template."""
    judged, late, refused, lost = (Trial(client, namespace, name) for name in ("judged", "late", "refused", "lost"))
    errors = [{"name": "errors", "templateName": "errors"}]
    async with metric_site() as site, running(settings):
        bad = site.metric("errors", "value/9", successCondition="result < 5", interval="1h")
        await judged.analysis_template("errors", metric=bad)
        await judged.create(template("a"), analyses=errors, duration="1h", scaleDownDelaySeconds=0)
        await late.create(template("b", "app:broken"), progressDeadlineSeconds=2, scaleDownDelaySeconds=0)
        wrong = template("c")
        wrong["selector"] = {"matchLabels": {"app": "another"}}
        await refused.create(wrong, template("d"), scaleDownDelaySeconds=0)
        await lost.create(template("e"), analyses=[{"name": "x", "templateName": "nowhere"}], scaleDownDelaySeconds=0)
        text = 'Metric "m" assessed Failed due to failed (1) > failureLimit (0)'
        assert (await judged.phase("Failed"))["message"] == text
        await judged.has_pods(0)
        message = "Template 'b' exceeded its progressDeadlineSeconds (2)"
        assert (await late.phase("Failed"))["message"] == message
        await late.has_pods(0)
        status = await refused.phase("Error")
        assert status["message"].startswith("Failed to create ReplicaSet refused-c for template 'c': ")
        await refused.has_pods(0)
        await refused.told("ReplicaSetCreateError", "ExperimentError")
        text = "AnalysisTemplate verification failed for analysis 'x': AnalysisTemplate 'nowhere' not found"
        assert (await lost.phase("Error"))["message"] == text


async def test_it_goes_on_where_a_killed_controller_left_it(trial: Trial, kubeconfig: Path) -> None:
    """§19: killed between stages; ended by `terminate`; each thing is there once."""
    await trial.analysis_template("errors")
    errors = [{"name": "errors", "templateName": "errors"}]
    flags = ("--no-leader-elect",)
    async with child(kubeconfig, trial.namespace, *flags) as first:
        await trial.create(template("one", replicas=2, service={}), analyses=errors, scaleDownDelaySeconds=1)
        await trial.has_replica_sets(1)
        first.process.kill()
        await first.ended()
    async with child(kubeconfig, trial.namespace, *flags) as second:
        await trial.run("errors")
        second.process.kill()
        await second.ended()
    patch = {"spec": {"terminate": True}}
    await trial.client.patch(EXPERIMENTS, trial.namespace, trial.name, patch, field_manager="tests")
    async with child(kubeconfig, trial.namespace, *flags) as third:
        await trial.phase("Successful")
        await trial.terminated("errors")
        await trial.has_pods(0)
        named = f'name="trial",namespace="{trial.namespace}"'
        assert await third.metric(f'experiment_info{{{named},phase="Successful"}}') == 1.0
        assert await third.metric(f'experiment_phase{{{named},phase="Running"}}') == 0.0
        assert (await third.metric(f"experiment_reconcile_count{{{named}}}") or 0) > 0
    assert len(await trial.replica_sets()) == 1
    assert len(await trial.client.list(ANALYSIS_RUNS, trial.namespace)) == 1


async def test_another_instance_leaves_it_alone(trial: Trial, settings: Settings) -> None:
    """§23: and the hash of an Experiment's Service is nobody else's to take away."""
    async with running(settings):
        await trial.create(template("one", service={"name": "mine"}), duration="1h")
        await trial.phase("Running")
        assert HASH in (await trial.services())["mine"]["spec"]["selector"]
    other = Trial(trial.client, trial.namespace, "other")
    async with running(replace(settings, instance_id="blue")):
        await other.create(template("two"))
        body = {"metadata": {"labels": {"argo-rollouts.argoproj.io/controller-instance-id": "blue"}}}
        third = Trial(trial.client, trial.namespace, "third")
        await third.create(template("three"))
        await trial.client.patch(EXPERIMENTS, trial.namespace, "third", body, field_manager="tests")
        await third.phase("Running")
        assert (await other.get()).get("status") in (None, {})
        assert HASH in (await trial.services())["mine"]["spec"]["selector"]


async def edge(shown: Shown, **wanted: str | None) -> None:
    """Wait until the router was told so."""

    async def so() -> bool:
        data = (await shown.client.get(CONFIG_MAPS, shown.namespace, "web-edge")).get("data") or {}
        return all(data.get(key.replace("_", "-")) == value for key, value in wanted.items())

    await eventually(so, deadline=60, what=f"the edge says {wanted}", ignore=(NotFound,))


async def test_a_step_sends_traffic_to_its_experiment_and_takes_it_away(
    client: Client, web: Shown, settings: Settings, site: Path
) -> None:
    """§15.1, §19: two versions beside the canary; it passes, and for the next version it fails."""
    templates = [
        {"name": "base", "specRef": "stable", "weight": 10},
        {"name": "try", "specRef": "canary", "weight": 5, "service": {"name": "mine"}},
    ]
    args = [{"name": "new", "valueFrom": {"podTemplateHashValue": "Latest"}}]
    analyses = [{"name": "errors", "templateName": "errors", "args": args, "requiredForCompletion": True}]
    step = {"templates": templates, "analyses": analyses, "scaleDownDelaySeconds": 0}
    made = rollout(steps=[{"setWeight": 25}, {"experiment": step}, {"setWeight": 50}, {"pause": {}}])
    container = made["spec"]["template"]["spec"]["containers"][0]
    container["ports"] = [{"containerPort": 8080}]
    made["spec"]["strategy"]["canary"] |= {
        "trafficRouting": {"plugins": {"example/config-map": {"name": "web-edge"}}},
        "canaryService": "web-canary",
        "stableService": "web-stable",
    }
    for name in ("web-canary", "web-stable"):
        spec = {"selector": {"app": "web"}, "ports": [{"port": 80}]}
        body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}
        await client.create(SERVICES, web.namespace, body)
    first = Trial(client, web.namespace)
    await first.analysis_template("errors", "new")
    await client.create(ROLLOUTS, web.namespace, made)
    async with running(replace(settings, plugin_seconds=20)):
        await web.phase("Healthy")
        await web.set_image("app:v2")
        first.name = await _current_experiment(web, "-2-1")
        await first.phase("Running")
        besides = f'[{{"service": "{first.name}-base", "weight": 10}}, {{"service": "mine", "weight": 5}}]'
        await edge(web, canary_weight="25", stable_weight="60", additional=besides)
        new = (await web.get())["status"]["currentPodHash"]

        async def recorded() -> bool:
            weights = (await web.get())["status"]["canary"]["weights"]
            return [one["weight"] for one in weights.get("additional", ())] == [10, 5]

        await eventually(recorded, deadline=60, what="the weights in the status")
        assert (await first.run("errors"))["spec"]["args"] == [{"name": "new", "value": new}]
        await first.judge("errors", "Successful")
        await web.phase("Paused", step=3)
        await edge(web, canary_weight="50", stable_weight="50", additional=None)
        assert "currentExperiment" not in (await web.get())["status"]["canary"]
        await first.has_pods(0, 0)

        await web.set_image("app:v3")
        second = Trial(client, web.namespace, await _current_experiment(web, "-3-1"))
        await second.judge("errors", "Failed", "too slow")
        degraded = (await web.phase("Degraded"))["status"]
        assert "Experiment analysis phase is error/failed: too slow" in degraded["message"]
        await edge(web, canary_weight="0", stable_weight="100", additional=None)
        await second.has_pods(0, 0)

        async def told() -> bool:
            return {"ExperimentCreated", "AnalysisRunPending", "RolloutAborted"} <= set(await web.events())

        await eventually(told, what="the events, which are sent beside everything else")


async def _current_experiment(shown: Shown, suffix: str) -> str:
    async def there() -> str:
        name: str = (await shown.get())["status"]["canary"].get("currentExperiment") or ""
        return name if name.endswith(suffix) else ""

    found = await eventually(there, deadline=60, what=f"an experiment …{suffix}")
    return str(found)
