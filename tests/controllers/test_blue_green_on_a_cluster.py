"""Blue-green on a real control plane, driven by the patches that the plugin sends (docs/behaviour.md §10). No Git."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from controllers.running import Raw, Shown, rollout, running
from gitops_rollouts.api.meta import parse_time
from gitops_rollouts.errors import NotFound
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import REPLICA_SETS, ROLLOUTS, SERVICES
from gitops_rollouts.leader import Settings
from waiting import eventually

pytestmark = pytest.mark.cluster

MANAGED_BY = "argo-rollouts.argoproj.io/managed-by-rollouts"


async def services(client: Client, namespace: str) -> None:
    for name in ("active", "preview"):
        meta = {"name": name}
        spec = {"selector": {"app": "web"}, "ports": [{"port": 80}]}
        body = {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec}
        await client.create(SERVICES, namespace, body)


def blue_green(**strategy: Any) -> Raw:
    named = {"activeService": "active", "previewService": "preview"}
    return rollout(strategy={"blueGreen": {**named, **strategy}})


async def set_strategy(client: Client, namespace: str, **strategy: Any) -> None:
    change = {"spec": {"strategy": {"blueGreen": strategy}}}
    await client.patch(ROLLOUTS, namespace, "web", change, field_manager="tests")


async def selected(web: Shown, pod_hash: str | None, service: str = "active") -> None:
    async def so() -> bool:
        return await web.selector(service) == pod_hash

    await eventually(so, what=f"{service} at {pod_hash}")


async def test_update_pause_abort_retry_resume(client: Client, settings: Settings, web: Shown) -> None:
    """§10.5, §10.6, §10.10, §10.12: nothing but the Services decides who serves, and the delays end by themselves."""
    await services(client, web.namespace)
    body = blue_green(autoPromotionEnabled=False, scaleDownDelaySeconds=2, abortScaleDownDelaySeconds=2)
    await client.create(ROLLOUTS, web.namespace, body)
    async with running(settings):
        first = (await web.phase("Healthy"))["status"]
        old = first["stableRS"]
        assert await web.selector("active") == await web.selector("preview") == old
        assert first["blueGreen"] == {"activeSelector": old, "previewSelector": old}
        assert first["selector"] == f"app=web,rollouts-pod-template-hash={old}"
        service = await client.get(SERVICES, web.namespace, "active")
        assert service["metadata"]["annotations"][MANAGED_BY] == "web"

        await web.set_image("app:v2")
        waiting = (await web.phase("Paused"))["status"]
        new = waiting["currentPodHash"]
        assert waiting["message"] == "BlueGreenPause"
        assert await web.sizes() == {"app:v1": 4, "app:v2": 4}
        assert (await web.selector("active"), await web.selector("preview")) == (old, new)
        assert (waiting["availableReplicas"], waiting["HPAReplicas"], waiting["replicas"]) == (4, 4, 8)

        await web.patch_status(abort=True)
        aborted = (await web.phase("Degraded"))["status"]
        assert aborted["message"] == "RolloutAborted: Rollout aborted update to revision 2"
        await web.has_sizes({"app:v1": 4})
        assert (await web.selector("active"), await web.selector("preview")) == (old, new)

        await web.patch_status(abort=False)
        await web.phase("Paused")
        await web.has_sizes({"app:v1": 4, "app:v2": 4})
        await web.patch_status(pauseConditions=None)
        done = (await web.phase("Healthy"))["status"]
        assert done["stableRS"] == done["currentPodHash"] == new
        assert await web.selector("active") == new
        await web.has_sizes({"app:v2": 4})
    reasons = await web.events()
    for reason in ("SwitchService", "RolloutPaused", "RolloutAborted", "RolloutCompleted"):
        assert reason in reasons


async def test_preview_size_fast_rollback_and_the_end(client: Client, settings: Settings, web: Shown) -> None:
    """§8.5, §8.7, §10.11, §14.4: one pod is looked at, then all; back within the delay; Services are given back."""
    await services(client, web.namespace)
    body = blue_green(autoPromotionSeconds=3600, previewReplicaCount=1, scaleDownDelaySeconds=600)
    await client.create(ROLLOUTS, web.namespace, body)
    async with running(settings):
        old = (await web.phase("Healthy"))["status"]["stableRS"]
        first = await client.get(REPLICA_SETS, web.namespace, f"web-{old}")
        created = parse_time(first["metadata"]["creationTimestamp"])

        async def older() -> bool:
            return datetime.now(UTC) >= created + timedelta(seconds=1)

        await eventually(older, what="a later second: versions of the same one have no order")
        await web.set_image("app:v2")
        await web.phase("Paused")
        assert await web.sizes() == {"app:v1": 4, "app:v2": 1}
        await web.patch_status(pauseConditions=None)
        new = (await web.phase("Healthy"))["status"]["stableRS"]
        assert await web.selector("active") == new

        async def delayed() -> bool:
            left = await client.get(REPLICA_SETS, web.namespace, f"web-{old}")
            return "scale-down-deadline" in left["metadata"]["annotations"]

        await eventually(delayed, what="a deadline on the old version")
        assert await web.sizes() == {"app:v1": 4, "app:v2": 4}

        await set_strategy(client, web.namespace, scaleDownDelaySeconds=1)
        await web.set_image("app:v1")
        back = (await web.phase("Healthy", image="app:v1"))["status"]
        assert back["stableRS"] == old
        assert "controllerPause" not in back
        await selected(web, old)
        await selected(web, old, "preview")
        await web.has_sizes({"app:v1": 4})

        change = {"spec": {"strategy": {"blueGreen": None, "canary": {}}}}
        await client.patch(ROLLOUTS, web.namespace, "web", change, field_manager="tests")
        canary = (await web.phase("Healthy"))["status"]
        assert canary["blueGreen"] == {}
        await selected(web, None)
        change = {"spec": {"strategy": {"blueGreen": {"activeService": "nowhere"}, "canary": None}}}
        await client.patch(ROLLOUTS, web.namespace, "web", change, field_manager="tests")
        wrong = (await web.phase("Degraded"))["status"]
        assert 'service "nowhere" not found' in wrong["message"]
        assert await web.sizes() == {"app:v1": 4}
        await set_strategy(client, web.namespace, activeService="active")
        await web.phase("Healthy")
        await selected(web, old)
        await client.delete(ROLLOUTS, web.namespace, "web")
        await selected(web, None)

    with pytest.raises(NotFound):
        await web.get()
