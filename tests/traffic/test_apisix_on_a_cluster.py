"""A Rollout behind APISIX on a real control plane, while Git is applied all the while (docs/behaviour.md §15.3)."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import Resource
from gitops_rollouts.leader import Settings
from gitops_rollouts.local.cluster import Cluster
from traffic.crds import install
from traffic.journey import Case, Moment, Objects, journey, whole_journey

pytestmark = pytest.mark.cluster

Raw = dict[str, Any]
ROUTES = Resource("apisix.apache.org", "v2", "apisixroutes", "ApisixRoute", namespaced=True)
ROUTE = "ApisixRoute/edge"
MATCH = [{"headerName": "X-Insider", "headerValue": {"exact": "yes"}}]
EXPRESSION = {"subject": {"scope": "Header", "name": "X-Insider"}, "op": "Equal", "value": "yes"}


def backend(service: str, weight: int) -> Raw:
    return {"serviceName": service, "servicePort": 80, "weight": weight}


def apisix_route() -> Raw:
    match = {"hosts": ["shop.example"], "paths": ["/*"]}
    rules = [
        {
            "name": "images",
            "match": {"paths": ["/img/*"]},
            "backends": [backend("web-stable", 3), backend("images", 1)],
        },
        {"name": "front", "match": match, "backends": [backend("web-stable", 100), backend("web-canary", 0)]},
    ]
    spec = {"ingressClassName": "apisix", "http": rules}
    return {"apiVersion": "apisix.apache.org/v2", "kind": "ApisixRoute", "metadata": {"name": "edge"}, "spec": spec}


def front(objects: Objects) -> Raw:
    rule: Raw = objects[ROUTE]["spec"]["http"][-1]
    return rule


def weighted(objects: Objects, canary: int) -> None:
    front(objects)["backends"] = [backend("web-stable", 100 - canary), backend("web-canary", canary)]


def expected(before: Objects, moment: Moment) -> Objects:
    after = copy.deepcopy(before)
    weighted(after, moment.weight)
    return after


def canary_weight(raw: Raw) -> int | None:
    rule = raw["spec"]["http"][-1]
    weight: int | None = rule["backends"][-1]["weight"] if len(rule["backends"]) > 1 else None
    return weight


def enrich(objects: Objects) -> None:
    """Git puts a rule before the others and a timeout into the one that is weighted."""
    rule = {"name": "api", "match": {"paths": ["/api/*"]}, "backends": [backend("api", 7)]}
    objects[ROUTE]["spec"]["http"].insert(0, rule)
    front(objects)["timeout"] = {"read": "7s"}


def case(routing: Raw, **canary: Any) -> Case:
    return Case(
        {"apisix": {"route": {"name": "edge", "rules": ["front"]}}, **routing},
        [apisix_route()],
        (ROUTES,),
        expected,
        canary_weight,
        meddle=lambda objects: weighted(objects, 55),
        enrich=enrich,
        overreach=lambda objects: weighted(objects, 99),
        canary=canary,
    )


@pytest.mark.long
async def test_a_whole_life_behind_apisix(client: Client, settings: Settings, crds: Cluster, tmp_path: Path) -> None:
    """§15.3, §15.6: exact objects after each step, abort, rollback and deletion, and no flapping."""
    install(crds, "apisix")
    async with journey(client, settings, tmp_path, case({})) as j:
        await whole_journey(j)


async def test_a_header_route_behind_apisix(client: Client, settings: Settings, crds: Cluster, tmp_path: Path) -> None:
    """§15.3: an object of its own from its step on, whatever Git or somebody changes, until it is taken out."""
    install(crds, "apisix")
    steps = [
        {"setCanaryScale": {"replicas": 1}},
        {"setHeaderRoute": {"name": "edge-insiders", "match": MATCH}},
        {"pause": {}},
        {"setWeight": 30},
        {"pause": {}},
        {"setHeaderRoute": {"name": "edge-insiders"}},
        {"pause": {}},
    ]

    def with_header_route(weight: int) -> Objects:
        after = copy.deepcopy(j.before)
        weighted(after, weight)
        rule = front(j.before)
        match = {**rule["match"], "exprs": [EXPRESSION]}
        copied = {**rule, "priority": 1, "match": match, "backends": [backend("web-canary", 100)]}
        made = {**j.before[ROUTE], "metadata": {"name": "edge-insiders"}, "spec": {"ingressClassName": "apisix"}}
        made["spec"]["http"] = [copied]
        return {**after, "ApisixRoute/edge-insiders": made}

    routed = case({"managedRoutes": [{"name": "edge-insiders"}]}, steps=steps)
    async with journey(client, settings, tmp_path, routed) as j:
        await j.healthy("v1")
        j.before = await j.objects()
        await j.release("v2")
        await j.paused(2, "v2")
        await j.shows(with_header_route(0))
        owners = (await j.live())["ApisixRoute/edge-insiders"]["metadata"]["ownerReferences"]
        assert [(one["kind"], one["name"], one["controller"]) for one in owners] == [("Rollout", "web", True)]
        await j.promote(2)
        await j.paused(4, "v2")
        for objects in (j.documents, j.before):
            enrich(objects)
        await j.push()
        await j.shows(with_header_route(30))
        await j.promote(4)
        await j.paused(6, "v2")
        await j.at(30)
        await j.promote(6)
        await j.healthy("v2")
        await j.at_rest()

        await j.release("v3")
        await j.paused(2, "v3")
        await j.shows(with_header_route(0))
        await j.abort()
        await j.web.phase("Degraded", image="app:v3")
        await j.shows(expected(j.before, await j.moment(0, under_way=True)))

        await j.release("v4")
        await j.paused(2, "v4")
        await j.edit(lambda objects: objects["ApisixRoute/edge-insiders"]["spec"]["http"][0].update(priority=0))
        await j.shows(with_header_route(0))
        del j.documents["Rollout/web"]
        await j.push()
        await j.shows(j.before)
        await j.has_no_traces()
