"""A restart around a pod that a PodDisruptionBudget keeps (docs/behaviour.md §12)."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from controllers.running import Raw, Shown, rollout, running
from gitops_rollouts.api.meta import format_time
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import PODS, ROLLOUTS, Resource
from gitops_rollouts.leader import Settings
from waiting import eventually

pytestmark = pytest.mark.cluster
BUDGETS = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", namespaced=True)


async def test_the_others_are_replaced_and_the_kept_one_once_it_may_go(
    client: Client, settings: Settings, namespace: str, web: Shown
) -> None:
    await client.create(ROLLOUTS, namespace, rollout(replicas=3))
    async with running(settings):
        await web.phase("Healthy")
        pods = await client.list(PODS, namespace, "app=web")
        old = {pod["metadata"]["name"] for pod in pods}
        kept = sorted(old)[0]
        await client.patch(PODS, namespace, kept, {"metadata": {"labels": {"keep": "me"}}})
        budget: Raw = {
            "metadata": {"name": "keep"},
            "spec": {"minAvailable": 1, "selector": {"matchLabels": {"keep": "me"}}},
        }
        await client.create(BUDGETS, namespace, budget)
        youngest = max(pod["metadata"]["creationTimestamp"] for pod in pods)

        async def later() -> bool:
            return format_time(datetime.now(UTC)) > youngest

        await eventually(later)
        restart = format_time(datetime.now(UTC))
        await client.patch(ROLLOUTS, namespace, "web", {"spec": {"restartAt": restart}}, field_manager="tests")

        async def left() -> set[str]:
            found = await client.list(PODS, namespace, "app=web")
            return {pod["metadata"]["name"] for pod in found} & old

        async def only_kept() -> bool:
            return await left() == {kept}

        await eventually(only_kept, deadline=120, what="all but the kept pod to be replaced")
        assert (await web.get())["status"].get("restartedAt") != restart
        await client.delete(BUDGETS, namespace, "keep")

        async def done() -> bool:
            status = (await web.get())["status"]
            return status.get("restartedAt") == restart and not await left()

        await eventually(done, deadline=90, what="the end of the restart")
        await web.phase("Healthy")
