"""The objects that Rollouts refer to (docs/behaviour.md §2.2): seen live, and kept only where a Rollout names them.

A kind is watched from the first reference to it on. Of an object that nobody refers to, only its generation is kept.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gitops_rollouts.api.meta import LabelSelector, Raw, parse_tolerant
from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.controllers.observe import Key, LiveRollout, is_ours
from gitops_rollouts.engine.observed import Workload
from gitops_rollouts.engine.workload import group_kind
from gitops_rollouts.errors import NotFound
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.informer import Informer
from gitops_rollouts.kube.resources import DEPLOYMENTS, POD_TEMPLATES, REPLICA_SETS, Resource

_RESOURCES: Final[Mapping[tuple[str, str], Resource]] = {
    (resource.group, resource.kind): resource for resource in (DEPLOYMENTS, REPLICA_SETS, POD_TEMPLATES)
}
Reference = tuple[Resource, str, str]
"""(resource, namespace, name)."""


@dataclass(frozen=True, slots=True)
class Passed:
    """An object that no Rollout referred to when it was last seen."""

    generation: int


def reference_of(rollout: Rollout) -> Reference | None:
    """What a Rollout refers to; None: nothing, or a kind that has no template for it."""
    named = rollout.spec.workload_ref
    resource = _RESOURCES.get(group_kind(named)) if named is not None else None
    if named is None or resource is None or not named.name:
        return None
    return resource, rollout.metadata.namespace, named.name


def project_workload(resource: Resource, raw: Raw) -> Workload:
    """Keep what a Rollout takes over. Total: what has a wrong type is as if absent."""
    meta = _mapping(raw.get("metadata"))
    spec = raw if resource is POD_TEMPLATES else _mapping(raw.get("spec"))
    selector, replicas = spec.get("selector"), spec.get("replicas")
    generation = meta.get("generation")
    return Workload(
        kind=resource.kind,
        name=str(meta.get("name") or ""),
        uid=str(meta.get("uid") or ""),
        generation=generation if isinstance(generation, int) else 0,
        template=_mapping(spec.get("template")),
        selector=parse_tolerant(LabelSelector, selector) if isinstance(selector, dict) else None,
        replicas=replicas if isinstance(replicas, int) and resource is not POD_TEMPLATES else None,
    )


class Workloads:
    """Reads referred objects for passes, and calls ``on_rollout`` with each Rollout whose object changed.

    Without a watch, or before its first list is complete, an object is read from the API.
    """

    def __init__(
        self,
        client: Client,
        rollouts: Informer[LiveRollout],
        *,
        namespace: str | None,
        instance_id: str,
        on_rollout: Callable[[Key], None],
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._instance_id = instance_id
        self._on_rollout = on_rollout
        self._users: dict[Reference, set[Key]] = defaultdict(set)
        self._informers: dict[Resource, Informer[Workload | Passed]] = {}
        self._fetched: dict[Reference, Workload] = {}
        self._wanted: asyncio.Queue[Informer[Workload | Passed]] = asyncio.Queue()
        rollouts.on_change(self._rollout_changed)

    async def run(self) -> None:
        """Watch what is referred to, for ever."""
        async with asyncio.TaskGroup() as group:
            while True:
                informer = await self._wanted.get()
                group.create_task(informer.run(), name=f"watch of {informer.resource.plural}")

    async def get(self, rollout: Rollout) -> Workload | None:
        """What this Rollout refers to; None if it refers to nothing that is there. Raises `KubeError`."""
        reference = reference_of(rollout)
        if reference is None:
            return None
        known = self.known(rollout)
        if known is not None:
            return known
        resource, namespace, name = reference
        informer = self._informers.get(resource)
        if informer is not None and informer.synced and informer.get(namespace, name) is None:
            return None
        try:
            raw = await self._client.get(resource, namespace, name)
        except NotFound:
            return None
        found = project_workload(resource, raw)
        if informer is not None and informer.synced:
            self._fetched[reference] = found
        return found

    def known(self, rollout: Rollout) -> Workload | None:
        """The same without asking the API: None if it isn't in a cache."""
        reference = reference_of(rollout)
        if reference is None:
            return None
        resource, namespace, name = reference
        informer = self._informers.get(resource)
        cached = informer.get(namespace, name) if informer is not None and informer.synced else None
        return cached if isinstance(cached, Workload) else self._fetched.get(reference)

    def _rollout_changed(self, key: Key, old: LiveRollout | None, new: LiveRollout | None) -> None:
        before = reference_of(old.rollout) if old is not None else None
        after = reference_of(new.rollout) if new is not None and is_ours(new.rollout, self._instance_id) else None
        if before is not None and before != after:
            self._users[before].discard(key)
            if not self._users[before]:
                del self._users[before]
                self._fetched.pop(before, None)
        if after is not None:
            self._users[after].add(key)
            self._watch(after[0])

    def _watch(self, resource: Resource) -> None:
        if resource in self._informers:
            return

        def project(raw: Raw) -> Workload | Passed:
            found = project_workload(resource, raw)
            namespace = str(_mapping(raw.get("metadata")).get("namespace") or "")
            return found if (resource, namespace, found.name) in self._users else Passed(found.generation)

        def changed(key: Key, old: Workload | Passed | None, new: Workload | Passed | None) -> None:
            reference = (resource, *key)
            self._fetched.pop(reference, None)
            if old != new:
                for user in self._users.get(reference, ()):
                    self._on_rollout(user)

        informer: Informer[Workload | Passed] = Informer(self._client, resource, project, namespace=self._namespace)
        informer.on_change(changed)
        self._informers[resource] = informer
        self._wanted.put_nowait(informer)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
