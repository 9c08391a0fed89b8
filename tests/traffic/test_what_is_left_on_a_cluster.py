"""Nothing of a Rollout outlives it in the objects that it routed (docs/behaviour.md §15.5, §15.6)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from controllers.running import Shown, rollout, running
from gitops_rollouts.api.names import MANAGED_BY_ROLLOUTS, POD_TEMPLATE_HASH, ROUTED_BY, ROUTER_MANAGER
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import ROLLOUTS, SERVICES, Resource
from gitops_rollouts.leader import Settings
from gitops_rollouts.local.cluster import Cluster
from traffic.crds import install
from waiting import eventually

pytestmark = pytest.mark.cluster

Raw = dict[str, Any]
VIRTUAL_SERVICES = Resource("networking.istio.io", "v1", "virtualservices", "VirtualService", namespaced=True)
RULES = Resource("networking.istio.io", "v1", "destinationrules", "DestinationRule", namespaced=True)
STEPS: list[Raw] = [{"setWeight": 25}, {"pause": {}}]


@pytest.fixture
def istio(crds: Cluster) -> Cluster:
    """With Istio's kinds."""
    install(crds, "istio")
    return crds


def _manifest() -> Raw:
    made = rollout("web", steps=STEPS)
    made["spec"]["strategy"]["canary"] |= {
        "canaryService": "web-canary",
        "stableService": "web-stable",
        "trafficRouting": {
            "istio": {
                "virtualService": {"name": "web"},
                "destinationRule": {"name": "web", "canarySubsetName": "new", "stableSubsetName": "old"},
            }
        },
    }
    return made


async def _lay_down(client: Client, namespace: str) -> None:
    for name in ("web-canary", "web-stable"):
        body = {"metadata": {"name": name}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}}
        await client.create(SERVICES, namespace, {"apiVersion": "v1", "kind": "Service", **body})
    route = [
        {"destination": {"host": "web", "subset": "old"}, "weight": 100},
        {"destination": {"host": "web", "subset": "new"}, "weight": 0},
    ]
    service = {"hosts": ["web"], "http": [{"name": "primary", "route": route}]}
    rule = {"host": "web", "subsets": [{"name": "old", "labels": {"app": "web"}}, {"name": "new"}]}
    for resource, spec in ((VIRTUAL_SERVICES, service), (RULES, rule)):
        body = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": "web"}, "spec": spec}
        await client.create(resource, namespace, body, field_manager="people")


async def _weights(client: Client, namespace: str) -> dict[str, int]:
    found = await client.get(VIRTUAL_SERVICES, namespace, "web")
    return {one["destination"]["subset"]: one.get("weight", 0) for one in found["spec"]["http"][0]["route"]}


async def _until_weights(client: Client, namespace: str, **wanted: int) -> None:
    async def so() -> bool:
        return await _weights(client, namespace) == wanted

    await eventually(so, deadline=60, what=f"weights {wanted}")


async def _until_clean(client: Client, namespace: str) -> None:
    """No mark, no hash, no entry of ours, and every route to stable."""

    async def clean() -> bool:
        found = [await client.get(resource, namespace, "web") for resource in (VIRTUAL_SERVICES, RULES)]
        for raw in found:
            annotations = raw["metadata"].get("annotations") or {}
            managers = {entry["manager"] for entry in raw["metadata"].get("managedFields") or []}
            if {ROUTED_BY, MANAGED_BY_ROLLOUTS} & annotations.keys() or ROUTER_MANAGER in managers:
                return False
        labels = [one.get("labels") or {} for one in found[1]["spec"]["subsets"]]
        return labels == [{"app": "web"}, {}]

    await eventually(clean, deadline=60, what="objects without anything of ours")
    assert await _weights(client, namespace) == {"old": 100, "new": 0}


async def _at_the_pause(client: Client, namespace: str, image: str) -> Shown:
    web = Shown(client, namespace)
    await web.phase("Healthy")
    await web.set_image(image)
    await web.phase("Paused", image=image)
    assert await _weights(client, namespace) == {"old": 75, "new": 25}
    return web


async def test_what_was_deleted_while_nobody_ran_is_given_back_at_the_next_start(
    client: Client, namespace: str, settings: Settings, istio: Cluster
) -> None:
    """§15.6: the mark is all that tells of it."""
    await _lay_down(client, namespace)
    await client.create(ROLLOUTS, namespace, _manifest())
    async with running(settings):
        await _at_the_pause(client, namespace, "app:v2")
        marked = await client.get(VIRTUAL_SERVICES, namespace, "web")
        assert f"{namespace}/web" in marked["metadata"]["annotations"][ROUTED_BY]
    await client.delete(ROLLOUTS, namespace, "web")
    async with running(settings):
        await _until_clean(client, namespace)


async def test_a_rollout_that_goes_or_names_its_router_no_more_gives_back_at_once(
    client: Client, namespace: str, settings: Settings, istio: Cluster
) -> None:
    """§15.5, and the end of an update: between two updates the subsets' hashes alone stay, and nobody's entry."""
    await _lay_down(client, namespace)
    await client.create(ROLLOUTS, namespace, _manifest())
    async with running(settings):
        web = await _at_the_pause(client, namespace, "app:v2")
        await web.patch_status(pauseConditions=None)
        await web.phase("Healthy", image="app:v2")
        stable = (await web.get())["status"]["stableRS"]

        async def at_rest() -> bool:
            service, rule = [await client.get(one, namespace, "web") for one in (VIRTUAL_SERVICES, RULES)]
            entries = [entry["manager"] for raw in (service, rule) for entry in raw["metadata"]["managedFields"]]
            hashes = {one.get("labels", {}).get(POD_TEMPLATE_HASH) for one in rule["spec"]["subsets"]}
            unmarked = ROUTED_BY not in (service["metadata"].get("annotations") or {})
            return unmarked and ROUTER_MANAGER not in entries and hashes == {stable}

        await eventually(at_rest, deadline=60, what="an update that is over")

        await _at_the_pause(client, namespace, "app:v3")
        gone = [{"op": "remove", "path": "/spec/strategy/canary/trafficRouting"}]
        await client.patch(ROLLOUTS, namespace, "web", gone, kind="json", field_manager="people")
        await _until_clean(client, namespace)

        back = _manifest()["spec"]["strategy"]["canary"]["trafficRouting"]
        await client.patch(ROLLOUTS, namespace, "web", {"spec": {"strategy": {"canary": {"trafficRouting": back}}}})
        await _until_weights(client, namespace, old=75, new=25)
        await client.delete(ROLLOUTS, namespace, "web")
        await _until_clean(client, namespace)


async def test_an_object_that_is_missing_is_named_and_waited_for(
    client: Client, namespace: str, settings: Settings, istio: Cluster
) -> None:
    """§20 (B): InvalidSpec at the field, nothing touched; the pass after it exists comes by itself."""
    made = _manifest()
    async with running(replace(settings, resync_seconds=3600)):
        for name in ("web-canary", "web-stable"):
            body = {"metadata": {"name": name}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}}
            await client.create(SERVICES, namespace, {"apiVersion": "v1", "kind": "Service", **body})
        await client.create(ROLLOUTS, namespace, made)
        web = Shown(client, namespace)
        found = await web.phase("Degraded")
        message = found["status"]["message"]
        assert "spec.strategy.canary.trafficRouting.istio.virtualService.name" in message
        assert 'virtualservices.networking.istio.io "web" not found' in message
        assert await web.sizes() == {}
        for name in ("web-canary", "web-stable"):
            await client.delete(SERVICES, namespace, name)
        await _lay_down(client, namespace)
        await web.phase("Healthy")
