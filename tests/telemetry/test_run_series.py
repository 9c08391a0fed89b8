"""The metrics of AnalysisRuns and templates (docs/behaviour.md §23)."""

from __future__ import annotations

from typing import Any

from gitops_rollouts.run_series import MetricFacts, RunFacts
from gitops_rollouts.telemetry import Metrics


def _series(metrics: Metrics) -> dict[str, float]:
    lines = [line for line in metrics.text().decode().splitlines() if line and not line.startswith("#")]
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


def test_runs_and_templates_are_read_when_asked_for() -> None:
    runs = [
        RunFacts("ns", "new", "", (MetricFacts("m", "Job"),)),
        RunFacts("ns", "busy", "Running", (MetricFacts("m", "WebMetric", "Failed", dry_run=True),)),
        RunFacts("ns", "over", "Failed"),
    ]
    templates = [RunFacts("", "shared", metrics=(MetricFacts("errors", "Prometheus"),))]
    metrics = Metrics("1", with_process=False)
    watched = metrics.watch_runs(lambda: runs, lambda: templates, lambda: [RunFacts("ns", "trial", "Running")])
    found = _series(metrics)
    assert found['analysis_run_info{name="over",namespace="ns",phase="Failed"}'] == 1
    assert found['analysis_run_phase{name="new",namespace="ns",phase="Pending"}'] == 1
    assert found['analysis_run_phase{name="busy",namespace="ns",phase="Pending"}'] == 0
    assert found['analysis_run_metric_type{metric="m",name="busy",namespace="ns",type="WebMetric"}'] == 1
    named = 'dry_run="true",metric="m",name="busy",namespace="ns",phase="Failed",type="WebMetric"'
    assert found[f"analysis_run_metric_phase{{{named}}}"] == 1
    assert not [one for one in found if 'name="over"' in one and "metric" in one], "what is over costs one series"
    assert found['analysis_template_info{name="shared",namespace=""}'] == 1
    assert found['analysis_template_metric_info{metric="errors",name="shared",namespace="",type="Prometheus"}'] == 1
    assert found['experiment_info{name="trial",namespace="ns",phase="Running"}'] == 1
    runs.clear()
    assert not [one for one in _series(metrics) if one.startswith("analysis_run_info")]
    metrics.unwatch_runs(watched)
    assert not [one for one in _series(metrics) if one.startswith("analysis_template")]


def test_series_of_a_runs_passes_go_65_seconds_after_its_end() -> None:
    now: list[Any] = [0.0]
    metrics = Metrics("1", with_process=False, monotonic=lambda: now[0])
    metrics.run_reconciled("ns", "run", 0.02, failed=True)
    metrics.run_over("ns", "run")
    count = 'analysis_run_reconcile_count{name="run",namespace="ns"}'
    assert _series(metrics)[count] == 1
    assert b"# TYPE analysis_run_reconcile_error counter" in metrics.text()
    now[0] = 66.0
    assert count not in _series(metrics)
