"""Whole updates of a canary whose traffic is routed (docs/behaviour.md §8.4, §9, §11, §14, §15), in a model cluster.

The model itself watches that weight only goes where pods are, and that pods only go where no weight is.
"""

from __future__ import annotations

from datetime import timedelta

from engine.routed_world import STEPS, RoutedWorld, routed, running
from engine.world import at
from gitops_rollouts.api.names import SCALE_DOWN_DEADLINE
from gitops_rollouts.engine.plan import Destination, RemoveManagedRoutes, RouteTraffic


def test_a_first_deploy_reaches_the_routers_once_it_is_whole() -> None:
    """§15.1 "Stable gate"."""
    world = RoutedWorld(routed())
    world.slow = True
    world.settle()
    assert world.routed == []
    assert "weights" not in world.status["canary"]
    world.slow = False
    world.settle()
    v1 = world.hash("web:v1")
    assert world.routed == [RouteTraffic(Destination("canary", v1, 0), Destination("stable", v1, 100))]
    assert world.status["phase"] == "Healthy"
    assert [event.message for event in world.events if event.reason == "TrafficWeightUpdated"] == [
        "Traffic weight updated to 0"
    ]


def test_a_whole_update_moves_pods_then_traffic_then_services() -> None:
    """§9.2, §15.1, §11.10: weight follows pods, the old pods follow the weight."""
    world = running(routed())
    v1 = world.hash("web:v1")
    world.update()
    v2 = world.hash("web:v2")
    assert world.weights() == [0, 20]
    assert world.sizes() == {"web:v1": 10, "web:v2": 2}
    assert world.status["phase"] == "Paused"
    assert world.status["canary"]["weights"] == {
        "canary": {"weight": 20, "serviceName": "canary", "podTemplateHash": v2},
        "stable": {"weight": 80, "serviceName": "stable", "podTemplateHash": v1},
    }
    assert (world.selects("stable"), world.selects("canary")) == (v1, v2)
    messages = [event.message for event in world.events if event.reason == "TrafficWeightUpdated"]
    assert messages == ["Traffic weight updated ", "Traffic weight updated from 0 to 20"]
    world.resume()
    assert world.weights() == [20, 60]
    assert world.sizes() == {"web:v1": 10, "web:v2": 6}
    world.resume()
    assert world.weights() == [60, 100]
    assert world.status["stableRS"] == v2
    assert (world.selects("stable"), world.selects("canary")) == (v2, v2)
    world.pass_time(5)
    assert world.weights() == [100, 0]
    assert (world.selects("stable"), world.selects("canary")) == (v2, v2)
    assert world.routed[-1] == RouteTraffic(Destination("canary", v2, 0), Destination("stable", v2, 100))
    assert world.status["phase"] == "Healthy"
    assert world.condition("Healthy")["status"] == "False"  # type: ignore[index]
    assert world.sizes() == {"web:v1": 10, "web:v2": 10}
    assert world.note("web:v1", SCALE_DOWN_DEADLINE) == at(32)
    assert world.plans[-1].look_again is not None
    world.pass_time(30)
    assert world.sizes() == {"web:v1": 0, "web:v2": 10}
    assert world.note("web:v1", SCALE_DOWN_DEADLINE) is None
    assert world.condition("Healthy")["status"] == "True"  # type: ignore[index]


def test_the_promoting_pass_leaves_all_traffic_on_the_canary() -> None:
    """§11.10: the next pass points the stable Service at the new pods, which are known as its own at weight 0."""
    world = running(routed(steps=[{"setWeight": 50}]))
    v1 = world.hash("web:v1")
    world.wait()
    world.set_image("web:v2")
    while world.status["stableRS"] == v1:
        world.once()
        world.run_pods()
    assert world.routed[-1].canary.weight == 100
    assert world.selects("stable") == v1
    plan = world.once()
    assert "PointService" in [type(action).__name__ for action in plan.actions]
    assert world.selects("stable") == world.hash("web:v2")
    for _ in range(5):
        assert world.routed[-1].canary.weight == 100
        assert world.status["phase"] == "Healthy"
        again = world.once().look_again
        assert again is not None
        assert again <= timedelta(seconds=5)
        world.pass_time(1)
    assert world.routed[-1].canary.weight == 0


def test_a_promotion_that_ended_long_ago_or_in_the_future_keeps_no_weight() -> None:
    """§11.10: a process that comes back late, or a clock that was set back, doesn't wait."""
    for seconds in (-3600, 3600):
        world = running(routed(steps=[{"setWeight": 50}]))
        v1 = world.hash("web:v1")
        world.wait()
        world.set_image("web:v2")
        while world.status["stableRS"] == v1:
            world.once()
            world.run_pods()
        world.now += timedelta(seconds=seconds)
        assert world.once().actions
        assert world.routed[-1].canary.weight == 100
        world.once()
        assert world.routed[-1].canary.weight == 0


def test_an_abort_takes_the_traffic_at_once_and_the_pods_later() -> None:
    """§11.3, §8.7 "Abort", §14.2: and a retry drops the deadline and starts at step 0."""
    world = running(routed())
    world.update()
    world.resume()
    v1 = world.hash("web:v1")
    world.weights()
    world.events.clear()
    world.abort()
    assert world.weights() == [60, 0]
    assert world.sizes() == {"web:v1": 10, "web:v2": 6}
    assert world.selects("canary") == v1
    assert world.note("web:v2", SCALE_DOWN_DEADLINE) == at(32)
    assert world.status["phase"] == "Degraded"
    assert world.status["currentStepIndex"] == 0
    assert world.reasons().count("SwitchService") == 1
    world.pass_time(29)
    assert world.sizes() == {"web:v1": 10, "web:v2": 6}
    world.retry()
    assert world.note("web:v2", SCALE_DOWN_DEADLINE) is None
    assert world.weights() == [0, 20]
    assert world.sizes() == {"web:v1": 10, "web:v2": 2}
    assert world.selects("canary") == world.hash("web:v2")
    world.abort()
    world.pass_time(30)
    assert world.sizes() == {"web:v1": 10, "web:v2": 0}
    assert world.note("web:v2", SCALE_DOWN_DEADLINE) is not None
    assert world.condition("Progressing")["reason"] == "RolloutAborted"  # type: ignore[index]


def test_the_status_of_an_abort_claims_no_weight_that_was_not_sent() -> None:
    """docs/decisions.md §4: an abort's status goes first, so its weights follow in the next pass, with their event."""
    world = running(routed())
    world.update()
    world.events.clear()
    world.patch_status(abort=True)
    world.once(only=1)
    assert world.status["phase"] == "Degraded"
    assert world.status["canary"]["weights"]["canary"]["weight"] == 20
    assert world.routed[-1].canary.weight == 20
    world.settle()
    assert world.status["canary"]["weights"]["canary"]["weight"] == 0
    changes = [event.message for event in world.events if event.reason == "TrafficWeightUpdated"]
    assert changes == ["Traffic weight updated from 20 to 0"]


def test_a_canary_that_lost_its_pods_gets_no_traffic() -> None:
    """§15.1: traffic on a canary without a pod goes to what the stable version has, before the hashes move."""
    world = running(routed(), strict=False)
    world.update()
    world.slow = True
    world.by_image("web:v1").pods[0].available = False
    for pod in world.by_image("web:v2").pods:
        pod.available = False
    world.settle()
    assert world.routed[-1].canary.weight == 0
    assert any(told.drain_first for told in world.routed)
    world.slow = False
    world.settle()
    assert world.routed[-1].canary.weight == 20


def test_a_full_promotion_keeps_the_weight_until_the_canary_is_whole() -> None:
    """§11.9"""
    world = running(routed(routes=("beta",)))
    world.update()
    world.managed_routes = {"beta"}
    world.slow = True
    world.patch_status(promoteFull=True, pauseConditions=None)
    world.settle()
    assert world.weights() == [0, 20]
    assert world.sizes() == {"web:v1": 10, "web:v2": 10}
    assert world.managed_routes == set()
    world.slow = False
    world.settle()
    world.pass_time(5)
    assert world.weights() == [20, 0]
    assert world.status["stableRS"] == world.hash("web:v2")
    assert world.status["phase"] == "Healthy"


def test_back_to_stable_in_the_middle_of_an_update() -> None:
    """§11.5: no steps, the traffic back at once, and the canary after its delay."""
    world = running(routed())
    world.update()
    world.resume()
    world.weights()
    world.update("web:v1")
    assert world.weights() == [60, 0]
    assert world.status["phase"] == "Healthy"
    assert world.sizes() == {"web:v1": 10, "web:v2": 6}
    assert world.note("web:v2", SCALE_DOWN_DEADLINE) is not None
    world.pass_time(31)
    assert world.sizes() == {"web:v1": 10, "web:v2": 0}


def test_another_template_in_the_middle_of_an_update() -> None:
    """§15.1, §8.7: the first canary loses its traffic before its pods, and goes at once as it never was stable."""
    world = running(routed())
    world.update()
    world.resume()
    world.weights()
    world.wait()
    world.slow = True
    world.set_image("web:v3")
    world.settle()
    assert world.weights() == [60, 0]
    assert world.sizes() == {"web:v1": 10, "web:v2": 6, "web:v3": 2}, "the canary Service still selects it"
    assert world.selects("canary") == world.hash("web:v2")
    world.slow = False
    world.settle()
    assert world.weights() == [0, 20]
    assert world.sizes() == {"web:v1": 10, "web:v2": 0, "web:v3": 2}
    assert world.selects("canary") == world.hash("web:v3")


def test_without_steps_the_canary_gets_traffic_by_promotion_alone() -> None:
    """§15.1 "no steps at all"."""
    world = running(routed(steps=[]))
    world.update()
    assert world.weights() == [0]
    assert world.routed[-1].stable.pod_hash == world.hash("web:v2")


def test_header_and_mirror_routes_are_set_while_their_step_is_current() -> None:
    """§2.5, §15.1 step 2: only from revision 2 on, and gone after the promotion."""
    header = {"name": "beta", "match": [{"headerName": "x-beta", "headerValue": {"exact": "1"}}]}
    mirror = {"name": "copy", "match": [{"method": {"exact": "GET"}}], "percentage": 50}
    steps = [
        {"setCanaryScale": {"replicas": 1}},
        {"setHeaderRoute": header},
        {"setMirrorRoute": mirror},
        {"pause": {}},
        {"setHeaderRoute": {"name": "beta"}},
        {"pause": {}},
    ]
    world = running(routed(steps=steps, routes=("beta", "copy")))
    assert not any(told.header_route or told.mirror_route for told in world.routed)
    world.update()
    assert world.managed_routes == {"beta", "copy"}
    assert world.status["currentStepIndex"] == 3
    assert all(told.header_route is None or told.canary.pod_hash == world.hash("web:v2") for told in world.routed)
    world.resume()
    assert world.managed_routes == {"copy"}
    world.resume()
    assert world.managed_routes == set()
    assert world.status["phase"] == "Healthy"


def test_a_header_step_is_not_over_before_its_route_is_there() -> None:
    """§15.1, §24: the stable gate holds the step, too."""
    header = {"name": "beta", "match": [{"headerName": "x-beta", "headerValue": {"exact": "1"}}]}
    world = running(routed(steps=[{"setWeight": 20}, {"pause": {}}, {"setHeaderRoute": header}], routes=("beta",)))
    world.update()
    world.slow = True
    for pod in world.by_image("web:v1").pods[:5]:
        pod.available = False
    world.resume()
    assert world.status["currentStepIndex"] == 2
    assert world.managed_routes == set()
    world.slow = False
    world.settle()
    assert world.status["phase"] == "Healthy"


def test_managed_routes_are_only_removed_where_there_can_be_some() -> None:
    """§15.1"""
    plain, managed = running(routed()), running(routed(routes=("beta",)))
    for world in (plain, managed):
        world.update()
        world.plans.clear()
        world.abort()
    removed = [
        sum(isinstance(action, RemoveManagedRoutes) for plan in world.plans for action in plan.actions)
        for world in (plain, managed)
    ]
    assert removed[0] == 0
    assert removed[1] > 0


def test_ping_and_pong_change_roles_at_each_promotion() -> None:
    """§14.3, §3 ``stablePingPong``: the Services keep their pods, only the weights move."""
    world = running(
        routed(pingPong={"pingService": "ping", "pongService": "pong"}, canaryService=None, stableService=None)
    )
    v1 = world.hash("web:v1")
    assert world.status["canary"]["stablePingPong"] == "ping"
    assert world.selects("ping") == v1
    assert world.routed[-1].stable == Destination("ping", v1, 100)
    world.update()
    v2 = world.hash("web:v2")
    assert (world.selects("ping"), world.selects("pong")) == (v1, v2)
    assert world.routed[-1] == RouteTraffic(Destination("pong", v2, 20), Destination("ping", v1, 80))
    assert world.status["canary"]["weights"]["canary"] == {"weight": 20, "podTemplateHash": v2}
    world.resume()
    world.resume()
    assert world.status["canary"]["stablePingPong"] == "pong"
    assert (world.selects("ping"), world.selects("pong")) == (v1, v2)
    assert world.routed[-1] == RouteTraffic(Destination("ping", v2, 0), Destination("pong", v2, 100))
    world.update("web:v3")
    v3 = world.hash("web:v3")
    assert (world.selects("ping"), world.selects("pong")) == (v3, v2)
    assert world.routed[-1].canary == Destination("ping", v3, 20)
    world.abort()
    assert world.status["canary"]["stablePingPong"] == "pong"
    assert (world.selects("ping"), world.selects("pong")) == (v3, v2)
    assert world.routed[-1].stable == Destination("pong", v2, 100)
    world.retry()
    world.resume()
    world.resume()
    assert world.status["canary"]["stablePingPong"] == "ping"
    assert world.status["phase"] == "Healthy"


def test_all_weights_may_count_to_another_maximum() -> None:
    """§2.6 ``maxTrafficWeight``"""
    world = running(routed(replicas=4, most=1000, steps=[{"setWeight": 250}, {"pause": {}}]))
    world.update()
    assert world.sizes() == {"web:v1": 4, "web:v2": 1}
    assert world.routed[-1].stable.weight == 750
    assert world.routed[-1].max_weight == 1000
    world.resume()
    world.pass_time(5)
    assert world.weights() == [0, 250, 1000, 0]


def test_routing_without_a_router_moves_pods_alone() -> None:
    """§3 ``canary.weights``: absent without routers."""
    raw = routed(steps=STEPS)
    raw["spec"]["strategy"]["canary"]["trafficRouting"] = {}
    world = running(raw)
    world.update()
    assert world.routed == []
    assert "weights" not in world.status["canary"]
    assert world.sizes() == {"web:v1": 10, "web:v2": 2}
    world.resume()
    world.resume()
    assert world.status["phase"] == "Healthy"


def test_an_abort_gives_stable_at_once_what_its_pods_can_carry() -> None:
    """§15.2: a stable version that lacks a pod doesn't leave the traffic where the failure is."""
    world = running(routed())
    world.update()
    world.resume()
    assert world.weights() == [0, 20, 60]
    world.slow = True
    world.by_image("web:v1").pods[0].available = False
    world.patch_status(abort=True)
    world.settle()
    assert world.routed[-1].canary.weight == 10
    assert world.status["canary"]["weights"]["stable"]["weight"] == 90
    assert world.sizes()["web:v2"] > 0
    world.slow = False
    world.settle()
    assert world.routed[-1].canary.weight == 0
    assert world.status["phase"] == "Degraded"
    world.pass_time(31)
    assert world.sizes() == {"web:v1": 10, "web:v2": 0}
