"""Several routers in one Rollout, each with its own kind of objects (docs/behaviour.md §2.6, §15.1, §15.6)."""

from __future__ import annotations

from functools import reduce
from pathlib import Path

import pytest

from gitops_rollouts.kube.client import Client
from gitops_rollouts.leader import Settings
from gitops_rollouts.local.cluster import Cluster
from traffic import test_nginx_on_a_cluster as nginx
from traffic import test_traefik_on_a_cluster as traefik
from traffic.crds import install
from traffic.istio import test_virtual_services_on_a_cluster as istio
from traffic.journey import Case, Moment, Objects, Raw, journey, whole_journey

ROUTERS = (istio, nginx, traefik)
READ = {"VirtualService": istio.weight, "Ingress": nginx.weight, "TraefikService": traefik.weight}


def expected(before: Objects, moment: Moment) -> Objects:
    return reduce(lambda objects, router: router.expected(objects, moment), ROUTERS, before)


def weight(raw: Raw) -> int | None:
    return READ[raw["kind"]](raw)


def meddle(objects: Objects) -> None:
    istio.meddle(objects)
    nginx.meddle(objects)


def enrich(objects: Objects) -> None:
    for router in ROUTERS:
        router.enrich(objects)


@pytest.mark.cluster
@pytest.mark.long
async def test_istio_nginx_and_traefik_in_one_rollout(
    client: Client, settings: Settings, crds: Cluster, tmp_path: Path
) -> None:
    """Each of them says the same weight after each step, and none leaves anything."""
    install(crds, "istio", "traefik")
    routing = {
        "istio": istio.ISTIO,
        "nginx": {
            "stableIngresses": ["edge", "inner"],
            "additionalIngressAnnotations": {"canary-by-header": "X-Canary"},
        },
        "traefik": {"weightedTraefikServiceName": "edge"},
    }
    manifests = [*istio.MANIFESTS, nginx.EDGE, nginx.INNER_ONE, traefik.EDGE]
    kinds = (istio.SERVICES, nginx.INGRESSES, traefik.SERVICES)
    case = Case(routing, manifests, kinds, expected, weight, meddle, enrich, istio.overreach)
    async with journey(client, settings, tmp_path, case) as j:
        await whole_journey(j)
        assert "TrafficRoutingError" not in await j.web.events()
