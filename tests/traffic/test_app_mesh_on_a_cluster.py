"""App Mesh on the control plane, with a minimal schema of its kinds (docs/behaviour.md §15.3, §15.5, §15.6)."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from gitops_rollouts.api.names import MANAGED_BY_ROLLOUTS, POD_TEMPLATE_HASH
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import Resource
from gitops_rollouts.leader import Settings
from gitops_rollouts.local.cluster import Cluster
from traffic.crds import install
from traffic.journey import Case, Moment, Objects, journey, whole_journey

API = "appmesh.k8s.aws/v1beta2"
MEDDLED = "nonsense"
KINDS = tuple(
    Resource("appmesh.k8s.aws", "v1beta2", f"{kind.lower()}s", kind, namespaced=True)
    for kind in ("VirtualService", "VirtualRouter", "VirtualNode")
)
ROUTING = {
    "appMesh": {
        "virtualService": {"name": "web", "routes": ["main", "calls"]},
        "virtualNodeGroup": {
            "canaryVirtualNodeRef": {"name": "web-canary"},
            "stableVirtualNodeRef": {"name": "web-stable"},
        },
    }
}


def _thing(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": API, "kind": kind, "metadata": {"name": name}, "spec": spec}


def _node(name: str, **labels: str) -> dict[str, Any]:
    dns = {"hostname": f"{name}.shop.svc.cluster.local"}
    selector = {"matchLabels": {"app": "web", **labels}}
    return _thing("VirtualNode", name, podSelector=selector, serviceDiscovery={"dns": dns})


def _route(name: str, protocol: str) -> dict[str, Any]:
    targets = [
        {"virtualNodeRef": {"name": "web-stable"}, "weight": 100, "port": 8080},
        {"virtualNodeRef": {"name": "web-canary"}, "weight": 0, "port": 8080},
    ]
    return {"name": name, protocol: {"match": {"prefix": "/"}, "action": {"weightedTargets": targets}}}


FOREIGN = {
    "name": "docs",
    "httpRoute": {
        "match": {"prefix": "/docs"},
        "action": {"weightedTargets": [{"virtualNodeRef": {"name": "docs"}, "weight": 100}]},
    },
}
MANIFESTS = [
    _thing("VirtualService", "web", provider={"virtualRouter": {"virtualRouterRef": {"name": "edge"}}}),
    _thing("VirtualRouter", "edge", routes=[FOREIGN, _route("main", "httpRoute"), _route("calls", "grpcRoute")]),
    _node("web-canary", **{POD_TEMPLATE_HASH: "canary-hash"}),
    _node("web-stable"),
]


def _routes(objects: Objects) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = objects["VirtualRouter/edge"]["spec"]["routes"]
    return found


def _targets(route: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (route.get("httpRoute") or route["grpcRoute"])["action"]["weightedTargets"]
    return found


def _set(objects: Objects, canary: int, stable: int) -> None:
    for target in (each for route in _routes(objects) for each in _targets(route)):
        name = target["virtualNodeRef"]["name"]
        target["weight"] = {"web-canary": canary, "web-stable": stable}.get(name, target["weight"])


def expected(before: Objects, moment: Moment) -> Objects:
    """The hashes are there as long as there is the Rollout; the canary's is never stable's."""
    after = copy.deepcopy(before)
    _set(after, moment.weight, 100 - moment.weight)
    canary = moment.canary_hash if moment.canary_hash != moment.stable_hash else "canary-hash"
    for name, pod_hash in (("web-canary", canary), ("web-stable", moment.stable_hash)):
        node = after[f"VirtualNode/{name}"]
        labels = node["spec"]["podSelector"]["matchLabels"]
        if not moment.stable_hash:
            node["metadata"].pop("annotations", None)
            labels.pop(POD_TEMPLATE_HASH)
        else:
            node["metadata"]["annotations"] = {MANAGED_BY_ROLLOUTS: "web"}
            labels[POD_TEMPLATE_HASH] = pod_hash
    if not moment.stable_hash:
        after["VirtualNode/web-canary"]["spec"]["podSelector"]["matchLabels"][POD_TEMPLATE_HASH] = "canary-hash"
    return after


def weight(raw: dict[str, Any]) -> int | None:
    if raw["kind"] != "VirtualRouter":
        return None
    (main,) = [route for route in raw["spec"]["routes"] if route["name"] == "main"]
    found: int = _targets(main)[1]["weight"]
    return found


def meddle(objects: Objects) -> None:
    _set(objects, 77, 23)
    objects["VirtualNode/web-canary"]["spec"]["podSelector"]["matchLabels"][POD_TEMPLATE_HASH] = MEDDLED


def enrich(objects: Objects) -> None:
    """Git moves a route, gives it a timeout, and a VirtualNode another label."""
    routes = _routes(objects)
    routes.append(routes.pop(0))
    routes[0]["httpRoute"]["timeout"] = {"idle": {"unit": "s", "value": 5}}
    objects["VirtualNode/web-stable"]["spec"]["podSelector"]["matchLabels"]["tier"] = "front"


def assert_every_node_with_traffic_had_pods(told: list[dict[str, Any]]) -> None:
    """At every moment until the Rollout goes: a canary with weight selects a version, and so does stable.

    When all weight goes from the canary to stable at the end of an update, stable selects that version already.
    """
    canary, stable, routed, before = "", "", 0, 0
    seen: set[int] = set()
    for one in sorted(told, key=lambda raw: int(raw["metadata"]["resourceVersion"])):
        if one["kind"] == "VirtualNode":
            is_canary = one["metadata"]["name"] == "web-canary"
            selected = one["spec"]["podSelector"]["matchLabels"].get(POD_TEMPLATE_HASH, "")
            if MANAGED_BY_ROLLOUTS not in one["metadata"].get("annotations", {}):
                if canary and stable:
                    break
                continue
            canary, stable = (selected, stable) if is_canary else (canary, selected)
        elif (found := weight(one)) is not None:
            before, routed = routed, found
            seen.add(found)
            assert (before, routed) != (100, 0) or stable == canary, "stable has not the version that it is to serve"
        if routed and canary != MEDDLED:
            assert canary not in ("", "canary-hash"), f"the canary has weight {routed} and no pods"
        assert not routed or stable, "stable selects no version"
    assert seen >= {0, 20, 60, 100}


@pytest.mark.cluster
@pytest.mark.long
async def test_a_whole_life_with_app_mesh(client: Client, settings: Settings, crds: Cluster, tmp_path: Path) -> None:
    install(crds, "appMesh")
    case = Case(
        ROUTING,
        MANIFESTS,
        KINDS,
        expected,
        weight,
        meddle=meddle,
        enrich=enrich,
        overreach=lambda objects: _set(objects, 50, 50),
        rests=frozenset({"VirtualNode/web-canary", "VirtualNode/web-stable"}),
    )
    async with journey(client, settings, tmp_path, case) as j:
        await whole_journey(j)
        told = [one for kind in KINDS for one in j.watched.seen[kind]]
    assert_every_node_with_traffic_had_pods(told)
