"""Arguments of a Rollout as values, and tags in metrics (docs/behaviour.md §17.1)."""

from __future__ import annotations

from typing import Any

import pytest

from gitops_rollouts.api.analysis import Argument, Metric
from gitops_rollouts.api.analysis_refs import AnalysisRunArgument
from gitops_rollouts.api.meta import parse_tolerant
from gitops_rollouts.api.metric_rules import limits_of
from gitops_rollouts.api.rollout import Rollout, parse_rollout
from gitops_rollouts.api.templating import REDACTED, resolve_metric, rollout_arguments, substitute, values_of
from gitops_rollouts.errors import TemplateError

ROLLOUT = parse_rollout(
    {
        "metadata": {
            "name": "web",
            "namespace": "prod",
            "uid": "u-1",
            "labels": {"b": "2", "app.kubernetes.io/name": 'we"b'},
            "annotations": {"note": "n"},
        },
        "spec": {
            "replicas": 3,
            "paused": True,
            "template": {"spec": {"containers": [{"image": "a"}, {"image": "reg/app:v2", "args": ["-v"]}]}},
        },
        "status": {"stableRS": "abc", "canary": {"weights": {"canary": {"weight": 20}}}},
    }
)


def resolved(**argument: Any) -> str | None:
    parsed = parse_tolerant(AnalysisRunArgument, {"name": "x", **argument})
    (one,) = rollout_arguments([parsed], ROLLOUT, latest_hash="new", stable_hash="old")
    assert one.value_from is None
    return one.value


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ({"value": "v"}, "v"),
        ({}, ""),
        ({"valueFrom": {"podTemplateHashValue": "Latest"}}, "new"),
        ({"valueFrom": {"podTemplateHashValue": "Stable"}}, "old"),
        ({"value": "v", "valueFrom": {}}, "v"),
    ],
)
def test_an_argument_is_a_value_or_a_hash(argument: dict[str, Any], value: str) -> None:
    """§17.1: one without value is the empty text."""
    assert resolved(**argument) == value


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.name", "web"),
        ("metadata.namespace", "prod"),
        ("metadata.uid", "u-1"),
        ("metadata.labels['b']", "2"),
        ("metadata.labels['app.kubernetes.io/name']", 'we"b'),
        ("metadata.labels['absent']", ""),
        ("metadata.annotations['note']", "n"),
        ("metadata.annotations", 'note="n"'),
        ("metadata.labels", 'app.kubernetes.io/name="we\\"b"\nb="2"'),
        ("spec.replicas", "3"),
        ("spec.paused", "true"),
        ("spec.template.spec.containers[1].image", "reg/app:v2"),
        ("spec.template.spec.containers[1].args[0]", "-v"),
        ("status.stableRS", "abc"),
        ("status.canary.weights.canary.weight", "20"),
    ],
)
def test_a_field_of_the_rollout_is_read_by_its_path(path: str, value: str) -> None:
    """§17.1: the downward API's syntax for metadata, keys and indexes for the rest."""
    assert resolved(valueFrom={"fieldRef": {"fieldPath": path}}) == value


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("metadata", "downward"),
        ("metadata.generation", "downward"),
        ("metadata.name['x']", "downward"),
        ("metadata.labels.b", "downward"),
        ("spec.absent", "has no field"),
        ("spec.template.spec.containers[2].image", "has no field"),
        ("spec.replicas.more", "has no field"),
        ("spec.template.spec.containers", "no single value"),
        ("spec.template", "no single value"),
        ("", "no path"),
        ("spec..replicas", "no path"),
        ("spec.", "no path"),
        ("spec.template.spec.containers[x]", "no path"),
        ("spec.template.spec.containers[-1].image", "no path"),
        ("a." * 4000, "no path"),
    ],
)
def test_a_field_that_is_not_there_is_an_error_that_names_the_argument(path: str, part: str) -> None:
    """§17.1: then no run is created."""
    with pytest.raises(TemplateError) as error:
        resolved(valueFrom={"fieldRef": {"fieldPath": path}})
    assert error.value.message.startswith("args.x: ")
    assert part in error.value.message
    assert len(str(error.value)) < 300


ARGS = (
    Argument(name="host", value="http://p"),
    Argument.model_validate({"name": "token", "value": "?", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}),
)


def test_a_secret_counts_before_a_value_and_is_hidden_from_people() -> None:
    """§17.1, §17.3."""
    assert values_of(ARGS) == {"args.host": "http://p", "args.token": REDACTED}
    assert values_of(ARGS, {("s", "k"): "p4ss"}) == {"args.host": "http://p", "args.token": "p4ss"}
    with pytest.raises(TemplateError, match="key 'k' does not exist in secret 's'"):
        values_of(ARGS, {("s", "other"): "p4ss"})
    with pytest.raises(TemplateError, match=r"args\.x was not resolved"):
        values_of([Argument(name="x")])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{args.a}}/{{ args.b }}", "1/{{args.a}}"),
        ("{{\targs.a\n}}", "1"),
        ("none", "none"),
        ("{{args.a", "{{args.a"),
        ("}}{{args.a}}", "}}1"),
        ("{{templates.t.podTemplateHash}}", "hash"),
    ],
)
def test_tags_are_replaced_once(text: str, expected: str) -> None:
    """§17.1: a value that looks like a tag stays."""
    values = {"args.a": "1", "args.b": "{{args.a}}", "templates.t.podTemplateHash": "hash"}
    assert substitute(text, values) == expected


def test_tags_are_replaced_in_every_text_of_a_metric() -> None:
    """§17.1: also in counts, in a Job's spec and in keys; quotes in a value stay quotes."""
    metric = parse_tolerant(
        Metric,
        {
            "name": "m-{{args.n}}",
            "count": "{{ args.n }}",
            "failureLimit": "{{args.text}}",
            "interval": "{{args.n}}s",
            "successCondition": "result == {{args.text}}",
            "provider": {
                "job": {
                    "spec": {
                        "template": {
                            "metadata": {"labels": {"k-{{args.n}}": "{{args.n}}"}},
                            "spec": {"containers": [{"args": ["{{args.text}}", 3, None, True]}]},
                        }
                    }
                }
            },
        },
    )
    done = resolve_metric(metric, {"args.n": "7", "args.text": 'say "x"\\\n'})
    assert done.name == "m-7"
    assert done.interval == "7s"
    assert done.success_condition == 'result == say "x"\\\n'
    limits = limits_of(done)
    assert (limits.count, limits.failure) == (7, 0)
    assert done.provider.job is not None
    template = done.provider.job.spec["template"]
    assert template["metadata"]["labels"] == {"k-7": "7"}
    assert template["spec"]["containers"][0]["args"] == ['say "x"\\\n', 3, None, True]


def test_an_unknown_tag_is_an_error_and_a_metric_without_tags_is_itself() -> None:
    """§17.1."""
    metric = parse_tolerant(Metric, {"name": "m", "provider": {"web": {"url": "{{args.absent }}"}}})
    with pytest.raises(TemplateError, match=r"failed to resolve \{\{args\.absent\}\}"):
        resolve_metric(metric, {"args.x": "1"})
    plain = Metric(name="m")
    assert resolve_metric(plain, {}) is plain


def test_an_argument_of_a_rollout_without_metadata_is_read_all_the_same() -> None:
    """§17.1: hostile or empty objects never break the reading."""
    argument = AnalysisRunArgument.model_validate(
        {"name": "x", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels"}}}
    )
    (one,) = rollout_arguments([argument], Rollout(), latest_hash="", stable_hash="")
    assert one.value == ""
