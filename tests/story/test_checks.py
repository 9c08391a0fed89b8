"""The black-box checks of docs/decisions.md §8, each named after its number, on a real cluster and Git server."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable

import pytest

from story.loop import OWN, Loop, wait_until

pytestmark = pytest.mark.cluster

Release = Callable[[str], str]


def only_branch(loop: Loop) -> str:
    """The one promotion branch that is open."""
    branches = wait_until(loop.request_branches, "a promotion branch")
    assert len(branches) == 1, branches
    return str(branches[0])


def merge_gate(loop: Loop) -> str:
    """Merge the open promotion branch; returns the merge commit."""
    return loop.merge(only_branch(loop))


def finish(loop: Loop, tag: str) -> None:
    """From the gate at step 1: approve both gates by merging, until the new version is recorded as stable."""
    merge_gate(loop)
    loop.wait_gate(3, tag)
    wait_until(lambda: any(b.endswith("-g3") for b in loop.request_branches()), "the branch of gate 3")
    loop.merge(next(b for b in loop.request_branches() if b.endswith("-g3")))
    loop.wait_phase("Healthy", tag)
    loop.wait_record()


def test_check_1_a_release_costs_one_engine_commit_that_touches_only_its_own_lines(
    running: Loop, at_first_gate: Release
) -> None:
    before = at_first_gate("v2")
    finish(running, "v2")
    on_branch = [
        c for c in running.engine_commits(before) if "Merge" not in running.git("show", "-s", "--format=%s", c)
    ]
    completions = [c for c in on_branch if ": v2 is stable" in running.git("show", "-s", "--format=%s", c)]
    assert len(completions) == 1
    # Gates were passed by people's merges: besides the two one-line requests, the engine wrote once.
    assert len(on_branch) == 3
    for commit in on_branch:
        changed = [
            line for line in running.git("show", "--format=", "-U0", commit).splitlines()
            if line[:1] in "+-" and not line.startswith(("+++", "---"))
        ]  # fmt: skip
        assert changed
        assert all(line[1:].strip().startswith(OWN) for line in changed), changed
    assert list(running.lines()) == ["stable"]


def test_check_2_idle_means_no_commits_and_no_writes(running: Loop, at_first_gate: Release) -> None:
    running.settled(seconds=20)
    at_first_gate("v2")
    only_branch(running)
    branch = running.git("ls-remote", "origin")
    running.settled(seconds=20)
    assert running.git("ls-remote", "origin") == branch


def test_check_3_a_gate_is_one_branch_with_one_line_and_merging_it_promotes(
    running: Loop, at_first_gate: Release
) -> None:
    intent = at_first_gate("v2")
    branch = only_branch(running)
    assert branch == f"rollouts/promote/{running.sync_name}/{intent[:12]}-g1"
    running.git("fetch", "-q", "origin")
    assert running.git("rev-list", "--count", f"origin/main..origin/{branch}") == "1"
    assert running.git("diff", "--numstat", f"origin/main...origin/{branch}").split()[:2] == ["1", "0"]
    assert running.pods_by_image()["v2"] < 3
    running.merge(branch)
    running.wait_gate(3, "v2")
    assert running.pods_by_image()["v2"] == 3


def test_check_4_deleting_the_branch_holds_and_gor_promote_goes_on(running: Loop, at_first_gate: Release) -> None:
    at_first_gate("v2")
    branch = only_branch(running)
    running.git("push", "-q", "origin", f":{branch}")
    wait_until(lambda: running.sync()["status"].get("holds"), "the hold in the GitSync's status")
    sizes = running.pods_by_image()
    running.settled(seconds=15)
    assert running.request_branches() == []
    assert running.pods_by_image() == sizes
    running.gor("promote", "web", "-n", running.namespace)
    running.wait_gate(3, "v2")


def test_check_5_a_newer_image_supersedes_the_request_and_a_late_merge_changes_nothing(
    running: Loop, at_first_gate: Release
) -> None:
    at_first_gate("v2")
    old = only_branch(running)
    running.git("fetch", "-q", "origin")
    kept = running.git("rev-parse", f"origin/{old}")
    running.release("v3")
    running.wait_gate(1, "v3")
    wait_until(lambda: old not in running.request_branches(), "the superseded branch to go")
    sizes = running.pods_by_image()
    running.pull()
    running.git("merge", "-q", "--no-ff", "-m", "Merge a stale request", kept)
    running.git("push", "-q", "origin", "HEAD:main")
    merged = running.git("rev-parse", "HEAD")
    wait_until(lambda: running.sync()["status"].get("lastAppliedCommit") == merged, "the stale merge to be synced")
    running.settled(seconds=5)
    assert running.status()["currentStepIndex"] == 1
    assert running.pods_by_image() == sizes


@pytest.fixture
def failing(running: Loop) -> Loop:
    """The loop with a progress deadline short enough that a broken image aborts by itself."""
    running.pull()
    manifest = running.clone / "envs/prod/web.yaml"
    manifest.write_text(manifest.read_text().replace("progressDeadlineSeconds: 600", "progressDeadlineSeconds: 3"))
    running.push("web: fail fast")
    wait_until(lambda: running.rollout()["spec"]["progressDeadlineSeconds"] == 3, "the new deadline")
    running.wait_phase("Healthy", "v1")
    return running


def aborts(loop: Loop) -> list[str]:
    """Engine commits that added an abort line, oldest first."""
    return [
        commit for commit in loop.engine_commits()
        if f"+    {OWN}abort" in loop.git("show", "--format=", "-U0", commit)
    ]  # fmt: skip


def test_check_8_the_same_image_pushed_again_stays_quarantined(failing: Loop) -> None:
    bad = failing.release("broken")
    failing.wait_phase("Degraded", "broken")
    wait_until(lambda: aborts(failing), "the abort commit")
    back = failing.revert(bad)
    failing.wait_phase("Healthy", "v1")
    failing.revert(back)
    failing.wait_phase("Degraded", "broken")
    failing.settled(seconds=5)
    assert failing.pods_by_image() == {"v1": 5}
    assert (
        aborts(failing)[0][:7]
        in str(failing.status()["message"]) + failing.gor("why", "web", "-n", failing.namespace).stdout
    )


def test_check_9_reverting_the_image_goes_back_without_engine_commits_and_after_completion_without_steps(
    running: Loop, at_first_gate: Release
) -> None:
    bad = at_first_gate("v2")
    only_branch(running)
    engine = running.engine_commits()
    running.revert(bad)
    running.wait_phase("Healthy", "v1")
    wait_until(lambda: running.pods_by_image() == {"v1": 5}, "v1 alone")
    wait_until(lambda: not running.request_branches(), "the request to be closed")
    running.settled(seconds=5)
    assert running.engine_commits() == engine

    good = at_first_gate("v2")
    finish(running, "v2")
    engine = running.engine_commits()
    running.revert(good)
    running.wait_phase("Healthy", "v1", seconds=30)
    running.wait_record()
    assert len(running.engine_commits()) == len(engine) + 1


def test_check_10_reverting_the_promotion_goes_back_to_its_gate(running: Loop, at_first_gate: Release) -> None:
    at_first_gate("v2")
    before = running.pods_by_image()
    merged = merge_gate(running)
    running.wait_gate(3, "v2")
    wait_until(lambda: any(b.endswith("-g3") for b in running.request_branches()), "the branch of gate 3")
    running.revert(merged)
    running.wait_gate(1, "v2")
    wait_until(lambda: running.pods_by_image() == before, "the sizes of the first gate")
    wait_until(lambda: not [b for b in running.request_branches() if b.endswith("-g3")], "gate 3's branch to go")
    running.settled(seconds=5)
    assert running.request_branches() == []


def test_check_11_a_wiped_cluster_comes_back_stable_first_then_the_canary(
    running: Loop, at_first_gate: Release
) -> None:
    at_first_gate("v2")
    branches, commits = only_branch(running), running.engine_commits()
    running.stop(9)
    wipe(running)
    seen = watch_images(running)
    running.start()
    running.wait_gate(1, "v2", seconds=90)
    assert seen()[0] == "v1"
    assert running.pods_by_image()["v1"] >= 4
    running.settled(seconds=5)
    assert only_branch(running) == branches
    assert running.engine_commits() == commits


def test_check_11_after_an_abort_the_refused_version_never_gets_a_pod(failing: Loop) -> None:
    failing.release("broken")
    failing.wait_phase("Degraded", "broken")
    wait_until(lambda: aborts(failing), "the abort commit")
    commits = failing.engine_commits()
    failing.stop(9)
    wipe(failing)
    failing.start()
    failing.wait_phase("Degraded", "broken", seconds=90)
    assert failing.pods_by_image() == {"v1": 5}
    events = failing.cluster.get(f"/api/v1/namespaces/{failing.namespace}/events")["items"]
    stamp = failing.rollout()["metadata"]["creationTimestamp"]
    canary = failing.status()["currentPodHash"]
    ups = [
        e["message"] for e in events
        if e["reason"] == "ScalingReplicaSet" and canary in e["message"] and "Scaled up" in e["message"]
        and e["lastTimestamp"] >= stamp and e["involvedObject"]["uid"] == failing.rollout()["metadata"]["uid"]
    ]  # fmt: skip
    assert ups == []
    failing.settled(seconds=5)
    assert failing.engine_commits() == commits


def wipe(loop: Loop) -> None:
    """Delete the Rollout, its ReplicaSets and the engine's own state, as if the cluster were new."""
    loop.cluster.delete(loop.rollout_path)
    path = f"/apis/apps/v1/namespaces/{loop.namespace}/replicasets"
    for replica_set in loop.cluster.get(path)["items"]:
        with contextlib.suppress(KeyError):  # the garbage collector may be faster
            loop.cluster.delete(f"{path}/{replica_set['metadata']['name']}")
    loop.cluster.merge(
        f"/apis/gitops-rollouts.io/v1alpha1/gitsyncs/{loop.sync_name}/status", {"status": None}
    )  # fmt: skip
    wait_until(lambda: not loop.cluster.get(path)["items"], "the ReplicaSets to go")
    subprocess.run(["rm", "-rf", str(loop.logs / "gitops-rollouts")], check=True)


def watch_images(loop: Loop) -> Callable[[], list[str]]:
    """The tags of the ReplicaSets in order of creation, asked at the end."""

    def tags() -> list[str]:
        path = f"/apis/apps/v1/namespaces/{loop.namespace}/replicasets"
        items = sorted(loop.cluster.get(path)["items"], key=lambda r: int(r["metadata"]["annotations"][
            "rollout.argoproj.io/revision"]))  # fmt: skip
        return [r["spec"]["template"]["spec"]["containers"][0]["image"].rsplit(":", 1)[1] for r in items]

    return tags
