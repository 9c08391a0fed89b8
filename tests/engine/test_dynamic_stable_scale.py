"""A stable version that shrinks as its traffic does, and grows before it comes back (docs/behaviour.md §8.4, §15.2)."""

from __future__ import annotations

from typing import Any

from engine.routed_world import RoutedWorld, routed, running
from gitops_rollouts.api.names import SCALE_DOWN_DEADLINE
from gitops_rollouts.engine.plan import PatchReplicaSet, RouteTraffic

LADDER: list[dict[str, Any]] = [
    {"setWeight": 20},
    {"setWeight": 40},
    {"setWeight": 60},
    {"setWeight": 80},
    {"pause": {}},
]


def at_80(**canary: Any) -> RoutedWorld:
    world = running(routed(steps=LADDER, dynamicStableScale=True, **canary))
    world.update()
    world.weights()
    assert world.sizes() == {"web:v1": 2, "web:v2": 8}
    return world


def test_the_stable_version_shrinks_one_pass_after_its_traffic() -> None:
    """§8.4: "actual" are the weights of the pass before."""
    world = running(routed(steps=[{"setWeight": 50}, {"pause": {}}], dynamicStableScale=True))
    v1 = world.by_image("web:v1").spec.name
    world.plans.clear()
    world.update()
    assert world.sizes() == {"web:v1": 5, "web:v2": 5}
    sent = next(
        number
        for number, plan in enumerate(world.plans)
        if any(isinstance(action, RouteTraffic) and action.canary.weight == 50 for action in plan.actions)
    )
    shrunk = next(
        number
        for number, plan in enumerate(world.plans)
        if any(
            isinstance(action, PatchReplicaSet) and (action.name, action.replicas) == (v1, 5) for action in plan.actions
        )
    )
    assert shrunk == sent + 1
    world.resume()
    assert world.sizes() == {"web:v1": 0, "web:v2": 10}, "nothing waits with dynamicStableScale"
    assert world.note("web:v1", SCALE_DOWN_DEADLINE) is None
    assert world.status["phase"] == "Healthy"


def test_an_abort_steps_back_through_the_weights() -> None:
    """§8.4 "Abort weight", §15.2: traffic goes as the stable version comes, and pods go after it."""
    world = at_80()
    world.abort()
    told = world.weights()
    assert told == sorted(told, reverse=True)
    assert set(told) <= {80, 60, 40, 20, 0}
    assert {60, 40, 20} & set(told)
    assert world.sizes() == {"web:v1": 10, "web:v2": 0}
    assert world.selects("canary") == world.hash("web:v1")
    world.retry()
    assert world.sizes() == {"web:v1": 2, "web:v2": 8}
    assert world.selects("canary") == world.hash("web:v2")


def test_an_abort_waits_while_the_stable_version_cannot_grow() -> None:
    """§15.2: "stable not yet able" keeps the weight, and the canary its pods and its Service."""
    world = at_80()
    world.slow = True
    world.abort()
    assert world.weights() == [80]
    assert world.sizes() == {"web:v1": 4, "web:v2": 8}
    assert world.selects("canary") == world.hash("web:v2")
    world.slow = False
    world.settle()
    assert world.sizes() == {"web:v1": 10, "web:v2": 0}


def test_an_explicit_abort_delay_keeps_the_canary_and_brings_stable_up_at_once() -> None:
    """§2.4, §8.7 ``delayOnAbort``"""
    world = at_80(abortScaleDownDelaySeconds=20)
    world.abort()
    assert world.sizes() == {"web:v1": 10, "web:v2": 8}
    assert world.routed[-1].canary.weight == 0
    assert world.note("web:v2", SCALE_DOWN_DEADLINE) is not None
    world.pass_time(21)
    assert world.sizes() == {"web:v1": 10, "web:v2": 0}


def test_back_to_stable_freezes_the_weights_until_it_is_whole() -> None:
    """§11.5: the canary Service and the former canary stay, then all of it goes in one step."""
    world = at_80()
    v2 = world.hash("web:v2")
    world.slow = True
    world.update("web:v1")
    assert world.sizes() == {"web:v1": 10, "web:v2": 8}
    assert world.routed[-1].canary.weight == 80
    assert world.routed[-1].canary.pod_hash == v2
    assert world.selects("canary") == v2
    assert world.status["canary"]["weights"]["canary"]["podTemplateHash"] == v2
    world.slow = False
    world.settle()
    assert world.weights() == [80, 0]
    assert world.selects("canary") == world.hash("web:v1")
    assert world.sizes() == {"web:v1": 10, "web:v2": 0}
    assert world.status["phase"] == "Healthy"


def test_a_full_promotion_moves_the_traffic_as_pods_come() -> None:
    """§15.1 promoteFull with dynamicStableScale: max · available / R, rounded down."""
    world = running(routed(steps=LADDER[:1] + LADDER[-1:], dynamicStableScale=True))
    world.update()
    world.slow = True
    world.patch_status(promoteFull=True, pauseConditions=None)
    world.settle()
    for pod in world.by_image("web:v2").pods[:5]:
        pod.available = True
    world.settle()
    assert world.routed[-1].canary.weight == 50
    world.slow = False
    world.settle()
    assert world.sizes() == {"web:v1": 0, "web:v2": 10}
    assert world.status["phase"] == "Healthy"


def test_both_versions_keep_their_least_number_of_pods() -> None:
    """§8.4: both through minPodsPerReplicaSet."""
    world = running(routed(steps=[{"setWeight": 95}, {"pause": {}}], dynamicStableScale=True, minPodsPerReplicaSet=2))
    world.update()
    assert world.sizes() == {"web:v1": 2, "web:v2": 10}


def test_another_template_brings_the_stable_version_back_first() -> None:
    """§8.4, §15.1: the first canary keeps its traffic until the stable version can take it."""
    world = at_80()
    world.wait()
    world.slow = True
    world.set_image("web:v3")
    world.settle()
    assert world.routed[-1].canary.weight == 80
    assert world.sizes()["web:v1"] == 8, "what the first step leaves to it"
    assert world.sizes()["web:v2"] == 8
    world.slow = False
    world.settle()
    assert world.sizes() == {"web:v1": 2, "web:v2": 0, "web:v3": 8}


def test_a_step_down_brings_the_stable_version_up_first() -> None:
    """§8.4, §15.1"""
    world = running(
        routed(steps=[{"setWeight": 80}, {"pause": {}}, {"setWeight": 30}, {"pause": {}}], dynamicStableScale=True)
    )
    world.update()
    world.slow = True
    world.resume()
    assert world.routed[-1].canary.weight == 80
    assert world.sizes() == {"web:v1": 7, "web:v2": 8}
    world.slow = False
    world.settle()
    assert world.routed[-1].canary.weight == 30
    assert world.sizes() == {"web:v1": 7, "web:v2": 3}


def test_a_resize_keeps_what_both_versions_carry() -> None:
    """§8.8"""
    world = at_80()
    world.edit(replicas=20)
    world.settle()
    assert world.sizes() == {"web:v1": 4, "web:v2": 16}
    world.edit(replicas=5)
    world.settle()
    assert world.sizes() == {"web:v1": 1, "web:v2": 4}
