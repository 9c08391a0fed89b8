"""The pods of a routed canary: how many, how long, and after which traffic (docs/behaviour.md §8.2–8.7)."""

from __future__ import annotations

import pytest

from engine.routed_world import routed, running
from gitops_rollouts.api.names import SCALE_DOWN_DEADLINE


def test_an_aborted_canary_without_a_delay_goes_at_once() -> None:
    """§2.4 ``abortScaleDownDelaySeconds: 0``."""
    world = running(routed(abortScaleDownDelaySeconds=0))
    world.update()
    world.abort()
    assert world.sizes() == {"web:v1": 10, "web:v2": 0}
    assert world.note("web:v2", SCALE_DOWN_DEADLINE) is None


def test_an_aborted_canary_waits_for_the_stable_version_first() -> None:
    """§8.7 "Abort", §15.1 "Stable gate": no traffic moves to a stable version that can't carry it."""
    world = running(routed(abortScaleDownDelaySeconds=0))
    world.update()
    for pod in world.by_image("web:v1").pods[:3]:
        pod.available = False
    world.slow = True
    world.abort()
    assert world.routed[-1].canary.weight == 20
    assert world.sizes() == {"web:v1": 10, "web:v2": 2}
    world.slow = False
    world.settle()
    assert world.routed[-1].canary.weight == 0
    assert world.sizes() == {"web:v1": 10, "web:v2": 0}


@pytest.mark.parametrize(("seconds", "limit", "left"), [(0, None, 0), (None, 0, 0), (600, None, 10)])
def test_the_former_stable_version_waits_as_long_as_the_spec_says(
    seconds: int | None, limit: int | None, left: int
) -> None:
    """§8.7: an explicit delay of 0 means at once, a limit of 0 that none may wait."""
    world = running(routed(steps=[], scaleDownDelaySeconds=seconds, scaleDownDelayRevisionLimit=limit))
    world.update()
    assert world.status["phase"] == "Healthy"
    assert world.sizes() == {"web:v1": left, "web:v2": 10}
    if left:
        # it may outlast the progress deadline
        world.pass_time(599)
        assert world.sizes()["web:v1"] == 10
        assert world.condition("Progressing")["reason"] != "ProgressDeadlineExceeded"  # type: ignore[index]
        world.pass_time(1)
        assert world.sizes()["web:v1"] == 0


def test_only_the_newest_wait() -> None:
    """§8.7 ``scaleDownDelayRevisionLimit``"""
    world = running(routed(replicas=2, steps=[], scaleDownDelaySeconds=100, scaleDownDelayRevisionLimit=1))
    world.update()
    world.update("web:v3")
    assert world.sizes() == {"web:v1": 0, "web:v2": 2, "web:v3": 2}


def test_a_resize_keeps_the_weight() -> None:
    """§8.8: pods follow the new size, and the weight never leaves what they can carry."""
    world = running(routed())
    world.update()
    world.resume()
    world.weights()
    world.edit(replicas=5)
    world.settle()
    assert world.sizes() == {"web:v1": 5, "web:v2": 3}
    world.edit(replicas=20)
    world.settle()
    assert world.sizes() == {"web:v1": 20, "web:v2": 12}
    assert world.routed[-1].canary.weight == 60


def test_a_step_down_takes_the_traffic_before_the_pods() -> None:
    """§15.1: a lower weight needs no pods."""
    world = running(routed(steps=[{"setWeight": 60}, {"pause": {}}, {"setWeight": 10}, {"pause": {}}]))
    world.update()
    world.resume()
    assert world.weights() == [0, 60, 10]
    assert world.sizes() == {"web:v1": 10, "web:v2": 1}


def test_a_canary_sized_apart_from_its_traffic() -> None:
    """§2.5, §8.2 ``setCanaryScale``: until matchTrafficWeight; an abort puts it out of force."""
    steps = [
        {"setCanaryScale": {"replicas": 3}},
        {"pause": {}},
        {"setWeight": 10},
        {"pause": {}},
        {"setCanaryScale": {"weight": 70}},
        {"pause": {}},
        {"setCanaryScale": {"matchTrafficWeight": True}},
        {"setWeight": 20},
        {"pause": {}},
    ]
    world = running(routed(steps=steps))
    world.update()
    assert (world.weights(), world.sizes()["web:v2"]) == ([0], 3)
    world.resume()
    assert (world.weights(), world.sizes()["web:v2"]) == ([0, 10], 3)
    world.resume()
    assert (world.weights(), world.sizes()["web:v2"]) == ([10], 7)
    world.resume()
    assert (world.weights(), world.sizes()["web:v2"]) == ([10, 20], 2)
    world.abort()
    world.pass_time(31)
    assert world.sizes() == {"web:v1": 10, "web:v2": 0}


def test_a_first_step_that_sizes_keeps_an_aborted_canary_without_delay() -> None:
    """§2.4 ``abortScaleDownDelaySeconds: 0``: a setCanaryScale stays honoured."""
    steps = [{"setCanaryScale": {"replicas": 3}}, {"setWeight": 20}, {"pause": {}}]
    world = running(routed(steps=steps, abortScaleDownDelaySeconds=0))
    world.update()
    world.abort()
    assert world.sizes() == {"web:v1": 10, "web:v2": 3}
    assert world.routed[-1].canary.weight == 0


def test_no_version_has_fewer_pods_than_the_least() -> None:
    """§8.4 ``minPodsPerReplicaSet``: of 0 pods it says nothing, and it never asks for more than R."""
    world = running(routed(replicas=4, minPodsPerReplicaSet=3, steps=[{"setWeight": 1}, {"pause": {}}]))
    world.update()
    assert world.sizes() == {"web:v1": 4, "web:v2": 3}
    world.edit(replicas=2)
    world.settle()
    assert world.sizes() == {"web:v1": 2, "web:v2": 2}


@pytest.mark.parametrize("threshold", [{"type": "Percent", "value": 80}, {"type": "Pods", "value": 8}])
def test_a_progress_threshold_lets_an_update_pass_a_few_bad_pods(threshold: dict[str, object]) -> None:
    """§8.6: for the weights, the steps, the promotion and the stable version's capacity."""
    world = running(routed(replicaProgressThreshold=threshold, steps=[{"setWeight": 90}]), strict=False)
    world.wait()
    world.set_image("web:v2")
    world.once()
    for _ in range(12):
        world.slow = False
        world.run_pods()
        for pod in world.by_image("web:v2").pods[8:]:
            pod.available = False
        world.once()
    assert world.status["stableRS"] == world.hash("web:v2")
    assert world.available() < 20
