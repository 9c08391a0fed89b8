"""Wires client, caches, engine, Git and web endpoints into one running process.

Every replica serves health and metrics; caches, controllers and Git run only on the one that holds the Lease.
"""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Protocol

import structlog

from gitops_rollouts import __version__
from gitops_rollouts.api.names import LOCK_NAME, POD_TEMPLATE_HASH
from gitops_rollouts.controllers.authority import AuthorityReader, GitView
from gitops_rollouts.controllers.execute import Executor
from gitops_rollouts.controllers.observe import (
    Caches,
    Key,
    LiveRollout,
    LiveService,
    project_replica_set,
    project_rollout,
    project_service,
)
from gitops_rollouts.controllers.queue import DelayQueue
from gitops_rollouts.controllers.rollout import (
    COALESCE_SECONDS,
    RESYNC_SECONDS,
    WORKERS,
    Clock,
    RolloutController,
    WantSink,
)
from gitops_rollouts.controllers.routing import RouterCalls
from gitops_rollouts.controllers.services import SETTLE_SECONDS, ServiceController
from gitops_rollouts.controllers.step_plugins import StepPluginCalls
from gitops_rollouts.controllers.workloads import Workloads
from gitops_rollouts.engine.observed import ReplicaSet
from gitops_rollouts.engine.plan import EmitEvent
from gitops_rollouts.errors import Forbidden, LeadershipLost, NotFound
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.discovery import Discovery
from gitops_rollouts.kube.events import About, EventRecorder
from gitops_rollouts.kube.informer import Informer
from gitops_rollouts.kube.lease import (
    LEASE_SECONDS,
    RENEW_SECONDS,
    RETRY_SECONDS,
    Fence,
    LeaderElection,
    NoElection,
    identity,
)
from gitops_rollouts.kube.resources import CONFIG_MAPS, REPLICA_SETS, ROLLOUTS, SERVICES, Resource
from gitops_rollouts.plugins.catalogue import Catalogue, discover
from gitops_rollouts.plugins.configuration import CONFIG_NAME, Configured, read_configuration
from gitops_rollouts.plugins.pool import CALL_SECONDS, Plugins
from gitops_rollouts.telemetry import Metrics
from gitops_rollouts.traffic.plugin import PluginRouters
from gitops_rollouts.traffic.registry import Registry
from gitops_rollouts.web.endpoints import health_app, metrics_app
from gitops_rollouts.web.server import WebServer

KUBE_CONTEXT_VARIABLE: Final = "GITOPS_ROLLOUTS_KUBE_CONTEXT"
"""Tells plugins the context of --context."""
_NAMESPACE_FILE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_LAST_PASSES_SECONDS: Final = 15.0
_LAST_ANSWERS_SECONDS: Final = 3.0
STOP: Final = "stop"
"""The name of the task whose end is an ordinary end."""

log = structlog.get_logger(__name__)


def system_clock() -> datetime:
    """The one place where the wall clock is read for decisions."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Settings:
    """What ``gor run`` was told. A port of 0 is off; ``namespace`` None: all namespaces.

    ``bind``: the address of the health and metrics ports, ``""`` for every one.
    """

    kubeconfig: str | None = None
    context: str | None = None
    namespace: str | None = None
    instance_id: str = ""
    metrics_port: int = 8090
    healthz_port: int = 8080
    bind: str = "127.0.0.1"
    leader_elect: bool = True
    lease_seconds: float = LEASE_SECONDS
    renew_seconds: float = RENEW_SECONDS
    retry_seconds: float = RETRY_SECONDS
    workers: int = WORKERS
    resync_seconds: float = RESYNC_SECONDS
    plugin_seconds: float = CALL_SECONDS
    """How long one call of a plugin may take."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What the Git side gets from the manager."""

    client: Client
    discovery: Discovery
    fence: Fence
    clock: Clock
    metrics: Metrics
    rollouts: Informer[LiveRollout]
    emit: Callable[[About, EmitEvent], None]
    settings: Settings


class GitSide(Protocol):
    """Sync and decisions, as the manager sees them. ``git`` is read in each pass; ``wants`` is told after it.

    `run` works until it is cancelled, and then ends in good order.
    """

    @property
    def git(self) -> GitView: ...

    @property
    def wants(self) -> WantSink: ...

    def staleness(self, target: str) -> timedelta: ...

    def on_change(self, listener: Callable[[str, str], None]) -> None: ...

    async def run(self) -> None: ...


GitFactory = Callable[[Parts], GitSide]


class Leader:
    """All that runs only on the replica that leads: caches, controllers, events, Git."""

    def __init__(
        self,
        client: Client,
        fence: Fence,
        settings: Settings,
        metrics: Metrics,
        clock: Clock,
        git: GitFactory | None,
        plugins: Plugins,
        configured: Configured,
    ) -> None:
        self._fence = fence
        self._plugins = plugins
        self._metrics = metrics
        self._events = EventRecorder(client, clock)
        rollouts = Informer(client, ROLLOUTS, project_rollout, namespace=settings.namespace)
        replica_sets: Informer[ReplicaSet] = Informer(
            client, REPLICA_SETS, project_replica_set, namespace=settings.namespace, label_selector=POD_TEMPLATE_HASH
        )
        services: Informer[LiveService] = Informer(client, SERVICES, project_service, namespace=settings.namespace)
        self._informers = (rollouts, replica_sets, services)
        rollout_queue: DelayQueue[Key] = DelayQueue("Rollouts", metrics=metrics)
        service_queue: DelayQueue[Key] = DelayQueue("Services", metrics=metrics)
        self._queues = (rollout_queue, service_queue)
        self._git: GitSide | None = None
        if git is not None:
            parts = Parts(client, Discovery(client), fence, clock, metrics, rollouts, self.emit, settings)
            self._git = git(parts)
            self._git.on_change(lambda namespace, name: rollout_queue.add((namespace, name)))
        self.caches = Caches(
            rollouts,
            replica_sets,
            services,
            on_rollout=rollout_queue.add,
            on_replicas=lambda key: rollout_queue.add_after(key, COALESCE_SECONDS),
            on_service=lambda key: service_queue.add_after(key, SETTLE_SECONDS),
        )
        self._workloads = Workloads(
            client,
            rollouts,
            namespace=settings.namespace,
            instance_id=settings.instance_id,
            on_rollout=rollout_queue.add,
        )
        self._routers = RouterCalls(Registry([PluginRouters(plugins)]), rollout_queue.add)
        self._step_plugins = StepPluginCalls(plugins, rollout_queue.add, clock, disabled=configured.disabled)
        self._rollouts = RolloutController(
            client,
            self.caches,
            Executor(client, fence, self.emit, routers=self._routers, plugins=self._step_plugins),
            self.emit,
            clock,
            metrics,
            rollout_queue,
            self._workloads,
            instance_id=settings.instance_id,
            authority=AuthorityReader(self._git.git, self._git.staleness) if self._git else None,
            wants=self._git.wants if self._git else None,
            routers=self._routers,
            plugins=self._step_plugins,
            workers=settings.workers,
            resync_seconds=settings.resync_seconds,
        )
        self._services = ServiceController(client, self.caches, fence, service_queue, rollout_queue.add)
        self._controllers: list[asyncio.Task[Any]] = []
        self._git_task: asyncio.Task[Any] | None = None

    def emit(self, about: About, event: EmitEvent) -> None:
        """Send an event and count it."""
        self._events.emit(about, event.reason, event.message, event.type)
        self._metrics.event(about.namespace, about.name, event.type, event.reason)

    def start(self) -> list[asyncio.Task[Any]]:
        """Start to watch; returns the tasks, which never end by themselves."""
        tasks = [asyncio.create_task(self._events.run(), name="event recorder")]
        tasks.append(asyncio.create_task(self._workloads.run(), name="watch of workloads"))
        return tasks + [asyncio.create_task(i.run(), name=f"watch of {i.resource.plural}") for i in self._informers]

    async def synced(self) -> None:
        """Return when every cache is complete."""
        for informer in self._informers:
            await informer.wait_synced()

    def work(self) -> list[asyncio.Task[Any]]:
        """Start the controllers and Git; returns the tasks, which never end by themselves."""
        self._controllers = [
            asyncio.create_task(self._rollouts.run(), name="rollout controller"),
            asyncio.create_task(self._services.run(), name="service controller"),
        ]
        if self._git is None:
            return self._controllers
        self._git_task = asyncio.create_task(self._git.run(), name="git")
        return [*self._controllers, self._git_task]

    async def end(self) -> None:
        """Let the passes under way finish, then Git, then the events that wait."""
        for queue in self._queues:
            queue.close()
        try:
            self._fence.fence()
        except LeadershipLost:
            # another process may act soon: no call goes on beside its own
            await self._end_calls()
        if self._controllers:
            _, late = await asyncio.wait(self._controllers, timeout=_LAST_PASSES_SECONDS)
            await cancel(late)
        await self._end_calls()
        if self._git_task is not None:
            await cancel([self._git_task])
        await self._events.drain()

    async def _end_calls(self) -> None:
        await self._routers.close()
        await self._step_plugins.close()
        await self._plugins.close()


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
            for server in self._servers():
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
        catalogue = discover()
        configured = await _read_configuration(client, settings, catalogue)
        plugins = Plugins(
            catalogue, election.fence, limit=settings.plugin_seconds, variables=plugin_variables(settings)
        )
        leader = Leader(client, election, settings, self.metrics, self._clock, self._git, plugins, configured)
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

    def _servers(self) -> list[WebServer]:
        settings = self.settings
        servers: list[WebServer] = []
        if settings.healthz_port:
            servers.append(WebServer(health_app(lambda: self._why_not_ready), settings.bind, settings.healthz_port))
        if settings.metrics_port:
            servers.append(WebServer(metrics_app(self.metrics.text), settings.bind, settings.metrics_port))
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


def plugin_variables(settings: Settings) -> dict[str, str]:
    """What tells a plugin's process of our flags: the cluster that it may want to talk to (docs/plugins.md)."""
    named = {"KUBECONFIG": settings.kubeconfig, KUBE_CONTEXT_VARIABLE: settings.context}
    return {name: value for name, value in named.items() if value}


async def _read_configuration(client: Client, settings: Settings, catalogue: Catalogue) -> Configured:
    """What ``argo-rollouts-config`` says of plugins; read once, as a change needs a restart (docs/behaviour.md §16)."""
    for installed in catalogue.values():
        if installed.problem:
            log.warning("plugin can't be used", plugin=installed.name, why=installed.problem)
    namespace = controller_namespace(settings.namespace or client.default_namespace)
    try:
        found = await client.get(CONFIG_MAPS, namespace, CONFIG_NAME)
    except NotFound:
        return Configured()
    except Forbidden as error:
        log.warning("plugin configuration not read", namespace=namespace, error=str(error))
        return Configured()
    configured = read_configuration(found.get("data"), catalogue)
    for problem in configured.problems:
        log.warning("plugin configuration", namespace=namespace, configmap=CONFIG_NAME, problem=problem)
    return configured


def controller_namespace(otherwise: str) -> str:
    """Where the Lease lives: $POD_NAMESPACE, else the service account's, else the one given."""
    namespace = os.environ.get("POD_NAMESPACE", "")
    if not namespace and _NAMESPACE_FILE.exists():
        namespace = _NAMESPACE_FILE.read_text().strip()
    return namespace or otherwise


async def first(work: Coroutine[Any, Any, None] | None, guards: Sequence[asyncio.Task[Any]]) -> bool:
    """Wait for ``work`` (None: for ever) as long as no guard ends. False if it was the one named `STOP` that did.

    Raises what a guard raised; a guard that ended without a reason is an error too.
    """
    task = asyncio.create_task(work) if work is not None else None
    try:
        done, _ = await asyncio.wait([*guards, *([task] if task else [])], return_when=asyncio.FIRST_COMPLETED)
    finally:
        if task is not None and not task.done():
            await cancel([task])
    for ended in done:
        if not ended.cancelled() and (error := ended.exception()) is not None:
            raise _innermost(error)
    if task is not None and task in done:
        return True
    for ended in done:
        if ended.get_name() != STOP:
            raise RuntimeError(f"the {ended.get_name()} ended")
    return False


async def cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel and wait; what they raise is logged, it comes second to whatever ended them."""
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            log.warning("while stopping", error=str(_innermost(result)))


async def _end_server(server: WebServer, answering: asyncio.Task[Any]) -> None:
    server.stop()
    await asyncio.wait([answering], timeout=_LAST_ANSWERS_SECONDS)


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _tune_gc() -> None:
    """Caches are large and live long: don't walk them again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
