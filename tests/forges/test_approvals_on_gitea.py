"""docs/decisions.md §6 "What a forge merged", on a real Gitea and real keys: read as sync reads it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cli.command import gor
from decision_repo import PROD, abort, lines, manifest, promote
from gitea_program import GiteaRepository
from gitops_rollouts.api.names import PROMOTE
from gitops_rollouts.decisions.authority.forge_answers import ForgeAnswers
from gitops_rollouts.decisions.reading.target import TargetReader
from gitops_rollouts.decisions.state import InGit
from gitops_rollouts.git.repository import Mirror
from gitops_rollouts.render.renderer import Renderer
from ssh_keys import Key, policy

WEB_YAML = "envs/prod/web.yaml"
BRANCH = "rollouts/promote/prod/000000000000-g"


class Shop:
    """Bob may approve; Alice pushes, and signs the version."""

    def __init__(self, repository: GiteaRepository, folder: Path) -> None:
        self.repository = repository
        self.alice = alice = Key(folder, "alice@example.invalid")
        approvers = frozenset({("bob", ""), ("alice", alice.principal)})
        self.spec = replace(PROD, policy=replace(policy(alice), approvers=approvers))
        forge = repository.forge()
        self.answers = ForgeAnswers(lambda target: forge)
        self.mirror = Mirror(folder / "read.git", repository.url)
        self.reader = TargetReader(self.mirror, Renderer(), answers=self.answers)
        self.last: str | None = None
        repository.put({WEB_YAML: manifest("web:v1")})
        with alice.signs(repository):
            repository.put({WEB_YAML: manifest("web:v2")})

    def read(self) -> InGit:
        """As sync does: until nothing has to be asked any more."""
        while True:
            head = self.mirror.fetch("main")
            at = self.reader.read(self.spec, head, self.last)
            self.last = head
            wait = asyncio.run(self.answers.put_due())
            if not self.reader.has_news(at):
                state = at.rollouts["shop", "web"]
                if not state.unconfirmed:
                    return state
                assert wait is not None
                asyncio.run(asyncio.sleep(wait))

    def request(self, text: str, gate: int) -> int:
        """The engine's bot opens one with one commit; returns its number."""
        self.repository.pull()
        self.repository.git("checkout", "-q", "-B", "request", "origin/main")
        self.repository.write({WEB_YAML: text})
        self.repository.push("--force", branch=f"{BRANCH}{gate}")
        self.repository.git("checkout", "-q", "main")
        return self.repository.forge().open(f"{BRANCH}{gate}", "main", f"Promote {gate}", "").number


@pytest.fixture
def shop(gitea_repository: GiteaRepository, tmp_path: Path) -> Shop:
    return Shop(gitea_repository, tmp_path)


def why(state: InGit) -> str:
    return "; ".join(one.reason for one in state.ignored if one.unauthorised)


def test_what_the_forge_merged_counts_in_every_style_by_its_approver(shop: Shop) -> None:
    repository = shop.repository
    attempt = shop.read().attempt
    for gate, style in enumerate(("merge", "squash", "rebase", "rebase-merge")):
        text = manifest("web:v2", annotations=lines(promote(attempt, gate)))
        number = shop.request(text, gate)
        repository.approve(number, "bob")
        if gate % 2:  # main goes on meanwhile
            repository.pull()
            repository.put({"README": style})
        repository.merge_request(number, "alice", style)
        state = shop.read()
        assert (state.approved_through, why(state)) == (gate, ""), style
    told = verified(shop)
    assert (told["ok"], [one["why"] for one in told["changes"] if one["why"]]) == (True, ["approved on the forge"] * 4)


def verified(shop: Shop) -> dict[str, Any]:
    """What `gor verify` says that asks the forge with a token."""
    folder, repository = shop.repository.credentials.parent, shop.repository
    (folder / "token").write_text(repository.site.people["bot"].token + "\n")
    (folder / "signers").write_text(f"{shop.alice.line}\n")
    place = ("--repo", repository.url, "--target", "prod", "--path", "envs/prod", "-o", "json")
    approvers = ("--forge-approver", "bob", "--forge-approver", f"alice={shop.alice.principal}")
    trust = ("--allowed-signers", "signers", *approvers)
    ask = ("--forge-token-file", "token", "--forge", "gitea")
    done = gor("verify", *place, *trust, *ask, cwd=folder, HOME=str(folder), XDG_CACHE_HOME=str(folder / "cache"))
    told: dict[str, Any] = json.loads(done.stdout)
    for one in told["changes"]:
        one.setdefault("why", "")
    return told


def test_what_nobody_approved_or_its_own_author_did_counts_for_nothing(shop: Shop) -> None:
    repository = shop.repository
    attempt = shop.read().attempt
    text = manifest("web:v2", annotations=lines(promote(attempt, 1)))
    number = shop.request(text, 1)
    repository.merge_request(number, "alice")
    state = shop.read()
    assert state.approved_through == -1
    assert f"nobody who may approved request {number}" in why(state)
    shop.repository.pull()
    repository.put({WEB_YAML: manifest("web:v2")})
    number = shop.request(text, 2)
    repository.approve(number, "alice")  # whose version it is
    repository.merge_request(number, "bob")
    assert "but the version's own author" in why(shop.read())
    shop.repository.pull()
    repository.put({WEB_YAML: manifest("web:v2")})
    repository.put({WEB_YAML: text})  # pushed past the forge
    state = shop.read()
    assert (state.approved_through, PROMOTE in str(state.ignored)) == (-1, True)
    assert "no request into this branch" in why(state)


def test_an_abort_goes_by_an_approved_request(shop: Shop) -> None:
    repository = shop.repository
    line = abort(shop.read().attempt)
    repository.pull()
    repository.put({WEB_YAML: manifest("web:v2", annotations=lines(line))})
    assert shop.read().abort == line
    number = shop.request(manifest("web:v2"), 1)
    repository.approve(number, "bob")
    repository.merge_request(number, "alice", "squash")
    assert shop.read().abort is None
