"""The contract of every forge on a model of GitLab's published API, and what only GitLab has.

No GitLab runs here: requests and answers have the published shapes, which the names of these tests say.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from forges.contract import BRANCH, PREFIX, ForgeContract
from forges.gitlab_shapes import GitLab
from forges.shapes import running
from gitops_rollouts.errors import ForgeRefused, ForgeUnreachable
from gitops_rollouts.forges.forge import CommitStatus
from http_server import Reply


@pytest.fixture
def site() -> Iterator[GitLab]:
    model = GitLab()
    with running(model):
        yield model


class TestContractPublishedShapes(ForgeContract):
    """On the model."""

    styles = ("merge", "squash", "fast-forward")


def _opened(site: GitLab, branch: str = BRANCH, body: str = "body") -> int:
    site.branch(branch)
    return site.forge.open(branch, "main", "title", body).number


def test_the_project_is_one_part_of_the_path_published_shapes(site: GitLab) -> None:
    site.forge.open_requests("main", PREFIX)
    assert site.server.seen[-1].target.startswith("/api/v4/projects/acme%2Finfra%2Fdeploy/merge_requests?")
    commit = site.tip()
    assert site.forge.commit_url(commit) == f"{site.server.url}/acme/infra/deploy/-/commit/{commit}"


def test_idle_is_one_question_whose_answer_is_empty_published_shapes(site: GitLab) -> None:
    forge = site.forge
    _opened(site)
    first = forge.open_requests("main", PREFIX)
    before = len(site.server.seen)
    assert forge.open_requests("main", PREFIX) == first
    (asked,) = site.server.seen[before:]
    assert asked.headers["If-None-Match"].startswith('W/"')


def test_ours_are_found_among_hundreds_of_others_published_shapes(site: GitLab) -> None:
    for number in range(120):
        site.add("feature", "main", f"other {number}", "", "carol", fork=True)
    mine = _opened(site)
    for number in range(130):
        site.add(BRANCH, "main", f"a fork's {number}", "", "mallory", fork=True)
    assert [each.number for each in site.forge.open_requests("main", PREFIX)] == [mine]
    found = site.forge.find(BRANCH, "main")
    assert found is not None
    assert found.number == mine


def test_no_line_of_ours_is_a_command_published_shapes(site: GitLab) -> None:
    """Quick actions: what a hostile metric or file name could make of a body, a comment or an edit."""
    body = "| web |\n/merge\n  /close\n\\/assign @x\n\n`/approve` and a/b"
    number = _opened(site, body=body)
    assert site.at(number).body == body.replace("/merge", "\\/merge").replace("  /close", "  \\/close").replace(
        "\\/assign", "\\\\/assign"
    )
    found = site.forge.find(BRANCH, "main")
    assert found is not None
    assert found.body == body
    site.forge.edit(number, body="/close")
    site.forge.comment(number, "/merge now")
    assert site.comments(number) == ["\\/merge now"]
    assert site.at(number).state == "open"


def test_a_status_that_is_said_twice_is_no_error_published_shapes(site: GitLab) -> None:
    """Its state machine takes no state twice in a row; a new text of the same state is shown once more."""
    commit, forge = site.tip(), site.forge

    def say(state: str, text: str) -> tuple[str, str]:
        forge.set_status(commit, CommitStatus("rollout/prod/shop/web", state, text))  # type: ignore[arg-type]
        return site.status(commit, "rollout/prod/shop/web")

    assert say("pending", "canary 20%") == ("pending", "canary 20%")
    assert say("pending", "canary 40%") == ("running", "canary 40%")
    assert say("pending", "canary 60%") == ("running", "canary 40%")
    assert say("failure", "aborted") == ("failure", "aborted")
    assert say("failure", "aborted: success-rate") == ("failure", "aborted: success-rate")
    assert say("success", "stable") == ("success", "stable")
    assert say("pending", "canary 20%") == ("pending", "canary 20%")


def test_a_status_that_is_refused_for_another_reason_is_an_error_published_shapes(site: GitLab) -> None:
    status = CommitStatus("rollout/x", "pending", "")
    answers = {
        400: ("State is required", ForgeRefused),
        409: ("Another update to this commit status is in progress", ForgeUnreachable),
    }
    for code, (said, raises) in answers.items():
        site.server.answer = lambda _, code=code, said=said: Reply.of({"message": said}, code)
        with pytest.raises(raises, match=said.split()[0]):
            site.forge.set_status(site.tip(), status)


def test_it_waits_for_its_rules_and_a_push_takes_that_back_published_shapes(site: GitLab) -> None:
    """§2 "Push refused": the request of a protected branch."""
    number = _opened(site)
    head, forge = site.at(number).head, site.forge
    site.rules_met = False
    with pytest.raises(ForgeRefused):
        forge.merge(number, head)
    forge.merge(number, head, when_ready=True)
    forge.merge(number, head, when_ready=True)
    assert site.at(number).auto
    new = site.branch(BRANCH, base=BRANCH)
    assert not site.at(number).auto
    with pytest.raises(ForgeRefused):
        forge.merge(number, head, when_ready=True)
    site.rules_met = True
    forge.merge(number, new, when_ready=True)
    assert site.at(number).state == "merged"


@pytest.mark.parametrize("times", [True, False], ids=["with times", "without times"])
def test_an_approval_of_an_earlier_head_does_not_count_published_shapes(site: GitLab, times: bool) -> None:
    """§6 (b): without a rule to reset them approvals outlive a push, and older versions don't say when they came."""
    site.approval_times = times
    untouched = _opened(site, f"{PREFIX}1")
    site.approve(untouched, "alice")
    merged = site.forge.merged_as(site.merge(untouched, "carol", "merge"))
    assert merged is not None
    assert merged.approvers == {"alice"}
    pushed = _opened(site, f"{PREFIX}2")
    site.approve(pushed, "alice")
    site.branch(f"{PREFIX}2", base=f"{PREFIX}2")
    site.approve(pushed, "bob")
    site.approve(pushed, "bot")
    merged = site.forge.merged_as(site.merge(pushed, "carol", "squash"))
    assert merged is not None
    assert merged.approvers == ({"bob"} if times else frozenset())


def test_a_fork_s_request_that_was_merged_is_one_all_the_same_published_shapes(site: GitLab) -> None:
    number = site.add("fix", "main", "a fork's", "", "carol", fork=True).number
    site.approve(number, "alice")
    merged = site.forge.merged_as(site.merge(number, "alice", "merge"))
    assert merged is not None
    assert (merged.author, merged.approvers, merged.base) == ("carol", {"alice"}, "main")
    assert site.forge.find("fix", "main") is None


def test_a_merge_of_a_squashed_commit_says_what_it_merged_published_shapes(site: GitLab) -> None:
    """§6 (b): its second parent is the squashed commit, which stands for the head that was approved."""
    number = _opened(site)
    site.approve(number, "alice")
    commit = site.merge(number, "alice", "squash, then merge")
    merged = site.forge.merged_as(commit)
    assert merged is not None
    assert (merged.head, merged.approvers) == (commit[::-1], {"alice"})
    assert site.forge.merged_as(site.at(number).head) is None
