"""Which GitSync another one names, in this cluster or elsewhere (docs/decisions.md §5)."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from gitops_rollouts.api.gitsync import GitSync, encode_gitsync_status, parse_gitsync
from gitops_rollouts.decisions.state import Other, Promotion
from gitops_rollouts.decisions.writing.proposals import Proposed
from gitops_rollouts.errors import ConfigError
from gitops_rollouts.sync.environments import as_proposals, first_of, promotion_of, stored_proposals


def sync(name: str, **spec: Any) -> GitSync:
    whole = {"repo": "https://git.example/shop", "path": f"envs/{name}", **spec}
    return parse_gitsync({"metadata": {"name": name}, "spec": whole})


def first(made: GitSync, *others: GitSync) -> Other | None:
    known = {one.metadata.name: one for one in (made, *others)}
    return first_of(made, known.get)


def test_of_this_cluster_or_of_another() -> None:
    assert first(sync("us")) is None
    assert first(sync("us", after="eu"), sync("eu", targetNamespace="shop")) == Other("eu", "envs/eu", "shop")
    told = sync("us", after="eu", elsewhere=[{"name": "eu", "path": "clusters/eu"}])
    assert first(told) == Other("eu", "clusters/eu")
    assert first(told, sync("eu")) == Other("eu", "clusters/eu")


def test_what_cannot_be_found_keeps_the_gate_shut() -> None:
    """A reason, not an error: everything else of the GitSync goes on."""
    lost = first(sync("us", after="eu"))
    assert lost is not None
    assert "spec.elsewhere" in lost.problem
    for other in (sync("eu", branch="next"), sync("eu", repo="https://git.example/other")):
        found = first(sync("us", after="eu"), other)
        assert found is not None
        assert "another repository or branch" in found.problem


@pytest.mark.parametrize(
    "others", [[], [sync("eu", after="us")], [sync("eu", after="asia"), sync("asia", after="eu")]], ids=len
)
def test_nobody_waits_for_himself(others: list[GitSync]) -> None:
    """The ring is named."""
    made = sync("us", after="eu" if others else "us")
    with pytest.raises(ConfigError, match=r"wait for each other: .* after "):
        first(made, *others)


def test_where_images_come_from() -> None:
    """§5's spelling; the other may be in another cluster."""
    promotion = {"from": "staging", "fields": ["image"], "soak": "30m"}
    found = promotion_of(sync("prod", promotion=promotion), {"staging": sync("staging")}.get)
    assert found == Promotion(Other("staging", "envs/staging"), timedelta(minutes=30))
    told = sync("prod", promotion={"from": "staging"}, elsewhere=[{"name": "staging", "path": "envs/st"}])
    assert promotion_of(told, {}.get) == Promotion(Other("staging", "envs/st"))
    assert promotion_of(sync("prod"), {}.get) is None


@pytest.mark.parametrize(
    ("promotion", "said"),
    [
        ({}, "names no other GitSync"),
        ({"from": "prod"}, "names no other GitSync"),
        ({"from": "staging", "fields": ["replicas"]}, "names replicas"),
        ({"from": "staging", "fields": []}, "names nothing"),
        ({"from": "staging", "soak": "soon"}, "spec.promotion.soak"),
    ],
)
def test_a_promotion_that_makes_no_sense_is_refused(promotion: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        promotion_of(sync("prod", promotion=promotion), {"staging": sync("staging")}.get)


def test_the_status_remembers_what_waits() -> None:
    """There and back; what somebody else wrote into it is left out."""
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    one = Proposed("shop", "web", "0123456789ab", "web:v2", at, "held", "closed by alice")
    status = parse_gitsync({"metadata": {"name": "prod"}}).status.model_copy(update={"proposals": as_proposals([one])})
    raw = {"metadata": {"name": "prod"}, "status": encode_gitsync_status(status)}
    assert stored_proposals(parse_gitsync(raw)) == (one,)
    raw["status"]["proposals"] = [
        {"name": "x", "state": "held"},
        {"since": "2026-01-02T03:04:05Z", "state": "great"},
        7,
    ]
    assert stored_proposals(parse_gitsync(raw)) == ()


def test_the_page_shows_what_works() -> None:
    """docs/environments.md: every GitSync on it can be used, and finds those that it names."""
    page = (Path(__file__).parents[2] / "docs/environments.md").read_text()
    blocks = re.findall(r"^```yaml\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    shown = [parse_gitsync(body) for block in blocks for body in yaml.safe_load_all(block)]
    known = {one.metadata.name: one for one in (sync("dev", repo=shown[0].spec.repo), *shown)}
    assert [one.metadata.name for one in shown] == ["staging", "prod-eu", "prod-us"]
    for one in shown:
        found = [promotion_of(one, known.get), first_of(one, known.get)]
        assert found[0] is not None
        assert found[0].source.problem == ""
    assert first_of(shown[2], {}.get) == Other("prod-eu", "envs/prod-eu")
