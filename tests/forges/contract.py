"""What every forge must do, whichever it is (docs/decisions.md §2): each forge's tests run this against it.

A test of a forge gives `Site`: the forge, and what a person does there by other means.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import pytest

from gitops_rollouts.errors import ForgeDenied, ForgeError, ForgeMissing, ForgeRefused
from gitops_rollouts.forges.forge import CommitStatus, Forge, PullRequest
from waiting import wait_for

PREFIX = "rollouts/promote/prod/"
BRANCH = f"{PREFIX}0123456789ab-g1"


class Site(Protocol):
    """A repository with a commit on ``main``, on the forge that is tested."""

    @property
    def forge(self) -> Forge: ...

    def branch(self, name: str, base: str = "main") -> str:
        """Put a branch with one more commit than ``base`` there; the commit."""
        ...

    def remove_branch(self, name: str) -> None: ...

    def approve(self, number: int, by: str) -> None: ...

    def close(self, number: int, by: str) -> None: ...

    def merge(self, number: int, by: str, style: str) -> str:
        """Press the button; what became of it on the base branch."""
        ...

    def comments(self, number: int) -> list[str]: ...

    def status(self, commit: str, context: str) -> tuple[str, str]:
        """State and description that are shown."""
        ...

    def tip(self, branch: str = "main") -> str: ...

    def intruder(self) -> Forge:
        """The same, opened by a token that may do nothing."""
        ...


class ForgeContract:
    """Subclasses give the fixture ``site``, and ``bot`` and the styles that the forge has."""

    bot = "bot"
    styles: tuple[str, ...] = ("merge", "squash", "rebase")
    reopens = True

    def opened(self, site: Any, branch: str = BRANCH) -> PullRequest:
        site.branch(branch)
        return site.forge.open(branch, "main", "web: promote v2 past gate 1", "| a | b |\n\nThe body <!-- x:{} -->")

    def test_what_is_opened_is_found_as_it_was_given(self, site: Any) -> None:
        head = site.branch(BRANCH)
        assert site.forge.find(BRANCH, "main") is None
        assert list(site.forge.open_requests("main", PREFIX)) == []
        made = site.forge.open(BRANCH, "main", "web: promote v2 past gate 1", "The body\n<!-- x:{} -->")
        assert made.number > 0
        assert (made.branch, made.base, made.head, made.state) == (BRANCH, "main", head, "open")
        assert (made.title, made.body) == ("web: promote v2 past gate 1", "The body\n<!-- x:{} -->")
        assert made.author == self.bot
        assert made.url.startswith("http")
        assert site.forge.find(BRANCH, "main") == made
        assert list(site.forge.open_requests("main", PREFIX)) == [made]
        assert list(site.forge.open_requests("main", "rollouts/record/")) == []
        assert list(site.forge.open_requests("other", PREFIX)) == []

    def test_asked_twice_it_opens_one(self, site: Any) -> None:
        first = self.opened(site)
        again = site.forge.open(BRANCH, "main", "another title", "another body")
        assert again == first
        assert [each.number for each in site.forge.open_requests("main", PREFIX)] == [first.number]

    def test_open_requests_are_told_oldest_first_and_by_their_branch(self, site: Any) -> None:
        made = [self.opened(site, f"{PREFIX}{n}") for n in range(3)]
        self.opened(site, "feature/x")
        assert [each.number for each in site.forge.open_requests("main", PREFIX)] == [each.number for each in made]

    def test_title_and_body_are_changed_by_themselves(self, site: Any) -> None:
        made = self.opened(site)
        site.forge.edit(made.number, title="new title")
        site.forge.edit(made.number, body="new body")
        found = site.forge.find(BRANCH, "main")
        assert (found.title, found.body) == ("new title", "new body")

    def test_closed_says_by_whom_and_can_be_opened_again(self, site: Any) -> None:
        made = self.opened(site)
        site.close(made.number, "alice")
        found = site.forge.find(BRANCH, "main")
        assert (found.number, found.state, found.closed_by) == (made.number, "closed", "alice")
        site.forge.close(made.number)
        assert list(site.forge.open_requests("main", PREFIX)) == []
        if not self.reopens:
            with pytest.raises(ForgeRefused):
                site.forge.reopen(made.number)
            return
        site.forge.reopen(made.number)
        assert site.forge.find(BRANCH, "main").state == "open"
        site.forge.close(made.number)
        assert site.forge.find(BRANCH, "main").closed_by == self.bot

    def test_one_whose_branch_is_gone_is_not_opened_again(self, site: Any) -> None:
        made = self.opened(site)
        site.forge.close(made.number)
        site.remove_branch(BRANCH)
        with pytest.raises(ForgeRefused):
            site.forge.reopen(made.number)
        assert site.forge.find(BRANCH, "main").state == "closed"

    def test_the_newest_request_of_a_branch_is_the_one_that_is_found(self, site: Any) -> None:
        first = self.opened(site)
        site.forge.close(first.number)
        second = site.forge.open(BRANCH, "main", "again", "again")
        assert second.number != first.number
        assert site.forge.find(BRANCH, "main").number == second.number
        site.forge.close(second.number)
        assert site.forge.find(BRANCH, "main").number == second.number

    def test_a_comment_stands_below_it(self, site: Any) -> None:
        made = self.opened(site)
        site.forge.comment(made.number, "superseded by `abc`")
        assert site.comments(made.number) == ["superseded by `abc`"]

    def test_merging_is_pinned_to_the_head(self, site: Any) -> None:
        made = self.opened(site)
        old = made.head
        new = site.branch(BRANCH, base=BRANCH)
        wait_for(lambda: site.forge.find(BRANCH, "main").head == new)
        with pytest.raises(ForgeRefused):
            site.forge.merge(made.number, old)
        with pytest.raises(ForgeRefused):
            site.forge.merge(made.number, old, when_ready=True)
        before = site.tip()
        patiently(lambda: site.forge.merge(made.number, new))
        found = site.forge.find(BRANCH, "main")
        assert (found.state, found.merged_by) == ("merged", self.bot)
        assert found.merge_commit == site.tip() != before
        site.forge.merge(made.number, new)
        site.forge.close(made.number)
        assert site.forge.find(BRANCH, "main").state == "merged"

    def test_a_merged_one_is_known_by_its_commit_and_who_approved_its_last_head(self, site: Any) -> None:
        """§6 (b): in each style that the forge has, and never by an approval of an earlier head."""
        for number, style in enumerate(self.styles):
            branch = f"{PREFIX}{number}"
            made = self.opened(site, branch)
            site.approve(made.number, "bob")
            head = site.branch(branch, base=branch)
            wait_for(lambda at=branch, wanted=head: site.forge.find(at, "main").head == wanted)
            site.approve(made.number, "alice")
            commit = site.merge(made.number, "alice", style)
            merged = site.forge.merged_as(commit)
            assert merged is not None, style
            assert (merged.number, merged.author, merged.merged_by) == (made.number, self.bot, "alice"), style
            assert merged.approvers == {"alice"}, style
            assert (merged.base, merged.head, merged.merge_commit) == ("main", head, commit), style
            assert merged.url == made.url, style
            assert head == commit or site.forge.merged_as(head) is None, style
        site.branch(branch, base="main")
        assert site.forge.merged_as(commit).head == head, "the branch was made anew"

    def test_a_commit_that_was_pushed_was_no_request(self, site: Any) -> None:
        assert site.forge.merged_as(site.tip()) is None

    def test_a_status_takes_the_place_of_the_one_before(self, site: Any) -> None:
        commit, context = site.tip(), "rollout/prod/shop/web"
        for state, said in (("pending", "canary 40%"), ("pending", "canary 40%"), ("success", "stable " + "x" * 200)):
            site.forge.set_status(commit, CommitStatus(context, state, said, "https://example.invalid/x"))
        state, said = site.status(commit, context)
        assert state == "success"
        assert said.startswith("stable xxx")
        assert len(said) <= 140

    def test_what_is_not_there_is_said_to_be_missing(self, site: Any) -> None:
        with pytest.raises(ForgeMissing):
            site.forge.edit(9999, title="x")
        with pytest.raises(ForgeError):
            site.forge.comment(9999, "x")

    def test_a_token_without_rights_is_told_so(self, site: Any) -> None:
        made = self.opened(site)
        with pytest.raises((ForgeDenied, ForgeMissing)):
            site.intruder().edit(made.number, title="mine")
        with pytest.raises((ForgeDenied, ForgeMissing)):
            site.intruder().set_status(site.tip(), CommitStatus("rollout/x", "success", "mine"))

    def test_a_commit_has_a_page(self, site: Any) -> None:
        commit = site.tip()
        assert commit in site.forge.commit_url(commit)


def patiently(call: Callable[[], None]) -> None:
    """A forge looks for conflicts in its own time, and refuses to merge until it has."""

    def tried() -> bool:
        try:
            call()
        except ForgeRefused:
            return False
        return True

    wait_for(tried, 30, "the forge to merge it")
