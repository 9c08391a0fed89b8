"""The loop over GitSync objects: a name → reconcile → when to look again.

What reconciling means is sync's; this side only knows that it may fail and when to try again.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final, Generic, Protocol, TypeVar

import structlog

from gitops_rollouts.controllers.queue import DelayQueue
from gitops_rollouts.errors import KubeError, LeadershipLost
from gitops_rollouts.kube.informer import Informer, Key

WORKERS: Final = 8

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)

log = structlog.get_logger(__name__)


class Reconciler(Protocol[T_contra]):
    """`sync.reconcile.GitSyncReconciler` is one."""

    def learn(self, live: T_contra, /) -> None: ...

    async def reconcile(self, live: T_contra, /) -> timedelta | None: ...

    async def gone(self, name: str, /) -> None: ...


class GitSyncController(Generic[T]):
    """Reconciles each GitSync, never one twice at once. Make it before the informer runs."""

    def __init__(
        self, gitsyncs: Informer[T], reconciler: Reconciler[T], queue: DelayQueue[str], *, workers: int = WORKERS
    ) -> None:
        self._gitsyncs = gitsyncs
        self._reconciler = reconciler
        self._queue = queue
        self._workers = workers
        gitsyncs.on_change(self._changed)

    async def run(self) -> None:
        """Work until the queue is closed and the passes under way are over. Raises `LeadershipLost`."""
        await self._gitsyncs.wait_synced()
        for _, live in list(self._gitsyncs.items()):
            self._reconciler.learn(live)
        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers):
                group.create_task(self._work())

    def _changed(self, key: Key, _old: T | None, _new: T | None) -> None:
        self._queue.add(key[1])

    async def _work(self) -> None:
        while True:
            name = await self._queue.get()
            if name is None:
                return
            try:
                await self._look(name)
            finally:
                self._queue.done(name)

    async def _look(self, name: str) -> None:
        """One pass, and what its end means for the queue."""
        live = self._gitsyncs.get("", name)
        try:
            if live is None:
                await self._reconciler.gone(name)
                self._queue.forget(name)
                return
            again = await self._reconciler.reconcile(live)
        except LeadershipLost:
            self._queue.close()
            raise
        except KubeError as error:
            log.warning("a GitSync's pass ended half-way", gitsync=name, error=str(error))
            self._queue.add_failed(name)
        except Exception:  # one bad GitSync never stops the others
            log.exception("a GitSync's pass failed", gitsync=name)
            self._queue.add_failed(name)
        else:
            self._queue.succeeded(name)
            if again is not None:
                self._queue.add_after(name, again.total_seconds())
