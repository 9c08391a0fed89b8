"""Takes objects out of the cluster: asks once more whether each is still ours, and deletes that very one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final

from gitops_rollouts.api.names import APPLY_MANAGER
from gitops_rollouts.errors import Conflict, Forbidden, Invalid, NotFound, UnknownKind
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.discovery import Discovery
from gitops_rollouts.kube.lease import Fence
from gitops_rollouts.kube.resources import ROLLOUTS
from gitops_rollouts.render.objects import Identity, Problem
from gitops_rollouts.sync.apply import AT_ONCE, at_once
from gitops_rollouts.sync.inventory import Entry
from gitops_rollouts.sync.order import wave_of


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

    async def remove(self, entries: Iterable[Entry]) -> Removal:
        """Delete in the given order, wave by wave. Raises `KubeError` where trying again is the only way."""
        result = Removal()
        for _, wave in groupby(entries, key=lambda entry: wave_of(entry.identity.group, entry.identity.kind)):
            await at_once(self._one(entry, result) for entry in list(wave))
        return result

    async def _one(self, entry: Entry, result: Removal) -> None:
        identity = entry.identity
        async with self._slots:
            try:
                if await self._delete(entry):
                    result.deleted.append(identity)
            except (NotFound, UnknownKind):
                pass
            except (Conflict, Forbidden, Invalid) as err:
                result.problems.append(Problem("", 0, "", err.message, err.remedy, identity))
                return
            result.settled.add(identity)

    async def _delete(self, entry: Entry) -> bool:
        """False: somebody else made it anew, so it isn't ours."""
        identity = entry.identity
        resource = await self._discovery.resolve(entry.api_version, identity.kind)
        namespace = identity.namespace if resource.namespaced else None
        live = await self._client.get(resource, namespace, identity.name)
        if not applied_by_us(live):
            return False
        self._fence.fence()
        propagation = "Foreground" if resource == ROLLOUTS else "Background"
        uid = live["metadata"].get("uid")
        await self._client.delete(resource, namespace, identity.name, propagation=propagation, uid=uid)
        return True


def applied_by_us(live: Mapping[str, Any]) -> bool:
    """Whether our field manager holds anything of a live object."""
    managed = (live.get("metadata") or {}).get("managedFields") or []
    return any(one.get("manager") == APPLY_MANAGER and one.get("operation") == "Apply" for one in managed)
