"""The objects that routers read and write, from caches that know our own last writes (docs/behaviour.md §15.6).

A kind is watched from the first Rollout on that refers to an object of it. Of an object that nobody refers to, only
its labels are kept. A pass that changes nothing makes no request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final

import structlog

from gitops_rollouts.api.meta import Raw
from gitops_rollouts.api.names import ARGO_API_VERSION, ROUTER_MANAGER
from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.controllers.execute_owned import owner_reference
from gitops_rollouts.controllers.observe import Key, LiveRollout
from gitops_rollouts.controllers.routed_users import RoutedUsers
from gitops_rollouts.engine.plan import EmitEvent
from gitops_rollouts.errors import AlreadyExists, Conflict, Forbidden, KubeUnreachable, NotFound, UnknownKind
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.discovery import Discovery
from gitops_rollouts.kube.events import About
from gitops_rollouts.kube.informer import Informer
from gitops_rollouts.kube.lease import Fence
from gitops_rollouts.kube.resources import Resource
from gitops_rollouts.traffic.marker import is_marked
from gitops_rollouts.traffic.object_router import ObjectRouter
from gitops_rollouts.traffic.objects import Reference, RoutedKind, Selection, Tell, labels_of, mapping
from gitops_rollouts.traffic.over_objects import asked_of

FIRST_LIST_SECONDS: Final = 1.0
"""How long a pass waits for the first list of a kind; after that it fails and is tried again."""
MOST_WAITING: Final = 4
"""While so many passes wait for first lists, others fail at once: the workers are for other Rollouts."""
UNSERVED_SECONDS: Final = 5.0
"""How often is looked whether a kind went, or is served in another version from now on."""
_CHAIN: Final = 8
"""One object leads to the next no further than this."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Passed:
    """An object that no Rollout referred to when it was last seen."""

    labels: dict[str, str]


Kept = Raw | Passed
OnMarked = Callable[[Reference], None]


class RoutedObjects:
    """Implements `Found` and `Carrier` over one cluster.

    ``on_rollout`` is called with each Rollout whose object somebody else changed, ``on_marked`` with each object that
    is seen with the routers' mark.
    """

    def __init__(
        self,
        client: Client,
        discovery: Discovery,
        fence: Fence,
        rollouts: Informer[LiveRollout],
        routers: Sequence[ObjectRouter],
        emit: Callable[[About, EmitEvent], None],
        *,
        namespace: str | None,
        on_rollout: Callable[[Key], None],
        look_again: Callable[[Key, float], None],
        on_marked: OnMarked,
    ) -> None:
        self.routers = tuple(routers)
        self._client = client
        self._discovery = discovery
        self._fence = fence
        self._emit = emit
        self._namespace = namespace
        self._on_rollout = on_rollout
        self._look_again = look_again
        self._on_marked = on_marked
        self._informers: dict[RoutedKind, Informer[Kept]] = {}
        self._newer: dict[Reference, Raw] = {}
        """What the API server answered last, as long as the cache is behind."""
        self._deleted: dict[Reference, str] = {}
        """The uid of each object that was deleted, as long as the cache shows it as it was before."""
        self._users = RoutedUsers(self._dropped)
        self._waiting = 0
        self._starting: asyncio.Queue[tuple[RoutedKind, Informer[Kept]]] = asyncio.Queue()
        self._tasks: dict[RoutedKind, asyncio.Task[None]] = {}
        rollouts.on_change(self._rollout_changed)

    async def run(self) -> None:
        """Watch what is referred to, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._mind_unserved(), name="kinds that went")
            while True:
                kind, informer = await self._starting.get()
                if self._informers.get(kind) is informer:
                    name = f"watch of {informer.resource.plural}"
                    self._tasks[kind] = group.create_task(informer.run(), name=name)

    async def _mind_unserved(self) -> None:
        """Nobody tells that a kind is served again, or in another version: its Rollouts look."""
        while True:
            await asyncio.sleep(UNSERVED_SECONDS)
            for kind in [kind for kind, informer in self._informers.items() if informer.unserved]:
                self._give_up(kind)
                for key in self._users.of_kind(kind):
                    self._on_rollout(key)

    def _give_up(self, kind: RoutedKind) -> None:
        """What is cached of a kind that isn't served is no more known to be so."""
        informer = self._informers.pop(kind)
        self._newer = {reference: raw for reference, raw in self._newer.items() if reference.kind != kind}
        self._discovery.forget(informer.resource.api_version)
        if (task := self._tasks.pop(kind, None)) is not None:
            task.cancel()

    def get(self, reference: Reference) -> Raw | None:
        """As `Found.get`: the newest that is known of it."""
        informer = self._informers.get(reference.kind)
        if informer is None:
            return None
        newer = self._newer.get(reference)
        cached = informer.get(reference.namespace, reference.name)
        behind = isinstance(cached, Passed) or not self.covers(reference.namespace)
        if newer is not None and (behind or informer.position < _version(newer)):
            return newer
        self._newer.pop(reference, None)
        return None if isinstance(cached, Passed) or self._is_deleted(reference, cached) else cached

    def _is_deleted(self, reference: Reference, cached: Raw | None) -> bool:
        """Whether we deleted it and the cache doesn't know yet; one that a finalizer keeps has a deletionTimestamp."""
        uid = self._deleted.get(reference)
        meta = mapping((cached or {}).get("metadata"))
        if uid is None or (meta.get("uid") == uid and meta.get("deletionTimestamp") is None):
            return uid is not None
        del self._deleted[reference]
        return False

    def matching(self, selection: Selection) -> list[Raw]:
        """As `Found.matching`."""
        informer = self._informers.get(selection.kind)
        if informer is None:
            return []
        names = sorted(
            name
            for (namespace, name), kept in informer.items()
            if namespace == selection.namespace and selection.takes(_labels(kept))
        )
        found = (self.get(Reference(selection.kind, selection.namespace, name)) for name in names)
        return [raw for raw in found if raw is not None]

    def version(self, kind: RoutedKind) -> str:
        """As `Found.version`."""
        informer = self._informers.get(kind)
        return kind.versions[0] if informer is None else informer.resource.version

    async def ready(self, rollout: Rollout, router: ObjectRouter) -> RoutedObjects:
        """As `Carrier.ready`: of this router alone, so that what another one can't read holds it up in nothing.

        Raises `KubeError`.
        """
        via = ((rollout.metadata.namespace, rollout.metadata.name), router.key)
        known: set[Reference] = set()
        selected: set[Selection] = set()
        for _ in range(_CHAIN):
            everything = list(router.referred(rollout, self))
            references = {each for each in everything if isinstance(each, Reference)} - known
            selections = {each for each in everything if isinstance(each, Selection)} - selected
            if not references and not selections:
                break
            for selection in selections:
                self._users.add(via, selection)
                references |= await self._select(selection)
            for reference in references - known:
                self._users.add(via, reference)
                await self._know(reference)
            known |= references
            selected |= selections
        self._users.settle(via, known, selected)
        return self

    async def ready_all(self, rollout: Rollout) -> None:
        """The same for every router of a Rollout."""
        for router in asked_of(self.routers, rollout):
            await self.ready(rollout, router)

    async def edit(self, reference: Reference, patch: Raw) -> Raw:
        """As `Carrier.edit`."""
        resource = await self._resource(reference.kind)
        self._fence.fence()
        try:
            answer = await self._client.patch(
                resource, reference.namespace, reference.name, patch, field_manager=ROUTER_MANAGER
            )
        except Conflict:
            # the cache was behind: the next try reads what is there
            await self._fetch(reference)
            raise
        self._newer[reference] = answer
        return answer

    async def create(self, reference: Reference, body: Raw, owner: Rollout) -> None:
        """As `Carrier.create`."""
        resource = await self._resource(reference.kind)
        meta = {**mapping(body.get("metadata")), "namespace": reference.namespace, "name": reference.name}
        meta["ownerReferences"] = [owner_reference("Rollout", owner.metadata)]
        self._fence.fence()
        whole = {**body, "apiVersion": resource.api_version, "kind": resource.kind, "metadata": meta}
        try:
            answer = await self._client.create(resource, reference.namespace, whole, field_manager=ROUTER_MANAGER)
        except AlreadyExists:
            await self._fetch(reference)
            raise
        self._newer[reference] = answer

    async def delete(self, reference: Reference, live: Raw) -> None:
        """As `Carrier.delete`."""
        resource = await self._resource(reference.kind)
        uid = str(live["metadata"].get("uid") or "")
        self._fence.fence()
        with suppress(NotFound, Conflict):  # it is gone, or another one of this name is there
            await self._client.delete(resource, reference.namespace, reference.name, uid=uid)
        self._newer.pop(reference, None)
        if uid:
            self._deleted[reference] = uid

    def tell(self, rollout: Rollout, event: Tell) -> None:
        """As `Carrier.tell`."""
        meta = rollout.metadata
        about = About(ARGO_API_VERSION, "Rollout", meta.namespace, meta.name, meta.uid, meta.resource_version)
        self._emit(about, EmitEvent(event.reason, event.message, event.type))

    def again(self, rollout: Rollout, after: timedelta) -> None:
        """As `Carrier.again`."""
        self._look_again((rollout.metadata.namespace, rollout.metadata.name), after.total_seconds())

    def refers(self, key: Key, reference: Reference) -> bool:
        """Whether this Rollout referred to the object when it was looked at last."""
        return self._users.refers(key, reference)

    def watches(self, reference: Reference) -> bool:
        """Whether an object of this name would be in a cache."""
        informer = self._informers.get(reference.kind)
        return informer is not None and informer.synced and self.covers(reference.namespace)

    async def live(self, reference: Reference) -> Raw | None:
        """The object as the API server has it now; None if it or its kind isn't there. Raises `KubeError`."""
        try:
            resource = await self._resource(reference.kind)
            return await self._client.get(resource, reference.namespace, reference.name)
        except (NotFound, UnknownKind):
            return None

    async def marked_objects(self, kind: RoutedKind) -> list[Reference]:
        """Read all objects of a kind once, and return those with the routers' mark. Raises `KubeError`."""
        try:
            resource = await self._resource(kind)
        except UnknownKind:
            return []
        found: list[Reference] = []
        try:
            async for page in self._client.list_pages(resource, self._namespace):
                found += [_reference(kind, raw) for raw in page.get("items") or [] if is_marked(raw)]
        except (NotFound, Forbidden) as error:
            log.info("routed objects not looked through", kind=kind.full_name, error=str(error))
        return found

    async def _select(self, selection: Selection) -> set[Reference]:
        """The objects that it matches now; those that match later are kept as they come."""
        informer = await self._watch(selection.kind)
        if informer is None:
            return set()
        kind, namespace = selection.kind, selection.namespace
        return {
            Reference(kind, namespace, name, selection.field)
            for (where, name), kept in informer.items()
            if where == namespace and selection.takes(_labels(kept))
        }

    async def _know(self, reference: Reference) -> None:
        informer = await self._watch(reference.kind)
        if informer is None:
            return
        passed = isinstance(informer.get(reference.namespace, reference.name), Passed)
        if not self.covers(reference.namespace) or (passed and reference not in self._newer):
            await self._fetch(reference)

    def covers(self, namespace: str) -> bool:
        """Whether the watches see it: those of one namespace don't see others."""
        return self._namespace in (None, namespace)

    async def _fetch(self, reference: Reference) -> None:
        raw = await self.live(reference)
        if raw is None:
            self._newer.pop(reference, None)
        else:
            self._newer[reference] = raw

    async def _watch(self, kind: RoutedKind) -> Informer[Kept] | None:
        """The cache of a kind, complete; None if the cluster doesn't serve it."""
        informer = self._informers.get(kind)
        if informer is not None and informer.unserved:
            self._give_up(kind)
            informer = None
        if informer is None:
            try:
                resource = await self._resource(kind)
            except UnknownKind:
                return None
        informer = self._informers.get(kind)
        if informer is None:
            project = partial(self._project, kind)
            informer = Informer(self._client, resource, project, namespace=self._namespace, optional=True)
            informer.on_change(partial(self._changed, kind))
            self._informers[kind] = informer
            self._starting.put_nowait((kind, informer))
        if not informer.synced:
            await self._wait_for(kind, informer)
        if informer.failing is not None and not len(informer) and informer.position == 0:
            if informer.unserved:
                raise KubeUnreachable(f"The {kind.full_name} of the cluster can't be listed: {informer.failing}")
            raise Forbidden(f"The {kind.full_name} of the cluster can't be read: {informer.failing}", status=403)
        return informer

    async def _wait_for(self, kind: RoutedKind, informer: Informer[Kept]) -> None:
        """A moment, unless it is known to fail, or too many passes wait already."""
        if informer.failing is None and self._waiting < MOST_WAITING:
            self._waiting += 1
            try:
                await asyncio.wait_for(informer.wait_synced(), FIRST_LIST_SECONDS)
            except TimeoutError:
                pass
            finally:
                self._waiting -= 1
        if not informer.synced:
            why = informer.failing or "no answer yet"
            raise KubeUnreachable(f"The {kind.full_name} of the cluster can't be listed: {why}")

    async def _resource(self, kind: RoutedKind) -> Resource:
        return await self._discovery.resolve_any(kind.group, kind.versions, kind.kind)

    def _project(self, kind: RoutedKind, raw: Raw) -> Kept:
        labels = _labels(raw)
        reference = _reference(kind, raw)
        return raw if is_marked(raw) or self._users.users(reference, labels) else Passed(labels)

    def _changed(self, kind: RoutedKind, key: Key, old: Kept | None, new: Kept | None) -> None:
        reference = Reference(kind, *key)
        if isinstance(new, dict) and is_marked(new):
            self._on_marked(reference)
        newer = self._newer.get(reference)
        if newer is not None and isinstance(new, dict) and _version(newer) == _version(new):
            return  # our own write comes back
        labels = [_labels(kept) for kept in (old, new) if kept is not None]
        for user in self._users.users(reference, *labels):
            self._on_rollout(user)

    def _rollout_changed(self, key: Key, old: LiveRollout | None, new: LiveRollout | None) -> None:
        """What a router refers to that the Rollout still names, its next pass finds out."""
        asked = asked_of(self.routers, new.rollout) if new is not None else []
        self._users.keep_routers(key, [router.key for router in asked])

    def _dropped(self, reference: Reference) -> None:
        if not self._users.is_used(reference):
            self._newer.pop(reference, None)
            self._deleted.pop(reference, None)
        self._on_marked(reference)


def _reference(kind: RoutedKind, raw: Raw) -> Reference:
    meta = mapping(raw.get("metadata"))
    return Reference(kind, str(meta.get("namespace") or ""), str(meta.get("name") or ""))


def _labels(kept: Kept) -> dict[str, str]:
    return kept.labels if isinstance(kept, Passed) else labels_of(kept)


def _version(raw: Raw) -> int:
    text = mapping(raw.get("metadata")).get("resourceVersion")
    return int(text) if isinstance(text, str) and text.isdigit() else 0
