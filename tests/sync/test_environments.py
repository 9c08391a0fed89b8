"""Which GitSync another one names, in this cluster or elsewhere (docs/decisions.md §5)."""

from __future__ import annotations

from typing import Any

import pytest

from gitops_rollouts.api.gitsync import GitSync, parse_gitsync
from gitops_rollouts.decisions.state import Other
from gitops_rollouts.errors import ConfigError
from gitops_rollouts.sync.environments import first_of


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
