"""Every failure that the machine ever found, and some ways that it must be able to go, replayed by name."""

from __future__ import annotations

from collections.abc import Callable

from invariants.machine import WEB, Decisions

Life = Callable[[Decisions], None]


def gates_are_passed_one_by_one(state: Decisions) -> None:
    state.begin(plan="gates", window=True)
    state.push_an_image(key=WEB, version=2)
    state.come_to_rest()
    world = state.model.api.worlds[WEB]
    assert world.sizes() == {"web:v1": 4, "web:v2": 1}
    state.merge_a_request(which=0, squash=False)
    state.come_to_rest()
    assert world.sizes() == {"web:v1": 2, "web:v2": 3}
    state.merge_a_request(which=0, squash=True)
    state.come_to_rest()
    assert world.sizes() == {"web:v1": 0, "web:v2": 5}
    assert world.status["phase"] == "Healthy"
    assert "v2 is stable" in state.model.oracle.git("log", "-1", "--format=%s", "main")


def a_failed_check_is_an_abort_in_git(state: Decisions) -> None:
    state.begin(plan="checked", window=True)
    state.analyses_say(verdict="Failed")
    state.push_an_image(key=WEB, version=2)
    state.come_to_rest()
    assert state.model.api.worlds[WEB].sizes() == {"web:v1": 5, "web:v2": 0}
    assert "abort v2" in state.model.oracle.git("log", "-1", "--format=%s", "main")


LIVES: tuple[Life, ...] = (gates_are_passed_one_by_one, a_failed_check_is_an_abort_in_git)
