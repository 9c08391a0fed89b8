"""The metrics of AnalysisRuns and analysis templates, made from the caches when they are asked for (§23)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

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
_RUN_PHASES: Final = ("Pending", "Error", "Failed", "Successful", "Running", "Inconclusive")


class RunSeries(Collector):
    """Reads the caches when it is asked, so that runs cost the metrics nothing in between."""

    def __init__(self, runs: Facts, templates: Facts) -> None:
        self._runs = runs
        self._templates = templates

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
