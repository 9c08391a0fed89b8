"""Traefik on the control plane, with its own CustomResourceDefinitions (docs/behaviour.md §15.3, §15.5, §15.6)."""

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

SERVICES = Resource("traefik.io", "v1alpha1", "traefikservices", "TraefikService", namespaced=True)
EDGE = {
    "apiVersion": "traefik.io/v1alpha1",
    "kind": "TraefikService",
    "metadata": {"name": "edge"},
    "spec": {
        "weighted": {
            "services": [
                {"name": "docs", "port": 8080, "weight": 7},
                {"name": "web-stable", "port": 80, "weight": 100},
                {"name": "web-canary", "port": 80, "weight": 0},
            ],
            "sticky": {"cookie": {"name": "side"}},
        }
    },
}


def _entries(objects: Objects) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = objects["TraefikService/edge"]["spec"]["weighted"]["services"]
    return found


def _set(objects: Objects, canary: int, stable: int) -> None:
    for entry in _entries(objects):
        entry["weight"] = {"web-canary": canary, "web-stable": stable}.get(entry["name"], entry["weight"])


def expected(before: Objects, moment: Moment) -> Objects:
    after = copy.deepcopy(before)
    _set(after, moment.weight, 100 - moment.weight)
    return after


def weight(raw: dict[str, Any]) -> int | None:
    found = [one["weight"] for one in raw["spec"]["weighted"]["services"] if one["name"] == "web-canary"]
    return found[0] if found else None


def enrich(objects: Objects) -> None:
    """Git adds a Service at the front, changes a port and what isn't the Rollout's weight."""
    entries = _entries(objects)
    entries[0] |= {"weight": 9}
    entries[1] |= {"port": 8081}
    entries.insert(0, {"name": "more", "port": 80, "weight": 1})
    objects["TraefikService/edge"]["spec"]["weighted"]["sticky"] = {"cookie": {"name": "other"}}


@pytest.mark.cluster
@pytest.mark.long
async def test_a_whole_life_with_traefik(client: Client, settings: Settings, crds: Cluster, tmp_path: Path) -> None:
    install(crds, "traefik")
    case = Case(
        {"traefik": {"weightedTraefikServiceName": "edge"}},
        [EDGE],
        (SERVICES,),
        expected,
        weight,
        meddle=lambda objects: _set(objects, 77, 23),
        enrich=enrich,
        overreach=lambda objects: _set(objects, 50, 50),
    )
    async with journey(client, settings, tmp_path, case) as j:
        await whole_journey(j)
