"""What Git allows and what it takes back (docs/decisions.md §0–§4), in a model of a cluster."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from engine.world import World, deployed, manifest
from gitops_rollouts.api.meta import format_time
from gitops_rollouts.engine.observed import Authority, TreeAbort
from gitops_rollouts.engine.plan import RecordAbort

GATED: list[dict[str, Any]] = [{"setWeight": 20}, {"pause": {}}, {"setWeight": 60}, {"pause": {}}]
NOTHING = Authority(target="prod", fresh=True, applied=True, promote_command="gor promote web")
BAD = TreeAbort(commit="0123456789abcdef0123456789abcdef01234567", text="web:v2 failed")


def at_gate(**spec: Any) -> World:
    """The update stands at step 1, 1 of 5 pods."""
    world = deployed(manifest(replicas=5, steps=GATED, **spec), authority=NOTHING)
    world.set_image("web:v2")
    world.settle()
    assert world.status["currentStepIndex"] == 1
    assert world.status["phase"] == "Paused"
    world.events.clear()
    world.statuses.clear()
    return world


def allow(world: World, **changes: Any) -> None:
    assert world.authority is not None
    world.authority = replace(world.authority, **changes)


def warnings(world: World) -> list[str]:
    return [event.reason for event in world.events if event.type == "Warning"]


def test_first_deploy_needs_no_approval() -> None:
    """§1.5: straight to 100 %."""
    world = World(manifest(replicas=5, steps=GATED), authority=NOTHING)
    world.settle()
    assert world.status["phase"] == "Healthy"
    assert warnings(world) == []
    assert {item["type"] for item in world.status["conditions"]} == {"Available", "Completed", "Healthy", "Progressing"}


@pytest.mark.parametrize(
    "patch",
    [
        {"pauseConditions": None},
        {"pauseConditions": None, "currentStepIndex": 2},
        {"pauseConditions": None, "currentStepIndex": 4},
        {"currentStepIndex": 3},
        {"promoteFull": True},
        {"promoteFull": True, "pauseConditions": None, "currentStepIndex": 4},
        {"pauseConditions": None, "controllerPause": None, "currentStepIndex": 2},
    ],
)
def test_a_client_can_not_promote(patch: dict[str, Any]) -> None:
    """§4: undone, with an event that names the command that works; no pod of the new version more."""
    world = at_gate()
    world.patch_status(**patch)
    for _ in range(12):
        world.once()
        world.run_pods()
        assert world.sizes() == {"web:v1": 4, "web:v2": 1}
    world.settle()
    assert world.status["currentStepIndex"] == 1
    assert [pause["reason"] for pause in world.status["pauseConditions"]] == ["CanaryPauseStep"]
    assert world.status["controllerPause"] is True
    assert "promoteFull" not in world.status
    assert set(warnings(world)) == {"PromotionNotInGit"}
    assert any("gor promote web" in event.message for event in world.events)
    assert world.status["phase"] == "Paused"


def test_an_approval_resumes_as_a_person_does() -> None:
    """§2: merge = promote."""
    world = at_gate()
    allow(world, approved_through=1)
    world.once()
    assert world.condition("Progressing")["reason"] == "RolloutResumed"  # type: ignore[index]
    assert "pauseConditions" not in world.status
    world.settle()
    assert world.sizes() == {"web:v1": 2, "web:v2": 3}
    assert world.status["currentStepIndex"] == 3
    assert world.status["phase"] == "Paused"
    assert warnings(world) == []


def test_a_gate_approved_before_is_passed_without_a_stop() -> None:
    """§1.5: gates already approved pass without asking."""
    world = deployed(manifest(replicas=5, steps=GATED), authority=replace(NOTHING, approved_through=3))
    world.set_image("web:v2")
    world.settle()
    assert world.status["phase"] == "Healthy"
    assert "RolloutPaused" not in world.reasons()
    assert all("pauseConditions" not in status for status in world.statuses)


def test_full_approval_skips_everything() -> None:
    """§1.1 ``gate=full``."""
    world = at_gate()
    allow(world, full=True)
    world.settle()
    assert world.status["phase"] == "Healthy"
    assert world.sizes() == {"web:v1": 0, "web:v2": 5}
    assert world.status["duration"]["completionStatus"] == "FastPromoted"


def test_a_withdrawn_approval_brings_stable_back_first() -> None:
    """R3: freeze, stable up first, then the gate's weight, then Paused there; the revert of the revert resumes."""
    world = at_gate()
    allow(world, approved_through=1)
    world.settle()
    assert world.sizes() == {"web:v1": 2, "web:v2": 3}
    allow(world, approved_through=-1)
    world.events.clear()
    world.once()
    assert world.condition("HeldByGit")["reason"] == "ApprovalWithdrawn"  # type: ignore[index]
    moves: list[tuple[str, int]] = []
    before = world.sizes()
    for _ in range(30):
        world.once()
        after = world.sizes()
        moves += [(image, size) for image, size in after.items() if before[image] != size]
        before = after
        world.run_pods()
        assert world.available() >= 4
    assert moves[0] == ("web:v1", 4)
    world.settle()
    assert world.sizes() == {"web:v1": 4, "web:v2": 1}
    assert world.status["currentStepIndex"] == 1
    assert world.status["phase"] == "Paused"
    assert world.condition("HeldByGit") is None
    assert warnings(world) == ["ApprovalWithdrawn", "PromotionNotInGit"]
    allow(world, approved_through=1)
    world.settle()
    assert world.sizes() == {"web:v1": 2, "web:v2": 3}


def test_a_full_approval_withdrawn() -> None:
    """R3 for ``gate=full``: back to the first gate."""
    world = at_gate()
    allow(world, full=True)
    world.slow = True
    for _ in range(4):
        world.once()
    world.run_pods()
    allow(world, full=False)
    world.slow = False
    world.settle()
    assert world.status["currentStepIndex"] == 1
    assert world.status["phase"] == "Paused"
    assert world.sizes() == {"web:v1": 4, "web:v2": 1}


def test_stale_git_freezes_forward_moves() -> None:
    """§4 "Git unreachable for hours": no weight increase, no step advance, no completion; said once."""
    world = at_gate()
    allow(world, approved_through=3, fresh=False)
    world.settle()
    assert world.sizes() == {"web:v1": 4, "web:v2": 1}
    assert world.status["currentStepIndex"] == 1
    assert (world.status["phase"], world.status["message"]) == ("Paused", "CanaryPauseStep")
    assert world.condition("HeldByGit")["reason"] == "GitStale"  # type: ignore[index]
    world.pass_time(3600)
    assert warnings(world) == ["GitStale"]
    allow(world, fresh=True)
    world.settle()
    assert world.condition("HeldByGit") is None
    assert world.status["phase"] == "Healthy"


def test_an_engine_that_has_to_ask_a_forge_again_moves_and_writes_nothing() -> None:
    """§6: past a gate that was approved; a long silence of the forge is said, and nothing moves then either."""
    world = at_gate()
    allow(world, approved_through=1)
    world.settle()
    assert (world.status["currentStepIndex"], world.sizes()) == (3, {"web:v1": 2, "web:v2": 3})
    world.statuses.clear()
    world.events.clear()
    everything = 2**31 - 1
    allow(world, fresh=False, unconfirmed=True, unsaid=True, approved_through=everything, full=True)
    world.settle()
    assert (world.statuses, world.events) == ([], [])
    allow(world, unsaid=False)
    world.settle()
    assert world.condition("HeldByGit")["reason"] == "ApprovalUnconfirmed"  # type: ignore[index]
    assert (world.status["currentStepIndex"], world.sizes()) == (3, {"web:v1": 2, "web:v2": 3})
    allow(world, fresh=True, unconfirmed=False, approved_through=1, full=False)
    world.settle()
    assert world.condition("HeldByGit") is None
    assert (world.status["currentStepIndex"], world.sizes()) == (3, {"web:v1": 2, "web:v2": 3})


def test_stale_git_stops_in_mid_scaling_and_stops_the_clock() -> None:
    """§4, §0.2: what is there keeps being served; the progress deadline doesn't run."""
    steps = [{"setWeight": 50}, {"pause": {"duration": "10s"}}]
    raw = manifest(replicas=10, steps=steps, canary={"maxSurge": 1, "maxUnavailable": 0}, progressDeadlineSeconds=60)
    world = deployed(raw, authority=NOTHING)
    world.set_image("web:v2")
    while world.sizes().get("web:v2", 0) < 2:
        world.once()
        world.run_pods()
    allow(world, fresh=False)
    before = world.sizes()["web:v2"]
    world.settle()
    assert world.sizes()["web:v2"] == before
    assert world.sizes()["web:v1"] >= 10 - before
    world.pass_time(7200)
    assert world.status["phase"] == "Progressing"
    world.edit(replicas=20)
    world.settle()
    assert world.asked() >= 20
    assert world.sizes()["web:v2"] <= 2 * before
    allow(world, fresh=True)
    world.settle()
    assert world.status["phase"] == "Paused"
    world.pass_time(11)
    assert world.status["phase"] == "Healthy"


def test_an_abort_needs_no_git() -> None:
    """§0.2: acts at once while Git is unreachable, and is recorded first."""
    world = at_gate()
    allow(world, fresh=False)
    world.settle()
    world.patch_status(abort=True)
    plan = world.once()
    assert isinstance(plan.actions[0], RecordAbort)
    assert plan.status_first
    world.settle()
    assert world.sizes() == {"web:v1": 5, "web:v2": 0}
    assert [(record.at, record.reason) for record in world.records] == [(1, "Requested")]
    assert world.status["phase"] == "Degraded"


def test_the_own_abort_is_recorded_with_its_step() -> None:
    """§4 Abort (1)."""
    raw = manifest(replicas=5, steps=GATED, progressDeadlineSeconds=60, progressDeadlineAbort=True)
    world = deployed(raw, authority=NOTHING)
    world.set_image("web:broken")
    world.settle()
    world.pass_time(62)
    assert [(record.at, record.reason) for record in world.records] == [(0, "ProgressDeadlineExceeded")]
    assert "timed out" in world.records[0].message
    assert world.sizes() == {"web:v1": 5, "web:broken": 0}


def test_an_edit_outside_git_is_held() -> None:
    """§1.1 applied: nothing of it runs, the update that was under way stays where it is; healed without a trace."""
    world = at_gate()
    allow(world, applied=False)
    healed = world.raw["spec"]["template"]
    world.set_image("web:v3")
    world.settle()
    world.pass_time(1000)
    assert world.sizes() == {"web:v1": 4, "web:v2": 1}
    assert warnings(world) == ["EditedOutsideGit"]
    assert world.condition("HeldByGit")["reason"] == "EditedOutsideGit"  # type: ignore[index]
    assert world.status["observedGeneration"] == "2"
    allow(world, applied=True)
    world.edit(template=healed)
    world.settle()
    assert world.sizes() == {"web:v1": 4, "web:v2": 1}
    assert world.status["currentStepIndex"] == 1
    assert world.condition("HeldByGit") is None


def test_an_edit_of_a_promoted_rollout_is_held_and_a_resize_is_not() -> None:
    """§1.1: the stable version keeps its size."""
    world = deployed(manifest(replicas=3, steps=GATED), authority=NOTHING)
    allow(world, applied=False)
    world.set_image("web:v3")
    world.edit(replicas=6)
    world.settle()
    assert world.sizes() == {"web:v1": 6}


def test_an_edit_before_anything_was_applied_is_held() -> None:
    """§1.1: nothing is created from a template that Git didn't apply."""
    world = World(manifest(), authority=replace(NOTHING, applied=False))
    world.settle()
    assert world.sets == {}
    assert warnings(world) == ["EditedOutsideGit"]
    allow(world, applied=True)
    world.settle()
    assert world.status["phase"] == "Healthy"


def test_an_abort_in_the_tree_gives_the_version_no_pod() -> None:
    """R10: Degraded, naming the commit; nothing to record; lifted by its withdrawal."""
    world = deployed(manifest(replicas=5, steps=GATED), authority=NOTHING)
    world.set_image("web:v2")
    allow(world, abort=BAD)
    for _ in range(20):
        world.once()
        world.run_pods()
        assert world.sizes().get("web:v2", 0) == 0
    world.settle()
    assert world.status["phase"] == "Degraded"
    assert world.status["message"] == (
        "RolloutAborted: Rollout aborted update to revision 2: "
        "aborted by 0123456789ab in Git: web:v2 failed; `gor retry web -n shop` lifts it"
    )
    assert world.records == []
    allow(world, abort=None, withdrawn=frozenset({world.status["abortedAt"]}))
    world.settle()
    assert world.status["phase"] == "Paused"
    assert world.sizes() == {"web:v1": 4, "web:v2": 1}
    assert "abortedAt" not in world.status


def test_that_git_has_the_abort_is_noted_once() -> None:
    """R4: taken back later, it is known to have been there, whoever wrote it."""
    world = at_gate()
    line = replace(BAD, id="d-aaaaaaaaaa")
    allow(world, abort=line)
    world.once()
    assert world.records == []
    world.once()
    (record,) = world.records
    assert record.told == line.id
    assert format_time(record.aborted_at) == world.status["abortedAt"]
    allow(world, abort=replace(line, noted=True))
    world.settle()
    assert world.records == [record]


def test_an_abort_in_the_tree_beats_a_running_update_and_every_promotion() -> None:
    """§1.2: abort beats promote, always."""
    world = at_gate()
    allow(world, abort=BAD, full=True, approved_through=3)
    world.patch_status(promoteFull=True)
    world.settle()
    assert world.sizes() == {"web:v1": 5, "web:v2": 0}
    assert world.status["phase"] == "Degraded"


def test_an_abort_of_the_stable_version_is_inert() -> None:
    """§1.2."""
    world = deployed(manifest(replicas=5, steps=GATED), authority=NOTHING)
    allow(world, abort=BAD)
    world.settle()
    assert world.status["phase"] == "Healthy"
    assert world.sizes() == {"web:v1": 5}


def test_a_first_deploy_of_an_aborted_version_gets_no_pod() -> None:
    """§0.3: a template that Git calls aborted doesn't run."""
    world = World(manifest(replicas=5, steps=GATED), authority=replace(NOTHING, abort=BAD))
    world.settle()
    assert world.sizes() == {"web:v1": 0}
    assert world.status["phase"] == "Degraded"
    allow(world, abort=None, withdrawn=frozenset({world.status["abortedAt"]}))
    world.settle()
    assert world.status["phase"] == "Healthy"


def test_a_client_can_not_retry_what_git_aborted() -> None:
    """§4: aborted again at once, with the command that works."""
    world = at_gate()
    allow(world, abort=BAD)
    world.settle()
    aborted_at = world.status["abortedAt"]
    world.events.clear()
    world.patch_status(abort=False)
    world.settle()
    assert world.status["abort"] is True
    assert world.status["abortedAt"] == aborted_at
    assert world.sizes() == {"web:v1": 5, "web:v2": 0}
    assert warnings(world) == ["RetryNotInGit"]
    assert "gor retry web" in world.events[0].message


def test_a_withdrawn_abort_is_retried_and_a_second_one_is_new() -> None:
    """R4: restart at step 0; approved gates stay approved; a second failure is recorded again."""
    world = at_gate()
    world.patch_status(abort=True)
    world.settle()
    first = world.status["abortedAt"]
    allow(world, approved_through=1, withdrawn=frozenset({first}))
    world.wait()
    world.settle()
    assert world.status["currentStepIndex"] == 3
    world.wait()
    world.patch_status(abort=True)
    world.settle()
    assert world.status["abortedAt"] != first
    assert len(world.records) == 2
    assert world.status["phase"] == "Degraded"


def test_an_abort_lifted_while_git_is_stale_waits() -> None:
    """§4: a retry is a forward move."""
    world = at_gate()
    world.patch_status(abort=True)
    world.settle()
    allow(world, fresh=False, withdrawn=frozenset({world.status["abortedAt"]}))
    world.settle()
    assert world.sizes() == {"web:v1": 5, "web:v2": 0}
    allow(world, fresh=True)
    world.settle()
    assert world.sizes() == {"web:v1": 4, "web:v2": 1}


def test_what_is_said_while_git_is_ahead_of_the_cluster_is_true() -> None:
    """§1.1: held by what isn't applied yet, not by a Git that can't be read."""
    world = at_gate()
    allow(world, fresh=False, behind=True, approved_through=2**31 - 1)
    world.settle()
    held = world.condition("HeldByGit")
    assert held is not None
    assert held["reason"] == "NotYetApplied"
    assert "moved on" in held["message"]
    assert world.sizes() == {"web:v1": 4, "web:v2": 1}


def test_a_client_can_not_promote_out_of_an_abort() -> None:
    """§4: retry and promotion are Git's."""
    world = at_gate()
    world.patch_status(abort=True)
    world.settle()
    world.patch_status(promoteFull=True)
    world.settle()
    assert world.sizes() == {"web:v1": 5, "web:v2": 0}
    assert world.status["phase"] == "Degraded"


def test_a_revert_after_completion_is_fast() -> None:
    """R2: the window is 1 unless set; 0 restores the steps."""
    for window, phase in ((None, "Healthy"), ({"revisions": 0}, "Paused")):
        spec = {"rollbackWindow": window} if window is not None else {}
        world = deployed(manifest(replicas=5, steps=GATED, **spec), authority=replace(NOTHING, full=True))
        world.set_image("web:v2")
        world.settle()
        assert world.status["phase"] == "Healthy"
        allow(world, full=False)
        world.wait()
        world.set_image("web:v1")
        world.settle()
        assert world.status["phase"] == phase


def test_a_version_that_never_was_stable_is_no_rollback() -> None:
    """I1: left behind at its gate, it comes back later and passes no gate for being old."""
    world = at_gate()
    allow(world, full=True)
    world.wait()
    world.set_image("web:v3")
    world.settle()
    assert world.sizes()["web:v3"] == 5
    allow(world, full=False)
    world.wait()
    world.set_image("web:v2")
    world.settle()
    assert world.status["phase"] == "Paused"
    assert world.sizes() == {"web:v1": 0, "web:v2": 1, "web:v3": 4}


def test_without_a_gitsync_clients_decide() -> None:
    """§4 last row but one: Rollouts that no GitSync applies are honoured as ever."""
    world = at_gate()
    world.authority = None
    world.patch_status(pauseConditions=None)
    world.settle()
    assert world.status["currentStepIndex"] == 3
