"""The ALB router on the control plane, while a GitSync applies the same Ingresses all the time (§15.3, §15.6)."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import Resource
from gitops_rollouts.leader import Settings
from traffic.journey import Case, Moment, Objects, journey, whole_journey

pytestmark = pytest.mark.cluster
INGRESSES = Resource("networking.k8s.io", "v1", "ingresses", "Ingress", namespaced=True)
TRACKED = "rollouts.argoproj.io/managed-alb-annotations"
ACTION = "alb.ingress.kubernetes.io/actions.web-stable"
OF_GIT = '{"type":"forward","targetGroupARN":"of Git"}'


def path(at: str, service: str, *, own: bool = False) -> dict[str, Any]:
    port: dict[str, Any] = {"number": 80} if own else {"name": "use-annotation"}
    kind = "ImplementationSpecific" if at == "/*" else "Prefix"
    return {"path": at, "pathType": kind, "backend": {"service": {"name": service, "port": port}}}


def ingress(name: str, host: str, *, service: str = "web-stable", **annotations: str) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name}
    if annotations:
        metadata["annotations"] = annotations
    rules = [{"host": host, "http": {"paths": [path("/api", "api", own=True), path("/", service)]}}]
    spec = {"ingressClassName": "alb", "rules": rules}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata, "spec": spec}


def action(**weights: int) -> str:
    groups = [
        {"ServiceName": name.replace("_", "-"), "ServicePort": "80", "Weight": weight}
        for name, weight in weights.items()
    ]
    return json.dumps({"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}, separators=(",", ":"))


def with_actions(before: Objects, value: str, **others: str | None) -> Objects:
    """Every Ingress with this action, and these other annotations."""
    after = copy.deepcopy(before)
    for one in after.values():
        shown = {**one["metadata"].get("annotations", {}), ACTION: value, **others}
        one["metadata"]["annotations"] = {key: text for key, text in shown.items() if text is not None}
    return after


def given_back(before: Objects) -> Objects:
    """All on stable; where Git has the action, Git's counts again."""
    after = with_actions(before, action(web_stable=100), **{TRACKED: None})
    after["Ingress/edge"]["metadata"]["annotations"][ACTION] = OF_GIT
    return after


def expected(before: Objects, moment: Moment) -> Objects:
    """The action in every Ingress, also between updates; without the Rollout all on stable, or what Git says."""
    if not moment.stable_hash:
        return given_back(before)
    split = action(web_canary=moment.weight, web_stable=100 - moment.weight)
    return with_actions(before, split, **{TRACKED: json.dumps({"web": [ACTION]}, separators=(",", ":"))})


def weight(raw: dict[str, Any]) -> int | None:
    shown = raw["metadata"].get("annotations") or {}
    if TRACKED not in shown or ACTION not in shown:
        return None
    groups = json.loads(shown[ACTION]).get("ForwardConfig", {}).get("TargetGroups", [])
    return next((one["Weight"] for one in groups if one["ServiceName"] == "web-canary"), None)


def meddle(objects: Objects) -> None:
    """Somebody takes the action away, and forgets whose it was."""
    del objects["Ingress/edge"]["metadata"]["annotations"][ACTION]
    del objects["Ingress/inner"]["metadata"]["annotations"][TRACKED]


def enrich(objects: Objects) -> None:
    """Git gives an Ingress another host and an annotation."""
    edge = objects["Ingress/edge"]
    edge["spec"]["rules"].append({"host": "m.shop.example", "http": {"paths": [path("/", "web-stable")]}})
    edge["metadata"]["annotations"]["alb.ingress.kubernetes.io/scheme"] = "internal"


def overreach(objects: Objects) -> None:
    """Git changes the action that the router owns."""
    objects["Ingress/edge"]["metadata"]["annotations"][ACTION] = OF_GIT + " "


async def test_a_whole_journey_by_annotations(client: Client, settings: Settings, tmp_path: Path) -> None:
    """§15.3, §15.6: canary, abort, rollback and deletion, with the action in Git and without."""
    routing = {"alb": {"ingresses": ["edge", "inner"], "servicePort": 80}}
    manifests = [ingress("edge", "shop.example", **{ACTION: OF_GIT}), ingress("inner", "in.example")]
    case = Case(
        routing, manifests, (INGRESSES,), expected, weight, meddle, enrich, overreach,
        rests=frozenset({"Ingress/edge", "Ingress/inner"}),
    )  # fmt: skip
    async with journey(client, settings, tmp_path, case) as j:
        await whole_journey(j)
        assert "TrafficRoutingError" not in await j.web.events()


async def test_git_and_a_header_route_in_one_ingress(client: Client, settings: Settings, tmp_path: Path) -> None:
    """§15.6: rules are one list to Kubernetes; an apply takes no path out, and Git may change the others meanwhile."""
    routing = {"alb": {"ingress": "edge", "servicePort": 80}, "managedRoutes": [{"name": "beta"}]}
    header = [{"headerName": "X-Beta", "headerValue": {"exact": "yes"}}]
    steps = [
        {"setCanaryScale": {"replicas": 1}},
        {"setHeaderRoute": {"name": "beta", "match": header}},
        {"setWeight": 20},
        {"pause": {}},
    ]
    case = Case(
        routing, [ingress("edge", "shop.example")], (INGRESSES,), expected, weight,
        canary={"steps": steps}, rests=frozenset({"Ingress/edge"}),
    )  # fmt: skip

    def routed(before: Objects, canary: int) -> Objects:
        keys = [ACTION, *(f"alb.ingress.kubernetes.io/{kind}.beta" for kind in ("actions", "conditions"))]
        condition = {"field": "http-header", "httpHeaderConfig": {"httpHeaderName": "X-Beta", "values": ["yes"]}}
        after = with_actions(
            before,
            action(web_canary=canary, web_stable=100 - canary),
            **{
                TRACKED: json.dumps({"web": keys}, separators=(",", ":")),
                keys[1]: action(web_canary=100),
                keys[2]: json.dumps([condition], separators=(",", ":")),
            },
        )
        for rule in after["Ingress/edge"]["spec"]["rules"]:
            rule["http"]["paths"].insert(0, path("/*", "beta"))
        return after

    async with journey(client, settings, tmp_path, case) as j:
        await j.healthy("v1")
        j.before = await j.objects()
        await j.at_rest()
        await j.release("v2")
        await j.paused(3, "v2")
        await j.shows(routed(j.before, 20))

        for objects in (j.documents, j.before):
            rules = objects["Ingress/edge"]["spec"]["rules"]
            rules[0]["http"]["paths"][0]["path"] = "/api/v2"
            rules.append({"host": "m.shop.example", "http": {"paths": [path("/", "web-stable")]}})
        await j.push()
        await j.shows(routed(j.before, 20))
        await j.abort()
        await j.web.phase("Degraded", image="app:v2")
        await j.at(0)
        await j.release("v1")
        await j.healthy("v1")
        await j.at_rest()
        j.no_weight_went_back({0, 20})
