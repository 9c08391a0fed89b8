"""Where routers find their objects: in the cluster of the Rollouts, or Istio's in its primary cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from gitops_rollouts.controllers.observe import Key, LiveRollout
from gitops_rollouts.controllers.primary_cluster import Distant, PrimaryCluster, Unusable
from gitops_rollouts.controllers.queue import DelayQueue
from gitops_rollouts.controllers.routed_left import SETTLE_SECONDS, RoutedLeftovers
from gitops_rollouts.controllers.routed_objects import RoutedObjects
from gitops_rollouts.engine.plan import EmitEvent
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.discovery import Discovery
from gitops_rollouts.kube.events import About
from gitops_rollouts.kube.informer import Informer
from gitops_rollouts.kube.lease import Fence
from gitops_rollouts.telemetry import Metrics
from gitops_rollouts.traffic.built_in import BUILT_IN
from gitops_rollouts.traffic.istio.router import IstioRouter
from gitops_rollouts.traffic.object_router import ObjectRouter
from gitops_rollouts.traffic.objects import Reference
from gitops_rollouts.traffic.over_objects import ObjectRouters
from gitops_rollouts.traffic.router import RouterKind


class RoutedClusters:
    """The routed objects of one or two clusters, their watches, and what cleans up after Rollouts in each.

    ``on_rollout``, ``look_again``: as those of `RoutedObjects`.
    """

    def __init__(
        self,
        client: Client,
        discovery: Discovery,
        fence: Fence,
        rollouts: Informer[LiveRollout],
        emit: Callable[[About, EmitEvent], None],
        metrics: Metrics,
        *,
        namespace: str | None,
        on_rollout: Callable[[Key], None],
        look_again: Callable[[Key, float], None],
        primary: PrimaryCluster | None = None,
    ) -> None:
        self._sides: list[tuple[RoutedObjects, RoutedLeftovers]] = []
        kinds: dict[str, RouterKind] = {}

        def serve(there: Client, known: Discovery, routers: Sequence[ObjectRouter], cluster: str) -> None:
            queue: DelayQueue[Reference] = DelayQueue("RoutedObjects", metrics=metrics)
            objects = RoutedObjects(
                there,
                known,
                fence,
                rollouts,
                routers,
                emit,
                namespace=namespace,
                on_rollout=on_rollout,
                look_again=look_again,
                on_marked=lambda reference: queue.add_after(reference, SETTLE_SECONDS),
            )
            self._sides.append((objects, RoutedLeftovers(client, rollouts, objects, queue, cluster)))
            carrier = Distant(objects) if cluster else objects
            kinds.update({router.key: ObjectRouters(router, carrier, cluster) for router in routers})

        away = [router for router in BUILT_IN if primary is not None and isinstance(router, IstioRouter)]
        serve(client, discovery, [router for router in BUILT_IN if router not in away], "")
        if primary is not None and primary.client is not None:
            serve(primary.client, Discovery(primary.client), away, primary.identity)
        elif primary is not None:
            kinds.update({router.key: Unusable(router, primary.problem) for router in away})
        self.kinds = [kinds[router.key] for router in BUILT_IN]
        """One for each router, in the order in which they are told."""

    def watches(self) -> list[asyncio.Task[Any]]:
        """Start to watch; the tasks never end by themselves."""
        return [asyncio.create_task(each.run(), name="watch of routed objects") for each, _ in self._sides]

    def work(self) -> list[asyncio.Task[Any]]:
        """Start to clean up; the tasks end once closed."""
        return [asyncio.create_task(each.run(), name="routed objects left behind") for _, each in self._sides]

    def close(self) -> None:
        """Begin nothing more."""
        for _, leftovers in self._sides:
            leftovers.queue.close()
