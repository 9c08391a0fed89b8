"""A manager in this process, Rollouts to give it, and what the cluster shows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import EVENTS, REPLICA_SETS, ROLLOUTS, SERVICES
from gitops_rollouts.leader import GitFactory, Settings
from gitops_rollouts.manager import Manager
from waiting import eventually

Raw = dict[str, Any]
STEPS: list[Raw] = [{"setWeight": 25}, {"pause": {}}, {"setWeight": 50}, {"pause": {"duration": 1}}]


def rollout(name: str = "web", *, image: str = "app:v1", steps: list[Raw] | None = None, **spec: Any) -> Raw:
    """A canary of four pods."""
    labels = {"app": name}
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "metadata": {"name": name},
        "spec": {
            "replicas": 4,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "app", "image": image}]}},
            "strategy": {"canary": {"steps": STEPS if steps is None else steps}},
            **spec,
        },
    }


@asynccontextmanager
async def running(settings: Settings, *, git: GitFactory | None = None) -> AsyncIterator[Manager]:
    """A manager that leads; it is stopped in good order afterwards, and its faults surface."""
    manager = Manager(settings, git=git)
    stop = asyncio.Event()
    task = asyncio.create_task(manager.run(stop))
    leading = asyncio.create_task(manager.leading.wait())
    done, _ = await asyncio.wait([task, leading], return_when=asyncio.FIRST_COMPLETED, timeout=60)
    if task in done:
        leading.cancel()
        await task
    try:
        yield manager
    finally:
        leading.cancel()
        stop.set()
        await asyncio.wait_for(task, 60)


@dataclass
class Shown:
    """One Rollout as people see it."""

    client: Client
    namespace: str
    name: str = "web"

    async def get(self) -> Raw:
        return await self.client.get(ROLLOUTS, self.namespace, self.name)

    async def phase(self, phase: str, *, image: str | None = None, step: int | None = None) -> Raw:
        """Wait until the newest generation is observed and in this phase; returns the Rollout."""

        async def there() -> Raw | None:
            found = await self.get()
            status = found.get("status") or {}
            wanted = (
                status.get("phase") == phase
                and status.get("observedGeneration") == str(found["metadata"]["generation"])
                and (image is None or found["spec"]["template"]["spec"]["containers"][0]["image"] == image)
                and (step is None or status.get("currentStepIndex") == step)
            )
            return found if wanted else None

        try:
            found = await eventually(there, deadline=60, what=f"{self.name} {phase}")
        except AssertionError as error:
            raise AssertionError(f"{error}: status is {(await self.get()).get('status')}") from error
        assert found is not None
        return found

    async def sizes(self) -> dict[str, int]:
        """spec.replicas of each ReplicaSet with pods, by image."""
        sets = await self.client.list(REPLICA_SETS, self.namespace)
        return {
            rs["spec"]["template"]["spec"]["containers"][0]["image"]: rs["spec"]["replicas"]
            for rs in sets
            if rs["spec"]["replicas"] and rs["metadata"]["name"].startswith(f"{self.name}-")
        }

    async def has_sizes(self, sizes: dict[str, int]) -> None:
        """Wait for it."""

        async def same() -> bool:
            return await self.sizes() == sizes

        await eventually(same, what=f"sizes {sizes}")

    async def set_image(self, image: str) -> None:
        """As `kubectl argo rollouts set image`."""
        change = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": image}]
        await self.client.patch(ROLLOUTS, self.namespace, self.name, change, kind="json", field_manager="tests")

    async def patch_status(self, **status: Any) -> None:
        """As the plugin's verbs do (docs/behaviour.md §21)."""
        await self.client.patch(
            ROLLOUTS, self.namespace, self.name, {"status": status}, subresource="status", field_manager="tests"
        )

    async def events(self) -> list[str]:
        """Reasons of the Rollout's events, oldest first."""
        found = await self.client.list(EVENTS, self.namespace)
        mine = [e for e in found if e["involvedObject"]["name"] == self.name]
        return [e["reason"] for e in sorted(mine, key=lambda e: int(e["metadata"]["resourceVersion"]))]

    async def selector(self, service: str) -> str | None:
        """The hash in a Service's selector."""
        found = await self.client.get(SERVICES, self.namespace, service)
        value: str | None = found["spec"]["selector"].get("rollouts-pod-template-hash")
        return value
