"""The metrics of AnalysisRuns, Experiments and analysis templates (docs/behaviour.md §23)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from prometheus_client import CollectorRegistry, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

NAMED: Final = ("namespace", "name")


@dataclass(frozen=True, slots=True)
class MetricFacts:
    """What the metrics say of one metric of a run or a template. ``phase``: "" for a template's."""

    name: str
    kind: str
    phase: str = ""
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What the metrics say of one AnalysisRun, Experiment or analysis template; of a finished one no ``metrics``.

    ``phase`` is "" for a template and for a run that nobody has looked at.
    """

    namespace: str
    name: str
    phase: str = ""
    metrics: tuple[MetricFacts, ...] = ()


Facts = Callable[[], Iterable[RunFacts]]
Kind = Literal["analysis_run", "experiment"]
"""What the names of the metrics of AnalysisRuns and of Experiments begin with."""
_RUN_PHASES: Final = ("Pending", "Error", "Failed", "Successful", "Running", "Inconclusive")


class RunSeries(Collector):
    """Reads the caches when it is asked, so that runs cost the metrics nothing in between."""

    def __init__(self, runs: Facts, templates: Facts, experiments: Facts) -> None:
        self._runs = runs
        self._templates = templates
        self._experiments = experiments

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        info = GaugeMetricFamily("analysis_run_info", "An AnalysisRun.", labels=[*NAMED, "phase"])
        phase = GaugeMetricFamily("analysis_run_phase", "Deprecated: see analysis_run_info.", labels=[*NAMED, "phase"])
        kind = GaugeMetricFamily(
            "analysis_run_metric_type", "A metric of an unfinished AnalysisRun.", labels=[*NAMED, "metric", "type"]
        )
        metric_phase = GaugeMetricFamily(
            "analysis_run_metric_phase", "How it does.", labels=[*NAMED, "metric", "type", "dry_run", "phase"]
        )
        for run in self._runs():
            named = [run.namespace, run.name]
            info.add_metric([*named, run.phase], 1)
            if not run.metrics:
                continue
            for one in _RUN_PHASES:
                phase.add_metric([*named, one], one == (run.phase or "Pending"))
            for metric in run.metrics:
                kind.add_metric([*named, metric.name, metric.kind], 1)
                dry = str(metric.dry_run).lower()
                for one in _RUN_PHASES:
                    labels = [*named, metric.name, metric.kind, dry, one]
                    metric_phase.add_metric(labels, one == (metric.phase or "Pending"))
        yield from (info, phase, kind, metric_phase)
        template = GaugeMetricFamily("analysis_template_info", "An analysis template.", labels=NAMED)
        of_template = GaugeMetricFamily(
            "analysis_template_metric_info", "A metric of an analysis template.", labels=[*NAMED, "type", "metric"]
        )
        for one_template in self._templates():
            named = [one_template.namespace, one_template.name]
            template.add_metric(named, 1)
            for metric in one_template.metrics:
                of_template.add_metric([*named, metric.kind, metric.name], 1)
        yield from (template, of_template)
        yield from self._of_experiments()

    def _of_experiments(self) -> Iterator[Metric]:
        info = GaugeMetricFamily("experiment_info", "An Experiment.", labels=[*NAMED, "phase"])
        phase = GaugeMetricFamily("experiment_phase", "Deprecated: see experiment_info.", labels=[*NAMED, "phase"])
        for experiment in self._experiments():
            named = [experiment.namespace, experiment.name]
            info.add_metric([*named, experiment.phase], 1)
            for one in _RUN_PHASES:
                phase.add_metric([*named, one], one == (experiment.phase or "Pending"))
        yield from (info, phase)


class PassSeries:
    """How long the passes over one kind take, and how many fail. ``kind`` begins the names."""

    def __init__(self, kind: str, registry: CollectorRegistry, buckets: Iterable[float]) -> None:
        self._seconds = Histogram(
            f"{kind}_reconcile", "Seconds of a pass.", NAMED, buckets=tuple(buckets), registry=registry
        )
        # a Counter's name would end in _total; `telemetry.Metrics.text` calls it one
        self.failures = f"{kind}_reconcile_error"
        self._failed = Gauge(self.failures, "Passes that failed.", NAMED, registry=registry)
        self._over: dict[tuple[str, str], float] = {}

    def add(self, namespace: str, name: str, seconds: float, *, failed: bool) -> None:
        """A pass ended."""
        self._seconds.labels(namespace, name).observe(seconds)
        if failed:
            self._failed.labels(namespace, name).inc()

    def over(self, namespace: str, name: str, due: float) -> None:
        """Drop the series of an object when the time ``due`` has come."""
        self._over[namespace, name] = due

    def drop(self, now: float) -> None:
        """Drop what is due."""
        for key in [key for key, due in self._over.items() if due <= now]:
            del self._over[key]
            for metric in (self._seconds, self._failed):
                with contextlib.suppress(KeyError):
                    metric.remove(*key)
