"""Blue-green from Git, end to end: the gate ``active``, its branch, aborts, reverts (docs/decisions.md §1 to §4)."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gitops_rollouts.local.git_server import GitServer
from story.cluster_reader import ClusterReader
from story.loop import MANIFEST, OWN, Loop, wait_until
from story.test_checks import wipe
from story.test_kills import introducing

pytestmark = pytest.mark.cluster

STRATEGY = """\
  strategy:
    blueGreen:
      activeService: web
      previewService: web-preview
      scaleDownDelaySeconds: 300
"""
ASKS = "      autoPromotionEnabled: false   # a person decides\n"
SERVICES = """\
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: {namespace}}}
spec: {{selector: {{app: web}}, ports: [{{name: http, port: 80, targetPort: http}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: web-preview, namespace: {namespace}}}
spec: {{selector: {{app: web}}, ports: [{{name: http, port: 80, targetPort: http}}]}}
"""


def manifest(loop: Loop, strategy: str) -> str:
    head = MANIFEST.split("  strategy:\n")[0].replace("replicas: 5", "replicas: 2")
    return head.format(namespace=loop.namespace, tag="v1", deadline=loop.deadline) + strategy


def deploy(loop: Loop, strategy: str, **sync: Any) -> Loop:
    """v1 by this strategy: deployed, recorded, and alone."""
    loop.write("envs/prod/web.yaml", manifest(loop, strategy))
    loop.write("envs/prod/services.yaml", SERVICES.format(namespace=loop.namespace))
    loop.push("web: blue-green")
    loop.start()
    loop.create_sync(**sync)
    loop.wait_phase("Healthy", "v1")
    loop.wait_record()
    assert tags(loop) == ("v1", "v1")
    return loop


@pytest.fixture
def asking(loop: Loop) -> Loop:
    """Blue-green that waits for a person."""
    return deploy(loop, STRATEGY + ASKS)


def tag_behind(loop: Loop, service: str) -> str:
    """The version that a Service selects; "" if it selects none."""
    path = f"/api/v1/namespaces/{loop.namespace}/services/{service}"
    selected = loop.cluster.get(path)["spec"]["selector"].get("rollouts-pod-template-hash")
    for replica_set in loop.cluster.get(f"/apis/apps/v1/namespaces/{loop.namespace}/replicasets")["items"]:
        if replica_set["metadata"]["labels"].get("rollouts-pod-template-hash") == selected:
            return str(replica_set["spec"]["template"]["spec"]["containers"][0]["image"].rsplit(":", 1)[1])
    return ""


def tags(loop: Loop) -> tuple[str, str]:
    """What the active and the preview Service select."""
    return tag_behind(loop, "web"), tag_behind(loop, "web-preview")


def pods(loop: Loop, tag: str) -> set[str]:
    """The uids of a version's pods that aren't going."""
    found = loop.cluster.get(f"/api/v1/namespaces/{loop.namespace}/pods")["items"]
    return {
        pod["metadata"]["uid"]
        for pod in found
        if pod["spec"]["containers"][0]["image"].endswith(f":{tag}") and "deletionTimestamp" not in pod["metadata"]
    }


def wait_gate(loop: Loop, tag: str) -> str:
    """Wait until the preview of ``tag`` is up and asks; returns the request's branch."""
    loop.wait_phase("Paused", tag)
    assert loop.status()["pauseConditions"][0]["reason"] == "BlueGreenPause"
    branches = wait_until(loop.request_branches, "the request")
    assert [branch.rsplit("-", 1)[1] for branch in branches] == ["gactive"]
    return str(branches[0])


def test_a_preview_waits_for_its_branch_switches_at_once_and_a_revert_brings_the_old_pods_back(asking: Loop) -> None:
    """§1.1 `active`, §2, §3 R2: one branch, one line, one completion; the revert restarts no pod."""
    loop = asking
    old_pods = pods(loop, "v1")
    intent = loop.release("v2")
    branch = wait_gate(loop, "v2")
    assert branch == f"rollouts/promote/{loop.sync_name}/{intent[:12]}-gactive"
    assert loop.pods_by_image() == {"v1": 2, "v2": 2}
    assert tags(loop) == ("v1", "v2")
    shown = loop.gor("status", "web", "-n", loop.namespace, check=False)
    assert (shown.returncode, shown.stdout.strip()) == (7, "Paused - BlueGreenPause")
    why = loop.gor("why", "web", "-n", loop.namespace).stdout
    assert "web:v1 is active and serves everything" in why
    assert f"It waits for somebody to approve web:v2: merging {branch} or `gor promote web" in why

    # a client promotes in the cluster: Git hasn't said so
    stable = loop.status()["stableRS"]
    loop.cluster.merge(f"{loop.rollout_path}/status", {"status": {"pauseConditions": None}})
    wait_until(lambda: loop.status().get("pauseConditions"), "the pause to come back")
    assert (loop.status()["stableRS"], tags(loop)) == (stable, ("v1", "v2"))
    loop.cluster.merge(f"{loop.rollout_path}/status", {"status": {"promoteFull": True}})
    wait_until(lambda: not loop.status().get("promoteFull"), "the full promotion to be taken back")
    assert tags(loop) == ("v1", "v2")
    events = loop.cluster.get(f"/api/v1/namespaces/{loop.namespace}/events")["items"]
    told = [event["message"] for event in events if event["reason"] == "PromotionNotInGit"]
    assert told
    assert all(f"gor promote web -n {loop.namespace}" in text for text in told)

    before = loop.git("rev-parse", "origin/main")
    loop.merge(branch)
    wait_until(lambda: tags(loop) == ("v2", "v2"), lambda: f"the switch; is {loop.describe()}", 20)
    loop.wait_phase("Healthy", "v2")
    loop.wait_record()
    assert len(loop.engine_commits(since=before)) == 2, "the request's commit and the completion"
    assert list(loop.lines()) == ["stable"]
    wait_until(lambda: loop.request_branches() == [], "the branch to go")
    completion = loop.git("log", "-1", "--format=%B", "origin/main")
    assert f"rollout({loop.sync_name}/{loop.namespace}/web): v2 is stable" in completion
    ids = loop.git("log", "--format=%(trailers:key=Rollout-Decision-Id,valueonly)", f"{before}..origin/main").split()
    assert len(ids) == 2
    assert len(set(ids)) == 1, "the completion names the approval that let it through"

    # inside the delay the old pods still stand: a revert is a switch and nothing else
    assert pods(loop, "v1") == old_pods
    reverted = loop.revert(intent)
    wait_until(lambda: tags(loop) == ("v1", "v1"), lambda: f"the switch back; is {loop.describe()}", 20)
    loop.wait_phase("Healthy", "v1")
    loop.wait_record()
    assert pods(loop, "v1") == old_pods
    assert len(loop.engine_commits(since=reverted)) == 1
    assert loop.request_branches() == []
    loop.settled(seconds=3)


def test_an_abort_before_the_switch_from_git_and_from_the_cluster_and_the_ways_on(asking: Loop) -> None:
    """§3 R1, R4, R10: an abort keeps v1 active; retry asks again; reverting the image costs no commit."""
    loop = asking
    intent = loop.release("v2")
    wait_gate(loop, "v2")
    done = loop.gor("abort", "web", "-n", loop.namespace, "-m", "wrong colour")
    assert "abort v2, back on v1" in done.stdout
    loop.wait_phase("Degraded", "v2")
    assert tag_behind(loop, "web") == "v1"
    line = wait_until(lambda: loop.lines().get("abort"), "the abort line")
    assert "steps=bluegreen at=0" in line
    assert line.endswith("# web:v2 aborted by Dana Dev")
    assert "aborted" in loop.gor("why", "web", "-n", loop.namespace).stdout

    done = loop.gor("retry", "web", "-n", loop.namespace)
    assert "v2 is brought up again, and asks before it becomes active" in done.stdout
    wait_gate(loop, "v2")
    assert tags(loop) == ("v1", "v2")

    loop.cluster.merge(f"{loop.rollout_path}/status", {"status": {"abort": True}})
    loop.wait_phase("Degraded", "v2")
    wait_until(lambda: "abort" in loop.lines(), "the engine's abort line")
    [made] = loop.engine_commits(since=loop.git("rev-parse", "origin/main^"))
    assert loop.git("log", "-1", "--format=%s", made).endswith("web): abort v2, back on v1")
    assert tag_behind(loop, "web") == "v1"

    loop.revert(made)
    wait_gate(loop, "v2")
    before = loop.git("rev-parse", "origin/main")
    loop.revert(intent)
    loop.wait_phase("Healthy", "v1")
    assert tags(loop) == ("v1", "v1")
    wait_until(lambda: loop.request_branches() == [], "the request to go")
    loop.settled(seconds=3)
    assert loop.engine_commits(since=before) == []


def test_an_approval_that_is_withdrawn_or_of_another_attempt_switches_nothing(asking: Loop) -> None:
    """§1.1, §2: superseded by a newer image; `gor withdraw` shuts a gate that was opened ahead of time."""
    loop = asking
    loop.release("v2")
    stale = wait_gate(loop, "v2")
    loop.git("fetch", "-q", "origin")
    kept = loop.git("rev-parse", f"origin/{stale}")
    intent = loop.release("v3")
    wait_until(
        lambda: [each for each in loop.request_branches() if intent[:12] in each], "the request of the newer image"
    )
    loop.pull()
    loop.git("merge", "-q", "--no-ff", "-m", "Merge a stale request", kept)
    loop.git("push", "-q", "origin", "HEAD:main")
    merged = loop.git("rev-parse", "HEAD")
    wait_until(lambda: loop.sync()["status"].get("lastAppliedCommit") == merged, "the stale merge to be synced")
    loop.wait_phase("Paused", "v3")
    assert tags(loop) == ("v1", "v3")
    assert "Ignored: promote" in loop.gor("why", "web", "-n", loop.namespace).stdout
    done = loop.gor("withdraw", "web", "-n", loop.namespace)
    assert "had no effect" in done.stdout
    done = loop.gor("promote", "web", "-n", loop.namespace)
    assert "v3 becomes the active version of web" in done.stdout
    loop.wait_phase("Healthy", "v3")
    assert tags(loop) == ("v3", "v3")
    loop.wait_record()


def test_without_a_gate_an_update_costs_one_commit_and_a_stale_git_holds_the_switch(
    loop: Loop, git_server: GitServer
) -> None:
    """§1.2: no gate, one completion. §4: nothing switches on a fetch that is too old, and it does afterwards."""
    deploy(loop, STRATEGY + "      previewReplicaCount: 1\n      autoPromotionSeconds: 8\n", maxStaleness="4s")
    before = loop.release("v2")
    loop.wait_phase("Paused", "v2")
    assert loop.pods_by_image() == {"v1": 2, "v2": 1}
    assert tags(loop) == ("v1", "v2")
    git_server.stop()
    held = wait_until(lambda: [c for c in loop.status()["conditions"] if c["type"] == "HeldByGit"], "to be held")
    assert held[0]["reason"] == "GitStale"
    until = time.monotonic() + 10
    while time.monotonic() < until:
        assert tag_behind(loop, "web") == "v1"
        time.sleep(0.5)
    git_server.start()
    loop.wait_phase("Healthy", "v2", seconds=90)
    assert tags(loop) == ("v2", "v2")
    assert loop.pods_by_image() == {"v1": 2, "v2": 2}
    loop.wait_record()
    loop.settled(seconds=3)
    assert len(loop.engine_commits(since=before)) == 1
    assert loop.git("ls-remote", "origin", "refs/heads/rollouts/*") == ""


def test_from_canary_to_blue_green_in_mid_update_voids_the_approval_and_keeps_serving(
    running: Loop, at_first_gate: Callable[[str], str]
) -> None:
    """§3 R12: another strategy is another attempt; its preview asks anew, and v1 keeps all its pods."""
    loop = running
    at_first_gate("v2")
    loop.gor("promote", "web", "-n", loop.namespace)
    loop.wait_gate(3, "v2")
    loop.pull()
    head, _, _ = (loop.clone / "envs/prod/web.yaml").read_text().partition("  strategy:\n")
    loop.write("envs/prod/web.yaml", head + STRATEGY + ASKS)
    loop.write("envs/prod/services.yaml", SERVICES.format(namespace=loop.namespace))
    loop.push("web: blue-green")
    wait_until(lambda: (loop.status().get("pauseConditions") or [{}])[0].get("reason") == "BlueGreenPause",
               lambda: f"the preview to ask; is {loop.describe()}", 90)  # fmt: skip
    assert loop.pods_by_image() == {"v1": 5, "v2": 5}
    assert tags(loop) == ("v1", "v2")
    branch = wait_until(lambda: [b for b in loop.request_branches() if b.endswith("-gactive")], "the request")[0]
    assert f"{OWN}promote" in loop.git("show", "origin/main:envs/prod/web.yaml")
    loop.merge(branch)
    loop.wait_phase("Healthy", "v2")
    assert tags(loop) == ("v2", "v2")
    loop.wait_record()
    assert list(loop.lines()) == ["stable"]


def revisions(loop: Loop) -> list[tuple[str, int]]:
    """(tag, pods) of each ReplicaSet in the order of their revisions."""
    found = loop.cluster.get(f"/apis/apps/v1/namespaces/{loop.namespace}/replicasets")["items"]
    found.sort(key=lambda each: int(each["metadata"]["annotations"]["rollout.argoproj.io/revision"]))
    images = [each["spec"]["template"]["spec"]["containers"][0]["image"] for each in found]
    sizes = [each["spec"]["replicas"] for each in found]
    return [(image.rsplit(":", 1)[1], size) for image, size in zip(images, sizes, strict=True)]


def test_neither_an_edit_of_the_live_gate_nor_a_wiped_cluster_switches(asking: Loop) -> None:
    """§4: an edit in the cluster opens no gate. §1.5: v1 serves first, v2 asks by the same branch."""
    loop = asking
    loop.release("v2")
    branch = wait_gate(loop, "v2")
    edit = {"spec": {"strategy": {"blueGreen": {"autoPromotionEnabled": True}}}}
    loop.cluster.merge(loop.rollout_path, edit)

    def healed() -> bool:
        assert tag_behind(loop, "web") == "v1", "an edit in the cluster opened the gate"
        strategy = loop.rollout()["spec"]["strategy"]["blueGreen"]
        return strategy["autoPromotionEnabled"] is False and loop.phase() == "Paused"

    wait_until(healed, lambda: f"the gate to come back; is {loop.describe()}")
    commits = loop.engine_commits()
    services = f"/api/v1/namespaces/{loop.namespace}/services"
    for aborted in (False, True):
        if aborted:
            loop.gor("abort", "web", "-n", loop.namespace)
            loop.wait_phase("Degraded", "v2")
            wait_until(lambda: "abort" in loop.lines(), "the abort line")
        loop.stop(9)
        wipe(loop)
        for name in ("web", "web-preview"):
            loop.cluster.delete(f"{services}/{name}")
        loop.start()
        loop.wait_phase("Degraded" if aborted else "Paused", "v2", seconds=90)
        assert tag_behind(loop, "web") == "v1"
        assert revisions(loop) == [("v1", 2), ("v2", 0 if aborted else 2)]
        loop.settled(seconds=4)
        assert loop.request_branches() == [branch]
        assert loop.engine_commits() == commits


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_kill_9_around_the_switch(asking: Loop, reader: ClusterReader, tmp_path: Path) -> None:
    """§4: killed at random moments after the merge, each update ends, and what is active always has its pods."""
    loop = asking
    chance = random.Random(20240229)
    for number in range(2, 12):
        tag = f"v{number}"
        loop.release(tag)
        loop.merge(wait_gate(loop, tag))
        until = time.monotonic() + chance.uniform(0.0, 3.0)
        while time.monotonic() < until:
            assert len(pods(loop, tag_behind(loop, "web"))) == 2
        loop.stop(9)
        loop.start()
        loop.wait_phase("Healthy", tag, seconds=120)
        assert tags(loop) == (tag, tag)
        loop.wait_record(seconds=120)
    assert {made: commits for made, commits in introducing(loop).items() if len(commits) != 1} == {}
