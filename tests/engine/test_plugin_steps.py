"""Step plugins as the engine plays them (docs/behaviour.md §9.4, §16)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from engine.world import World, manifest
from gitops_rollouts.engine.observed import Authority, PluginAnswer, PluginOperation
from gitops_rollouts.engine.plan import CallStepPlugin

JOB = {"plugin": {"name": "acme/job", "config": {"image": "smoke"}}}
MAIL = {"plugin": {"name": "acme/mail"}}


def _updating(*steps: dict[str, Any], **spec: Any) -> World:
    """Ten pods of v1 stable, v2 asked for, everything settled as far as it goes without an answer."""
    world = World(manifest(replicas=10, steps=list(steps), **spec))
    world.settle()
    world.events.clear()
    world.wait()
    world.set_image("web:v2")
    world.settle()
    return world


def _answer(world: World, phase: str = "", **answer: Any) -> CallStepPlugin:
    """The only call under way is answered; its outcome is written."""
    (call,) = world.calls
    world.calls.clear()
    world.answers = [PluginAnswer(call.index, call.name, call.operation, world.now, phase, **answer)]
    world.once()
    world.answers = []
    world.settle()
    return call


def _of(world: World, operation: PluginOperation = "Run", index: int = 0) -> dict[str, Any] | None:
    found = world.status.get("canary", {}).get("stepPluginStatuses", [])
    return next((one for one in found if (one["operation"], one["index"]) == (operation, index)), None)


def _transitions(world: World) -> list[tuple[str, str]]:
    return [(event.type, event.message) for event in world.events if event.reason == "StepPluginTransition"]


def test_a_run_that_succeeds_ends_its_step() -> None:
    world = _updating(JOB, {"pause": {}})
    assert _of(world) == {
        "index": 0, "name": "acme/job", "operation": "Run", "phase": "Running", "startedAt": "2026-03-01T12:00:01Z",
    }  # fmt: skip
    world.wait(3)
    call = _answer(world, "Successful", message="fine", status={"job": "j-1"})
    assert (call.operation, call.status.executions) == ("Run", 0)
    assert _of(world) == {
        "index": 0, "name": "acme/job", "operation": "Run", "phase": "Successful", "message": "fine",
        "startedAt": "2026-03-01T12:00:01Z", "updatedAt": "2026-03-01T12:00:04Z",
        "finishedAt": "2026-03-01T12:00:04Z", "executions": 1, "status": {"job": "j-1"},
    }  # fmt: skip
    assert world.status["currentStepIndex"] == 1
    assert world.status["phase"] == "Paused"
    assert _transitions(world) == []
    assert any("step 1/2 completed (plugin: acme/job)" in event.message for event in world.events)


@pytest.mark.parametrize(
    ("asked", "backoff"),
    [(None, "30s"), (10, "30s"), (17, "17s"), (60, "1m0s")],
)
def test_a_running_plugin_says_when_it_is_called_again(asked: int | None, backoff: str) -> None:
    world = _updating(JOB)
    wait = None if asked is None else timedelta(seconds=asked)
    _answer(world, "Running", requeue_after=wait, status=[1])
    run = _of(world)
    assert run is not None
    assert (run["phase"], run["backoff"], run["executions"]) == ("Running", backoff, 1)
    assert _transitions(world) == [("Normal", "Step plugin acme/job (step 1) transitioned to Running")]
    seconds = 30 if asked in (None, 10) else asked
    assert seconds is not None
    assert world.plans[-1].look_again == timedelta(seconds=seconds)
    world.pass_time(seconds - 1)
    assert world.calls == []
    world.pass_time(1)
    assert [call.status.status for call in world.calls] == [[1]]
    _answer(world, "Running", status=[2])
    assert len(_transitions(world)) == 1
    assert _of(world, "Run")["executions"] == 2  # type: ignore[index]


def test_a_failed_call_and_a_result_of_error_are_tried_again_and_keep_the_plugins_status() -> None:
    world = _updating(JOB)
    _answer(world, "Running", status={"job": 1})
    world.pass_time(30)
    _answer(world, error="the plugin took longer than 30s")
    run = _of(world)
    assert run is not None
    assert (run["phase"], run["message"], run["backoff"]) == ("Error", "the plugin took longer than 30s", "30s")
    assert run["status"] == {"job": 1}
    world.pass_time(30)
    _answer(world, "Error", message="not now", status={"job": 2})
    assert (_of(world) or {})["status"] == {"job": 1}
    assert (_of(world) or {})["backoff"] == "30s"
    world.pass_time(30)
    _answer(world, "Successful")
    assert world.status["phase"] == "Healthy"
    assert _transitions(world) == [
        ("Normal", "Step plugin acme/job (step 1) transitioned to Running"),
        ("Warning", "Step plugin acme/job (step 1) transitioned to Error"),
    ]


def test_a_failed_plugin_aborts_and_what_ran_before_is_aborted_in_reverse_order() -> None:
    """docs/behaviour.md §11.1, §16."""
    world = _updating(JOB, {"setWeight": 20}, MAIL, {"plugin": {"name": "acme/gate"}})
    _answer(world, "Successful", status="j-1")
    _answer(world, "Successful")
    assert world.status["currentStepIndex"] == 3
    world.wait()
    _answer(world, "Failed", message="red")
    text = "Step Plugin 4 (acme/gate) failed: red"
    assert world.status["abort"] is True
    assert world.status["currentStepIndex"] == 0
    assert world.status["phase"] == "Degraded"
    assert text in world.condition("Progressing")["message"]  # type: ignore[index]
    assert [(call.name, call.operation) for call in world.calls] == [("acme/mail", "Abort")]
    _answer(world, "Running")
    assert (_of(world, "Abort", 2) or {})["phase"] == "Failed"
    call = _answer(world)
    assert (call.name, call.status.status) == ("acme/job", "j-1")
    assert (_of(world, "Abort", 0) or {})["phase"] == "Successful"
    assert world.calls == []
    assert _transitions(world) == [
        ("Warning", "Step plugin acme/gate (step 4) transitioned to Failed"),
        ("Warning", "Step plugin acme/mail (step 3) aborted (Failed)"),
        ("Normal", "Step plugin acme/job (step 1) aborted (Successful)"),
    ]
    world.settle()
    assert world.sizes() == {"web:v1": 10, "web:v2": 0}


@pytest.mark.parametrize("first", [{"setWeight": 10}, JOB])
def test_a_retry_runs_every_plugin_anew(first: dict[str, Any]) -> None:
    world = _updating(first, MAIL, {"pause": {}})
    if first is JOB:
        _answer(world, "Successful")
    _answer(world, "Successful")
    world.patch_status(abort=True)
    world.settle()
    while world.calls:
        _answer(world)
    assert _of(world, "Abort", 1) is not None
    world.patch_status(abort=None)
    world.settle()
    (call,) = world.calls
    assert call.index == (0 if first is JOB else 1)
    assert [one["operation"] for one in world.status["canary"]["stepPluginStatuses"]] == ["Run"]


def test_what_runs_is_terminated_when_nothing_waits_for_it() -> None:
    world = _updating(JOB)
    _answer(world, "Running", status="j")
    world.patch_status(promoteFull=True)
    world.settle()
    call = _answer(world)
    assert (call.operation, call.status.status) == ("Terminate", "j")
    assert (_of(world, "Terminate") or {})["phase"] == "Successful"
    assert world.calls == []
    assert world.status["phase"] == "Healthy"
    assert ("Normal", "Step plugin acme/job (step 1) terminated (Successful)") in _transitions(world)


def test_a_disabled_plugin_is_skipped() -> None:
    world = World(manifest(replicas=2, steps=[JOB, {"pause": {}}]))
    world.disabled = frozenset({"acme/job"})
    world.settle()
    world.set_image("web:v2")
    world.settle()
    assert world.calls == []
    assert _of(world) == {"index": 0, "name": "acme/job", "operation": "Run", "disabled": True}
    assert world.status["currentStepIndex"] == 1
    world.patch_status(abort=True)
    world.settle()
    assert world.calls == []


def test_what_cant_be_called_leaves_no_status_and_is_told() -> None:
    """docs/behaviour.md §16 "Transient errors"."""
    world = _updating(JOB)
    world.calls.clear()
    world.patch_status(canary={})
    error = "could not create step plugin at index 0 : acme/job is not installed"
    world.answers = [PluginAnswer(0, "acme/job", "Run", world.now, error=error, transient=True)]
    plan = world.once()
    assert _of(world) is None
    assert plan.look_again == timedelta(seconds=30)
    assert [event.message for event in plan.events] == [f"Reconciliation failed with error: {error}"]
    assert plan.events[0].type == "Warning"
    assert world.calls == []
    assert world.status["phase"] == "Progressing"
    world.answers = []
    world.settle()
    assert len(world.calls) == 1


def test_nothing_is_run_but_while_progressing() -> None:
    world = _updating(JOB, progressDeadlineSeconds=60)
    _answer(world, "Running")
    world.pass_time(62)
    assert world.condition("Progressing")["reason"] == "ProgressDeadlineExceeded"  # type: ignore[index]
    world.calls.clear()
    world.pass_time(100)
    assert world.status["phase"] == "Degraded"
    assert world.calls == []


def test_a_paused_or_held_rollout_takes_no_answer() -> None:
    world = _updating(JOB, {"pause": {}})
    (call,) = world.calls
    world.edit(paused=True)
    world.answers = [PluginAnswer(0, "acme/job", "Run", world.now, "Successful")]
    world.settle()
    assert (_of(world) or {})["phase"] == "Running"
    world.edit(paused=False)
    world.authority = Authority("prod", fresh=False, applied=True)
    world.settle()
    assert world.status["currentStepIndex"] == 0
    world.authority = Authority("prod", fresh=True, applied=True)
    world.settle()
    assert world.status["currentStepIndex"] == 1
    assert world.calls == [call]


@pytest.mark.parametrize(
    "hostile",
    [
        {"index": 0, "name": "acme/job", "operation": "Run", "phase": "Running", "executions": 2**31 - 1,
         "updatedAt": "9999-12-31T23:59:59Z", "backoff": "99999999h"},
        {"index": 0, "name": "acme/job", "operation": "Run", "phase": "?", "executions": -7, "backoff": "-5s",
         "updatedAt": "0001-01-01T00:00:00Z"},
        {"index": -3, "name": "", "operation": "Nothing", "phase": "Running"},
    ],
)  # fmt: skip
def test_hostile_statuses_never_stop_the_engine(hostile: dict[str, Any]) -> None:
    world = _updating(JOB)
    world.calls.clear()
    world.patch_status(canary={"stepPluginStatuses": [hostile]})
    world.settle()
    world.patch_status(abort=True)
    world.settle()


def test_a_call_whose_answer_was_lost_is_made_again() -> None:
    world = _updating(JOB, {"pause": {}})
    (lost,) = world.calls
    world.calls.clear()
    world.settle()
    assert world.calls == [lost]
    _answer(world, "Successful")
    assert world.status["currentStepIndex"] == 1
