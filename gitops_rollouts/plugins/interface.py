"""The interface of plugins: plain classes with plain data, nothing to inherit from (docs/plugins.md).

Every call may come again with the same request, after a crash or a lost answer: a plugin makes things true, it doesn't
count on being called once. It may be called in several processes, one call at a time in each; what has to last from
one call to the next belongs into ``Result.status`` or ``Measured.metadata``, never into memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any, Protocol


class Phase(StrEnum):
    """What a step has come to."""

    RUNNING = "Running"
    """Not at its end: `StepPlugin.run` is called again."""
    SUCCESSFUL = "Successful"
    FAILED = "Failed"
    """The update is aborted."""
    ERROR = "Error"
    """It could not be told; `StepPlugin.run` is called again after 30 s, with the former status."""


@dataclass(frozen=True)
class Context:
    """What a step plugin is told. All of it is JSON data; changing it changes nothing."""

    rollout: Mapping[str, Any]
    """The Rollout: ``metadata``, ``spec`` and ``status`` as they are stored."""
    index: int
    """Which step it is, from 0."""
    config: Any
    """``config`` of the step; None if it has none."""
    status: Any
    """``Result.status`` of the last answer of this step; None before the first."""


@dataclass(frozen=True)
class Result:
    """What a step plugin answers.

    ``requeue_after``: when to call again while Running; 30 s unless it is more than 10 s. ``status``: JSON data for the
    next call; it is kept in the Rollout's status, where people see it: no secrets, and 16 KiB or 32 levels at most. A
    result of `Phase.ERROR` leaves the former status as it was. All in all an answer has 64 KiB.
    """

    phase: Phase
    message: str = ""
    requeue_after: timedelta | None = None
    status: Any = None


class StepPlugin(Protocol):
    """A step of a canary. The entry point names a class; it is made once in each process, without arguments."""

    def run(self, context: Context) -> Result:
        """Begin, or look how far it is. Long work is begun here and looked at in later calls."""
        ...

    def abort(self, context: Context) -> Result:
        """The update was given up: take back what this step did. Called once, even after it was Successful."""
        ...

    def terminate(self, context: Context) -> Result:
        """The update was promoted meanwhile: end what still runs. Called once."""
        ...


@dataclass(frozen=True)
class Target:
    """Where a share of the traffic goes. ``service`` is "" where only the pod-template hash tells."""

    service: str
    pod_hash: str
    weight: int


@dataclass(frozen=True)
class RouteRequest:
    """What has to be true of the traffic. The weights add up to ``max_weight``."""

    rollout: Mapping[str, Any]
    config: Any
    """The value of this plugin's key in ``trafficRouting.plugins``."""
    canary: Target
    stable: Target
    additional: tuple[Target, ...] = ()
    """Services of an experiment, with shares of their own."""
    max_weight: int = 100
    drain_first: bool = False
    """The canary has no pod left: take its weight away before the hashes change."""


@dataclass(frozen=True)
class HeaderRouting:
    """A header route (`setHeaderRoute`): there with these matches, or gone without any."""

    rollout: Mapping[str, Any]
    config: Any
    name: str
    match: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class MirrorRouting:
    """A mirror route (`setMirrorRoute`): there with these matches, or gone without any."""

    rollout: Mapping[str, Any]
    config: Any
    name: str
    match: tuple[Mapping[str, Any], ...]
    percentage: int


@dataclass(frozen=True)
class ManagedRoutes:
    """The routes that steps may have set: the names of ``trafficRouting.managedRoutes``."""

    rollout: Mapping[str, Any]
    config: Any
    names: tuple[str, ...]


class TrafficRouter(Protocol):
    """A traffic router. Its methods return when it is so, and raise if it can't be made so."""

    def route(self, request: RouteRequest) -> None:
        """Make hashes and weights so. Called in every pass of an update: compare first, write what differs."""
        ...


class VerifiesWeights(Protocol):
    """A router that can tell whether traffic really is split so. New weights count only once it says True."""

    def verify_weight(self, request: RouteRequest) -> bool | None:
        """True: it is so. False: not yet. None: it can't be told for this Rollout."""
        ...


class SetsHeaderRoutes(Protocol):
    """A router that knows header routes."""

    def set_header_route(self, request: HeaderRouting) -> None:
        """Make the route so."""
        ...

    def remove_managed_routes(self, request: ManagedRoutes) -> None:
        """Take out all of these routes that are there."""
        ...


class SetsMirrorRoutes(Protocol):
    """A router that knows mirror routes."""

    def set_mirror_route(self, request: MirrorRouting) -> None:
        """Make the route so."""
        ...

    def remove_managed_routes(self, request: ManagedRoutes) -> None:
        """Take out all of these routes that are there."""
        ...


class MeasuredPhase(StrEnum):
    """What a measurement has come to."""

    RUNNING = "Running"
    """Not at its end: `MetricPlugin.resume` is called for it."""
    SUCCESSFUL = "Successful"
    FAILED = "Failed"
    INCONCLUSIVE = "Inconclusive"
    """Neither good nor bad: a person has to look."""
    ERROR = "Error"
    """It could not be told."""


@dataclass(frozen=True)
class MetricRequest:
    """What a metric plugin is told. All of it is JSON data; arguments are filled in, those from Secrets too."""

    run: Mapping[str, Any]
    """The AnalysisRun: ``metadata``, ``spec`` and ``status``."""
    metric: Mapping[str, Any]
    """The metric, with its conditions: the plugin judges by itself."""
    config: Any
    """The value of this plugin's key in the metric's ``provider.plugin``."""
    taken: int = 0
    """How many measurements of this metric have ended: with the run's uid and the metric's name, which one this is."""


@dataclass(frozen=True)
class Measured:
    """A measurement as a metric plugin answers it.

    ``value`` is a text for people. ``metadata`` is kept with the measurement, where people see it, and handed back by
    the next call: no secrets, and 16 KiB at most. ``resume_after``: when to look again while Running, 10 s unless set.
    """

    phase: MeasuredPhase
    value: str = ""
    message: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    resume_after: timedelta | None = None


class MetricPlugin(Protocol):
    """A provider of metrics. Only `run` is needed; `resume` as well if `run` ever answers Running."""

    def run(self, request: MetricRequest) -> Measured:
        """Take a measurement, or begin one that takes longer than a call may last."""
        ...

    def resume(self, request: MetricRequest, measured: Measured) -> Measured:
        """Look again at one that is Running."""
        ...

    def terminate(self, request: MetricRequest, measured: Measured) -> Measured:
        """The run ends: end one that is Running. Without this method it is Inconclusive."""
        ...

    def garbage_collect(self, request: MetricRequest, limit: int) -> None:
        """Remove what measurements beyond the newest ``limit`` have left behind."""
        ...

    def metadata(self, request: MetricRequest) -> Mapping[str, str]:
        """What the metric's result tells of the query. Arguments from Secrets are hidden in this request."""
        ...
