"""A routed canary on the real control plane: dynamicStableScale, ping-pong and delays (§8.4, §8.7, §14.3, §15)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controllers.running import Shown, rollout, running
from gitops_rollouts.errors import NotFound
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import CONFIG_MAPS, ROLLOUTS, SERVICES
from gitops_rollouts.leader import Settings
from waiting import eventually

pytestmark = pytest.mark.cluster
Raw = dict[str, Any]


async def _create(
    client: Client, namespace: str, name: str, steps: list[Raw], canary: Raw, services: list[str]
) -> Shown:
    made = rollout(name, steps=steps)
    routing = {"plugins": {"example/config-map": {"name": f"{name}-edge"}}}
    made["spec"]["strategy"]["canary"] |= {"trafficRouting": routing, **canary}
    for service in services:
        body = {"metadata": {"name": service}, "spec": {"selector": {"app": name}, "ports": [{"port": 80}]}}
        await client.create(SERVICES, namespace, {"apiVersion": "v1", "kind": "Service", **body})
    await client.create(ROLLOUTS, namespace, made)
    shown = Shown(client, namespace, name)
    await shown.phase("Healthy")
    return shown


async def _edge_says(shown: Shown, **wanted: str) -> Raw:
    async def there() -> Raw | None:
        found = dict((await shown.client.get(CONFIG_MAPS, shown.namespace, f"{shown.name}-edge")).get("data") or {})
        said = {key.replace("_", "-"): value for key, value in wanted.items()}
        return found if said.items() <= found.items() else None

    found = await eventually(there, deadline=60, what=f"edge of {shown.name}: {wanted}", ignore=(NotFound,))
    assert found is not None
    return found


async def test_stable_shrinks_with_its_traffic_and_comes_back_before_it(
    client: Client, namespace: str, settings: Settings, site: Path
) -> None:
    """§8.4, §11.5, §15.2: up, aborted, retried, rolled back, and promoted."""
    steps: list[Raw] = [{"setWeight": 25}, {"setWeight": 75}, {"pause": {}}]
    canary = {"canaryService": "web-canary", "stableService": "web-stable", "dynamicStableScale": True}
    async with running(replace(settings, plugin_seconds=20)):
        web = await _create(client, namespace, "web", steps, canary, ["web-canary", "web-stable"])
        first = (await web.get())["status"]["stableRS"]
        await web.set_image("app:v2")
        await web.phase("Paused", step=2)
        await web.has_sizes({"app:v1": 1, "app:v2": 3})
        await _edge_says(web, canary_weight="75", stable_weight="25")

        await web.patch_status(abort=True)
        await web.has_sizes({"app:v1": 4})
        edge = await _edge_says(web, canary_weight="0", stable_weight="100")
        assert edge["stable-hash"] == first

        async def told() -> bool:
            """The status follows the router by a moment."""
            status = (await web.get())["status"]
            return bool(status["phase"] == "Degraded" and status["canary"]["weights"]["canary"]["weight"] == 0)

        await eventually(told, deadline=60, what="weight 0 in the status")

        await web.patch_status(abort=None)
        await web.phase("Paused", step=2)
        await web.has_sizes({"app:v1": 1, "app:v2": 3})

        # back to stable in the middle: whole first, then the traffic, then the canary's pods
        await web.set_image("app:v1")
        await web.phase("Healthy")
        await web.has_sizes({"app:v1": 4})
        await _edge_says(web, canary_weight="0", canary_hash=first, stable_hash=first)

        await web.set_image("app:v3")
        await web.phase("Paused", step=2)
        await web.patch_status(promoteFull=True, pauseConditions=None)
        await web.phase("Healthy")
        await web.has_sizes({"app:v3": 4})
        await _edge_says(web, canary_weight="0", stable_hash=(await web.get())["status"]["stableRS"])


async def test_ping_and_pong_change_roles_and_old_pods_wait(
    client: Client, namespace: str, settings: Settings, site: Path
) -> None:
    """§14.3, §8.7: two updates, the delay after a promotion, and the delay of an abort."""
    steps: list[Raw] = [{"setWeight": 50}, {"pause": {}}]
    canary = {
        "pingPong": {"pingService": "shop-ping", "pongService": "shop-pong"},
        "scaleDownDelaySeconds": 4,
        "abortScaleDownDelaySeconds": 4,
    }
    async with running(replace(settings, plugin_seconds=20)):
        shop = await _create(client, namespace, "shop", steps, canary, ["shop-ping", "shop-pong"])
        assert (await shop.get())["status"]["canary"]["stablePingPong"] == "ping"
        await shop.set_image("app:v2")
        await shop.phase("Paused", step=1)
        await _edge_says(shop, canary_service="shop-pong", stable_service="shop-ping", canary_weight="50")
        await shop.patch_status(pauseConditions=None)
        await shop.phase("Healthy")
        await _edge_says(shop, canary_service="shop-ping", stable_service="shop-pong", canary_weight="0")
        assert (await shop.get())["status"]["canary"]["stablePingPong"] == "pong"
        assert await shop.sizes() == {"app:v1": 4, "app:v2": 4}
        await shop.has_sizes({"app:v2": 4})

        await shop.set_image("app:v3")
        await shop.phase("Paused", step=1)
        await _edge_says(shop, canary_service="shop-ping", stable_service="shop-pong", canary_weight="50")
        await shop.patch_status(abort=True)
        await _edge_says(shop, canary_weight="0", stable_weight="100")
        assert (await shop.sizes()).get("app:v3") == 2
        await shop.has_sizes({"app:v2": 4})
        assert (await shop.get())["status"]["canary"]["stablePingPong"] == "pong"
