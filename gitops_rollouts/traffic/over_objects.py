"""A router over objects of the cluster as one of the routers that passes tell (docs/behaviour.md §15.1, §15.6)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Protocol

from gitops_rollouts.api.meta import Raw
from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.api.traffic import TrafficRouting
from gitops_rollouts.api.validation import FieldError
from gitops_rollouts.errors import RoutingError
from gitops_rollouts.traffic.marker import is_marked_for, marked, marks, unmarked, without_our_entry
from gitops_rollouts.traffic.object_router import ObjectRouter
from gitops_rollouts.traffic.objects import (
    Again,
    Change,
    Create,
    Delete,
    Edit,
    Found,
    Reference,
    Selection,
    Tell,
    annotations_of,
    edited_by_us,
    merge_patch,
)
from gitops_rollouts.traffic.router import Routed, Router, Wanted, routing_of


class Carrier(Protocol):
    """The cluster, as routers see it. Every method but `tell` and `again` raises `KubeError`.

    `ready` raises `RoutingError` for a cluster that may be out of reach while all else goes on.
    """

    async def ready(self, rollout: Rollout, router: ObjectRouter) -> Found:
        """See to it that all that this router refers to can be found, and goes on being watched."""
        ...

    async def edit(self, reference: Reference, patch: Raw) -> Raw:
        """Send a merge patch and return the object as stored. Raises `Conflict` if its version isn't the live one."""
        ...

    async def create(self, reference: Reference, body: Raw, owner: Rollout) -> None:
        """Create it, controlled by the Rollout."""
        ...

    async def delete(self, reference: Reference, live: Raw) -> None:
        """Delete that very object; one that is gone is no error."""
        ...

    def tell(self, rollout: Rollout, event: Tell) -> None: ...

    def again(self, rollout: Rollout, after: timedelta) -> None: ...


def references(router: ObjectRouter, rollout: Rollout, found: Found) -> list[Reference]:
    """All single objects that this router refers to, and those that its selections match, in order."""
    known: dict[Reference, None] = {}
    for each in router.referred(rollout, found):
        if isinstance(each, Reference):
            known[each] = None
        else:
            known |= {_reference(each, raw): None for raw in found.matching(each)}
    return list(known)


def every_reference(routers: Iterable[ObjectRouter], rollout: Rollout, found: Found) -> Iterator[Reference | Selection]:
    """What all these routers refer to for a Rollout."""
    for router in asked_of(routers, rollout):
        yield from router.referred(rollout, found)


def asked_of(routers: Iterable[ObjectRouter], rollout: Rollout) -> list[ObjectRouter]:
    """Those of these routers that a Rollout names."""
    routing = routing_of(rollout)
    return [router for router in routers if routing is not None and router.asked(routing)]


def _reference(selection: Selection, raw: Raw) -> Reference:
    return Reference(selection.kind, selection.namespace, str(raw["metadata"]["name"]), selection.field)


class ObjectRouters:
    """The kind of one `ObjectRouter`. ``cluster``: see `Mark`."""

    def __init__(self, router: ObjectRouter, carrier: Carrier, cluster: str = "") -> None:
        self._router = router
        self._carrier = carrier
        self._cluster = cluster

    def refused(self, routing: TrafficRouting) -> FieldError | None:
        """Nothing: what it needs is in the cluster."""
        return None

    async def problems(self, rollout: Rollout, routing: TrafficRouting) -> tuple[list[FieldError], list[FieldError]]:
        """(what isn't there, what is wrong in what is there), §20 (B)."""
        if not self._router.asked(routing):
            return [], []
        try:
            found = await self._carrier.ready(rollout, self._router)
        except RoutingError:
            # out of reach: whoever is told something says so
            return [], []
        return missing(self._router, rollout, found), self._router.check(rollout, found)

    def routers(self, routed: Routed, routing: TrafficRouting) -> Sequence[Router]:
        """The one, if the Rollout names it."""
        return [_Bound(self._router, self._carrier, routed, self._cluster)] if self._router.asked(routing) else []


def missing(router: ObjectRouter, rollout: Rollout, found: Found) -> list[FieldError]:
    """The objects that have to exist and don't (§20 (B)), in the API server's words."""
    return [
        FieldError(each.field, f'{each.kind.full_name} "{each.name}" not found', each.name)
        for each in references(router, rollout, found)
        if each.field and found.get(each) is None
    ]


def _planned(changes: Iterable[Change]) -> tuple[list[Change], RoutingError | None]:
    """All changes of these objects, and what failed after them: an object that is wrong holds back no other one."""
    planned: list[Change] = []
    try:
        planned.extend(changes)
    except RoutingError as error:
        return planned, error
    return planned, None


class _Bound:
    """One router, told of one Rollout."""

    def __init__(self, router: ObjectRouter, carrier: Carrier, routed: Routed, cluster: str) -> None:
        self._router = router
        self._cluster = cluster
        self._carrier = carrier
        self._routed = routed
        self._rollout = routed.rollout
        self._key = (routed.rollout.metadata.namespace, routed.rollout.metadata.name)

    @property
    def name(self) -> str:
        """The router's key."""
        return self._router.key

    async def route(self, wanted: Wanted) -> None:
        """Carry out what the router asks for; at the end of an update take away our notes, too."""
        found = await self._carrier.ready(self._rollout, self._router)
        resting: set[Reference] = set()
        changes, failed = _planned(self._router.changes(self._routed, wanted, found))
        for change in changes:
            if isinstance(change, Edit | Create) and change.rests:
                resting.add(change.reference)
            await self._carry_out(change, wanted)
        if failed is not None:
            raise failed
        if wanted.done:
            for reference in references(self._router, self._rollout, found):
                await self._release(found, reference, keep_mark=reference in resting)

    async def remove_managed_routes(self) -> None:
        """Carry out what the router asks for."""
        found = await self._carrier.ready(self._rollout, self._router)
        changes, failed = _planned(self._router.without_managed_routes(self._routed, found))
        for change in changes:
            await self._carry_out(change, None)
        if failed is not None:
            raise failed

    async def verifies(self) -> bool:
        """Objects alone prove nothing of the traffic."""
        return False

    async def verify(self, weights: Wanted) -> bool | None:
        """See `verifies`."""
        return None

    async def _carry_out(self, change: Change, wanted: Wanted | None) -> None:
        match change:
            case Edit():
                await self._edit(change, wanted)
            case Create(reference, body):
                await self._carrier.create(reference, self._marked(body), self._rollout)
            case Delete(reference, live):
                await self._carrier.delete(reference, live)
            case Tell():
                self._carrier.tell(self._rollout, change)
            case Again(after):
                self._carrier.again(self._rollout, after)

    async def _edit(self, change: Edit, wanted: Wanted | None) -> None:
        """``wanted`` None: managed routes go, and the mark stays as it is."""
        after = change.after
        # at the end the mark stands until `_release`: should this process die before, it leads the next one here
        if wanted is not None and (not wanted.done or change.rests) and self._is_held(change, wanted):
            after = self._marked(after)
        if patch := merge_patch(change.before, after):
            await self._carrier.edit(change.reference, bound(patch, change.before))

    def _is_held(self, change: Edit, wanted: Wanted) -> bool:
        moved = wanted.canary.weight > 0 or bool(wanted.additional)
        return moved or change.rests or bool(merge_patch(change.before, change.after))

    def _marked(self, raw: Raw) -> Raw:
        return marked(raw, self._routed, self._router.key, self._cluster)

    async def _release(self, found: Found, reference: Reference, *, keep_mark: bool) -> None:
        """Take away the mark and our entry of managedFields, in one write (§15.6)."""
        live = found.get(reference)
        if live is None:
            return
        mine = not keep_mark and is_marked_for(live, self._key)
        held = any(mark.key != self._key for mark in marks(live))
        await release(self._carrier, reference, live, unmarked(live, self._key) if mine else live, held=held)


async def release(carrier: Carrier, reference: Reference, live: Raw, after: Raw, *, held: bool) -> None:
    """Make the annotations those of ``after``, and let go of every field, unless they are ``held`` for another Rollout.

    The API server knows all Rollouts' routers as one manager.
    """
    metadata: Raw = {}
    if patch := merge_patch(annotations_of(live), annotations_of(after)):
        metadata["annotations"] = patch
    if edited_by_us(live) and not held:
        metadata["managedFields"] = without_our_entry(live)
    if metadata:
        await carrier.edit(reference, bound({"metadata": metadata}, live))


def bound(patch: Raw, before: Raw) -> Raw:
    """The patch, for this version of the object only."""
    version = before["metadata"].get("resourceVersion")
    return {**patch, "metadata": {**patch.get("metadata", {}), **({"resourceVersion": version} if version else {})}}
