"""AnalysisTemplates, AnalysisRuns, Experiments and experiment steps from Git (docs/behaviour.md §17.2, §19, §20)."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gitops_rollouts.api.analysis import parse_analysis_template
from gitops_rollouts.api.analysis_templates import TemplateKey
from gitops_rollouts.api.rollout import parse_rollout
from gitops_rollouts.api.validation import FieldError, strict_problems
from gitops_rollouts.api.validation.analysis import named_analyses
from gitops_rollouts.api.validation.analysis_objects import (
    check_use,
    conditions_of,
    validate_experiment,
    validate_run,
    validate_steps,
    validate_template,
)
from tests.api.test_validation import ANYTHING, places

Raw = dict[str, Any]


def metric(**fields: Any) -> Raw:
    return {"name": "m", "provider": {"prometheus": {"query": "up"}}, **fields}


def told(errors: list[FieldError]) -> list[tuple[str, str]]:
    return [(error.path, error.message) for error in errors]


def template(*metrics: Raw, kind: str = "AnalysisTemplate", **spec: Any) -> Raw:
    meta = {"apiVersion": "argoproj.io/v1alpha1", "kind": kind, "metadata": {"name": "t"}}
    return meta | {"spec": {"metrics": list(metrics), **spec}}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (template(metric(count=3)), ("spec.metrics[0].interval", "interval must be specified when count > 1")),
        (template(metric(count="few")), ("spec.metrics[0].count", "must be an integer")),
        (
            template(metric(failureLimit="1.5")),
            ("spec.metrics[0].failureLimit", "must be an integer"),
        ),
        (template(metric(interval="5")), ("spec.metrics[0].interval", "invalid interval string: invalid duration '5'")),
        (template(metric(provider={})), ("spec.metrics[0].provider", "no provider specified")),
        (template(metric(), metric()), ("spec", "two metrics have the same name 'm'")),
        (template(), ("spec.metrics", "no metrics specified")),
        (
            template(metric(), dryRun=[{"metricName": "a"}, {"metricName": "a"}]),
            ("spec", "two Dry-Run metric rules have the same name 'a'"),
        ),
        (
            template(metric(count="{{args.n}}"), args=[{"name": "n", "value": "3"}]),
            ("spec.metrics[0].interval", "interval must be specified when count > 1"),
        ),
    ],
)
def test_a_template_that_nothing_can_use_is_refused(raw: Raw, expected: tuple[str, str]) -> None:
    """§17.2, with the field that is wrong."""
    assert told(validate_template(raw)) == [expected]


@pytest.mark.parametrize(
    "raw",
    [
        template(metric(), dryRun=[{"metricName": "of another template"}]),
        template(templates=[{"templateName": "other"}]),
        template(metric(count="{{args.n}}", interval="{{args.i}}"), args=[{"name": "n"}, {"name": "i"}]),
        template(metric(failureLimit=-1, consecutiveSuccessLimit="{{args.n}}"), args=[{"name": "n"}]),
        template(metric(initialDelay="{{args.declared-elsewhere}}")),
    ],
)
def test_what_depends_on_how_a_template_is_used_is_not_complained_about(raw: Raw) -> None:
    """§17.1: arguments and rules may come from templates beside it."""
    assert validate_template(raw) == []
    assert strict_problems(raw) == []


def test_a_provider_must_be_told_what_it_needs() -> None:
    """§18: the rules of each provider, with the field."""
    raw = template(metric(provider={"web": {"url": "http://x", "method": "GET", "body": "b"}}))
    (error,) = validate_template(raw)
    assert error.path == "spec.metrics[0].provider.web"
    assert "POST or PUT" in error.message
    assert told(validate_run(raw)) == told([error])


def test_the_status_of_a_run_is_not_written_in_git() -> None:
    """§1: it is no subresource, so it would replace what the cluster knows."""
    for check, raw in ((validate_run, template(metric(), kind="AnalysisRun")), (validate_experiment, EXPERIMENT)):
        assert told(check(raw | {"status": {"phase": "Successful"}})) == [
            ("status", "only the cluster knows it; take it out")
        ]
        assert check(raw | {"status": None}) == []


def test_conditions_are_told_with_their_arguments_as_far_as_those_are_known() -> None:
    """§17.1: one that depends on what is given elsewhere, or that a plugin judges, can't be checked here."""
    raw = template(
        metric(successCondition="result < {{args.most}}", failureCondition="result > {{args.given}}"),
        metric(name="n", failureCondition="{{args.secret}} == 1"),
        metric(name="o", provider={"plugin": {"a/b": {}}}, successCondition="their own syntax"),
        metric(name="p", failureCondition="len(result) == 0"),
        args=[
            {"name": "most", "value": "5"},
            {"name": "given"},
            {"name": "secret", "value": "v", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        ],
    )
    assert list(conditions_of(raw)) == [
        ("spec.metrics[0].successCondition", "result < 5"),
        ("spec.metrics[3].failureCondition", "len(result) == 0"),
    ]


def test_a_run_must_be_complete() -> None:
    """§17.1, §17.2: all arguments and tags are its own."""
    args = [{"name": "n", "value": "2"}, {"name": "s", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}]
    good = metric(count="{{args.n}}", interval="1s", successCondition="{{args.s}}")
    assert validate_run(template(good, args=args, kind="AnalysisRun")) == []
    assert told(validate_run(template(good, args=[{"name": "n"}]))) == [("spec.args", "args.n was not resolved")]
    odd = template(metric(count="{{args.x}}"), args=args, dryRun=[{"metricName": "other"}])
    assert told(validate_run(odd)) == [
        ("spec.metrics[0]", "failed to resolve {{args.x}}"),
        ("spec.dryRun[0]", "Rule didn't match any metric name(s)"),
    ]


def test_strict_reading_looks_into_templates_runs_and_the_pods_of_jobs() -> None:
    """§1: unknown fields and wrong types, with a suggestion; what may be an argument is left alone."""
    container = {"name": "c", "imagee": "i", "resources": {"limits": {"cpu": "{{args.c}}"}}}
    pods = {"metadata": {"name": "x"}, "spec": {"restartPolicy": "Never", "containers": [container]}}
    job = {"metadata": {"labels": {"l": "{{args.c}}"}}, "spec": {"backoffLimit": 1, "template": pods}}
    raw = template(metric(sucessCondition="true", provider={"job": job}), kind="ClusterAnalysisTemplate", arg=[])
    assert sorted(error.render() for error in strict_problems(raw)) == [
        "spec.arg: Unknown field: did you mean args?",
        "spec.metrics[0].provider.job.spec.template.spec.containers[0].imagee: Unknown field: did you mean image?",
        "spec.metrics[0].sucessCondition: Unknown field: did you mean successCondition?",
    ]
    raw = template({"name": "m", "provider": {"datadog": {"apiVersion": "v3", "query": "q"}, "job": {"spec": {}}}})
    assert [error.render() for error in strict_problems(raw)] == [
        'spec.metrics[0].provider.datadog.apiVersion: Unsupported value: "v3": supported values: "v1", "v2"',
        "spec.metrics[0].provider.job.spec.template: Required value",
    ]


EXPERIMENT = {
    "apiVersion": "argoproj.io/v1alpha1",
    "kind": "Experiment",
    "metadata": {"name": "e"},
    "spec": {
        "duration": "5m",
        "templates": [
            {
                "name": "a",
                "selector": {"matchLabels": {"app": "a"}},
                "template": {
                    "metadata": {"labels": {"app": "a"}},
                    "spec": {"containers": [{"name": "c", "image": "i", "resources": {"limits": {"cpu": "1"}}}]},
                },
            }
        ],
        "analyses": [{"name": "x", "templateName": "t", "args": [{"name": "n", "value": "1"}]}],
    },
}


def test_an_experiment_must_have_pods_that_can_be_made_and_a_duration_that_can_be_read() -> None:
    """§19: one that can't be read would last for ever."""
    assert strict_problems(EXPERIMENT) == validate_experiment(EXPERIMENT) == []
    raw = copy.deepcopy(EXPERIMENT)
    spec: Any = raw["spec"]
    spec["duration"] = "5"
    spec["templates"][0]["template"]["metadata"]["labels"] = {"app": "b"}
    spec["templates"].append({**spec["templates"][0], "selector": {}})
    messages = [message for _, message in told(validate_experiment(raw))]
    assert "Experiment e has repeated template name 'a' in templates" in messages
    assert "This experiment is selecting all pods at index 1. A non-empty selector is required." in messages
    assert any("selector" in message and "labels" in message for message in messages)
    assert ("spec.duration", "invalid duration '5'") in told(validate_experiment(raw))
    spec["templates"][0]["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"] = "many"
    assert [error.path for error in strict_problems(raw)][:1] == [
        "spec.templates[0].template.spec.containers[0].resources.limits.cpu"
    ]


def test_an_experiment_step_must_say_which_version_and_for_how_long() -> None:
    """§20, beyond what the cluster asks for."""
    step = {
        "duration": "1 hour",
        "templates": [{"name": "a", "specRef": "canary"}, {"name": "a", "specRef": "Stable"}],
        "analyses": [{"name": "x", "templateName": "t"}, {"name": "x", "templateName": "u"}],
    }
    beside = {"args": [{"name": "a"}, {"name": "b", "valueFrom": {"podTemplateHashValue": "newest"}}]}
    canary = {"analysis": beside, "steps": [{"setWeight": 5}, {"experiment": step}]}
    raw = {"spec": {"strategy": {"canary": canary}}}
    path = "spec.strategy.canary.steps[1].experiment"
    assert [error.render() for error in validate_steps(raw)] == [
        'spec.strategy.canary.analysis.args[1].valueFrom.podTemplateHashValue: Unsupported value: "newest": '
        'supported values: "Latest", "Stable"',
        f"{path}.duration: Invalid value: \"1 hour\": invalid duration '1 hour'",
        f'{path}.templates[1].specRef: Unsupported value: "Stable": supported values: "stable", "canary"',
        f'{path}.templates[1].name: Duplicate value: "a"',
        f'{path}.analyses[1].name: Duplicate value: "x"',
    ]


def test_templates_are_checked_as_a_rollout_uses_them() -> None:
    """§17.1, §17.2: together, with its arguments and its rules."""
    spec = template(
        metric(count="{{args.n}}", successCondition="{{args.hash}}"), metric(name="o", interval="{{args.q}}")
    )
    spec["spec"]["args"] = [{"name": "n"}, {"name": "hash"}]
    analysis = {
        "templates": [{"templateName": "t"}],
        "args": [{"name": "n", "value": "3"}, {"name": "hash", "valueFrom": {"podTemplateHashValue": "Latest"}}],
        "dryRun": [{"metricName": "o"}, {"metricName": "absent"}],
    }
    rollout = parse_rollout({"spec": {"strategy": {"canary": {"analysis": analysis}}}})
    (named,) = named_analyses(rollout.spec)
    errors = check_use(named, {TemplateKey(False, "t"): parse_analysis_template(spec)})
    path = "spec.strategy.canary.analysis.templates"
    assert told(errors) == [
        (path, "metrics[1]: failed to resolve {{args.q}}"),
        (path, "metrics[0].interval: interval must be specified when count > 1"),
        (path, "dryRun[1]: Rule didn't match any metric name(s)"),
    ]


SAMPLE = template(
    metric(count="{{args.n}}", interval="1m", failureLimit=2, provider={"job": {"spec": {"template": {"spec": {}}}}}),
    args=[{"name": "n", "value": "3"}, {"name": "s", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}],
    dryRun=[{"metricName": "m"}],
    templates=[{"templateName": "t"}],
)


EVERYWHERE = [(sample, place) for sample in (SAMPLE, EXPERIMENT) for place in places(sample)]


@settings(deadline=None)
@given(st.sampled_from(EVERYWHERE), ANYTHING)
def test_no_value_anywhere_breaks_the_checks(where: tuple[Raw, tuple[Any, ...]], value: Any) -> None:
    """§1: what comes from Git may be anything."""
    sample, place = where
    raw = copy.deepcopy(sample)
    parent: Any = raw
    for key in place[:-1]:
        parent = parent[key]
    parent[place[-1]] = value
    checks = (strict_problems, validate_template, validate_run, validate_experiment)
    for error in (error for check in checks for error in check(raw)):
        assert error.render()
