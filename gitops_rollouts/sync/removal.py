"""Takes objects out of the cluster: asks once more whether each is still ours, and deletes that very one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final

from gitops_rollouts.api.names import APPLIED, APPLY_MANAGER, ARGO_GROUP, STAMP_MANAGER
from gitops_rollouts.errors import Conflict, KubeError, NotFound, UnknownKind
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.discovery import Discovery
from gitops_rollouts.kube.lease import Fence
from gitops_rollouts.kube.resources import ROLLOUTS
from gitops_rollouts.render.objects import Identity, Problem
from gitops_rollouts.sync.apply import AT_ONCE, at_once, is_about_the_object
from gitops_rollouts.sync.inventory import Entry
from gitops_rollouts.sync.order import wave_of
from gitops_rollouts.sync.prune import is_to_stay

Bodies = Mapping[Identity, Mapping[str, Any]]


@dataclass(slots=True)
class Removal:
    """What became of the entries. ``settled``: gone, or no longer ours; they leave the inventory."""

    settled: set[Identity] = field(default_factory=set)
    deleted: list[Identity] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


class Remover:
    """Deletes objects of one cluster. ``fence`` is asked before each deletion."""

    def __init__(self, client: Client, discovery: Discovery, fence: Fence) -> None:
        self._client = client
        self._discovery = discovery
        self._fence = fence
        self._slots: Final = asyncio.Semaphore(AT_ONCE)

    async def remove(self, entries: Iterable[Entry], bodies: Bodies | None = None) -> Removal:
        """Delete in the given order, wave by wave. Raises `KubeError` where trying again is the only way.

        ``bodies``: how the objects were applied last, as far as that is known.
        """
        result = Removal()
        known = bodies or {}
        for _, wave in groupby(entries, key=lambda entry: wave_of(entry.identity.group, entry.identity.kind)):
            await at_once(self._one(entry, known.get(entry.identity), result) for entry in list(wave))
        return result

    async def release(self, identities: Iterable[Identity]) -> None:
        """Take the stamp off Rollouts that stay though Git let them go: the engine obeys the cluster alone from now on.

        Raises `KubeError`.
        """
        await at_once(self._unstamp(one) for one in identities if (one.group, one.kind) == (ARGO_GROUP, "Rollout"))

    async def _unstamp(self, identity: Identity) -> None:
        patch = {"metadata": {"annotations": {APPLIED: None}}}
        async with self._slots:
            self._fence.fence()
            try:
                await self._client.patch(
                    ROLLOUTS, identity.namespace, identity.name, patch, field_manager=STAMP_MANAGER
                )
            except NotFound:
                return

    async def _one(self, entry: Entry, body: Mapping[str, Any] | None, result: Removal) -> None:
        identity = entry.identity
        async with self._slots:
            try:
                if await self._delete(entry, body):
                    result.deleted.append(identity)
            except (NotFound, UnknownKind):
                pass
            except KubeError as err:
                if not (isinstance(err, Conflict) or is_about_the_object(err)):
                    raise
                result.problems.append(Problem("", 0, "", err.message, err.remedy, identity))
                return
            result.settled.add(identity)

    async def _delete(self, entry: Entry, body: Mapping[str, Any] | None) -> bool:
        """False: somebody else made it anew, so it isn't ours, or its chart asked to leave it there."""
        identity = entry.identity
        resource = await self._discovery.resolve(entry.api_version, identity.kind)
        namespace = identity.namespace if resource.namespaced else None
        live = await self._client.get(resource, namespace, identity.name)
        if not applied_by_us(live, body) or is_to_stay(live):
            return False
        self._fence.fence()
        propagation = "Foreground" if resource == ROLLOUTS else "Background"
        uid = live["metadata"].get("uid")
        await self._client.delete(resource, namespace, identity.name, propagation=propagation, uid=uid)
        return True


def applied_by_us(live: Mapping[str, Any], body: Mapping[str, Any] | None = None) -> bool:
    """Whether a live object is the one that we applied: our field manager holds something of it.

    Who applies nothing but a name holds no field; so where nobody holds any, or ``body`` is such, it counts as ours.
    """
    managed = (live.get("metadata") or {}).get("managedFields") or []
    if any(one.get("manager") == APPLY_MANAGER and one.get("operation") == "Apply" for one in managed):
        return True
    return not managed or (body is not None and not _says_anything(body))


def _says_anything(body: Mapping[str, Any]) -> bool:
    metadata = body.get("metadata") or {}
    said = {key for key, value in body.items() if value} - {"apiVersion", "kind", "metadata"}
    return bool(said or {key for key, value in metadata.items() if value} - {"name", "namespace"})
