"""Each row of the tables of docs/behaviour.md §8.4, §15.1 and §15.2, one state at a time."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from engine.routed_world import STEPS, routed
from gitops_rollouts.api.names import DESIRED_REPLICAS, POD_TEMPLATE_HASH, REVISION
from gitops_rollouts.api.rollout import parse_rollout
from gitops_rollouts.api.status import TrafficWeights, WeightDestination
from gitops_rollouts.engine import routed_sizes, traffic
from gitops_rollouts.engine.observed import Observed, ReplicaSet, RoutersSeen
from gitops_rollouts.engine.plan import RemoveManagedRoutes, RouteTraffic
from gitops_rollouts.engine.routed_sizes import Traffic
from gitops_rollouts.engine.scene import Leave, Scene

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
LADDER: list[dict[str, Any]] = [{"setWeight": weight} for weight in (20, 40, 60, 80)]


def version(pod_hash: str, size: int, available: int | None = None, revision: int = 1) -> ReplicaSet:
    return ReplicaSet(
        name=f"web-{pod_hash}",
        uid=pod_hash,
        created=NOW + timedelta(seconds=revision),
        labels={POD_TEMPLATE_HASH: pod_hash},
        annotations={REVISION: str(revision), DESIRED_REPLICAS: "10"},
        owner_uid="rollout-uid",
        selector={},
        template={},
        replicas=size,
        current=size,
        available=size if available is None else available,
    )


def sent(weight: int, pod_hash: str = "new", stable: str = "old") -> TrafficWeights:
    return TrafficWeights(
        canary=WeightDestination(weight=weight, service_name="canary", pod_template_hash=pod_hash),
        stable=WeightDestination(weight=100 - weight, service_name="stable", pod_template_hash=stable),
    )


def scene(
    new: ReplicaSet,
    stable: ReplicaSet | None,
    *,
    recorded: TrafficWeights | None = None,
    others: tuple[ReplicaSet, ...] = (),
    stable_hash: str = "old",
    leave: Leave | None = None,
    raw: dict[str, Any] | None = None,
    seen: RoutersSeen | None = None,
    **status: Any,
) -> Scene:
    rollout = parse_rollout(raw or routed(steps=LADDER, routes=("beta",)))
    canary = rollout.status.canary.model_copy(update={"weights": recorded})
    fields = {"current_pod_hash": "new", "stable_rs": stable_hash, "current_step_index": 0, "canary": canary, **status}
    return Scene(
        observed=Observed(rollout, routers=seen or RoutersSeen()),
        now=NOW,
        status=rollout.status.model_copy(update=fields),
        new=new,
        stable=stable,
        others=others,
        step_hash="",
        leave=leave or Leave(),
    )


DYNAMIC = routed(steps=LADDER, routes=("beta",), dynamicStableScale=True)
OLD, NONE = version("old", 10), version("new", 0, revision=2)


def new(size: int, available: int | None = None) -> ReplicaSet:
    return version("new", size, available, revision=2)


def same(available: int) -> dict[str, Any]:
    """Promoted: the stable version is the new one."""
    one = version("new", 10, available, revision=3)
    return {"new": one, "stable": one, "stable_hash": "new"}


@pytest.mark.parametrize(
    ("row", "state", "weight", "pod_hash", "removes"),
    [
        (
            "going back to stable, not whole",
            {**same(2), "raw": DYNAMIC, "recorded": sent(80, "was", "new"), "others": (version("was", 8),)},
            80,
            "was",
            False,
        ),
        (
            "going back to stable, whole",
            {**same(10), "raw": DYNAMIC, "recorded": sent(80, "was", "new"), "others": (version("was", 8),)},
            0,
            "new",
            True,
        ),
        (
            "going back to stable from a canary without pods",
            {**same(2), "raw": DYNAMIC, "recorded": sent(80, "was", "new"), "others": (version("was", 8, 0),)},
            0,
            "new",
            True,
        ),
        (
            "going back to stable without dynamicStableScale",
            {**same(10), "recorded": sent(80, "was", "new"), "others": (version("was", 8),)},
            0,
            "new",
            True,
        ),
        ("promoted", {**same(10), "recorded": sent(100)}, 0, "new", True),
        ("aborted", {"new": new(6), "recorded": sent(60), "abort": True}, 0, "new", True),
        ("no pod", {"new": new(6, 0), "recorded": sent(60), "current_step_index": 2}, 0, "new", True),
        (
            "promoteFull",
            {"new": new(10, 7), "recorded": sent(40), "promote_full": True, "current_step_index": 1},
            40,
            "new",
            True,
        ),
        (
            "promoteFull of another version than the recorded one",
            {"new": new(10, 7), "recorded": sent(40, "was"), "promote_full": True},
            0,
            "new",
            True,
        ),
        (
            "promoteFull with dynamicStableScale",
            {"new": new(10, 7), "recorded": sent(40), "promote_full": True, "raw": DYNAMIC},
            70,
            "new",
            True,
        ),
        ("counts not reached", {"new": new(6, 5), "recorded": sent(40), "current_step_index": 2}, 40, "new", False),
        ("counts not reached in the first step", {"new": new(2, 1), "recorded": sent(0)}, 0, "new", False),
        ("counts reached", {"new": new(6), "recorded": sent(40), "current_step_index": 2}, 60, "new", False),
        ("past the last step", {"new": new(10), "recorded": sent(80), "current_step_index": 4}, 100, "new", False),
        (
            "past the last step, not reached",
            {"new": new(10, 9), "recorded": sent(80), "current_step_index": 4},
            80,
            "new",
            False,
        ),
        ("no steps", {"new": new(10), "recorded": sent(0), "raw": routed(steps=[], routes=("beta",))}, 0, "new", False),
        (
            "stale Git",
            {"new": new(6), "recorded": sent(40), "current_step_index": 2, "leave": Leave(stale=True)},
            40,
            "new",
            False,
        ),
        (
            "edited outside Git",
            {"new": new(6, 5), "recorded": sent(50), "current_step_index": 3, "leave": Leave(edited=True)},
            50,
            "new",
            False,
        ),
        (
            "back to a gate",
            {
                "new": new(6),
                "recorded": sent(60),
                "current_step_index": 3,
                "leave": Leave(back_to=1),
                "raw": routed(steps=STEPS),
            },
            20,
            "new",
            False,
        ),
    ],
)
def test_each_situation_has_its_weight(
    row: str, state: dict[str, Any], weight: int, pod_hash: str, removes: bool
) -> None:
    """§15.1, the table."""
    here = scene(**{"stable": OLD, **state})
    wanted = traffic.target(here)
    assert wanted is not None, row
    assert (wanted.weight, wanted.pod_hash) == (weight, pod_hash), row
    actions = traffic.route(here, wanted).actions
    removed = [isinstance(action, RemoveManagedRoutes) for action in actions[:2]]
    # an abort's weights come first: nothing that fails may keep the traffic on the canary (§11.3)
    assert removed == ([False, removes] if here.aborted else [removes, False][: len(removed)]), row


def test_nothing_is_routed_before_a_version_is_stable() -> None:
    """§15.1"""
    here = scene(new(10), None, stable_hash="")
    assert traffic.target(here) is None
    assert traffic.route(here, None).actions == ()


@pytest.mark.parametrize(
    ("available", "weight", "threshold", "is_open"),
    [
        (10, 0, None, True),
        (9, 0, None, False),
        (4, 60, None, True),
        (3, 60, None, False),
        (0, 100, None, True),
        (8, 0, {"type": "Percent", "value": 80}, True),
        (7, 0, {"type": "Percent", "value": 80}, False),
        (5, 0, {"type": "Pods", "value": 5}, True),
        (5, 0, {"type": "Pods", "value": -1}, False),
    ],
)
def test_the_stable_gate(available: int, weight: int, threshold: dict[str, Any] | None, is_open: bool) -> None:
    """§15.1 step 1: below ⌊(max − weight)·R/max⌋ available pods nothing is told, unless the threshold is met."""
    raw = routed(steps=[{"setWeight": weight}], replicaProgressThreshold=threshold)
    here = scene(new(10), version("old", 10, available), recorded=sent(50), raw=raw)
    told = traffic.route(here, traffic.Target(weight, "new"))
    assert any(isinstance(action, RouteTraffic) for action in told.actions) == is_open
    assert told.weights == (sent(weight) if is_open and weight != 50 else sent(50))


@pytest.mark.parametrize(
    ("row", "state", "short"),
    [
        ("pods for its weight", {"new": new(4), "recorded": sent(40), "current_step_index": 1}, ""),
        ("fewer", {"new": new(10, 3), "recorded": sent(40), "promote_full": True}, "web-new"),
        ("more to come, enough for now", {"new": new(10, 4), "recorded": sent(40), "promote_full": True}, ""),
        ("no weight yet", {"new": new(2, 1), "current_step_index": 0}, ""),
        ("an abort", {"new": new(4, 3), "raw": DYNAMIC, "recorded": sent(40), "abort": True}, ""),
        (
            "as many as a setCanaryScale gives it",
            {
                "new": new(3),
                "recorded": sent(90),
                "raw": routed(steps=[{"setCanaryScale": {"replicas": 3}}, {"setWeight": 90}]),
                "current_step_index": 1,
            },
            "",
        ),
        (
            "as many as the threshold asks for",
            {
                "new": new(10, 3),
                "recorded": sent(40),
                "raw": routed(steps=LADDER, replicaProgressThreshold={"type": "Percent", "value": 70}),
                "promote_full": True,
            },
            "",
        ),
        (
            "back to stable with dynamicStableScale",
            {**same(2), "raw": DYNAMIC, "recorded": sent(80, "was", "new"), "others": (version("was", 8, 3),)},
            "",
        ),
    ],
)
def test_a_hash_waits_only_for_pods_that_the_weight_needs(row: str, state: dict[str, Any], short: str) -> None:
    """§15.3 *Delay*: the stable gate has seen to the stable version already, and a way back waits for nothing."""
    here = scene(**{"stable": OLD, **state})
    wanted = traffic.target(here)
    assert wanted is not None
    told = [one.short for one in traffic.route(here, wanted).actions if isinstance(one, RouteTraffic)]
    assert told == [short], row


def test_a_stable_version_that_is_gone_gets_no_traffic() -> None:
    """§15.1 step 1"""
    here = scene(new(10), None, recorded=sent(50), current_step_index=1)
    assert traffic.route(here, traffic.Target(40, "new")).actions == ()


@pytest.mark.parametrize(
    ("row", "stable", "size", "available", "recorded", "weight"),
    [
        ("nothing recorded: what stable lacks", 4, 6, 6, None, 60),
        ("nothing recorded, stable whole", 10, 6, 6, None, 0),
        ("step back, stable able", 4, 8, 8, 80, 60),
        ("stable not able for the next step", 2, 8, 8, 80, 80),
        ("the smaller of step and current", 8, 4, 4, 10, 10),
        ("below the first step: what stable lacks", 9, 1, 1, 20, 10),
        ("below the first step, stable whole", 10, 1, 1, 20, 0),
        ("another version recorded", 4, 8, 8, None, 60),
        ("no pod of the canary", 4, 8, 0, 80, 0),
    ],
)
def test_an_abort_with_dynamic_stable_scale(
    row: str, stable: int, size: int, available: int, recorded: int | None, weight: int
) -> None:
    """§15.2, §8.4"""
    known = None if recorded is None else sent(recorded)
    here = scene(new(size, available), version("old", 10, stable), recorded=known, raw=DYNAMIC, abort=True)
    wanted = traffic.target(here)
    assert wanted is not None
    assert wanted.weight == weight, row


def test_an_aborted_version_gets_nothing_of_what_another_had() -> None:
    """§15.2: "current" is the weight of newRS."""
    here = scene(
        new(3), version("old", 10, 4), recorded=sent(60, "was"), raw=DYNAMIC, abort=True, others=(version("was", 6),)
    )
    wanted = traffic.target(here)
    assert wanted is not None
    assert wanted.weight == 0
    assert traffic.route(here, wanted).weights == sent(60, "was"), "the gate keeps it where the pods are"


SCALE = {"setCanaryScale": {"replicas": 3}}
WEIGH = {"setCanaryScale": {"weight": 70}}
MATCH = {"setCanaryScale": {"matchTrafficWeight": True}}


@pytest.mark.parametrize(
    ("row", "steps", "index", "canary", "status", "sizes"),
    [
        ("setWeight", [{"setWeight": 25}], 0, {}, {}, (3, 10)),
        ("no setWeight yet", [{"pause": {}}, {"setWeight": 25}], 0, {}, {}, (0, 10)),
        ("past the last step", [{"setWeight": 25}], 1, {}, {}, (10, 10)),
        ("no steps", [], None, {}, {}, (10, 10)),
        ("replicas", [{"setWeight": 25}, SCALE], 1, {}, {}, (3, 10)),
        ("weight", [WEIGH], 0, {}, {}, (7, 10)),
        ("kept by later steps", [SCALE, {"setWeight": 90}], 1, {}, {}, (3, 10)),
        ("cancelled", [SCALE, {"setWeight": 90}, MATCH], 2, {}, {}, (9, 10)),
        ("not past the last step", [SCALE], 1, {}, {}, (10, 10)),
        ("not under promoteFull", [SCALE], 0, {}, {"promote_full": True}, (10, 10)),
        ("not aborted", [SCALE], 0, {}, {"abort": True}, (0, 10)),
        ("aborted without a delay", [SCALE], 0, {"abortScaleDownDelaySeconds": 0}, {"abort": True}, (3, 10)),
        ("least pods", [{"setWeight": 1}], 0, {"minPodsPerReplicaSet": 4}, {}, (4, 10)),
        ("least pods, R at most", [{"setWeight": 1}], 0, {"minPodsPerReplicaSet": 40}, {}, (10, 10)),
        ("least pods of none", [{"setWeight": 0}], 0, {"minPodsPerReplicaSet": 4}, {}, (0, 10)),
        ("dynamic", [{"setWeight": 25}], 0, {"dynamicStableScale": True}, {}, (3, 8)),
        ("dynamic with replicas", [SCALE], 0, {"dynamicStableScale": True}, {}, (3, 10)),
        ("dynamic with weight", [WEIGH], 0, {"dynamicStableScale": True}, {}, (7, 3)),
        (
            "dynamic with least pods",
            [{"setWeight": 95}],
            0,
            {"dynamicStableScale": True, "minPodsPerReplicaSet": 2},
            {},
            (10, 2),
        ),
    ],
)
def test_the_sizes_of_a_step(
    row: str,
    steps: list[dict[str, Any]],
    index: int | None,
    canary: dict[str, Any],
    status: dict[str, Any],
    sizes: tuple[int, int],
) -> None:
    """§8.2, §8.4: (canary, stable), wherever the traffic is."""
    raw = routed(steps=steps, **canary)
    here = scene(NONE, OLD, raw=raw, **{"current_step_index": index, **status})
    assert routed_sizes.split(here, index) == sizes, row


@pytest.mark.parametrize(
    ("row", "recorded", "proven", "stable"),
    [
        ("traffic has gone", sent(60), True, 4),
        ("traffic is still there", sent(20), True, 8),
        ("no weights known", None, True, 10),
        ("weights of other versions", sent(60, "a", "b"), True, 10),
        ("the routers don't know of its promotion", sent(90, "old", "was"), True, 10),
        ("not confirmed", sent(60), False, 10),
    ],
)
def test_stable_shrinks_only_for_traffic_that_has_gone(
    row: str, recorded: TrafficWeights | None, proven: bool, stable: int
) -> None:
    """§8.4 "actual"."""
    here = scene(new(6), OLD, recorded=recorded, raw=DYNAMIC, current_step_index=2)
    assert routed_sizes.next_sizes(here, Traffic(sent(60), proven)).stable == stable, row


def test_weights_of_any_size_do_no_harm() -> None:
    """A stored weight may be anything: nothing is sized or routed beyond the whole."""
    wild = TrafficWeights(
        canary=WeightDestination(weight=2**31 - 1, pod_template_hash="new"),
        stable=WeightDestination(weight=-5, pod_template_hash="old"),
    )
    for raw in (DYNAMIC, routed(steps=LADDER)):
        for status in ({}, {"abort": True}, {"promote_full": True}, {"current_step_index": 10**9}):
            here = scene(new(3), OLD, recorded=wild, raw=raw, **status)
            wanted = traffic.target(here)
            assert wanted is not None
            assert 0 <= wanted.weight <= 100
            sizes = routed_sizes.next_sizes(here, traffic.route(here, wanted).traffic)
            assert 0 <= sizes.new <= 10
            assert 0 <= sizes.stable <= 10
    assert replace(here, new=new(3)).whole == 100
