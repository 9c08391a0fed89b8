"""Blue-green under Git (docs/behaviour.md §10 "Git-managed", docs/decisions.md §1.2, §4): one gate, ``active``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from engine.test_blue_green import BOTH, MANUAL, deadline, shown
from engine.test_blue_green_ways_back import VERIFIED
from engine.world import World, deployed, manifest
from gitops_rollouts.api.meta import format_time
from gitops_rollouts.engine.observed import Authority, Service, TreeAbort

NOTHING = Authority(target="prod", fresh=True, applied=True, promote_command="gor promote web -n shop")
BAD = TreeAbort(commit="0123456789abcdef0123456789abcdef01234567", text="web:v2 failed")


def under_git(strategy: dict[str, Any] | None = None, authority: Authority = NOTHING, **spec: Any) -> World:
    raw = manifest(replicas=3, blue_green=MANUAL if strategy is None else strategy, **spec)
    world = deployed(raw, authority=authority)
    world.set_image("web:v2")
    world.settle()
    return world


def at_gate(strategy: dict[str, Any] | None = None, **spec: Any) -> World:
    world = under_git(strategy, **spec)
    assert world.status["message"] == "BlueGreenPause"
    assert shown(world)["active"] == "web:v1"
    world.events.clear()
    return world


def allow(world: World, **changes: Any) -> None:
    assert world.authority is not None
    world.authority = replace(world.authority, **changes)


def warnings(world: World) -> list[str]:
    return [event.reason for event in world.events if event.type == "Warning"]


def test_an_approval_switches() -> None:
    """§2: merge = promote, told as a person's resume is."""
    world = at_gate()
    allow(world, approved_active=True)
    world.once()
    assert world.condition("Progressing")["reason"] == "RolloutResumed"  # type: ignore[index]
    world.settle()
    assert shown(world)["active"] == "web:v2"
    assert world.status["phase"] == "Healthy"
    assert warnings(world) == []


def test_an_approval_in_advance_needs_no_stop() -> None:
    """§1.5."""
    world = under_git(authority=replace(NOTHING, approved_active=True))
    assert shown(world)["active"] == "web:v2"
    assert all("pauseConditions" not in status for status in world.statuses)


def test_a_full_approval_is_one_too() -> None:
    """§1.1 ``gate=full``."""
    world = at_gate()
    allow(world, full=True)
    world.settle()
    assert shown(world)["active"] == "web:v2"
    assert world.status["duration"]["completionStatus"] == "FastPromoted"


@pytest.mark.parametrize("approved", [{"approved_through": 99}, {}])
@pytest.mark.parametrize(
    "patch",
    [
        {"pauseConditions": None},
        {"pauseConditions": None, "controllerPause": None},
        {"promoteFull": True},
        {"promoteFull": True, "pauseConditions": None},
        {"pauseConditions": None, "blueGreen": {"scaleUpPreviewCheckPoint": True}},
    ],
)
@pytest.mark.parametrize("preview", [None, 1])
def test_a_client_can_not_promote(patch: dict[str, Any], approved: dict[str, Any], preview: int | None) -> None:
    """§4: undone, with an event that names the command that works."""
    world = at_gate(MANUAL if preview is None else {**MANUAL, "previewReplicaCount": preview})
    allow(world, **approved)
    sizes = world.sizes()
    world.patch_status(**patch)
    for _ in range(12):
        world.once()
        world.run_pods()
        assert shown(world)["active"] == "web:v1"
        assert world.sizes() == sizes
    world.settle()
    assert world.status["message"] == "BlueGreenPause"
    assert world.status["controllerPause"] is True
    assert "promoteFull" not in world.status
    assert "scaleUpPreviewCheckPoint" not in world.status["blueGreen"]
    if patch != {"pauseConditions": None, "controllerPause": None}:
        assert set(warnings(world)) == {"PromotionNotInGit"}
        assert any("gor promote web" in event.message for event in world.events)


def test_a_client_can_not_switch_the_service() -> None:
    """§4: it goes back to the stable version, as nobody approved the new one."""
    world = at_gate()
    new = world.status["currentPodHash"]
    active = world.services["active"]
    world.services["active"] = replace(active, selector={**active.selector, "rollouts-pod-template-hash": new})
    world.settle()
    assert shown(world)["active"] == "web:v1"
    assert world.status["message"] == "BlueGreenPause"


def test_an_approval_that_is_taken_back_before_the_switch() -> None:
    """R3: the gate is closed again."""
    world = at_gate({**MANUAL, "previewReplicaCount": 1})
    allow(world, approved_active=True)
    world.once()
    world.once()
    assert world.status["blueGreen"]["scaleUpPreviewCheckPoint"] is True
    allow(world, approved_active=False)
    world.settle()
    assert shown(world)["active"] == "web:v1"
    assert world.sizes() == {"web:v1": 3, "web:v2": 1}
    assert world.status["message"] == "BlueGreenPause"
    allow(world, approved_active=True)
    world.settle()
    assert shown(world)["active"] == "web:v2"


def test_an_approval_that_is_taken_back_after_the_switch() -> None:
    """R3: back to stable, and paused before the gate."""
    world = at_gate({**VERIFIED, "autoPromotionEnabled": False})
    allow(world, approved_active=True)
    world.settle()
    assert shown(world)["active"] == "web:v2"
    allow(world, approved_active=False)
    world.settle()
    assert shown(world)["active"] == "web:v1"
    assert world.status["message"] == "BlueGreenPause"
    assert world.sizes() == {"web:v1": 3, "web:v2": 3}
    allow(world, approved_active=True)
    world.settle()
    world.runs.say("PostPromotion", "Successful")
    world.settle()
    assert world.status["phase"] == "Healthy"


@pytest.mark.parametrize("strategy", [BOTH, {**BOTH, "autoPromotionSeconds": 30}])
def test_auto_promotion_needs_no_approval(strategy: dict[str, Any]) -> None:
    """§10: no gate, no question; a person may end a timed pause in the cluster."""
    world = under_git(strategy)
    if world.status["phase"] == "Paused":
        world.patch_status(pauseConditions=None)
        world.settle()
    assert shown(world)["active"] == "web:v2"
    assert world.status["phase"] == "Healthy"
    assert warnings(world) == []


@pytest.mark.parametrize("strategy", [BOTH, {**BOTH, "autoPromotionSeconds": 30}, {**BOTH, "previewReplicaCount": 1}])
@pytest.mark.parametrize("held", [{"fresh": False}, {"fresh": False, "behind": True, "approved_active": True}])
def test_nothing_moves_forward_while_git_is_stale(strategy: dict[str, Any], held: dict[str, Any]) -> None:
    """§4: no switch, no promotion, whatever the clock says; and on it goes afterwards."""
    world = deployed(manifest(replicas=3, blue_green=strategy), authority=NOTHING)
    allow(world, **held)
    world.set_image("web:v2")
    world.settle()
    world.pass_time(600)
    assert shown(world) == {"active": "web:v1", "preview": "web:v2"}
    assert world.status["stableRS"] != world.status["currentPodHash"]
    assert "scaleUpPreviewCheckPoint" not in world.status["blueGreen"]
    allow(world, fresh=True, behind=False)
    world.settle()
    world.pass_time(31)
    assert shown(world)["active"] == "web:v2"
    assert world.status["phase"] == "Healthy"


def test_an_edit_outside_git_holds() -> None:
    """§1.1: the applied version's ReplicaSet is the new one still."""
    world = deployed(manifest(replicas=3, blue_green=BOTH), authority=NOTHING)
    allow(world, applied=False)
    world.set_image("web:v2")
    world.settle()
    assert world.sizes() == {"web:v1": 3}
    assert world.condition("HeldByGit") is not None


def test_a_canary_whose_strategy_is_edited_outside_git_holds() -> None:
    """§1.1: nothing is scaled or switched, and its step isn't forgotten."""
    world = deployed(manifest(replicas=4, steps=[{"setWeight": 50}, {"pause": {}}]), authority=NOTHING)
    world.set_image("web:v2")
    world.settle()
    before, canary = (world.sizes(), world.status["currentStepIndex"]), world.raw["spec"]["strategy"]
    for name in ("active", "preview"):
        world.services[name] = Service(name, {"app": "web"})
    allow(world, applied=False)
    world.edit(strategy={"blueGreen": BOTH})
    world.settle()
    assert (world.sizes(), world.status["currentStepIndex"]) == before
    assert shown(world) == {"active": "", "preview": ""}
    allow(world, applied=True)
    world.edit(strategy=canary)
    world.settle()
    assert (world.sizes(), world.status["currentStepIndex"]) == before
    assert world.status["phase"] == "Paused"


def test_an_abort_in_the_tree_and_its_end() -> None:
    """§1.2, R4: aborted at once; taken back, the update begins again and waits at its gate."""
    world = at_gate({**VERIFIED, "autoPromotionEnabled": False})
    allow(world, approved_active=True)
    world.settle()
    assert shown(world)["active"] == "web:v2"
    allow(world, abort=BAD)
    world.once()
    assert shown(world)["active"] == "web:v1"
    assert world.status["phase"] == "Degraded"
    assert "aborted by 0123456789ab in Git" in world.status["message"]
    world.settle()
    world.patch_status(abort=False)
    world.settle()
    assert "RetryNotInGit" in warnings(world)
    assert world.status["abort"] is True
    allow(world, abort=None, approved_active=False, withdrawn=frozenset({world.status["abortedAt"]}))
    world.settle()
    assert world.status["message"] == "BlueGreenPause"
    assert shown(world)["active"] == "web:v1"


def test_an_abort_in_the_cluster_is_recorded() -> None:
    """§4: laid down before it takes effect; there is one gate, so ``at`` is 0."""
    world = at_gate()
    world.patch_status(abort=True)
    world.settle()
    assert [(record.at, record.reason) for record in world.records] == [(0, "Requested")]


def test_a_failed_check_is_recorded() -> None:
    """§4: with the reason that Git shows."""
    world = under_git(VERIFIED)
    world.runs.say("PostPromotion", "Failed", "errors")
    world.settle()
    assert [(record.reason, record.message) for record in world.records] == [
        ("AnalysisFailed", "Blue/green post-promotion analysis phase error/failed: errors")
    ]


def test_first_deploy_needs_no_approval() -> None:
    """§1.5."""
    world = deployed(manifest(replicas=3, blue_green=MANUAL), authority=NOTHING)
    assert world.status["phase"] == "Healthy"
    assert warnings(world) == []


def test_a_revert_is_fast_but_only_to_what_was_stable() -> None:
    """R2, §11.4: the version before needs no approval, a preview that was never promoted does."""
    world = at_gate()
    world.wait()
    world.set_image("web:v3")
    allow(world, approved_active=True)
    world.settle()
    assert shown(world)["active"] == "web:v3"
    allow(world, approved_active=False)
    assert deadline(world, "web:v2") is not None
    world.wait()
    world.set_image("web:v2")
    world.settle()
    assert world.status["message"] == "BlueGreenPause", "v2 is still up, but it never served"
    world.wait()
    world.set_image("web:v1")
    world.settle()
    assert shown(world)["active"] == "web:v1"
    assert world.status["phase"] == "Healthy"


def test_another_intent_begins_anew() -> None:
    """R11: the same template, approved for an attempt that is over."""
    world = at_gate(MANUAL)
    allow(world, intent="1" * 12)
    world.settle()
    allow(world, approved_active=True, fresh=True)
    allow(world, intent="2" * 12, approved_active=False)
    world.settle()
    assert world.status["message"] == "BlueGreenPause"
    assert shown(world)["active"] == "web:v1"
    assert format_time(world.now) >= world.status["pauseConditions"][0]["startTime"]


def test_an_approval_ends_the_pause_that_a_canary_left_behind() -> None:
    """§1.1, §2: its analysis came to no verdict, then the strategy was exchanged; the switch has a check of its own."""
    errors = {"templates": [{"templateName": "errors"}]}
    raw = manifest(replicas=3, steps=[{"setWeight": 20}, {"pause": {}}], canary={"analysis": errors})
    world = deployed(raw, authority=NOTHING)
    world.set_image("web:v2")
    world.settle()
    world.services["active"] = Service("active", {"app": "web"})
    world.runs.say("Background", "Inconclusive")
    world.settle()
    world.edit(strategy={"blueGreen": {"activeService": "active", "prePromotionAnalysis": errors}})
    world.settle()
    assert world.status["message"] == "InconclusiveAnalysisRun"
    allow(world, approved_active=True)
    world.settle()
    assert shown(world)["active"] == "web:v1"
    world.runs.say("PrePromotion", "Successful")
    world.settle()
    assert (shown(world)["active"], world.status["phase"]) == ("web:v2", "Healthy")


def test_an_approval_ends_the_pause_of_a_run_that_was_deleted() -> None:
    """§1.1, §2: of the analysis beside a canary's steps; another one begins."""
    errors = {"templates": [{"templateName": "errors"}]}
    raw = manifest(replicas=3, steps=[{"setWeight": 20}, {"pause": {}}], canary={"analysis": errors})
    world = deployed(raw, authority=NOTHING)
    world.set_image("web:v2")
    world.settle()
    name = world.runs.say("Background", "Inconclusive")
    world.settle()
    del world.runs.kept[name]
    world.settle()
    allow(world, approved_through=1)
    world.settle()
    assert world.status["phase"] == "Healthy"
