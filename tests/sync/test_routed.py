"""Applying a tree takes nothing back that traffic routers set (docs/behaviour.md §15.6)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml

from gitops_rollouts.api.names import ROUTER_MANAGER
from gitops_rollouts.cli.diff import _outcome
from gitops_rollouts.kube.resources import NAMESPACES, ROLLOUTS, Resource
from gitops_rollouts.local.cluster import Cluster
from gitops_rollouts.render.objects import RenderedObject, Source
from gitops_rollouts.sync.routed import is_routed_kind, routes_of
from gitops_rollouts.sync.takeover import Watched
from gitops_rollouts.traffic.built_in import BUILT_IN
from gitops_rollouts.traffic.marker import marked
from gitops_rollouts.traffic.object_router import ObjectRouter
from gitops_rollouts.traffic.router import Routed
from sync.sync_bench import Bench
from traffic.crds import install
from traffic.laid_out import rollout_with

Raw = dict[str, Any]
ROUTING = {"istio": {"virtualService": {"name": "edge"}}}
VIRTUAL_SERVICES = Resource("networking.istio.io", "v1", "virtualservices", "VirtualService", namespaced=True)


def edge(canary: int, stable: int, *hosts: str, namespace: str = "shop") -> Raw:
    route = [
        {"destination": {"host": "web"}, "weight": stable},
        {"destination": {"host": "web-canary"}, "weight": canary},
    ]
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "edge", "namespace": namespace},
        "spec": {"hosts": list(hosts or ("shop.example",)), "http": [{"name": "main", "route": route}]},
    }


def item(raw: Raw) -> RenderedObject:
    meta = raw["metadata"]
    return RenderedObject(raw["apiVersion"], raw["kind"], meta["namespace"], meta["name"], raw, Source("a.yaml", 1))


def in_git(namespace: str = "shop") -> Raw:
    canary = {"stableService": "web", "canaryService": "web-canary", "trafficRouting": ROUTING}
    metadata = {"name": "web", "namespace": namespace}
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "web:v1"}]}}
    spec = {"selector": {"matchLabels": {"app": "web"}}, "template": template, "strategy": {"canary": canary}}
    return {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": metadata, "spec": spec}


@pytest.mark.parametrize("router", BUILT_IN, ids=lambda router: str(router.key))
def test_every_kind_that_a_router_writes_is_read_before_it_is_applied(router: ObjectRouter) -> None:
    """A Service is only read by routers, and sync takes its selector over anyway."""
    unseen = {kind.kind for kind in router.kinds if not is_routed_kind(kind.group, kind.kind)}
    assert unseen <= {"Service"}
    assert not is_routed_kind("", "ConfigMap")


def test_weights_stay_as_they_are_and_all_else_comes_from_git() -> None:
    git = item(edge(50, 50, "shop.example", "www.shop.example"))
    routes = routes_of([in_git()], [git])
    assert routes.keep(git, git.raw, edge(20, 80)) == edge(20, 80, "shop.example", "www.shop.example")
    assert routes_of([in_git("other")], [git]).keep(git, git.raw, edge(20, 80)) == git.raw, "another namespace's edge"
    assert routes_of([], [git]).keep(git, git.raw, edge(20, 80)) == git.raw


def test_a_mark_counts_as_much_as_a_rollout() -> None:
    """The Rollout is in no tree of ours, or gone a moment ago."""
    rollout = rollout_with(ROUTING)
    live = marked(edge(20, 80), Routed(rollout, in_git()["spec"], {}), "istio")
    git = item(edge(50, 50))
    assert routes_of([], [git]).keep(git, git.raw, live) == edge(20, 80)


@pytest.mark.cluster
@pytest.mark.parametrize("force", [True, False])
async def test_git_adds_a_host_beside_weights_that_a_router_holds(bench: Bench, crds: Cluster, force: bool) -> None:
    """The list is one field to the API server, and the router's: that is no conflict for anybody to solve."""
    install(crds, "istio")
    name = await bench.sync(force=force)
    await bench.put({"envs/prod/all.yaml": _tree(edge(50, 50, namespace=bench.namespace))}, name)
    by_router = {"spec": edge(20, 80)["spec"]}
    await bench.client.patch(VIRTUAL_SERVICES, bench.namespace, "edge", by_router, field_manager=ROUTER_MANAGER)
    changed = edge(70, 30, namespace=bench.namespace)
    changed["spec"]["http"][0]["timeout"] = "5s"
    await bench.put({"envs/prod/all.yaml": _tree(changed)}, name)
    live = await bench.client.get(VIRTUAL_SERVICES, bench.namespace, "edge")
    assert live["spec"]["http"] == [{**edge(20, 80)["spec"]["http"][0], "timeout": "5s"}]
    assert "problems" not in await bench.status(name)


@pytest.mark.cluster
async def test_a_rollout_of_another_namespace_counts_although_no_tree_has_it(bench: Bench, crds: Cluster) -> None:
    """Between updates no mark tells of it, and its router would set the weight back at once."""
    install(crds, "istio")
    name, namespace = await bench.sync(), bench.namespace
    elsewhere = f"{namespace}-apps"
    await bench.client.create(
        NAMESPACES, None, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": elsewhere}}
    )
    try:
        rollout = in_git(elsewhere)
        routing = {"istio": {"virtualService": {"name": f"edge.{namespace}"}}}
        rollout["spec"]["strategy"]["canary"]["trafficRouting"] = routing
        await bench.client.create(ROLLOUTS, elsewhere, rollout)
        git = edge(0, 100, namespace=namespace)
        await bench.put({"envs/prod/all.yaml": yaml.safe_dump(git)}, name)
        changed = edge(50, 50, "shop.example", "www.shop.example", namespace=namespace)
        await bench.put({"envs/prod/all.yaml": yaml.safe_dump(changed)}, name)
        live = await bench.client.get(VIRTUAL_SERVICES, namespace, "edge")
        assert live["spec"]["hosts"] == ["shop.example", "www.shop.example"]
        assert live["spec"]["http"] == git["spec"]["http"]
    finally:
        await bench.client.delete(NAMESPACES, None, elsewhere)


def _tree(served: Raw) -> str:
    return yaml.safe_dump_all([in_git(served["metadata"]["namespace"]), served])


@pytest.mark.cluster
async def test_of_many_objects_only_those_that_are_routed_are_read(bench: Bench, crds: Cluster) -> None:
    """A pass costs one write an object and a page of the kind; what began to be routed a moment ago loses nothing."""
    install(crds, "istio")
    name, namespace = await bench.sync(), bench.namespace
    requests = bench.client.requests

    def served(which: str, canary: int, stable: int) -> Raw:
        raw = edge(canary, stable, namespace=namespace)
        return {**raw, "metadata": {**raw["metadata"], "name": which}}

    async def put() -> None:
        await bench.put({"envs/prod/all.yaml": yaml.safe_dump_all([in_git(namespace), *mine])}, name)

    mine = [served("edge", 50, 50), *(served(f"e{number}", 0, 100) for number in range(30))]
    await put()
    # routed by a Rollout of the tree; for one of another tree, marked; by a router that was faster than its mark
    strange = {"istio": {"virtualService": {"name": f"e1.{namespace}"}}}
    canary = {"stableService": "web", "canaryService": "web-canary", "trafficRouting": strange}
    spec = {"strategy": {"canary": canary}}
    live = marked({"metadata": {}, "spec": edge(20, 80)["spec"]}, Routed(rollout_with(strange), spec, {}), "istio")
    await bench.client.patch(VIRTUAL_SERVICES, namespace, "e1", live, field_manager=ROUTER_MANAGER)
    for which in ("edge", "e2"):
        body = {"spec": edge(20, 80)["spec"]}
        await bench.client.patch(VIRTUAL_SERVICES, namespace, which, body, field_manager=ROUTER_MANAGER)
    before = dict(requests)
    for one in mine:
        one["spec"]["hosts"].append("www.shop.example")
    await put()

    def made(verb: str) -> int:
        return sum(
            count - before.get((said, kind), 0)
            for (said, kind), count in requests.items()
            if (said, kind) == (verb, "virtualservices")
        )

    sent = {verb: made(verb) for verb, kind in requests if kind == "virtualservices" and made(verb)}
    assert (made("list"), made("get")) == (1, 3), sent
    assert sum(sent.values()) <= len(mine) + 3 + 1 + 4, sent
    for which, share in (("edge", 20), ("e1", 20), ("e3", 0)):
        found = await bench.client.get(VIRTUAL_SERVICES, namespace, which)
        assert found["spec"]["hosts"] == ["shop.example", "www.shop.example"]
        assert found["spec"]["http"][0]["route"][1].get("weight", 0) == share, which


async def test_a_diff_knows_what_is_routed_before_the_namespace_is_filled_in() -> None:
    """The tree names no namespace, and only the cluster knows the scope of a VirtualService."""
    git = edge(50, 50)
    del git["metadata"]["namespace"]
    placeless = RenderedObject(git["apiVersion"], git["kind"], "", "edge", git, Source("a.yaml", 1))
    watched = Watched(routes=routes_of([in_git()], [placeless]))

    class Served:
        async def get(self, *_: Any) -> Raw:
            return edge(20, 80)

        async def resolve(self, *_: Any) -> Resource:
            return VIRTUAL_SERVICES

    cluster = SimpleNamespace(client=Served())
    found = await _outcome(cast("Any", cluster), Served(), watched, placeless, "shop", laid_over=True)
    assert (found.state, found.changes) == ("same", ())
