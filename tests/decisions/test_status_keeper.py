"""docs/decisions.md §7: commit statuses are sent when they change, not too often, once more at most after a crash."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from decision_engine import KEY, WEB_YAML, Engine
from decision_repo import manifest
from git_remote import Remote
from gitops_rollouts.decisions.forge_side.commit_status import Said
from gitops_rollouts.decisions.forge_side.request_check import PROMOTABLE
from gitops_rollouts.decisions.forge_side.side import ForgeSide
from gitops_rollouts.decisions.forge_side.status_keeper import StatusKeeper
from gitops_rollouts.decisions.grammar import Stable
from gitops_rollouts.decisions.identity import Subject
from gitops_rollouts.decisions.requests.view import Member, RequestView, Standing
from gitops_rollouts.decisions.state import InGit
from gitops_rollouts.errors import (
    ForgeDenied,
    ForgeError,
    ForgeLimited,
    ForgeMissing,
    ForgeRefused,
    ForgeUnreachable,
    LeadershipLost,
)
from gitops_rollouts.forges.forge import CommitStatus
from gitops_rollouts.git.repository import Mirror

MOVING = Said("pending", "moving", "canary 20%, step 1 of 4")
WAITING = Said("pending", "waiting", "waiting: PR #412")
STABLE = Said("success", "stable", "stable after 23m")
ABORTED = Said("failure", "aborted", "aborted: success-rate")


@dataclass
class Wall:
    """A forge as far as statuses go: what it shows, and every call."""

    calls: list[tuple[str, CommitStatus]] = field(default_factory=list)
    shown: dict[tuple[str, str], CommitStatus] = field(default_factory=dict)
    fails: list[Exception] = field(default_factory=list)
    loses: list[Exception] = field(default_factory=list)
    """What goes wrong after it took the status."""
    title: str = "Wall"

    def set_status(self, commit: str, status: CommitStatus) -> None:
        if self.fails:
            raise self.fails.pop(0)
        self.calls.append((commit, status))
        self.shown[commit, status.context] = status
        if self.loses:
            raise self.loses.pop(0)


class Keeping:
    """A keeper beside an engine's mirror and board."""

    def __init__(self, engine: Engine, wall: Wall | None) -> None:
        self.engine = engine
        self.wall = wall
        self.troubles: list[str] = []
        self.keeper = StatusKeeper(
            engine.mirror,
            engine.board,
            lambda target: self.wall,  # type: ignore[arg-type,return-value]
            lambda: engine.now,
            on_trouble=lambda target, trouble: self.troubles.append(trouble),
        )

    def say(self, said: Said | None, state: InGit | None = None) -> InGit:
        state = state or self.engine.board.get(*KEY)
        assert state is not None
        self.keeper.say(state, said)
        return state

    async def after(self, **span: float) -> int:
        """Let so much time go by in small steps. Returns how many calls that took."""
        before = len(self.wall.calls) if self.wall else 0
        whole = int(timedelta(**span).total_seconds())
        pace = 1 if whole <= 120 else 10
        for _ in range(max(1, whole // pace)):
            self.engine.now += timedelta(seconds=pace)
            await self.keeper.step()
        return len(self.wall.calls) - before if self.wall else 0

    def texts(self, commit: str) -> dict[str, tuple[str, str]]:
        assert self.wall is not None
        return {
            context: (status.state, status.description)
            for (on, context), status in self.wall.shown.items()
            if on == commit
        }


@pytest.fixture
def engine(remote: Remote, mirror: Mirror) -> Engine:
    remote.put({WEB_YAML: manifest("web:v1")}, "v1")
    made = Engine(mirror)
    made.sync()
    return made


@pytest.fixture
def keeping(engine: Engine) -> Keeping:
    return Keeping(engine, Wall())


CONTEXT = "rollout/prod/shop/web"


async def test_each_change_is_sent_once_and_ten_seconds_apart(keeping: Keeping) -> None:
    state = keeping.say(MOVING)
    assert await keeping.after(seconds=5) == 1
    keeping.say(WAITING)
    keeping.say(replace(WAITING, words="waiting: PR #413"))
    assert await keeping.after(seconds=4) == 0
    assert await keeping.after(seconds=6) == 1
    assert keeping.texts(state.attempt.intent) == {CONTEXT: ("pending", "waiting: PR #413")}
    for _ in range(5):
        keeping.say(replace(WAITING, words="waiting: PR #413"))
        keeping.say(None)
    assert await keeping.after(minutes=30) == 0, "idle: not one call"
    keeping.say(STABLE)
    assert await keeping.after(seconds=1) == 1
    assert keeping.texts(state.attempt.intent) == {CONTEXT: ("success", "stable after 23m")}


async def test_what_is_over_within_a_moment_is_sent_once(keeping: Keeping) -> None:
    keeping.say(MOVING)
    keeping.say(STABLE)
    assert await keeping.after(minutes=2) == 1


async def test_counts_alone_are_sent_once_a_minute(keeping: Keeping) -> None:
    for second in range(300):
        keeping.say(replace(MOVING, detail=f"analysis {second}/{second} ok"))
        await keeping.after(seconds=1)
    assert keeping.wall is not None
    assert 4 <= len(keeping.wall.calls) <= 6


async def test_no_context_gets_near_the_thousand_that_github_takes(keeping: Keeping) -> None:
    for second in range(0, 6 * 3600, 10):
        keeping.say(replace(MOVING, words=f"canary {second}%"))
        keeping.engine.now += timedelta(seconds=9)
        await keeping.after(seconds=1)
    assert keeping.wall is not None
    assert len(keeping.wall.calls) < 250


async def test_a_revert_in_mid_update_is_a_failure_there_and_a_success_here(keeping: Keeping, remote: Remote) -> None:
    """§3 R1."""
    engine = keeping.engine
    v1 = keeping.say(STABLE)
    remote.put({WEB_YAML: manifest("web:v2")}, "v2")
    v2 = engine.sync()
    keeping.say(MOVING)
    await keeping.after(seconds=20)
    remote.git("revert", "--no-edit", "HEAD")
    remote.push()
    back = engine.sync()
    assert len({v1.attempt.intent, v2.attempt.intent, back.attempt.intent}) == 3
    recorded = replace(back, record=Stable(back.attempt.template, back.attempt.intent[:12], back.subject))
    keeping.say(replace(STABLE, recorded=True), recorded)  # nothing else is seen of it, it goes so fast
    await keeping.after(seconds=20)
    assert keeping.texts(v2.attempt.intent) == {CONTEXT: ("failure", "reverted")}
    assert keeping.texts(back.attempt.intent) == {CONTEXT: ("success", "stable after 23m")}
    assert keeping.texts(v1.attempt.intent) == {CONTEXT: ("success", "stable after 23m")}


async def test_a_newer_image_supersedes_and_an_abort_stays_one(keeping: Keeping, remote: Remote) -> None:
    engine = keeping.engine
    said = {}
    for version, last in (("v2", MOVING), ("v3", ABORTED), ("v4", STABLE), ("v5", STABLE)):
        remote.put({WEB_YAML: manifest(f"web:{version}")}, version)
        said[version] = engine.sync().attempt.intent
        keeping.say(last)
        await keeping.after(seconds=20)
    assert keeping.texts(said["v2"]) == {CONTEXT: ("failure", f"superseded by {said['v3'][:7]}")}
    assert keeping.texts(said["v3"]) == {CONTEXT: ("failure", "aborted: success-rate")}
    assert keeping.texts(said["v4"]) == {CONTEXT: ("success", "stable after 23m")}
    assert keeping.wall is not None
    assert len(keeping.wall.calls) == 5


async def test_a_rollout_that_leaves_git_leaves_no_pending_status(keeping: Keeping, remote: Remote) -> None:
    """§3 R9; one that somebody deletes in the cluster comes back and is no end."""
    state = keeping.say(MOVING)
    await keeping.after(seconds=20)
    keeping.keeper.gone("prod", KEY)
    assert await keeping.after(seconds=60) == 0
    remote.put({WEB_YAML: None, "envs/prod/other.yaml": manifest(name="other")}, "gone")
    engine = keeping.engine
    engine.board.publish("prod", engine.reading.at(engine.published().commit, engine.specs[0]), engine.now)
    keeping.keeper.gone("prod", KEY)
    assert await keeping.after(seconds=60) == 1
    assert keeping.texts(state.attempt.intent)[CONTEXT][0] == "failure"


async def test_more_than_twenty_share_one_status(keeping: Keeping, remote: Remote) -> None:
    engine = keeping.engine
    names = [f"web{n:03}" for n in range(120)]
    remote.put({f"envs/prod/{name}.yaml": manifest("web:v2", name=name) for name in names}, "all of them")
    engine.sync()
    states = [engine.board.get("shop", name) for name in names]
    commit = states[0].attempt.intent if states[0] else ""
    for state in states:
        keeping.say(MOVING, state)
    await keeping.after(seconds=5)
    assert keeping.texts(commit) == {"rollout/prod": ("pending", "120 Rollouts, 120 moving")}
    for number, state in enumerate(states):
        keeping.say(ABORTED if number < 2 else STABLE, state)
        await keeping.after(seconds=1)
    await keeping.after(seconds=61)
    assert keeping.texts(commit) == {"rollout/prod": ("failure", "120 Rollouts, 2 aborted, 118 stable")}
    assert keeping.wall is not None
    assert len(keeping.wall.calls) < 8


async def test_many_commits_share_what_a_forge_takes_a_minute(keeping: Keeping, remote: Remote) -> None:
    engine = keeping.engine
    for number in range(15):
        remote.put({f"envs/prod/web{number}.yaml": manifest("web:v2", name=f"web{number}")}, f"web{number}")
    engine.sync()
    for step in range(6):
        for number in range(15):
            keeping.say(replace(MOVING, words=f"step {step}"), engine.board.get("shop", f"web{number}"))
        assert await keeping.after(seconds=10) <= 20
    assert keeping.wall is not None
    assert len(keeping.wall.calls) <= 20
    await keeping.after(minutes=2)
    assert {status.description for _, status in keeping.wall.calls[-15:]} == {"step 5"}


async def test_after_a_restart_each_is_said_once_more_at_most(
    keeping: Keeping, remote: Remote, new_mirror: Callable[..., Mirror]
) -> None:
    state = keeping.say(MOVING)
    await keeping.after(seconds=20)
    again = Keeping(keeping.engine, keeping.wall)
    again.say(MOVING)
    assert await again.after(minutes=30) == 1
    over = replace(STABLE, recorded=True)
    again.say(over)
    assert await again.after(minutes=1) == 1
    third = Keeping(keeping.engine, keeping.wall)
    third.say(over)
    assert await third.after(minutes=30) == 0, "Git says itself that it is over"
    assert keeping.texts(state.attempt.intent) == {CONTEXT: ("success", "stable after 23m")}


async def test_what_git_did_while_nobody_ran_is_told_afterwards(keeping: Keeping, remote: Remote) -> None:
    v1 = keeping.say(MOVING)
    await keeping.after(seconds=20)
    remote.put({WEB_YAML: manifest("web:v2")}, "v2")
    v2 = keeping.engine.sync()
    again = Keeping(keeping.engine, keeping.wall)
    await again.after(seconds=5)
    again.say(replace(STABLE, recorded=True))
    await again.after(minutes=1)
    assert again.texts(v1.attempt.intent) == {CONTEXT: ("failure", f"superseded by {v2.attempt.intent[:7]}")}
    assert again.texts(v2.attempt.intent) == {CONTEXT: ("success", "stable after 23m")}
    third = Keeping(keeping.engine, keeping.wall)
    third.say(replace(STABLE, recorded=True))
    assert await third.after(minutes=10) == 0


async def test_a_crash_around_the_last_status_loses_nothing(keeping: Keeping) -> None:
    """Dies right after the forge took the pending one, and right before the final one is sent."""
    assert keeping.wall is not None
    keeping.wall.loses = [KeyboardInterrupt()]  # type: ignore[list-item]
    state = keeping.say(MOVING)
    with pytest.raises(KeyboardInterrupt):
        await keeping.after(seconds=5)
    again = Keeping(keeping.engine, keeping.wall)
    again.say(replace(STABLE, recorded=True))
    assert await again.after(seconds=20) == 1
    assert keeping.texts(state.attempt.intent) == {CONTEXT: ("success", "stable after 23m")}


@pytest.mark.parametrize(
    ("error", "quiet", "told"),
    [
        (ForgeUnreachable("the forge doesn't answer"), 1, True),
        (ForgeDenied("the token may not show statuses"), 600, True),
        (ForgeMissing("no such commit"), 600, True),
        (ForgeLimited("too many", retry_after=120), 120, False),
    ],
)
async def test_a_forge_that_fails_is_asked_again_in_time(
    keeping: Keeping, error: ForgeError, quiet: int, told: bool
) -> None:
    assert keeping.wall is not None
    keeping.wall.fails = [error]
    keeping.say(MOVING)
    await keeping.after(seconds=2)
    if quiet > 1:
        assert await keeping.after(seconds=quiet - 10) == 0
    assert await keeping.after(seconds=12) == 1
    assert keeping.troubles == ([str(error), ""] if told else [])


async def test_a_status_that_is_refused_isnt_sent_again_until_it_changes(keeping: Keeping) -> None:
    assert keeping.wall is not None
    keeping.wall.fails = [ForgeRefused("no commit of that name")]
    keeping.say(MOVING)
    assert await keeping.after(minutes=60) == 0
    keeping.say(WAITING)
    assert await keeping.after(minutes=1) == 1


async def test_a_process_that_no_longer_leads_says_nothing(keeping: Keeping) -> None:
    """§4 "a leader that was replaced"."""
    leads = [False]

    def fence() -> None:
        if not leads[0]:
            raise LeadershipLost("another process leads")

    keeping.keeper._fence = fence
    state = keeping.say(MOVING)
    assert await keeping.after(minutes=5) == 0
    leads[0] = True
    assert await keeping.after(minutes=1) == 1
    assert keeping.texts(state.attempt.intent)[CONTEXT][0] == "pending"


async def test_what_the_forge_doesnt_take_is_said_beside_what_is_wrong_with_requests(engine: Engine) -> None:
    """The GitSync's ``WriteBack`` names it."""
    wall, told = Wall(fails=[ForgeDenied("the token may not show statuses")]), []
    beside = ForgeSide(engine.mirror, "main", engine.board, lambda target: wall, lambda: engine.now)  # type: ignore[arg-type,return-value]
    beside.tell = lambda target, standings, trouble: told.append(trouble)
    beside.open("prod", statuses=True)
    state = engine.board.get(*KEY)
    assert state is not None
    beside.statuses.say(state, MOVING)
    engine.now += timedelta(seconds=5)
    await beside.statuses.step()
    assert told == ["commit statuses can't be shown: the token may not show statuses"]
    beside._told("prod", {}, "pull requests wait: it is away")
    beside._told("prod", {}, "")
    engine.now += timedelta(minutes=11)
    await beside.statuses.step()
    assert told[1:] == ["pull requests wait: it is away", told[0], ""]
    beside.open("prod", statuses=False)
    beside.statuses.say(state, WAITING)
    engine.now += timedelta(minutes=11)
    await beside.statuses.step()
    assert len(wall.calls) == 1, "switched off"


async def test_without_a_forge_nothing_is_sent_and_nothing_forgotten(engine: Engine) -> None:
    keeping = Keeping(engine, None)
    keeping.say(MOVING)
    assert await keeping.after(minutes=1) == 0
    keeping.wall = Wall()
    assert await keeping.after(seconds=1) == 1


def view(tip: str = "a" * 40, **more: Any) -> RequestView:
    members = tuple(Member(Subject("prod", "shop", name), 1) for name in ("api", "web"))
    made = RequestView("promote", "prod", "rollouts/promote/prod/x-g1", tip, "main", gate=1, members=members)
    return replace(made, **more)


async def test_the_head_of_a_request_is_red_the_moment_that_it_is_stale(keeping: Keeping) -> None:
    """§2: the check ``rollout/promotable``, which a branch' protection may ask for."""
    keeping.keeper.check("prod", [view()], {})
    assert await keeping.after(seconds=1) == 1
    assert keeping.texts("a" * 40) == {PROMOTABLE: ("success", "merging promotes 2 Rollouts past gate 1")}
    keeping.keeper.check("prod", [view(void="superseded by 3b70795")], {})
    assert await keeping.after(seconds=1) == 1, "not ten seconds later"
    assert keeping.texts("a" * 40) == {PROMOTABLE: ("failure", "superseded by 3b70795")}
    keeping.keeper.check("prod", [], {})
    assert await keeping.after(minutes=30) == 0


async def test_a_stale_head_is_told_even_if_its_branch_goes_first(keeping: Keeping) -> None:
    assert keeping.wall is not None
    keeping.wall.fails = [ForgeUnreachable("away")]
    members = tuple(replace(each, struck=why) for each, why in zip(view().members, ("", "aborted"), strict=True))
    keeping.keeper.check("prod", [view(members=members), view("b" * 40), view("", void="promoted")], {})
    await keeping.after(seconds=5)
    assert keeping.texts("a" * 40)[PROMOTABLE] == ("success", "merging promotes 1 of 2 Rollouts past gate 1")
    keeping.wall.fails = [ForgeUnreachable("away")]
    keeping.keeper.check("prod", [view(void="superseded by 3b70795")], {})
    await keeping.after(seconds=1)
    keeping.keeper.check("prod", [], {})
    await keeping.after(seconds=5)
    assert keeping.texts("a" * 40)[PROMOTABLE] == ("failure", "superseded by 3b70795")
    assert keeping.texts("b" * 40)[PROMOTABLE][0] == "success", "it went while nothing was wrong with it"
    assert len(keeping.wall.calls) == 3


async def test_whoever_waits_names_the_request_once_it_is_there(keeping: Keeping) -> None:
    waits = replace(WAITING, words="waiting for promotion past gate 1, canary 20%")
    state = keeping.say(waits)
    await keeping.after(seconds=20)
    assert keeping.texts(state.attempt.intent)[CONTEXT] == ("pending", "waiting for promotion past gate 1, canary 20%")
    asks = view("", branch="b", members=(Member(Subject("prod", "shop", "web"), 1),))
    shown = {"b": Standing("b", 412, "https://git.example/412", "open")}
    keeping.keeper.check("prod", [asks], shown)
    keeping.keeper.check("prod", [asks], shown)
    assert await keeping.after(seconds=20) == 1
    assert keeping.texts(state.attempt.intent)[CONTEXT] == ("pending", "waiting: PR #412, canary 20%")
    keeping.say(waits)
    assert await keeping.after(minutes=2) == 0
    keeping.keeper.check("prod", [asks], {"b": replace(shown["b"], state="closed")})
    await keeping.after(seconds=20)
    assert keeping.texts(state.attempt.intent)[CONTEXT] == ("pending", "waiting for promotion past gate 1, canary 20%")
    keeping.say(STABLE)
    keeping.keeper.check("prod", [asks], shown)
    await keeping.after(seconds=20)
    assert keeping.texts(state.attempt.intent)[CONTEXT] == ("success", "stable after 23m")
