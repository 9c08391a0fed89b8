"""A canary whose status is gone, as after a backup: what is stable is still known (docs/behaviour.md §7.2)."""

from __future__ import annotations

import pytest

from engine.world import deployed, manifest
from gitops_rollouts.engine.observed import Authority

STEPS = [{"setWeight": 40}, {"pause": {}}]
GIT = Authority("prod", fresh=True, applied=True)


def test_under_git_a_lost_status_lets_no_version_past_its_gate() -> None:
    world = deployed(manifest(replicas=5, steps=STEPS), authority=GIT)
    world.set_image("web:v2")
    world.settle()
    before = world.sizes()
    assert before["web:v2"] == 2
    world.raw["status"] = {}
    world.settle()
    assert world.sizes() == before
    assert world.status["phase"] == "Paused"
    assert world.status["stableRS"] != world.status["currentPodHash"]


@pytest.mark.parametrize("authority", [None, GIT])
def test_the_stable_service_tells_the_stable_version(authority: Authority | None) -> None:
    services = {"stableService": "stable", "canaryService": "canary"}
    world = deployed(manifest(replicas=5, steps=STEPS, canary=services), authority=authority, services=True)
    world.set_image("web:v2")
    world.settle()
    before, pointed = world.sizes(), dict(world.services)
    world.raw["status"] = {}
    world.settle()
    assert world.sizes() == before
    assert world.services == pointed
    assert world.status["phase"] == "Paused"


def test_at_rest_a_lost_status_comes_back_as_it_was() -> None:
    world = deployed(manifest(replicas=5, steps=STEPS), authority=GIT)
    before = dict(world.status)
    world.raw["status"] = {}
    world.settle()
    for key in ("stableRS", "currentPodHash", "currentStepIndex", "phase", "replicas"):
        assert world.status[key] == before[key]


def test_without_any_trace_it_is_a_first_deploy() -> None:
    world = deployed(manifest(replicas=5, steps=STEPS))
    world.set_image("web:v2")
    world.settle()
    world.raw["status"] = {}
    world.settle()
    assert world.status["phase"] == "Healthy"
    assert world.sizes()["web:v2"] == 5
