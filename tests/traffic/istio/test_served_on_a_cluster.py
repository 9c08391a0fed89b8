"""Istio subsets and ping-pong: pods behind every weight after every write of the cluster's history (§14.3, §15.3)."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest

from controllers.running import Shown, rollout, running
from controllers.watched import watching
from gitops_rollouts.api.names import POD_TEMPLATE_HASH
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import REPLICA_SETS, ROLLOUTS, SERVICES, Resource
from gitops_rollouts.leader import Settings
from gitops_rollouts.local.cluster import Cluster
from traffic.crds import install
from traffic.history import assert_every_write_changed_something
from traffic.istio.kinds import DESTINATION_RULES, VIRTUAL_SERVICES
from traffic.served import assert_served, version_of
from waiting import eventually

pytestmark = pytest.mark.cluster
Raw = dict[str, Any]
KINDS: Final = (VIRTUAL_SERVICES, DESTINATION_RULES, REPLICA_SETS, SERVICES)
STEPS: Final[list[Raw]] = [{"setWeight": 20}, {"pause": {}}, {"setWeight": 60}, {"pause": {}}]


class Life:
    """One Rollout, its VirtualService and its DestinationRule or its pair of Services, all of one name."""

    def __init__(self, client: Client, namespace: str, name: str) -> None:
        self.client = client
        self.namespace = namespace
        self.name = name
        self.shown = Shown(client, namespace, name)

    async def begin(self, *, subsets: bool, services: tuple[str, ...], **canary: Any) -> None:
        for service in services:
            spec = {"selector": {"app": self.name}, "ports": [{"port": 80}]}
            await self._create(SERVICES, service, spec)
        istio: Raw = {"virtualService": {"name": self.name}}
        stable, other = ({"host": name} for name in (services * 2)[:2])
        if subsets:
            stable, other = stable | {"subset": "stable"}, other | {"subset": "canary"}
            istio["destinationRule"] = {
                "name": self.name, "canarySubsetName": "canary", "stableSubsetName": "stable",
            }  # fmt: skip
            found = [{"name": one, "labels": {"app": self.name}} for one in ("canary", "stable")]
            await self._create(DESTINATION_RULES, self.name, {"host": services[0], "subsets": found})
        route = [{"destination": stable, "weight": 100}, {"destination": other, "weight": 0}]
        await self._create(VIRTUAL_SERVICES, self.name, {"hosts": [self.name], "http": [{"route": route}]})
        made = rollout(self.name, steps=STEPS)
        made["spec"]["strategy"]["canary"] |= {"trafficRouting": {"istio": istio}, **canary}
        await self.client.create(ROLLOUTS, self.namespace, made)
        await self.shown.phase("Healthy")

    async def goes_on(self) -> None:
        """A third version in the middle, an abort, a full promotion with the next version right behind, a way back."""
        web = self.shown
        await self._paused("v2", 1)
        await self._paused("v3", 1)
        await web.patch_status(pauseConditions=None)
        await web.phase("Paused", step=3)
        await self.has(60)
        await web.patch_status(abort=True)
        await web.phase("Degraded")
        await self.has(0)
        await self._paused("v4", 1)
        await web.patch_status(promoteFull=True, pauseConditions=None)
        await web.phase("Healthy")
        await self._paused("v5", 1)
        await web.patch_status(pauseConditions=None)
        await web.phase("Paused", step=3)
        await web.set_image("app:v4")
        await web.phase("Healthy")
        await self.has(0)

    async def has(self, weight: int) -> None:
        """Wait until the canary has this weight, by the hashes of the status."""

        async def there() -> bool:
            found = await self.client.get(VIRTUAL_SERVICES, self.namespace, self.name)
            weights = [one.get("weight", 0) for one in found["spec"]["http"][0]["route"]]
            return sorted(weights) == sorted([weight, 100 - weight])

        await eventually(there, deadline=60, what=f"{self.name}: weight {weight}")

    async def hashes(self) -> dict[str, str]:
        """By subset."""
        found = await self.client.get(DESTINATION_RULES, self.namespace, self.name)
        return {one["name"]: one.get("labels", {}).get(POD_TEMPLATE_HASH, "") for one in found["spec"]["subsets"]}

    async def _paused(self, tag: str, step: int) -> None:
        await self.shown.set_image(f"app:{tag}")
        await self.shown.phase("Paused", image=f"app:{tag}", step=step)
        await self.has(20)

    async def _create(self, kind: Resource, name: str, spec: Raw) -> None:
        body = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": name}, "spec": spec}
        await self.client.create(kind, self.namespace, body)


@pytest.mark.long
async def test_no_weight_is_ever_without_pods(client: Client, settings: Settings, crds: Cluster) -> None:
    """By subsets, by subsets while stable shrinks with its traffic, by a pair of Services, and by Services."""
    install(crds, "istio")
    namespace = settings.namespace
    assert namespace is not None
    sub, dyn, duo, two = (Life(client, namespace, name) for name in ("sub", "dyn", "duo", "two"))
    pair = {"pingPong": {"pingService": "duo-ping", "pongService": "duo-pong"}}
    named = {"canaryService": "two-canary", "stableService": "two-stable"}
    async with watching(client, namespace, KINDS) as watched, running(settings):
        await asyncio.gather(
            sub.begin(subsets=True, services=("sub",)),
            dyn.begin(subsets=True, services=("dyn",), dynamicStableScale=True),
            duo.begin(subsets=False, services=("duo-ping", "duo-pong"), **pair),
            two.begin(subsets=False, services=("two-stable", "two-canary"), dynamicStableScale=True, **named),
        )
        first = (await sub.shown.get())["status"]["stableRS"]
        await eventually(lambda: _is(sub, canary=first, stable=first), what="hashes of the first version")
        since = max(version_of(one) for kind in KINDS for one in watched.seen[kind])
        await asyncio.gather(*(one.goes_on() for one in (sub, dyn, duo, two)))
        stable = (await sub.shown.get())["status"]["stableRS"]
        await eventually(lambda: _is(sub, canary=stable, stable=stable), what="the way back in the subsets")
        told = [one for kind in KINDS for one in watched.seen[kind]]
        seen = assert_served(told, 4, since=since)
        assert any(60 in shares.values() for shares in seen)
        assert_every_write_changed_something(
            one for one in told if one["kind"] in ("VirtualService", "DestinationRule")
        )
        await client.delete(ROLLOUTS, namespace, "sub")
        await eventually(lambda: _is(sub, canary="", stable=""), deadline=60, what="no hashes after the deletion")


async def _is(life: Life, **hashes: str) -> bool:
    return await life.hashes() == hashes
