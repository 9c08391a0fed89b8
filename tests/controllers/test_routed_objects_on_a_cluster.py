"""The objects that routers write, from caches that know our own last writes (docs/behaviour.md §15.6)."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from controllers.running import Shown, rollout, running
from custom_kinds import establish
from gitops_rollouts.api.meta import ObjectMeta, Raw
from gitops_rollouts.api.rollout import Rollout, parse_rollout
from gitops_rollouts.api.traffic import TrafficRouting
from gitops_rollouts.controllers.observe import Key, project_rollout
from gitops_rollouts.controllers.routed_objects import RoutedObjects
from gitops_rollouts.errors import KubeError, KubeUnreachable
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.discovery import Discovery
from gitops_rollouts.kube.informer import Informer
from gitops_rollouts.kube.lease import NoElection
from gitops_rollouts.kube.resources import CONFIG_MAPS, ROLLOUTS, SERVICES, Resource
from gitops_rollouts.leader import Settings
from gitops_rollouts.local.cluster import Cluster
from gitops_rollouts.traffic.ingress import INGRESS
from gitops_rollouts.traffic.nginx import NginxRouter
from gitops_rollouts.traffic.object_router import ObjectRouter
from gitops_rollouts.traffic.objects import Found, Reference, RoutedKind, annotations_of, mapping
from traffic.laid_out import rollout_with
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

    watching = asyncio.create_task(objects.run())
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
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def _catch_up(objects: RoutedObjects, client: Client, reference: Reference) -> None:
    """Until the cache shows what somebody else wrote last."""
    change = {"metadata": {"labels": {"seen": secrets.token_hex(4)}}}
    live = await client.patch(INGRESSES, reference.namespace, reference.name, change, field_manager="somebody")

    async def there() -> bool:
        return objects.get(reference) == live

    await eventually(there, what="the cache to catch up")


async def _is_gone(objects: RoutedObjects, reference: Reference) -> bool:
    return objects.get(reference) is None


async def test_an_abort_waits_for_no_object_that_can_not_be_read(
    client: Client, namespace: str, settings: Settings, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """§15.6: its pods and the other router go back; the router itself follows as soon as it can be read."""
    made = rollout("web", steps=[{"setWeight": 75}, {"pause": {}}])
    routing = {"nginx": {"stableIngress": "edge"}, "plugins": {"example/config-map": {"name": "web-edge"}}}
    services = {"canaryService": "web-canary", "stableService": "web"}
    made["spec"]["strategy"]["canary"] |= {**services, "trafficRouting": routing, "dynamicStableScale": True}
    for name in services.values():
        body = {"metadata": {"name": name}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}}
        await client.create(SERVICES, namespace, {"apiVersion": "v1", "kind": "Service", **body})
    whole = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", **ingress(0, name="edge")}
    await client.create(INGRESSES, namespace, whole)
    await client.create(ROLLOUTS, namespace, made)
    web = Shown(client, namespace)

    async def weights() -> tuple[str, str]:
        beside = await client.get(INGRESSES, namespace, "web-edge-canary")
        edge = await client.get(CONFIG_MAPS, namespace, "web-edge")
        by_nginx = annotations_of(beside)["nginx.ingress.kubernetes.io/canary-weight"]
        return by_nginx, edge["data"]["canary-weight"]

    watch = RoutedObjects._watch

    async def unreadable(self: RoutedObjects, kind: RoutedKind) -> Any:
        if kind == INGRESS:
            raise KubeUnreachable("no answer yet")
        return await watch(self, kind)

    async with running(replace(settings, plugin_seconds=20)):
        await web.phase("Healthy")
        await web.set_image("app:v2")
        await web.phase("Paused", image="app:v2")
        await eventually(lambda: _equal(weights, ("75", "75")), deadline=60, what="three quarters on the canary")
        monkeypatch.setattr(RoutedObjects, "_watch", unreadable)
        await web.patch_status(abort=True)
        await eventually(lambda: _equal(weights, ("75", "0")), deadline=60, what="the other router to be told")
        status = (await web.get())["status"]
        assert status["abortedAt"]
        assert (await web.sizes())["app:v1"] == 4
        monkeypatch.setattr(RoutedObjects, "_watch", watch)
        await eventually(lambda: _equal(weights, ("0", "0")), deadline=60, what="this router to be told, too")


async def test_a_status_says_what_to_do_about_an_object_of_somebody_else(
    client: Client, namespace: str, settings: Settings
) -> None:
    """§4.1 TrafficRouted, §15.3: the condition and the message, not only the log; and it goes on once that is done."""
    made = rollout("web", steps=[{"setWeight": 50}, {"pause": {}}])
    services = {"canaryService": "web-canary", "stableService": "web"}
    made["spec"]["strategy"]["canary"] |= {**services, "trafficRouting": {"nginx": {"stableIngress": "edge"}}}
    for name in services.values():
        body = {"metadata": {"name": name}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}}
        await client.create(SERVICES, namespace, {"apiVersion": "v1", "kind": "Service", **body})
    for name in ("edge", "web-edge-canary"):
        whole = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", **ingress(0, name=name)}
        await client.create(INGRESSES, namespace, whole)
    await client.create(ROLLOUTS, namespace, made)
    web = Shown(client, namespace)

    async def told() -> bool:
        message = str((await web.get()).get("status", {}).get("message", ""))
        what = "canary ingress `web-edge-canary` controlled by different object"
        return message.endswith(f": {what} (delete it, or give the Rollout or the stable Ingress another name)")

    async with running(settings):
        await web.phase("Healthy")
        await web.set_image("app:v2")
        await eventually(told, deadline=60, what="the status to say what to do")
        await client.delete(INGRESSES, namespace, "web-edge-canary")
        await web.phase("Paused", image="app:v2")


async def _equal(look: Callable[[], Awaitable[Any]], wanted: Any) -> bool:
    return bool(await look() == wanted)


class Things:
    """As much of a router as the carrier needs to know of one."""

    key = "things"
    kinds = (RoutedKind("routed.example.com", "Thing", "things", ("v2", "v1")),)

    def asked(self, routing: TrafficRouting) -> bool:
        return True

    def referred(self, rollout: Rollout, found: Found) -> list[Reference]:
        return [Reference(self.kinds[0], rollout.metadata.namespace, "one", "spec.x")]


async def test_a_kind_that_comes_late_goes_and_comes_back_in_another_version(
    client: Client, namespace: str, crds: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """§15.6: nothing is believed of what isn't served any more, and nobody has to restart anything."""
    monkeypatch.setattr("gitops_rollouts.controllers.routed_objects.UNSERVED_SECONDS", 0.2)
    monkeypatch.setattr("gitops_rollouts.kube.discovery._REFRESH_SECONDS", 0.2)
    router = cast("ObjectRouter", Things())
    (kind,) = Things.kinds
    owner = rollout_with({}).model_copy(update={"metadata": ObjectMeta(namespace=namespace, name="web")})
    looked: list[Key] = []
    objects = RoutedObjects(
        client,
        Discovery(client),
        NoElection(),
        Informer(client, ROLLOUTS, project_rollout, namespace=namespace),
        [router],
        lambda *_: None,
        namespace=namespace,
        on_rollout=looked.append,
        look_again=lambda *_: None,
        on_marked=lambda _: None,
    )
    one = Reference(kind, namespace, "one")

    async def version() -> str:
        try:
            await objects.ready(owner, router)
        except KubeError:
            return "unknown"
        found = objects.get(one)
        return "" if found is None else str(found["apiVersion"]).rpartition("/")[2]

    watching = asyncio.create_task(objects.run())
    try:
        assert await version() == ""
        establish(crds.api_server(), [_things("v1")])
        resource = Resource(kind.group, "v1", kind.plural, kind.kind, namespaced=True)
        body = {"apiVersion": "routed.example.com/v1", "kind": "Thing", "metadata": {"name": "one"}}
        await client.create(resource, namespace, body)
        await eventually(lambda: _equal(version, "v1"), what="the kind to be found")
        looked.clear()
        establish(crds.api_server(), [_things("v2")])
        await eventually(lambda: _equal(version, "v2"), deadline=90, what="the other version to be read")
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


def _things(served: str) -> Raw:
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    versions = [
        {"name": name, "served": name == served, "storage": name == "v1", "schema": schema} for name in ("v1", "v2")
    ]
    names = {"kind": "Thing", "plural": "things", "singular": "thing", "listKind": "ThingList"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.routed.example.com"},
        "spec": {"group": "routed.example.com", "scope": "Namespaced", "names": names, "versions": versions},
    }
