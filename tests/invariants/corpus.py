"""Every failure that the machine ever found, and some ways that it must be able to go, replayed by name."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from decision_repo import promote
from gitops_rollouts.api.names import ABORT, PROMOTE
from gitops_rollouts.decisions.grammar import format_line
from invariants.machine import Decisions
from invariants.people import API, WEB

Life = Callable[[Decisions], None]


def live(life: Life) -> None:
    """A life, and then rest."""
    state = Decisions()
    try:
        life(state)
    finally:
        state.teardown()


def at_the_first_gate(state: Decisions) -> None:
    """v2 waits there."""
    state.begin(plan="gates", window=True)
    state.push_an_image(key=WEB, version=2)
    state.come_to_rest()


def gates_are_passed_one_by_one(state: Decisions) -> None:
    at_the_first_gate(state)
    world = state.model.api.worlds[WEB]
    assert world.sizes() == {"web:v1": 4, "web:v2": 1}
    state.merge_a_request(which=0, squash=False)
    state.come_to_rest()
    assert world.sizes() == {"web:v1": 2, "web:v2": 3}
    state.merge_a_request(which=0, squash=True)
    state.come_to_rest()
    assert world.sizes() == {"web:v1": 0, "web:v2": 5}
    assert world.status["phase"] == "Healthy"
    told = state.model.oracle.git("log", "-1", "--format=%s", "main")
    assert "v2 is stable" in told, f"not that v2 is stable: {told}"


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
    at_the_first_gate(state)
    state.use_the_plugin(message="abort", key=WEB)
    state.lose_an_answer()
    state.go_on(times=6)
    state.kill()
    state.come_to_rest()
    assert _aborts(state) == 1


def an_abort_that_was_taken_back_stays_away(state: Decisions) -> None:
    """I6, over a restart that sees the reverted abort and a Rollout that is still aborted."""
    at_the_first_gate(state)
    state.use_the_plugin(message="abort", key=WEB)
    state.come_to_rest()
    state.kill()
    state.revert(back=0)
    state.come_to_rest()
    assert _aborts(state) == 1
    assert state.model.api.worlds[WEB].sizes() == {"web:v1": 4, "web:v2": 1}


def a_lost_answer_and_a_revert_in_between(state: Decisions) -> None:
    """I6: the server took the abort, nobody was told, a person took it back, and then the engine looks again."""
    at_the_first_gate(state)
    state.use_the_plugin(message="abort", key=WEB)
    for _ in range(2):
        state.look(key=WEB)
    state.lose_an_answer()
    state.pass_time(seconds=5)
    state.write()
    assert not state.model.fate.lose_answer
    state.kill()
    state.revert(back=0)
    state.come_to_rest()
    assert _aborts(state) == 1
    assert state.model.api.worlds[WEB].sizes() == {"web:v1": 4, "web:v2": 1}


def a_promotion_beside_an_abort(state: Decisions) -> None:
    """Both lines stand there: abort wins, whoever wrote which of them first."""
    at_the_first_gate(state)
    state.use_the_plugin(message="abort", key=WEB)
    state.come_to_rest()
    line = format_line(promote(state.model.process.published[WEB].attempt, 3))
    state._edit(WEB, "    team: shop\n", f'    {PROMOTE}: "{line}"\n    team: shop\n', "promoted by hand")
    state.come_to_rest()
    assert state.model.api.worlds[WEB].sizes() == {"web:v1": 5, "web:v2": 0}


def an_approval_of_another_version(state: Decisions) -> None:
    """I1: what was approved of v2 is no approval of v3."""
    state.begin(plan="gates", window=True)
    state.release(key=WEB, version=2)
    state.merge_a_request(which=0, squash=False)
    state.come_to_rest()
    state.push_an_image(key=WEB, version=3)
    state.come_to_rest()
    assert state.model.api.worlds[WEB].sizes() == {"web:v1": 4, "web:v2": 0, "web:v3": 1}


def the_aborted_image_again_within_one_poll(state: Decisions) -> None:
    """Found by the machine: the new intent ends the old abort in one pass, the tree's abort begins in the next."""
    at_the_first_gate(state)
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


def a_stale_leader_pushes_after_its_successor(state: Decisions) -> None:
    """I5: the abort of both has one id, and the push of the one that was overtaken finds another tip."""
    at_the_first_gate(state)
    state.use_the_plugin(message="abort", key=WEB)
    state.look(key=WEB)
    state.look(key=WEB)
    first = state.model.process
    take_over = state.model.fate.take_over

    def after_a_push() -> None:
        state.type_something(key=API)
        take_over()

    state.model.fate.take_over = after_a_push
    state.be_overtaken(effects=0, rounds=3)  # the commit is built, its push is under way
    state.model.now += timedelta(seconds=5)
    state.write()
    assert state.model.process is not first
    state.come_to_rest()
    assert _aborts(state) == 1


def a_stale_leader_acts_on_what_its_successor_moved(state: Decisions) -> None:
    """Each effect of a first pass over a new version comes after the next process' whole update."""
    state.begin(plan="gates", window=True)
    for effects in range(4):
        state.push_an_image(key=WEB, version=2 + effects)
        state.poll()
        state.reconcile()
        state.be_overtaken(effects=effects, rounds=3)
        state.go_on(times=4)
        state.come_to_rest()
        assert state.model.api.worlds[WEB].sizes()[f"web:v{2 + effects}"] == 1


def only_a_promoter_opens_a_gate(state: Decisions) -> None:
    """§6: a merge that nobody signed opens nothing; the same line out and in again by the promoter does."""
    state.begin(plan="gates", window=True, guarded=True)
    state.release(key=WEB, version=2)
    state.merge_a_request(which=0, squash=False)
    state.come_to_rest()
    world = state.model.api.worlds[WEB]
    assert world.sizes() == {"web:v1": 4, "web:v2": 1}
    state.take_out(key=WEB, line=PROMOTE, signed=False)
    state.go_on(times=3)
    state.type_a_promotion(key=WEB, full=False, signed=True)
    state.come_to_rest()
    assert world.sizes() == {"web:v1": 2, "web:v2": 3}


def only_a_promoter_lifts_an_abort(state: Decisions) -> None:
    """§6: without its line the abort stands, until a promoter takes away what was put back."""
    state.begin(plan="gates", window=True, guarded=True)
    state.release(key=WEB, version=2)
    state.use_the_plugin(message="abort", key=WEB)
    state.come_to_rest()
    state.take_out(key=WEB, line=ABORT, signed=False)
    state.come_to_rest()
    world = state.model.api.worlds[WEB]
    assert world.sizes() == {"web:v1": 5, "web:v2": 0}
    state.revert(back=0)
    state.take_out(key=WEB, line=ABORT, signed=True)
    state.come_to_rest()
    assert world.sizes() == {"web:v1": 4, "web:v2": 1}


def blue_green_switches_at_its_gate(state: Decisions) -> None:
    """The one gate is ``active``: the preview serves nobody before, and what is taken back switches back."""
    state.begin(plan="gates", window=True, blue=True)
    state.push_an_image(key=API, version=2)
    state.come_to_rest()
    world = state.model.api.worlds[API]
    assert world.sizes() == {"web:v1": 5, "web:v2": 5}
    assert world.behind("api") == "web:v1"
    state.merge_a_request(which=0, squash=False)
    state.come_to_rest()
    assert world.behind("api") == "web:v2"
    state.lose_the_cluster()
    assert state.model.api.worlds[API].behind("api") == "web:v2"


def a_death_at_each_effect(state: Decisions) -> None:
    """I9: the process dies before and after each of its effects, of an update and of its abort."""
    state.begin(plan="gates", window=True)
    state.push_an_image(key=WEB, version=2)
    for effects in range(8):
        state.die_soon(effects=effects)
        state.go_on(times=1)
    state.come_to_rest()
    assert len(state.model.fate.deaths) > 2
    assert state.model.api.worlds[WEB].sizes() == {"web:v1": 4, "web:v2": 1}


LIVES: tuple[Life, ...] = (
    gates_are_passed_one_by_one,
    a_failed_check_is_an_abort_in_git,
    nothing_grows_on_an_old_fetch,
    a_lost_answer_is_no_second_abort,
    an_abort_that_was_taken_back_stays_away,
    a_lost_answer_and_a_revert_in_between,
    a_promotion_beside_an_abort,
    an_approval_of_another_version,
    the_aborted_image_again_within_one_poll,
    a_merge_that_is_taken_back_asks_nobody_again,
    a_cluster_that_is_lost_in_mid_update,
    a_rewritten_history_moves_no_traffic,
    a_branch_that_is_gone_takes_nothing_along,
    a_stale_leader_pushes_after_its_successor,
    a_stale_leader_acts_on_what_its_successor_moved,
    only_a_promoter_opens_a_gate,
    only_a_promoter_lifts_an_abort,
    blue_green_switches_at_its_gate,
    a_death_at_each_effect,
)
