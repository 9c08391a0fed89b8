"""Check 16: many Rollouts at one gate are one request and one merge (docs/decisions.md §2, §8)."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from story.gitea_loop import GiteaLoop
from story.loop import OWN, Loop, wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.long, pytest.mark.timeout(3600)]

ROLLOUTS = 500
ONE_OF_MANY = """\
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata:
  name: {name}
  namespace: {namespace}
spec:
  replicas: 1
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      containers:
        - name: app
          image: "ghcr.io/acme/app:{tag}"
  strategy:
    canary:
      steps:
        - setWeight: 50
        - pause: {{}}
"""


def standing(loop: Loop, key: str) -> int:
    """How many of the many have this line at the branch's tip."""
    loop.git("fetch", "-q", "--prune", "origin")
    argv = ["git", "grep", "-h", f"{OWN}{key}", "origin/main", "--", "envs/prod/many"]
    return subprocess.run(argv, cwd=loop.clone, capture_output=True, check=False).stdout.count(b"\n")


def all_through_one_gate(loop: Loop, merge: Callable[[str], object]) -> None:
    """Deployed, released together, at the gate, merged, recorded. ``merge``: how the request's branch is merged."""
    names = [f"app-{number:03}" for number in range(ROLLOUTS)]

    def write(tag: str) -> None:
        for name in names:
            loop.write(f"envs/prod/many/{name}.yaml", ONE_OF_MANY.format(name=name, namespace=loop.namespace, tag=tag))

    def phases(tag: str) -> dict[str, int]:
        counts: dict[str, int] = {}
        path = f"/apis/argoproj.io/v1alpha1/namespaces/{loop.namespace}/rollouts"
        for live in loop.cluster.get(path)["items"]:
            status, meta = live.get("status", {}), live["metadata"]
            if meta["name"] not in known:
                continue
            seen = status.get("observedGeneration") == str(meta["generation"])
            right = live["spec"]["template"]["spec"]["containers"][0]["image"].endswith(f":{tag}")
            phase = str(status.get("phase")) if seen and right else "elsewhere"
            counts[phase] = counts.get(phase, 0) + 1
        return counts

    def all_are(phase: str, tag: str) -> None:
        wait_until(lambda: phases(tag) == {phase: ROLLOUTS}, lambda: f"all {phase} at {tag}: {phases(tag)}", 900)

    known = set(names)
    write("v1")
    loop.push("500 of them")
    if loop.process is None:
        loop.start()
        loop.create_sync()
    all_are("Healthy", "v1")
    wait_until(lambda: standing(loop, "stable") == ROLLOUTS, lambda: f"all records: {standing(loop, 'stable')}", 900)
    records = len(loop.engine_commits())
    loop.pull()
    for name in names:
        path = loop.clone / f"envs/prod/many/{name}.yaml"
        path.write_text(path.read_text().replace("acme/app:v1", "acme/app:v2"))
    intent = loop.push("all: v2")
    all_are("Paused", "v2")
    (branch,) = wait_until(loop.request_branches, "the request", 900)
    loop.git("fetch", "-q", "--prune", "origin")
    assert branch.endswith(f"{intent[:12]}-g1")
    assert loop.git("rev-list", "--count", f"origin/main..origin/{branch}") == "1"
    patch = loop.git("diff", "-U0", f"origin/main...origin/{branch}").splitlines()
    added = [line for line in patch if line.startswith("+") and not line.startswith("+++")]
    assert len([line for line in added if f"{OWN}promote" in line]) == len(added) == ROLLOUTS
    merge(branch)
    all_are("Healthy", "v2")
    wait_until(lambda: standing(loop, "promote") == 0, "the records that take the lines away", 900)
    assert standing(loop, "stable") == ROLLOUTS
    assert loop.request_branches() == []
    # of all the decisions that Rollouts made by themselves
    commits = len(loop.engine_commits())
    assert commits - records - 1 <= 12


def test_check_16_500_rollouts_at_one_gate_are_one_request_and_one_merge(loop: Loop) -> None:
    """§2 "One request for one commit": 500 lines in one commit; merged, all go on; their records are few commits."""
    all_through_one_gate(loop, loop.merge)


def test_check_16_on_gitea_500_rollouts_are_one_pull_request_and_few_calls(on_gitea: GiteaLoop) -> None:
    """§2: what is asked of the forge to change stays under 40 a minute, with statuses and the request's body."""
    loop = on_gitea

    def merge(branch: str) -> None:
        request = loop.only_request()
        assert request["head"]["ref"] == branch
        assert "500" in request["title"]
        loop.forge.merge_request(request["number"], by="alice")

    all_through_one_gate(loop, merge)
    assert len(loop.requests()) == 1
    writes = loop.forge.writes(by="bot")
    assert writes
    assert max(sum(at <= other < at + 60 for other in writes) for at in writes) < 40
