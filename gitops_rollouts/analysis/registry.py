"""Which provider takes a metric's measurements (docs/behaviour.md §18). A new one: its module and a line here."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from gitops_rollouts.analysis.http import Http
from gitops_rollouts.analysis.job_place import JobPlace
from gitops_rollouts.analysis.oauth2 import Tokens
from gitops_rollouts.analysis.provider import Provider
from gitops_rollouts.analysis.providers.cloud_watch import Calls, CloudWatch
from gitops_rollouts.analysis.providers.datadog import Datadog
from gitops_rollouts.analysis.providers.graphite import Graphite
from gitops_rollouts.analysis.providers.influxdb import Influxdb
from gitops_rollouts.analysis.providers.job import JobProvider
from gitops_rollouts.analysis.providers.kayenta import Kayenta
from gitops_rollouts.analysis.providers.new_relic import NewRelic
from gitops_rollouts.analysis.providers.plugin import PluginMetrics
from gitops_rollouts.analysis.providers.prometheus import Prometheus
from gitops_rollouts.analysis.providers.skywalking import SkyWalking
from gitops_rollouts.analysis.providers.wavefront import Wavefront
from gitops_rollouts.analysis.providers.web import Web
from gitops_rollouts.analysis.secrets import Secrets
from gitops_rollouts.api.analysis import Metric
from gitops_rollouts.errors import MetricError
from gitops_rollouts.kube.client import Client
from gitops_rollouts.plugins.pool import Plugins


@dataclass(frozen=True, slots=True)
class Context:
    """What providers are made with: connections, never a clock. ``client``: the cluster of the runs."""

    client: Client
    http: Http
    tokens: Tokens
    secrets: Secrets
    plugins: Plugins
    jobs: JobPlace
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)


Factory = Callable[[Context], Provider]
FACTORIES: Final[Mapping[str, Factory]] = {
    "cloudWatch": lambda _: CloudWatch(Calls()),
    "datadog": lambda context: Datadog(context.http, context.secrets, context.environ),
    "graphite": lambda context: Graphite(context.http),
    "influxdb": lambda context: Influxdb(context.http, context.secrets),
    "job": lambda context: JobProvider(context.jobs),
    "kayenta": lambda context: Kayenta(context.http),
    "newRelic": lambda context: NewRelic(context.http, context.secrets),
    "plugin": lambda context: PluginMetrics(context.plugins),
    "prometheus": lambda context: Prometheus(context.http, context.tokens, context.environ),
    "web": lambda context: Web(context.http, context.tokens),
    "skywalking": lambda context: SkyWalking(context.http),
    "wavefront": lambda context: Wavefront(context.http, context.secrets),
}


def context(client: Client, plugins: Plugins, *, namespace: str, allow_metadata: bool = False) -> Context:
    """The context of this process. ``namespace``: the controller's own, where providers' Secrets are."""
    http = Http(allow_metadata=allow_metadata)
    return Context(client, http, Tokens(http), Secrets(client, namespace), plugins, JobPlace(client, os.environ))


class Providers:
    """The providers of this process, each made when it is first asked for."""

    def __init__(self, given: Context, factories: Mapping[str, Factory] = FACTORIES) -> None:
        self._context = given
        self._factories = factories
        self._made: dict[str, Provider] = {}

    def of(self, metric: Metric) -> Provider:
        """The provider of this metric. Raises `MetricError` if it names none, several or one that isn't known."""
        named = metric.provider.named
        if len(named) != 1:
            raise MetricError("multiple providers specified" if named else "no provider specified")
        (kind,) = named
        if kind not in self._made:
            factory = self._factories.get(kind)
            if factory is None:
                raise MetricError(f"the provider {kind} is not part of this version")
            self._made[kind] = factory(self._context)
        return self._made[kind]

    async def close(self) -> None:
        """Close all connections."""
        await self._context.http.close()
        await self._context.jobs.close()
