"""Random lives of a blue-green Rollout, and processes that die between two writes (docs/decisions.md §4 I1, I8, I9)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule

from engine.lives import BAD, Glance, live
from engine.lives import given as those_given
from engine.test_blue_green_machine import BlueGreenLife
from engine.world import World, manifest
from gitops_rollouts.engine.observed import Authority, Service, TreeAbort

BOTH = {"activeService": "active", "previewService": "preview"}
TEMPLATES = {"templates": [{"templateName": "smoke"}]}
STRATEGIES = st.fixed_dictionaries(
    {
        "activeService": st.just("active"),
        "previewService": st.sampled_from(["preview", "preview", None]),
        "autoPromotionEnabled": st.sampled_from([None, True, False, False]),
        "autoPromotionSeconds": st.sampled_from([None, None, 5, 60]),
        "previewReplicaCount": st.sampled_from([None, None, 0, 1, 3]),
        "scaleDownDelaySeconds": st.sampled_from([None, 0, 5]),
        "scaleDownDelayRevisionLimit": st.sampled_from([None, 0, 1]),
        "abortScaleDownDelaySeconds": st.sampled_from([None, 0, 5]),
        "prePromotionAnalysis": st.sampled_from([None, None, TEMPLATES]),
        "postPromotionAnalysis": st.sampled_from([None, None, TEMPLATES]),
    }
).map(those_given)


class GatedLife(BlueGreenLife):
    """One that Git decides over, and whose active Service may be made anew at any time."""

    @rule()
    def the_service_is_made_anew(self) -> None:
        self.world.services["active"] = Service("active", {"app": "web"})

    @rule()
    def git_takes_over(self) -> None:
        if self.world.authority is None:
            self.world.authority = Authority("prod", fresh=True, applied=True)

    def check(self, before: Glance, after: Glance) -> None:
        super().check(before, after)
        self._check_git(before, after)

    def _check_git(self, before: Glance, after: Glance) -> None:
        authority, now = self.world.authority, after.services["active"]
        if authority is None or not before.stable or now in (before.services["active"], before.stable):
            return
        if before.services["active"] not in before.sizes and not before.available.get(before.stable, 0):
            return  # nothing served
        assert authority.fresh
        assert authority.applied
        assert authority.abort is None
        strategy = self.world.rollout.spec.strategy.blue_green
        assert strategy is not None
        proven = any(
            "gitops-rollouts.io/was-stable" in kept.spec.annotations
            for kept in self.world.sets.values()
            if kept.spec.labels["rollouts-pod-template-hash"] == now
        )
        window = self.world.rollout.spec.rollback_window
        allowed = authority.approved_active or authority.full or strategy.auto_promotion
        assert allowed or proven or (window is not None and window.revisions > 0)


def test_lives() -> None:
    live(GatedLife, 20, 25)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_long_lives() -> None:
    live(GatedLife, 400, 50)


Deed = Callable[[World], None]


def _image(image: str) -> Deed:
    def deed(world: World) -> None:
        world.wait()
        world.set_image(image)

    return deed


def _git(**changes: Any) -> Deed:
    def deed(world: World) -> None:
        if world.authority is not None:
            world.authority = Authority("prod", **{"fresh": True, "applied": True, **changes})

    return deed


def _verdict(kind: Any, phase: str) -> Deed:
    def deed(world: World) -> None:
        world.runs.ends[kind] = (phase, "")

    return deed


DEEDS: dict[str, Deed] = {
    "v2": _image("web:v2"),
    "v1": _image("web:v1"),
    "v3": _image("web:v3"),
    "broken": _image("web:broken"),
    "approve": _git(approved_active=True),
    "withdraw": _git(),
    "full": _git(full=True),
    "another intent": _git(intent="2" * 12),
    "abort in git": _git(abort=TreeAbort(BAD.commit, BAD.text)),
    "abort": lambda world: world.patch_status(abort=True),
    "retry": lambda world: world.patch_status(abort=False),
    "resume": lambda world: world.patch_status(pauseConditions=None),
    "promote fully": lambda world: world.patch_status(promoteFull=True),
    "resize": lambda world: world.edit(replicas=7 - world.raw["spec"]["replicas"]),
    "pause": lambda world: world.edit(paused=not world.raw["spec"].get("paused", False)),
    "a moment": lambda world: world.wait(4),
    "pre successful": _verdict("PrePromotion", "Successful"),
    "pre failed": _verdict("PrePromotion", "Failed"),
    "post successful": _verdict("PostPromotion", "Successful"),
    "post failed": _verdict("PostPromotion", "Failed"),
}


MOMENTS = {"soon": 3, "later": 10}
"""Time passes in steps that are shorter than what lies between two deadlines: an engine that lives misses none."""


def in_moments(deeds: Iterable[str]) -> list[str]:
    return [each for deed in deeds for each in (["a moment"] * MOMENTS[deed] if deed in MOMENTS else [deed])]


def outcome(world: World) -> dict[str, Any]:
    status = world.status
    return {
        "sizes": world.sizes(),
        "phase": status["phase"],
        "message": status.get("message"),
        "blueGreen": status["blueGreen"],
        "stable": status["stableRS"],
        "services": {name: replace(service) for name, service in world.services.items()},
        "revisions": {name: kept.spec.annotations for name, kept in world.sets.items()},
        "pauses": [pause["reason"] for pause in status.get("pauseConditions", [])],
    }


@st.composite
def deaths(draw: st.DrawFn) -> list[int]:
    """After how many writes each of the next passes dies."""
    return draw(st.lists(st.integers(0, 7), max_size=14))


SCENARIO: dict[str, Any] = {
    "strategy": STRATEGIES,
    "deeds": st.lists(st.sampled_from([*sorted(DEEDS), *MOMENTS]), min_size=1, max_size=6),
    "dies": deaths(),
    "managed": st.booleans(),
}


@settings(max_examples=40, deadline=None)
@given(**SCENARIO)
def test_a_death_changes_nothing(strategy: dict[str, Any], deeds: list[str], dies: list[int], managed: bool) -> None:
    live_and_die(strategy, deeds, dies, managed)


@pytest.mark.long
@settings(max_examples=3000, deadline=None)
@given(**SCENARIO)
def test_many_deaths_change_nothing(strategy: dict[str, Any], deeds: list[str], dies: list[int], managed: bool) -> None:
    live_and_die(strategy, deeds, dies, managed)


JOURNEY = ["v2", "resume", "soon", "v1", "later", "v2", "abort", "retry", "resume", "later", "v3", "promote fully"]


@pytest.mark.parametrize("writes", range(8))
@pytest.mark.parametrize("more", [{}, {"autoPromotionEnabled": False}, {"previewReplicaCount": 1}])
def test_dying_after_each_write_of_a_journey(more: dict[str, Any], writes: int) -> None:
    """Every pass dies after so many writes, twice, before one lives."""
    worlds = []
    for mortal in (False, True):
        world = World(copy.deepcopy(manifest(replicas=3, blue_green={**BOTH, **more})))
        world.services = {name: Service(name, {"app": "web"}) for name in ("active", "preview")}
        for deed in ["v1", *JOURNEY]:
            for each in in_moments([deed]):
                DEEDS[each](world)
            for _ in range(40):
                if mortal:
                    world.once(only=writes)
                    world.once(only=writes)
                world.once()
                world.run_pods()
            world.settle()
        worlds.append(world)
    steady, died = worlds
    assert outcome(died) == outcome(steady)
    assert died.status["phase"] == "Healthy"
    assert died.behind("active") == "web:v3"


def live_and_die(strategy: dict[str, Any], deeds: list[str], dies: list[int], managed: bool) -> None:
    """The same deeds in a world where processes live and in one where they die: equal outcomes."""
    raw = manifest(
        replicas=3, blue_green=strategy, progressDeadlineSeconds=25, progressDeadlineAbort=True, revisionHistoryLimit=2
    )
    steady, mortal = (World(copy.deepcopy(raw)) for _ in range(2))
    for world in (steady, mortal):
        world.services = {name: Service(name, {"app": "web"}) for name in ("active", "preview")}
        if managed:
            world.authority = Authority("prod", fresh=True, applied=True)
    remaining = list(dies)
    for deed in in_moments(["v1", *deeds]):
        for world in (steady, mortal):
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


def test_pods_that_go_while_a_process_is_dead_shift_no_deadline() -> None:
    """§4.1: the deadline passes before the old version's delay is over, whoever dies in between."""
    strategy = {**BOTH, "prePromotionAnalysis": TEMPLATES}
    live_and_die(strategy, ["v2", "v3", "later"], [1, 3, 0, 0, 0], managed=False)


def test_a_death_between_the_switch_and_its_status_keeps_the_checkpoint() -> None:
    """§8.5: the preview was passed before the switch, whoever still knows of it."""
    strategy = {**BOTH, "autoPromotionSeconds": 5, "previewReplicaCount": 3}
    strategy["postPromotionAnalysis"] = {"templates": [{"templateName": "smoke"}]}
    live_and_die(strategy, ["v2", "later"], [1, 0, 0, 0], managed=False)
