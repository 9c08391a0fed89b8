from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops_rollouts.api.durations import format_go_duration, parse_go_duration
from gitops_rollouts.api.gitsync import GitSyncStatus, Problem, encode_gitsync_status, parse_gitsync
from gitops_rollouts.api.meta import LabelSelector, format_time, parse_time
from gitops_rollouts.api.phase import calculate_phase, phase_of
from gitops_rollouts.api.rollout import Rollout, RolloutSpec, parse_rollout
from gitops_rollouts.api.status import (
    AnalysisRunStatus,
    BlueGreenStatus,
    CanaryStatus,
    Condition,
    PauseCondition,
    RolloutDuration,
    RolloutStatus,
    TrafficWeights,
    encode_status,
    status_patch,
)
from gitops_rollouts.api.steps import CanaryStep, Pause
from gitops_rollouts.api.strategy import BlueGreenStrategy, CanaryStrategy, Strategy

NOON = datetime(2026, 5, 1, 12, 0, 0, 123456, tzinfo=UTC)


def canary(*steps: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {"spec": {"strategy": {"canary": {"steps": list(steps)}}, **spec}}


def test_defaults_are_told_from_what_was_written() -> None:
    spec = parse_rollout({"spec": {}}).spec
    assert (spec.replicas, spec.desired_replicas) == (None, 1)
    assert (spec.progress_deadline, spec.history_limit, spec.steps) == (600, 10, ())
    assert parse_rollout({"spec": {"replicas": 0}}).spec.desired_replicas == 0


def test_the_template_stays_raw() -> None:
    template = {"spec": {"containers": [{"name": "c", "unheardOf": [1]}]}}
    assert parse_rollout({"spec": {"template": template}}).spec.template == template


def test_what_has_a_wrong_type_is_as_if_absent() -> None:
    raw = canary({"setWeight": 20}, "no step", {"setWeight": True}, {"pause": {"duration": [1]}}, replicas="five")
    raw |= {"metadata": {"name": "web", "labels": {"a": 1, "b": "2"}}, "status": {"abortedAt": 4, "phase": "Odd"}}
    raw["spec"]["strategy"]["canary"]["trafficRouting"] = {"nginx": {"stableIngresses": ["a", 7]}}
    rollout = parse_rollout(raw)
    assert [step.kind for step in rollout.spec.steps] == ["setWeight", "invalid", "invalid", "pause"]
    assert rollout.spec.replicas is None
    assert rollout.metadata.name == "web"
    assert rollout.metadata.labels == {"b": "2"}
    assert rollout.status.phase == "Odd"
    assert rollout.spec.strategy.canary
    assert rollout.spec.strategy.canary.traffic_routing
    assert rollout.spec.strategy.canary.traffic_routing.nginx


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["metadata", "labels", "spec", "status", "strategy", "canary", "steps", "pause", "duration", "int"]
            )
            | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=25,
)


@given(st.fixed_dictionaries({"metadata": JSON, "spec": JSON, "status": JSON}))
def test_parsing_is_total(raw: dict[str, Any]) -> None:
    assert isinstance(parse_rollout(raw), Rollout)
    parse_gitsync(raw)


@given(st.fixed_dictionaries({"strategy": st.fixed_dictionaries({"canary": JSON}), "selector": JSON}))
def test_parsing_is_total_deeper(spec: dict[str, Any]) -> None:
    assert isinstance(parse_rollout({"spec": spec}), Rollout)


def test_a_very_wrong_object_takes_no_time() -> None:
    spec = {"replicas": 2, "strategy": {"canary": {"steps": [1] * 50_000}}}
    rollout = parse_rollout({"metadata": {"name": "web"}, "spec": spec})
    assert (rollout.metadata.name, rollout.spec.replicas, rollout.spec.steps) == ("web", 2, ())


def test_keys_in_python_case_are_not_the_api() -> None:
    assert parse_rollout({"spec": {"min_ready_seconds": 5}}).spec.min_ready_seconds == 0


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [(None, None), (0, 0), (30, 30), ("30", 30), ("-5", -5), ("1h", 3600), ("1h30m", 5400), ("500ms", 0), ("-2s", -2)],
)
def test_pause_seconds(duration: int | str | None, seconds: int | None) -> None:
    assert Pause(duration=duration).seconds() == seconds


@pytest.mark.parametrize("duration", ["", "abc", "10 s", "99999999999", "1d", "٣", "2e3", "10000000h"])
def test_pause_unparsable(duration: str) -> None:
    with pytest.raises(ValueError, match=r"invalid|too long"):
        Pause(duration=duration).seconds()


def test_step_descriptions() -> None:
    steps = [
        ({"setWeight": 20}, "setWeight: 20"),
        ({"pause": {}}, "pause"),
        ({"pause": {"duration": "1h"}}, "pause: 1h"),
        ({"experiment": {}}, "experiment"),
        ({"analysis": {}}, "analysis"),
        ({"setCanaryScale": {"weight": 25}}, "setCanaryScale{weight: 25}"),
        ({"setCanaryScale": {"matchTrafficWeight": True}}, "setCanaryScale{matchTrafficWeight: true}"),
        ({"setCanaryScale": {"replicas": 3}}, "setCanaryScale{replicas: 3}"),
        ({"plugin": {"name": "a/b"}}, "plugin: a/b"),
        ({"setHeaderRoute": {"name": "h"}}, "setHeaderRoute: h"),
        ({"setMirrorRoute": {"name": "m"}}, "setMirrorRoute: m"),
        ({}, "invalid"),
    ]
    for raw, text in steps:
        assert CanaryStep.model_validate(raw).describe() == text


def test_status_is_encoded_as_go_omits() -> None:
    assert encode_status(RolloutStatus()) == {"blueGreen": {}, "canary": {}}
    status = RolloutStatus(
        current_step_index=0,
        collision_count=0,
        hpa_replicas=3,
        stable_rs="abc",
        duration=RolloutDuration(total_manual_pause_duration_seconds=0, rollout_started_at=NOON),
        canary=CanaryStatus(weights=TrafficWeights(verified=False)),
        conditions=(Condition(type="Paused", status="True", last_update_time=NOON, last_transition_time=NOON),),
    )
    assert encode_status(status) == {
        "blueGreen": {},
        "canary": {"weights": {"canary": {"weight": 0}, "stable": {"weight": 0}, "verified": False}},
        "currentStepIndex": 0,
        "collisionCount": 0,
        "HPAReplicas": 3,
        "stableRS": "abc",
        "duration": {"totalManualPauseDurationSeconds": 0, "rolloutStartedAt": "2026-05-01T12:00:00Z"},
        "conditions": [
            {
                "type": "Paused",
                "status": "True",
                "reason": "",
                "message": "",
                "lastUpdateTime": "2026-05-01T12:00:00Z",
                "lastTransitionTime": "2026-05-01T12:00:00Z",
            }
        ],
    }
    assert parse_rollout({"status": encode_status(status)}).status.hpa_replicas == 3


def test_status_patch_has_only_what_changed() -> None:
    old = {"phase": "Paused", "abort": True, "replicas": 1, "canary": {"currentExperiment": "e", "stablePingPong": "x"}}
    new = {"phase": "Healthy", "replicas": 1, "canary": {"stablePingPong": "x"}, "blueGreen": {}}
    assert status_patch(old, new) == {
        "status": {"phase": "Healthy", "abort": None, "canary": {"currentExperiment": None}, "blueGreen": {}}
    }
    assert status_patch(new, new) is None


def test_times() -> None:
    assert parse_time("2026-05-01T14:00:00.5+02:00") == datetime(2026, 5, 1, 12, 0, 0, 500000, tzinfo=UTC)
    assert format_time(NOON.astimezone(timezone(timedelta(hours=2)))) == "2026-05-01T12:00:00Z"
    assert format_time(datetime(1, 1, 1, tzinfo=UTC)) == "0001-01-01T00:00:00Z"
    for bad in ["", "2026-05-01", "2026-05-01T12:00:00", "0001-01-01T00:00:00+14:00", "2026-W01-1T12:00:00Z"]:
        with pytest.raises(ValueError, match=r".+"):
            parse_time(bad)


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("0", timedelta()),
        ("1h30m", timedelta(minutes=90)),
        ("1.5s", timedelta(seconds=1.5)),
        ("-300ms", timedelta(milliseconds=-300)),
        ("+2m3.25s", timedelta(minutes=2, seconds=3.25)),
        ("1us", timedelta(microseconds=1)),
        (".5s", timedelta(milliseconds=500)),
    ],
)
def test_go_durations(text: str, duration: timedelta) -> None:
    assert parse_go_duration(text) == duration


@pytest.mark.parametrize("text", ["", "-", "1", "s", "1x", "1h 3m", "1e3s", "9999999h", ".s", "1_0s", "٣s"])
def test_go_durations_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="invalid duration"):
        parse_go_duration(text)


@given(st.timedeltas(min_value=timedelta(days=-1000), max_value=timedelta(days=1000)))
def test_go_durations_round_trip(duration: timedelta) -> None:
    assert parse_go_duration(format_go_duration(duration)) == duration


def test_go_durations_are_written_as_go_does() -> None:
    seconds = [3600, 1.5, 0.3, 0, 90]
    assert [format_go_duration(timedelta(seconds=s)) for s in seconds] == ["1h0m0s", "1.5s", "300ms", "0s", "1m30s"]


def test_label_selector() -> None:
    selector = LabelSelector.model_validate(
        {"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "tier", "operator": "In", "values": ["b", "a"]}]}
    )
    assert selector.matches({"app": "web", "tier": "a", "more": "x"})
    assert not selector.matches({"app": "web"})
    assert str(selector) == "app=web,tier in (a,b)"
    assert selector.with_label("h", "1").encode()["matchLabels"] == {"app": "web", "h": "1"}
    assert not LabelSelector.model_validate({"matchExpressions": [{"key": "a", "operator": "Odd"}]}).matches({})


def healthy(**changes: Any) -> RolloutStatus:
    counts = {"replicas": 2, "updated_replicas": 2, "available_replicas": 2, "ready_replicas": 2}
    return RolloutStatus(**{**counts, "current_pod_hash": "h", "stable_rs": "h", "observed_generation": "3", **changes})


CANARY = RolloutSpec(replicas=2, strategy=Strategy(canary=CanaryStrategy()))
BLUE_GREEN = RolloutSpec(replicas=2, strategy=Strategy(blue_green=BlueGreenStrategy(active_service="s")))


@pytest.mark.parametrize(
    ("spec", "status", "phase"),
    [
        (CANARY, healthy(), ("Healthy", "")),
        (
            CANARY,
            healthy(conditions=(Condition(type="InvalidSpec", message="m"),)),
            ("Degraded", "InvalidSpec: m"),
        ),
        (
            CANARY,
            healthy(conditions=(Condition(type="Progressing", reason="RolloutAborted", message="m"),)),
            ("Degraded", "RolloutAborted: m"),
        ),
        (CANARY.model_copy(update={"paused": True}), healthy(), ("Paused", "manually paused")),
        (
            CANARY,
            healthy(pause_conditions=(PauseCondition(reason="CanaryPauseStep"),)),
            ("Paused", "CanaryPauseStep"),
        ),
        (CANARY.model_copy(update={"restart_at": NOON}), healthy(), ("Progressing", "rollout is restarting")),
        (CANARY, healthy(updated_replicas=1), ("Progressing", "more replicas need to be updated")),
        (
            CANARY,
            healthy(available_replicas=1),
            ("Progressing", "updated replicas are still becoming available"),
        ),
        (CANARY, healthy(replicas=3), ("Progressing", "old replicas are pending termination")),
        (CANARY, healthy(stable_rs=""), ("Progressing", "waiting for all steps to complete")),
        (BLUE_GREEN, healthy(), ("Progressing", "active service cutover pending")),
        (
            BLUE_GREEN,
            healthy(blue_green=BlueGreenStatus(active_selector="h"), stable_rs="o"),
            ("Progressing", "waiting for post-promotion verification to complete"),
        ),
        (BLUE_GREEN, healthy(blue_green=BlueGreenStatus(active_selector="h")), ("Healthy", "")),
    ],
)
def test_phase(spec: RolloutSpec, status: RolloutStatus, phase: tuple[str, str]) -> None:
    assert calculate_phase(spec, status) == phase


def test_phase_waits_for_the_post_promotion_analysis() -> None:
    spec = parse_rollout(
        {"spec": {"replicas": 2, "strategy": {"blueGreen": {"activeService": "s", "postPromotionAnalysis": {}}}}}
    ).spec
    running = BlueGreenStatus(
        active_selector="h", post_promotion_analysis_run_status=AnalysisRunStatus(name="a", status="Running")
    )
    assert calculate_phase(spec, healthy(blue_green=running, stable_rs="o"))[1] == "waiting for analysis to complete"


def test_phase_for_a_client() -> None:
    rollout = parse_rollout({"metadata": {"generation": 3}}).model_copy(update={"spec": CANARY, "status": healthy()})

    def seen(**changes: Any) -> tuple[str, str]:
        return phase_of(rollout.model_copy(update={"status": rollout.status.model_copy(update=changes)}))

    assert seen() == ("Healthy", "")
    assert seen(observed_generation="2")[1] == "waiting for rollout spec update to be observed"
    failed = (Condition(type="TrafficRouted", status="False", message="no such route"),)
    assert seen(observed_generation="2", conditions=failed)[1] == (
        "traffic routing failed, it is tried again: no such route"
    )
    assert seen(observed_generation="x") == seen(observed_generation="99") == ("Healthy", "")
    assert seen(controller_pause=True) == ("Progressing", "waiting for rollout to unpause")
    assert seen(phase="Degraded", message="why") == ("Degraded", "why")


def test_gitsync() -> None:
    spec = parse_gitsync({"spec": {"repo": "file:///r", "interval": "5ms", "writeSecretRef": {"name": "s"}}}).spec
    assert spec.interval_duration() == timedelta(seconds=1)
    assert spec.staleness_duration() == timedelta(minutes=10)
    assert (spec.branch, spec.apply, spec.write, spec.gates) == ("main", True, "all", "request")
    assert (spec.prune, spec.force, spec.deletion, spec.suspend) == (False, True, "orphan", False)
    status = GitSyncStatus(problems=tuple(Problem(message=str(number)) for number in range(60)))
    encoded = encode_gitsync_status(status)
    assert len(encoded["problems"]) == 50
    assert encoded["problemCount"] == 60
