"""The templates that a Rollout names, and what must hold of them (docs/behaviour.md §20 (B))."""

from __future__ import annotations

from typing import Any

import pytest

from gitops_rollouts.api.analysis import AnalysisTemplate, parse_analysis_template
from gitops_rollouts.api.analysis_templates import TemplateKey
from gitops_rollouts.api.rollout import RolloutSpec, parse_rollout
from gitops_rollouts.api.validation.analysis import check_templates, check_templates_exist

Raw = dict[str, Any]
STEP = "spec.strategy.canary.steps[1].analysis.templates"
BESIDE = "spec.strategy.canary.analysis.templates"


def known(**specs: Raw) -> dict[TemplateKey, AnalysisTemplate]:
    """Templates by name; one whose name begins with ``c_`` is the cluster's."""
    return {TemplateKey(name.startswith("c_"), name): parse_analysis_template({"spec": specs[name]}) for name in specs}


def refs(*names: str) -> list[Raw]:
    return [{"templateName": name, "clusterScope": name.startswith("c_")} for name in names]


def canary(step: Raw | None = None, beside: Raw | None = None) -> RolloutSpec:
    steps = [{"setWeight": 10}, *([{"analysis": step}] if step else [])]
    return parse_rollout({"spec": {"strategy": {"canary": {"steps": steps, "analysis": beside}}}}).spec


def metric(name: str = "m", **fields: Any) -> Raw:
    return {"name": name, "provider": {"job": {}}, **fields}


def test_every_template_must_exist_nested_ones_too_in_the_order_of_the_rules() -> None:
    """§20: pre, post; steps, background."""
    spec = canary({"templates": refs("there", "absent")}, {"templates": refs("c_absent", "nests")})
    found = check_templates_exist(spec, known(there={}, nests={"templates": refs("c_there")}, c_there={}))
    assert [error.render() for error in found] == [
        f"{STEP}: Invalid value: \"absent\": AnalysisTemplate 'absent' not found",
        f"{BESIDE}: Invalid value: \"c_absent\": ClusterAnalysisTemplate 'c_absent' not found",
    ]
    found = check_templates_exist(canary({"templates": refs("nests")}), known(nests={"templates": refs("c_gone")}))
    assert [error.message for error in found] == ["ClusterAnalysisTemplate 'c_gone' not found"]
    blue_green = {"prePromotionAnalysis": {"templates": refs("a")}, "postPromotionAnalysis": {"templates": refs("b")}}
    spec = parse_rollout({"spec": {"strategy": {"blueGreen": blue_green}}}).spec
    assert [error.path for error in check_templates_exist(spec, {})] == [
        "spec.strategy.blueGreen.prePromotionAnalysis.templates",
        "spec.strategy.blueGreen.postPromotionAnalysis.templates",
    ]


def test_templates_in_a_circle_exist_and_are_checked_once() -> None:
    """§17.1: a circle doesn't hang."""
    circle = known(a={"templates": refs("b")}, b={"templates": refs("a"), "metrics": [metric()]})
    spec = canary({"templates": refs("a")})
    assert check_templates_exist(spec, circle) == check_templates(spec, circle) == []


@pytest.mark.parametrize(
    ("templates", "args", "message"),
    [
        ({"metrics": [metric(), metric()]}, [], "two metrics have the same name 'm'"),
        ({"args": [{"name": "x"}], "metrics": [metric()]}, [], "args.x was not resolved"),
        ({"args": [{"name": "x"}], "metrics": [metric()]}, [{"name": "x"}], None),
        ({"args": [{"name": "x"}], "metrics": [metric()]}, [{"name": "x", "valueFrom": {}}], None),
        (
            {"metrics": [metric(interval="1m")]},
            [],
            "AnalysisTemplate t has metric m which runs indefinitely. Invalid value for count: <nil>",
        ),
        ({"metrics": [metric(interval="1m", count=2)]}, [], None),
        ({"args": [{"name": "n"}], "metrics": [metric(interval="1m", count="{{args.n}}")]}, [("n", "3")], None),
        (
            {"args": [{"name": "n"}], "metrics": [metric(interval="1m", count="{{args.n}}")]},
            [("n", "0")],
            "AnalysisTemplate t has metric m which runs indefinitely. Invalid value for count: <nil>",
        ),
        (
            {"args": [{"name": "n"}], "metrics": [metric(interval="1m", count="{{args.n}}")]},
            [{"name": "n", "valueFrom": {"fieldRef": {"fieldPath": "spec.later"}}}],
            None,
        ),
    ],
)
def test_an_inline_analysis_gets_its_arguments_and_comes_to_an_end(
    templates: Raw, args: list[Any], message: str | None
) -> None:
    """§20: what is only known later is not complained about."""
    given = [{"name": one[0], "value": one[1]} if isinstance(one, tuple) else one for one in args]
    found = check_templates(canary({"templates": refs("t"), "args": given}), known(t=templates))
    assert [(error.path, error.value, error.message) for error in found] == ([(STEP, "t", message)] if message else [])


def test_a_background_analysis_may_run_for_ever_but_needs_its_arguments() -> None:
    """§20: the value of the error is the argument's name."""
    templates = known(t={"args": [{"name": "x"}, {"name": "y"}], "metrics": [metric(interval="1m")]})
    found = check_templates(canary(beside={"templates": refs("t"), "args": [{"name": "x"}]}), templates)
    assert [error.render() for error in found] == [
        f'{BESIDE}: Invalid value: "y": missing analysis arguments in rollout spec'
    ]
    given = [{"name": "x"}, {"name": "y", "valueFrom": {"podTemplateHashValue": "Latest"}}]
    assert check_templates(canary(beside={"templates": refs("t"), "args": given}), templates) == []
