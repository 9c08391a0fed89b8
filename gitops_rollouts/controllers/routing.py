"""Between the engine and the traffic routers: what a plan asks for, and what the routers say of weights.

A router may be slow: it may be another program, or a cloud's API. A pass waits for it a moment; after that the pass
ends, the call goes on by itself, and the Rollout is looked at again when it has ended. So no router ever holds a
worker that other Rollouts need. Of one Rollout at most one call is under way.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, TypeVar

import structlog

from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.api.status import AlbStatus, TrafficWeights, WeightDestination
from gitops_rollouts.api.validation import FieldError
from gitops_rollouts.controllers.load_balancers import Switch, switch_of, targets
from gitops_rollouts.controllers.observe import Key, LiveRollout
from gitops_rollouts.engine.observed import RoutersSeen, TargetsSeen
from gitops_rollouts.engine.plan import Destination, RemoveManagedRoutes, RouteTraffic
from gitops_rollouts.errors import (
    AwsError,
    Conflict,
    GorError,
    KubeError,
    KubeUnreachable,
    RoutingError,
    StillRouting,
    UnknownKind,
)
from gitops_rollouts.traffic.alb.verification import LoadBalancerChecks
from gitops_rollouts.traffic.registry import Registry
from gitops_rollouts.traffic.router import Routed, Router, Share, Wanted

PATIENCE_SECONDS: Final = 1.0
"""How long a pass waits for a router before it frees its worker."""
MOST_SLOW: Final = 4
"""While so many calls outlast their passes, a pass waits only `IMPATIENT_SECONDS`: the workers are for others."""
IMPATIENT_SECONDS: Final = 0.05
ASK_AGAIN_SECONDS: Final = 2.0
"""How long "not verified yet" is believed."""
LOOK_AGAIN_SECONDS: Final = 10.0
"""How long "no load balancer yet" is believed."""
_VERIFY: Final = "Verify"
_TARGETS: Final = "Targets"
_LOOK: Final = "Look"

T = TypeVar("T")
log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Call:
    """A call that outlasted its pass. ``what``: for which object, and exactly what was asked."""

    what: tuple[object, ...]
    task: asyncio.Task[Any]


class RouterCalls:
    """Carries out what plans ask of routers, and asks routers about weights.

    ``enqueue`` is called with a Rollout's key when a call that outlasted its pass has ended. ``balancers``: who asks
    AWS whether its load balancers do what they should; None: nobody.
    """

    def __init__(
        self,
        registry: Registry,
        enqueue: Callable[[Key], None],
        clock: Callable[[], datetime],
        *,
        patience: float = PATIENCE_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
        balancers: LoadBalancerChecks | None = None,
    ) -> None:
        self._registry = registry
        self._balancers = balancers
        self._enqueue = enqueue
        self._clock = clock
        self._patience = patience
        self._monotonic = monotonic
        self._slow = 0
        self._calls: dict[Key, dict[str, _Call]] = {}
        self._unverified: dict[Key, tuple[float, Wanted]] = {}
        self._looked: dict[Key, float] = {}
        self._targets: dict[Key, tuple[str, Switch]] = {}
        """The last switch of each Rollout, by uid, after which all pods were found to be served."""

    def refused(self, live: LiveRollout) -> FieldError | None:
        """The router that the spec names and that can't be had here."""
        return self._registry.refused(live.rollout)

    async def problems(self, live: LiveRollout) -> tuple[FieldError, ...]:
        """What is wrong with the objects that the routers refer to (docs/behaviour.md §20 (B)). Raises `KubeError`."""
        return await self._registry.problems(live.rollout)

    async def route(self, live: LiveRollout, action: RouteTraffic | RemoveManagedRoutes) -> None:
        """Make it true. Raises `StillRouting` if that takes longer; the next pass that asks the same gets the end.

        An abort ends a call that is under way for something else: it must not wait for a router that hangs.
        Raises `RoutingError` if a router can't, `KubeError` for a conflict or no answer, `LeadershipLost`.
        """
        routers = self._registry.routers(routed(live, self._clock()))
        if not routers:
            raise RoutingError("traffic is to be routed, but the Rollout names no router")
        kind, what = type(action).__name__, (live.rollout.metadata.uid, action)
        if live.rollout.status.abort:
            await self._give_up_others(live.key, what)
        await self._within_patience(live.key, kind, what, _tell(routers, action, live.rollout.status.abort))

    async def seen(self, live: LiveRollout, *, old_pods: bool = False) -> RoutersSeen:
        """What routers and load balancers say of the recorded weights and of pods (docs/behaviour.md §14.5, §15.1).

        ``old_pods``: whether other versions than the one at hand have pods.
        """
        said = await self._weights(live)
        balancers = self._balancers
        if balancers is None:
            return said
        if balancers.applies(live.rollout) and not said.albs:
            said = replace(said, albs=live.rollout.status.albs or await self._first_look(live, balancers))
        if (switch := switch_of(live.rollout, old_pods=old_pods)) is not None:
            return replace(said, targets=await self._switched(live, balancers, switch))
        return said

    async def _first_look(self, live: LiveRollout, balancers: LoadBalancerChecks) -> tuple[AlbStatus, ...]:
        """The load balancers, for analyses that name them in the status; while weights are asked for, they tell."""
        status = live.rollout.status
        if status.abort or not status.stable_rs or status.stable_rs != status.current_pod_hash:
            return ()
        if self._monotonic() - self._looked.get(live.key, -LOOK_AGAIN_SECONDS) < LOOK_AGAIN_SECONDS:
            return ()
        nothing = Wanted(Share("", "", 0), Share("", "", 0))
        try:
            what = (live.rollout.metadata.uid,)
            found = await self._within_patience(live.key, _LOOK, what, balancers.weights(live.rollout, nothing))
        except StillRouting:
            return ()
        except (AwsError, KubeError) as error:
            log.info("load balancers not found", namespace=live.key[0], name=live.key[1], error=error.message)
            self._looked[live.key] = self._monotonic()
            return ()
        self._looked[live.key] = self._monotonic()
        return found.albs

    async def _switched(self, live: LiveRollout, balancers: LoadBalancerChecks, switch: Switch) -> TargetsSeen:
        what = (live.rollout.metadata.uid, switch)
        if self._targets.get(live.key) == what:
            return TargetsSeen(switch.service, switched=False)
        try:
            found = await self._within_patience(live.key, _TARGETS, what, targets(balancers, live.key[0], switch))
        except StillRouting as error:
            return TargetsSeen(switch.service, error.message, switched=False)
        if found.proven:
            self._targets[live.key] = what
        return found

    async def _weights(self, live: LiveRollout) -> RoutersSeen:
        """What they say of the recorded weights (docs/behaviour.md §15.1 step 6).

        They are asked only while an update is under way, not for weights that were verified already, and not more
        often than every two seconds. Whoever doesn't answer in time hasn't verified yet.
        """
        status = live.rollout.status
        stored = status.canary.weights
        recorded = None if stored is None else stored.verified
        weights = None if stored is None else _recorded(stored)
        under_way = status.stable_rs not in ("", status.current_pod_hash) and not status.abort
        if not under_way:
            # nobody wants to know any more, and an abort must not wait for the answer
            self._drop(live.key, _VERIFY)
        routers = self._registry.routers(routed(live, self._clock())) if under_way else ()
        if not routers:
            return RoutersSeen(verified=recorded)
        balancers = self._balancers if self._balancers and self._balancers.applies(live.rollout) else None
        just_asked = self._just_asked(live.key, weights)
        asked = None if recorded or just_asked else weights
        known = False if just_asked else recorded
        try:
            what = (live.rollout.metadata.uid, asked)
            said = await self._within_patience(live.key, _VERIFY, what, _ask(routers, asked, live.rollout, balancers))
        except StillRouting:
            return RoutersSeen(verified=known if asked is None else False, verifies=True)
        if asked is None:
            return RoutersSeen(verified=known, verifies=said.verifies, error=said.error)
        if said.verified is False:
            self._unverified[live.key] = (self._monotonic(), asked)
        return said

    def forget(self, key: Key) -> None:
        """The Rollout is gone."""
        self._unverified.pop(key, None)
        self._targets.pop(key, None)
        self._looked.pop(key, None)
        for call in self._calls.pop(key, {}).values():
            call.task.cancel()

    def _drop(self, key: Key, kind: str) -> None:
        call = self._calls.get(key, {}).pop(kind, None)
        if call is not None:
            call.task.cancel()

    async def _give_up_others(self, key: Key, what: tuple[object, ...]) -> None:
        """End the calls that ask for something else, and wait a moment until they have."""
        calls = self._calls.get(key, {})
        others = [call.task for call in calls.values() if call.what != what and not call.task.done()]
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others, timeout=self._patience)

    async def close(self) -> None:
        """End every call."""
        tasks = [call.task for calls in self._calls.values() for call in calls.values()]
        self._calls.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _just_asked(self, key: Key, weights: Wanted | None) -> bool:
        asked = self._unverified.get(key)
        if asked is None:
            return False
        if asked[1] == weights and self._monotonic() - asked[0] < ASK_AGAIN_SECONDS:
            return True
        del self._unverified[key]
        return False

    async def _within_patience(self, key: Key, kind: str, what: tuple[object, ...], work: Coroutine[Any, Any, T]) -> T:
        """The result of ``work``, or of the same work that an earlier pass began."""
        calls = self._calls.get(key, {})
        if any(not call.task.done() for call in calls.values()):
            work.close()
            raise StillRouting(f"a router of {key[0]}/{key[1]} has not answered yet")
        before = calls.pop(kind, None)
        if before is not None and before.what == what and not before.task.cancelled():
            work.close()
            result: T = before.task.result()
            return result
        task = asyncio.create_task(work, name=f"{kind} of {key[0]}/{key[1]}")
        self._calls.setdefault(key, {})[kind] = _Call(what, task)
        patience = self._patience if self._slow < MOST_SLOW else min(self._patience, IMPATIENT_SECONDS)
        await asyncio.wait([task], timeout=patience)
        if task.done():
            self._calls.get(key, {}).pop(kind, None)
            return task.result()
        self._slow += 1
        task.add_done_callback(lambda ended: self._ended(key, ended))
        raise StillRouting(f"a router of {key[0]}/{key[1]} has not answered yet")

    def _ended(self, key: Key, task: asyncio.Task[Any]) -> None:
        self._slow -= 1
        if task.cancelled():
            if any(call.task is task for call in self._calls.get(key, {}).values()):
                # given up for something that may wait for its end
                self._enqueue(key)
        else:
            if (error := task.exception()) is not None:
                log.info("router call failed", namespace=key[0], name=key[1], error=str(error))
            self._enqueue(key)


async def _tell(routers: Iterable[Router], action: RouteTraffic | RemoveManagedRoutes, aborted: bool) -> None:
    """One after the other; the first that can't ends it, but an abort reaches all others before it is told."""
    failed: GorError | None = None
    for router in routers:
        try:
            if isinstance(action, RemoveManagedRoutes):
                await router.remove_managed_routes()
            else:
                await router.route(wanted_of(action))
        except (Conflict, KubeUnreachable, RoutingError) as error:
            failed = failed or error
        except (KubeError, UnknownKind) as error:
            failed = failed or RoutingError(f"{router.name}: {error.message}", remedy=error.remedy)
        if failed is not None and not aborted:
            break
    if failed is not None:
        raise failed


async def _ask(
    routers: Iterable[Router], weights: Wanted | None, rollout: Rollout, balancers: LoadBalancerChecks | None
) -> RoutersSeen:
    """Ask one after the other, AWS last; the first that can't be asked ends it."""
    verified: bool | None = None
    verifies = False
    for router in routers:
        try:
            verifies |= await router.verifies()
            if weights is None:
                continue
            answer = await router.verify(weights)
        except (RoutingError, KubeError) as error:
            # unknown weights count as not verified yet, never as right
            return RoutersSeen(verifies=True, error=f"{router.name}: {error.message}")
        if answer is not None:
            verified = answer if verified is None else verified and answer
    if balancers is None:
        return RoutersSeen(verified, verifies)
    if weights is None:
        return RoutersSeen(verified, verifies=True)
    try:
        checked = await balancers.weights(rollout, weights)
    except (AwsError, KubeError) as error:
        return RoutersSeen(verifies=True, error=f"alb: {error.message}")
    verified = checked.verified and verified is not False
    return RoutersSeen(verified, verifies=True, missing=checked.missing, albs=checked.albs)


def routed(live: LiveRollout, now: datetime) -> Routed:
    """The Rollout as routers see it."""
    return Routed(live.rollout, live.spec, live.status, now)


def wanted_of(action: RouteTraffic) -> Wanted:
    """What the engine asks for, in the routers' words."""
    return Wanted(
        canary=_share(action.canary),
        stable=_share(action.stable),
        additional=tuple(_share(one) for one in action.additional),
        max_weight=action.max_weight,
        drain_first=action.drain_first,
        header_route=action.header_route,
        mirror_route=action.mirror_route,
        short=action.short,
    )


def _share(destination: Destination) -> Share:
    return Share(destination.service, destination.pod_hash, destination.weight)


def _recorded(weights: TrafficWeights) -> Wanted:
    canary, stable = _kept(weights.canary), _kept(weights.stable)
    additional = tuple(_kept(one) for one in weights.additional)
    total = canary.weight + stable.weight + sum(one.weight for one in additional)
    return Wanted(canary, stable, additional, max_weight=total)


def _kept(destination: WeightDestination) -> Share:
    return Share(destination.service_name, destination.pod_template_hash, destination.weight)
