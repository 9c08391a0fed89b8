"""Blue-green sizes of docs/behaviour.md §8.5, and the counts of §8.6, over grids against `slow_model`."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import product
from typing import Any

import pytest

from engine import slow_model
from engine.slow_model import Beside, Group, Leaving, Step
from engine.test_routed_grid import LADDERS, replica_set, scene_of, spelled, with_status
from engine.world import START, manifest
from gitops_rollouts.api.meta import format_time
from gitops_rollouts.api.names import POD_TEMPLATE_HASH, SCALE_DOWN_DEADLINE
from gitops_rollouts.api.rollout import parse_rollout
from gitops_rollouts.api.status import BlueGreenStatus, PauseCondition, RolloutStatus
from gitops_rollouts.engine import scaling, traffic
from gitops_rollouts.engine.blue_green import sizes
from gitops_rollouts.engine.blue_green.roles import roles_of
from gitops_rollouts.engine.delay import deadline_of
from gitops_rollouts.engine.observed import Observed, ReplicaSet, Service
from gitops_rollouts.engine.scene import Scene
from gitops_rollouts.engine.traffic import Target

# --- §8.5


def blue_green(
    active: str | None, *, status: RolloutStatus, new: ReplicaSet, spec: dict[str, Any], **strategy: Any
) -> Scene:
    """An update from ``old`` to ``new``. ``active``: the hash that the active Service selects."""
    fields = {"activeService": "active", **{key: value for key, value in strategy.items() if value is not None}}
    selector = {"app": "web"} | ({} if active is None else {POD_TEMPLATE_HASH: active})
    raw = manifest(blue_green=fields, **spec)
    return Scene(
        observed=Observed(rollout=parse_rollout(raw), services={"active": Service("active", selector)}),
        now=START,
        status=status,
        new=new,
        stable=replica_set("old", 2, 2),
        others=(replica_set("other", 1, 1),),
        step_hash="",
    )


SHORTCUTS = (None, "promote full", "rollback window", "scale-down delay")
PAUSES = (None, "spec.paused", "BlueGreenPause", "InconclusiveAnalysisRun")


def shortened(shortcut: str | None) -> tuple[ReplicaSet, dict[str, Any]]:
    """The new version, and the spec, of an update that needs no pause for this reason (§10.5)."""
    older = replace(replica_set("new"), created=START - timedelta(hours=1))
    if shortcut == "rollback window":
        return older, {"rollbackWindow": {"revisions": 2}}
    if shortcut == "scale-down delay":
        left = format_time(START + timedelta(seconds=20))
        return replace(older, annotations={SCALE_DOWN_DEADLINE: left}), {}
    return replica_set("new"), {}


def test_blue_green_sizes_of_every_state() -> None:
    """§8.5: stable always R; new R or the preview's size."""
    compared = 0
    states = product(
        (0, 1, 10), (None, 0, 3, 12), (None, "old", "other", "new", "gone"), SHORTCUTS, PAUSES, (False, True)
    )
    for replicas, preview, active, shortcut, pause, check_point in states:
        new, spec = shortened(shortcut)
        status = RolloutStatus(
            stable_rs="old",
            current_pod_hash="new",
            promote_full=shortcut == "promote full",
            pause_conditions=(PauseCondition(reason=pause, start_time=START),)
            if pause and pause != "spec.paused"
            else (),
            blue_green=BlueGreenStatus(scale_up_preview_check_point=check_point),
        )
        spec |= {"replicas": replicas, "paused": pause == "spec.paused"}
        scene = blue_green(active, status=status, new=new, spec=spec, previewReplicaCount=preview)
        told = sizes.scale(scene, roles_of(scene), analysed=True)
        slow = slow_model.blue_green_new(
            replicas,
            preview,
            active=active in ("old", "other", "new"),
            active_is_new=active == "new",
            needs_no_pause=shortcut is not None,
            paused=pause is not None,
            check_point=check_point,
        )
        stable = told.scene.stable
        assert stable is not None
        assert (told.scene.new.replicas, stable.replicas) == (slow, replicas), (
            replicas, preview, active, shortcut, pause, check_point,
        )  # fmt: skip
        assert told.target == slow
        compared += 1
    assert compared == 3 * 4 * 5 * 4 * 4 * 2


def test_blue_green_sizes_of_every_abort() -> None:
    """§8.5 "Aborted": the way out of the new version, by its size, its deadline and who serves."""
    states = product((0, 1, 4), (0, 1, 2, 4), (None, -5, 0, 7), (None, 0, 9), (0, 1, 3, 4), ("old", "new", "gone"))
    for replicas, size, seconds, delay, serving, active in states:
        if size > replicas:
            continue
        new = replica_set("new", size, size)
        if seconds is not None:
            new = replace(new, annotations={SCALE_DOWN_DEADLINE: format_time(START + timedelta(seconds=seconds))})
        status = RolloutStatus(stable_rs="old", current_pod_hash="new", abort=True)
        spec = {"replicas": replicas}
        scene = blue_green(active, status=status, new=new, spec=spec, abortScaleDownDelaySeconds=delay)
        scene = replace(scene, stable=replica_set("old", replicas, serving))
        told = sizes.scale(scene, roles_of(scene), analysed=True)
        slow = slow_model.blue_green_aborted(
            Leaving(size, seconds),
            whole=serving >= replicas,
            selected=active == "new",
            delay=30 if delay is None else delay,
        )
        deadlines = [
            action.annotations[SCALE_DOWN_DEADLINE]
            for action in told.actions
            if getattr(action, "name", "") == "new" and SCALE_DOWN_DEADLINE in getattr(action, "annotations", {})
        ]
        end = deadline_of(deadlines[-1] if deadlines else new.annotations.get(SCALE_DOWN_DEADLINE))
        left = None if end is None else round((end - START).total_seconds())
        assert Leaving(told.scene.new.replicas, left) == slow, (replicas, size, seconds, delay, serving, active)


# --- §8.6

THRESHOLDS: tuple[tuple[str | None, int], ...] = (
    (None, -1), ("Percent", -1), ("Percent", 0), ("Percent", 1), ("Percent", 33), ("Percent", 50), ("Percent", 67),
    ("Percent", 99), ("Percent", 100), ("Pods", -1), ("Pods", 0), ("Pods", 1), ("Pods", 3), ("Pods", 99),
)  # fmt: skip
COUNTED = THRESHOLDS[:3] + THRESHOLDS[5:8] + THRESHOLDS[10:]


def thresholds(kind: str | None, value: int) -> dict[str, Any]:
    return {} if kind is None else {"replicaProgressThreshold": {"type": kind, "value": value}}


def counted(steps: list[Step], replicas: int, *, routed: bool, dynamic: bool, **canary: Any) -> Scene:
    """An update at whatever step."""
    if routed:
        return scene_of(steps, replicas, dynamicStableScale=dynamic, **canary)
    raw = manifest(replicas=replicas, steps=[spelled(step) for step in steps], canary={"maxSurge": 1, **canary})
    scene = scene_of(steps, replicas)
    return replace(scene, observed=Observed(rollout=parse_rollout(raw)))


def wanted_at(steps: list[Step], index: int, replicas: int, *, routed: bool, dynamic: bool) -> tuple[int, int]:
    weight = slow_model.set_weight_at(steps, index, 100)
    if not routed:
        return slow_model.approximate_weighted(replicas, weight, 0 if replicas == 0 else 1)
    scale = slow_model.scale_at(steps, index)
    fixed = None
    if scale is not None:
        fixed, weight = scale.replicas, 0 if scale.weight is None else scale.weight
    stable = slow_model.routed_stable(replicas, weight, None, dynamic=dynamic)
    return slow_model.routed_canary(replicas, weight, fixed), stable


def stables(wanted: int) -> tuple[Beside | None, ...]:
    """None, the wanted one, and those of which one number isn't."""
    return None, Beside(wanted, wanted), Beside(wanted, wanted + 1), Beside(wanted + 1, wanted), Beside(0, 0)


@pytest.mark.parametrize(("routed", "dynamic"), [(False, False), (True, False), (True, True)])
def test_the_counts_of_every_state(*, routed: bool, dynamic: bool) -> None:
    """§8.6 of new, stable and others, at steps of each kind."""
    for steps, replicas, (kind, value) in product((LADDERS[1], LADDERS[4]), (0, 1, 3), COUNTED):
        if not routed and any(isinstance(step, slow_model.SetScale) for step in steps):
            continue
        scene = counted(steps, replicas, routed=routed, dynamic=dynamic, **thresholds(kind, value))
        for index in (0, 2):
            wanted = wanted_at(steps, index, replicas, routed=routed, dynamic=dynamic)
            here = with_status(scene, current_step_index=index)
            sized = ((size, serving) for size in range(replicas + 2) for serving in {0, size // 2, size})
            for (size, serving), stable, other in product(sized, stables(wanted[1]), (0, 1)):
                seen = replace(
                    here,
                    new=replica_set("new", size, serving),
                    stable=None if stable is None else replace(replica_set("old", stable.size), current=stable.current),
                    others=(replica_set("other", 1, other),),
                )
                slow = slow_model.at_desired_counts(
                    wanted, Group(size, serving), stable, other,
                    kind=kind, value=value, routed=routed, dynamic=dynamic,
                )  # fmt: skip
                assert scaling.reached(seen, index) == slow, (
                    steps, index, replicas, kind, value, size, serving, stable, other,
                )  # fmt: skip


def test_the_promotion_of_every_state() -> None:
    """§8.6, §9.3: what the new version alone must have, with and without a threshold."""
    for replicas, (kind, value) in product(range(8), THRESHOLDS):
        scene = scene_of([20, None], replicas, **thresholds(kind, value))
        for size in range(replicas + 2):
            for serving in range(size + 1):
                told = scaling.enough_to_promote(replace(scene, new=replica_set("new", size, serving)))
                slow = slow_model.enough_alone(replicas, size, serving, kind, value)
                assert told == slow, (replicas, kind, value, size, serving)


def test_the_gate_of_every_threshold() -> None:
    """§8.6, §15.1 step 1: the threshold relaxes what the stable version must be able to carry, but not to no pod."""
    for replicas, (kind, value), weight in product((0, 1, 3, 6), THRESHOLDS, (0, 20, 50, 66, 100)):
        scene = scene_of([20, None], replicas, **thresholds(kind, value))
        needed = (100 - weight) * replicas // 100
        for size in range(replicas + 2):
            for serving in range(size + 1):
                told = traffic.opens(replace(scene, stable=replica_set("old", size, serving)), Target(weight, "new"))
                slow = slow_model.gate_open(weight, replicas, serving) or (
                    kind is not None and slow_model.enough(needed, size, serving, kind, value)
                )
                slow = slow and (serving > 0 or replicas == 0 or weight == 100)
                assert told == slow, (replicas, kind, value, weight, size, serving)
