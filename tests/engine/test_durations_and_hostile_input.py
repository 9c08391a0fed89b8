"""``status.duration`` (docs/behaviour.md §4.4), and input that no sane client writes."""

from __future__ import annotations

import copy
import functools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.world import World, at, deployed, manifest
from gitops_rollouts.api.meta import parse_time
from gitops_rollouts.api.rollout import parse_rollout
from gitops_rollouts.engine.observed import Authority, Observed
from gitops_rollouts.engine.step import step

GATED: list[dict[str, Any]] = [{"setWeight": 20}, {"pause": {}}]


def at_gate() -> World:
    world = deployed(manifest(replicas=5, steps=GATED))
    world.set_image("web:v2")
    world.settle()
    return world


def duration(world: World) -> dict[str, Any]:
    found = world.status["duration"]
    assert isinstance(found, dict)
    return found


def test_a_superseded_update_starts_a_new_clock() -> None:
    """Rules 1 and 3: Superseded is seen in metrics only."""
    world = at_gate()
    assert duration(world)["rolloutStartedAt"] == at(1)
    world.wait(9)
    world.set_image("web:v3")
    world.settle()
    assert duration(world) == {"rolloutStartedAt": at(10), "manualPauseStartedAt": at(10)}


def test_an_abort_finishes_and_a_retry_starts_anew() -> None:
    """Rules 2 and 3."""
    world = at_gate()
    world.wait(9)
    world.patch_status(abort=True)
    world.settle()
    assert duration(world) == {
        "rolloutStartedAt": at(1),
        "totalManualPauseDurationSeconds": 9,
        "finishedAt": at(10),
        "completionStatus": "Aborted",
    }
    world.wait(5)
    world.patch_status(abort=False)
    world.once()
    assert duration(world) == {"rolloutStartedAt": at(15)}


def test_a_rollback_to_an_older_version_keeps_the_clock() -> None:
    """Rule 1: RolledBack."""
    world = at_gate()
    world.patch_status(promoteFull=True)
    world.settle()
    world.wait()
    world.set_image("web:v3")
    world.settle()
    started = duration(world)["rolloutStartedAt"]
    world.wait(60)
    world.set_image("web:v1")
    world.settle()
    assert duration(world)["rolloutStartedAt"] == started
    assert duration(world)["completionStatus"] == "RolledBack"
    assert "finishedAt" not in duration(world)
    world.patch_status(pauseConditions=None)
    world.settle()
    assert duration(world)["completionStatus"] == "RolledBack"
    assert "finishedAt" in duration(world)


def test_a_resize_starts_nothing() -> None:
    """Rule 3, last sentence."""
    world = deployed(manifest(replicas=2))
    before = duration(world)
    world.edit(replicas=4)
    world.settle()
    assert duration(world) == before


def test_spec_paused_is_a_manual_pause() -> None:
    """Rule 4."""
    world = deployed(manifest(replicas=2, steps=[{"setWeight": 50}]))
    world.edit(paused=True)
    world.set_image("web:v2")
    world.settle()
    world.wait(30)
    world.edit(paused=False)
    world.settle()
    assert duration(world)["totalManualPauseDurationSeconds"] == 30


@pytest.mark.parametrize("index", [-1, -(2**31), 99, 2**31 - 1])
@pytest.mark.parametrize("managed", [False, True])
def test_an_index_that_does_not_exist(index: int, managed: bool) -> None:
    """A number below 0 is the first step, one past the end means all steps done."""
    world = at_gate()
    if managed:
        world.authority = Authority("prod", fresh=True, applied=True)
    world.patch_status(currentStepIndex=index, pauseConditions=None)
    world.settle()
    assert world.status["currentStepIndex"] in (1, 2)
    assert world.status["phase"] == ("Healthy" if index > 0 and not managed else "Paused")


def test_times_at_the_end_of_time() -> None:
    """Deadlines and pauses don't overflow."""
    far = "9999-12-31T23:59:59Z"
    world = deployed(manifest(replicas=5, steps=[{"setWeight": 20}, {"pause": {"duration": "1h"}}]))
    world.set_image("web:v2")
    world.settle()
    world.status["pauseConditions"][0]["startTime"] = far
    for condition in world.status["conditions"]:
        condition["lastUpdateTime"] = far
    world.settle()
    world.patch_status(pauseConditions=None)
    world.settle()
    assert world.status["phase"] == "Healthy"


@functools.cache
def paused_world() -> World:
    return at_gate()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=8) | st.just("2026-03-01T12:00:00Z"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
STATUS_KEYS = [
    "abort",
    "abortedAt",
    "collisionCount",
    "conditions",
    "controllerPause",
    "currentPodHash",
    "currentStepHash",
    "currentStepIndex",
    "duration",
    "observedGeneration",
    "pauseConditions",
    "promoteFull",
    "restartedAt",
    "stableRS",
]


@settings(max_examples=150, deadline=None)
@given(
    status=st.dictionaries(st.sampled_from(STATUS_KEYS), JSON, max_size=6),
    spec=st.dictionaries(
        st.sampled_from(["replicas", "template", "strategy", "paused", "restartAt", "selector", "rollbackWindow"]),
        JSON,
        max_size=2,
    ),
    managed=st.booleans(),
)
def test_any_object_gets_a_plan(status: dict[str, Any], spec: dict[str, Any], managed: bool) -> None:
    """§1: total. A malformed object never raises."""
    world = copy.deepcopy(paused_world())
    world.raw["status"].update(status)
    world.raw["spec"].update(spec)
    observed = world.observe()
    plan = step(
        Observed(
            rollout=parse_rollout(world.raw),
            replica_sets=observed.replica_sets,
            authority=Authority("prod", fresh=True, applied=True) if managed else None,
        ),
        parse_time(at(100)),
    )
    assert plan is not None
