"""docs/decisions.md §6 "What a forge merged": commits count as those of who approved the request.

The forge is a double that says what it is told to; what real ones say is tested with them.
"""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from decision_repo import PROD, abort, lines, manifest, promote
from git_remote import Remote
from gitops_rollouts.api.names import ABORT, PROMOTE
from gitops_rollouts.decisions.authority.forge_answers import Answer, ForgeAnswers
from gitops_rollouts.decisions.planning.wants import WantAbort
from gitops_rollouts.decisions.reading.target import TargetReader
from gitops_rollouts.decisions.state import InGit, TargetSpec
from gitops_rollouts.errors import ForgeLimited, ForgeUnreachable
from gitops_rollouts.forges.forge import Forge, ForgeSettings, Merged
from gitops_rollouts.forges.pool import Forges
from gitops_rollouts.git.repository import Mirror
from gitops_rollouts.render.renderer import Renderer
from gitops_rollouts.tasks import cancel
from ssh_keys import Key, policy
from waiting import eventually

WEB_YAML = "envs/prod/web.yaml"
KEY = ("shop", "web")


class Told:
    """A forge that knows the requests it is told of."""

    def __init__(self) -> None:
        self.merged: dict[str, Merged | Exception] = {}
        self.asked: list[str] = []

    def merged_as(self, commit: str) -> Merged | None:
        self.asked.append(commit)
        found = self.merged.get(commit)
        if isinstance(found, Exception):
            raise found
        return found


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Shop:
    """A repository on a forge, where Alice and Bob may approve; Dana signs with a key that promotes nothing."""

    def __init__(self, remote: Remote, mirror: Mirror, folder: Path) -> None:
        self.remote, self.mirror, self.forge, self.clock = remote, mirror, Told(), Clock()
        self.dana = Key(folder, "dana@example.com")
        approvers = {("alice", ""), ("bob", ""), ("dana", "dana@example.com")}
        self.spec: TargetSpec = replace(PROD, policy=replace(policy(self.dana), approvers=frozenset(approvers)))
        remote.put({WEB_YAML: manifest("web:v1")})
        with self.dana.signs(remote):
            self.intent = remote.put({WEB_YAML: manifest("web:v2")})
        self.restart()

    def restart(self) -> None:
        self.answers = ForgeAnswers(lambda target: cast("Forge", self.forge), monotonic=self.clock)
        self.reader = TargetReader(self.mirror, Renderer(), answers=self.answers)
        self.last: str | None = None

    def web(self) -> InGit:
        """As sync reads it, from head to head."""
        head = self.mirror.fetch("main")
        state = self.reader.read(self.spec, head, self.last).rollouts[KEY]
        self.last = head
        return state

    def answered(self, seconds: float = 0.0) -> InGit:
        """What is read once every question that is due has been put."""
        self.clock.now += seconds
        asyncio.run(self.answers.put_due())
        return self.web()

    def request(self, text: str, branch: str = "request") -> str:
        """A branch with one commit on main; returns it."""
        self.remote.git("checkout", "-q", "-B", branch, "main")
        commit = self.remote.write({WEB_YAML: text})
        self.remote.git("checkout", "-q", "main")
        return commit

    def merge(self, tip: str, style: str, by: set[str], **more: Any) -> str:
        """What a forge does, and then says."""
        remote = self.remote
        if style == "merge":
            remote.git("merge", "-q", "--no-ff", "-m", "Merge", tip)
        elif style == "fast-forward":
            remote.git("merge", "-q", "--ff-only", tip)
        elif style == "squash, then merge":  # as GitLab does
            remote.git("checkout", "-q", "-B", "squashed", "main")
            remote.git("merge", "-q", "--squash", tip)
            remote.git("commit", "-q", "-m", "Squashed")
            remote.git("checkout", "-q", "main")
            remote.git("merge", "-q", "--no-ff", "-m", "Merge", "squashed")
            tip = remote.git("rev-parse", "squashed")
        else:
            remote.write({"README": f"meanwhile {tip}"})
            remote.git("cherry-pick", tip)
        remote.push()
        commit = remote.git("rev-parse", "HEAD")
        merged = Merged(7, "https://forge/7", "rollouts-bot", "alice", frozenset(by), "main", tip, commit)
        self.forge.merged[commit] = replace(merged, **more)
        return commit


@pytest.fixture
def shop(remote: Remote, mirror: Mirror, tmp_path: Path) -> Shop:
    return Shop(remote, mirror, tmp_path)


def approval(shop: Shop, gate: int = 1) -> str:
    return manifest("web:v2", annotations=lines(promote(shop.web().attempt, gate)))


def why(state: InGit, key: str) -> str:
    return "; ".join(one.reason for one in state.ignored if one.key == key and one.unauthorised)


@pytest.mark.parametrize("style", ["merge", "squash", "squash, then merge", "fast-forward"])
def test_a_merged_request_that_somebody_approved_who_may_counts(shop: Shop, style: str) -> None:
    commit = shop.merge(shop.request(approval(shop)), style, {"Alice"})
    state = shop.web()
    assert state.approved_through == -1
    assert commit[:7] in state.unconfirmed
    state = shop.answered()
    assert (state.approved_through, state.unconfirmed, state.ignored) == (1, "", ())
    asked = len(shop.forge.asked)
    shop.remote.put({"README": "later"})
    assert shop.answered(seconds=10_000).approved_through == 1
    assert len(shop.forge.asked) == asked


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"approvers": frozenset()}, "nobody who may approved request 7"),
        ({"approvers": frozenset({"mallory"})}, "nobody who may approved request 7"),
        ({"approvers": frozenset({"alice"}), "author": "Alice"}, "nobody who may approved request 7"),
        ({"approvers": frozenset({"dana"})}, "nobody who may but the version's own author approved request 7"),
        ({"base": "staging"}, "no request into this branch"),
        ({"merge_commit": "0" * 40}, "no request into this branch"),
        ({"number": 8, "head": "f" * 40}, "it holds something else than request 8"),
    ],
)
def test_what_the_forge_doesnt_confirm_is_shown_and_ignored(shop: Shop, more: dict[str, Any], told: str) -> None:
    shop.merge(shop.request(approval(shop)), "merge", {"alice"}, **more)
    shop.web()
    state = shop.answered()
    assert (state.approved_through, state.unconfirmed) == (-1, "")
    assert told in why(state, PROMOTE)


def test_a_merge_with_more_in_it_than_was_approved_doesnt_count(shop: Shop) -> None:
    """A push of an approved request's head makes forges call it merged, whatever else the merge holds."""
    text = approval(shop)
    head = shop.request(manifest("web:v2") + "# harmless\n")
    shop.remote.git("merge", "-q", "--no-ff", "--no-commit", head)
    (shop.remote.work / WEB_YAML).write_text(text)
    commit = shop.remote.put({})
    shop.forge.merged[commit] = Merged(7, "", "bob", "mallory", frozenset({"alice"}), "main", head, commit)
    shop.web()
    state = shop.answered()
    assert state.approved_through == -1
    assert "it holds something else than request 7" in why(state, PROMOTE)


def test_a_version_that_came_by_a_request_isnt_its_authors_to_approve(shop: Shop) -> None:
    shop.remote.put({WEB_YAML: manifest("web:v1")})
    intent = shop.remote.put({WEB_YAML: manifest("web:v2")})
    shop.forge.merged[intent] = Merged(5, "", "Alice", "bob", frozenset({"bob"}), "main", intent, intent)
    shop.merge(shop.request(approval(shop)), "merge", {"alice"})
    shop.web()
    shop.answered()
    state = shop.answered()
    assert "but the version's own author" in why(state, PROMOTE)
    shop.remote.put({WEB_YAML: manifest("web:v2")})
    shop.merge(shop.request(approval(shop), "again"), "merge", {"alice", "bob"})
    shop.web()
    assert shop.answered().approved_through == 1


def test_two_approvals_are_needed_where_nobody_can_tell_who_wrote_the_version(shop: Shop) -> None:
    shop.remote.put({WEB_YAML: manifest("web:v1")})
    shop.remote.put({WEB_YAML: manifest("web:v2")})
    shop.merge(shop.request(approval(shop)), "merge", {"alice"})
    shop.web()
    for _ in range(4):  # until it is sure that no request became the version's commit
        state = shop.answered(seconds=20)
    assert "the approval of two who may" in why(state, PROMOTE)
    shop.remote.put({WEB_YAML: manifest("web:v2")})
    shop.merge(shop.request(approval(shop), "again"), "merge", {"alice", "bob"})
    shop.web()
    assert shop.answered().approved_through == 1


def test_while_the_forge_is_away_nothing_is_granted_and_nothing_taken_back(shop: Shop) -> None:
    shop.merge(shop.request(approval(shop)), "merge", {"alice"})
    shop.web()
    assert shop.answered().approved_through == 1
    text = manifest("web:v2", annotations=lines(promote(shop.web().attempt, 3)))
    commit = shop.merge(shop.request(text, "next"), "merge", {"alice"})
    known = shop.forge.merged[commit]
    shop.forge.merged[commit] = ForgeUnreachable("no route to the forge")
    shop.web()
    state = shop.answered()
    assert state.unconfirmed.endswith("the forge hasn't said yet who approved it: no route to the forge")
    shop.restart()
    shop.web()
    assert shop.answered().unconfirmed
    shop.forge.merged[commit] = known
    assert shop.answered().unconfirmed  # not before its time
    state = shop.answered(seconds=2)
    assert (state.approved_through, state.unconfirmed) == (3, "")


def test_an_abort_acts_while_the_forge_says_nothing_of_the_promotion_beside_it(shop: Shop) -> None:
    """§6: a forge that is slow or away delays no abort, be it after a restart."""
    shop.merge(shop.request(approval(shop)), "merge", {"alice"})
    shop.restart()
    assert shop.web().unconfirmed
    attempt = shop.web().attempt
    line = abort(attempt)
    shop.remote.put({WEB_YAML: manifest("web:v2", annotations=lines(promote(attempt, 1), line))})
    for again in (False, True):
        if again:
            shop.restart()
        state = shop.web()
        assert (state.abort, state.approved_through, state.unconfirmed) == (line, -1, "")
    state = shop.answered()
    assert (state.abort, state.approved_through) == (line, 1)


def test_an_abort_goes_by_an_approved_request_and_stands_until_that_is_known(shop: Shop) -> None:
    line = abort(shop.web().attempt)
    shop.remote.put({WEB_YAML: manifest("web:v2", annotations=lines(line))})
    assert shop.web().abort == line
    commit = shop.merge(shop.request(manifest("web:v2")), "merge", {"bob"})
    state = shop.web()
    assert (state.abort, state.lifted_abort, state.unconfirmed) == (line, "", "")
    assert "the forge hasn't said yet" in why(state, ABORT)
    state = shop.answered()
    assert (state.abort, state.lifted_abort, state.ignored) == (None, line.id, ())
    # a process that begins afresh takes nothing for aborted that went on since, and nothing for lifted
    shop.restart()
    state = shop.web()
    assert (state.abort, state.lifted_abort) == (None, "")
    assert commit[:7] in state.unconfirmed
    state = shop.answered()
    assert (state.abort, state.unconfirmed) == (None, "")


def test_an_abort_that_an_unapproved_request_took_away_stands(shop: Shop) -> None:
    line = abort(shop.web().attempt)
    shop.remote.put({WEB_YAML: manifest("web:v2", annotations=lines(line))})
    shop.merge(shop.request(manifest("web:v2")), "merge", set())
    shop.web()
    state = shop.answered()
    assert state.abort == line
    assert "nobody who may approved request 7" in why(state, ABORT)


def test_while_it_waits_for_the_forge_nothing_is_wanted_of_git(shop: Shop) -> None:
    """The abort that the cluster shows would otherwise be taken for a new one, or for one that was withdrawn."""
    from gitops_rollouts.api.rollout import parse_rollout
    from gitops_rollouts.decisions.planning.wants import wants

    line = abort(shop.web().attempt)
    shop.remote.put({WEB_YAML: manifest("web:v2", annotations=lines(line))})
    shop.merge(shop.request(manifest("web:v2")), "merge", {"bob"})
    shop.restart()
    state = shop.web()
    assert state.unconfirmed
    live = {
        "metadata": {"name": "web", "namespace": "shop", "generation": 2},
        "spec": {"strategy": {"canary": {}}},
        "status": {
            "observedGeneration": "2", "abort": True, "abortedAt": "2026-01-01T00:00:00Z", "stableRS": "a",
            "currentPodHash": "b",
        },
    }  # fmt: skip
    assert wants(parse_rollout(live), state, applied=True) == ()
    found = wants(parse_rollout(live), replace(state, unconfirmed=""), applied=True)
    assert isinstance(found[0], WantAbort)


async def test_a_no_is_believed_after_the_third_and_asked_again_later() -> None:
    forge, clock, news = Told(), Clock(), list[str]()
    answers = ForgeAnswers(lambda target: cast("Forge", forge), news.append, clock)
    commit = "a" * 40
    assert answers.ask("prod", commit) == Answer()
    for waited in (0.0, 1.0, 4.0):
        assert not answers.ask("prod", commit).known
        clock.now += waited
        await answers.put_due()
    assert answers.ask("prod", commit) == Answer(True)
    assert answers.news("prod") == 1
    wait = await answers.put_due()
    assert wait == pytest.approx(10.0)
    forge.merged[commit] = Merged(1, "", "a", "b", frozenset(), "main", commit, commit)
    clock.now += 10.0
    assert await answers.put_due() is None
    assert answers.ask("prod", commit).merged is not None
    assert answers.news("prod") == 2
    assert len(forge.asked) == 4


async def test_a_forge_that_wants_fewer_questions_gets_fewer() -> None:
    forge, clock = Told(), Clock()
    answers = ForgeAnswers(lambda target: cast("Forge", forge), monotonic=clock)
    commit = "b" * 40
    answers.ask("prod", commit)
    forge.merged[commit] = ForgeLimited("later", retry_after=90.0)
    assert await answers.put_due() == pytest.approx(90.0)
    assert answers.ask("prod", commit) == Answer(problem="later")
    answers.forget("prod")
    assert await answers.put_due() is None


async def test_questions_are_put_as_they_come_and_answers_told() -> None:
    forge, told = Told(), asyncio.Queue[str]()
    commit = "c" * 40
    forge.merged[commit] = Merged(1, "", "a", "b", frozenset(), "main", commit, commit)
    answers = ForgeAnswers(lambda target: cast("Forge", forge), told.put_nowait)
    task = asyncio.create_task(answers.run())
    try:
        await asyncio.to_thread(answers.ask, "prod", commit)
        assert await asyncio.wait_for(told.get(), 20) == "prod"
        assert answers.ask("prod", commit).known
    finally:
        task.cancel()


async def test_a_forge_that_fails_holds_up_neither_another_nor_what_is_asked_later() -> None:
    """§6: after a few failures the rest isn't asked at once; what nobody knows yet goes first."""
    away, well, clock = Told(), Told(), Clock()
    forges = {"prod": away, "eu": well}
    answers = ForgeAnswers(lambda target: cast("Forge", forges[target]), monotonic=clock)
    for commit in map(str, range(40)):
        away.merged[commit] = ForgeUnreachable("no answer")
        answers.ask("prod", commit)
    answers.ask("eu", "a")
    await answers.put_due()
    assert well.asked == ["a"]
    assert 1 <= len(away.asked) <= 8
    assert {answers.ask("prod", str(n)).problem for n in range(40)} == {"no answer"}
    away.merged.clear()
    for _ in range(60):
        clock.now += 1.0
        await answers.put_due()
    assert set(away.asked) == set(map(str, range(40)))


async def test_a_no_that_stands_is_asked_for_once_a_day_in_the_end() -> None:
    """§2: at rest next to nothing is asked, however many commits there were."""
    forge, clock = Told(), Clock()
    answers = ForgeAnswers(lambda target: cast("Forge", forge), monotonic=clock)
    answers.ask("prod", "a")
    for _ in range(7 * 24 * 4):
        await answers.put_due()
        clock.now += 900.0
    assert len(forge.asked) <= 14


async def test_what_another_forge_said_counts_no_more() -> None:
    """§6: a GitSync that names another project, or none, starts anew; another token is the same place."""
    forges = Forges()
    first = ForgeSettings("gitea", "https://git.example/api/v1", "acme/shop", "one")
    assert forges.put("prod", first)
    assert not forges.put("prod", replace(first, token="two"))
    assert forges.put("prod", replace(first, project="acme/other"))
    assert forges.put("prod", None)
    assert not forges.put("prod", None)
    told = Told()
    answers = ForgeAnswers(lambda target: cast("Forge", told), monotonic=Clock())
    told.merged["a"] = Merged(1, "", "dana", "bob", frozenset({"bob"}), "main", "a", "a")
    answers.ask("prod", "a")
    await answers.put_due()
    before = answers.news("prod")
    assert answers.ask("prod", "a").known
    answers.forget("prod")
    assert not answers.ask("prod", "a").known
    assert answers.news("prod") != before


async def test_a_forge_that_hangs_keeps_no_other_one_from_being_asked() -> None:
    """§6: every GitSync's promotions wait for its own forge alone."""
    hung, well, release = Told(), Told(), threading.Event()
    answer = hung.merged_as

    def hang(commit: str) -> Merged | None:
        assert release.wait(60)
        return answer(commit)

    hung.merged_as = hang  # type: ignore[method-assign]
    found = Merged(1, "", "a", "b", frozenset(), "main", "c" * 40, "c" * 40)
    well.merged = dict.fromkeys(("1" * 40, "2" * 40), found)
    answers = ForgeAnswers(lambda target: cast("Forge", {"hung": hung, "well": well}[target]))
    answers.ask("hung", "1" * 40)
    answers.ask("well", "1" * 40)
    running = asyncio.create_task(answers.run())

    async def known(target: str, commit: str) -> bool:
        return answers.ask(target, commit).known

    for commit in ("1" * 40, "2" * 40):  # one that was there before, and one that comes while the other forge hangs
        await eventually(partial(known, "well", commit), what=commit)
    assert not answers.ask("hung", "1" * 40).known
    hung.merged["1" * 40] = found
    release.set()
    await eventually(partial(known, "hung", "1" * 40), what="the one that hung")
    await cancel([running])
