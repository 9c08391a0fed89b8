"""A primary cluster that doesn't answer holds up no worker (docs/behaviour.md §15.3)."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from gitops_rollouts.api.rollout import Rollout, parse_rollout
from gitops_rollouts.controllers.primary_cluster import Distant
from gitops_rollouts.errors import RoutingError
from gitops_rollouts.traffic.among import Among
from gitops_rollouts.traffic.istio.router import IstioRouter
from gitops_rollouts.traffic.object_router import ObjectRouter
from gitops_rollouts.traffic.objects import Found, Reference, Tell
from gitops_rollouts.traffic.over_objects import ObjectRouters
from gitops_rollouts.traffic.router import routing_of
from traffic.laid_out import rollout_with

ISTIO = rollout_with({"istio": {"virtualService": {"name": "web"}}})
WEB = parse_rollout({"metadata": {"name": "web", "namespace": "shop"}, "spec": {}})


class Cluster:
    """Answers only while it is ``up``; counts who asks."""

    def __init__(self) -> None:
        self.up = False
        self.asked = 0

    async def ready(self, rollout: Rollout, router: ObjectRouter) -> Found:
        self.asked += 1
        if not self.up:
            await asyncio.Event().wait()
        return Among([])

    async def edit(self, reference: Reference, patch: dict[str, Any]) -> dict[str, Any]:
        return patch

    async def create(self, reference: Reference, body: dict[str, Any], owner: Rollout) -> None: ...

    async def delete(self, reference: Reference, live: dict[str, Any]) -> None: ...

    def tell(self, rollout: Rollout, event: Tell) -> None: ...

    def again(self, rollout: Rollout, after: timedelta) -> None: ...


async def test_after_one_wait_in_vain_the_next_ones_fail_at_once() -> None:
    """And it is looked for again after the pause."""
    now, cluster = [100.0], Cluster()
    routing = routing_of(ISTIO)
    assert routing is not None
    distant = Distant(cluster, patience=0.05, pause=10, clock=lambda: now[0])
    with pytest.raises(RoutingError, match="no answer within"):
        await distant.ready(WEB, IstioRouter())
    for _ in range(3):
        with pytest.raises(RoutingError, match="a moment ago"):
            await distant.ready(WEB, IstioRouter())
    assert await ObjectRouters(IstioRouter(), distant).problems(ISTIO, routing) == ([], []), "nobody says it is missing"
    assert cluster.asked == 1
    now[0] += 11
    cluster.up = True
    assert await distant.ready(WEB, IstioRouter())
    assert cluster.asked == 2
