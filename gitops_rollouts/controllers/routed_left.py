"""Takes out of objects what routers left in them for a Rollout that is gone or routes them no more (§15.6)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

import structlog

from gitops_rollouts.api.meta import Raw
from gitops_rollouts.api.names import ARGO_GROUP
from gitops_rollouts.api.rollout import parse_rollout
from gitops_rollouts.controllers.observe import LiveRollout
from gitops_rollouts.controllers.passes import work_off
from gitops_rollouts.controllers.queue import DelayQueue
from gitops_rollouts.controllers.routed_objects import RoutedObjects
from gitops_rollouts.errors import Conflict, Forbidden, KubeError, LeadershipLost, NotFound
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.informer import Informer
from gitops_rollouts.kube.resources import ROLLOUTS
from gitops_rollouts.tasks import cancel
from gitops_rollouts.traffic.marker import Mark, is_marked, marks, unmarked
from gitops_rollouts.traffic.objects import Reference, RoutedKind, mapping, merge_patch, sequence
from gitops_rollouts.traffic.over_objects import asked_of, bound, release
from gitops_rollouts.traffic.router import routing_of

SETTLE_SECONDS: Final = 0.5
"""An object and its Rollout often come and go together: look when both have."""
SWEEP_AGAIN_SECONDS: Final = 60.0

log = structlog.get_logger(__name__)


class RoutedLeftovers:
    """Looks at each object with the routers' mark, of Rollouts of our cluster, which marks call ``cluster``."""

    def __init__(
        self,
        client: Client,
        rollouts: Informer[LiveRollout],
        objects: RoutedObjects,
        queue: DelayQueue[Reference],
        cluster: str = "",
    ) -> None:
        self.queue = queue
        self._cluster = cluster
        self._rollouts = rollouts
        self._client = client
        self._objects = objects

    async def sweep(self, kinds: Iterable[RoutedKind]) -> list[RoutedKind]:
        """Find what was marked while nobody watched. Returns the kinds that couldn't be read."""
        failed: list[RoutedKind] = []
        for kind in kinds:
            try:
                for reference in await self._objects.marked_objects(kind):
                    self.queue.add(reference)
            except LeadershipLost:
                raise
            except KubeError as error:
                log.warning("routed objects not looked through", kind=kind.full_name, error=str(error))
                failed.append(kind)
        return failed

    async def run(self) -> None:
        """Work until the queue is closed. Raises `LeadershipLost`."""
        sweeping = asyncio.create_task(self._sweep_all(), name="look for routed objects")
        try:
            await work_off(self.queue, self.reconcile, lambda one: {"routed": str(one)})
        finally:
            await cancel([sweeping])

    async def _sweep_all(self) -> None:
        """Until every kind was read once. Core kinds are only read by routers."""
        left = list(dict.fromkeys(kind for router in self._objects.routers for kind in router.kinds if kind.group))
        while True:
            left = await self.sweep(left)
            if not left:
                return
            await asyncio.sleep(SWEEP_AGAIN_SECONDS)

    async def reconcile(self, reference: Reference) -> None:
        """Give one object back for each Rollout in its mark that is gone or doesn't route it any more."""
        cached = self._objects.get(reference)
        if cached is not None and not await self._strangers(reference, cached):
            return
        if cached is None and self._objects.watches(reference):
            self.queue.forget(reference)
            return
        live = await self._objects.live(reference)
        if live is None or not is_marked(live):
            self.queue.forget(reference)
            return
        gone = await self._strangers(reference, live)
        if not gone:
            return
        if any(_created_for(mark, reference, live) for mark in gone):
            await self._objects.delete(reference, live)
        else:
            await self._give_back(reference, live, gone)
        log.info("routed object given back", object=str(reference), rollouts=["/".join(mark.key) for mark in gone])

    async def _give_back(self, reference: Reference, live: Raw, gone: Iterable[Mark]) -> None:
        after = live
        for mark in gone:
            # the mark names no routers but those that left something there
            for router in asked_of(self._objects.routers, mark.rollout):
                after = router.given_back(mark.rollout, after)
        try:
            # the mark goes last, so that whoever takes over in between finds what is left to do
            if patch := merge_patch(live, after):
                live = await self._objects.edit(reference, bound(patch, live))
            after = live
            for mark in gone:
                after = unmarked(after, mark.key)
            await release(self._objects, reference, live, after, held=bool(marks(after)))
        except NotFound:
            return
        except Conflict:
            # it changed meanwhile
            self.queue.add(reference)

    async def _strangers(self, reference: Reference, raw: Raw) -> list[Mark]:
        """The marks of Rollouts that are gone, are others of the same name, or don't route the object any more."""
        ours = [mark for mark in marks(raw) if mark.cluster == self._cluster]
        return [mark for mark in ours if not await self._routes(mark, reference)]

    async def _routes(self, mark: Mark, reference: Reference) -> bool:
        """The API itself is asked before the answer is no: the Rollout may be newer than the cache.

        A Rollout that this process may not know of, in a namespace that isn't its own, is somebody else's to judge.
        """
        if not self._objects.covers(mark.key[0]):
            return True
        known = self._rollouts.get(*mark.key)
        if known is not None and known.rollout.metadata.uid == mark.uid and self._objects.refers(mark.key, reference):
            return True
        try:
            rollout = parse_rollout(await self._client.get(ROLLOUTS, *mark.key))
        except NotFound:
            return False
        except Forbidden:
            log.info("a routed object's Rollout can't be read", object=str(reference), rollout="/".join(mark.key))
            return True
        if rollout.metadata.uid != mark.uid or routing_of(rollout) is None:
            return False
        await self._objects.ready_all(rollout)
        return self._objects.refers(mark.key, reference)


def _created_for(mark: Mark, reference: Reference, live: Raw) -> bool:
    """Whether the mark's Rollout owns the object: anybody may write a mark, also one with another owner's uid."""
    namespace, name = mark.key
    owners = (mapping(one) for one in sequence(mapping(live.get("metadata")).get("ownerReferences")))
    return namespace == reference.namespace and any(
        (one.get("kind"), one.get("name"), one.get("uid"), one.get("controller")) == ("Rollout", name, mark.uid, True)
        and str(one.get("apiVersion") or "").rpartition("/")[0] == ARGO_GROUP
        for one in owners
    )
