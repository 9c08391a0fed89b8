"""The objects that routers write, from caches that know our own last writes (docs/behaviour.md §15.6)."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from controllers.running import rollout
from gitops_rollouts.api.meta import Raw
from gitops_rollouts.api.rollout import parse_rollout
from gitops_rollouts.controllers.observe import Key, project_rollout
from gitops_rollouts.controllers.routed_objects import RoutedObjects
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.discovery import Discovery
from gitops_rollouts.kube.informer import Informer
from gitops_rollouts.kube.lease import NoElection
from gitops_rollouts.kube.resources import ROLLOUTS, Resource
from gitops_rollouts.local.cluster import Cluster
from gitops_rollouts.traffic.ingress import INGRESS
from gitops_rollouts.traffic.nginx import NginxRouter
from gitops_rollouts.traffic.objects import Reference, annotations_of, mapping
from waiting import eventually

pytestmark = pytest.mark.cluster
INGRESSES = Resource("networking.k8s.io", "v1", "ingresses", "Ingress", namespaced=True)


class LateClient(Client):
    """A client whose watches tell nothing while ``told`` isn't set, as behind a slow API server."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.told = asyncio.Event()
        self.told.set()

    async def watch_lines(
        self, resource: Resource, namespace: str | None, query: Mapping[str, str], *, silence_seconds: float
    ) -> AsyncIterator[bytes]:
        async for line in super().watch_lines(resource, namespace, query, silence_seconds=silence_seconds):
            await self.told.wait()
            yield line


@pytest.fixture
async def late(kubeconfig: Path, crds: Cluster) -> AsyncIterator[LateClient]:
    connected = await LateClient.connect(str(kubeconfig))
    assert isinstance(connected, LateClient)
    async with connected:
        yield connected


def ingress(weight: int, **metadata: Any) -> Raw:
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    paths = [{"path": "/", "pathType": "Prefix", "backend": backend}]
    about = {**metadata, "annotations": {"weight": str(weight)}}
    return {"metadata": about, "spec": {"rules": [{"http": {"paths": paths}}]}}


async def test_what_was_written_is_what_is_found_however_late_the_watch(
    late: LateClient, client: Client, namespace: str
) -> None:
    """§15.6: created, edited, deleted and created anew while the cache shows what was before."""
    made = rollout("web")
    routing = {"nginx": {"stableIngress": "edge"}}
    made["spec"]["strategy"]["canary"] |= {
        "stableService": "web",
        "canaryService": "web-canary",
        "trafficRouting": routing,
    }
    owner = parse_rollout(await client.create(ROLLOUTS, namespace, made))
    looked: list[Key] = []
    objects = RoutedObjects(
        late,
        Discovery(late),
        NoElection(),
        Informer(late, ROLLOUTS, project_rollout, namespace=namespace),
        [NginxRouter()],
        lambda *_: None,
        namespace=namespace,
        on_rollout=looked.append,
        look_again=lambda *_: None,
        on_marked=lambda _: None,
    )
    beside = Reference(INGRESS, namespace, "web-edge-canary")

    def weight() -> str | None:
        found = objects.get(beside)
        return None if found is None else annotations_of(found)["weight"]

    running = asyncio.create_task(objects.run())
    try:
        await objects.ready(owner, NginxRouter())
        assert weight() is None
        late.told.clear()
        await objects.create(beside, ingress(1), owner)
        assert weight() == "1"
        await objects.edit(beside, {"metadata": {"annotations": {"weight": "2"}}})
        assert weight() == "2"
        late.told.set()
        await _catch_up(objects, client, beside)

        late.told.clear()
        old = objects.get(beside)
        assert old is not None
        await objects.delete(beside, old)
        assert weight() is None
        await objects.delete(beside, old)
        await objects.create(beside, ingress(3, finalizers=["tests.example.com/slow"]), owner)
        assert weight() == "3"
        late.told.set()
        await _catch_up(objects, client, beside)

        # what a finalizer keeps is there, and going
        late.told.clear()
        kept = objects.get(beside)
        assert kept is not None
        await objects.delete(beside, kept)
        assert weight() is None
        late.told.set()

        async def going() -> bool:
            return "deletionTimestamp" in mapping((objects.get(beside) or {}).get("metadata"))

        await eventually(going, what="its deletion to be seen")
        looked.clear()
        release = {"metadata": {"finalizers": None}}
        await client.patch(INGRESSES, namespace, beside.name, release, field_manager="tests")
        await eventually(lambda: _is_gone(objects, beside), what="it to be gone")
        assert looked == [(namespace, "web")]
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def _catch_up(objects: RoutedObjects, client: Client, reference: Reference) -> None:
    """Until the cache shows what somebody else wrote last."""
    change = {"metadata": {"labels": {"seen": secrets.token_hex(4)}}}
    live = await client.patch(INGRESSES, reference.namespace, reference.name, change, field_manager="somebody")

    async def there() -> bool:
        return objects.get(reference) == live

    await eventually(there, what="the cache to catch up")


async def _is_gone(objects: RoutedObjects, reference: Reference) -> bool:
    return objects.get(reference) is None
