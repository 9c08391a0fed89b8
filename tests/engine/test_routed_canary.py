"""Whole updates of a canary whose traffic is routed (docs/behaviour.md §8.4, §9, §11, §14, §15), in a model cluster."""

from __future__ import annotations

from typing import Any

from engine.world import World, at, deployed, manifest
from gitops_rollouts.api.names import POD_TEMPLATE_HASH, SCALE_DOWN_DEADLINE
from gitops_rollouts.engine.plan import Destination, RouteTraffic

STEPS: list[dict[str, Any]] = [{"setWeight": 20}, {"pause": {}}, {"setWeight": 60}, {"pause": {}}]


def routed(
    *, replicas: int = 10, steps: list[dict[str, Any]] | None = None, routes: tuple[str, ...] = (), **canary: Any
) -> dict[str, Any]:
    routing = {"plugins": {"test/router": {}}, "managedRoutes": [{"name": name} for name in routes]}
    whole = {"canaryService": "canary", "stableService": "stable", "trafficRouting": routing, **canary}
    return manifest(replicas=replicas, steps=STEPS if steps is None else steps, canary=whole)


def running(raw: dict[str, Any]) -> World:
    """A world in which the first version runs and gets all traffic."""
    return deployed(raw, services=True)


def weights(world: World) -> list[int]:
    """The canary weights that the routers were told since the last call, repeats left out."""
    found: list[int] = []
    for told in world.routed:
        if not found or found[-1] != told.canary.weight:
            found.append(told.canary.weight)
    del world.routed[:-1]
    return found


def resume(world: World) -> None:
    world.patch_status(pauseConditions=None)
    world.settle()


def hash_of(world: World, image: str) -> str:
    return world.by_image(image).spec.labels[POD_TEMPLATE_HASH]


def selects(world: World, service: str) -> str:
    return str(world.services[service].selector.get(POD_TEMPLATE_HASH, ""))


def test_a_first_deploy_reaches_the_routers_once_it_is_whole() -> None:
    """§15.1 "Stable gate"."""
    world = World(routed())
    from gitops_rollouts.engine.observed import Service

    for name in ("stable", "canary"):
        world.services[name] = Service(name, {"app": "web"})
    world.slow = True
    world.settle()
    assert world.routed == []
    assert "weights" not in world.status["canary"]
    world.slow = False
    world.settle()
    v1 = hash_of(world, "web:v1")
    assert world.routed == [RouteTraffic(Destination("canary", v1, 0), Destination("stable", v1, 100))]
    assert world.status["phase"] == "Healthy"
    assert [event.message for event in world.events if event.reason == "TrafficWeightUpdated"] == [
        "Traffic weight updated to 0"
    ]


def test_a_whole_update_moves_pods_then_traffic_then_services() -> None:
    """§9.2, §15.1, §11.10: weight follows pods, the old pods follow the weight."""
    world = running(routed())
    v1 = hash_of(world, "web:v1")
    world.routed.clear()
    world.set_image("web:v2")
    world.settle()
    v2 = hash_of(world, "web:v2")
    assert weights(world) == [0, 20]
    assert world.sizes() == {"web:v1": 10, "web:v2": 2}
    assert world.status["phase"] == "Paused"
    assert world.status["canary"]["weights"] == {
        "canary": {"weight": 20, "serviceName": "canary", "podTemplateHash": v2},
        "stable": {"weight": 80, "serviceName": "stable", "podTemplateHash": v1},
    }
    assert (selects(world, "stable"), selects(world, "canary")) == (v1, v2)
    assert "Traffic weight updated from 0 to 20" in [event.message for event in world.events]
    resume(world)
    assert weights(world) == [20, 60]
    assert world.sizes() == {"web:v1": 10, "web:v2": 6}
    world.events.clear()
    resume(world)
    assert weights(world) == [60, 100, 0]
    assert world.status["stableRS"] == v2
    assert (selects(world, "stable"), selects(world, "canary")) == (v2, v2)
    assert world.routed[-1] == RouteTraffic(Destination("canary", v2, 0), Destination("stable", v2, 100))
    assert world.status["phase"] == "Healthy"
    assert world.condition("Healthy")["status"] == "False"  # type: ignore[index]
    old = world.by_image("web:v1").spec
    assert old.replicas == 10
    assert old.annotations[SCALE_DOWN_DEADLINE] == at(31)
    assert world.plans[-1].look_again is not None
    world.pass_time(30)
    assert world.sizes() == {"web:v1": 0, "web:v2": 10}
    assert SCALE_DOWN_DEADLINE not in world.by_image("web:v1").spec.annotations
    assert world.condition("Healthy")["status"] == "True"  # type: ignore[index]
