"""Rollouts in one cluster, Istio's objects in another, its primary one (docs/behaviour.md §15.3)."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controllers.running import Shown, rollout, running
from controllers.watched import watching
from custom_kinds import establish, ours
from gitops_rollouts.api.names import POD_TEMPLATE_HASH, PRIMARY_CLUSTER, ROUTED_BY
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import ROLLOUTS, SECRETS
from gitops_rollouts.leader import Settings
from gitops_rollouts.local.cluster import Cluster
from traffic.crds import install
from traffic.history import assert_no_weight_went_back, weights
from traffic.istio.kinds import DESTINATION_RULES, VIRTUAL_SERVICES
from waiting import eventually

pytestmark = pytest.mark.cluster
Raw = dict[str, Any]
STEPS: list[Raw] = [{"setWeight": 20}, {"pause": {}}, {"setWeight": 60}, {"pause": {}}]
ISTIO = {
    "virtualService": {"name": "web"},
    "destinationRule": {"name": "web", "canarySubsetName": "canary", "stableSubsetName": "stable"},
}


@pytest.fixture
async def primary(tmp_path: Path, namespace: str) -> AsyncIterator[Cluster]:
    """A second control plane, with Istio's kinds and ours and the same namespace."""
    cluster = Cluster(tmp_path / "primary")
    await asyncio.to_thread(cluster.up, tied=True)
    try:
        await asyncio.to_thread(establish, cluster.api_server(), ours())
        await asyncio.to_thread(install, cluster, "istio")
        cluster.api_server().request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
        yield cluster
    finally:
        await asyncio.to_thread(cluster.down)


def secret(kubeconfig: str) -> Raw:
    metadata = {"name": "istio-remote-secret-primary", "labels": {PRIMARY_CLUSTER: "true"}}
    data = {"primary": base64.b64encode(kubeconfig.encode()).decode()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}


def routed_rollout() -> Raw:
    made = rollout("web", steps=STEPS)
    made["spec"]["strategy"]["canary"]["trafficRouting"] = {"istio": ISTIO}
    return made


def weight(raw: Raw) -> int:
    return int(raw["spec"]["http"][0]["route"][1].get("weight", 0))


@pytest.mark.long
async def test_a_canary_whose_routes_are_in_the_primary_cluster(
    client: Client, settings: Settings, crds: Cluster, primary: Cluster
) -> None:
    """Another program of ours that leads there leaves alone what it has no Rollout for; a deletion gives all back."""
    namespace = settings.namespace
    assert namespace is not None
    route = [{"destination": {"host": "web", "subset": name}, "weight": 0} for name in ("stable", "canary")]
    route[0]["weight"] = 100
    subsets = [{"name": name, "labels": {"app": "web"}} for name in ("stable", "canary")]
    version = {"apiVersion": "networking.istio.io/v1", "metadata": {"name": "web"}}
    routes = {**version, "kind": "VirtualService", "spec": {"hosts": ["web"], "http": [{"route": route}]}}
    rule = {**version, "kind": "DestinationRule", "spec": {"host": "web", "subsets": subsets}}
    await client.create(SECRETS, namespace, secret(primary.kubeconfig.read_text()))
    there = replace(settings, kubeconfig=str(primary.kubeconfig))
    async with AsyncExitStack() as stack:
        far = await stack.enter_async_context(await Client.connect(str(primary.kubeconfig)))
        await far.create(VIRTUAL_SERVICES, namespace, routes)
        await far.create(DESTINATION_RULES, namespace, rule)
        watched = await stack.enter_async_context(watching(far, namespace, (VIRTUAL_SERVICES,)))
        await stack.enter_async_context(running(there))
        await stack.enter_async_context(running(settings))
        web = Shown(client, namespace)

        async def has(canary: int, *hashes: str) -> bool:
            found = await far.get(DESTINATION_RULES, namespace, "web")
            seen = [one.get("labels", {}).get(POD_TEMPLATE_HASH, "") for one in found["spec"]["subsets"]]
            return weight(await far.get(VIRTUAL_SERVICES, namespace, "web")) == canary and seen == list(hashes)

        await client.create(ROLLOUTS, namespace, routed_rollout())
        first = (await web.phase("Healthy"))["status"]["stableRS"]
        await eventually(lambda: has(0, first, first), deadline=60, what="hashes of the first version")
        await web.set_image("app:v2")
        second = (await web.phase("Paused", step=1))["status"]["currentPodHash"]
        await eventually(lambda: has(20, first, second), deadline=60, what="weight 20")
        assert ROUTED_BY in (await far.get(VIRTUAL_SERVICES, namespace, "web"))["metadata"]["annotations"]
        assert await client.list(ROLLOUTS, namespace)
        assert not await far.list(ROLLOUTS, namespace)
        await web.patch_status(pauseConditions=None)
        await web.phase("Paused", step=3)
        await web.patch_status(pauseConditions=None)
        await web.phase("Healthy")
        await eventually(lambda: has(0, second, second), deadline=60, what="the end of the update")
        assert_no_weight_went_back("web", weights(watched.seen[VIRTUAL_SERVICES], weight))
        await web.set_image("app:v3")
        third = (await web.phase("Paused", step=1))["status"]["currentPodHash"]
        await eventually(lambda: has(20, second, third), deadline=60, what="weight 20 again")
        await client.delete(ROLLOUTS, namespace, "web")
        await eventually(lambda: has(0, "", ""), deadline=60, what="all given back")


async def test_a_secret_that_is_no_plain_kubeconfig(client: Client, settings: Settings, crds: Cluster) -> None:
    """Rollouts with Istio are InvalidSpec, all others go on; and no program of the Secret's is run."""
    namespace = settings.namespace
    assert namespace is not None
    program = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "/bin/false"}}
    text = str({"users": [{"name": "u", "user": program}], "clusters": [], "contexts": []})
    await client.create(SECRETS, namespace, secret(text))
    await client.create(ROLLOUTS, namespace, routed_rollout())
    await client.create(ROLLOUTS, namespace, rollout("plain", steps=STEPS))
    async with running(settings):
        await Shown(client, namespace, "plain").phase("Healthy")
        found = await Shown(client, namespace).phase("Degraded")
    message = found["status"]["message"]
    assert "spec.strategy.canary.trafficRouting.istio" in message
    assert "exec isn't allowed in it" in message
