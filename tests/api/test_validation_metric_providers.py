"""docs/behaviour.md §18: what a provider must say, the same for a file in Git and for a measurement."""

from __future__ import annotations

from typing import Any

import pytest

from gitops_rollouts.api.metric_providers import MetricProvider
from gitops_rollouts.api.validation.analysis_objects import validate_run, validate_template
from gitops_rollouts.api.validation.metric_providers import provider_problems

V2 = {"apiVersion": "v2"}
QUERY = {"id": "a", "expression": "x"}


def told(kind: str, spec: Any) -> list[str]:
    return [problem.render() for problem in provider_problems(MetricProvider.model_validate({kind: spec}), "provider")]


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ({"query": "q"}, ""),
        ({"query": "q", "apiVersion": "v1", "interval": "5m", "requestTimeout": "10s"}, ""),
        ({**V2, "query": "q", "aggregator": "sum"}, ""),
        ({**V2, "queries": {"a": "x"}}, ""),
        ({**V2, "queries": {"a": "x", "b": "y"}, "formula": "a/b"}, ""),
        ({"query": "q", "secretRef": {"name": "n", "namespaced": True}}, ""),
        ({}, "provider.datadog: Required value: must have a query or queries"),
        (
            {**V2, "query": "q", "queries": {"a": "x"}},
            "provider.datadog: Forbidden: cannot have both query and queries",
        ),
        ({"queries": {"a": "x"}}, "provider.datadog.queries: Forbidden: only apiVersion v2 knows it"),
        ({"query": "q", "aggregator": "sum"}, "provider.datadog.aggregator: Forbidden: only apiVersion v2 knows it"),
        ({"query": "q", "apiVersion": "v3"}, 'provider.datadog.apiVersion: Unsupported value: "v3"'),
        ({**V2, "query": "q", "formula": "a"}, "provider.datadog.formula: Forbidden: a formula needs queries"),
        ({**V2, "queries": {"a": "x", "b": "y"}}, "provider.datadog.formula: Required value: several queries need"),
        ({**V2, "query": "q", "aggregator": "best"}, 'provider.datadog.aggregator: Unsupported value: "best"'),
        ({"query": "q", "secretRef": {"namespaced": True}}, "provider.datadog.secretRef.name: Required value"),
        ({"query": "q", "interval": "5 min"}, 'provider.datadog.interval: Invalid value: "5 min"'),
        (
            {"query": "q", "requestTimeout": "0s"},
            'provider.datadog.requestTimeout: Invalid value: "0s": must be longer',
        ),
        # what arguments decide is judged when they are there
        ({"query": "q", "apiVersion": "{{args.v}}", "requestTimeout": "{{ args.t }}"}, ""),
    ],
)
def test_datadog_has_rules(spec: dict[str, Any], problem: str) -> None:
    found = told("datadog", spec)
    assert len(found) == (1 if problem else 0)
    assert all(each.startswith(problem) for each in found)


@pytest.mark.parametrize(
    ("kind", "spec", "problem"),
    [
        ("newRelic", {"query": "q", "timeout": 0}, ""),
        ("newRelic", {"query": "q", "timeout": -1}, "provider.newRelic.timeout: Invalid value: -1"),
        ("newRelic", {}, "provider.newRelic.query: Required value"),
        ("wavefront", {"query": "q"}, "provider.wavefront.address: Required value"),
        ("graphite", {"address": "http://g", "query": " \n"}, "provider.graphite.query: Required value"),
        ("influxdb", {"profile": "p"}, "provider.influxdb.query: Required value"),
        ("skywalking", {"address": "http://s", "query": "q"}, "provider.skywalking.interval: Required value"),
        ("skywalking", {"address": "http://s", "query": "q", "interval": "{{args.i}}"}, ""),
        ("kayenta", {}, "provider.kayenta.address: Required value"),
        ("plugin", {"a/b": {}}, ""),
        ("plugin", {"a/b": {}, "c/d": {}}, "provider.plugin: Forbidden: must name exactly one plugin, not 2"),
        ("cloudWatch", {"metricDataQueries": [QUERY]}, ""),
        ("cloudWatch", {"metricDataQueries": [{**QUERY, "period": "300"}]}, ""),
        ("cloudWatch", {"metricDataQueries": [{**QUERY, "period": "{{args.p}}"}]}, ""),
        ("cloudWatch", {}, "provider.cloudWatch.metricDataQueries: Required value"),
        ("cloudWatch", {"metricDataQueries": [QUERY], "interval": "x"}, "provider.cloudWatch.interval: Invalid value"),
        ("cloudWatch", {"metricDataQueries": [{**QUERY, "id": "A"}]},
         'provider.cloudWatch.metricDataQueries[0].id: Invalid value: "A"'),
        ("cloudWatch", {"metricDataQueries": [{"id": "a"}]},
         "provider.cloudWatch.metricDataQueries[0]: Required value: must have an expression or a metricStat"),
        ("cloudWatch", {"metricDataQueries": [{**QUERY, "period": "5m"}]},
         'provider.cloudWatch.metricDataQueries[0].period: Invalid value: "5m": must be a number of seconds'),
        ("cloudWatch", {"metricDataQueries": [{"id": "a", "metricStat": {"period": -1}}]},
         "provider.cloudWatch.metricDataQueries[0].metricStat.period: Invalid value: -1"),
    ],
)  # fmt: skip
def test_other_providers_have_rules(kind: str, spec: dict[str, Any], problem: str) -> None:
    found = told(kind, spec)
    assert len(found) == (1 if problem else 0)
    assert all(each.startswith(problem) for each in found)


@pytest.mark.parametrize("validate", [validate_template, validate_run])
def test_files_in_git_are_held_to_the_same_rules(validate: Any) -> None:
    metric = {"name": "m", "provider": {"datadog": {"query": "a", "queries": {"b": "c"}, "apiVersion": "v2"}}}
    (problem,) = validate({"metadata": {"name": "t"}, "spec": {"metrics": [metric]}})
    assert problem.path == "spec.metrics[0].provider.datadog"
    assert "cannot have both query and queries" in problem.message
