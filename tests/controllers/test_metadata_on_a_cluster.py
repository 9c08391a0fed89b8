"""Metadata and anti-affinity that go with a role, on real ReplicaSets and Pods (docs/behaviour.md §13)."""

from __future__ import annotations

import json

import pytest

from controllers.running import Raw, Shown, rollout, running
from gitops_rollouts.api.names import EPHEMERAL_METADATA, POD_TEMPLATE_HASH
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import PODS, REPLICA_SETS, ROLLOUTS
from gitops_rollouts.leader import Settings
from waiting import eventually

pytestmark = pytest.mark.cluster
STRATEGY: Raw = {
    "steps": [{"setWeight": 50}, {"pause": {}}],
    "canaryMetadata": {"labels": {"role": "canary"}, "annotations": {"example.com/try": "yes"}},
    "stableMetadata": {"labels": {"role": "stable"}},
    "antiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": {"weight": 5}},
}


async def test_roles_change_and_pods_stay(client: Client, settings: Settings, namespace: str, web: Shown) -> None:
    """First deploy, canary, promotion: the pods that run are relabelled, none is replaced; few lists of pods."""
    raw = rollout(replicas=4)
    raw["spec"]["strategy"] = {"canary": STRATEGY}

    async def roles() -> dict[str, set[str]]:
        """Image → roles of its pods."""
        found: dict[str, set[str]] = {}
        for pod in await client.list(PODS, namespace, "app=web"):
            if "deletionTimestamp" not in pod["metadata"]:
                image = pod["spec"]["containers"][0]["image"]
                found.setdefault(image, set()).add(pod["metadata"]["labels"].get("role", ""))
        return found

    async def have(wanted: dict[str, set[str]]) -> None:
        async def same() -> bool:
            return await roles() == wanted

        await eventually(same, deadline=60, what=f"roles {wanted}")

    await client.create(ROLLOUTS, namespace, raw)
    async with running(settings) as manager:
        first = (await web.phase("Healthy"))["status"]["stableRS"]
        await have({"app:v1": {"stable"}})
        assert manager.client is not None
        assert manager.client.requests["list", "pods"] == 0, "pods of a right template need no look"

        await web.set_image("app:v2")
        await web.phase("Paused", image="app:v2")
        await have({"app:v1": {"stable"}, "app:v2": {"canary"}})
        canary = await client.get(REPLICA_SETS, namespace, f"web-{(await web.get())['status']['currentPodHash']}")
        assert json.loads(canary["metadata"]["annotations"][EPHEMERAL_METADATA]) == STRATEGY["canaryMetadata"]
        (term,) = canary["spec"]["template"]["spec"]["affinity"]["podAntiAffinity"][
            "preferredDuringSchedulingIgnoredDuringExecution"
        ]
        assert term["weight"] == 5
        expression = {"key": POD_TEMPLATE_HASH, "operator": "In", "values": [first]}
        assert term["podAffinityTerm"]["labelSelector"] == {"matchExpressions": [expression]}
        tried = {
            pod["metadata"]["uid"]
            for pod in await client.list(PODS, namespace, "role=canary")
            if pod["metadata"]["annotations"]["example.com/try"] == "yes"
        }
        assert len(tried) == 2
        asked = manager.client.requests["list", "pods"]
        await web.patch_status(pauseConditions=None)
        await web.phase("Healthy", image="app:v2")
        await have({"app:v2": {"stable"}})
        kept = {pod["metadata"]["uid"]: pod for pod in await client.list(PODS, namespace, "role=stable")}
        assert tried <= kept.keys(), "relabelled, not replaced"
        assert not any("example.com/try" in pod["metadata"].get("annotations", {}) for pod in kept.values())

        async def settled() -> bool:
            before = len(manager.client.requests) and manager.client.requests["list", "pods"]
            await client.patch(ROLLOUTS, namespace, "web", {"metadata": {"labels": {"n": str(before)}}})
            await web.phase("Healthy")
            return manager.client.requests["list", "pods"] == before

        await eventually(settled, deadline=60, what="no more lists of pods")
        assert manager.client.requests["list", "pods"] - asked < 12
        shown = await web.get()
        assert shown["metadata"]["annotations"]["rollout.argoproj.io/revision"] == "2"
