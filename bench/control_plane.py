"""The control plane that is measured on, and the few things that both measurements do with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from gitops_rollouts.api.crd import crds
from gitops_rollouts.errors import LocalClusterError, NotFound
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.informer import Informer
from gitops_rollouts.kube.resources import CRDS, NAMESPACES, PODS
from gitops_rollouts.local.cluster import Cluster

Raw = dict[str, Any]
AT_ONCE = 16
"""Requests in flight while objects are created or changed by the measurement itself."""
WAIT_SECONDS = 1800


@asynccontextmanager
async def control_plane(folder: Path, given: Path | None) -> AsyncIterator[tuple[Client, Path]]:
    """A client and a kubeconfig: of the cluster that was ``given``, else of a fresh one in ``folder``."""
    cluster = None
    if given is None:
        cluster = Cluster(folder / "cluster")
        await asyncio.to_thread(cluster.up, tied=True)
    kubeconfig = given or (folder / "cluster" / "kubeconfig")
    try:
        async with await Client.connect(str(kubeconfig)) as client:
            await _install_crds(client)
            yield client, kubeconfig
    finally:
        if cluster is not None:
            await asyncio.to_thread(cluster.down)


async def each(items: Iterable[Any], act: Callable[[Any], Awaitable[Any]]) -> None:
    """``act`` on all items, some at a time."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(item: Any) -> None:
        async with gate:
            await act(item)

    await asyncio.gather(*(one(item) for item in items))


async def until_gone(client: Client, namespace: str) -> None:
    """Delete a namespace, and wait until none of its pods is left."""
    pods: Informer[bool] = Informer(client, PODS, lambda _raw: True, namespace=namespace)
    watching = asyncio.create_task(pods.run())
    try:
        await pods.wait_synced()
        await client.delete(NAMESPACES, None, namespace)
        await until(lambda: len(pods) == 0, f"the pods of {namespace} to go")
        await until_told(lambda: _is_gone(client, namespace), f"namespace {namespace} to go")
    finally:
        watching.cancel()


async def until(condition: Callable[[], bool], what: str) -> None:
    """Look every 20 ms. Raises `LocalClusterError` when it takes too long."""
    deadline = asyncio.get_running_loop().time() + WAIT_SECONDS
    while not condition():
        if asyncio.get_running_loop().time() > deadline:
            raise LocalClusterError(f"waited {WAIT_SECONDS} s in vain for {what}")
        await asyncio.sleep(0.02)


async def until_told(ask: Callable[[], Awaitable[bool]], what: str) -> None:
    """As `until`, for a condition that takes a request; asked every 0.2 s."""
    deadline = asyncio.get_running_loop().time() + WAIT_SECONDS
    while not await ask():
        if asyncio.get_running_loop().time() > deadline:
            raise LocalClusterError(f"waited {WAIT_SECONDS} s in vain for {what}")
        await asyncio.sleep(0.2)


async def _is_gone(client: Client, namespace: str) -> bool:
    try:
        await client.get(NAMESPACES, None, namespace)
    except NotFound:
        return True
    return False


async def _install_crds(client: Client) -> None:
    wanted = crds()
    for crd in wanted:
        await client.apply(CRDS, None, crd["metadata"]["name"], crd, field_manager="bench", force=True)
    for crd in wanted:
        await until_told(partial(_is_established, client, crd["metadata"]["name"]), "the CRDs to be served")


async def _is_established(client: Client, name: str) -> bool:
    crd = await client.get(CRDS, None, name)
    conditions = (crd.get("status") or {}).get("conditions") or []
    return any(c.get("type") == "Established" and c.get("status") == "True" for c in conditions)
