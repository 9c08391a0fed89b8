"""Check 14 of docs/decisions.md §8: a branch that takes nothing from us directly, on a bare server and on a forge."""

from __future__ import annotations

from typing import Any

import pytest

from gitops_rollouts.local.git_server import GitServer
from story.gitea_loop import GiteaLoop
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


@pytest.mark.long
@pytest.mark.timeout(600)
def test_check_14_on_gitea_decisions_are_requests_that_it_merges_once_approved(on_gitea: GiteaLoop) -> None:
    """Protected by Gitea's own rule: one approval, no pushes."""
    loop = on_gitea
    intent = loop.release("v2")
    loop.wait_gate(1, "v2")
    loop.request_of_gate(1)
    loop.forge.protect()
    loop.cluster.merge(f"{loop.rollout_path}/status", {"status": {"abort": True}})
    loop.wait_phase("Degraded", "v2")
    wait_until(lambda: loop.pods_by_image() == {"v1": 5}, "v1 alone, without any leave of Git's")
    record = f"rollouts/record/{loop.sync_name}"

    def waiting(branch: str = record) -> dict[str, Any]:
        return [each for each in loop.requests("open") if each["head"]["ref"] == branch][0]  # noqa: RUF015

    request = wait_until(waiting, lambda: f"a request from {record}; {write_back(loop)}")
    assert f"abort {loop.sync_name}/{loop.namespace}/web" in request["title"]
    assert request["user"]["login"] == "bot"
    wait_until(lambda: f"#{request['number']} (" in write_back(loop)["message"], "WriteBack to name it")
    assert write_back(loop)["reason"] == "PushRefused"
    head = request["head"]["sha"]
    wait_until(lambda: loop.shown(head, "rollout/promotable")[0] == "success", "its check")
    context = f"rollout/{loop.sync_name}/{loop.namespace}/web"
    wait_until(lambda: loop.shown(intent, context)[0] == "failure", "the failure of v2's commit")
    assert loop.shown(intent, context)[1].startswith("aborted")

    loop.set_state(request["number"], "closed")
    wait_until(lambda: waiting()["number"] == request["number"], "it to be opened again: it states what is so")
    assert "abort" not in loop.lines()
    loop.forge.approve(request["number"], "alice")
    wait_until(lambda: "abort" in loop.lines(), "Gitea to merge it by itself", 90)
    wait_until(lambda: write_back(loop)["status"] == "True", "WriteBack=True")
    wait_until(lambda: not loop.remote_has(record), "the branch to go")
    line = loop.lines()["abort"]
    made = next(token for token in line.split() if token.startswith("id=")).rstrip('"')
    assert len(loop.git("log", "--first-parent", "--format=%H", f"-S{made}", "origin/main").split()) == 1

    loop.forge.unprotect()
    newer = loop.release("v3")
    for gate in (1, 3):
        loop.wait_gate(gate, "v3")
        branch = f"rollouts/promote/{loop.sync_name}/{newer[:12]}-g{gate}"
        asks = wait_until(lambda branch=branch: waiting(branch), f"a request from {branch}")
        loop.forge.merge_request(asks["number"], by="alice")
    loop.wait_phase("Healthy", "v3")
    loop.wait_record()
    direct = [c for c in loop.engine_commits(intent) if "v3 is stable" in loop.git("show", "-s", "--format=%s", c)]
    assert len(direct) == 1
    assert all(each["head"]["ref"] != record for each in loop.requests("open"))
