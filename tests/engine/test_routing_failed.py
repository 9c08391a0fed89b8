"""What a Rollout says while a router can't make true what it is told (docs/behaviour.md §15.1)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from engine.routed_world import RoutedWorld, routed, running
from gitops_rollouts.api.validation import FieldError
from gitops_rollouts.engine.plan import RouteTraffic
from gitops_rollouts.engine.step import routing_failed, step

WHY = "istio: route primary not found"


def about_to_route() -> RoutedWorld:
    """An update whose next pass gives the canary its first share."""
    world = running(routed(steps=[{"setWeight": 20}, {"pause": {}}], spec={"progressDeadlineSeconds": 60}))
    world.set_image("web:v2")
    while not any(
        isinstance(action, RouteTraffic) and action.canary.weight == 20
        for action in step(world.observe(), world.now).actions
    ):
        world.once()
        world.run_pods()
    return world


def test_the_status_says_so_and_nothing_moves() -> None:
    """The step and the weights stay, the message tells why, and the next pass that gets through takes it back."""
    world = about_to_route()
    observed = world.observe()
    before = observed.rollout.status
    told = routing_failed(observed, world.now, WHY)
    assert told.actions == ()
    assert told.status is not None
    condition = told.status.condition("TrafficRouted")
    assert condition is not None
    assert (condition.status, condition.reason, condition.message) == ("False", "TrafficRoutingError", WHY)
    text = f"traffic routing failed, it is tried again: {WHY}"
    assert (told.status.phase, told.status.message) == ("Progressing", text)
    others = {"conditions": before.conditions, "phase": before.phase, "message": before.message}
    assert told.status.model_copy(update=others) == before

    rollout = observed.rollout.model_copy(update={"status": told.status})
    plan = step(replace(observed, rollout=rollout), world.now)
    assert plan.status is not None
    assert plan.status.condition("TrafficRouted") is None
    assert "traffic routing" not in plan.status.message
    assert routing_failed(replace(observed, rollout=rollout), world.now, WHY).status == told.status


def test_the_progress_deadline_passes_all_the_same() -> None:
    """§4.1: a router that never gets there must not look like an update that goes on."""
    world = about_to_route()
    later = world.now + timedelta(hours=1)
    told = routing_failed(world.observe(), later, WHY)
    assert told.status is not None
    progressing = told.status.condition("Progressing")
    assert progressing is not None
    assert progressing.reason == "ProgressDeadlineExceeded"
    assert told.status.phase == "Degraded"


def test_an_abort_begins_although_a_routed_object_is_gone() -> None:
    """§15.6: what is wrong in routed objects is InvalidSpec, but a failed analysis waits for none of it."""
    analysis = {"templates": [{"templateName": "errors"}]}
    world = running(routed(steps=[{"setWeight": 20}, {"pause": {}}], analysis=analysis))
    world.set_image("web:v2")
    world.settle()
    gone = (FieldError("spec.strategy.canary.trafficRouting", "not found", "web"),)
    refused = step(replace(world.observe(), route_errors=gone), world.now)
    assert refused.status is not None
    assert (refused.status.condition("InvalidSpec") is not None, refused.status.abort) == (True, False)

    world.runs.say("Background", "Failed", "too many errors")
    begins = step(replace(world.observe(), route_errors=gone), world.now)
    assert begins.status is not None
    assert (begins.status.condition("InvalidSpec"), begins.status.abort) == (None, True)
    world.carry_out(begins)
    back = step(replace(world.observe(), route_errors=gone), world.now)
    assert any(isinstance(action, RouteTraffic) and action.canary.weight == 0 for action in back.actions)

    wrong_too = replace(world.observe(), refused=FieldError("spec.x", "no"), route_errors=gone)
    refused = step(wrong_too, world.now)
    assert refused.status is not None
    assert refused.status.condition("InvalidSpec") is not None
