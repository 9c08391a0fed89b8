"""Pull requests beside the writer, on the real Gitea (docs/decisions.md §2, §7)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from decision_engine import WEB_YAML
from decision_repo import manifest
from gitea_program import GiteaRepository
from gitops_rollouts.git.credentials import Credentials
from gitops_rollouts.git.repository import Mirror
from request_keeping import Keeping, newer


class Counted:
    """A forge whose calls are counted."""

    def __init__(self, forge: Any) -> None:
        self._forge = forge
        self.calls: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._forge, name)
        if not callable(real):
            return real

        def call(*args: Any, **more: Any) -> Any:
            self.calls[name] += 1
            return real(*args, **more)

        return call


@pytest.fixture
def keeping(gitea_repository: GiteaRepository, tmp_path: Path) -> Iterator[Keeping]:
    opens = Credentials(username="bot", password=gitea_repository.site.people["bot"].token)
    made: list[Mirror] = []

    def mirror(name: str) -> Mirror:
        made.append(Mirror(tmp_path / f"{name}.git", gitea_repository.url, opens))
        return made[-1]

    gitea_repository.put({WEB_YAML: manifest("web:v1")}, "web: v1")
    gitea_repository.put({WEB_YAML: manifest("web:v2")}, "web: v2")
    yield Keeping(gitea_repository, mirror, Counted(gitea_repository.forge()))
    for each in made:
        each.close()


async def test_a_request_from_its_opening_to_its_merge(keeping: Keeping, gitea_repository: GiteaRepository) -> None:
    """Opened once, quiet at rest, held by closing, superseded by a newer version, found again by a wiped engine."""
    forge = keeping.forge
    await keeping.poll()
    [first] = forge.open_requests("main", "rollouts/")
    assert "5 of 5 measurements are good" in first.body
    forge.calls.clear()
    for _ in range(3):
        await keeping.poll()
    assert forge.calls == {"open_requests": 3}

    gitea_repository.call("PATCH", f"/pulls/{first.number}", {"state": "closed"}, by="bob")
    await keeping.poll()
    await keeping.poll()
    assert [hold.who for hold in keeping.engine.writer.holds] == ["bob"]
    assert forge.open_requests("main", "rollouts/") == []
    gitea_repository.call("PATCH", f"/pulls/{first.number}", {"state": "open"}, by="bob")
    await keeping.poll()
    assert keeping.engine.writer.holds == frozenset()

    keeping.begin(wiped=True)
    await keeping.poll()
    [same] = forge.open_requests("main", "rollouts/")
    assert (same.number, same.head) == (first.number, first.head)

    commit = newer(keeping)
    await keeping.poll()
    [second] = forge.open_requests("main", "rollouts/")
    assert second.branch == f"rollouts/promote/prod/{commit[:12]}-g1"
    old = gitea_repository.call("GET", f"/pulls/{first.number}")
    assert (old["state"], old["merged"]) == ("closed", False)
    [said] = gitea_repository.call("GET", f"/issues/{first.number}/comments")
    assert f"superseded by {commit[:7]}" in said["body"]
    assert keeping.branches == [second.branch]

    gitea_repository.merge_request(second.number, "alice", "squash")
    state = await keeping.poll()
    assert state.approved_through == 1
    assert keeping.branches == []
    assert forge.open_requests("main", "rollouts/") == []
