"""Sizes that an autoscaler sets, and ReplicaSets that come and go (docs/behaviour.md §6, §7.2, §8.8)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from controllers.running import Raw, Shown, rollout, running
from gitops_rollouts.api.names import POD_TEMPLATE_HASH
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import REPLICA_SETS, ROLLOUTS, SERVICES
from gitops_rollouts.leader import Settings
from waiting import eventually

pytestmark = pytest.mark.cluster
GATES: list[Raw] = [{"setWeight": 25}, {"pause": {}}, {"setWeight": 50}, {"pause": {}}]


async def autoscale(client: Client, namespace: str, replicas: int) -> None:
    """As a HorizontalPodAutoscaler does."""
    await client.patch(
        ROLLOUTS, namespace, "web", {"spec": {"replicas": replicas}}, subresource="scale", field_manager="hpa"
    )


async def pool(client: Client, namespace: str) -> Raw:
    """The scale subresource, as an autoscaler reads it."""
    found: Raw = await client.raw_get(f"/apis/argoproj.io/v1alpha1/namespaces/{namespace}/rollouts/web/scale")
    return found


@asynccontextmanager
async def watched_steps(web: Shown) -> AsyncIterator[list[int]]:
    """The step indexes that clients see meanwhile, each change once."""
    seen: list[int] = []

    async def look() -> None:
        while True:
            index = (await web.get())["status"].get("currentStepIndex")
            if index is not None and (not seen or seen[-1] != index):
                seen.append(index)
            await asyncio.sleep(0.05)

    task = asyncio.create_task(look())
    try:
        yield seen
    finally:
        task.cancel()


async def reaches(client: Client, web: Shown, sizes: dict[str, int]) -> None:
    await web.has_sizes(sizes)
    wanted = sum(sizes.values())

    async def told() -> bool:
        return bool((await pool(client, web.namespace))["status"]["replicas"] == wanted)

    await eventually(told, deadline=60, what=f"{wanted} pods in the scale subresource")


async def test_an_autoscaler_resizes_a_canary_in_the_middle_of_its_steps(
    client: Client, settings: Settings, namespace: str, web: Shown
) -> None:
    """§8.8: both versions follow by their share, no step is lost or repeated, and one pool of pods is counted."""
    await client.create(ROLLOUTS, namespace, rollout(steps=GATES))
    async with running(settings):
        await web.phase("Healthy")
        await web.set_image("app:v2")
        await web.phase("Paused", image="app:v2", step=1)
        await reaches(client, web, {"app:v1": 3, "app:v2": 1})
        assert (await pool(client, namespace))["status"]["selector"] == "app=web"
        async with watched_steps(web) as seen:
            await autoscale(client, namespace, 8)
            await reaches(client, web, {"app:v1": 6, "app:v2": 2})
            await autoscale(client, namespace, 4)
            await reaches(client, web, {"app:v1": 3, "app:v2": 1})
            await web.phase("Paused", step=1)
        assert seen == [1]
        status = (await web.get())["status"]
        assert status["HPAReplicas"] == 4
        await web.patch_status(pauseConditions=None)
        await web.phase("Paused", step=3)
        await autoscale(client, namespace, 6)
        await reaches(client, web, {"app:v1": 3, "app:v2": 3})
        await web.patch_status(pauseConditions=None)
        await web.phase("Healthy", image="app:v2")
        await reaches(client, web, {"app:v2": 6})


async def test_an_autoscaler_resizes_blue_green_before_the_switch(
    client: Client, settings: Settings, namespace: str, web: Shown
) -> None:
    """§8.8: only what serves is counted; both sizes follow, and the active Service stays where it is."""
    raw = rollout()
    raw["spec"]["strategy"] = {"blueGreen": {"activeService": "active", "autoPromotionEnabled": False}}
    spec = {"selector": {"app": "web"}, "ports": [{"port": 80}]}
    await client.create(SERVICES, namespace, {"metadata": {"name": "active"}, "spec": spec})
    await client.create(ROLLOUTS, namespace, raw)
    async with running(settings):
        first = (await web.phase("Healthy"))["status"]["currentPodHash"]
        await web.set_image("app:v2")
        await web.phase("Paused", image="app:v2")
        await web.has_sizes({"app:v1": 4, "app:v2": 4})
        await autoscale(client, namespace, 6)
        await web.has_sizes({"app:v1": 6, "app:v2": 6})

        async def counted() -> bool:
            scale = (await pool(client, namespace))["status"]
            return bool(scale["replicas"] == 6 and scale["selector"] == f"app=web,{POD_TEMPLATE_HASH}={first}")

        await eventually(counted, deadline=60, what="the active pods alone")
        assert await web.selector("active") == first
        await web.phase("Paused", image="app:v2")


async def test_replica_sets_are_adopted_released_and_never_taken_from_others(
    client: Client, settings: Settings, namespace: str, web: Shown
) -> None:
    """§6, §7.2: an orphan of the same template is adopted with its pods; one whose labels leave is let go; a name
    that is taken by somebody else's leads to another one."""
    await client.create(ROLLOUTS, namespace, rollout(replicas=2))
    async with running(settings):
        status = (await web.phase("Healthy"))["status"]
        name = f"web-{status['currentPodHash']}"
        uid = (await client.get(REPLICA_SETS, namespace, name))["metadata"]["uid"]

        async def owner() -> str:
            found = (await client.get(REPLICA_SETS, namespace, name))["metadata"].get("ownerReferences") or [{}]
            return str(found[0].get("kind", ""))

        await client.patch(REPLICA_SETS, namespace, name, {"metadata": {"ownerReferences": None}})

        async def adopted() -> bool:
            return await owner() == "Rollout"

        await eventually(adopted, deadline=60, what="the orphan's owner")
        assert (await client.get(REPLICA_SETS, namespace, name))["metadata"]["uid"] == uid
        assert (await web.phase("Healthy"))["status"]["currentPodHash"] == status["currentPodHash"]

        await client.patch(REPLICA_SETS, namespace, name, {"metadata": {"labels": {"app": "else"}}})

        async def released() -> bool:
            return await owner() == ""

        await eventually(released, deadline=60, what="that it is let go")

        async def renamed() -> bool:
            now = (await web.get())["status"]
            return now.get("collisionCount") == 1 and now["currentPodHash"] != status["currentPodHash"]

        await eventually(renamed, deadline=60, what="another name")
        left = await client.get(REPLICA_SETS, namespace, name)
        assert (left["metadata"]["uid"], left["spec"]["replicas"]) == (uid, 2), "not ours any more, not touched"
