"""VirtualServices of a Rollout's whole life on the control plane (docs/behaviour.md §15.3, §15.5, §15.6)."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from controllers.running import Shown, rollout
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import Resource
from gitops_rollouts.leader import Settings
from gitops_rollouts.local.cluster import Cluster
from traffic.crds import install
from traffic.journey import Case, Moment, Objects, journey, whole_journey

pytestmark = [pytest.mark.cluster, pytest.mark.long]

Raw = dict[str, Any]
SERVICES = Resource("networking.istio.io", "v1", "virtualservices", "VirtualService", namespaced=True)
WEB, EDGE = "VirtualService/web", "VirtualService/edge"
WEIGHTED = ((WEB, "http", 1), (WEB, "tcp", 0), (EDGE, "tls", 0))
"""(object, protocol, index) of the routes with weights."""


def to(host: str, weight: int | None = None) -> Raw:
    return {"destination": {"host": host}, **({} if weight is None else {"weight": weight})}


def both(canary: int) -> list[Raw]:
    return [to("web-stable", 100 - canary), to("web-canary", canary)]


def virtual_service(name: str, **spec: Any) -> Raw:
    metadata = {"name": name, "labels": {"team": "a"}}
    body = {"hosts": ["shop.example"], "gateways": ["edge"], **spec}
    return {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": metadata, "spec": body}


IMAGES = {"name": "images", "match": [{"uri": {"prefix": "/img"}}], "route": [to("images")]}
PRIMARY = {"name": "primary", "timeout": "5s", "route": [*both(0), to("idle", 0)]}
TCP = [{"match": [{"port": 5432}], "route": both(0)}]
TLS = [{"match": [{"port": 443, "sniHosts": ["shop.example"]}], "route": both(0)}]
MANIFESTS = [virtual_service("web", http=[IMAGES, PRIMARY], tcp=TCP), virtual_service("edge", tls=TLS)]
ISTIO = {"virtualServices": [{"name": "web", "routes": ["primary"]}, {"name": "edge"}]}


def expected(before: Objects, moment: Moment) -> Objects:
    after = copy.deepcopy(before)
    for name, protocol, index in WEIGHTED:
        after[name]["spec"][protocol][index]["route"][:2] = both(moment.weight)
    return after


def weight(raw: Raw) -> int | None:
    routes = [route for protocol in ("http", "tls", "tcp") for route in raw["spec"].get(protocol, ())]
    found = {
        one.get("weight", 0)
        for route in routes
        if route.get("name") != "staff"
        for one in route["route"]
        if one["destination"]["host"] == "web-canary"
    }
    (only,) = found  # all routes of an object move in one write
    return int(only)


def meddle(objects: Objects) -> None:
    """Somebody moves traffic, and adds a destination."""
    objects[WEB]["spec"]["http"][1]["route"][:2] = both(90)
    objects[WEB]["spec"]["tcp"][0]["route"] = [*both(90), to("elsewhere", 10)]
    objects[EDGE]["spec"]["tls"][0]["route"] = both(90)


def enrich(objects: Objects) -> None:
    """Git: a host, a time-out, a route before and one after, a label."""
    spec = objects[WEB]["spec"]
    spec["hosts"] = ["shop.example", "www.shop.example"]
    spec["http"][1]["timeout"] = "9s"
    spec["http"][1]["retries"] = {"attempts": 2}
    spec["http"].append({"name": "rest", "route": [to("rest")]})
    spec["http"][0]["match"].append({"uri": {"prefix": "/pictures"}})
    objects[EDGE]["metadata"]["labels"] = {"team": "b"}


def overreach(objects: Objects) -> None:
    """Git: weights that are the router's."""
    objects[WEB]["spec"]["http"][1]["route"][:2] = both(50)
    objects[EDGE]["spec"]["tls"][0]["route"] = both(50)


async def test_virtual_services_through_a_whole_canary(
    client: Client, settings: Settings, crds: Cluster, tmp_path: Path
) -> None:
    """§15.3: http, tls and tcp routes of two objects, exactly, while Git is applied over them all the while."""
    install(crds, "istio")
    case = Case({"istio": ISTIO}, MANIFESTS, (SERVICES,), expected, weight, meddle, enrich, overreach)
    async with journey(client, settings, tmp_path, case) as j:
        await whole_journey(j)


STEPS = [
    {"setCanaryScale": {"replicas": 1}},
    {"setHeaderRoute": {"name": "staff", "match": [{"headerName": "x-staff", "headerValue": {"exact": "yes"}}]}},
    {"pause": {}},
    {"setMirrorRoute": {"name": "shadow", "match": [{"path": {"prefix": "/"}}], "percentage": 30}},
    {"setWeight": 20},
    {"pause": {}},
    {"setHeaderRoute": {"name": "staff"}},
    {"setWeight": 60},
    {"pause": {}},
]
STAFF = {"name": "staff", "match": [{"headers": {"x-staff": {"exact": "yes"}}}], "route": [to("web-canary", 100)]}


def shadow(canary: int) -> Raw:
    return {
        "name": "shadow",
        "match": [{"uri": {"prefix": "/"}}],
        "route": [*both(canary), to("idle")],
        "mirror": {"host": "web-canary"},
        "mirrorPercentage": {"value": 30},
    }


def with_routes(before: Objects, moment: Moment, *managed: Raw) -> Objects:
    after = expected(before, moment)
    after[WEB]["spec"]["http"][:0] = managed
    return after


async def test_header_and_mirror_routes_on_a_cluster(
    client: Client, settings: Settings, crds: Cluster, tmp_path: Path
) -> None:
    """§15.3: set and removed by steps, an abort, the end and with the Rollout; Git neither takes nor brings one."""
    install(crds, "istio")
    routing = {"istio": ISTIO, "managedRoutes": [{"name": "shadow"}, {"name": "staff"}]}
    case = Case(routing, MANIFESTS, (SERVICES,), expected, weight, canary={"steps": STEPS})
    async with journey(client, settings, tmp_path, case) as j:
        await j.healthy("v1")
        j.before = await j.objects()

        async def shows(canary: int, *managed: Raw) -> None:
            await j.shows(with_routes(j.before, await j.moment(canary, under_way=True), *managed))

        async def up_to_twenty(tag: str) -> None:
            await j.release(tag)
            await j.paused(2, tag)
            await shows(0, STAFF)
            await j.promote(2)
            await j.paused(5, tag)
            await shows(20, shadow(20), STAFF)

        await up_to_twenty("v2")
        for objects in (j.documents, j.before):
            enrich(objects)
        await j.push()
        await shows(20, shadow(20), STAFF)
        await j.promote(5)
        await j.paused(8, "v2")
        await shows(60, shadow(60))
        await j.promote(8)
        await j.healthy("v2")
        await j.at_rest()
        j.mark()
        await up_to_twenty("v3")
        await j.abort()
        await j.web.phase("Degraded", image="app:v3")
        await shows(0)
        await up_to_twenty("v4")
        del j.documents["Rollout/web"]
        await j.push()
        await j.shows(j.before)
        await j.has_no_traces()


def header_step(name: str) -> Raw:
    return {"setHeaderRoute": {"name": name, "match": [{"headerName": f"x-{name}", "headerValue": {"exact": "yes"}}]}}


def header_route(name: str, host: str) -> Raw:
    return {"name": name, "match": [{"headers": {f"x-{name}": {"exact": "yes"}}}], "route": [to(host, 100)]}


async def test_two_rollouts_share_a_virtual_service_on_a_cluster(
    client: Client, settings: Settings, crds: Cluster, tmp_path: Path
) -> None:
    """§15.6: each with its own route and header route; one ends, the other goes on, then it is deleted."""
    install(crds, "istio")

    def steps(weight: int, name: str) -> list[Raw]:
        return [{"setWeight": weight}, header_step(name), {"pause": {}}]

    def routing(name: str, managed: str) -> Raw:
        istio = {"virtualService": {"name": "web", "routes": [name]}}
        return {"istio": istio, "managedRoutes": [{"name": managed}]}

    canary = {"canaryService": "api-canary", "stableService": "api", "steps": steps(50, "vip")}
    api = rollout("api")
    api["spec"]["strategy"] = {"canary": {**canary, "trafficRouting": routing("api", "vip")}}
    services = [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
         "spec": {"selector": {"app": "api"}, "ports": [{"port": 80}]}}
        for name in ("api", "api-canary")
    ]  # fmt: skip

    def both_routes(web: int, other: int) -> list[Raw]:
        return [
            {"name": "primary", "route": both(web)},
            {"name": "api", "route": [to("api", 100 - other), to("api-canary", other)]},
        ]

    def one(raw: Raw) -> int | None:
        routes = [route for route in raw["spec"]["http"] if route["name"] == "primary"]
        return int(routes[0]["route"][1]["weight"])

    manifests = [virtual_service("web", http=both_routes(0, 0)), api, *services]
    case = Case(
        routing("primary", "staff"), manifests, (SERVICES,), expected, one, canary={"steps": steps(20, "staff")}
    )  # fmt: skip
    async with journey(client, settings, tmp_path, case) as j:
        second = Shown(client, j.namespace, "api")
        await j.healthy("v1")
        await second.phase("Healthy", image="app:v1")
        j.before = await j.objects()

        async def shows(*http: Raw) -> None:
            now = copy.deepcopy(j.before)
            now[WEB]["spec"]["http"] = list(http)
            await j.shows(now)

        staff, vip = header_route("staff", "web-canary"), header_route("vip", "api-canary")
        await j.release("v2")
        await j.paused(2, "v2")
        await shows(staff, *both_routes(20, 0))
        j.documents["Rollout/api"]["spec"]["template"]["spec"]["containers"][0]["image"] = "app:v2"
        await j.push()
        await second.phase("Paused", image="app:v2", step=2)
        await shows(vip, staff, *both_routes(20, 50))
        await j.promote(2)
        await j.healthy("v2")
        await shows(vip, *both_routes(0, 50))
        stored = await j.live()
        await j.full_pass()
        assert await j.live() == stored, "a write while one Rollout rests and the other waits"
        del j.documents["Rollout/api"]
        await j.push()
        await j.shows(j.before)
        await j.has_no_traces()
        j.no_weight_went_back({0, 20, 100})


async def test_an_experiments_share_of_the_traffic_on_a_cluster(
    client: Client, settings: Settings, crds: Cluster, tmp_path: Path
) -> None:
    """§15.1, §15.3: a destination for its Service in every route while it runs, in the order of time; Git keeps it."""
    install(crds, "istio")
    trial = {"templates": [{"name": "trial", "specRef": "canary", "weight": 10}], "duration": "10s"}
    steps = [{"setWeight": 20}, {"experiment": trial}, {"pause": {}}]
    case = Case({"istio": ISTIO}, MANIFESTS, (SERVICES,), expected, weight, canary={"steps": steps})
    async with journey(client, settings, tmp_path, case) as j:
        await j.healthy("v1")
        j.before = await j.objects()
        container = j.documents["Rollout/web"]["spec"]["template"]["spec"]["containers"][0]
        container["ports"] = [{"containerPort": 8080}]  # an experiment's Service needs some
        await j.release("v2")
        await j.paused(2, "v2")
        await j.at(20)
        seen: dict[str, list[tuple[int, int, int]]] = {WEB: [], EDGE: []}
        for raw in j.watched.chapter(SERVICES):
            protocol = "tls" if "tls" in raw["spec"] else "tcp"
            told = {one["destination"]["host"]: one["weight"] for one in raw["spec"][protocol][0]["route"]}
            split = (told.pop("web-stable"), told.pop("web-canary"), sum(told.values()))
            series = seen[f"VirtualService/{raw['metadata']['name']}"]
            if series[-1:] != [split]:
                series.append(split)
        assert seen == {name: [(100, 0, 0), (80, 20, 0), (70, 20, 10), (80, 20, 0)] for name in seen}
