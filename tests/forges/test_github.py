"""The contract of every forge on a model of GitHub's published API, and what only GitHub has.

No GitHub runs here: requests and answers have the published shapes, which the names of these tests say.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from forges.contract import BRANCH, PREFIX, ForgeContract
from forges.github_shapes import GitHub
from forges.shapes import running
from gitops_rollouts.errors import ForgeLimited, ForgeRefused, ForgeUnreachable
from gitops_rollouts.forges.forge import ForgeSettings, PullRequest
from gitops_rollouts.forges.github import GitHubForge
from http_server import Reply, Seen


@pytest.fixture
def site() -> Iterator[GitHub]:
    model = GitHub()
    with running(model):
        yield model


class TestContractPublishedShapes(ForgeContract):
    """On the model."""


def _opened(site: GitHub, branch: str = BRANCH) -> PullRequest:
    site.branch(branch)
    return site.forge.open(branch, "main", "title", "body")


def test_idle_is_one_question_whose_answer_is_empty_published_shapes(site: GitHub) -> None:
    """A 304 costs nothing of GitHub's rate limit."""
    _opened(site)
    forge = site.forge
    first = forge.open_requests("main", PREFIX)
    before = len(site.server.seen)
    assert forge.open_requests("main", PREFIX) == first
    (asked,) = site.server.seen[before:]
    assert asked.headers["If-None-Match"].startswith('W/"')


def test_ours_are_found_among_hundreds_of_others_published_shapes(site: GitHub) -> None:
    for number in range(220):
        site.add("feature", "main", f"other {number}", "", "carol", fork=True)
    mine = _opened(site)
    for number in range(130):
        site.add(BRANCH, "main", f"a fork's {number}", "", "mallory", fork=True)
    assert [each.number for each in site.forge.open_requests("main", PREFIX)] == [mine.number]
    assert site.forge.find(BRANCH, "main") == mine


def test_one_that_waits_for_its_rules_is_given_to_auto_merge_published_shapes(site: GitHub) -> None:
    """§2 "Push refused": pinned to the head; asked twice it is asked for once."""
    made = _opened(site)
    site.rules_met = False
    with pytest.raises(ForgeRefused, match="approving review"):
        site.forge.merge(made.number, made.head)
    site.forge.merge(made.number, made.head, when_ready=True)
    site.forge.merge(made.number, made.head, when_ready=True)
    assert site.at(made.number).auto
    assert [seen.path for seen in site.server.seen].count("/api/graphql") == 1


def test_where_auto_merge_is_off_that_is_said_published_shapes(site: GitHub) -> None:
    made = _opened(site)
    site.rules_met, site.auto_merge_allowed = False, False
    with pytest.raises(ForgeRefused, match="not allowed for this repository") as caught:
        site.forge.merge(made.number, made.head, when_ready=True)
    assert "allow auto-merge" in caught.value.remedy


def test_what_its_rules_let_through_is_merged_at_once_published_shapes(site: GitHub) -> None:
    made = _opened(site)
    site.forge.merge(made.number, made.head, when_ready=True)
    assert site.at(made.number).state == "merged"


@pytest.mark.parametrize("style", ["squash", "rebase"])
def test_it_merges_in_a_style_that_the_repository_allows_published_shapes(site: GitHub, style: str) -> None:
    made = _opened(site)
    site.styles_shown = {
        "allow_merge_commit": False,
        "allow_squash_merge": style == "squash",
        "allow_rebase_merge": style == "rebase",
    }
    site.forge.merge(made.number, made.head)
    assert site.at(made.number).style == style


def test_a_branch_that_was_made_anew_can_t_be_reopened_published_shapes(site: GitHub) -> None:
    made = _opened(site)
    site.forge.close(made.number)
    site.recreated.add(made.number)
    with pytest.raises(ForgeRefused, match="recreated"):
        site.forge.reopen(made.number)


@pytest.mark.parametrize("then", ["CHANGES_REQUESTED", "DISMISSED"])
def test_an_approval_that_was_taken_back_counts_for_nothing_published_shapes(site: GitHub, then: str) -> None:
    """§6 (b). A comment takes nothing back; the author's own word is none."""
    made = _opened(site)
    for by, state in (("alice", "APPROVED"), ("Bob", "APPROVED"), ("bob", then), ("alice", "COMMENTED")):
        site.review(made.number, by, state)
    site.review(made.number, "Bot", "APPROVED")
    merged = site.forge.merged_as(site.merge(made.number, "alice", "merge"))
    assert merged is not None
    assert merged.approvers == {"alice"}


def test_a_trial_merge_is_no_merge_published_shapes(site: GitHub) -> None:
    made = _opened(site)
    assert made.merge_commit == ""
    assert site.forge.merged_as(made.head) is None


def test_a_commit_that_it_has_not_seen_yet_is_no_answer_published_shapes(site: GitHub) -> None:
    """Not the same as "no request": who asks must ask again."""
    with pytest.raises(ForgeRefused, match="No commit found"):
        site.forge.merged_as("1" * 40)


def test_a_secondary_rate_limit_is_told_apart_from_a_refusal_published_shapes(site: GitHub) -> None:
    forge = site.forge
    said = {"message": "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."}
    site.server.answer = lambda _: Reply.of(said, 403)
    with pytest.raises(ForgeLimited) as caught:
        forge.open_requests("main", PREFIX)
    assert caught.value.retry_after == 60


@pytest.mark.parametrize("answer", [[], {}, [None, 7, {"number": "1"}, {"number": 3, "head": [], "base": "x"}]])
def test_nonsense_is_no_request_published_shapes(site: GitHub, answer: object) -> None:
    forge = site.forge
    site.server.answer = lambda _: Reply.of(answer)
    if isinstance(answer, dict):
        with pytest.raises(ForgeUnreachable):
            forge.open_requests("main", PREFIX)
        with pytest.raises(ForgeUnreachable):
            forge.find(BRANCH, "main")
        return
    assert list(forge.open_requests("main", PREFIX)) == []
    assert forge.find(BRANCH, "main") is None
    with pytest.raises(ForgeUnreachable):
        forge.open(BRANCH, "main", "t", "b")


def test_github_com_has_other_addresses_than_an_enterprise_published_shapes(site: GitHub) -> None:
    public = GitHubForge(ForgeSettings("github", "https://api.github.com", "acme/deploy", token="x"))
    assert public.commit_url("a" * 40) == f"https://github.com/acme/deploy/commit/{'a' * 40}"
    assert site.forge.commit_url("a" * 40) == f"{site.server.url}/acme/deploy/commit/{'a' * 40}"


def test_two_answers_that_disagree_are_not_believed_published_shapes(site: GitHub) -> None:
    made = _opened(site)
    commit = site.merge(made.number, "alice", "merge")
    honest = site.server.answer

    def answer(seen: Seen) -> Reply:
        if seen.path.endswith(f"/pulls/{made.number}"):
            site.at(made.number).became = "e" * 40
        return honest(seen)  # type: ignore[return-value]

    forge = site.forge
    site.server.answer = answer
    with pytest.raises(ForgeUnreachable, match="two things"):
        forge.merged_as(commit)
