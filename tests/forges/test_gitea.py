"""The contract of every forge, on the real Gitea; and what only it has."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from forges.contract import BRANCH, PREFIX, ForgeContract
from gitea_program import Gitea, GiteaRepository, Refused
from gitops_rollouts.errors import ForgeDenied, ForgeMissing, ForgeRefused
from gitops_rollouts.forges.gitea import GiteaForge
from waiting import wait_for


class OnGitea:
    """A repository on the real Gitea. See `forges.contract.Site`."""

    def __init__(self, repository: GiteaRepository) -> None:
        self.repository = repository
        self.forge = repository.forge()
        self._names = itertools.count()
        repository.put({"README.md": "# shop\n"})

    def branch(self, name: str, base: str = "main") -> str:
        self.repository.git("fetch", "-q", "--prune", "origin")
        self.repository.git("checkout", "-q", "--detach", f"origin/{base}")
        commit = self.repository.write({f"file-{next(self._names)}": "x\n"})
        self.repository.push("--force", branch=name)
        return commit

    def remove_branch(self, name: str) -> None:
        self.repository.git("push", "-q", "origin", f":refs/heads/{name}")

    def approve(self, number: int, by: str) -> None:
        self.repository.approve(number, by)

    def close(self, number: int, by: str) -> None:
        self.repository.call("PATCH", f"/pulls/{number}", {"state": "closed"}, by=by)

    def merge(self, number: int, by: str, style: str) -> str:
        return self.repository.merge_request(number, by, style)

    def comments(self, number: int) -> list[str]:
        return [each["body"] for each in self.repository.call("GET", f"/issues/{number}/comments")]

    def status(self, commit: str, context: str) -> tuple[str, str]:
        shown = self.repository.call("GET", f"/commits/{commit}/status")["statuses"]
        return next((each["status"], each["description"]) for each in shown if each["context"] == context)

    def tip(self, branch: str = "main") -> str:
        return self.repository.git("ls-remote", "origin", f"refs/heads/{branch}").partition("\t")[0]

    def intruder(self) -> GiteaForge:
        if "mallory" not in self.repository.site.people:
            self.repository.site.add_person("mallory")
            self.repository.call("DELETE", "/collaborators/mallory")
        return self.repository.forge("mallory")


@pytest.fixture
def site(gitea_repository: GiteaRepository) -> OnGitea:
    return OnGitea(gitea_repository)


class TestContract(ForgeContract):
    """On the real Gitea."""

    styles = ("merge", "squash", "rebase", "rebase-merge")


def test_a_base_with_a_slash_is_found(site: OnGitea) -> None:
    site.branch("release/1")
    site.branch(BRANCH)
    made = site.forge.open(BRANCH, "release/1", "t", "b")
    assert site.forge.find(BRANCH, "release/1") == made
    assert site.forge.find(BRANCH, "main") is None


def test_an_approval_that_was_taken_back_or_is_the_author_s_counts_for_nothing(site: OnGitea) -> None:
    """§6 (b)."""
    contract = TestContract()
    made = contract.opened(site)
    site.approve(made.number, "bob")
    site.approve(made.number, "alice")
    site.repository.approve(made.number, "bob", says="REQUEST_CHANGES")
    with pytest.raises(Refused):
        site.approve(made.number, "bot")
    merged = site.forge.merged_as(site.merge(made.number, "alice", "merge"))
    assert merged is not None
    assert merged.approvers == {"alice"}
    other = contract.opened(site, f"{PREFIX}other")
    site.approve(other.number, "bob")
    [review] = site.repository.call("GET", f"/pulls/{other.number}/reviews")
    site.repository.call("POST", f"/pulls/{other.number}/reviews/{review['id']}/dismissals", {"message": "no"})
    merged = site.forge.merged_as(site.merge(other.number, "alice", "merge"))
    assert merged is not None
    assert merged.approvers == frozenset()


def test_what_people_say_became_of_a_request_is_not_believed(site: OnGitea) -> None:
    """§6 (b): bob pushes a commit, and says that alice's approved request became it."""
    made = TestContract().opened(site)
    site.approve(made.number, "alice")
    site.repository.call("PATCH", "", {"allow_manual_merge": True})
    forged = site.branch("main")
    said = {"Do": "manually-merged", "merge_commit_id": forged}
    site.repository.call("POST", f"/pulls/{made.number}/merge", said, by="bob")
    with pytest.raises(ForgeRefused, match="say which commit"):
        site.forge.merged_as(forged)


def test_a_protected_branch_takes_a_request_when_it_is_approved(site: OnGitea) -> None:
    """§2 "Push refused": merged by the forge itself, once its rules are met."""
    site.repository.protect()
    made = TestContract().opened(site, "rollouts/record/prod")
    with pytest.raises(ForgeRefused):
        site.forge.merge(made.number, made.head)
    site.forge.merge(made.number, made.head, when_ready=True)
    site.forge.merge(made.number, made.head, when_ready=True)
    found = site.forge.find("rollouts/record/prod", "main")
    assert found is not None
    assert found.state == "open"
    site.approve(made.number, "alice")
    wait_for(lambda: _state(site, "rollouts/record/prod") == "merged", 30, "the forge to merge it")


def test_a_request_from_a_fork_is_never_ours(site: OnGitea, gitea: Gitea) -> None:
    fork = site.repository.call("POST", "/forks", {"name": f"fork-{site.repository.path[-6:]}"}, by="bob")
    owner, name = fork["full_name"].split("/")
    content = {"content": "eA==", "branch": "main", "new_branch": BRANCH, "message": "fork"}
    gitea.call("POST", f"/repos/{owner}/{name}/contents/forked", content, by="bob")
    asked: dict[str, Any] = {"head": f"bob:{BRANCH}", "base": "main", "title": "t", "body": "b"}
    site.repository.call("POST", "/pulls", asked, by="bob")
    assert list(site.forge.open_requests("main", PREFIX)) == []
    assert site.forge.find(BRANCH, "main") is None
    site.branch(BRANCH)
    made = site.forge.open(BRANCH, "main", "ours", "ours")
    assert made.author == "bot"
    assert site.forge.find(BRANCH, "main") == made


@pytest.mark.long
def test_more_requests_than_a_page_holds_are_all_seen(site: OnGitea) -> None:
    """Its administrator has set it to 10 a page."""
    names = [f"{PREFIX}{each:02d}" for each in range(13)]
    commits = [site.repository.write({f"file-{each}": "x\n"}) for each in range(13)]
    specs = [f"{commit}:refs/heads/{name}" for commit, name in zip(commits, names, strict=True)]
    site.repository.git("push", "-q", "origin", *specs)
    numbers = [site.forge.open(name, "main", name, "b").number for name in names]
    assert [each.number for each in site.forge.open_requests("main", PREFIX)] == numbers
    first = site.forge.find(names[0], "main")
    assert first is not None
    assert first.number == numbers[0]


def test_a_project_that_is_not_there_and_a_bad_token_are_told_apart(gitea: Gitea, tmp_path: Path) -> None:
    repository = gitea.repository(tmp_path)
    with pytest.raises(ForgeMissing):
        GiteaForge(replace(repository.settings(), project="acme/none")).open_requests("main", PREFIX)
    with pytest.raises(ForgeMissing):
        GiteaForge(replace(repository.settings(), project="acme/none")).merged_as("0" * 40)
    with pytest.raises(ForgeDenied) as caught:
        GiteaForge(replace(repository.settings(), token="wr0ng-t0ken")).open_requests("main", PREFIX)
    assert "wr0ng-t0ken" not in str(caught.value)


def _state(site: OnGitea, branch: str) -> str:
    found = site.forge.find(branch, "main")
    return found.state if found else ""
