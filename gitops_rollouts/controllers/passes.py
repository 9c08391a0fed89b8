"""What every controller with passes shares: workers, failures, a look at all once in a while, late caches."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import timedelta
from typing import Final, TypeVar

import structlog

from gitops_rollouts.controllers.queue import DelayQueue
from gitops_rollouts.errors import (
    AlreadyExists,
    Conflict,
    KubeError,
    LeadershipLost,
    NameTaken,
    NotFound,
    RoutingError,
)
from gitops_rollouts.kube.failures import NAMESPACE_TERMINATING
from gitops_rollouts.kube.resources import Resource

Key = tuple[str, str]
_DYING_SECONDS: Final = 30.0
K = TypeVar("K")
GUARD: Final = timedelta(seconds=0.1)
"""When to look again whether the caches show what was written."""

log = structlog.get_logger(__name__)


async def work_off(
    queue: DelayQueue[K], clean: Callable[[K], Awaitable[None]], about: Callable[[K], Mapping[str, str]]
) -> None:
    """Clean up after each key until the queue is closed; one that fails is tried again. Raises `LeadershipLost`.

    ``about``: what names its object in the log.
    """
    while (key := await queue.get()) is not None:
        try:
            await clean(key)
        except LeadershipLost:
            raise
        except KubeError as error:
            log.warning("not cleaned up", **about(key), error=str(error))
            queue.add_failed(key)
        except Exception:  # one bad object never stops the others
            log.exception("cleaning up failed", **about(key))
            queue.add_failed(key)
        else:
            queue.succeeded(key)
        finally:
            queue.done(key)


class Passes:
    """Takes keys from a queue and looks at each, with several workers. Call `run` once the caches are in sync.

    ``look``: one pass; returns when to look again if nothing changes before. ``every``: the keys to look at once in
    a while. ``failed`` is told of a failure that is worth an event, ``timed`` of each pass: seconds, and if it failed.
    """

    def __init__(
        self,
        queue: DelayQueue[Key],
        look: Callable[[Key], Awaitable[timedelta | None]],
        *,
        workers: int,
        resync_seconds: float,
        every: Callable[[], Iterable[Key]],
        failed: Callable[[Key, KubeError | RoutingError], None],
        timed: Callable[[Key, float, bool], None],
    ) -> None:
        self._queue = queue
        self._pass = look
        self._workers = workers
        self._resync_seconds = resync_seconds
        self._every = every
        self._told = failed
        self._timed = timed

    async def run(self) -> None:
        """Work until the queue is closed and the passes under way are over. Raises `LeadershipLost`."""
        async with asyncio.TaskGroup() as group:
            resync = group.create_task(self._resync())
            workers = [group.create_task(self._work()) for _ in range(self._workers)]
            await asyncio.wait(workers, return_when=asyncio.ALL_COMPLETED)
            resync.cancel()

    async def _work(self) -> None:
        while True:
            key = await self._queue.get()
            if key is None:
                return
            try:
                await self._look(key)
            finally:
                self._queue.done(key)

    async def _look(self, key: Key) -> None:
        """One pass, and what its end means for the queue."""
        started = time.perf_counter()
        failed = True
        try:
            again = await self._pass(key)
        except LeadershipLost:
            self._queue.close()
            raise
        except (Conflict, AlreadyExists, NameTaken) as error:
            # somebody was faster: ordinary, and the next pass sees it
            log.debug("looking again", namespace=key[0], name=key[1], why=str(error))
            self._queue.add_failed(key)
            failed = False
        except NotFound as error:
            log.info("object vanished during a pass", namespace=key[0], name=key[1], error=str(error))
            failed = False
        except (KubeError, RoutingError) as error:
            self._failed(key, error)
        except Exception:  # one bad object never stops the others
            log.exception("pass failed", namespace=key[0], name=key[1])
            self._queue.add_failed(key)
        else:
            failed = False
            self._queue.succeeded(key)
            if again is not None:
                self._queue.add_after(key, again.total_seconds())
        self._timed(key, time.perf_counter() - started, failed)

    def _failed(self, key: Key, error: KubeError | RoutingError) -> None:
        if isinstance(error, KubeError) and error.reason == NAMESPACE_TERMINATING:
            # everything in it is going, this object too
            self._queue.add_after(key, _DYING_SECONDS)
            return
        seconds = self._queue.add_failed(key)
        log.warning("pass failed", namespace=key[0], name=key[1], error=str(error), again_in=seconds)
        self._told(key, error)

    async def _resync(self) -> None:
        """Look at everything once in a while: what no event told of is found then (docs/behaviour.md §7)."""
        while True:
            await asyncio.sleep(self._resync_seconds)
            for key in self._every():
                self._queue.add_after(key, random.uniform(0.0, min(60.0, self._resync_seconds)))  # noqa: S311


class Written:
    """What this process wrote for each key and hasn't seen back: a pass on older caches would do things twice.

    ``positions``: how far each cache is; a resource that isn't cached needs no waiting for.
    """

    def __init__(self, positions: Callable[[], Mapping[Resource, int]]) -> None:
        self._positions = positions
        self._of: dict[Key, dict[Resource, int]] = {}

    def note(self, key: Key, written: Mapping[Resource, int]) -> None:
        """These resourceVersions were written."""
        if written:
            self._of.setdefault(key, {}).update(written)

    def caught_up(self, key: Key) -> bool:
        """Whether the caches show all of it."""
        written = self._of.get(key)
        if written is None:
            return True
        positions = self._positions()
        missing = {
            resource: version for resource, version in written.items() if positions.get(resource, version) < version
        }
        if missing:
            self._of[key] = missing
            return False
        del self._of[key]
        return True

    def forget(self, key: Key) -> None:
        """Its object is gone."""
        self._of.pop(key, None)
