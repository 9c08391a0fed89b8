"""A Rollout behind Ambassador on a real control plane, while Git is applied all the while (docs/behaviour.md §15.3)."""

from __future__ import annotations

import copy
from itertools import groupby
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest

from gitops_rollouts.api.names import DRAINED
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import Resource
from gitops_rollouts.leader import Settings
from gitops_rollouts.local.cluster import Cluster
from traffic.crds import install
from traffic.journey import Case, Moment, Objects, journey, whole_journey
from waiting import eventually

pytestmark = pytest.mark.cluster

Raw = dict[str, Any]
MAPPINGS = Resource("getambassador.io", "v3alpha1", "mappings", "Mapping", namespaced=True)
NAMES = ("shop", "admin")


def mapping(name: str) -> Raw:
    spec = {"hostname": "*", "prefix": f"/{name}/", "service": "http://web-stable:80"}
    metadata = {"name": name, "labels": {"team": "shop"}}
    return {"apiVersion": "getambassador.io/v3alpha1", "kind": "Mapping", "metadata": metadata, "spec": spec}


def expected(before: Objects, moment: Moment) -> Objects:
    """After the first weight there is a canary Mapping beside each, until the update is over."""
    after = copy.deepcopy(before)
    for name in NAMES if moment.under_way else ():
        made = copy.deepcopy(before[f"Mapping/{name}"])
        made["metadata"] = {"name": f"{name}-canary", "labels": {"team": "shop"}}
        made["metadata"] |= {} if moment.weight else {"annotations": {DRAINED: ANY}}
        made["spec"] |= {"service": "http://web-canary:80", "weight": moment.weight}
        after[f"Mapping/{name}-canary"] = made
    return after


def canary_weight(raw: Raw) -> int | None:
    weight: int | None = raw["spec"].get("weight")
    return weight


def meddle(objects: Objects) -> None:
    objects["Mapping/shop-canary"]["spec"]["weight"] = 77
    objects["Mapping/admin-canary"]["spec"]["service"] = "http://elsewhere"


def enrich(objects: Objects) -> None:
    objects["Mapping/shop"]["spec"]["timeout_ms"] = 7000


@pytest.mark.long
async def test_a_whole_life_behind_ambassador(
    client: Client, settings: Settings, crds: Cluster, tmp_path: Path
) -> None:
    """§15.3, §15.6: exact objects after each step, abort, rollback and deletion, and no flapping.

    Before that, a canary Mapping that another controller of the API left behind is drained and goes.
    """
    install(crds, "ambassador")
    manifests = [mapping(name) for name in NAMES]
    routing = {"ambassador": {"mappings": list(NAMES)}}
    case = Case(routing, manifests, (MAPPINGS,), expected, canary_weight, meddle=meddle, enrich=enrich)
    async with journey(client, settings, tmp_path, case) as j:
        await j.healthy("v1")
        without = await j.objects()
        left = expected(without, Moment(30, "", "", under_way=True))["Mapping/shop-canary"]
        await client.create(MAPPINGS, j.namespace, left)

        async def gone() -> bool:
            return await j.objects() == without

        await eventually(gone)
        versions = [one for one in j.watched.chapter(MAPPINGS) if one["metadata"]["name"] == "shop-canary"]
        owners = [one["metadata"].get("ownerReferences", [{}])[0].get("name") for one in versions]
        assert [owner for owner, _ in groupby(owners)] == [None, "web"]
        assert next(one["spec"]["weight"] for one in versions if "ownerReferences" in one["metadata"]) == 0
        j.mark()
        await whole_journey(j)
