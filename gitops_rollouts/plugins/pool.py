"""The plugins of this process: which there are, and the child processes that run them.

A process runs one call at a time, so that a plugin needn't be safe for threads and a call that hangs takes no other
with it. A plugin gets a second process only when the first is busy, and never more than a few.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from gitops_rollouts.errors import PluginError, PluginMissing, PluginUnusable
from gitops_rollouts.plugins.catalogue import Catalogue, Installed
from gitops_rollouts.plugins.child import Child

CALL_SECONDS: Final = 30.0
"""How long one call may take, and how long a plugin may take to load."""
PROCESSES: Final = 4
"""Of one plugin, at most."""
_START_AGAIN_SECONDS: Final = 5.0


class Plugins:
    """Calls plugins by group and name. ``before`` is called before each call; what it raises prevents the call."""

    def __init__(
        self,
        catalogue: Catalogue,
        before: Callable[[], None],
        *,
        limit: float = CALL_SECONDS,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.catalogue = catalogue
        self._before = before
        self._limit = limit
        self._variables = variables or {}
        self._pools: dict[tuple[str, str], _Pool] = {}
        self._closed = False

    def find(self, group: str, name: str) -> Installed:
        """The plugin. Raises `PluginMissing`, or `PluginUnusable` if it can't be used as it is installed."""
        installed = self.catalogue.get((group, name))
        if installed is None:
            remedy = "`gor plugins` lists those that are; install it into the same Python environment and restart"
            raise PluginMissing(f"plugin {name!r} is not installed", remedy=remedy)
        if installed.problem:
            raise PluginUnusable(f"plugin {name!r} can't be used: {installed.problem}")
        return installed

    async def call(self, group: str, name: str, method: str, given: Mapping[str, Any]) -> Any:
        """One call. Raises `PluginError`, and whatever ``before`` raises."""
        return await self._pool(group, name).call(method, given)

    async def methods(self, group: str, name: str) -> frozenset[str]:
        """What the plugin can do; starts it if need be. Raises `PluginError`."""
        return await self._pool(group, name).methods()

    async def close(self) -> None:
        """End every process; calls under way fail."""
        self._closed = True
        await asyncio.gather(*(pool.close() for pool in self._pools.values()))

    def _pool(self, group: str, name: str) -> _Pool:
        if self._closed:
            raise PluginError(f"plugin {name!r} is not called any more: this process is stopping")
        self.find(group, name)
        pool = self._pools.get((group, name))
        if pool is None:
            pool = self._pools[group, name] = _Pool(group, name, self._before, self._limit, self._variables)
        return pool


class _Pool:
    """The processes of one plugin."""

    def __init__(
        self, group: str, name: str, before: Callable[[], None], limit: float, variables: Mapping[str, str]
    ) -> None:
        self._group = group
        self._name = name
        self._before = before
        self._limit = limit
        self._variables = variables
        self._free = asyncio.Semaphore(PROCESSES)
        self._idle: list[Child] = []
        self._all: set[Child] = set()
        self._methods: frozenset[str] | None = None
        self._unusable: tuple[float, PluginUnusable] | None = None
        self._closed = False

    async def call(self, method: str, given: Mapping[str, Any]) -> Any:
        async with self._turn():
            child = await self._child()
            if method not in child.methods:
                self._idle.append(child)
                raise PluginError(f"plugin {self._name} has no method {method}")
            try:
                self._before()
                return await child.call(method, given, limit=self._limit)
            finally:
                if child.alive and not self._closed:
                    self._idle.append(child)
                else:
                    self._all.discard(child)

    async def methods(self) -> frozenset[str]:
        if self._methods is None:
            async with self._turn():
                self._idle.append(await self._child())
        return self._methods or frozenset()

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """Room for one more process; who waits for it longer than a call may last is told so."""
        try:
            # not wait_for, which may lose a cancellation: an abort relies on it
            async with asyncio.timeout(self._limit):
                await self._free.acquire()
        except TimeoutError as error:
            raise PluginError(f"plugin {self._name}: all of its {PROCESSES} processes are busy") from error
        try:
            yield
        finally:
            self._free.release()

    async def close(self) -> None:
        self._closed = True
        await asyncio.gather(*(child.kill() for child in self._all))

    async def _child(self) -> Child:
        """The process that was used last, as far as one lives, else a new one."""
        while self._idle:
            child = self._idle.pop()
            if child.alive:
                return child
            self._all.discard(child)
            await child.close()
        if self._unusable is not None:
            since, why = self._unusable
            if time.monotonic() - since < _START_AGAIN_SECONDS:
                raise PluginUnusable(why.message, remedy=why.remedy)
        self._before()
        try:
            child = await Child.start(self._group, self._name, limit=self._limit, variables=self._variables)
        except PluginUnusable as error:
            self._unusable = (time.monotonic(), error)
            raise
        self._unusable = None
        self._methods = child.methods
        self._all.add(child)
        if self._closed:
            await child.kill()
            raise PluginError(f"plugin {self._name!r} is not called any more: this process is stopping")
        return child
