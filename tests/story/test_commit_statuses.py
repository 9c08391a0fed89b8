"""docs/decisions.md §7: what a real Gitea shows on the commits that began updates."""

from __future__ import annotations

import pytest

from story.gitea_loop import GiteaLoop
from story.loop import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.long, pytest.mark.timeout(600)]


def test_a_commit_shows_on_gitea_where_its_update_is_and_how_it_ended(on_gitea: GiteaLoop) -> None:
    """Each step, the gate, the revert (§3 R1): a failure on what was reverted, a success on the revert."""
    loop = on_gitea
    context = f"rollout/{loop.sync_name}/{loop.namespace}/web"
    first = loop.git("rev-parse", "HEAD")
    wait_until(lambda: loop.shown(first, context)[0] == "success", "v1 to be shown as stable")
    intent = loop.release("v2")
    loop.wait_gate(1, "v2")
    wait_until(lambda: "waiting" in loop.shown(intent, context)[1], "the gate to be shown")
    assert loop.shown(intent, context)[0] == "pending"
    assert "canary 20%, step 2 of 4" in loop.shown(intent, context)[1]
    back = loop.revert(intent)
    loop.wait_phase("Healthy", "v1")
    wait_until(lambda: loop.shown(intent, context) == ("failure", "reverted"), "the failure of what was reverted")
    wait_until(lambda: loop.shown(back, context)[0] == "success", "the success of the revert")
    assert loop.shown(back, context)[1].startswith("back to stable after")
    assert loop.shown(first, context)[0] == "success"
