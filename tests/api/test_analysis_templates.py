"""From templates to what a run measures (docs/behaviour.md §17.1)."""

from __future__ import annotations

from typing import Any

import pytest

from gitops_rollouts.api.analysis import AnalysisTemplate, Argument, parse_analysis_template
from gitops_rollouts.api.analysis_refs import DryRun, MeasurementRetention
from gitops_rollouts.api.analysis_templates import TemplateKey, flatten, run_spec
from gitops_rollouts.errors import TemplateError

Known = dict[TemplateKey, AnalysisTemplate]


def known(**specs: dict[str, Any]) -> Known:
    """Templates by name; one whose name begins with ``c_`` is the cluster's."""
    return {
        TemplateKey(name.startswith("c_"), name): parse_analysis_template({"metadata": {"name": name}, "spec": spec})
        for name, spec in specs.items()
    }


def named(*names: str) -> list[TemplateKey]:
    return [TemplateKey(name.startswith("c_"), name) for name in names]


def refs(*names: str) -> list[dict[str, Any]]:
    return [{"templateName": key.name, "clusterScope": key.cluster} for key in named(*names)]


def metrics(*names: str) -> list[dict[str, Any]]:
    return [{"name": name, "provider": {"job": {}}} for name in names]


def test_templates_come_outer_first_depth_first_and_the_clusters_last_each_once() -> None:
    """§17.1 "Flatten"; a circle ends where it began."""
    templates = known(
        outer={"metrics": metrics("m1"), "templates": refs("c_shared", "inner")},
        inner={"metrics": metrics("m2"), "templates": refs("deepest", "outer")},
        deepest={"metrics": metrics("m3"), "templates": refs("c_shared")},
        last={"metrics": metrics("m4"), "templates": refs("inner")},
        c_shared={"metrics": metrics("m5"), "templates": refs("c_other")},
        c_other={"templates": refs("c_shared")},
    )
    flat = flatten(named("outer", "last"), templates)
    assert [metric.name for metric in flat.metrics] == ["m1", "m2", "m3", "m4", "m5"]


def test_a_namespaced_and_a_cluster_template_of_one_name_are_two() -> None:
    """§17.1: "each once" is by kind and name."""
    templates = {
        TemplateKey(cluster, "t"): parse_analysis_template({"spec": {"metrics": metrics(f"m-{cluster}")}})
        for cluster in (False, True)
    }
    flat = flatten([TemplateKey(True, "t"), TemplateKey(False, "t")], templates)
    assert [metric.name for metric in flat.metrics] == ["m-False", "m-True"]


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        ({"metrics": metrics("m")}, {"metrics": metrics("m")}, "two metrics have the same name 'm'"),
        ({"metrics": metrics("m", "m")}, {}, "two metrics have the same name 'm'"),
        (
            {"args": [{"name": "x", "value": "a"}]},
            {"args": [{"name": "x", "value": "b"}]},
            "Argument `x` specified multiple times with different values: 'a', 'b'",
        ),
        (
            {"dryRun": [{"metricName": "x"}]},
            {"dryRun": [{"metricName": "x"}]},
            "two Dry-Run metric rules have the same name 'x'",
        ),
        (
            {"measurementRetention": [{"metricName": "x", "limit": 1}]},
            {"measurementRetention": [{"metricName": "x", "limit": 2}]},
            "two Measurement Retention metric rules have the same name 'x'",
        ),
        ({"templates": refs("absent")}, {}, "AnalysisTemplate 'absent' not found"),
        ({"templates": refs("c_absent")}, {}, "ClusterAnalysisTemplate 'c_absent' not found"),
    ],
)
def test_templates_that_do_not_go_together_are_refused(
    one: dict[str, Any], other: dict[str, Any], message: str
) -> None:
    """§17.1: the messages."""
    with pytest.raises(TemplateError) as error:
        flatten(named("one", "other"), known(one=one, other=other))
    assert error.value.message == message


SECRET = {"secretKeyRef": {"name": "s", "key": "k"}}


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({"value": "a"}, {"value": "a"}, {"value": "a"}),
        ({"value": "a"}, {}, {"value": "a"}),
        ({}, {"value": "b"}, {"value": "b"}),
        ({"value": ""}, {}, {"value": ""}),
        ({"valueFrom": SECRET}, {"value": "b"}, {"value": "b"}),
        ({"valueFrom": SECRET}, {}, {}),
        ({"value": "a"}, {"valueFrom": SECRET}, {"value": "a"}),
    ],
)
def test_the_first_value_of_an_argument_counts(
    first: dict[str, Any], second: dict[str, Any], expected: dict[str, Any]
) -> None:
    """§17.1: one without value is replaced whole by the next."""
    templates = known(one={"args": [{"name": "x", **first}]}, other={"args": [{"name": "x", **second}]})
    (argument,) = flatten(named("one", "other"), templates).args
    assert argument.encode() == {"name": "x", **expected}


def test_a_run_takes_the_callers_values_and_rules_first() -> None:
    """§17.1: what the template doesn't ask for is dropped, and a Secret stays beside the caller's value."""
    template = {
        "metrics": metrics("m"),
        "args": [{"name": "given"}, {"name": "default", "value": "d"}, {"name": "token", "valueFrom": SECRET}],
        "dryRun": [{"metricName": "m"}],
        "measurementRetention": [{"metricName": "m", "limit": 3}],
        "templates": refs("inner"),
    }
    spec = run_spec(
        named("t"),
        known(t=template, inner={"args": [{"name": "deep", "value": "e"}]}),
        [
            Argument(name="unknown", value="u"),
            Argument(name="deep", value="D"),
            Argument(name="given", value=""),
            Argument(name="token", value="plain"),
        ],
        dry_run=(DryRun(metric_name=".*"), DryRun(metric_name="m")),
        measurement_retention=(MeasurementRetention(metric_name=".*", limit=9),),
    )
    assert [argument.encode() for argument in spec.args] == [
        {"name": "given", "value": ""},
        {"name": "default", "value": "d"},
        {"name": "token", "value": "plain", "valueFrom": SECRET},
        {"name": "deep", "value": "D"},
    ]
    assert [rule.metric_name for rule in spec.dry_run] == [".*", "m", "m"]
    assert [rule.limit for rule in spec.measurement_retention] == [9, 3]
    assert spec.ttl_strategy is None
    assert not spec.terminate


@pytest.mark.parametrize("value_from", [None, {}, {"fieldRef": {"fieldPath": "metadata.name"}}])
def test_an_argument_that_nobody_gives_is_an_error(value_from: dict[str, Any] | None) -> None:
    """§17.1: a field of nothing gives no value either."""
    template = {"args": [{"name": "x", "valueFrom": value_from}]}
    with pytest.raises(TemplateError, match=r"args\.x was not resolved"):
        run_spec(named("t"), known(t=template), [Argument(name="y", value="1")])
