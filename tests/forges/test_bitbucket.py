"""The contract of every forge on a model of Bitbucket Cloud's published API, and what only Bitbucket has.

No Bitbucket runs here: requests and answers have the published shapes, which the names of these tests say.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from forges.bitbucket_shapes import Bitbucket
from forges.contract import BRANCH, PREFIX, ForgeContract
from forges.shapes import TOKENS, running
from gitops_rollouts.errors import ForgeRefused
from gitops_rollouts.forges.bitbucket import BitbucketForge
from gitops_rollouts.forges.forge import CommitStatus, ForgeSettings


@pytest.fixture
def site() -> Iterator[Bitbucket]:
    model = Bitbucket()
    with running(model):
        yield model


class TestContractPublishedShapes(ForgeContract):
    """On the model."""

    styles = ("merge", "squash", "fast-forward")
    reopens = False

    @pytest.fixture
    def site(self, site: Bitbucket) -> Bitbucket:
        """Where nicknames and account ids are one."""
        site.plain_ids = True
        return site


def _opened(site: Bitbucket, branch: str = BRANCH) -> int:
    site.branch(branch)
    return site.forge.open(branch, "main", "title", "body").number


def test_idle_is_one_question_and_a_short_commit_id_is_asked_about_once_published_shapes(site: Bitbucket) -> None:
    forge = site.forge
    head = site.at(_opened(site)).head
    (first,) = forge.open_requests("main", PREFIX)
    assert first.head == head
    before = len(site.server.seen)
    assert forge.open_requests("main", PREFIX) == [first]
    assert len(site.server.seen) == before + 1


def test_ours_are_found_among_hundreds_of_others_published_shapes(site: Bitbucket) -> None:
    for number in range(70):
        site.add(f"{PREFIX}{number}", "main", f"a fork's {number}", "", "mallory", fork=True)
    mine = _opened(site)
    for number in range(70):
        site.add(BRANCH, "main", f"a fork's {number}", "", "mallory", fork=True)
    assert [each.number for each in site.forge.open_requests("main", PREFIX)] == [mine]
    found = site.forge.find(BRANCH, "main")
    assert found is not None
    assert found.number == mine


def test_a_branch_name_cannot_change_the_question_published_shapes(site: Bitbucket) -> None:
    name = 'x" OR state = "MERGED'
    site.branch(name)
    made = site.forge.open(name, "main", "title", "body")
    assert site.forge.find(name, "main") == made
    assert site.forge.find(BRANCH, "main") is None


def test_an_edit_loses_no_reviewer_and_no_text_published_shapes(site: Bitbucket) -> None:
    number = _opened(site)
    site.at(number).reviewers = ["alice", "bob"]
    site.forge.edit(number, title="new")
    found = site.at(number)
    assert (found.title, found.body, found.reviewers) == ("new", "body", ["alice", "bob"])


def test_a_merge_is_now_or_refused_published_shapes(site: Bitbucket) -> None:
    """§2 "Push refused": the forge can't wait for its rules by itself."""
    number = _opened(site)
    head = site.at(number).head
    site.checks_met = False
    with pytest.raises(ForgeRefused, match="1 approval is required"):
        site.forge.merge(number, head, when_ready=True)
    assert site.at(number).state == "open"
    site.checks_met = True
    site.forge.merge(number, head, when_ready=True)
    assert site.at(number).state == "merged"


def test_the_key_of_a_status_has_forty_characters_and_stays_its_own_published_shapes(site: Bitbucket) -> None:
    commit, forge = site.tip(), site.forge
    contexts = [f"rollout/production-europe/shop/{name}-of-the-storefront" for name in ("web", "api", "web")]
    for context in contexts:
        forge.set_status(commit, CommitStatus(context, "pending", "canary 20%"))
    keys = [key for _, key in site.statuses]
    assert len(keys) == 2
    assert all(len(key) == 40 and key.startswith("rollout/production-europe/") for key in keys)
    assert {each["name"] for each in site.statuses.values()} == set(contexts)
    assert {each["url"] for each in site.statuses.values()} == {f"https://bitbucket.org/acme/deploy/commits/{commit}"}


@pytest.mark.parametrize("links", [True, False], ids=["with the app", "without the app"])
def test_people_are_told_by_account_id_and_approve_what_they_saw_published_shapes(site: Bitbucket, links: bool) -> None:
    """§6 (b): a nickname is anybody's to choose, and an approval outlives a push."""
    site.commit_links = links
    number = _opened(site)
    site.approve(number, "alice")
    site.branch(BRANCH, base=BRANCH)
    site.approve(number, "bob")
    site.approve(number, "bot")
    site.forge.edit(number, title="another title")
    commit = site.merge(number, "carol", "squash")
    for other in range(30):
        site.merge(_opened(site, f"other-{other}"), "carol", "merge")
    merged = site.forge.merged_as(commit)
    assert merged is not None
    assert (merged.author, merged.merged_by, merged.approvers) == ("id-bot", "id-carol", {"id-bob"})
    found = site.forge.find(BRANCH, "main")
    assert found is not None
    assert (found.author, found.merged_by) == ("bot", "carol")


def test_an_approval_that_was_taken_back_does_not_count_published_shapes(site: Bitbucket) -> None:
    """§6 (b): it stays in the list of what happened."""
    number = _opened(site)
    site.approve(number, "alice")
    del site.at(number).approvals["alice"]
    merged = site.forge.merged_as(site.merge(number, "carol", "merge"))
    assert merged is not None
    assert merged.approvers == frozenset()


def test_an_app_password_goes_with_its_user_and_an_access_token_alone_published_shapes(site: Bitbucket) -> None:
    api = f"{site.server.url}/2.0"
    BitbucketForge(ForgeSettings("bitbucket", api, "acme/deploy", TOKENS["bot"])).find(BRANCH, "main")
    assert site.server.seen[-1].headers["Authorization"].startswith("Bearer ")
    site.server.answer = site.unknown
    with pytest.raises(Exception, match="404"):
        BitbucketForge(ForgeSettings("bitbucket", api, "acme/deploy", "app-password", "bot@example.com")).find(
            BRANCH, "main"
        )
    assert site.server.seen[-1].headers["Authorization"].startswith("Basic ")
    site.wrong.clear()
