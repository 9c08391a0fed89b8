"""A real API server that takes no AnalysisRun (docs/behaviour.md §17.5)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from controllers.running import Shown, rollout, running
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import ANALYSIS_RUNS, ANALYSIS_TEMPLATES, ROLLOUTS, Resource
from gitops_rollouts.leader import Settings
from waiting import eventually

pytestmark = pytest.mark.cluster
WEBHOOKS = Resource(
    "admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations", "ValidatingWebhookConfiguration", False
)


@asynccontextmanager
async def no_new_runs(client: Client, namespace: str) -> AsyncIterator[None]:
    """A webhook that nobody answers stands before each new AnalysisRun of the namespace."""
    rule = {"apiGroups": ["argoproj.io"], "apiVersions": ["*"], "operations": ["CREATE"], "resources": ["analysisruns"]}
    hook = {
        "apiVersion": WEBHOOKS.api_version,
        "kind": WEBHOOKS.kind,
        "metadata": {"name": namespace},
        "webhooks": [
            {
                "name": "broken.example.com",
                "clientConfig": {"url": "https://127.0.0.1:1/"},
                "rules": [rule],
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
            }
        ],
    }
    await client.create(WEBHOOKS, None, hook)
    try:
        yield
    finally:
        await client.delete(WEBHOOKS, None, namespace)


async def test_the_status_says_why_nothing_goes_on_and_an_abort_goes_through(
    client: Client, settings: Settings, web: Shown
) -> None:
    """§17.5: a condition, an event, sizes that are up to date; the run begins once the way is free."""
    metric = {"name": "m", "provider": {"job": {"spec": {"template": {"spec": {"containers": []}}}}}}
    body = {
        "apiVersion": ANALYSIS_TEMPLATES.api_version,
        "kind": "AnalysisTemplate",
        "metadata": {"name": "errors"},
        "spec": {"metrics": [{**metric, "initialDelay": "1h", "count": 1}]},
    }
    await client.create(ANALYSIS_TEMPLATES, web.namespace, body)
    steps = [{"setWeight": 25}, {"analysis": {"templates": [{"templateName": "errors"}]}}]
    await client.create(ROLLOUTS, web.namespace, rollout(strategy={"canary": {"steps": steps}}))

    async def condition() -> str:
        listed = (await web.get())["status"].get("conditions", [])
        return next((one["message"] for one in listed if one["type"] == "AnalysisRunNotCreated"), "")

    async def told() -> bool:
        return "webhook" in await condition() and "AnalysisRunNotCreated" in await web.events()

    async def begun() -> bool:
        return not await condition() and len(await client.list(ANALYSIS_RUNS, web.namespace)) == 1

    async with running(settings):
        await web.phase("Healthy")
        async with no_new_runs(client, web.namespace):
            await web.set_image("app:v2")
            await eventually(told, what="why the run can't begin")
            status = (await web.get())["status"]
            assert (await condition()).startswith("Step analysis can't begin: Can't create AnalysisRun ")
            assert (status["currentStepIndex"], status["updatedReplicas"], status["availableReplicas"]) == (1, 1, 4)
            await web.patch_status(abort=True)
            await web.phase("Degraded", image="app:v2")
            await web.has_sizes({"app:v1": 4})
            await web.patch_status(abort=None)
            await eventually(told, what="it again after a retry")
        await eventually(begun, deadline=75, what="the run")
