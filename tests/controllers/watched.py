"""What a client sees that only watches one namespace: Rollouts, ReplicaSets, Services and Events, or other kinds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import EVENTS, REPLICA_SETS, ROLLOUTS, SERVICES, Resource
from waiting import eventually

Raw = dict[str, Any]
_KINDS = (ROLLOUTS, REPLICA_SETS, SERVICES, EVENTS)
_HASH = "rollouts-pod-template-hash"


class Watched:
    """Every change, by kind, as a watch told it; ``mark`` divides the chapters of a story."""

    def __init__(self, kinds: Sequence[Resource] = _KINDS) -> None:
        self.seen: dict[Resource, list[Raw]] = {kind: [] for kind in kinds}
        self._marks: dict[Resource, int] = dict.fromkeys(kinds, 0)

    def mark(self) -> None:
        """A new chapter begins."""
        self._marks = {kind: len(told) for kind, told in self.seen.items()}

    def chapter(self, kind: Resource) -> list[Raw]:
        """What was told of a kind since the last mark."""
        return self.seen[kind][self._marks[kind] :]

    def statuses(self) -> list[Raw]:
        """Each ``status`` that was written."""
        return _runs([each["status"] for each in self.chapter(ROLLOUTS) if "status" in each])

    def phases(self) -> list[tuple[str, str]]:
        """(phase, message) as ``status`` had them, each once in a row."""
        found = [(each.get("status") or {}) for each in self.chapter(ROLLOUTS)]
        return _runs([(str(each.get("phase", "")), str(each.get("message", ""))) for each in found])

    def reasons(self) -> list[str]:
        """The reasons of events on Rollouts, one for each time that a watcher was told."""
        return [str(each["reason"]) for each in self.chapter(EVENTS) if each["involvedObject"]["kind"] == "Rollout"]

    def sizes(self, image: str) -> list[int]:
        """``spec.replicas`` of the version's ReplicaSet over time."""
        found = [each["spec"] for each in self.chapter(REPLICA_SETS)]
        return _runs([each["replicas"] for each in found if _image(each) == image])

    def selected(self, service: str) -> list[str | None]:
        """The hashes that a Service selected over time."""
        found = [each for each in self.chapter(SERVICES) if each["metadata"]["name"] == service]
        return _runs([each["spec"]["selector"].get(_HASH) for each in found])

    def indices(self) -> list[int | None]:
        """``status.currentStepIndex`` over time."""
        return _runs([(each.get("status") or {}).get("currentStepIndex") for each in self.chapter(ROLLOUTS)])

    async def told(self, reasons: list[str]) -> None:
        """Wait for these events since the mark, all of them and no others, in this order."""

        async def there() -> bool:
            return len(self.reasons()) >= len(reasons)

        try:
            await eventually(there, deadline=60)
        finally:
            assert self.reasons() == reasons, self.reasons()

    async def comes(self, read: Callable[[], Any], wanted: Any) -> None:
        """Wait until the watches have told as much: each follows the API server by a moment of its own."""

        async def there() -> bool:
            return bool(read() == wanted)

        try:
            await eventually(there)
        except AssertionError:
            assert read() == wanted
            raise

    async def last_told(self, reason: str) -> None:
        """Wait until this is the newest event."""

        async def there() -> bool:
            return self.reasons()[-1:] == [reason]

        await eventually(there, what=f"the event {reason}")


@asynccontextmanager
async def watching(client: Client, namespace: str, kinds: Sequence[Resource] = _KINDS) -> AsyncIterator[Watched]:
    """Watch from now on."""
    watched = Watched(kinds)
    versions = {}
    for kind in kinds:
        async for page in client.list_pages(kind, namespace):
            versions[kind] = page["metadata"]["resourceVersion"]
    tasks = [asyncio.create_task(_follow(client, namespace, kind, versions[kind], watched)) for kind in kinds]
    try:
        yield watched
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _follow(client: Client, namespace: str, kind: Resource, version: str, watched: Watched) -> None:
    query = {"resourceVersion": version, "timeoutSeconds": "600"}
    async for line in client.watch_lines(kind, namespace, query, silence_seconds=600):
        event = json.loads(line)
        if event["type"] in ("ADDED", "MODIFIED"):
            watched.seen[kind].append(event["object"])


def _runs(values: list[Any]) -> list[Any]:
    """Each value once for as long as it stood."""
    return [value for index, value in enumerate(values) if index == 0 or value != values[index - 1]]


def _image(spec: Raw) -> str:
    return str(spec["template"]["spec"]["containers"][0]["image"])
