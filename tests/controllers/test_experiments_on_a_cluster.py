"""Experiments on the real control plane: good, bad, late, ended, and with a controller that dies (§19).

The runs' metrics wait for an hour, and the test judges them in their place: what ends here is the Experiment.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from controllers.running import Raw, running
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import (
    ANALYSIS_RUNS,
    ANALYSIS_TEMPLATES,
    EVENTS,
    EXPERIMENTS,
    REPLICA_SETS,
    SERVICES,
)
from gitops_rollouts.leader import Settings
from waiting import eventually

pytestmark = pytest.mark.cluster
HASH = "rollouts-pod-template-hash"


def template(name: str, image: str = "app:v1", **more: Any) -> Raw:
    """A template whose pods listen on a port."""
    labels = {"app": "trial", "variant": name}
    container = {"name": "app", "image": image, "ports": [{"containerPort": 8080, "name": "http"}]}
    pods = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    return {"name": name, "selector": {"matchLabels": labels}, "template": pods, **more}


@dataclass
class Trial:
    """One Experiment as people see it."""

    client: Client
    namespace: str
    name: str = "trial"

    async def create(self, *templates: Raw, **spec: Any) -> None:
        body = {"metadata": {"name": self.name}, "spec": {"templates": list(templates), **spec}}
        await self.client.create(
            EXPERIMENTS, self.namespace, {"apiVersion": EXPERIMENTS.api_version, "kind": "Experiment", **body}
        )

    async def analysis_template(self, name: str, *args: str) -> None:
        metric = {"name": "errors", "initialDelay": "1h", "provider": {"web": {"url": "http://127.0.0.1:9/"}}}
        spec = {"metrics": [metric], "args": [{"name": arg} for arg in args]}
        body = {"apiVersion": ANALYSIS_TEMPLATES.api_version, "kind": "AnalysisTemplate", "metadata": {"name": name}}
        await self.client.create(ANALYSIS_TEMPLATES, self.namespace, {**body, "spec": spec})

    async def get(self) -> Raw:
        return await self.client.get(EXPERIMENTS, self.namespace, self.name)

    async def phase(self, phase: str) -> Raw:
        async def there() -> Raw | None:
            found = await self.get()
            return found if (found.get("status") or {}).get("phase") == phase else None

        try:
            found = await eventually(there, deadline=60, what=f"{self.name} {phase}")
        except AssertionError as error:
            raise AssertionError(f"{error}: status is {(await self.get()).get('status')}") from error
        assert found is not None
        return found["status"]  # type: ignore[no-any-return]

    async def replica_sets(self) -> list[Raw]:
        found = await self.client.list(REPLICA_SETS, self.namespace)
        return [one for one in found if one["metadata"]["name"].startswith(f"{self.name}-")]

    async def has_pods(self, *available: int) -> None:
        """Each ReplicaSet, by name, has so many available pods and wants no other number."""

        async def so() -> bool:
            sets = await self.replica_sets()
            counts = [(one["spec"]["replicas"], one["status"].get("availableReplicas", 0)) for one in sets]
            return counts == [(count, count) for count in available]

        await eventually(so, deadline=60, what=f"pods {available} of {self.name}")

    async def run(self, analysis: str, *, phase: str = "") -> Raw:
        """The run of an analysis, once it is there, and in this phase."""

        async def there() -> Raw | None:
            found = await self.client.list(ANALYSIS_RUNS, self.namespace)
            run = next((one for one in found if one["metadata"]["name"] == f"{self.name}-{analysis}"), None)
            here = run is not None and (not phase or (run.get("status") or {}).get("phase") == phase)
            return run if here else None

        found = await eventually(there, deadline=60, what=f"run of {analysis}")
        assert found is not None
        return found

    async def judge(self, analysis: str, phase: str, message: str = "") -> None:
        await self.run(analysis)
        body = {"status": {"phase": phase, "message": message}}
        await self.client.patch(ANALYSIS_RUNS, self.namespace, f"{self.name}-{analysis}", body, field_manager="tests")

    async def terminated(self, analysis: str) -> None:
        async def so() -> bool:
            return bool((await self.run(analysis))["spec"].get("terminate"))

        await eventually(so, deadline=60, what=f"run of {analysis} is asked to end")

    async def services(self) -> dict[str, Raw]:
        found = await self.client.list(SERVICES, self.namespace)
        return {one["metadata"]["name"]: one for one in found}

    async def told(self, *reasons: str) -> None:
        async def so() -> bool:
            found = await self.client.list(EVENTS, self.namespace)
            return set(reasons) <= {one["reason"] for one in found if one["involvedObject"]["name"] == self.name}

        await eventually(so, deadline=60, what=f"events {reasons}")


@pytest.fixture
def trial(client: Client, namespace: str) -> Trial:
    """The Experiment ``trial``, not created yet."""
    return Trial(client, namespace)


async def test_two_templates_and_their_analyses_pass(trial: Trial, settings: Settings) -> None:
    """§19: pods, Service, runs with arguments, the end by a required run, and what is left: nothing."""
    await trial.analysis_template("errors", "hash")
    await trial.analysis_template("slow")
    hashed = [{"name": "hash", "value": "{{templates.two.podTemplateHash}}"}]
    analyses = [
        {"name": "errors", "templateName": "errors", "args": hashed, "requiredForCompletion": True},
        {"name": "slow", "templateName": "slow"},
    ]
    async with running(settings):
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
    await judged.analysis_template("errors")
    errors = [{"name": "errors", "templateName": "errors"}]
    async with running(settings):
        await judged.create(template("a"), analyses=errors, duration="1h", scaleDownDelaySeconds=0)
        await late.create(template("b", "app:broken"), progressDeadlineSeconds=2, scaleDownDelaySeconds=0)
        wrong = template("c")
        wrong["selector"] = {"matchLabels": {"app": "another"}}
        await refused.create(wrong, template("d"), scaleDownDelaySeconds=0)
        await lost.create(template("e"), analyses=[{"name": "x", "templateName": "nowhere"}], scaleDownDelaySeconds=0)
        await judged.judge("errors", "Failed", "too many")
        assert (await judged.phase("Failed"))["message"] == "too many"
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


async def test_it_goes_on_where_a_dead_controller_left_it(trial: Trial, settings: Settings) -> None:
    """§19: between any two stages; ended by its duration and by `terminate`, each thing is there once."""
    await trial.analysis_template("errors")
    errors = [{"name": "errors", "templateName": "errors"}]
    async with running(settings):
        await trial.create(template("one", replicas=2), analyses=errors, scaleDownDelaySeconds=1)
    async with running(settings):
        await trial.phase("Running")
        await trial.run("errors")
    async with running(settings):
        await trial.has_pods(2)
        await trial.client.patch(
            EXPERIMENTS, trial.namespace, trial.name, {"spec": {"terminate": True}}, field_manager="tests"
        )
        await trial.phase("Successful")
    async with running(settings):
        await trial.terminated("errors")
        await trial.has_pods(0)
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
