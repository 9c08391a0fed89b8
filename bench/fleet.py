"""A fleet of Rollouts, all updated at once, next to as many Deployments of the built-in controller."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.child import Cost, gor_run
from bench.control_plane import Raw, control_plane, each, until, until_gone
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.informer import Informer
from gitops_rollouts.kube.resources import DEPLOYMENTS, NAMESPACES, ROLLOUTS, Resource

PODS_EACH = 5
SETTLE_SECONDS = 15.0
"""Old pods still go and events are still sent after the last Rollout is Healthy."""
REST_SECONDS = 30.0
STEPS: list[Raw] = [
    {"setWeight": 20},
    {"pause": {"duration": "5s"}},
    {"setWeight": 60},
    {"pause": {"duration": "5s"}},
]


@dataclass(frozen=True)
class FleetFigures:
    """Seconds from the first changed image to the last finished update; ``cost`` is that of the update alone."""

    rollouts: int
    deployment_seconds: float
    deploy_seconds: float
    update_seconds: float
    idle_seconds: float
    deploy: Cost
    update: Cost
    idle: Cost


async def measure_fleet(folder: Path, rollouts: int, kubeconfig: Path | None) -> FleetFigures:
    """The whole measurement, some minutes for 300."""
    async with control_plane(folder, kubeconfig) as (client, used):
        _say(f"{rollouts} Deployments of {PODS_EACH} pods: the cluster's own limit")
        _, deployment_seconds = await _deploy_and_update(client, DEPLOYMENTS, rollouts, _deployment, _deployment_done)
        async with gor_run(used, folder) as gor:
            _say(f"{rollouts} Rollouts of {PODS_EACH} pods")
            start = await gor.cost()
            fleet = Fleet(client, ROLLOUTS, rollouts, rollout, rollout_done)
            async with fleet:
                deploy_seconds = await fleet.deploy()
                deployed = await gor.cost()
                update_seconds = await fleet.update()
                updated = await gor.cost()
            _say(f"{REST_SECONDS:.0f} s of rest")
            await asyncio.sleep(SETTLE_SECONDS)
            settled = await gor.cost()
            await asyncio.sleep(REST_SECONDS)
            rested = await gor.cost()
            await until_gone(client, fleet.namespace)
    return FleetFigures(
        rollouts, deployment_seconds, deploy_seconds, update_seconds, REST_SECONDS,
        deployed.since(start), updated.since(deployed), rested.since(settled),
    )  # fmt: skip


async def _deploy_and_update(
    client: Client, resource: Resource, count: int, body: Callable[[str, str], Raw], done: Callable[[Raw], bool]
) -> tuple[float, float]:
    fleet = Fleet(client, resource, count, body, done)
    async with fleet:
        seconds = (await fleet.deploy(), await fleet.update())
    await until_gone(client, fleet.namespace)
    return seconds


class Fleet:
    """``count`` objects of one kind in a namespace of their own, and a watch that knows which are done."""

    def __init__(
        self,
        client: Client,
        resource: Resource,
        count: int,
        body: Callable[[str, str], Raw],
        done: Callable[[Raw], bool],
    ) -> None:
        self.namespace = f"bench-{resource.plural}"
        self._client = client
        self._resource = resource
        self.names = [f"app-{index:04}" for index in range(count)]
        self._body = body
        self._done: Informer[tuple[str, bool]] = Informer(
            client, resource, lambda raw: (_image(raw), done(raw)), namespace=self.namespace
        )
        self._watching: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Fleet:
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}}
        await self._client.create(NAMESPACES, None, namespace)
        self._watching = asyncio.create_task(self._done.run())
        await self._done.wait_synced()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._watching is not None:
            self._watching.cancel()

    async def deploy(self) -> float:
        """Create all; returns seconds until all are done."""
        return await self._timed("v1", self._create)

    async def update(self) -> float:
        """Change all images; returns seconds until all are done."""
        return await self._timed("v2", self._change)

    async def _timed(self, version: str, act: Callable[[str], Any]) -> float:
        start = time.monotonic()
        await each(self.names, act)
        await until(lambda: self._all_at(version), f"{len(self.names)} {self._resource.plural} to reach {version}")
        seconds = time.monotonic() - start
        _say(f"  {version}: {seconds:.1f} s")
        return seconds

    def _all_at(self, version: str) -> bool:
        states = [state for _key, state in self._done.items()]
        return len(states) == len(self.names) and all(image.endswith(version) and done for image, done in states)

    async def _create(self, name: str) -> None:
        await self._client.create(self._resource, self.namespace, self._body(name, "v1"), field_manager="bench")

    async def _change(self, name: str) -> None:
        path = "/spec/template/spec/containers/0/image"
        change = [{"op": "replace", "path": path, "value": _IMAGE.format("v2")}]
        await self._client.patch(self._resource, self.namespace, name, change, kind="json", field_manager="bench")


_IMAGE = "registry.example.com/bench:{}"


def _template(name: str, version: str) -> Raw:
    requests = {"cpu": "1m", "memory": "1Mi"}
    container = {"name": "app", "image": _IMAGE.format(version), "resources": {"requests": requests}}
    return {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}}


def _deployment(name: str, version: str) -> Raw:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": PODS_EACH,
            "selector": {"matchLabels": {"app": name}},
            "template": _template(name, version),
        },
    }


def rollout(name: str, version: str) -> Raw:
    """A canary of `PODS_EACH` pods."""
    body = _deployment(name, version) | {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout"}
    body["spec"]["strategy"] = {"canary": {"steps": STEPS}}
    return body


def _image(raw: Raw) -> str:
    return str(raw["spec"]["template"]["spec"]["containers"][0]["image"])


def _deployment_done(raw: Raw) -> bool:
    status = raw.get("status") or {}
    counts = {status.get(key, 0) for key in ("replicas", "updatedReplicas", "availableReplicas")}
    return status.get("observedGeneration") == raw["metadata"]["generation"] and counts == {PODS_EACH}


def rollout_done(raw: Raw) -> bool:
    """Whether the newest generation is Healthy."""
    status = raw.get("status") or {}
    return status.get("observedGeneration") == str(raw["metadata"]["generation"]) and status.get("phase") == "Healthy"


def _say(text: str) -> None:
    print(text, flush=True)
