"""docs/decisions.md §8, check 17: history is rewritten under a canary, and the branch deleted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gitops_rollouts.local.git_server import GitServer
from story.loop import Loop, wait_until

pytestmark = pytest.mark.cluster

Release = Callable[[str], str]


def branch_of(loop: Loop, gate: int, intent: str = "") -> str:
    """The request of a gate, once it is there and no other is."""
    suffix = f"{intent[:12]}-g{gate}"

    def only() -> str:
        found = loop.request_branches()
        return found[0] if len(found) == 1 and found[0].endswith(suffix) else ""

    return str(wait_until(only, lambda: f"one request {suffix}, there are {loop.request_branches()}"))


def rewrite(loop: Loop) -> str:
    """The same content by other commits, one for each that there was."""
    loop.pull()
    before = loop.git("rev-parse", "HEAD")
    loop.git("-c", "user.email=other@example.com", "rebase", "-q", "--root", "--force-rebase", "--rebase-merges")
    after = loop.git("rev-parse", "HEAD")
    assert after != before
    assert not loop.git("diff", before, after)
    loop.git("push", "-q", "--force", "origin", "HEAD:main")
    return after


def moving_parts(loop: Loop) -> dict[str, Any]:
    """All that a restart or a step back would change."""
    status = loop.status()
    pauses = [(one["reason"], one["startTime"]) for one in status.get("pauseConditions", ())]
    return {"sizes": loop.pods_by_image(), "step": status["currentStepIndex"], "pauses": pauses}


def test_check_17_the_same_content_with_other_commits_moves_nothing_and_costs_one_commit_at_most(
    running: Loop, at_first_gate: Release, git_server: GitServer
) -> None:
    loop = running
    loop.cluster.merge(f"/apis/gitops-rollouts.io/v1alpha1/gitsyncs/{loop.sync_name}", {"spec": {"prune": True}})
    intent = at_first_gate("v2")
    loop.merge(branch_of(loop, 1, intent))
    loop.wait_gate(3, "v2")
    branch_of(loop, 3, intent)
    before = moving_parts(loop)
    assert before["sizes"] == {"v1": 2, "v2": 3}
    anew = rewrite(loop)

    def carried_over() -> list[str]:
        assert moving_parts(loop) == before
        return loop.engine_commits(anew)

    (ours,) = wait_until(carried_over, "the approval to be carried over")
    applied = lambda: loop.sync()["status"].get("lastAppliedCommit") == ours and moving_parts(loop) == before  # noqa: E731
    wait_until(applied, "that commit to be applied")
    told = loop.git("log", "-1", "--format=%B", ours)
    assert f"Rollout-Decision: anchor {loop.sync_name}/{loop.namespace}/web gate=1" in told
    loop.settled(seconds=5)
    assert moving_parts(loop) == before
    assert loop.engine_commits(anew) == [ours]
    events = loop.cluster.get("/api/v1/namespaces/default/events")["items"]
    mine = [one for one in events if one["involvedObject"]["name"] == loop.sync_name]
    assert [one["reason"] for one in mine if one["reason"] == "HistoryRewritten"] == ["HistoryRewritten"]

    # the next gate asks as usual, by the new intent's name, and opens as usual
    stamp = loop.rollout()["metadata"]["annotations"]["gitops-rollouts.io/applied"]
    fresh = next(token.removeprefix("intent=") for token in stamp.split() if token.startswith("intent="))
    assert fresh != intent
    loop.merge(branch_of(loop, 3, fresh))
    loop.wait_phase("Healthy", "v2")
    loop.wait_record()

    # without its branch Git says nothing: everything serves on
    loop.pull()
    repository = git_server.path(loop.namespace)
    loop.git_out(["config", "receive.denyDeleteCurrent", "ignore"], cwd=repository)
    loop.git("push", "-q", "origin", ":main")

    def unfetched() -> bool:
        conditions = {one["type"]: one["status"] for one in loop.sync()["status"]["conditions"]}
        return conditions["Fetched"] == "False"

    wait_until(unfetched, "the branch to be missed")
    live = loop.rollout()
    services = loop.cluster.get(f"/api/v1/namespaces/{loop.namespace}/services")["items"]
    assert {one["metadata"]["name"] for one in services} >= {"web-stable", "web-canary"}
    assert (live["metadata"].get("deletionTimestamp"), loop.pods_by_image()) == (None, {"v2": 5})
    loop.git("push", "-q", "origin", "HEAD:main")
    wait_until(lambda: not unfetched(), "the branch to be seen again")
    loop.settled(seconds=3)
