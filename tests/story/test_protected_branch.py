"""Check 14 of docs/decisions.md §8: a branch that takes nothing from us directly, on a bare server and on a forge."""

from __future__ import annotations

import pytest

from gitops_rollouts.local.git_server import GitServer
from story.loop import OWN, Loop, wait_until

pytestmark = pytest.mark.cluster

MERGES_ONLY = """\
#!/bin/sh
while read -r old new ref; do
  [ "$ref" = refs/heads/main ] || continue
  if git log -1 --format='%(trailers:key=Rollout-Engine)' "$new" | grep -q Rollout-Engine; then
    echo "policy: main takes merges only" >&2; exit 1
  fi
done
"""


def write_back(loop: Loop) -> dict[str, str]:
    return next(c for c in loop.sync()["status"]["conditions"] if c["type"] == "WriteBack")


def promote_twice(loop: Loop, tag: str) -> None:
    for gate in (1, 3):
        loop.wait_gate(gate, tag)
        branch = wait_until(lambda g=gate: [b for b in loop.request_branches() if b.endswith(f"-g{g}")], "its branch")
        loop.merge(branch[0])
    loop.wait_phase("Healthy", tag)


def test_check_14_behind_a_hook_decisions_wait_on_a_branch_and_nothing_is_lost(
    running: Loop, git_server: GitServer
) -> None:
    git_server.set_pre_receive_hook(running.namespace, MERGES_ONLY)
    intent = running.release("v2")
    running.wait_gate(1, "v2")
    running.cluster.merge(f"{running.rollout_path}/status", {"status": {"abort": True}})
    running.wait_phase("Degraded", "v2")
    wait_until(lambda: running.pods_by_image() == {"v1": 5}, "v1 alone, without any leave of Git's")
    record = f"rollouts/record/{running.sync_name}"
    wait_until(lambda: running.remote_has(record), "the branch with what was decided")
    wait_until(lambda: write_back(running)["status"] == "False", "WriteBack=False")
    wait_until(lambda: record in write_back(running)["message"], "the branch' name there")
    assert "policy: main takes merges only" in write_back(running)["message"]
    assert "abort" not in running.lines()

    running.git("push", "-q", "origin", f":refs/heads/{record}")
    wait_until(lambda: running.remote_has(record), "the branch again: it states what is so")
    running.merge(record)
    wait_until(lambda: write_back(running)["status"] == "True", "WriteBack=True")
    wait_until(lambda: not running.remote_has(record), "the branch to go")
    line = running.lines()["abort"]
    made = next(token for token in line.split() if token.startswith("id=")).rstrip('"')
    assert len(running.git("log", "--first-parent", "--format=%H", f"-S{made}", "origin/main").split()) == 1

    git_server.set_pre_receive_hook(running.namespace, None)
    running.release("v3")
    promote_twice(running, "v3")
    running.wait_record()
    assert f"{OWN}abort" not in running.git("show", "origin/main:envs/prod/web.yaml")
    direct = [
        c for c in running.engine_commits(intent) if "v3 is stable" in running.git("show", "-s", "--format=%s", c)
    ]
    assert len(direct) == 1
    assert not running.remote_has(record)
