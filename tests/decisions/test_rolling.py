"""The rolling request: all that is beyond the limit of open requests, one a target (docs/decisions.md §2)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from decision_repo import PROD, manifest
from forge_double import ForgeDouble
from git_remote import Remote
from gitops_rollouts.decisions.requests.names import is_rolling
from gitops_rollouts.decisions.state import TargetSpec
from gitops_rollouts.forges.forge import PullRequest
from gitops_rollouts.git.repository import Mirror
from request_keeping import Keeping

EU = TargetSpec("eu", "main", "envs/eu")


@pytest.fixture(autouse=True)
def one_may_be_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gitops_rollouts.decisions.requests.branches.MAX_OPEN", 1)


@pytest.fixture
def keeping(remote: Remote, new_mirror: Callable[..., Mirror]) -> Keeping:
    remote.put({f"envs/prod/{name}.yaml": manifest(f"{name}:v1", name=name) for name in ("web", "api", "db")}, "v1")
    return Keeping(remote, new_mirror, ForgeDouble(remote))


def update(keeping: Keeping, name: str, version: str = "v2", folder: str = "envs/prod") -> str:
    """A commit of its own for one Rollout, so that it is a group of its own."""
    keeping.remote.pull()
    path = f"{folder}/{name}.yaml"
    file = keeping.remote.work / path
    lines = (file.read_text() if file.exists() else manifest(f"{name}:v1", name=name)).splitlines()
    text = "\n".join(
        f"        image: {name}:{version}  # bumped by CI" if line.lstrip().startswith("image:") else line
        for line in lines
    )
    return keeping.remote.put({path: f"{text}\n"}, f"{name}: {version}")


async def all_waiting(keeping: Keeping) -> tuple[PullRequest, PullRequest]:
    """web, api and db wait, each at a gate of its own; which of them was first is left to the commits' ids."""
    for name in ("web", "api", "db"):
        update(keeping, name)
    await keeping.poll()
    await keeping.poll()
    own, rolling = sorted(keeping.forge.open_ones(), key=lambda one: is_rolling(one.branch))
    assert not is_rolling(own.branch)
    assert is_rolling(rolling.branch)
    return own, rolling


def carried(keeping: Keeping, number: int) -> set[str]:
    """Whom a request's change gives a line, by Git alone."""
    head = keeping.forge.requests[number].head
    keeping.remote.git("fetch", "-q", "origin")
    changed = keeping.remote.git("diff", "--name-only", f"origin/main...{head}").splitlines()
    return {path.rpartition("/")[2].removesuffix(".yaml") for path in changed}


def approved(keeping: Keeping) -> set[str]:
    return {name for (_, name), state in keeping.engine.published().rollouts.items() if state.approves(1)}


def states(keeping: Keeping) -> dict[int, str]:
    keeping.forge.open_ones()
    return {one.number: one.state for one in keeping.forge.requests.values()}


async def test_what_is_beyond_the_limit_shares_one_request(keeping: Keeping) -> None:
    """§2: its body says that it grows, and for whom it is; nothing waits."""
    own, rolling = await all_waiting(keeping)
    [first] = carried(keeping, own.number)
    assert carried(keeping, rolling.number) == {"web", "api", "db"} - {first}
    assert "**It grows**" in rolling.body
    assert "2 Rollouts wait for approval at 2 gates of prod" in rolling.body
    for name in carried(keeping, rolling.number):
        intent = keeping.engine.published().rollouts["shop", name].attempt.intent[:12]
        assert f"- `{intent}` past gate 1: 1 Rollout" in rolling.body
        assert f"| shop/{name} |" in rolling.body
    assert rolling.title == "prod: promote whatever waits beyond the limit of open requests"
    assert keeping.engine.reason == "Ready"
    assert [len(one.members) for one in keeping.engine.reports[-1].requests] in ([1, 2], [2, 1])


async def test_it_grows_as_others_come_and_what_is_old_is_dropped(keeping: Keeping) -> None:
    """§2: the same request, and at once what its body says."""
    own, rolling = await all_waiting(keeping)
    stays, goes = sorted(carried(keeping, rolling.number))
    update(keeping, "cart")
    await keeping.poll()
    assert carried(keeping, rolling.number) == {stays, goes, "cart"}
    assert "| shop/cart |" in keeping.forge.requests[rolling.number].body
    commit = update(keeping, goes, "v3")
    await keeping.poll()
    assert carried(keeping, rolling.number) == {stays, goes, "cart"}
    body = keeping.forge.requests[rolling.number].body
    assert commit[:12] in body
    assert "superseded" not in body  # dropped, for its newer version took its place
    assert states(keeping) == {own.number: "open", rolling.number: "open"}
    assert len(keeping.branches) == 2


async def test_merging_promotes_exactly_whom_it_carries(keeping: Keeping) -> None:
    """§2."""
    own, rolling = await all_waiting(keeping)
    inside = carried(keeping, rolling.number)
    keeping.forge.merge_by(rolling.number, "alice")
    await keeping.poll()
    assert approved(keeping) == inside
    assert states(keeping) == {own.number: "open", rolling.number: "merged"}
    assert keeping.branches == [own.branch]
    update(keeping, "cart")
    await keeping.poll()
    [_, another] = sorted(keeping.forge.open_ones(), key=lambda one: one.number)
    assert (is_rolling(another.branch), carried(keeping, another.number)) == (True, {"cart"})
    assert another.branch != rolling.branch


async def test_closing_holds_whom_it_carried_and_who_comes_later_is_asked_for(keeping: Keeping) -> None:
    """§2: also on a new disk; reopened it goes on."""
    own, rolling = await all_waiting(keeping)
    inside = carried(keeping, rolling.number)
    keeping.forge.close_by(rolling.number, "bob")
    await keeping.poll()
    assert {(hold.name, hold.who, hold.gate) for hold in keeping.engine.writer.holds} == {
        (name, "bob", 1) for name in inside
    }
    update(keeping, "cart")
    await keeping.poll()
    [_, later] = sorted(keeping.forge.open_ones(), key=lambda one: one.number)
    assert carried(keeping, later.number) == {"cart"}
    assert carried(keeping, rolling.number) == inside
    keeping.begin(wiped=True)
    for _ in range(3):
        await keeping.poll()
    assert {hold.name for hold in keeping.engine.writer.holds} == inside
    assert states(keeping) == {own.number: "open", rolling.number: "closed", later.number: "open"}
    keeping.forge.reopen_by(rolling.number)
    await keeping.poll()
    assert keeping.engine.writer.holds == frozenset()
    keeping.forge.merge_by(rolling.number, "bob")
    await keeping.poll()
    assert approved(keeping) == inside


async def test_who_is_in_it_stays_there_when_there_is_room_again(keeping: Keeping) -> None:
    """§2, I12: nobody is asked for twice."""
    own, rolling = await all_waiting(keeping)
    inside, [first] = carried(keeping, rolling.number), carried(keeping, own.number)
    keeping.forge.merge_by(own.number, "alice")
    for _ in range(3):
        await keeping.poll()
    assert approved(keeping) == {first}
    assert [one.number for one in keeping.forge.open_ones()] == [rolling.number]
    update(keeping, "cart")
    await keeping.poll()
    another = next(one for one in keeping.forge.open_ones() if one.number != rolling.number)
    assert (is_rolling(another.branch), carried(keeping, another.number)) == (False, {"cart"})
    assert carried(keeping, rolling.number) == inside


async def test_it_is_closed_once_all_in_it_is_old(keeping: Keeping) -> None:
    """§2: with the reason; whoever comes then gets another one."""
    own, rolling = await all_waiting(keeping)
    inside = sorted(carried(keeping, rolling.number))
    for name in inside:
        update(keeping, name, "v3")
    await keeping.poll()
    await keeping.poll()
    assert states(keeping)[rolling.number] == "closed"
    assert "Closed: superseded by" in keeping.forge.comments[rolling.number][0]
    [_, another] = sorted(keeping.forge.open_ones(), key=lambda one: one.number)
    assert carried(keeping, another.number) == set(inside)
    assert keeping.branches == sorted([own.branch, another.branch])
    assert keeping.engine.writer.holds == frozenset()


async def test_a_new_disk_finds_it_again(keeping: Keeping) -> None:
    """§1.5: no new commit, no other request, and it still grows."""
    _, rolling = await all_waiting(keeping)
    heads = keeping.engine.mirror.look("main")[1]
    keeping.begin(wiped=True)
    for _ in range(3):
        await keeping.poll()
    assert keeping.engine.mirror.look("main")[1] == heads
    assert len(keeping.forge.requests) == 2
    update(keeping, "cart")
    await keeping.poll()
    assert "cart" in carried(keeping, rolling.number)
    assert len(keeping.forge.requests) == 2


async def test_one_with_a_commit_of_somebody_else_grows_no_more(keeping: Keeping) -> None:
    """§2: nobody's commit is taken away; who comes later gets another."""
    _, rolling = await all_waiting(keeping)
    inside = carried(keeping, rolling.number)
    keeping.remote.git("fetch", "-q", "origin")
    keeping.remote.git("checkout", "-q", f"origin/{rolling.branch}")
    keeping.remote.write({"envs/prod/README": "looked at\n"}, "a word")
    keeping.remote.git("push", "-q", "origin", f"HEAD:refs/heads/{rolling.branch}")
    keeping.remote.git("checkout", "-q", "main")
    update(keeping, "cart")
    await keeping.poll()
    assert carried(keeping, rolling.number) == {*inside, "README"}
    another = max(keeping.forge.open_ones(), key=lambda one: one.number)
    assert (is_rolling(another.branch), carried(keeping, another.number)) == (True, {"cart"})


async def test_each_target_has_its_own_and_the_limit_is_the_repositorys(
    remote: Remote, new_mirror: Callable[..., Mirror]
) -> None:
    """§2."""
    remote.put({"envs/prod/web.yaml": manifest("web:v1"), "envs/eu/db.yaml": manifest("db:v1", name="db")}, "v1")
    remote.put({"envs/prod/api.yaml": manifest("api:v1", name="api"), "envs/eu/job.yaml": manifest(name="job")}, "v1")
    keeping = Keeping(remote, new_mirror, ForgeDouble(remote), specs=(PROD, EU))
    for name, folder in (("web", "envs/prod"), ("api", "envs/prod"), ("db", "envs/eu"), ("job", "envs/eu")):
        update(keeping, name, folder=folder)
    await keeping.poll()
    await keeping.poll()
    found = {
        one.branch.split("/")[2]: carried(keeping, one.number)
        for one in keeping.forge.open_ones()
        if is_rolling(one.branch)
    }
    assert found["prod"] | found["eu"] < {"web", "api", "db", "job"}
    assert (len(found["prod"] | found["eu"]), len(keeping.forge.open_ones())) == (3, 3)


async def test_without_a_forge_its_branch_is_the_request(remote: Remote, new_mirror: Callable[..., Mirror]) -> None:
    """§2: deleting it holds, merging it promotes."""
    remote.put({f"envs/prod/{name}.yaml": manifest(f"{name}:v1", name=name) for name in ("web", "api", "db")}, "v1")
    keeping = Keeping(remote, new_mirror, None)
    for name in ("web", "api", "db"):
        update(keeping, name)
    await keeping.poll()
    [rolling] = [name for name in keeping.branches if is_rolling(name)]
    assert len(keeping.branches) == 2
    update(keeping, "cart")
    await keeping.poll()
    assert len(keeping.branches) == 2
    remote.git("push", "-q", "origin", f":refs/heads/{rolling}")
    await keeping.poll()
    held = {hold.name for hold in keeping.engine.writer.holds}
    assert (len(held), "cart" in held, len(keeping.branches)) == (3, True, 1)
    update(keeping, "late")
    await keeping.poll()
    [another] = [name for name in keeping.branches if is_rolling(name)]
    remote.pull()
    remote.git("fetch", "-q", "origin")
    remote.git("merge", "-q", "--no-ff", "-m", "promote", f"origin/{another}")
    remote.push()
    await keeping.poll()
    assert approved(keeping) == {"late"}
    assert {hold.name for hold in keeping.engine.writer.holds} == held


class Died(Exception):
    """The process is gone."""


@pytest.mark.parametrize("when", ["after", pytest.param("before", marks=pytest.mark.long)])
@pytest.mark.parametrize("call", [2, 5, *(pytest.param(n, marks=pytest.mark.long) for n in (1, 3, 4, 6, 7, 8, 9))])
async def test_dying_at_any_call_leads_to_the_same_requests(keeping: Keeping, call: int, when: str) -> None:
    """§4: everybody is asked for exactly once, with the mirror or without (I12)."""

    def failed(*_: object) -> None:
        raise Died

    keeping.forge.dies, keeping.forge.die_at = Died, (call, when)
    keeping.pulls._failed = failed  # type: ignore[assignment]
    for name in ("web", "api", "db"):
        update(keeping, name)
    for name in ("cart", "late", ""):
        try:
            await keeping.poll()
        except Died:
            keeping.begin(wiped=call % 2 == 0)
            keeping.pulls._failed = failed  # type: ignore[assignment]
            await keeping.poll()
        asked = [each for one in keeping.forge.open_ones() for each in carried(keeping, one.number)]
        assert len(asked) == len(set(asked))
        if name:
            update(keeping, name)
    await keeping.poll()
    assert {one.state for one in keeping.forge.requests.values()} == {"open"}
    assert sorted(is_rolling(one.branch) for one in keeping.forge.open_ones()) == [False, True]
    asked = [name for one in keeping.forge.open_ones() for name in carried(keeping, one.number)]
    assert sorted(asked) == ["api", "cart", "db", "late", "web"]
    assert keeping.engine.writer.holds == frozenset()
