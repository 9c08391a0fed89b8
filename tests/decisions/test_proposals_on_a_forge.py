"""Promotions between environments as pull requests (docs/decisions.md §5, §7), over a stand-in for the forge."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from decision_repo import manifest
from decisions.test_proposals import FROM, HERE, PROD, THERE, Desk
from forge_double import ForgeDouble
from git_remote import Remote
from gitops_rollouts.decisions.forge_side.pull_requests import PullRequests
from gitops_rollouts.decisions.forge_side.request_check import check_of, promotable
from gitops_rollouts.decisions.writing.round import WriterTarget
from gitops_rollouts.git.repository import Mirror


class Shop(Desk):
    """prod's engine, whose repository is on a forge."""

    def __init__(self, remote: Remote, mirror: Mirror) -> None:
        super().__init__(remote, mirror)
        self.forge = ForgeDouble(remote)
        self.pulls = PullRequests(mirror, "main", lambda target: self.forge, lambda: self.now)  # type: ignore[arg-type, return-value]
        self.pulls.tell = self.writer.saw_standings
        self.writer._on_views = self._show
        self.writer.register(WriterTarget(PROD, forge=True, promotion=FROM))

    def _show(self, target: str, views: object) -> None:
        self.views[target] = views  # type: ignore[assignment]
        self.pulls.show(target, views)  # type: ignore[arg-type]

    async def turn(self) -> list[tuple[int, str]]:
        """A poll and all that comes of it; number and state of each request."""
        self.now += timedelta(seconds=30)
        for _ in range(3):
            self.mirror.fetch("main")
            await self.look()
            self.pulls.look("prod")
            await self.pulls.step()
        await self.look()
        self.forge.open_ones()
        return [(one.number, one.state) for one in self.forge.requests.values()]

    def check(self) -> tuple[str, str, str]:
        (view,) = [one for one in self.views["prod"] if one.tip]
        said = promotable(view)
        return check_of(view), said.state, said.words


@pytest.fixture
def shop(remote: Remote, new_mirror: Callable[..., Mirror]) -> Shop:
    remote.put({HERE: manifest("web:v1"), THERE: manifest("web:v1")})
    return Shop(remote, new_mirror())


async def test_one_request_that_says_what_comes_and_is_renewed(shop: Shop) -> None:
    """Latest wins: the same number, another body; merging it ends it without a word."""
    shop.record("web:v2")
    assert await shop.turn() == [(1, "open")]
    request = shop.forge.requests[1]
    assert request.title == "prod: web gets what is stable in staging"
    assert "**web:v2 has been stable in staging for as long as was asked**" in request.body
    assert "| shop/web | web:v1 | web:v2 |" in request.body
    assert shop.check() == ("rollout/from-staging", "success", "still stable in staging")
    shop.record("web:v3")
    assert await shop.turn() == [(1, "open")]
    assert "| shop/web | web:v1 | web:v3 |" in shop.forge.requests[1].body
    shop.forge.merge_by(1, "alice")
    assert await shop.turn() == [(1, "merged")]
    assert shop.refs() == {}
    assert shop.forge.comments == {}
    shop.record("web:v4")
    assert await shop.turn() == [(1, "merged"), (2, "open")]


async def test_closing_holds_these_images_and_says_who(shop: Shop) -> None:
    """Close = hold; reopen goes on; a newer version gets a request of its own."""
    shop.record("web:v2")
    await shop.turn()
    shop.forge.close_by(1, "bob")
    for _ in range(2):
        assert await shop.turn() == [(1, "closed")]
    assert shop.state == "held"
    assert "by bob" in shop.proposed["prod"][0].reason
    shop.forge.reopen_by(1)
    assert await shop.turn() == [(1, "open")]
    assert shop.state == "proposed"
    shop.forge.close_by(1, "bob")
    await shop.turn()
    shop.record("web:v3")
    assert await shop.turn() == [(1, "closed"), (2, "open")]
    assert "web:v3" in shop.forge.requests[2].body


async def test_what_went_back_there_is_closed_here(shop: Shop) -> None:
    """A rollback of the source takes its request away."""
    shop.record("web:v2")
    await shop.turn()
    shop.record("web:v1")
    assert await shop.turn() == [(1, "closed")]
    assert shop.refs() == {}
    assert shop.proposed["prod"] == ()


async def test_the_check_turns_red_while_another_version_soaks(shop: Shop) -> None:
    """§5: the head no longer says what is stable there."""
    shop.record("web:v2")
    await shop.turn()
    longer = FROM.__class__(FROM.source, timedelta(minutes=30))
    shop.writer.register(WriterTarget(PROD, forge=True, promotion=longer))
    shop.record("web:v3")
    assert await shop.turn() == [(1, "open")]
    context, state, text = shop.check()
    assert (context, state) == ("rollout/from-staging", "failure")
    assert "another version is stable there by now" in text
    assert "Out of date" in shop.forge.requests[1].body
    shop.now += timedelta(minutes=31)
    assert await shop.turn() == [(1, "open")]
    assert shop.check()[1] == "success"
