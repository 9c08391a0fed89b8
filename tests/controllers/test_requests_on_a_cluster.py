"""How many API requests a whole update is: the API server is shared, so no change may double them unseen."""

from __future__ import annotations

from collections import Counter

import pytest

from controllers.running import Raw, Shown, rollout, running
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import REPLICA_SETS, ROLLOUTS, SERVICES
from gitops_rollouts.leader import Settings
from gitops_rollouts.manager import Manager
from waiting import eventually

pytestmark = pytest.mark.cluster

Bounds = dict[tuple[str, str], int]
STEPS: list[Raw] = [
    {"setWeight": 25},
    {"pause": {"duration": 1}},
    {"setWeight": 50},
    {"pause": {"duration": 1}},
]
CANARY: Bounds = {
    ("create", "replicasets"): 1,
    ("patch", "replicasets"): 9,
    ("patch", "rollouts"): 20,
    ("create", "events"): 21,
    ("patch", "events"): 4,
}
BLUE_GREEN: Bounds = {
    ("create", "replicasets"): 1,
    ("patch", "replicasets"): 4,
    ("patch", "rollouts"): 12,
    ("patch", "services"): 2,
    ("create", "events"): 13,
    ("patch", "events"): 2,
}
"""Up to a half above what was measured, as pods that come one by one are passes of their own.

What is not named here is not requested at all.
"""


async def one_update(manager: Manager, web: Shown) -> Counter[tuple[str, str]]:
    """The requests from a new image until nothing is left of the old version and the last event is sent."""
    client = manager.client
    assert client is not None
    before = Counter(client.requests)
    await web.set_image("app:v2")
    await web.phase("Healthy", image="app:v2")
    await web.has_sizes({"app:v2": 4})

    async def told() -> bool:
        reasons = await web.events()
        return reasons.count("RolloutCompleted") == 2 and reasons.count("ScalingReplicaSet") >= 3

    await eventually(told, what="the events of the end")

    async def written() -> bool:
        shown = (await web.get())["status"]
        sets = await web.client.list(REPLICA_SETS, web.namespace)
        return bool(shown["replicas"] == 4 == sum(rs["status"].get("replicas", 0) for rs in sets))

    await eventually(written, what="a status without the old pods")
    return Counter(client.requests) - before


def within(spent: Counter[tuple[str, str]], bounds: Bounds) -> None:
    """Renewed watches are the API server's doing."""
    used = {key: count for key, count in spent.items() if key[0] not in ("watch", "list")}
    assert used[("patch", "rollouts")] >= 2
    above = {key: (count, bounds.get(key, 0)) for key, count in used.items() if count > bounds.get(key, 0)}
    assert not above, f"(requests, bound) of {above}; all of them: {used}"


async def test_a_canary_update(settings: Settings, client: Client, web: Shown) -> None:
    """Four pods, two weights, two pauses (docs/behaviour.md §9)."""
    await client.create(ROLLOUTS, web.namespace, rollout(steps=STEPS))
    async with running(settings) as manager:
        await web.phase("Healthy")
        within(await one_update(manager, web), CANARY)


async def test_a_blue_green_update(settings: Settings, client: Client, web: Shown) -> None:
    """Pause, switch, promotion, and the end of the old version (docs/behaviour.md §10)."""
    for name in ("active", "preview"):
        spec = {"selector": {"app": "web"}, "ports": [{"port": 80}]}
        body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}
        await client.create(SERVICES, web.namespace, body)
    strategy = {
        "activeService": "active",
        "previewService": "preview",
        "autoPromotionSeconds": 1,
        "scaleDownDelaySeconds": 1,
    }
    await client.create(ROLLOUTS, web.namespace, rollout(strategy={"blueGreen": strategy}))
    async with running(settings) as manager:
        await web.phase("Healthy")
        within(await one_update(manager, web), BLUE_GREEN)
