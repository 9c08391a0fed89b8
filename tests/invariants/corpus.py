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


def nothing_grows_on_an_old_fetch(state: Decisions) -> None:
    """I3."""
    state.begin(plan="gates", window=True)
    state.push_an_image(key=WEB, version=2)
    state.poll()
    state.reconcile()
    state.git_goes_or_comes()
    state.pass_time(seconds=700)
    state.go_on(times=3)
    assert state.model.api.worlds[WEB].sizes().get("web:v2", 0) == 0


def _aborts(state: Decisions) -> int:
    return len(
        state.model.oracle.git("log", "--first-parent", "--format=%h", "--grep=^rollout(.*: abort v2", "main").split()
    )


def a_lost_answer_is_no_second_abort(state: Decisions) -> None:
    """I5: the server took the push and nobody was told."""
    state.begin(plan="gates", window=True)
    state.push_an_image(key=WEB, version=2)
    state.come_to_rest()
    state.use_the_plugin(message="abort", key=WEB)
    state.lose_an_answer()
    state.go_on(times=6)
    state.kill()
    state.come_to_rest()
    assert _aborts(state) == 1


def an_abort_that_was_taken_back_stays_away(state: Decisions) -> None:
    """I6, over a restart that sees the reverted abort and a Rollout that is still aborted."""
    state.begin(plan="gates", window=True)
    state.push_an_image(key=WEB, version=2)
    state.come_to_rest()
    state.use_the_plugin(message="abort", key=WEB)
    state.come_to_rest()
    state.kill()
    state.revert(back=0)
    state.come_to_rest()
    assert _aborts(state) == 1
    assert state.model.api.worlds[WEB].sizes() == {"web:v1": 4, "web:v2": 1}


def the_aborted_image_again_within_one_poll(state: Decisions) -> None:
    """Found by the machine: the new intent ends the old abort in one pass, the tree's abort begins in the next."""
    state.begin(plan="gates", window=True)
    state.push_an_image(key=WEB, version=2)
    state.come_to_rest()
    state.use_the_plugin(message="abort", key=WEB)
    state.come_to_rest()
    state.push_an_image(key=WEB, version=1)
    state.revert(back=0)
    state.come_to_rest()
    assert state.model.api.worlds[WEB].sizes() == {"web:v1": 5, "web:v2": 0}


def a_merge_that_is_taken_back_asks_nobody_again(state: Decisions) -> None:
    """Found by the machine: merged and reverted within one poll, the spent branch stayed open for ever (R3, R13)."""
    state.begin(plan="one", window=False)
    state.release(key=WEB, version=3)
    state.merge_a_request(which=2, squash=False)
    state.revert(back=0)
    state.come_to_rest()
    assert state.model.oracle.requests() == {}


def a_cluster_that_is_lost_in_mid_update(state: Decisions) -> None:
    """I10, with one gate passed and one to go."""
    state.begin(plan="gates", window=True)
    state.release(key=WEB, version=2)
    state.merge_a_request(which=0, squash=False)
    state.lose_the_cluster()
    assert state.model.api.worlds[WEB].sizes() == {"web:v1": 2, "web:v2": 3}


def a_rewritten_history_moves_no_traffic(state: Decisions) -> None:
    """R6: the same content under other names, with one gate passed."""
    state.begin(plan="gates", window=True)
    state.release(key=WEB, version=2)
    state.merge_a_request(which=0, squash=False)
    state.come_to_rest()
    state.rewrite_with_the_same_content()
    state.come_to_rest()
    assert state.model.api.worlds[WEB].sizes() == {"web:v1": 2, "web:v2": 3}


def a_branch_that_is_gone_takes_nothing_along(state: Decisions) -> None:
    """I11, R7."""
    state.begin(plan="gates", window=True)
    state.delete_or_restore_the_branch()
    state.go_on(times=6)
    state.kill()
    state.go_on(times=6)
    assert len(state.model.api.worlds) == 2


LIVES: tuple[Life, ...] = (
    gates_are_passed_one_by_one,
    a_failed_check_is_an_abort_in_git,
    nothing_grows_on_an_old_fetch,
    a_lost_answer_is_no_second_abort,
    an_abort_that_was_taken_back_stays_away,
    the_aborted_image_again_within_one_poll,
    a_merge_that_is_taken_back_asks_nobody_again,
    a_cluster_that_is_lost_in_mid_update,
    a_rewritten_history_moves_no_traffic,
    a_branch_that_is_gone_takes_nothing_along,
)
