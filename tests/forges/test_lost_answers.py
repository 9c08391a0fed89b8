"""A call that was carried out and whose answer was lost is made again: nothing happens twice (docs/decisions.md §4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import pytest

from forges.bitbucket_shapes import Bitbucket
from forges.contract import BRANCH
from forges.gitlab_shapes import GitLab
from forges.shapes import running
from gitops_rollouts.errors import ForgeUnreachable
from gitops_rollouts.forges.forge import CommitStatus, Forge
from http_server import Reply, Seen

Site = GitLab | Bitbucket


@pytest.fixture(params=[GitLab, Bitbucket])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    model: Site = request.param()
    with running(model):
        model.branch(BRANCH)
        yield model


def _lose_the_next_change(site: Site) -> None:
    """It is carried out, and the connection breaks in the middle of the answer."""
    lost: list[Seen] = []

    def answer(seen: Seen) -> Reply:
        reply = site.handle(seen)
        if seen.method != "GET" and not lost:
            lost.append(seen)
            reply.cut = True
        return reply

    site.server.answer = answer


CALLS: Final[dict[str, Callable[[Forge, str], object]]] = {
    "edit": lambda forge, head: forge.edit(1, title="new", body="new"),
    "close": lambda forge, head: forge.close(1),
    "merge": lambda forge, head: forge.merge(1, head),
    "merge when ready": lambda forge, head: forge.merge(1, head, when_ready=True),
    "set_status": lambda forge, head: forge.set_status(head, CommitStatus("rollout/x", "pending", "canary 20%")),
}


def test_no_second_request_is_opened_published_shapes(site: Site) -> None:
    _lose_the_next_change(site)
    with pytest.raises(ForgeUnreachable):
        site.forge.open(BRANCH, "main", "title", "body")
    assert site.forge.open(BRANCH, "main", "title", "body").number == 1
    assert len(site.requests) == 1


@pytest.mark.parametrize("call", CALLS)
def test_a_change_that_was_made_is_made_no_second_time_published_shapes(site: Site, call: str) -> None:
    site.forge.open(BRANCH, "main", "title", "body")
    head = site.at(1).head
    _lose_the_next_change(site)
    with pytest.raises(ForgeUnreachable):
        CALLS[call](site.forge, head)
    after = (site.at(1).state, site.at(1).title, site.at(1).became, site.tip())
    CALLS[call](site.forge, head)
    assert (site.at(1).state, site.at(1).title, site.at(1).became, site.tip()) == after
