"""The harness of the routers' tests itself, with the example plugin as the router."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import CONFIG_MAPS
from gitops_rollouts.leader import Settings
from traffic.history import assert_every_write_changed_something, assert_no_weight_went_back, weights
from traffic.journey import Case, Moment, Objects, journey

Raw = dict[str, Any]


def _version(number: int, *, data: str = "a", manager: str = "one", uid: str = "u") -> Raw:
    metadata = {"name": "web", "uid": uid, "resourceVersion": str(number), "managedFields": [{"manager": manager}]}
    return {"kind": "ConfigMap", "metadata": metadata, "data": {"value": data}}


def test_a_write_that_changes_nothing_is_found() -> None:
    """Not even who holds what."""
    assert_every_write_changed_something([_version(1), _version(2, data="b"), _version(3, data="b", manager="two")])
    assert_every_write_changed_something([_version(1), _version(2, uid="made anew")])
    with pytest.raises(AssertionError, match="changes nothing"):
        assert_every_write_changed_something([_version(1), _version(2)])


def test_a_fight_over_ownership_is_found() -> None:
    """Two managers that take a field from each other over and over, with the same value."""
    fight = [_version(n, manager="one" if n % 2 else "two") for n in range(5)]
    assert_every_write_changed_something(fight[:4])
    with pytest.raises(AssertionError, match="again and again"):
        assert_every_write_changed_something(fight)


def test_a_weight_that_goes_back_is_found() -> None:
    """Down to nothing is right, anything between is not, nor up again."""
    versions = [_version(number, data=value) for number, value in enumerate(("0", "20", "20", "60", "0"))]
    assert weights(versions, lambda raw: int(raw["data"]["value"])) == [0, 20, 60, 0]
    assert_no_weight_went_back("x", [0, 20, 60, 100, 0])
    for wrong in ([20, 0, 20], [60, 20], [0, 20, 60, 20, 0]):
        with pytest.raises(AssertionError, match="the weight went"):
            assert_no_weight_went_back("x", wrong)


async def test_a_journey_with_the_example_plugin(
    client: Client, settings: Settings, tmp_path: Path, site: Path
) -> None:
    """Pushes, full passes, somebody's edit and the history, with a router that is known to work."""

    def expected(before: Objects, moment: Moment) -> Objects:
        after = copy.deepcopy(before)
        after["ConfigMap/edge"]["data"] |= {
            "canary-weight": str(moment.weight),
            "stable-weight": str(100 - moment.weight),
            "canary-hash": moment.canary_hash,
            "stable-hash": moment.stable_hash,
        }
        return after

    def weight(raw: Raw) -> int | None:
        found = raw.get("data", {}).get("canary-weight")
        return None if found is None else int(found)

    routing = {"plugins": {"example/config-map": {"name": "edge"}}}
    in_git = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mine"}, "data": {"a": "b"}}
    case = Case(routing, [in_git], (CONFIG_MAPS,), expected, weight)
    async with journey(client, settings, tmp_path, case) as j:
        await j.healthy("v1")
        j.before = await j.objects()
        await j.release("v2")
        await j.paused(1, "v2")
        await j.shows(expected(j.before, await j.moment(20, under_way=True)))
        j.documents["ConfigMap/mine"]["data"]["a"] = "c"
        j.before["ConfigMap/mine"]["data"]["a"] = "c"
        await j.push()
        await j.promote(1)
        await j.paused(3, "v2")
        await j.shows(expected(j.before, await j.moment(60, under_way=True)))
        await j.promote(3)
        await j.healthy("v2")
        await j.at_rest()
        j.no_weight_went_back({0, 20, 60, 100})
        assert j.weights()["ConfigMap/edge"][-1] == 0

        def somebody(objects: Objects) -> None:
            objects["ConfigMap/mine"]["data"] = {"b": "d"}

        await j.edit(somebody)
        j.before["ConfigMap/mine"]["data"]["b"] = "d"
        await j.shows(expected(j.before, await j.moment(0, under_way=False)))
        del j.documents["Rollout/web"], j.documents["ConfigMap/mine"]
        await j.push()

        async def gone() -> bool:
            return "ConfigMap/mine" not in await j.objects()

        assert await gone()
