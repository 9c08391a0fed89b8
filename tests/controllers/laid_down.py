"""A cluster as another controller of this API leaves it, and a watch history that tells what happened afterwards.

Everything is written out from docs/behaviour.md §3 to §6; nothing here asks our engine what it would have written.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from gitops_rollouts.api.hashing import pod_template_hash
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import EVENTS, PODS, REPLICA_SETS, ROLLOUTS, SERVICES, Resource
from waiting import eventually

Raw = dict[str, Any]
HASH = "rollouts-pod-template-hash"
REVISION = "rollout.argoproj.io/revision"
MANAGER = "rollouts-controller"
WATCHED = (ROLLOUTS, REPLICA_SETS, PODS, SERVICES, EVENTS)


def ago(seconds: float) -> str:
    """A stored time: RFC 3339, UTC, whole seconds."""
    return (datetime.now(UTC) - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def condition(kind: str, status: str, reason: str, message: str) -> Raw:
    """One of ``status.conditions`` (§4.1), ten minutes old."""
    stamps = {"lastUpdateTime": ago(600), "lastTransitionTime": ago(600)}
    return {"type": kind, "status": status, "reason": reason, "message": message, **stamps}


AVAILABLE = ("Available", "True", "AvailableReason", "Rollout has minimum availability")
NOT_HEALTHY = ("Healthy", "False", "RolloutHealthy", "Rollout is not healthy")
NOT_COMPLETED = ("Completed", "False", "RolloutCompleted", "RolloutCompleted")
PAUSED = ("Paused", "True", "RolloutPaused", "Rollout is paused")


@dataclass
class Version:
    """A ReplicaSet. ``hash``: another library's; None: that of the template."""

    image: str
    revision: int
    size: int
    hash: str | None = None
    collision: int | None = None
    annotations: Raw = field(default_factory=dict)


class Laid:
    """One Rollout ``body`` with ReplicaSets; `status` is what its former controller wrote last."""

    def __init__(self, client: Client, namespace: str, body: Raw, versions: Sequence[Version]) -> None:
        self.client = client
        self.namespace = namespace
        self.body = body
        self.versions = versions
        self.name: str = body["metadata"]["name"]
        self.hashes = [self._hash(each) for each in versions]
        self.generation = 0

    def template(self, image: str) -> Raw:
        template: Raw = json.loads(json.dumps(self.body["spec"]["template"]))
        template["spec"]["containers"][0]["image"] = image
        return template

    def _hash(self, version: Version) -> str:
        return version.hash or pod_template_hash(self.template(version.image), version.collision)

    async def objects(self) -> None:
        """Create the Rollout and its ReplicaSets; returns once every pod runs."""
        newest = max(self.versions, key=lambda version: version.revision)
        self.body["metadata"].setdefault("annotations", {})[REVISION] = str(newest.revision)
        made = await self.client.create(ROLLOUTS, self.namespace, self.body, field_manager="kubectl-client-side-apply")
        self.generation = made["metadata"]["generation"]
        for version, pod_hash in zip(self.versions, self.hashes, strict=True):
            await self._replica_set(made, version, pod_hash)
        wanted = {f"{self.name}-{h}": v.size for v, h in zip(self.versions, self.hashes, strict=True)}

        async def ready() -> bool:
            found = await self.client.list(REPLICA_SETS, self.namespace)
            available = {rs["metadata"]["name"]: rs.get("status", {}).get("availableReplicas", 0) for rs in found}
            return all(available.get(name) == size for name, size in wanted.items())

        await eventually(ready, deadline=60, what=f"{self.name}'s pods")

    async def _replica_set(self, rollout: Raw, version: Version, pod_hash: str) -> None:
        template = self.template(version.image)
        template["metadata"]["labels"][HASH] = pod_hash
        owner = {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Rollout",
            "name": self.name,
            "uid": rollout["metadata"]["uid"],
            "controller": True,
            "blockOwnerDeletion": True,
        }
        body = {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": f"{self.name}-{pod_hash}",
                "labels": template["metadata"]["labels"],
                "ownerReferences": [owner],
                "annotations": {
                    REVISION: str(version.revision),
                    "rollout.argoproj.io/desired-replicas": str(self.body["spec"]["replicas"]),
                    **version.annotations,
                },
            },
            "spec": {
                "replicas": version.size,
                "selector": {"matchLabels": {**self.body["spec"]["selector"]["matchLabels"], HASH: pod_hash}},
                "template": template,
            },
        }
        await self.client.create(REPLICA_SETS, self.namespace, body, field_manager=MANAGER)

    async def status(self, *conditions: tuple[str, str, str, str], **fields: Any) -> Raw:
        """Write the status: what every canary has (§3), and ``fields`` (None: absent)."""
        total = sum(version.size for version in self.versions)
        whole: Raw = {
            "observedGeneration": str(self.generation),
            "currentPodHash": self.hashes[-1],
            "stableRS": self.hashes[0],
            "replicas": total,
            "updatedReplicas": self.versions[-1].size,
            "readyReplicas": total,
            "availableReplicas": total,
            "HPAReplicas": total,
            "selector": ",".join(f"{k}={v}" for k, v in self.body["spec"]["selector"]["matchLabels"].items()),
            "conditions": [condition(*each) for each in conditions],
            "canary": {},
            "blueGreen": {},
            **fields,
        }
        whole = {key: value for key, value in whole.items() if value not in (None, "", 0) or key == "currentStepIndex"}
        await self.client.patch(
            ROLLOUTS, self.namespace, self.name, {"status": whole}, subresource="status", field_manager=MANAGER
        )
        return whole


@dataclass
class History:
    """What a watch of the namespace told, oldest first: (kind, ADDED | MODIFIED | DELETED, object)."""

    entries: list[tuple[str, str, Raw]] = field(default_factory=list)

    def of(self, kind: str, owner: str = "") -> list[tuple[str, Raw]]:
        """(what happened, object) of one kind, of objects whose name begins with ``owner-`` or is it."""
        return [
            (what, raw)
            for found, what, raw in self.entries
            if found == kind and (not owner or f"{raw['metadata']['name']}-".startswith(f"{owner}-"))
        ]

    def pods(self, owner: str) -> list[tuple[str, str]]:
        """Pods of one Rollout that came and went: ("ADDED" | "DELETED", image)."""
        return [
            (what, raw["spec"]["containers"][0]["image"])
            for what, raw in self.of("Pod", owner)
            if what in {"ADDED", "DELETED"}
        ]

    def indices(self, owner: str) -> list[int | None]:
        """currentStepIndex as it went, repeats left out."""
        found: list[int | None] = []
        for _, raw in self.of("Rollout", owner):
            index = raw.get("status", {}).get("currentStepIndex")
            if not found or found[-1] != index:
                found.append(index)
        return found

    def reasons(self, owner: str) -> list[str]:
        """Reasons of the events about one Rollout."""
        return [raw["reason"] for _, raw in self.of("Event") if raw["involvedObject"]["name"] == owner]


@asynccontextmanager
async def recorded(client: Client, namespace: str) -> AsyncIterator[History]:
    """Watch everything of a namespace from now on."""
    history = History()
    tasks = [asyncio.create_task(_watch(client, namespace, each, await _now(client, namespace, each), history))
             for each in WATCHED]  # fmt: skip
    try:
        yield history
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _now(client: Client, namespace: str, resource: Resource) -> str:
    listed = await client.raw_get(resource.path(namespace) + "?limit=1&resourceVersion=")
    version: str = listed["metadata"]["resourceVersion"]
    return version


async def _watch(client: Client, namespace: str, resource: Resource, version: str, history: History) -> None:
    query = {"resourceVersion": version}
    async for line in client.watch_lines(resource, namespace, query, silence_seconds=300):
        told = json.loads(line)
        history.entries.append((resource.kind, told["type"], told["object"]))
