"""The cluster that has Istio's objects, where that isn't the one of the Rollouts (docs/behaviour.md §15.3)."""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import structlog

from gitops_rollouts.api.meta import Raw
from gitops_rollouts.api.names import PRIMARY_CLUSTER
from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.api.traffic import TrafficRouting
from gitops_rollouts.api.validation import FieldError
from gitops_rollouts.errors import ConfigError, Forbidden, KubeUnreachable, NotFound, RoutingError
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import SECRETS
from gitops_rollouts.traffic.object_router import ObjectRouter
from gitops_rollouts.traffic.objects import Found, Reference, Tell
from gitops_rollouts.traffic.over_objects import Carrier
from gitops_rollouts.traffic.router import Routed, Router

Clock = Callable[[], float]
_REACH: Final = "the kubeconfig is in the Secret with the label istio.argoproj.io/primary-cluster"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PrimaryCluster:
    """``identity``: what marks in it call the cluster of the Rollouts. Without a client: ``problem`` tells why."""

    client: Client | None
    identity: str
    problem: str = ""


async def primary_cluster(client: Client, namespace: str) -> PrimaryCluster | None:
    """What the labelled Secret of this namespace says, the first by name; None if there is none, or none may be listed.

    Nothing is sent to the cluster yet. Raises `KubeError` but for a missing right.
    """
    try:
        found = await client.list(SECRETS, namespace, f"{PRIMARY_CLUSTER}=true")
    except (Forbidden, NotFound):
        log.info("no look for Istio's primary cluster: Secrets can't be listed", namespace=namespace)
        return None
    secrets = sorted(found, key=lambda secret: str(secret["metadata"]["name"]))
    if not secrets:
        return None
    secret = secrets[0]
    name, identity = f"Secret {namespace}/{secret['metadata']['name']}", str(secret["metadata"].get("uid") or "")
    try:
        primary = await Client.of_kubeconfig(_kubeconfig(secret.get("data"), name), name)
    except ConfigError as error:
        log.error("Istio's primary cluster can't be used", error=str(error))
        return PrimaryCluster(None, identity, error.message)
    log.info("Istio's objects are in its primary cluster", cluster=primary.server, secret=name)
    return PrimaryCluster(primary, identity)


def _kubeconfig(data: Any, name: str) -> str:
    """The one value of the Secret: its key is the cluster's name, as `istioctl create-remote-secret` writes it."""
    values = [value for value in (data if isinstance(data, dict) else {}).values() if isinstance(value, str)]
    if len(values) != 1:
        raise ConfigError(f"{name} has {len(values)} entries, and should have one, a kubeconfig")
    try:
        return base64.b64decode(values[0], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise ConfigError(f"What {name} has is no text") from None


class Distant:
    """A carrier over a cluster that may be out of reach while ours is fine: nobody waits long, nor soon again.

    ``patience``, ``pause``: seconds for the first look, and until the next one after a failure.
    """

    def __init__(
        self, carrier: Carrier, *, patience: float = 3.0, pause: float = 10.0, clock: Clock = time.monotonic
    ) -> None:
        self._carrier = carrier
        self._patience = patience
        self._pause = pause
        self._clock = clock
        self._next = 0.0

    async def ready(self, rollout: Rollout, router: ObjectRouter) -> Found:
        """As `Carrier.ready`. Raises `RoutingError`, so that the status tells it, at once if it did a moment ago."""
        if self._clock() < self._next:
            raise RoutingError("Istio's primary cluster was out of reach a moment ago", remedy=_REACH)
        try:
            async with asyncio.timeout(self._patience):
                return await self._carrier.ready(rollout, router)
        except (TimeoutError, KubeUnreachable) as error:
            self._next = self._clock() + self._pause
            why = str(error) or f"no answer within {self._patience:g} s"
            raise RoutingError(f"Istio's primary cluster is out of reach: {why}", remedy=_REACH) from error

    async def edit(self, reference: Reference, patch: Raw) -> Raw:
        """As `Carrier.edit`."""
        return await self._carrier.edit(reference, patch)

    async def create(self, reference: Reference, body: Raw, owner: Rollout) -> None:
        """As `Carrier.create`."""
        await self._carrier.create(reference, body, owner)

    async def delete(self, reference: Reference, live: Raw) -> None:
        """As `Carrier.delete`."""
        await self._carrier.delete(reference, live)

    def tell(self, rollout: Rollout, event: Tell) -> None:
        """As `Carrier.tell`."""
        self._carrier.tell(rollout, event)

    def again(self, rollout: Rollout, after: timedelta) -> None:
        """As `Carrier.again`."""
        self._carrier.again(rollout, after)


class Unusable:
    """The kind of a router whose cluster can't be used: Rollouts that name it are told why, all others go on."""

    def __init__(self, router: ObjectRouter, problem: str) -> None:
        self._router = router
        self._problem = problem

    def refused(self, routing: TrafficRouting) -> FieldError | None:
        """What is wrong with the Secret."""
        if not self._router.asked(routing):
            return None
        path = f"spec.strategy.canary.trafficRouting.{self._router.key}"
        return FieldError(path, f"its primary cluster can't be reached: {self._problem}", {})

    async def problems(self, rollout: Rollout, routing: TrafficRouting) -> tuple[list[FieldError], list[FieldError]]:
        """Nothing besides."""
        return [], []

    def routers(self, routed: Routed, routing: TrafficRouting) -> Sequence[Router]:
        """None."""
        return ()
