"""Rollouts of charts: intents from what Helm reads, overlays, images set in values (docs/helm.md)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from decision_repo import PROD, Reading, lines, manifest, promote, stable
from desk_person import WEB, Person
from git_remote import Remote
from gitops_rollouts.errors import DecisionError
from gitops_rollouts.git.repository import Mirror
from gitops_rollouts.render.renderer import Renderer
from gitops_rollouts.sync.rebuild import read_recorded
from helm_program import helm as helm  # noqa: PLC0414 - a fixture

pytestmark = pytest.mark.usefixtures("helm")
Files = dict[str, str | bytes | None]

TEMPLATE = manifest("IMAGE").replace("image: IMAGE", 'image: "{{ .Values.image.repository }}:{{ .Values.image.tag }}"')
VALUES = "image:\n  repository: web\n  tag: {}  # bumped by CI\nother: {{tag: {}}}\n"
CHART: Files = {
    "charts/web/Chart.yaml": "apiVersion: v2\nname: web\nversion: 1.0.0\n",
    "charts/web/templates/web.yaml": TEMPLATE,
    "charts/web/values.yaml": "image: {repository: web, tag: latest}\n",
    "envs/prod/gor-helm.yaml": "chart: ../../charts/web\nvaluesFiles: [values.yaml]\n",
}


def values(tag: str) -> Files:
    return {"envs/prod/values.yaml": VALUES.format(tag, tag)}


def test_the_intent_is_the_commit_that_changed_what_helm_reads(
    remote: Remote, new_mirror: Callable[..., Mirror]
) -> None:
    """docs/decisions.md §1.1, for a reader that followed and for one that starts anew."""
    first = remote.put(CHART | values("v1"))
    reading = Reading(new_mirror())
    assert reading.web().attempt.intent == first
    remote.put({"README": "x", "charts/other/Chart.yaml": "x"})
    remote.put({"charts/web/values.yaml": "image: {repository: web, tag: older}\nunused: 1\n"})
    before = reading.web()
    assert before.attempt.intent == first
    second = remote.put(values("v2"))
    remote.put({".rollouts/prod/shop/other.yaml": "x"})
    state = reading.web(before.head)
    assert (state.attempt.intent, state.image) == (second, "web:v2")
    assert (state.placement.literal, state.placement.overlay) == (False, ".rollouts/prod/shop/web.yaml")
    third = remote.put(
        {"charts/web/templates/web.yaml": TEMPLATE.replace("name: web\n        image", "name: shop\n        image")}
    )
    assert reading.web(state.head).attempt.intent == third
    remote.git("revert", "--no-edit", "HEAD")
    remote.push()
    reverted = remote.git("rev-parse", "HEAD")
    assert reading.web(state.head).attempt.intent == reverted
    assert Reading(new_mirror("anew")).web().attempt.intent == reverted


def test_a_manifest_that_moves_into_a_chart_and_back(remote: Remote, new_mirror: Callable[..., Mirror]) -> None:
    remote.put({"envs/prod/web.yaml": manifest("web:v1")})
    second = remote.put({"envs/prod/web.yaml": manifest("web:v2")})
    reading = Reading(new_mirror())
    before = reading.web()
    moved = CHART | values("v2") | {"envs/prod/web.yaml": None}
    remote.put(moved)
    after = reading.web(before.head)
    assert after.attempt == before.attempt
    remote.put(dict.fromkeys(moved) | {"envs/prod/web.yaml": manifest("web:v2")})
    assert reading.web(after.head).attempt == before.attempt
    assert Reading(new_mirror("anew")).web().attempt.intent == second


def test_a_chart_that_fails_is_no_break_in_a_run(remote: Remote, new_mirror: Callable[..., Mirror]) -> None:
    first = remote.put(CHART | values("v1"))
    reading = Reading(new_mirror())
    previous = reading.at().commit
    remote.put({"charts/web/templates/web.yaml": "{{ fail `no` }}"})
    at = reading.at(previous)
    assert (at.rendered.failed, at.rollouts) == (True, {})
    remote.put({"charts/web/templates/web.yaml": TEMPLATE})
    assert reading.web(previous).attempt.intent == first
    assert Reading(new_mirror("anew")).web().attempt.intent == first


def test_rebuilt_from_git_alone(remote: Remote, new_mirror: Callable[..., Mirror]) -> None:
    """docs/decisions.md §1.5: the recorded version is rendered from its commit, approvals hold for a new reader."""
    remote.put(CHART | values("v1"))
    mirror = new_mirror()
    old = Reading(mirror).web().attempt
    remote.put(values("v2"))
    new = Reading(mirror).web().attempt
    kept = {**lines(promote(new, 1)), **lines(stable(old))}
    overlay = (
        "apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata:\n  name: web\n  namespace: shop\n  annotations:\n"
    )
    overlay += "".join(f'    {key}: "{line}"\n' for key, line in kept.items())
    remote.put({".rollouts/prod/shop/web.yaml": overlay})
    at = Reading(new_mirror("anew")).at()
    state = at.rollouts["shop", "web"]
    assert (state.attempt, state.approved_through) == (new, 1)
    (item,) = at.rendered.objects
    recorded = read_recorded(mirror, Renderer(), PROD, item, state)
    assert recorded.state.attempt.template == old.template
    assert recorded.item.raw["spec"]["template"]["spec"]["containers"][0]["image"] == "web:v1"


@pytest.mark.parametrize(
    ("before", "image", "after"),
    [
        (VALUES.format("v1", "v1"), "web:v2", VALUES.format("v2", "v1")),
        ("other: v1\nimage: {tag: 'v1'}\n", "web:v2", "other: v1\nimage: {tag: 'v2'}\n"),
        (
            VALUES.format("v1", "v1"),
            "r.io/web:v2",
            VALUES.format("v2", "v1").replace("repository: web", "repository: r.io/web"),
        ),
    ],
)
def test_set_image_edits_the_value_that_gives_it(
    remote: Remote, tmp_path: Path, before: str, image: str, after: str
) -> None:
    remote.put(CHART | {"envs/prod/values.yaml": before}, "v1")
    with Person(tmp_path, remote).desk() as desk:
        done = desk.set_image(WEB, {"web": image})
    remote.pull()
    assert done.paths == ("envs/prod/values.yaml",)
    assert (remote.work / "envs/prod/values.yaml").read_text() == after


def test_set_image_names_the_values_that_hold_no_image(remote: Remote, tmp_path: Path) -> None:
    files = CHART | values("v1") | {"charts/web/templates/web.yaml": manifest("web:v9")}
    head = remote.put(files, "v9")
    with (
        Person(tmp_path, remote).desk() as desk,
        pytest.raises(DecisionError, match=r"envs/prod/values\.yaml, charts/web/values\.yaml"),
    ):
        desk.set_image(WEB, {"web": "web:v2"})
    assert remote.pull() == head
