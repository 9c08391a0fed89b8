"""One running process: its Lease, its web endpoints, and what it does while it leads.

Every replica serves health and metrics and takes webhooks; caches, controllers and Git run only on the one that holds
the Lease.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

import structlog

from gitops_rollouts import __version__
from gitops_rollouts.api.names import LOCK_NAME
from gitops_rollouts.controllers.primary_cluster import primary_cluster
from gitops_rollouts.controllers.rollout import Clock
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.lease import Fence, LeaderElection, NoElection, identity
from gitops_rollouts.kube.resources import Resource
from gitops_rollouts.leader import GitFactory, Leader, Settings, controller_namespace, installed_plugins, system_clock
from gitops_rollouts.sync.hints import Hints
from gitops_rollouts.tasks import STOP, cancel, first
from gitops_rollouts.telemetry import Metrics
from gitops_rollouts.web.door import Door
from gitops_rollouts.web.endpoints import health_app, metrics_app
from gitops_rollouts.web.server import WebServer
from gitops_rollouts.web.webhooks import webhooks_app

_LAST_ANSWERS_SECONDS: Final = 3.0

log = structlog.get_logger(__name__)


class Manager:
    """One process. ``git`` makes the Git side; None: the progression engine alone."""

    def __init__(self, settings: Settings, *, git: GitFactory | None = None, clock: Clock = system_clock) -> None:
        self.settings = settings
        self.metrics = Metrics(__version__)
        self.client: Client | None = None
        """Set while `run` runs."""
        self.leading = asyncio.Event()
        """Set once the caches are in sync and the controllers run."""
        self._git = git
        self._clock = clock
        self._why_not_ready = "not started"

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set, then end in good order: passes under way, Lease, connections.

        Raises `GorError`: no cluster, a port that is taken, `LeadershipLost`.
        """
        settings = self.settings
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(await Client.connect(settings.kubeconfig, settings.context))
            client.observer = self._count_request
            self.client = client
            guards: list[asyncio.Task[Any]] = [asyncio.create_task(stop.wait(), name=STOP)]
            stack.push_async_callback(cancel, guards)
            for server in self._servers(client, stack):
                answering = asyncio.create_task(server.run(), name="web server")
                guards.append(answering)
                stack.push_async_callback(_end_server, server, answering)
            election = self._election(client)
            if isinstance(election, LeaderElection):
                # a replica that waits is healthy and ready: there is nothing that it should be doing
                self._why_not_ready = ""
                log.info("waiting for the lease", holder=election.holder)
                if not await first(election.acquire(), guards):
                    return
                stack.push_async_callback(election.release)
                log.info("leading", holder=election.holder)
            await self._lead(client, election, guards)

    async def _lead(self, client: Client, election: Fence, guards: Sequence[asyncio.Task[Any]]) -> None:
        self._why_not_ready = "the caches are not in sync yet"
        settings = self.settings
        plugins, configured = await installed_plugins(client, settings, election)
        primary = await primary_cluster(client, controller_namespace(settings.namespace or client.default_namespace))
        leader = Leader(client, election, settings, self.metrics, self._clock, self._git, plugins, configured, primary)
        background = leader.start()
        if isinstance(election, LeaderElection):
            background.append(asyncio.create_task(election.hold(), name="lease"))
        try:
            if not await first(leader.synced(), [*guards, *background]):
                return
            _tune_gc()
            working = leader.work()
            self._why_not_ready = ""
            self.leading.set()
            log.info("running", cluster=client.server, rollouts=len(leader.caches.rollouts))
            await first(None, [*guards, *background, *working])
        finally:
            self.leading.clear()
            self._why_not_ready = "stopping"
            await leader.end()
            await cancel(background)
            if primary is not None and primary.client is not None:
                await primary.client.close()

    def _servers(self, client: Client, stack: AsyncExitStack) -> list[WebServer]:
        settings = self.settings
        servers: list[WebServer] = []
        if settings.healthz_port:
            servers.append(WebServer(health_app(lambda: self._why_not_ready), settings.bind, settings.healthz_port))
        if settings.metrics_port:
            servers.append(WebServer(metrics_app(self.metrics.text), settings.bind, settings.metrics_port))
        if settings.webhook_port:
            hints = Hints(client, self._clock, time.monotonic)
            stack.push_async_callback(hints.close)
            app = webhooks_app(hints.secret, hints.hint, time.monotonic)
            servers.append(WebServer(app, settings.bind, settings.webhook_port, Door()))
        return servers

    def _election(self, client: Client) -> Fence:
        settings = self.settings
        if not settings.leader_elect:
            return NoElection()
        name = f"{LOCK_NAME}-{settings.instance_id}" if settings.instance_id else LOCK_NAME
        return LeaderElection(
            client,
            controller_namespace(settings.namespace or client.default_namespace),
            name,
            identity(),
            lease_seconds=settings.lease_seconds,
            renew_seconds=settings.renew_seconds,
            retry_seconds=settings.retry_seconds,
        )

    def _count_request(self, verb: str, resource: Resource | None, namespace: str | None, status: int) -> None:
        self.metrics.request(verb, resource.plural if resource else "", namespace or "", status)


async def _end_server(server: WebServer, answering: asyncio.Task[Any]) -> None:
    server.stop()
    await asyncio.wait([answering], timeout=_LAST_ANSWERS_SECONDS)


def _tune_gc() -> None:
    """Caches are large and live long: don't walk them again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
