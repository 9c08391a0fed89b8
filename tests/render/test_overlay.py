"""The decision overlay: only our keys, only where it belongs, and never silently lost."""

from __future__ import annotations

import pytest

from gitops_rollouts.render.objects import Rendered

ROLLOUT = """\
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata:
  name: web
  annotations: {team: shop, gitops-rollouts.io/promote: literal, gitops-rollouts.io/stable: literal}
spec: {template: {spec: {containers: [{name: web, image: "web:v1"}]}}}
"""
OVERLAY = """\
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata:
  name: web
  namespace: shop
  annotations:
    gitops-rollouts.io/stable: overlay
    gitops-rollouts.io/abort: overlay
"""
PATH = ".rollouts/prod/shop/web.yaml"


def annotations(rendered: Rendered) -> dict[str, str]:
    return dict(rendered.objects[0].raw["metadata"]["annotations"])


def test_the_overlay_wins_key_by_key(render: object) -> None:
    rendered = render({"app/web.yaml": ROLLOUT, PATH: OVERLAY})  # type: ignore[operator]
    assert not rendered.problems
    assert annotations(rendered) == {
        "team": "shop",
        "gitops-rollouts.io/promote": "literal",
        "gitops-rollouts.io/stable": "overlay",
        "gitops-rollouts.io/abort": "overlay",
    }


def test_another_target_does_not_see_it(render: object) -> None:
    rendered = render({"app/web.yaml": ROLLOUT, PATH: OVERLAY}, target="staging")  # type: ignore[operator]
    assert annotations(rendered)["gitops-rollouts.io/stable"] == "literal"


def test_foreign_keys_have_no_effect_and_are_named(render: object) -> None:
    text = OVERLAY + "    team: evil\n    gitops-rollouts.io/applied: x\n  labels: {a: b}\nspec: {replicas: 0}\n"
    rendered = render({"app/web.yaml": ROLLOUT, PATH: text})  # type: ignore[operator]
    assert annotations(rendered)["team"] == "shop"
    assert annotations(rendered)["gitops-rollouts.io/abort"] == "overlay"
    assert rendered.objects[0].raw["spec"].keys() == {"template"}
    assert {(problem.field, problem.line) for problem in rendered.problems} == {
        ("spec", 12),
        ("metadata.labels", 11),
        ("metadata.annotations[team]", 9),
        ("metadata.annotations[gitops-rollouts.io/applied]", 10),
    }


@pytest.mark.parametrize(
    "text",
    ["a: [b\n", OVERLAY + "---\n" + OVERLAY, "", OVERLAY.replace("Rollout", "Deployment"), "a: " + "x" * 9_000_000],
)
def test_one_that_cannot_be_read_blocks_its_rollout(render: object, text: str) -> None:
    rendered = render({"app/web.yaml": ROLLOUT, PATH: text})  # type: ignore[operator]
    assert not rendered.objects
    assert [str(one) for one in rendered.blocked] == ["Rollout.argoproj.io shop/web"]
    assert len(rendered.problems) == 1
    assert rendered.problems[0].path == PATH


@pytest.mark.parametrize(
    ("path", "text", "phrase"),
    [
        (".rollouts/prod/shop/other.yaml", OVERLAY.replace("name: web", "name: other"), "no such Rollout"),
        (".rollouts/prod/shop/web.yaml", OVERLAY.replace("name: web", "name: other"), "names another Rollout"),
        (".rollouts/prod/web.yaml", OVERLAY, "not <namespace>/<name>.yaml"),
        (".rollouts/prod/README.md", "hello", "is no overlay"),
    ],
)
def test_one_that_belongs_nowhere_is_ignored_and_named(render: object, path: str, text: str, phrase: str) -> None:
    rendered = render({"app/web.yaml": ROLLOUT, path: text})  # type: ignore[operator]
    assert annotations(rendered)["gitops-rollouts.io/stable"] == "literal"
    assert phrase in rendered.problems[0].message
