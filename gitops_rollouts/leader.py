"""What runs on the replica that leads: caches, controllers, routers, plugins, events, Git."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Protocol

import structlog

from gitops_rollouts.api.analysis_templates import TemplateKey
from gitops_rollouts.api.names import POD_TEMPLATE_HASH
from gitops_rollouts.controllers.analyses import Analyses
from gitops_rollouts.controllers.authority import AuthorityReader, GitView
from gitops_rollouts.controllers.execute import Executor
from gitops_rollouts.controllers.execute_experiments import ExperimentExecutor
from gitops_rollouts.controllers.experiment import ExperimentController
from gitops_rollouts.controllers.experiment_caches import ExperimentCaches
from gitops_rollouts.controllers.observe import (
    Caches,
    Key,
    LiveRollout,
    LiveService,
    project_replica_set,
    project_rollout,
    project_service,
)
from gitops_rollouts.controllers.primary_cluster import PrimaryCluster
from gitops_rollouts.controllers.queue import DelayQueue
from gitops_rollouts.controllers.rollout import (
    COALESCE_SECONDS,
    RESYNC_SECONDS,
    WORKERS,
    Clock,
    RolloutController,
    WantSink,
)
from gitops_rollouts.controllers.routed_clusters import RoutedClusters
from gitops_rollouts.controllers.routing import RouterCalls
from gitops_rollouts.controllers.run_caches import RunCaches
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
)
from gitops_rollouts.kube.resources import CONFIG_MAPS, REPLICA_SETS, ROLLOUTS, SERVICES
from gitops_rollouts.plugins.catalogue import Catalogue, discover
from gitops_rollouts.plugins.configuration import CONFIG_NAME, Configured, read_configuration
from gitops_rollouts.plugins.pool import CALL_SECONDS, Plugins
from gitops_rollouts.tasks import cancel
from gitops_rollouts.telemetry import Metrics
from gitops_rollouts.traffic.alb.verification import DEFAULT_BINDINGS, DEFAULT_TAG_KEY, LoadBalancerChecks
from gitops_rollouts.traffic.plugin import PluginRouters
from gitops_rollouts.traffic.registry import Registry

KUBE_CONTEXT_VARIABLE: Final = "GITOPS_ROLLOUTS_KUBE_CONTEXT"
"""Tells plugins the context of --context."""
_NAMESPACE_FILE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_LAST_PASSES_SECONDS: Final = 15.0

log = structlog.get_logger(__name__)


def system_clock() -> datetime:
    """The one place where the wall clock is read for decisions."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Settings:
    """What ``gor run`` was told. A port of 0 is off; ``namespace`` None: all namespaces.

    ``bind``: the address of the ports, ``""`` for every one.
    """

    kubeconfig: str | None = None
    context: str | None = None
    namespace: str | None = None
    instance_id: str = ""
    metrics_port: int = 8090
    healthz_port: int = 8080
    webhook_port: int = 0
    bind: str = "127.0.0.1"
    leader_elect: bool = True
    lease_seconds: float = LEASE_SECONDS
    renew_seconds: float = RENEW_SECONDS
    retry_seconds: float = RETRY_SECONDS
    workers: int = WORKERS
    resync_seconds: float = RESYNC_SECONDS
    plugin_seconds: float = CALL_SECONDS
    """How long one call of a plugin may take."""
    allow_metadata_addresses: bool = False
    """Whether metrics may be asked of link-local and cloud metadata addresses (docs/behaviour.md §18)."""
    verify_target_groups: bool = False
    """Whether AWS is asked if its load balancers do what they should (docs/behaviour.md §14.5, §15.3)."""
    alb_tag_key: str = DEFAULT_TAG_KEY
    target_group_bindings: str = DEFAULT_BINDINGS
    """The apiVersion of TargetGroupBindings."""


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
        primary: PrimaryCluster | None = None,
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
        rollout_queue: DelayQueue[Key] = DelayQueue("Rollouts", metrics=metrics)
        service_queue: DelayQueue[Key] = DelayQueue("Services", metrics=metrics)
        experiment_queue: DelayQueue[Key] = DelayQueue("Experiments", metrics=metrics)
        self._queues: tuple[DelayQueue[Key], ...] = (rollout_queue, service_queue, experiment_queue)
        self._git: GitSide | None = None
        discovery = Discovery(client)
        if git is not None:
            parts = Parts(client, discovery, fence, clock, metrics, rollouts, self.emit, settings)
            self._git = git(parts)
            self._git.on_change(lambda namespace, name: rollout_queue.add((namespace, name)))
        self._runs = RunCaches(
            client, namespace=settings.namespace, on_owned=self._owned_changed, on_template=self._template_changed
        )
        self.caches = Caches(
            rollouts,
            replica_sets,
            services,
            on_rollout=rollout_queue.add,
            on_replicas=lambda key: rollout_queue.add_after(key, COALESCE_SECONDS),
            on_service=lambda key: service_queue.add_after(key, SETTLE_SECONDS),
            on_owned=self._owned_changed,
            runs=self._runs,
        )
        self._experiment_caches = ExperimentCaches(self.caches, self._runs, experiment_queue.add_after)
        self._informers = (rollouts, replica_sets, services, *self._runs.informers)
        self._workloads = Workloads(
            client,
            rollouts,
            namespace=settings.namespace,
            instance_id=settings.instance_id,
            on_rollout=rollout_queue.add,
        )
        self._clusters = RoutedClusters(
            client,
            discovery,
            fence,
            rollouts,
            self.emit,
            metrics,
            namespace=settings.namespace,
            on_rollout=rollout_queue.add,
            look_again=rollout_queue.add_after,
            primary=primary,
        )
        balancers = None
        if settings.verify_target_groups:
            balancers = LoadBalancerChecks(
                client, tag_key=settings.alb_tag_key, bindings=settings.target_group_bindings
            )
        registry = Registry([*self._clusters.kinds, PluginRouters(plugins)])
        self._routers = RouterCalls(registry, rollout_queue.add, clock, balancers=balancers)
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
        self._experiments = ExperimentController(
            self._experiment_caches,
            ExperimentExecutor(client, fence, self.emit),
            self.emit,
            clock,
            metrics,
            experiment_queue,
            instance_id=settings.instance_id,
            resync_seconds=settings.resync_seconds,
        )
        self._analyses = Analyses(
            client,
            self._runs,
            fence,
            plugins,
            self.emit,
            clock,
            metrics,
            namespace=settings.namespace,
            own_namespace=controller_namespace(settings.namespace or client.default_namespace),
            allow_metadata=settings.allow_metadata_addresses,
            instance_id=settings.instance_id,
            resync_seconds=settings.resync_seconds,
        )
        self._queues = (*self._queues, self._analyses.queue)
        self._services = ServiceController(client, self.caches, fence, service_queue, rollout_queue.add)
        self._controllers: list[asyncio.Task[Any]] = []
        self._git_task: asyncio.Task[Any] | None = None

    def _owned_changed(self, uid: str, counts_only: bool = False) -> None:
        key = self.caches.rollout_with(uid)
        if key is not None:
            self._rollouts.queue.add(key)
        self._experiment_caches.owned_changed(uid, counts_only)

    def _template_changed(self, namespace: str, template: TemplateKey) -> None:
        for key in self.caches.naming_template(namespace, template):
            self._rollouts.queue.add(key)
        self._experiment_caches.template_changed(namespace, template)

    def emit(self, about: About, event: EmitEvent) -> None:
        """Send an event, and count one of a Rollout: the names of runs would pile up."""
        self._events.emit(about, event.reason, event.message, event.type)
        if about.kind == "Rollout":
            self._metrics.event(about.namespace, about.name, event.type, event.reason)

    def start(self) -> list[asyncio.Task[Any]]:
        """Start to watch; returns the tasks, which never end by themselves."""
        tasks = [asyncio.create_task(self._events.run(), name="event recorder")]
        tasks.append(asyncio.create_task(self._workloads.run(), name="watch of workloads"))
        tasks += self._clusters.watches()
        tasks += [asyncio.create_task(watch, name=name) for name, watch in self._analyses.watches().items()]
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
            *self._clusters.work(),
            asyncio.create_task(self._experiments.run(), name="experiment controller"),
            asyncio.create_task(self._analyses.run(), name="analysis run controller"),
        ]
        if self._git is None:
            return self._controllers
        self._git_task = asyncio.create_task(self._git.run(), name="git")
        return [*self._controllers, self._git_task]

    async def end(self) -> None:
        """Let the passes under way finish, then Git, then the events that wait."""
        for queue in self._queues:
            queue.close()
        self._clusters.close()
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
        await self._analyses.close()
        await self._routers.close()
        await self._step_plugins.close()
        await self._plugins.close()


async def installed_plugins(client: Client, settings: Settings, fence: Fence) -> tuple[Plugins, Configured]:
    """The plugins that this process can call, and what the cluster's configuration says of them."""
    catalogue = discover()
    configured = await _read_configuration(client, settings, catalogue)
    plugins = Plugins(catalogue, fence.fence, limit=settings.plugin_seconds, variables=_plugin_variables(settings))
    return plugins, configured


def _plugin_variables(settings: Settings) -> dict[str, str]:
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
