"""A Rollout that takes its template from another object, beside that object's own pods (docs/behaviour.md §2.2)."""

from __future__ import annotations

from typing import Any

import pytest

from controllers.running import Raw, Shown, rollout, running
from gitops_rollouts.api.names import POD_TEMPLATE_HASH, WORKLOAD_GENERATION
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import DEPLOYMENTS, POD_TEMPLATES, PODS, REPLICA_SETS, ROLLOUTS, Resource
from gitops_rollouts.leader import Settings
from waiting import eventually

pytestmark = pytest.mark.cluster
GATE: list[Raw] = [{"setWeight": 50}, {"pause": {}}]


def template(image: str) -> Raw:
    return {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "app", "image": image}]}}


def workload(resource: Resource, image: str = "app:v1", **spec: Any) -> Raw:
    body: Raw = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": "web"}}
    if resource is POD_TEMPLATES:
        return {**body, "template": template(image)}
    selector = {"matchLabels": {"app": "web"}}
    return {**body, "spec": {"replicas": 2, "selector": selector, "template": template(image), **spec}}


def referring(resource: Resource, *, scale_down: str | None = None, **spec: Any) -> Raw:
    raw = rollout(steps=GATE, replicas=2, **spec)
    del raw["spec"]["template"]
    if "selector" not in spec:
        del raw["spec"]["selector"]
    reference = {"apiVersion": resource.api_version, "kind": resource.kind, "name": "web"}
    raw["spec"]["workloadRef"] = reference if scale_down is None else {**reference, "scaleDown": scale_down}
    return raw


async def set_image(client: Client, namespace: str, resource: Resource, image: str) -> None:
    path = "/template/spec" if resource is POD_TEMPLATES else "/spec/template/spec"
    change = [{"op": "replace", "path": f"{path}/containers/0/image", "value": image}]
    await client.patch(resource, namespace, "web", change, kind="json", field_manager="tests")


async def reached(web: Shown, phase: str, generation: int, **status: Any) -> Raw:
    """Wait for a phase that speaks of this generation of the workload, or of a later one."""

    async def there() -> Raw | None:
        found = await web.get()
        now = found.get("status") or {}
        told = found["metadata"].get("annotations", {}).get(WORKLOAD_GENERATION)
        wanted = {"phase": phase, "workloadObservedGeneration": told, **status}
        same = all(now.get(key) == value for key, value in wanted.items())
        return found if same and int(told or -1) >= generation else None

    try:
        found = await eventually(there, deadline=60, what=f"{phase} for generation {generation}")
    except AssertionError as error:
        raise AssertionError(f"{error}: status is {(await web.get()).get('status')}") from error
    assert found is not None
    return found


async def test_a_deployment_hands_over_step_by_step_and_later_revisions_leave_it_alone(
    client: Client, settings: Settings, namespace: str, web: Shown
) -> None:
    """From InvalidSpec without the Deployment, over its retreat, to a canary that its new template starts."""
    await client.create(ROLLOUTS, namespace, referring(DEPLOYMENTS, scale_down="progressively"))
    async with running(settings):
        missing = (await web.phase("Degraded"))["status"]
        assert [one["type"] for one in missing["conditions"]] == ["InvalidSpec"]
        said = f'The Rollout "web" is invalid: deployments.apps "{namespace}/web" not found'
        assert missing["conditions"][0]["message"] == said

        await client.create(DEPLOYMENTS, namespace, workload(DEPLOYMENTS))
        await reached(web, "Healthy", 1, availableReplicas=2)

        async def retreated() -> bool:
            deployment = await client.get(DEPLOYMENTS, namespace, "web")
            pods = await client.list(PODS, namespace)
            return deployment["spec"]["replicas"] == 0 and len(pods) == 2

        await eventually(retreated, deadline=60, what="the Deployment at 0")
        live = await web.get()
        assert "template" not in live["spec"]
        assert "selector" not in live["spec"]
        sets = {
            one["metadata"]["ownerReferences"][0]["kind"]: one for one in await client.list(REPLICA_SETS, namespace)
        }
        ours, theirs = sets["Rollout"], sets["Deployment"]
        assert "pod-template-hash" not in ours["metadata"]["labels"]
        assert POD_TEMPLATE_HASH not in theirs["metadata"]["labels"], "a Deployment's ReplicaSets are never touched"
        assert ours["spec"]["selector"]["matchLabels"] == {
            "app": "web",
            POD_TEMPLATE_HASH: ours["metadata"]["labels"][POD_TEMPLATE_HASH],
        }

        await set_image(client, namespace, DEPLOYMENTS, "app:v2")
        generation = (await client.get(DEPLOYMENTS, namespace, "web"))["metadata"]["generation"]
        await reached(web, "Paused", generation, currentStepIndex=1)
        await web.has_sizes({"app:v1": 1, "app:v2": 1})
        assert (await client.get(DEPLOYMENTS, namespace, "web"))["spec"]["replicas"] == 0
        await client.patch(DEPLOYMENTS, namespace, "web", {"spec": {"replicas": 1}}, field_manager="tests")
        await reached(web, "Paused", generation + 1)
        assert await web.sizes() == {"app:v1": 1, "app:v2": 1}, "a size is no version"


@pytest.mark.parametrize("resource", [REPLICA_SETS, POD_TEMPLATES], ids=lambda one: one.kind)
async def test_the_other_kinds(
    client: Client, settings: Settings, namespace: str, web: Shown, resource: Resource
) -> None:
    """A ReplicaSet of somebody else is only read; a PodTemplate has no selector, so the Rollout needs one."""
    own = {"selector": {"matchLabels": {"app": "web"}}} if resource is POD_TEMPLATES else {}
    await client.create(resource, namespace, workload(resource))
    async with running(settings):
        await client.create(ROLLOUTS, namespace, referring(resource, **own))
        first = await web.phase("Healthy")
        before = await client.get(resource, namespace, "web")
        await set_image(client, namespace, resource, "app:v2")
        changed = await client.get(resource, namespace, "web")
        paused = await reached(web, "Paused", changed["metadata"].get("generation", 0), currentStepIndex=1)
        assert paused["status"]["currentPodHash"] != first["status"]["currentPodHash"]
        assert before["metadata"]["uid"] == changed["metadata"]["uid"]
        assert "ownerReferences" not in changed["metadata"]
        if resource is REPLICA_SETS:
            assert changed["spec"]["replicas"] == 2

        await client.delete(resource, namespace, "web")

        async def told() -> bool:
            status = (await web.get())["status"]
            return bool(status["message"].endswith(f'"{namespace}/web" not found'))

        await eventually(told, deadline=60, what="the missing workload")
        sizes = await web.sizes()
        assert sizes.get("app:v1") == sizes.get("app:v2") == 1 or resource is REPLICA_SETS
