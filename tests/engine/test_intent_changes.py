"""A revert and its revert, fetched at once, change the intent alone (docs/decisions.md §1.1, §3 R6, R11, R13)."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest

from engine.world import World, deployed, manifest
from gitops_rollouts.api.names import INTENT
from gitops_rollouts.engine.observed import Authority, TreeAbort
from gitops_rollouts.engine.plan import PatchReplicaSet

GATED: list[dict[str, Any]] = [{"setWeight": 20}, {"pause": {}}, {"setWeight": 60}, {"pause": {}}]
V1, V2, AGAIN = "1" * 12, "2" * 12, "3" * 12
BAD = TreeAbort(commit="0123456789abcdef0123456789abcdef01234567", text="web:v2 failed")


def allow(world: World, **changes: Any) -> None:
    assert world.authority is not None
    world.authority = replace(world.authority, **changes)


def past_a_gate(**more: Any) -> World:
    """The update stands at step 3, 3 of 5 pods, for the intent V2."""
    world = deployed(manifest(replicas=5, steps=GATED, **more), authority=Authority("prod", True, True, intent=V1))
    allow(world, intent=V2, approved_through=1)
    world.set_image("web:v2")
    world.settle()
    assert world.status["currentStepIndex"] == 3
    assert mark(world) == V2
    world.wait()
    for seen in (world.statuses, world.plans, world.events):
        seen.clear()
    return world


def mark(world: World, image: str = "web:v2") -> str | None:
    return world.by_image(image).spec.annotations.get(INTENT)


def marks_written(world: World) -> int:
    """Patches that carry nothing but the mark or carry it along."""
    actions = [action for plan in world.plans for action in plan.actions]
    return sum(isinstance(action, PatchReplicaSet) and INTENT in action.annotations for action in actions)


def at_step(world: World) -> tuple[int | None, dict[str, int]]:
    return world.status.get("currentStepIndex"), world.sizes()


def test_a_new_intent_starts_at_the_first_step_and_comes_back_to_the_first_gate() -> None:
    world = past_a_gate()
    started = world.status["duration"]["rolloutStartedAt"]
    allow(world, intent=AGAIN, approved_through=-1)
    world.once()
    assert at_step(world) == (0, {"web:v1": 2, "web:v2": 3})
    assert "pauseConditions" not in world.status
    assert world.status["duration"]["rolloutStartedAt"] != started
    assert mark(world) == AGAIN
    world.settle()
    assert at_step(world) == (1, {"web:v1": 4, "web:v2": 1})
    assert world.status["phase"] == "Paused"
    assert marks_written(world) == 1
    assert not [event for event in world.events if event.type == "Warning"]


@pytest.mark.parametrize("tree_abort", [None, BAD])
def test_an_abort_in_the_cluster_ends_with_its_attempt_but_one_in_the_tree_stands(tree_abort: TreeAbort | None) -> None:
    world = past_a_gate()
    world.patch_status(abort=True)
    world.settle()
    assert world.sizes() == {"web:v1": 5, "web:v2": 0}
    world.records.clear()
    allow(world, intent=AGAIN, approved_through=-1, abort=tree_abort)
    world.once()
    assert "abortedAt" not in world.status
    world.settle()
    if tree_abort is None:
        assert at_step(world) == (1, {"web:v1": 4, "web:v2": 1})
        assert world.records == []
    else:
        assert at_step(world) == (0, {"web:v1": 5, "web:v2": 0})
        assert world.status["phase"] == "Degraded"
        assert "RetryNotInGit" not in world.reasons()


@pytest.mark.parametrize(
    ("told", "marked"),
    [
        ({"intent": AGAIN, "former": frozenset({V2})}, AGAIN),  # R6: history was rewritten
        ({"intent": ""}, V2),  # the tree can't be read now
        ({"intent": AGAIN, "applied": False}, V2),
        ({}, V2),
    ],
)
def test_no_restart(told: dict[str, Any], marked: str) -> None:
    world = past_a_gate()
    before = at_step(world)
    allow(world, **told)
    world.settle()
    assert at_step(world) == before
    assert mark(world) == marked
    assert marks_written(world) == (marked != V2)


def test_a_mark_that_is_missing_is_only_written() -> None:
    world = past_a_gate()
    kept = world.by_image("web:v2")
    kept.spec = replace(kept.spec, annotations={k: v for k, v in kept.spec.annotations.items() if k != INTENT})
    before = at_step(world), world.by_image("web:v2").spec.annotations
    world.settle()
    assert (at_step(world), {k: v for k, v in kept.spec.annotations.items() if k != INTENT}) == before
    assert mark(world) == V2


def test_at_rest_nothing_is_reset_or_written() -> None:
    world = past_a_gate()
    allow(world, approved_through=3)
    world.settle()
    assert world.status["phase"] == "Healthy"
    world.plans.clear()
    world.statuses.clear()
    allow(world, intent=AGAIN)
    world.settle()
    assert (marks_written(world), world.statuses, mark(world)) == (0, [], V2)


def test_an_update_costs_no_request_more() -> None:
    world = deployed(manifest(replicas=5, steps=GATED), authority=Authority("prod", True, True, intent=V1))
    allow(world, intent=V2, approved_through=1)
    world.plans.clear()
    world.set_image("web:v2")
    world.settle()
    assert (marks_written(world), mark(world)) == (0, V2)
    allow(world, intent="4" * 12)
    world.set_image("web:v1")
    world.settle()
    revision = [
        a for plan in world.plans for a in plan.actions if isinstance(a, PatchReplicaSet) and INTENT in a.annotations
    ]
    assert [len(action.annotations) > 1 for action in revision] == [True]
    assert mark(world, "web:v1") == "4" * 12


@pytest.mark.parametrize("aborted", [False, True])
@pytest.mark.parametrize("writes", range(5))
@pytest.mark.parametrize("passes", range(1, 4))
def test_a_death_on_the_way_restarts_all_the_same(writes: int, passes: int, aborted: bool) -> None:
    """The status begins anew before the mark forgets the old intent."""
    steady = past_a_gate()
    if aborted:
        steady.patch_status(abort=True)
        steady.settle()
    allow(steady, intent=AGAIN, approved_through=-1)
    mortal = copy.deepcopy(steady)
    steady.settle()
    for _ in range(passes):
        mortal.once(only=writes)
    mortal.settle()
    assert at_step(mortal) == at_step(steady) == (1, {"web:v1": 4, "web:v2": 1})
    assert mark(mortal) == mark(steady) == AGAIN


def test_a_revert_that_the_engine_never_saw_and_an_older_version_between() -> None:
    """The mark of an older ReplicaSet that becomes the new one again is that of its former update."""
    world = past_a_gate()
    allow(world, intent="4" * 12, approved_through=-1)
    world.set_image("web:v3")
    world.once()
    assert mark(world, "web:v3") == "4" * 12
    allow(world, intent=AGAIN)
    world.set_image("web:v2")
    world.settle()
    assert at_step(world)[0] == 1
    assert mark(world) == AGAIN
