"""What every traffic router can do, whatever it is made of (docs/behaviour.md §15.1).

A router is told what to make true, never what to change: it reads what is there, writes only what differs, and may be
told the same again at any time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from gitops_rollouts.api.meta import Raw, encode
from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.api.steps import SetHeaderRoute, SetMirrorRoute
from gitops_rollouts.api.traffic import TrafficRouting
from gitops_rollouts.api.validation import FieldError

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Share:
    """Where a share of the traffic goes. ``service`` is "" where only the hash tells; ``weight`` of the maximum."""

    service: str
    pod_hash: str
    weight: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """What has to be true of the traffic of one Rollout.

    ``drain_first``: the canary has no pod left, so its weight goes before the hashes move. A route with a match is to
    be there, one without is to be gone; None says nothing of it. ``short``: the name of the canary's ReplicaSet if it
    lacks the pods for this weight, ``""`` if it doesn't.
    """

    canary: Share
    stable: Share
    additional: tuple[Share, ...] = ()
    max_weight: int = 100
    drain_first: bool = False
    header_route: SetHeaderRoute | None = None
    mirror_route: SetMirrorRoute | None = None
    short: str = ""

    @property
    def done(self) -> bool:
        """No update is under way: the version at hand is the stable one and has all the traffic."""
        return self.canary.weight == 0 and self.canary.pod_hash == self.stable.pod_hash and not self.additional


@dataclass(frozen=True, slots=True)
class Routed:
    """The Rollout whose traffic is routed. ``spec`` and ``status`` are as stored; ``now``: of the pass."""

    rollout: Rollout
    spec: Raw
    status: Raw
    now: datetime = _EPOCH

    def body(self) -> dict[str, Any]:
        """The whole object as it is stored, as far as we keep it."""
        return {
            "apiVersion": self.rollout.api_version,
            "kind": "Rollout",
            "metadata": encode(self.rollout.metadata),
            "spec": self.spec,
            "status": self.status,
        }


def routing_of(rollout: Rollout) -> TrafficRouting | None:
    """``trafficRouting`` of a canary."""
    canary = rollout.spec.strategy.canary
    return None if canary is None else canary.traffic_routing


class Router(Protocol):
    """One router that a Rollout names. Made anew for each pass; it keeps nothing.

    Every method raises `RoutingError` if it can't, or a `KubeError` that a request of its own met.
    """

    @property
    def name(self) -> str:
        """How messages call it: ``plugin acme/edge``."""
        ...

    async def route(self, wanted: Wanted) -> None:
        """Make it true, in this order: header or mirror route, hashes, weights (weights first if ``drain_first``)."""
        ...

    async def remove_managed_routes(self) -> None:
        """Take out every route of ``managedRoutes``; nothing to do if there is none."""
        ...

    async def verifies(self) -> bool:
        """Whether `verify` will ever say something of weights."""
        ...

    async def verify(self, weights: Wanted) -> bool | None:
        """Whether the traffic really is split so; None if it can't be told."""
        ...


class RouterKind(Protocol):
    """One kind of router, as a key of ``spec.strategy.canary.trafficRouting`` names it."""

    def refused(self, routing: TrafficRouting) -> FieldError | None:
        """What of this kind the spec asks for and can't be had here; None if all can."""
        ...

    async def problems(self, rollout: Rollout, routing: TrafficRouting) -> tuple[list[FieldError], list[FieldError]]:
        """(what the routers refer to and isn't there, what is wrong in what is there), §20 (B). Raises `KubeError`."""
        ...

    def routers(self, routed: Routed, routing: TrafficRouting) -> Sequence[Router]:
        """Those that the Rollout asks for; none if it names no router of this kind."""
        ...
