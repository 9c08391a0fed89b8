"""Where the engine may not write: what still works, and what the GitSync says (docs/decisions.md §2)."""

from __future__ import annotations

import pytest

from gitops_rollouts.local.git_server import GitServer
from story.loop import OWN, Loop, wait_until

pytestmark = pytest.mark.cluster

ONLY_PEOPLE = """\
#!/bin/sh
# A policy that lets people push to main, but no engine, and nobody to other branches.
while read -r old new ref; do
  [ "$ref" = refs/heads/main ] || { echo "policy: only main may be written" >&2; exit 1; }
  if git log --format='%(trailers:key=Rollout-Engine)' "$old..$new" 2>/dev/null | grep -q Rollout-Engine; then
    echo "policy: engines may not push here" >&2; exit 1
  fi
done
"""


def write_back(loop: Loop) -> dict[str, str]:
    return next(c for c in loop.sync()["status"]["conditions"] if c["type"] == "WriteBack")


def test_a_protected_branch_still_lets_people_promote_and_the_cluster_abort(loop: Loop, git_server: GitServer) -> None:
    git_server.set_pre_receive_hook(loop.namespace, ONLY_PEOPLE)
    loop.start()
    loop.create_sync()
    loop.wait_phase("Healthy", "v1")
    wait_until(lambda: write_back(loop)["status"] == "False", "WriteBack=False")
    assert "engines may not push here" in write_back(loop)["message"] or "refused" in write_back(loop)["message"]
    assert loop.engine_commits() == []

    # Adopted without a record, v2 is an update of what runs; the gate waits for a line that a person pushes.
    loop.release("v2")
    loop.wait_gate(1, "v2")
    loop.gor("promote", "web", "-n", loop.namespace)
    loop.wait_gate(3, "v2")

    # Backward never waits for Git: an abort holds in the cluster although it can't be committed.
    loop.cluster.merge(f"{loop.rollout_path}/status", {"status": {"abort": True}})
    loop.wait_phase("Degraded", "v2")
    wait_until(lambda: loop.pods_by_image() == {"v1": 5}, "v1 alone")
    assert f"{OWN}abort" not in loop.git("show", "origin/main:envs/prod/web.yaml")
    assert loop.engine_commits() == []


def test_write_none_never_pushes_and_says_so(loop: Loop, git_server: GitServer) -> None:
    loop.start()
    loop.create_sync(write="none")
    loop.wait_phase("Healthy", "v1")
    loop.release("v2")
    loop.wait_gate(1, "v2")
    wait_until(lambda: write_back(loop)["status"] == "False", "WriteBack=False")
    loop.settled(seconds=5)
    assert loop.engine_commits() == []
    assert loop.request_branches() == []
    loop.gor("promote", "web", "-n", loop.namespace)
    loop.wait_gate(3, "v2")


def test_gates_commit_waits_for_gor_promote_and_opens_nothing(loop: Loop) -> None:
    loop.start()
    loop.create_sync(gates="commit")
    loop.wait_phase("Healthy", "v1")
    loop.wait_record()
    loop.release("v2")
    loop.wait_gate(1, "v2")
    loop.settled(seconds=5)
    assert loop.request_branches() == []
    loop.gor("promote", "web", "-n", loop.namespace, "--full")
    loop.wait_phase("Healthy", "v2")
    loop.wait_record()
    assert loop.git("log", "-1", "--format=%an", "--grep", "Rollout-Decision: promote ", "origin/main") == "Dana Dev"
