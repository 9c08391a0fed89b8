"""Istio subsets and ping-pong on the control plane, while a GitSync applies the same objects (§15.3, §15.5, §15.6)."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Final

import pytest

from controllers.watched import Watched, watching
from gitops_rollouts.api.names import POD_TEMPLATE_HASH
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import REPLICA_SETS, ROLLOUTS, SERVICES
from gitops_rollouts.leader import Settings
from gitops_rollouts.local.cluster import Cluster
from traffic.crds import install
from traffic.istio.kinds import DESTINATION_RULES, VIRTUAL_SERVICES
from traffic.journey import Case, Journey, Moment, Objects, journey, whole_journey
from traffic.served import assert_served, version_of

pytestmark = pytest.mark.cluster
Raw = dict[str, Any]
BEHIND: Final = (ROLLOUTS, REPLICA_SETS, SERVICES)
RULE, ROUTES = "DestinationRule/versions", "VirtualService/web"
REPLICAS: Final = 4


def made(kind: str, name: str, **spec: Any) -> Raw:
    return {"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def to(host: str, weight: int, **more: Any) -> Raw:
    return {"destination": {"host": host, **more}, "weight": weight}


def by_subset(stable: int) -> Raw:
    return made(
        "VirtualService",
        "web",
        hosts=["web"],
        http=[{"route": [to("web", stable, subset="stable"), to("web", 100 - stable, subset="canary")]}],
    )


def subset(name: str, **labels: str) -> Raw:
    return {"name": name, "labels": {"app": "web", **labels}}


SUBSETS = made("DestinationRule", "versions", host="web", subsets=[subset("stable"), subset("canary"), subset("all")])


def weight(raw: Raw) -> int | None:
    """The second destination's."""
    return int(raw["spec"]["http"][0]["route"][1].get("weight", 0)) if raw["kind"] == "VirtualService" else None


def expected(before: Objects, moment: Moment) -> Objects:
    after = copy.deepcopy(before)
    stable, canary = after[ROUTES]["spec"]["http"][0]["route"]
    stable["weight"], canary["weight"] = 100 - moment.weight, moment.weight
    for one, pod_hash in zip(_subsets(after), (moment.stable_hash, moment.canary_hash), strict=True):
        one["labels"].pop(POD_TEMPLATE_HASH)
        one["labels"] |= {POD_TEMPLATE_HASH: pod_hash} if pod_hash else {}
    return after


def meddle(objects: Objects) -> None:
    """Somebody changes weights, and lets the canary's subset take all pods."""
    _set_route(objects, by_subset(75))
    objects[RULE]["spec"]["subsets"][1]["labels"] = {"app": "web"}


def enrich(objects: Objects) -> None:
    """Git changes what people own in both."""
    objects[RULE]["spec"]["trafficPolicy"] = {"tls": {"mode": "ISTIO_MUTUAL"}}
    objects[RULE]["spec"]["subsets"][1]["labels"]["tier"] = "web"
    objects[RULE]["spec"]["subsets"][2]["labels"]["tier"] = "any"
    objects[ROUTES]["spec"]["http"][0]["timeout"] = "5s"


def overreach(objects: Objects) -> None:
    """A hash that was copied into Git, and weights that are ours."""
    objects[RULE]["spec"]["subsets"][0]["labels"][POD_TEMPLATE_HASH] = "copied"
    _set_route(objects, by_subset(10))


def _set_route(objects: Objects, like: Raw) -> None:
    objects[ROUTES]["spec"]["http"][0]["route"] = like["spec"]["http"][0]["route"]


def _subsets(objects: Objects) -> list[Raw]:
    stable, canary, _ = objects[RULE]["spec"]["subsets"]
    return [stable, canary]


CASE = Case(
    {
        "istio": {
            "virtualService": {"name": "web"},
            "destinationRule": {"name": "versions", "canarySubsetName": "canary", "stableSubsetName": "stable"},
        }
    },
    [by_subset(100), SUBSETS],
    (VIRTUAL_SERVICES, DESTINATION_RULES),
    expected,
    weight,
    meddle,
    enrich,
    overreach,
    canary={"canaryService": "", "stableService": ""},
    rests=frozenset({RULE}),
    services=("web",),
)


def by_pair(ping: int) -> Raw:
    route = [to("web-ping", ping), to("web-pong", 100 - ping)]
    return made("VirtualService", "web", hosts=["web"], http=[{"route": route}])


class Pair:
    """Ping is stable until the first promotion, pong from then on. Without the Rollout it is as in Git."""

    def __init__(self) -> None:
        self._first = ""

    def expected(self, before: Objects, moment: Moment) -> Objects:
        self._first = self._first or moment.stable_hash
        after = copy.deepcopy(before)
        ping = 100 - moment.weight if moment.stable_hash in ("", self._first) else moment.weight
        _set_route(after, by_pair(ping))
        return after


PING_PONG = Case(
    {"istio": {"virtualService": {"name": "web"}}},
    [by_pair(100)],
    (VIRTUAL_SERVICES,),
    Pair().expected,
    lambda _: None,
    lambda objects: _set_route(objects, by_pair(75)),
    lambda objects: objects[ROUTES]["spec"]["http"][0].update({"timeout": "5s"}),
    lambda objects: _set_route(objects, by_pair(10)),
    canary={
        "canaryService": "",
        "stableService": "",
        "pingPong": {"pingService": "web-ping", "pongService": "web-pong"},
    },
    services=("web-ping", "web-pong"),
)


def history(j: Journey, behind: Watched) -> list[Raw]:
    """All versions of all objects that say where traffic goes, until the Rollout and its pods are deleted."""
    end = max(map(version_of, behind.seen[ROLLOUTS]))
    found = [one for watched, kinds in ((j.watched, j.case.kinds), (behind, BEHIND)) for kind in kinds for one in
             watched.seen[kind]]  # fmt: skip
    return [one for one in found if version_of(one) <= end]


@pytest.mark.long
@pytest.mark.parametrize("case", [CASE, PING_PONG], ids=["subsets", "ping-pong"])
async def test_a_whole_life(client: Client, settings: Settings, crds: Cluster, tmp_path: Path, case: Case) -> None:
    """Exact objects after each step, other people's edits, and pods behind every weight after every single write."""
    install(crds, "istio")
    assert settings.namespace is not None
    async with watching(client, settings.namespace, BEHIND) as behind:
        async with journey(client, settings, tmp_path, case) as j:
            await whole_journey(j)
            healthy = (one for one in behind.seen[ROLLOUTS] if one.get("status", {}).get("phase") == "Healthy")
            seen = assert_served(history(j, behind), REPLICAS, since=min(map(version_of, healthy)))
        assert len(seen) > 8, seen
