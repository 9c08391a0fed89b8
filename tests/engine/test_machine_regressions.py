"""What random lives have found, told as short as it can be."""

from __future__ import annotations

from typing import Any

import pytest

from engine.lives import RoughWorld
from engine.routed_world import RoutedWorld, running
from engine.routed_world import routed as manifest_routed
from engine.world import deployed, manifest
from gitops_rollouts.engine.observed import Authority, RoutersSeen


def test_an_index_below_zero_while_git_holds_an_edit() -> None:
    """A client wrote nonsense, and somebody edited outside Git: nothing to do, but no crash either (§3, §7)."""
    world = deployed(manifest(replicas=2), authority=Authority("prod", fresh=True, applied=True))
    world.authority = Authority("prod", fresh=True, applied=False)
    world.patch_status(currentStepIndex=-7)
    world.edit(replicas=3)
    world.settle()
    assert world.sizes() == {"web:v1": 3}


PING_PONG = {
    "trafficRouting": {"plugins": {"example/router": {}}},
    "pingPong": {"pingService": "ping", "pongService": "pong"},
}


@pytest.mark.parametrize("told", [{}, {"stablePingPong": "pong"}])
def test_ping_and_pong_keep_their_sides_when_the_status_loses_them(told: dict[str, Any]) -> None:
    """Somebody replaced ``status.canary``: the Service that has the traffic isn't given to pods that don't exist."""
    world = RoughWorld(manifest(replicas=2, steps=[{"setWeight": 50}, {"pause": {}}], canary=PING_PONG))
    world.settle()
    assert world.status["canary"]["stablePingPong"] == "ping"
    stable = world.hash_behind("ping")
    world.patch_status(canary=told)
    world.wait()
    world.set_image("web:v2")
    for _ in range(12):
        world.once()
        assert world.hash_behind("ping") == stable
        world.run_pods()
    assert world.status["canary"]["stablePingPong"] == "ping"
    assert world.hash_behind("pong") == world.status["currentPodHash"]


def test_a_side_of_ping_pong_keeps_its_traffic_until_the_routers_know_of_the_promotion() -> None:
    """A bigger size keeps the weights as they are, then a third version comes: it isn't given all traffic (§14.3)."""
    world = RoughWorld(manifest(replicas=2, canary=PING_PONG))
    world.settle()
    world.wait()
    world.set_image("web:v2")
    first = world.hash_behind("ping")
    while world.status["stableRS"] == first:
        world.once()
        world.run_pods()
    assert world.status["canary"]["stablePingPong"] == "pong"
    world.slow = True
    world.edit(replicas=5)
    world.wait()
    world.set_image("web:v3")
    for _ in range(12):
        world.once()
        assert world.hash_behind("ping") == first
    world.slow = False
    world.settle()
    assert world.status["phase"] == "Healthy"
    assert world.told_by_service()[world.status["stableRS"]] == 100


def routed(**canary: Any) -> RoutedWorld:
    """60 % of the traffic are on a second version; its steps pause there."""
    world = running(manifest_routed(**canary), strict=False)
    world.update()
    world.resume()
    assert world.routed[-1].canary.weight == 60
    return world


@pytest.mark.parametrize("again", ["edited", "retried"])
def test_an_update_that_starts_anew_with_traffic_comes_down_to_its_first_weight(again: str) -> None:
    """With dynamicStableScale neither version waits for the other for ever: traffic, then pods (§8.4, §15.1)."""
    world = routed(dynamicStableScale=True)
    if again == "edited":
        world.set_steps([{"setWeight": 20}, {"pause": {}}])
    else:
        world.patch_status(abort=True)
        world.once()
        world.patch_status(abort=False)
    world.settle()
    assert world.routed[-1].canary.weight == 20
    assert world.sizes() == {"web:v1": 8, "web:v2": 2}
    assert (world.status["phase"], world.status["currentStepIndex"]) == ("Paused", 1)


@pytest.mark.parametrize("sides", [False, True])
@pytest.mark.parametrize("trouble", ["stable lacks a pod", "routers fail"])
def test_a_third_version_does_not_get_the_traffic_of_the_second_on_its_first_pods(trouble: str, sides: bool) -> None:
    """The canary's Service stays with the pods that its weight is for until the routers know better (§14.2, §14.3)."""
    names: dict[str, Any] = {"canaryService": None, "stableService": None, **PING_PONG} if sides else {}
    world = RoughWorld(manifest_routed(dynamicStableScale=True, **names))
    world.settle()
    world.wait()
    world.set_image("web:v2")
    world.settle()
    world.patch_status(pauseConditions=None)
    world.settle()
    second, canary = world.hash_behind("pong" if sides else "canary"), "pong" if sides else "canary"
    assert world.told_by_service()[second] == 60
    world.wait()
    world.set_image("web:v3")
    world.routers_down = trouble == "routers fail"
    for _ in range(12):
        world.once()
        world.run_pods()
        if not world.routers_down:
            world.by_image("web:v1").pods[0].available = False
        assert world.hash_behind(canary) == second
        assert world.sizes()["web:v2"] == 6
    assert world.sizes()["web:v3"] == 2
    world.routers_down = False
    for _ in range(12):
        before = world.told_by_service()
        world.once()
        assert world.sizes()["web:v2"] == 6 or not (before | world.told_by_service()).get(second)
        world.run_pods()
    world.settle()
    assert world.sizes() == {"web:v1": 8, "web:v2": 0, "web:v3": 2}
    assert world.told_by_service() == {world.status["stableRS"]: 80, world.status["currentPodHash"]: 20}


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("most", [60, 5000])
def test_weights_of_another_max_weight_keep_their_share(most: int, dynamic: bool) -> None:
    """600 of 1000 recorded, then maxTrafficWeight changes and somebody promotes: no jump, no pod less (§8.4, §15.1)."""
    steps: list[dict[str, Any]] = [{"setWeight": 50}, {"pause": {}}]
    world = running(manifest_routed(most=1000, steps=steps, dynamicStableScale=dynamic), strict=False)
    world.update()
    world.wait()
    assert world.routed[-1].canary.weight == 50
    before = world.traffic()
    world.slow = True
    routing = {**world.raw["spec"]["strategy"]["canary"]["trafficRouting"], "maxTrafficWeight": most}
    world.edit(strategy={"canary": {**world.raw["spec"]["strategy"]["canary"], "trafficRouting": routing}})
    world.patch_status(promoteFull=True)
    stable = world.sizes()["web:v1"]
    for _ in range(6):
        world.once()
        world.run_pods()
        second = world.by_image("web:v2").spec.name
        serving = sum(pod.available for pod in world.by_image("web:v2").pods)
        assert world.traffic()[second] <= max(before[second], serving / 10)
        assert world.sizes()["web:v1"] >= min(stable, 10 * (1 - world.traffic()[second]))
    world.slow = False
    world.settle()
    assert world.status["stableRS"] == world.status["currentPodHash"]


@pytest.mark.parametrize("answer", [RoutersSeen(verified=False, verifies=True), RoutersSeen(verifies=True, error="no")])
def test_nothing_that_may_still_have_traffic_goes_before_the_routers_confirm(answer: RoutersSeen) -> None:
    """A third version, and an abort without a delay: the pods stay until the weights are proven (§8.4, §8.7)."""
    world = routed(abortScaleDownDelaySeconds=0)
    world.routers = answer
    world.wait()
    world.set_image("web:v3")
    for _ in range(12):
        world.once()
        world.run_pods()
    assert world.routed[-1].canary.weight in (0, 20)
    assert world.sizes()["web:v2"] == 6
    world.routers = RoutersSeen(verified=True, verifies=True)
    world.settle()
    assert world.sizes() == {"web:v1": 10, "web:v2": 0, "web:v3": 2}
    world.routers = answer
    world.patch_status(abort=True)
    for _ in range(12):
        world.once()
        world.run_pods()
    assert world.routed[-1].canary.weight == 0
    assert world.sizes()["web:v3"] == 2
    world.routers = RoutersSeen(verified=True, verifies=True)
    world.settle()
    assert world.sizes()["web:v3"] == 0


def test_an_old_canary_stays_when_its_weight_was_lost_from_the_status() -> None:
    """Going back to stable, whose pods fail, with nonsense for weights: the routers' pods aren't taken (§8.7)."""
    world = routed(dynamicStableScale=True)
    world.patch_status(canary={"weights": {"canary": {"weight": -5}, "stable": {"weight": 900}}})
    world.set_image("web:v1")
    world.slow = True
    for _ in range(8):
        world.once()
        world.run_pods()
    assert world.routed[-1].canary.weight == 60
    assert world.sizes() == {"web:v1": 10, "web:v2": 6}
    world.slow = False
    world.settle()
    assert world.sizes() == {"web:v1": 10, "web:v2": 0}


@pytest.mark.parametrize("lost", ["all", "the canary's"])
def test_the_canary_side_stays_when_the_status_lost_the_weights(lost: str) -> None:
    """What the routers have isn't known: ping-pong doesn't move a side from pods that serve to none (§14.3)."""
    world = RoughWorld(manifest_routed(dynamicStableScale=True, canaryService=None, stableService=None, **PING_PONG))
    world.settle()
    world.wait()
    world.set_image("web:v2")
    world.settle()
    second = world.hash_behind("pong")
    if lost == "all":
        world.patch_status(canary={})
    else:
        recorded = world.status["canary"]["weights"]
        recorded["canary"]["weight"], recorded["stable"]["weight"] = 0, 100
    world.wait()
    world.set_image("web:v3")
    for _ in range(12):
        before = world.told_by_service()
        world.once()
        third = sum(pod.available for pod in world.by_image("web:v3").pods) if "web:v3" in world.sizes() else 0
        assert world.hash_behind("pong") == second or third or not before.get(second)
        world.run_pods()


def test_stable_does_not_shrink_for_traffic_that_the_same_pass_gives_back() -> None:
    """With dynamicStableScale a full promotion that loses pods gives traffic back to pods that stay (§8.4)."""
    world = running(manifest_routed(dynamicStableScale=True), strict=False)
    world.update()
    world.slow = True
    world.patch_status(promoteFull=True)
    world.settle()
    stable, canary = world.by_image("web:v1"), world.by_image("web:v2")
    assert (stable.spec.replicas, len(canary.pods)) == (8, 10)
    for serving, weight in ((9, 90), (4, 40)):
        for number, pod in enumerate(canary.pods):
            pod.available = number < serving
        world.once()
        assert world.routed[-1].canary.weight == weight
        assert stable.spec.replicas * 10 >= 100 - weight


def test_a_share_too_small_for_a_pod_does_not_go_to_a_stable_version_without_any() -> None:
    """All traffic is on the canary, stable is gone, and the steps say 90 % now: a pod first (§15.1 "stable gate")."""
    steps: list[dict[str, Any]] = [{"setWeight": 90}, {"setWeight": 100}, {"pause": {}}]
    world = running(manifest_routed(replicas=3, dynamicStableScale=True, steps=steps), strict=False)
    world.update()
    assert world.sizes() == {"web:v1": 0, "web:v2": 3}
    world.set_steps([{"setWeight": 90}, {"pause": {}}])
    world.settle()  # the world checks that weight grows only where a pod is available
    assert world.routed[-1].canary.weight == 90
    assert world.sizes() == {"web:v1": 1, "web:v2": 3}


def test_a_first_version_that_never_came_up_gets_no_traffic_from_the_second() -> None:
    """Nothing was sent to routers yet: the gate isn't open for a stable version without a pod (§15.1, §24)."""
    steps = [{"setWeight": 20}, {"pause": {"duration": 5}}, {"setWeight": 60}]
    world = RoughWorld(manifest_routed(replicas=1, steps=steps))
    world.set_image("web:broken")
    world.settle()
    assert not world.routed
    never_up = world.status["stableRS"]
    world.set_image("web:v1")
    for _ in range(20):
        world.once()
        world.run_pods()
        world.wait(5)
        assert all(told.canary.weight == told.max_weight for told in world.routed if told.stable.pod_hash == never_up)
    assert world.status["stableRS"] == world.status["currentPodHash"] != never_up


def test_a_promoted_version_keeps_its_pods_until_the_routers_know_that_it_is_stable() -> None:
    """Both Services select it and routers still hold its weight as the canary: that is all traffic (§8.4)."""
    world = RoughWorld(manifest_routed(replicas=5, steps=[{"setWeight": 20}, {"pause": {}}], dynamicStableScale=True))
    world.settle()
    world.wait()
    world.set_image("web:v2")
    world.settle()
    world.routers_down = True
    world.set_steps([])
    world.settle()
    promoted = world.status["stableRS"]
    assert promoted == world.status["currentPodHash"] == world.hash_behind("stable")
    assert world.status["canary"]["weights"]["canary"]["weight"] == 20
    world.wait()
    world.routers_down = False
    world.by_image("web:v2").pods[0].available = False
    world.set_image("web:v3")
    for _ in range(6):
        world.once()
        assert world.sizes()["web:v2"] == 5
    world.settle()
    assert world.status["stableRS"] == world.status["currentPodHash"] != promoted


def test_an_aborted_canary_with_the_only_pods_that_serve_keeps_them() -> None:
    """The routers gave it traffic, and the status that said so was lost (§8.7)."""
    world = RoughWorld(manifest_routed(replicas=1, steps=[{"setWeight": 50}, {"pause": {}}], dynamicStableScale=True))
    world.settle()
    world.wait()
    world.set_image("web:v2")
    world.settle()
    assert world.sizes() == {"web:v1": 1, "web:v2": 1}
    told = world.status["canary"]["weights"]
    lost = {"canary": {**told["canary"], "weight": 0}, "stable": {**told["stable"], "weight": 100}}
    for pod in world.by_image("web:v1").pods:
        pod.available = False
    world.patch_status(canary={"weights": lost}, abort=True)
    for _ in range(4):
        world.once()
        assert world.sizes()["web:v2"] == 1
    world.settle()
    assert world.sizes() == {"web:v1": 1, "web:v2": 0}
