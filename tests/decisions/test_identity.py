"""docs/decisions.md §9: the worked example's digests and ids."""

from __future__ import annotations

from typing import Any

import pytest

from gitops_rollouts.decisions.identity import Subject, decision_id, steps_digest, template_digest
from gitops_rollouts.errors import DecisionError

TEMPLATE = {
    "metadata": {"labels": {"app": "web"}},
    "spec": {"containers": [{"image": "ghcr.io/acme/web:v2", "name": "web"}]},
}
STEPS = [
    {"setWeight": 20},
    {"analysis": {"templates": [{"templateName": "success-rate"}]}},
    {"pause": {}},
    {"setWeight": 60},
    {"pause": {"duration": "10m"}},
]


def rollout(strategy: Any) -> dict[str, Any]:
    return {"spec": {"strategy": strategy}}


def test_worked_example() -> None:
    assert template_digest(TEMPLATE) == "abd11f90ce04efa7"
    assert steps_digest(rollout({"canary": {"steps": STEPS}})) == "bfb225f9"
    subject = Subject("prod", "shop", "web")
    shared = ("abd11f90ce04efa7", "bfb225f9")
    intent = "3b70795a87de51b95eadd0726935dab8e7c12fa2"
    assert decision_id(subject, "promote", *shared, 2, intent, "") == "d-hdwlvihfmv"
    cause = "6f1c2f2e-2a52-4b8e-9a4a-0c5f2d1e7b90"
    assert decision_id(subject, "abort", *shared, 4, intent, cause) == "d-lhrdtxug7g"


def test_steps_that_mean_nothing_are_one_thing() -> None:
    forms: list[Any] = [{"canary": {}}, {"canary": {"steps": []}}, {"canary": {"steps": None}}, {}, None, "nonsense"]
    assert len({steps_digest(rollout(form)) for form in forms}) == 1
    assert steps_digest(rollout({"blueGreen": {"activeService": "web"}})) == "bluegreen"
    assert steps_digest({}) == steps_digest(rollout({}))


@pytest.mark.parametrize(
    "text", ["", "prod", "prod/shop", "prod/shop/web/x", "prod//web", "Prod/shop/web", "a/b/c d", "../b/c"]
)
def test_subject_refuses(text: str) -> None:
    with pytest.raises(DecisionError):
        Subject.parse(text)


def test_subject_round_trip() -> None:
    assert str(Subject.parse("prod/shop/web")) == "prod/shop/web"
