"""Gateway API on the control plane, with its own CustomResourceDefinitions (docs/behaviour.md §15.4–§15.6)."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from custom_kinds import establish
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import SERVICES, Resource
from gitops_rollouts.leader import Settings
from gitops_rollouts.local.cluster import Cluster
from traffic.crds import definitions, install
from traffic.journey import Case, Moment, Objects, journey, whole_journey
from waiting import eventually

Raw = dict[str, Any]
GROUP = "gateway.networking.k8s.io"
KINDS = (
    Resource(GROUP, "v1", "httproutes", "HTTPRoute", namespaced=True),
    Resource(GROUP, "v1", "grpcroutes", "GRPCRoute", namespaced=True),
    Resource(GROUP, "v1alpha2", "tcproutes", "TCPRoute", namespaced=True),
    Resource(GROUP, "v1alpha2", "tlsroutes", "TLSRoute", namespaced=True),
)
LABEL = "rollouts.argoproj.io/gatewayapi-canary"
ACTIVE = "rollouts.argoproj.io/gatewayapi-active-rollouts"


def ref(name: str, weight: int, port: int = 80) -> Raw:
    return {"group": "", "kind": "Service", "name": name, "port": port, "weight": weight}


def pair(canary: int = 0, stable: int = 100) -> list[Raw]:
    return [ref("web-stable", stable), ref("web-canary", canary)]


def at(path: str) -> list[Raw]:
    return [{"path": {"type": "PathPrefix", "value": path}}]


def route(resource: Resource, *rules: Raw, labels: dict[str, str] | None = None, **spec: Any) -> Raw:
    metadata = {"name": "web", **({"labels": labels} if labels else {})}
    body = {"parentRefs": [{"name": "edge"}], "rules": list(rules), **spec}
    return {"apiVersion": f"{GROUP}/{resource.version}", "kind": resource.kind, "metadata": metadata, "spec": body}


HTTP, GRPC, TCP, TLS = KINDS
MANIFESTS = [
    route(
        HTTP,
        {"name": "main", "matches": at("/"), "backendRefs": [*pair(), ref("docs", 0)]},
        {"matches": at("/admin"), "backendRefs": [ref("web-stable", 1)]},
    ),
    route(GRPC, {"backendRefs": pair()}),
    route(TCP, {"backendRefs": pair()}),
    route(TLS, {"backendRefs": pair()}, labels={"app": "web"}, hostnames=["web.example"]),
]
CONFIG = {
    "httpRoute": "web",
    "grpcRoutes": [{"name": "web"}],
    "tcpRoute": "web",
    "tlsRouteSelector": {"matchLabels": {"app": "web"}},
}


def _refs(raw: Raw) -> list[Raw]:
    return [one for rule in raw["spec"]["rules"] for one in rule["backendRefs"] if len(rule["backendRefs"]) > 1]


def _set(objects: Objects, canary: int, stable: int) -> None:
    for raw in (raw for name, raw in objects.items() if name.endswith("Route/web")):
        for one in _refs(raw):
            one["weight"] = {"web-canary": canary, "web-stable": stable}.get(one["name"], one["weight"])


def _moving(raw: Raw, *, is_moving: bool) -> None:
    if is_moving:
        raw["metadata"].setdefault("labels", {})[LABEL] = "in-progress"


def expected(before: Objects, moment: Moment) -> Objects:
    after = copy.deepcopy(before)
    _set(after, moment.weight, 100 - moment.weight)
    for raw in after.values():
        _moving(raw, is_moving=moment.weight > 0)
    return after


def weight(raw: Raw) -> int | None:
    return next((int(one["weight"]) for one in _refs(raw) if one["name"] == "web-canary"), None)


def enrich(objects: Objects) -> None:
    """Git adds a rule before the others, a timeout, a host and a label, and weighs a Service that isn't ours."""
    http = objects["HTTPRoute/web"]
    main = http["spec"]["rules"][0]
    main["timeouts"] = {"request": "9s"}
    main["backendRefs"][2]["weight"] = 3
    new = {"name": "new", "matches": at("/new"), "backendRefs": [ref("docs", 1)]}
    http["spec"]["rules"].insert(0, new)
    http["metadata"].setdefault("labels", {})["team"] = "shop"
    objects["TLSRoute/web"]["spec"]["hostnames"] = ["web.example", "www.example"]


@pytest.mark.cluster
@pytest.mark.long
async def test_a_whole_life_with_routes_of_all_kinds(
    client: Client, settings: Settings, crds: Cluster, tmp_path: Path
) -> None:
    """§15.4: HTTPRoute by name, GRPCRoute from a list, TCPRoute by name, TLSRoute by a selector."""
    install(crds, "gatewayAPI")
    case = Case(
        {"plugins": {"argoproj-labs/gatewayAPI": CONFIG}},
        MANIFESTS,
        KINDS,
        lambda before, moment: _listed(expected(before, moment), settings.namespace or "", moment),
        weight,
        meddle=lambda objects: _set(objects, 77, 23),
        enrich=enrich,
        overreach=lambda objects: _set(objects, 50, 50),
    )
    async with journey(client, settings, tmp_path, case) as j:
        await whole_journey(j)


def _listed(objects: Objects, namespace: str, moment: Moment) -> Objects:
    for raw in objects.values():
        if moment.weight > 0:
            raw["metadata"].setdefault("annotations", {})[ACTIVE] = f"{namespace}/web"
    return objects


WHO = [{"type": "Exact", "name": "who", "value": "me"}]
STEPS = [
    {"setCanaryScale": {"replicas": 1}},
    {"setHeaderRoute": {"name": "early", "match": [{"headerName": "who", "headerValue": {"exact": "me"}}]}},
    {"pause": {}},
    {"setMirrorRoute": {"name": "copy", "percentage": 20, "match": [{"method": {"exact": "GET"}}]}},
    {"setWeight": 30},
    {"setCanaryScale": {"matchTrafficWeight": True}},
    {"pause": {}},
    {"experiment": {"templates": [{"name": "more", "specRef": "canary", "weight": 5}]}},
]


def without_names(definition: Raw) -> Raw:
    """As before Gateway API 1.4: rules have no names."""
    made = copy.deepcopy(definition)
    for version in made["spec"]["versions"]:
        rules = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"].get("rules", {})
        rules.get("items", {}).get("properties", {}).pop("name", None)
        checks = rules.pop("x-kubernetes-validations", [])
        rules["x-kubernetes-validations"] = [one for one in checks if "l1.name" not in one["rule"]]
    return made


@pytest.fixture
def nameless(crds: Cluster, request: pytest.FixtureRequest) -> Iterator[bool]:
    """Whether the API server knows no names of rules."""
    if request.param:
        establish(crds.api_server(), [without_names(one) for one in definitions("gatewayAPI") if _is_tested(one)])
    else:
        install(crds, "gatewayAPI")
    yield request.param
    install(crds, "gatewayAPI")


def _is_tested(definition: Raw) -> bool:
    return definition["spec"]["names"]["kind"] in (HTTP.kind, GRPC.kind)


@pytest.mark.cluster
@pytest.mark.long
@pytest.mark.parametrize("nameless", [False, True], indirect=True, ids=["rules with names", "before Gateway API 1.4"])
async def test_header_routes_mirrors_and_experiments_come_with_their_steps_and_go_with_an_abort(
    client: Client, settings: Settings, tmp_path: Path, *, nameless: bool
) -> None:
    """§15.4: rules of our own beside Git's, kept while Git is applied, gone after an abort."""
    routing = {
        "plugins": {
            "argoproj-labs/gatewayAPI": {"httpRoute": "web", "grpcRoute": "web", "disableInProgressLabel": True}
        },
        "managedRoutes": [{"name": "copy"}, {"name": "early"}],
    }
    manifests = copy.deepcopy(MANIFESTS[:2])
    if nameless:
        del manifests[0]["spec"]["rules"][0]["name"]
    case = Case(routing, manifests, (HTTP, GRPC), expected, weight, canary={"steps": STEPS})
    async with journey(client, settings, tmp_path, case) as j:
        await j.healthy("v1")
        j.before = before = await j.objects()
        container = j.documents["Rollout/web"]["spec"]["template"]["spec"]["containers"][0]
        container["ports"] = [{"containerPort": 8080, "name": "http"}]
        await j.release("v2")
        await j.paused(2, "v2")
        wanted = copy.deepcopy(before)
        _add_header_rules(wanted, nameless=nameless)
        await j.shows(wanted)
        if not nameless:
            await j.edit(_for_somebody_else)
            await j.shows(wanted)

        j.documents["HTTPRoute/web"]["spec"]["rules"][1]["matches"] = at("/admins")
        before["HTTPRoute/web"]["spec"]["rules"][1]["matches"] = at("/admins")
        await j.promote(2)
        await j.paused(6, "v2")
        wanted = copy.deepcopy(before)
        _set(wanted, 30, 70)
        _add_header_rules(wanted, nameless=nameless)
        _add_mirror_rules(wanted, nameless=nameless)
        await j.shows(wanted)

        await j.promote(6)
        service = await _experiments_service(j.client, j.namespace)
        _set(wanted, 30, 65)
        for raw in wanted.values():
            for rule in (rule for rule in raw["spec"]["rules"] if len(rule["backendRefs"]) > 1):
                rule["backendRefs"].append(ref(service, 5, 8080))
        await j.shows(wanted)

        await j.abort()
        await j.web.phase("Degraded", image="app:v2")
        await j.shows(before)
        del container["ports"]
        await j.release("v1")
        await j.healthy("v1")
        await j.at_rest()


def _for_somebody_else(objects: Objects) -> None:
    for raw in objects.values():
        raw["spec"]["rules"][-1]["matches"][0]["headers"][0]["value"] = "you"


def _add_header_rules(objects: Objects, *, nameless: bool) -> None:
    http, grpc = objects["HTTPRoute/web"]["spec"]["rules"], objects["GRPCRoute/web"]["spec"]["rules"]
    alone = [ref("web-canary", 1)]
    name = {} if nameless else {"name": "early"}
    http.append({**name, "matches": [{**at("/")[0], "headers": WHO}], "backendRefs": alone})
    grpc.append({**name, "matches": [{"headers": WHO}], "backendRefs": alone})


def _add_mirror_rules(objects: Objects, *, nameless: bool) -> None:
    target = {key: value for key, value in ref("web-canary", 0).items() if key != "weight"}
    copies = [{"type": "RequestMirror", "requestMirror": {"backendRef": target, "percent": 20}}]
    http = objects["HTTPRoute/web"]["spec"]["rules"]
    refs = copy.deepcopy(http[0]["backendRefs"])
    matches = [{**at("/")[0], "method": "GET"}]
    name = {} if nameless else {"name": "copy"}
    http.insert(0, {**name, "matches": matches, "filters": copies, "backendRefs": refs})


async def _experiments_service(client: Client, namespace: str) -> str:
    """The Service of the experiment, once it is there."""

    async def named() -> str:
        found = [one["metadata"]["name"] for one in await client.list(SERVICES, namespace)]
        return next((name for name in found if name.endswith("-more")), "")

    return str(await eventually(named, deadline=60, what="a Service of the experiment"))


@pytest.mark.cluster
@pytest.mark.long
async def test_ping_pong_rests_on_the_service_of_the_last_version_whatever_git_says(
    client: Client, settings: Settings, crds: Cluster, tmp_path: Path
) -> None:
    """§14.3, §15.4: no weight moves at the end of an update; Git goes on saying all to pong."""
    install(crds, "gatewayAPI")
    refs = [ref("web-pong", 100), ref("web-ping", 0)]
    case = Case(
        {"plugins": {"argoproj-labs/gatewayAPI": {"httpRoute": "web", "disableInProgressLabel": True}}},
        [route(HTTP, {"matches": at("/"), "backendRefs": refs})],
        (HTTP,),
        lambda before, moment: before,
        lambda raw: next(one["weight"] for one in _refs(raw) if one["name"] == "web-ping"),
        canary={
            "canaryService": "",
            "stableService": "",
            "pingPong": {"pingService": "web-ping", "pongService": "web-pong"},
            "steps": [{"setWeight": 40}, {"pause": {}}],
        },
        services=("web-ping", "web-pong"),
    )
    async with journey(client, settings, tmp_path, case) as j:
        await j.healthy("v1")
        j.before = await j.objects()
        await j.shows(_ping(j.before, 100))
        j.mark()
        for tag, series in (("v2", [60, 0]), ("v3", [40, 100])):
            moving, last = series
            await j.release(tag)
            await j.paused(1, tag)
            await j.shows(_ping(j.before, moving))
            await j.promote(1)
            await j.healthy(tag)
            await j.shows(_ping(j.before, last))
        assert j.weights() == {"HTTPRoute/web": [60, 0, 40, 100]}
        await j.release("v4")
        await j.paused(1, "v4")
        await j.abort()
        await j.web.phase("Degraded", image="app:v4")
        await j.shows(_ping(j.before, 100))
        del j.documents["Rollout/web"]
        await j.push()
        await j.shows(_ping(j.before, 0))
        await j.has_no_traces()


def _ping(before: Objects, weight: int) -> Objects:
    after = copy.deepcopy(before)
    for one in _refs(after["HTTPRoute/web"]):
        one["weight"] = {"web-ping": weight, "web-pong": 100 - weight}[one["name"]]
    return after
