"""What stands as a request, shown by GitLab and Bitbucket as their published APIs let us (docs/decisions.md §2).

The life of a request on the models of both: opened, at rest, edited by people, superseded, held, merged too late.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from forges.bitbucket_shapes import Bitbucket
from forges.contract import BRANCH
from forges.gitlab_shapes import GitLab
from forges.shapes import running
from gitops_rollouts.decisions.forge_side.round import ForgeRound
from gitops_rollouts.decisions.identity import Subject
from gitops_rollouts.decisions.requests.body import fenced
from gitops_rollouts.decisions.requests.view import Member, RequestView, Standing
from gitops_rollouts.decisions.state import Attempt, InGit, Placement

Site = GitLab | Bitbucket
VOID = "superseded by 3b70795"
_ATTEMPT = Attempt("0123456789abcdef", "fedcba98", "3b70795" + "0" * 33)
NEWER = InGit("prod", "shop", "web", "d" * 40, _ATTEMPT, Placement(True, "web.yaml", "web.yaml"))


class Life:
    """One view and the rounds that show it; each may be a new process."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        tip = site.branch(BRANCH)
        member = Member(Subject("prod", "shop", "web"), 1)
        self.view = RequestView("promote", "prod", BRANCH, tip, "main", "0123456789ab", 1, members=(member,))
        self.begin()

    def begin(self) -> None:
        self.round = ForgeRound(self.site.forge, "main", lambda merge, intent: True)

    def look(self) -> Standing:
        self.now += timedelta(minutes=2)
        looked = self.round.look([self.view], self.now)
        assert looked.problems == {}
        return looked.standings[BRANCH]

    def changes(self) -> list[str]:
        """What was asked to be changed since this was asked last."""
        made = [
            f"{seen.method} {seen.path.rpartition('/')[2]}" for seen in self.site.server.seen if seen.method != "GET"
        ]
        self.site.server.seen.clear()
        return made


@pytest.fixture(params=[GitLab, Bitbucket])
def life(request: pytest.FixtureRequest) -> Iterator[Life]:
    model: Site = request.param()
    with running(model):
        yield Life(model)


def test_one_is_opened_and_then_nothing_is_changed_published_shapes(life: Life) -> None:
    standing = life.look()
    assert (standing.number, standing.state, standing.held) == (1, "open", False)
    assert life.site.at(1).body == fenced(life.view)
    life.changes()
    life.look()
    assert len(life.site.server.seen) == 1
    life.begin()
    life.look()
    assert life.changes() == []
    assert len(life.site.requests) == 1


def test_what_people_wrote_stays_when_it_is_superseded_published_shapes(life: Life) -> None:
    life.look()
    life.site.at(1).body = f"Looks fine to me.\n\n{life.site.at(1).body}\n\n/cc nobody"
    life.view = replace(life.view, void=VOID)
    life.begin()
    standing = life.look()
    found = life.site.at(1)
    assert (found.state, standing.ours, standing.settled, standing.held) == ("closed", True, True, False)
    assert found.body.startswith("Looks fine to me.")
    assert VOID in found.body
    (said,) = life.site.comments(1)
    assert VOID in said
    life.changes()
    life.begin()
    standing = life.look()
    assert (standing.ours, standing.settled, standing.held) == (True, True, False)
    assert life.changes() == []


def test_closed_by_a_person_it_is_a_hold_that_says_whose_published_shapes(life: Life) -> None:
    life.look()
    life.site.close(1, "alice")
    life.begin()
    life.changes()
    for _ in range(2):
        standing = life.look()
        assert (standing.held, standing.who) == (True, "alice")
    assert life.changes() == []


def test_what_we_closed_and_is_wanted_again_stands_again_published_shapes(life: Life) -> None:
    life.look()
    wanted = life.view
    life.view = replace(wanted, void=VOID)
    life.look()
    life.view = wanted
    standing = life.look()
    assert (standing.state, standing.held) == ("open", False)
    assert standing.number == (1 if isinstance(life.site, GitLab) else 2)
    found = life.site.at(standing.number)
    assert (found.state, VOID in found.body) == ("open", False)
    life.changes()
    life.look()
    assert life.changes() == []


def test_a_merge_that_came_too_late_is_told_so_once_published_shapes(life: Life) -> None:
    """Bitbucket lets nobody change the text of a request that isn't open."""
    life.look()
    life.site.merge(1, "alice", "merge")
    life.view = replace(life.view, void=VOID, members=(replace(life.view.members[0], state=NEWER),))
    for _ in range(3):
        standing = life.look()
        assert (standing.state, standing.settled, standing.who) == ("merged", True, "alice")
    (said,) = life.site.comments(1)
    assert "no effect" in said


def test_a_bot_that_may_not_merge_leaves_that_to_people_and_the_rest_goes_on_published_shapes(life: Life) -> None:
    """§2 "Push refused": the token is good for everything else."""
    life.site.may_merge = False
    record = replace(
        life.view, kind="record", branch="rollouts/record/prod", tip=life.site.branch("rollouts/record/prod")
    )
    for _ in range(3):
        life.now += timedelta(minutes=2)
        looked = life.round.look([record, life.view], life.now)
        assert looked.problems == {}
        assert {standing.state for standing in looked.standings.values()} == {"open"}
    life.site.may_merge = True
    life.now += timedelta(hours=2)
    life.round.look([record, life.view], life.now)
    assert [each.state for each in life.site.requests] == ["merged", "open"]
