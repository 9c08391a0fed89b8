"""Routed sizes, weights and gates of docs/behaviour.md §8.4, §15.1, §15.2 against `slow_model`."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

from engine import slow_model
from engine.slow_model import SetScale, Step
from engine.world import START, manifest
from gitops_rollouts.api.names import POD_TEMPLATE_HASH
from gitops_rollouts.api.rollout import parse_rollout
from gitops_rollouts.api.status import RolloutStatus
from gitops_rollouts.engine import routed_sizes, traffic
from gitops_rollouts.engine.desired import ladder
from gitops_rollouts.engine.observed import Observed, ReplicaSet
from gitops_rollouts.engine.scene import Scene
from gitops_rollouts.engine.traffic import Target

LADDERS: list[list[Step]] = [
    [],
    [20, None, 60, None],
    [50, 10, 90],
    [None, 25, None, 75, 100],
    [SetScale(replicas=3), None, 40, SetScale(match=True), None, 80],
    [SetScale(weight=30), 10, None, SetScale(weight=70), 90],
]


def spelled(step: Step) -> dict[str, Any]:
    """The step as a manifest has it; one of another kind is a pause."""
    if step is None:
        return {"pause": {}}
    if isinstance(step, int):
        return {"setWeight": step}
    if step.replicas is not None:
        return {"setCanaryScale": {"replicas": step.replicas}}
    if step.weight is not None:
        return {"setCanaryScale": {"weight": step.weight}}
    return {"setCanaryScale": {"matchTrafficWeight": True}}


def replica_set(name: str, size: int = 0, available: int = 0) -> ReplicaSet:
    return ReplicaSet(
        name=name,
        uid=name,
        created=START,
        labels={POD_TEMPLATE_HASH: name},
        annotations={},
        owner_uid="rollout-uid",
        selector={},
        template={},
        replicas=size,
        current=size,
        ready=available,
        available=available,
    )


def scene_of(steps: list[Step], replicas: int, **canary: Any) -> Scene:
    """An update from ``old`` to ``new`` in the middle of its steps."""
    fields = {"trafficRouting": {"plugins": {"example/router": {}}}, **canary}
    raw = manifest(replicas=replicas, steps=[spelled(step) for step in steps], canary=fields)
    return Scene(
        observed=Observed(rollout=parse_rollout(raw)),
        now=START,
        status=RolloutStatus(stable_rs="old", current_pod_hash="new", current_step_index=0 if steps else None),
        new=replica_set("new"),
        stable=replica_set("old"),
        others=(),
        step_hash="",
    )


def with_status(scene: Scene, **changes: Any) -> Scene:
    return replace(scene, status=scene.status.model_copy(update=changes))


def test_sizes_of_every_step() -> None:
    """§8.2, §8.4: each step of each ladder, with and without dynamicStableScale and minPodsPerReplicaSet."""
    for steps, replicas, dynamic, least in product(LADDERS, range(11), (False, True), (None, 2, 7)):
        fields = {"dynamicStableScale": dynamic} | ({} if least is None else {"minPodsPerReplicaSet": least})
        scene = scene_of(steps, replicas, **fields)
        for index in range(len(steps) + 1) if steps else ():
            told = routed_sizes.split(with_status(scene, current_step_index=index), index)
            scale = slow_model.scale_at(steps, index)
            weight = slow_model.set_weight_at(steps, index, 100)
            fixed = None
            if scale is not None:
                fixed, weight = scale.replicas, 0 if scale.weight is None else scale.weight
            slow = (
                slow_model.routed_canary(replicas, weight, fixed, least or 0),
                slow_model.routed_stable(replicas, weight, None, dynamic=dynamic, minimum=least or 0),
            )
            assert told == slow, (steps, replicas, dynamic, least, index)


def test_the_ladder_of_every_abort() -> None:
    """§8.4 "Abort weight with dynamicStableScale", then §15.2."""
    recorded = {None: None} | {weight: weights(weight) for weight in (0, 10, 45, 60, 100)}
    for steps, replicas, delay in product(LADDERS, (0, 1, 2, 5, 10), (None, 5)):
        fields = {} if delay is None else {"abortScaleDownDelaySeconds": delay}
        scene = with_status(scene_of(steps, replicas, dynamicStableScale=True, **fields), abort=True)
        for old, new in product(range(replicas + 1), repeat=2):
            pods = replace(scene, stable=replica_set("old", old, old), new=replica_set("new", new, new))
            desired = slow_model.abort_ladder(
                steps, replicas, stable_serving=old, new_serving=new, explicit_delay=delay is not None
            )
            assert ladder(pods) == desired, (steps, replicas, delay, old, new)
            for told, weights_of in recorded.items():
                canary = pods.status.canary.model_copy(update={"weights": weights_of})
                found = traffic.target(with_status(pods, canary=canary))
                assert found is not None
                slow = 0 if new == 0 else slow_model.weight_on_abort(desired, replicas, old, told)
                assert found.weight == slow, (steps, replicas, delay, old, new, told)


def weights(weight: int) -> Any:
    raw = {
        "canary": {"weights": {"canary": {"weight": weight, "podTemplateHash": "new"}, "stable": {"weight": 0}}},
    }
    return parse_rollout({**manifest(), "status": raw}).status.canary.weights


def test_the_gate_of_every_weight() -> None:
    """§15.1 step 1, with another max weight too; without a pod stable gets nothing at all, however small (§24)."""
    for replicas, most in product(range(9), (100, 1000, 3)):
        routing = {"plugins": {"example/router": {}}, "maxTrafficWeight": most}
        scene = scene_of([most], replicas, trafficRouting=routing)
        for available, weight in product(range(replicas + 1), range(0, most + 1, max(1, most // 20))):
            stable = replace(scene, stable=replica_set("old", available, available))
            told = traffic.opens(stable, Target(weight, "new"))
            serves = available > 0 or replicas == 0 or weight == most
            assert told == (serves and slow_model.gate_open(weight, replicas, available, most))
