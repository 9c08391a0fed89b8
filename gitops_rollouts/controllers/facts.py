"""What the metrics say of a Rollout (docs/behaviour.md §23)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from gitops_rollouts.api.analysis import Metric
from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.api.status import RolloutStatus
from gitops_rollouts.controllers.run_caches import RunCaches
from gitops_rollouts.run_series import MetricFacts, RunFacts
from gitops_rollouts.telemetry import RolloutFacts

_PHASES: Final = {
    "NewReplicaSetAvailable": "Completed",
    "RolloutPaused": "Paused",
    "ReplicaSetCreateError": "Error",
    "ProgressDeadlineExceeded": "Timeout",
    "RolloutAborted": "Abort",
}
_ROUTERS: Final = (
    ("alb", "ALB"),
    ("ambassador", "Ambassador"),
    ("istio", "Istio"),
    ("nginx", "Nginx"),
    ("smi", "SMI"),
    ("app_mesh", "AppMesh"),
)
"""Fields of trafficRouting and what the metrics call them; the last that is set is told."""


_PROVIDERS: Final = {
    "prometheus": "Prometheus",
    "job": "Job",
    "web": "WebMetric",
    "kayenta": "Kayenta",
    "wavefront": "Wavefront",
    "datadog": "Datadog",
    "newRelic": "NewRelic",
    "cloudWatch": "CloudWatch",
    "graphite": "Graphite",
    "influxdb": "Influxdb",
    "skywalking": "SkyWalking",
    "plugin": "RPCPlugin",
}
"""The keys under ``provider`` and what the metrics call them."""


@dataclass(frozen=True, slots=True)
class Finished:
    """An update that ended: its completionStatus, how long it took, and how much of that a person held it."""

    status: str
    total: timedelta
    paused: timedelta


def facts_of(rollout: Rollout, status: RolloutStatus) -> RolloutFacts:
    """The label values and counts of one Rollout."""
    strategy = rollout.spec.strategy
    progressing = status.condition("Progressing")
    phase = _PHASES.get(progressing.reason if progressing else "", "Progressing")
    if status.condition("InvalidSpec") is not None:
        phase = "InvalidSpec"
    return RolloutFacts(
        strategy="blueGreen" if strategy.blue_green else "canary" if strategy.canary else "none",
        phase=phase,
        traffic_router=_router(rollout),
        desired=rollout.spec.desired_replicas,
        updated=status.updated_replicas,
        available=status.available_replicas,
        unavailable=status.replicas - status.available_replicas,
    )


def _router(rollout: Rollout) -> str:
    canary = rollout.spec.strategy.canary
    routing = canary.traffic_routing if canary else None
    if routing is None:
        return ""
    return next((name for key, name in reversed(_ROUTERS) if getattr(routing, key) is not None), "")


def finished_update(old: RolloutStatus, new: RolloutStatus, now: datetime) -> Finished | None:
    """The update that ended between two statuses, ``Superseded`` if another took its place (§4.4)."""
    before, after = old.duration, new.duration
    if before is None or before.rollout_started_at is None or before.finished_at is not None:
        return None
    if after is None or after.rollout_started_at is None:
        return None
    if after.finished_at is not None:
        paused = timedelta(seconds=after.total_manual_pause_duration_seconds or 0)
        return Finished(after.completion_status, after.finished_at - after.rollout_started_at, paused)
    if after.rollout_started_at == before.rollout_started_at:
        return None
    paused = timedelta(seconds=before.total_manual_pause_duration_seconds or 0)
    if before.manual_pause_started_at is not None:
        paused += now - before.manual_pause_started_at
    return Finished("Superseded", now - before.rollout_started_at, paused)


def facts_of_runs(caches: RunCaches) -> Iterator[RunFacts]:
    """Every AnalysisRun; of finished ones the phase alone."""
    for (namespace, name), live in caches.runs.items():
        results = {result.name: result for result in live.run.status.metric_results}
        metrics = tuple(
            MetricFacts(metric.name, _kind(metric), results[metric.name].phase, results[metric.name].dry_run)
            if metric.name in results
            else MetricFacts(metric.name, _kind(metric))
            for metric in live.run.spec.metrics
        )
        yield RunFacts(namespace, name, live.run.status.phase, metrics)


def facts_of_experiments(caches: RunCaches) -> Iterator[RunFacts]:
    """Every Experiment."""
    for (namespace, name), live in caches.experiments.items():
        yield RunFacts(namespace, name, live.experiment.status.phase)


def facts_of_templates(caches: RunCaches) -> Iterator[RunFacts]:
    """Every analysis template, the cluster's too."""
    for informer in (caches.templates, caches.cluster_templates):
        for (namespace, name), template in informer.items():
            metrics = tuple(MetricFacts(metric.name, _kind(metric)) for metric in template.spec.metrics)
            yield RunFacts(namespace, name, metrics=metrics)


def _kind(metric: Metric) -> str:
    return _PROVIDERS.get(next(iter(metric.provider.named), ""), "")
