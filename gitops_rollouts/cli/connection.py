"""One cluster connection for one command, and watching one object for a person who waits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from gitops_rollouts.errors import Gone, KubeUnreachable, NotFound

if TYPE_CHECKING:
    from gitops_rollouts.kube.client import Client
    from gitops_rollouts.kube.resources import Resource

T = TypeVar("T")
_SILENCE_SECONDS: Final = 330.0
_WATCH_SECONDS: Final = 300
_RETRIES: Final = 5
_RETRY_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Cluster:
    """A client and the namespace that the person means."""

    client: Client
    namespace: str


@asynccontextmanager
async def connect(kubeconfig: Path | None, context: str | None, namespace: str | None = None) -> AsyncIterator[Cluster]:
    """Connect as the person who types. Raises `ConfigError` if there is no usable kubeconfig."""
    from gitops_rollouts.kube.client import Client

    async with await Client.connect(str(kubeconfig) if kubeconfig else None, context) as client:
        yield Cluster(client, namespace or client.default_namespace)


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's coroutine to its end."""
    return asyncio.run(work)


async def follow(
    client: Client, resource: Resource, namespace: str | None, name: str
) -> AsyncGenerator[dict[str, Any], None]:
    """The object as it is now, then again after every change, until the caller stops.

    A lost connection is taken up again a few times. Raises `NotFound` when the object is, or gets, deleted.
    """
    failures = 0
    while True:
        try:
            start = await client.get(resource, namespace, name)
            yield start
            async for changed in _changes(client, resource, namespace, name, start):
                failures = 0
                yield changed
        except KubeUnreachable:
            failures += 1
            if failures > _RETRIES:
                raise
            await asyncio.sleep(_RETRY_SECONDS)


async def _changes(
    client: Client, resource: Resource, namespace: str | None, name: str, start: dict[str, Any]
) -> AsyncIterator[dict[str, Any]]:
    """Changes since ``start`` until the server ends the watch."""
    query = {
        "fieldSelector": f"metadata.name={name}",
        "resourceVersion": str(start["metadata"]["resourceVersion"]),
        "timeoutSeconds": str(_WATCH_SECONDS),
    }
    try:
        async for line in client.watch_lines(resource, namespace, query, silence_seconds=_SILENCE_SECONDS):
            event = json.loads(line)
            if event["type"] == "DELETED":
                raise NotFound(f'The {resource.kind} "{name}" was deleted', status=404, reason="NotFound")
            if event["type"] == "ERROR":
                return
            yield event["object"]
    except Gone:
        return
