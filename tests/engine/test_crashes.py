"""A process dies in the middle of a plan: the next one ends where it would have ended (docs/decisions.md §4 I9)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.lives import SERVICES
from engine.world import World, manifest
from gitops_rollouts.engine.observed import Authority, Service, TreeAbort

STEPS = [{"setWeight": 40}, {"pause": {}}, {"setWeight": 80}, {"pause": {"duration": "5s"}}]
BAD = TreeAbort("0123456789abcdef0123456789abcdef01234567", "bad")
Deed = Callable[[World], None]


def _image(image: str) -> Deed:
    def deed(world: World) -> None:
        world.wait()
        world.set_image(image)

    return deed


def _git(**changes: Any) -> Deed:
    def deed(world: World) -> None:
        world.authority = Authority("prod", **{"fresh": True, "applied": True, **changes})

    return deed


DEEDS: dict[str, Deed] = {
    "v2": _image("web:v2"),
    "v1": _image("web:v1"),
    "broken": _image("web:broken"),
    "approve": _git(approved_through=1),
    "withdraw": _git(),
    "full": _git(full=True),
    "an intent": _git(intent="1" * 12),
    "another intent": _git(intent="2" * 12),
    "abort in git": _git(abort=BAD),
    "abort": lambda world: world.patch_status(abort=True),
    "retry": lambda world: world.patch_status(abort=False),
    "resume": lambda world: world.patch_status(pauseConditions=None),
    "resize": lambda world: world.edit(replicas=7 - world.raw["spec"]["replicas"]),
    "later": lambda world: world.wait(100),
}


def outcome(world: World) -> dict[str, Any]:
    status = world.status
    return {
        "sizes": world.sizes(),
        "phase": status["phase"],
        "message": status.get("message"),
        "index": status.get("currentStepIndex"),
        "stable": status["stableRS"],
        "services": {name: dict(service.selector) for name, service in world.services.items()},
        "revision": world.raw["metadata"]["annotations"],
        "revisions": {name: kept.spec.annotations for name, kept in world.sets.items()},
        "weights": status.get("canary"),
        "told": world.routed[-1] if world.routed else None,
        "pauses": [pause["reason"] for pause in status.get("pauseConditions", [])],
    }


ROUTED = {"trafficRouting": {"plugins": {"example/router": {}}}, "stableService": "stable", "canaryService": "canary"}
KINDS: dict[str, dict[str, Any]] = {
    "basic": {"stableService": "stable", "canaryService": "canary"},
    "routed": ROUTED,
    "dynamic": {**ROUTED, "dynamicStableScale": True},
    "delayed": {**ROUTED, "scaleDownDelaySeconds": 60, "abortScaleDownDelaySeconds": 60},
    "ping-pong": {
        "trafficRouting": ROUTED["trafficRouting"],
        "pingPong": {"pingService": "ping", "pongService": "pong"},
    },
}
SCENARIO: dict[str, Any] = {
    "kind": st.sampled_from(sorted(KINDS)),
    "deeds": st.lists(st.sampled_from(sorted(DEEDS)), min_size=1, max_size=5),
    "deaths": st.lists(st.integers(0, 6), min_size=1, max_size=12),
    "managed": st.booleans(),
}


@settings(max_examples=40, deadline=None)
@given(**SCENARIO)
def test_a_death_changes_nothing(kind: str, deeds: list[str], deaths: list[int], managed: bool) -> None:
    live_and_die(kind, deeds, deaths, managed)


@pytest.mark.long
@settings(max_examples=3000, deadline=None)
@given(**SCENARIO)
def test_many_deaths_change_nothing(kind: str, deeds: list[str], deaths: list[int], managed: bool) -> None:
    live_and_die(kind, deeds, deaths, managed)


def live_and_die(kind: str, deeds: list[str], deaths: list[int], managed: bool) -> None:
    """The same deeds in a world where processes live and in one where they die: equal outcomes."""
    raw = manifest(
        replicas=4,
        steps=STEPS,
        canary=KINDS[kind],
        progressDeadlineSeconds=60,
        progressDeadlineAbort=True,
    )
    worlds = [World(copy.deepcopy(raw), authority=None) for _ in range(2)]
    for world in worlds:
        world.services = {name: Service(name, {"app": "web"}) for name in SERVICES}
        if managed:
            _git()(world)
    steady, mortal = worlds
    remaining = list(deaths)
    for deed in ["v1", *deeds]:
        if not managed and DEEDS[deed].__qualname__.startswith("_git"):
            continue
        for world in worlds:
            DEEDS[deed](world)
        while remaining:
            mortal.once(only=remaining.pop())
            if remaining and remaining[-1] % 2:
                mortal.run_pods()
            if remaining and remaining[-1] % 3 == 0:
                break
        steady.settle()
        mortal.settle()
        assert outcome(mortal) == outcome(steady)
