"""The NGINX router on the control plane, while a GitSync applies the same Ingresses all the time (§15.3, §15.6)."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import Resource
from gitops_rollouts.leader import Settings
from traffic.journey import Case, Moment, Objects, journey, whole_journey

pytestmark = pytest.mark.cluster
INGRESSES = Resource("networking.k8s.io", "v1", "ingresses", "Ingress", namespaced=True)
WEIGHT = "nginx.ingress.kubernetes.io/canary-weight"
INNER = "web-inner-canary"


def path(at: str, service: str) -> dict[str, Any]:
    return {"path": at, "pathType": "Prefix", "backend": {"service": {"name": service, "port": {"number": 80}}}}


def ingress(name: str, *rules: dict[str, Any]) -> dict[str, Any]:
    spec = {"ingressClassName": "nginx", "rules": list(rules)}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": name}, "spec": spec}


EDGE = ingress(
    "edge",
    {"host": "shop.example", "http": {"paths": [path("/api", "api"), path("/", "web-stable")]}},
    {"host": "admin.example", "http": {"paths": [path("/", "admin")]}},
)
INNER_ONE = ingress("inner", {"host": "in.example", "http": {"paths": [path("/", "web-stable")]}})


def expected(before: Objects, moment: Moment) -> Objects:
    """A canary Ingress beside each one while an update is under way: its rules for the stable Service, rewritten."""
    after = copy.deepcopy(before)
    if not moment.under_way:
        return after
    for name in ("edge", "inner"):
        stable = before[f"Ingress/{name}"]
        canary = {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": {
                "name": f"web-{name}-canary",
                "annotations": {
                    "nginx.ingress.kubernetes.io/canary": "true",
                    "nginx.ingress.kubernetes.io/canary-by-header": "X-Canary",
                    WEIGHT: str(moment.weight),
                },
            },
            "spec": copy.deepcopy(stable["spec"]),
        }
        canary["spec"]["rules"] = [rule for rule in canary["spec"]["rules"] if rule["host"] != "admin.example"]
        for rule in canary["spec"]["rules"]:
            for each in rule["http"]["paths"]:
                if each["backend"]["service"]["name"] == "web-stable":
                    each["backend"]["service"]["name"] = "web-canary"
        after[f"Ingress/web-{name}-canary"] = canary
    return after


def weight(raw: dict[str, Any]) -> int | None:
    found = (raw["metadata"].get("annotations") or {}).get(WEIGHT)
    return None if found is None else int(found)


def meddle(objects: Objects) -> None:
    """Somebody sends all to the canary, and takes a rule out."""
    objects["Ingress/web-edge-canary"]["metadata"]["annotations"][WEIGHT] = "100"
    objects[f"Ingress/{INNER}"]["spec"]["rules"][0]["host"] = "elsewhere.example"


def enrich(objects: Objects) -> None:
    """Git gives the Ingress another host and an annotation."""
    edge = objects["Ingress/edge"]
    edge["spec"]["rules"].append({"host": "m.shop.example", "http": {"paths": [path("/", "web-stable")]}})
    edge["metadata"]["annotations"] = {"nginx.ingress.kubernetes.io/proxy-read-timeout": "7"}


async def test_a_whole_journey_by_canary_ingresses(client: Client, settings: Settings, tmp_path: Path) -> None:
    """§15.3, §15.6: canary, abort, rollback and deletion; Git's Ingresses are Git's, ours are gone at the end."""
    routing = {
        "nginx": {
            "stableIngresses": ["edge", "inner"],
            "additionalIngressAnnotations": {"canary-by-header": "X-Canary"},
        }
    }
    case = Case(routing, [EDGE, INNER_ONE], (INGRESSES,), expected, weight, meddle, enrich)
    async with journey(client, settings, tmp_path, case) as j:
        await whole_journey(j)
        assert "TrafficRoutingError" not in await j.web.events()
