"""A person, an engine and a remote at random: the invariants of docs/decisions.md §4 hold whatever comes when.

I5 an id is introduced by at most one engine commit; I6 one that others removed never comes back; I7 engine commits
change only lines of ours, T and S stay; I8 without input the commits stop; no line of a person is lost.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable

import pytest

from decision_engine import KEY, WEB_YAML, Engine
from decision_repo import manifest
from git_remote import Remote
from gitops_rollouts.api.names import OWN_PREFIX
from gitops_rollouts.decisions.planning.wants import WantAbort, WantRecord, WantRequest
from gitops_rollouts.git.repository import Mirror

SEEDS = 4


class World:
    """What happens, at random."""

    def __init__(self, remote: Remote, new_mirror: Callable[..., Mirror], seed: int) -> None:
        self.dice = random.Random(seed)
        self.remote = remote
        self.new_mirror = new_mirror
        self.versions = 1
        self.typed = 0
        self.aborted = 0
        remote.put({WEB_YAML: manifest("web:v1")}, "person: v1")
        self.engine = Engine(new_mirror("m0"))
        self.restarts = 0

    def edit(self, change: Callable[[str], str], what: str) -> None:
        self.remote.pull()
        text = (self.remote.work / WEB_YAML).read_text()
        if change(text) != text:
            self.remote.put({WEB_YAML: change(text)}, f"person: {what}")

    def push_an_image(self) -> None:
        self.versions += self.dice.choice([0, 1])
        self.edit(lambda text: re.sub(r"web:v\d+  # bumped", f"web:v{self.versions}  # bumped", text), "image")

    def type_something(self) -> None:
        self.typed += 1
        self.edit(lambda text: text + f"# typed {self.typed}\n", "typing")

    def revert_the_last(self) -> None:
        self.remote.pull()
        if int(self.remote.git("rev-list", "--count", "HEAD")) > 1 and "merge" not in self.remote.git(
            "log", "-1", "--format=%s"
        ):
            self.remote.git("revert", "--no-edit", "HEAD")
            self.remote.push()

    def merge_a_request(self) -> None:
        self.remote.pull()
        found = self.remote.git(
            "for-each-ref", "--format=%(refname:short)", "refs/remotes/origin/rollouts"
        ).splitlines()
        if found:
            branch = self.dice.choice(found)
            self.remote.git("merge", "-q", "--no-ff", "-m", "merge", "-X", "ours", branch)
            self.remote.push()

    def delete_a_request(self) -> None:
        self.remote.pull()
        found = self.remote.git(
            "for-each-ref", "--format=%(refname:short)", "refs/remotes/origin/rollouts"
        ).splitlines()
        for branch in found[:1]:
            self.remote.git("push", "-q", "origin", ":refs/heads/" + branch.removeprefix("origin/"))

    def sync(self) -> None:
        self.engine.sync()

    def restart(self) -> None:
        self.restarts += 1
        self.engine = Engine(self.new_mirror(f"m{self.restarts}"))
        self.engine.sync()

    def decide(self) -> None:
        state = self.engine.board.get(*KEY)
        if state is None or state.blocked:
            return
        kind = self.dice.randrange(4)
        if kind == 0:
            self.engine.want(WantRecord(state.attempt))
        elif kind == 1:
            self.engine.want(WantRequest(state.attempt, 1, 20, 60))
        elif kind == 2:
            self.aborted += self.dice.choice([0, 1])
            self.engine.want(WantAbort(state.attempt, 1, f"2026-01-01T00:{self.aborted:02}:00Z", "Requested", "x"))
        else:
            self.engine.want()

    async def step(self) -> None:
        moves = [self.push_an_image, self.type_something, self.revert_the_last, self.merge_a_request]
        moves += [self.delete_a_request, self.sync, self.sync, self.decide, self.decide, self.restart]
        self.dice.choice(moves)()
        if self.dice.random() < 0.7:
            await self.engine.settle()


def check_history(remote: Remote) -> None:
    remote.pull()
    ids: set[str] = set()
    for commit in reversed(remote.git("rev-list", "--first-parent", "HEAD").splitlines()):
        if "gitops-rollouts[bot]" not in remote.git("log", "-1", "--format=%an", commit):
            continue
        changed = [
            line
            for line in remote.git("show", "-U0", "--format=", commit).splitlines()
            if line.startswith(("+", "-")) and not line.startswith(("+++", "---"))
        ]
        assert all(OWN_PREFIX in line for line in changed), changed
        for line in changed:
            for made in re.findall(r"gitops-rollouts\.io/abort.* id=(d-\w+)", line) if line[0] == "+" else ():
                assert made not in ids, f"{made} was introduced twice"
                ids.add(made)


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_anything_in_any_order(remote: Remote, new_mirror: Callable[..., Mirror], seed: int) -> None:
    world = World(remote, new_mirror, seed)
    for _ in range(15):
        await world.step()
    world.sync()
    await world.engine.settle()
    head = remote.pull()
    await world.engine.settle()
    world.sync()
    await world.engine.settle()
    assert remote.pull() == head
    check_history(remote)
    before = world.engine.board.get(*KEY)
    assert before is None or world.engine.sync() == before


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 140))
async def test_anything_in_any_order_for_long(remote: Remote, new_mirror: Callable[..., Mirror], seed: int) -> None:
    world = World(remote, new_mirror, seed)
    for _ in range(60):
        await world.step()
    world.sync()
    await world.engine.settle()
    check_history(remote)
