"""Each verb of ``kubectl argo rollouts``, sent raw to a real API server, has its effect (docs/behaviour.md §21)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from controllers.plugin_requests import REVISION, Plugin
from controllers.running import Shown, rollout, running
from gitops_rollouts.api.phase import phase_of
from gitops_rollouts.api.rollout import parse_rollout
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import REPLICA_SETS, ROLLOUTS, SERVICES
from gitops_rollouts.leader import Settings
from gitops_rollouts.local.cluster import Cluster
from waiting import eventually

pytestmark = pytest.mark.cluster
Raw = dict[str, Any]
STEPS: list[Raw] = [
    {"setWeight": 25},
    {"pause": {}},
    {"setWeight": 50},
    {"pause": {}},
    {"setWeight": 75},
    {"pause": {"duration": "1h"}},
]


@pytest.fixture
def plugin(crds: Cluster, namespace: str) -> Plugin:
    return Plugin(crds.api_server(), namespace)


@asynccontextmanager
async def phases(client: Client, namespace: str) -> AsyncIterator[list[str]]:
    """What ``status --watch`` would print meanwhile: each phase that differs from the one before."""
    shown: list[str] = []

    async def follow() -> None:
        query = {"fieldSelector": "metadata.name=web"}
        async for line in client.watch_lines(ROLLOUTS, namespace, query, silence_seconds=120):
            phase, message = phase_of(parse_rollout(json.loads(line)["object"]))
            text = f"{phase} - {message}" if message else phase
            if not shown or shown[-1] != text:
                shown.append(text)

    task = asyncio.create_task(follow())
    try:
        yield shown
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_the_verbs_on_a_canary_that_goes_well(
    client: Client, settings: Settings, web: Shown, plugin: Plugin
) -> None:
    """set image, promote at a gate, pause, promote while paused, promote of a timed pause, undo, promote --full."""
    await client.create(ROLLOUTS, web.namespace, rollout(steps=STEPS))
    async with running(settings), phases(client, web.namespace) as shown:
        first = (await web.phase("Healthy"))["status"]["stableRS"]
        assert await plugin.promote() is not None  # a promoted one: the index is at the end and stays there
        await plugin.promote_full()
        assert "promoteFull" not in (await web.phase("Healthy", step=6))["status"]

        del shown[:]
        await plugin.set_image("app:v2")
        await web.phase("Paused", step=1)
        assert await plugin.promote() == {"pauseConditions": None}
        gate = await web.phase("Paused", step=3)
        assert gate["status"]["controllerPause"] is True
        assert await web.sizes() == {"app:v1": 2, "app:v2": 2}

        await plugin.pause()
        manual = await web.phase("Paused")
        assert manual["status"]["message"] == "manually paused"
        await plugin.promote()
        timed = await web.phase("Paused", step=5)
        assert timed["status"]["message"] == "CanaryPauseStep"
        assert timed["spec"]["paused"] is False
        assert await web.sizes() == {"app:v1": 1, "app:v2": 3}

        await plugin.promote()
        done = await web.phase("Healthy", step=6)
        assert done["status"]["stableRS"] == done["status"]["currentPodHash"] != first
        assert shown[0] == "Progressing - waiting for rollout spec update to be observed"

        # the watch may tell it a moment after the read above
        async def told() -> bool:
            return shown[-1] == "Healthy"

        await eventually(told, what="Healthy told by the watch")
        assert not any(each.startswith(("Healthy", "Degraded")) for each in shown[:-1])
        for phase in ("Paused - CanaryPauseStep", "Progressing - waiting for rollout to unpause"):
            assert phase in shown

        # the template that undo writes is the one that the API server completed: its ReplicaSet is found again
        assert await plugin.undo()
        back = await web.phase("Paused", image="app:v1", step=1)
        assert back["status"]["currentPodHash"] == first
        assert back["metadata"]["annotations"][REVISION] == "3"
        assert len(await client.list(REPLICA_SETS, web.namespace)) == 2
        await plugin.promote_full()
        again = await web.phase("Healthy", step=6)
        assert again["status"]["stableRS"] == first
        assert "promoteFull" not in again["status"]
        assert again["status"]["duration"]["completionStatus"] == "FastPromoted"
        await web.has_sizes({"app:v1": 4})
        assert not await plugin.undo(3)


async def test_the_verbs_on_a_canary_that_goes_wrong(
    client: Client, settings: Settings, web: Shown, plugin: Plugin
) -> None:
    """promote in mid-step, abort, retry, abort and undo to the stable revision, scale, restart."""
    await client.create(ROLLOUTS, web.namespace, rollout(steps=STEPS))
    async with running(settings):
        await web.phase("Healthy")
        await plugin.set_image("app:broken")

        async def stuck() -> bool:
            status = (await web.get())["status"]
            return status.get("currentStepIndex") == 0 and status.get("updatedReplicas") == 1

        await eventually(stuck, what="the first step")
        assert await plugin.promote() == {"pauseConditions": None, "currentStepIndex": 1}
        await web.phase("Paused", step=1)

        await plugin.abort()
        aborted = await web.phase("Degraded", step=0)
        assert aborted["status"]["message"] == "RolloutAborted: Rollout aborted update to revision 2"
        assert aborted["status"]["abort"] is True
        assert aborted["status"]["abortedAt"]
        assert "pauseConditions" not in aborted["status"]
        await web.has_sizes({"app:v1": 4})

        await plugin.retry()

        async def tried_again() -> bool:
            return not {"abort", "abortedAt"} & set((await web.get())["status"]) and await stuck()

        await eventually(tried_again, what="the first step again")

        await plugin.abort()
        await web.phase("Degraded")
        assert await plugin.undo(1)
        stable = await web.phase("Healthy", image="app:v1", step=6)
        assert stable["metadata"]["annotations"][REVISION] == "3"
        assert "abort" not in stable["status"]
        await web.has_sizes({"app:v1": 4})

        # a patch of the whole object can't touch the status: the plugin does that only where there is no subresource
        await plugin.send("PATCH", plugin.path, {"status": {"abort": True}}, "application/merge-patch+json")
        await plugin.scale(5)
        await web.has_sizes({"app:v1": 5})
        sized = await web.phase("Healthy")
        assert "abort" not in sized["status"]
        scale = await plugin.send("GET", f"{plugin.path}/scale")
        assert scale["status"] == {"replicas": 5, "selector": "app=web"}

        async def pods() -> set[str]:
            found = await plugin.send("GET", f"/api/v1/namespaces/{web.namespace}/pods")
            return {each["metadata"]["uid"] for each in found["items"]}

        before = await pods()
        at = await plugin.restart(after=1)  # times have whole seconds: now all pods are older

        async def restarted() -> bool:
            return (await web.get())["status"].get("restartedAt") == at and not before & await pods()

        assert (await web.phase("Progressing"))["status"]["message"] == "rollout is restarting"
        await eventually(restarted, deadline=90, what="restartedAt")
        await web.phase("Healthy")


async def test_the_verbs_on_blue_green(client: Client, settings: Settings, web: Shown, plugin: Plugin) -> None:
    """promote at the pause and where nothing pauses, abort, retry, promote --full, pause, undo."""
    for name in ("active", "preview"):
        spec = {"selector": {"app": "web"}, "ports": [{"port": 80}]}
        await client.create(SERVICES, web.namespace, {"metadata": {"name": name}, "spec": spec})
    body = rollout()
    body["spec"]["strategy"] = {
        "blueGreen": {
            "activeService": "active",
            "previewService": "preview",
            "autoPromotionEnabled": False,
            "scaleDownDelaySeconds": 1,
            "abortScaleDownDelaySeconds": 1,
        }
    }
    await client.create(ROLLOUTS, web.namespace, body)
    async with running(settings):
        first = (await web.phase("Healthy"))["status"]["currentPodHash"]
        assert await plugin.promote() is None
        await plugin.set_image("app:v2")
        waiting = (await web.phase("Paused", image="app:v2"))["status"]
        second = waiting["currentPodHash"]
        assert waiting["message"] == "BlueGreenPause"
        assert waiting["blueGreen"] == {"activeSelector": first, "previewSelector": second}
        assert await plugin.promote() == {"pauseConditions": None}
        done = (await web.phase("Healthy", image="app:v2"))["status"]
        assert done["blueGreen"]["activeSelector"] == done["stableRS"] == second
        assert await web.selector("active") == second
        await web.has_sizes({"app:v2": 4})

        await plugin.set_image("app:v3")
        await web.phase("Paused", image="app:v3")
        await plugin.abort()
        aborted = (await web.phase("Degraded"))["status"]
        assert aborted["message"] == "RolloutAborted: Rollout aborted update to revision 3"
        assert await web.selector("active") == second
        await web.has_sizes({"app:v2": 4})
        await plugin.retry()
        await web.phase("Paused", image="app:v3")
        await web.has_sizes({"app:v2": 4, "app:v3": 4})
        await plugin.pause()
        manual = await web.phase("Paused")
        assert manual["status"]["message"] == "manually paused"
        await plugin.promote_full()
        full = (await web.phase("Healthy", image="app:v3"))["status"]
        assert full["duration"]["completionStatus"] == "FastPromoted"
        assert "promoteFull" not in full

        assert await plugin.undo(1)
        back = (await web.phase("Paused", image="app:v1"))["status"]
        assert (back["currentPodHash"], back["blueGreen"]["previewSelector"]) == (first, first)
        await plugin.promote()
        assert (await web.phase("Healthy", image="app:v1"))["status"]["stableRS"] == first
