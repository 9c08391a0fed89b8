"""SMI on the control plane, with its own CustomResourceDefinition (docs/behaviour.md §15.3, §15.5, §15.6)."""

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
from traffic.history import traces
from traffic.journey import Case, Moment, Objects, journey, whole_journey

SPLITS = Resource("split.smi-spec.io", "v1alpha4", "trafficsplits", "TrafficSplit", namespaced=True)


def _split(name: str, service: str, canary: int) -> dict[str, Any]:
    backends = [{"service": "web-canary", "weight": canary}, {"service": "web-stable", "weight": 100 - canary}]
    return {
        "apiVersion": "split.smi-spec.io/v1alpha4",
        "kind": "TrafficSplit",
        "metadata": {"name": name},
        "spec": {"service": service, "backends": backends},
    }


def expected(before: Objects, moment: Moment) -> Objects:
    """Of the stable Service: while an update is under way."""
    after = copy.deepcopy(before)
    if moment.under_way:
        after["TrafficSplit/web"] = _split("web", "web-stable", moment.weight)
    return after


def rooted(before: Objects, moment: Moment) -> Objects:
    """Of a root Service: as long as there is the Rollout."""
    return (
        {} if not moment.stable_hash else {**before, "TrafficSplit/parts": _split("parts", "web-root", moment.weight)}
    )


def weight(raw: dict[str, Any]) -> int | None:
    found: int = raw["spec"]["backends"][0]["weight"]
    return found


def meddle(objects: Objects) -> None:
    (split,) = objects.values()
    split["spec"]["backends"] = [{"service": "elsewhere", "weight": 1}]


@pytest.mark.cluster
@pytest.mark.long
async def test_a_whole_life_with_smi(client: Client, settings: Settings, crds: Cluster, tmp_path: Path) -> None:
    """The TrafficSplit comes with the update and goes with it."""
    install(crds, "smi")
    case = Case({"smi": {}}, [], (SPLITS,), expected, weight, meddle=meddle)
    async with journey(client, settings, tmp_path, case) as j:
        await whole_journey(j)


@pytest.mark.cluster
async def test_the_split_of_a_root_service_lives_as_long_as_the_rollout(
    client: Client, settings: Settings, crds: Cluster, tmp_path: Path
) -> None:
    """§15.6: without it the root Service would lead to pods of every version."""
    install(crds, "smi")
    case = Case(
        {"smi": {"rootService": "web-root", "trafficSplitName": "parts"}},
        [],
        (SPLITS,),
        rooted,
        weight,
        rests=frozenset({"TrafficSplit/parts"}),
        services=("web-canary", "web-stable", "web-root"),
    )
    async with journey(client, settings, tmp_path, case) as j:
        await j.healthy("v1")
        await j.at_rest()
        assert all(traces(one) for one in j.watched.seen[SPLITS]), "the mark was there from the beginning"
        await j.release("v2")
        await j.paused(1, "v2")
        await j.at(20)
        await j.edit(meddle)
        await j.at(20)
        del j.documents["Rollout/web"]
        await j.push()
        await j.shows({})
