"""Rows of the revert matrix (docs/decisions.md §3) that the numbered checks don't play."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from controllers.plugin_requests import Plugin
from story.loop import OWN, Loop, wait_until

pytestmark = pytest.mark.cluster

Release = Callable[[str], str]


def approve(loop: Loop, gate: int) -> str:
    """Merge the promotion branch of a gate; returns the merge commit."""
    suffix = f"-g{gate}"
    wait_until(lambda: any(b.endswith(suffix) for b in loop.request_branches()), f"the branch of gate {gate}")
    return loop.merge(next(b for b in loop.request_branches() if b.endswith(suffix)))


def edit(loop: Loop, old: str, new: str, message: str) -> str:
    """Replace text in web.yaml and push."""
    loop.pull()
    manifest = loop.clone / "envs/prod/web.yaml"
    text = manifest.read_text()
    assert old in text
    manifest.write_text(text.replace(old, new))
    return loop.push(message)


def synced(loop: Loop, commit: str) -> None:
    wait_until(lambda: loop.sync()["status"].get("lastAppliedCommit") == commit, f"{commit} to be applied")


def test_r5_a_record_that_somebody_deletes_is_no_wish_and_comes_back(running: Loop) -> None:
    line = next(v for k, v in running.lines().items() if k == "stable")
    running.pull()
    manifest = running.clone / "envs/prod/web.yaml"
    kept = [text for text in manifest.read_text().splitlines(keepends=True) if f"{OWN}stable" not in text]
    manifest.write_text("".join(kept))
    running.push("tidy up")
    wait_until(lambda: running.lines().get("stable", "").split()[0] == line.split()[0], "the record to come back")
    assert running.phase() == "Healthy"
    assert running.pods_by_image() == {"v1": 5}


def test_r8_a_renamed_file_changes_nothing(running: Loop, at_first_gate: Release) -> None:
    at_first_gate("v2")
    approve(running, 1)
    running.wait_gate(3, "v2")
    wait_until(lambda: any(b.endswith("-g3") for b in running.request_branches()), "the branch of gate 3")
    running.pull()
    running.git("mv", "envs/prod/web.yaml", "envs/prod/storefront.yaml")
    moved = running.push("rename")
    synced(running, moved)
    running.settled(seconds=5)
    assert running.status()["currentStepIndex"] == 3
    assert running.pods_by_image()["v2"] == 3


def test_r9_a_rollout_deleted_in_git_goes_only_where_pruning_is_on(running: Loop, at_first_gate: Release) -> None:
    at_first_gate("v2")
    wait_until(running.request_branches, "the request")
    running.pull()
    running.git("rm", "-q", "envs/prod/web.yaml")
    gone = running.push("retire web")
    synced(running, gone)
    wait_until(lambda: not running.request_branches(), "the request to be closed")
    assert running.rollout()["spec"]["template"]
    running.cluster.merge(
        f"/apis/gitops-rollouts.io/v1alpha1/gitsyncs/{running.sync_name}", {"spec": {"prune": True}}
    )  # fmt: skip

    def pruned() -> bool:
        try:
            running.rollout()
        except KeyError:
            return True
        return False

    wait_until(pruned, "the Rollout to be pruned")


def test_r9_many_objects_that_vanish_at_once_block_pruning_until_it_is_allowed(loop: Loop) -> None:
    for number in range(12):
        loop.write(
            f"envs/prod/c{number}.yaml",
            f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c{number}, namespace: {loop.namespace}}}\n",
        )
    loop.push("twelve")
    loop.start()
    loop.create_sync(prune=True)
    loop.wait_phase("Healthy", "v1")
    loop.wait_record()
    config_maps = f"/api/v1/namespaces/{loop.namespace}/configmaps"
    ours = lambda: [c for c in loop.cluster.get(config_maps)["items"] if c["metadata"]["name"][1:].isdigit()]  # noqa: E731
    assert len(ours()) == 12
    loop.pull()
    loop.git("rm", "-q", *[f"envs/prod/c{number}.yaml" for number in range(12)])
    gone = loop.push("all gone")

    def blocked() -> bool:
        conditions = {c["type"]: c for c in loop.sync()["status"].get("conditions", [])}
        return bool(conditions["Pruned"]["reason"] == "PruneBlocked")

    wait_until(blocked, "PruneBlocked")
    assert len(ours()) == 12
    loop.gor("allow-prune", gone, "--gitsync", loop.sync_name)
    wait_until(lambda: not ours(), "the objects to be pruned")


def test_r11_the_revert_of_the_revert_is_a_fresh_attempt(running: Loop, at_first_gate: Release) -> None:
    first = at_first_gate("v2")
    approve(running, 1)
    running.wait_gate(3, "v2")
    back = running.revert(first)
    running.wait_phase("Healthy", "v1")
    again = running.revert(back)
    running.wait_gate(1, "v2")
    branch = wait_until(running.request_branches, "a request of the new attempt")[0]
    assert again[:12] in branch
    assert running.pods_by_image()["v2"] < 3


def test_r12_edited_steps_restart_the_attempt_and_void_approvals(running: Loop, at_first_gate: Release) -> None:
    at_first_gate("v2")
    approve(running, 1)
    running.wait_gate(3, "v2")
    edited = edit(running, "setWeight: 20", "setWeight: 40", "web: start at 40 %")
    running.wait_gate(1, "v2")
    branch = wait_until(lambda: [b for b in running.request_branches() if b.endswith("-g1")], "a new request")[0]
    assert edited[:12] in branch
    wait_until(lambda: running.pods_by_image()["v2"] == 2, "40 %")


def test_r13_several_commits_fetched_at_once_end_as_if_fetched_one_by_one(running: Loop) -> None:
    running.stop()
    for tag in ("v2", "v3", "v2"):
        last = running.release(tag)
    running.start()
    running.wait_gate(1, "v2")
    branch = wait_until(running.request_branches, "the request")[0]
    assert last[:12] in branch
    tags = set(running.pods_by_image())
    assert tags == {"v1", "v2"}


def test_r13_a_revert_and_its_revert_in_one_push_are_a_fresh_attempt(running: Loop, at_first_gate: Release) -> None:
    first = at_first_gate("v2")
    approve(running, 1)
    running.wait_gate(3, "v2")
    wait_until(lambda: any(b.endswith("-g3") for b in running.request_branches()), "the branch of gate 3")
    running.pull()
    running.git("revert", "--no-edit", first)
    running.git("revert", "--no-edit", "HEAD")
    again = running.push_tip()
    running.wait_gate(1, "v2")
    wait_until(lambda: running.pods_by_image() == {"v1": 4, "v2": 1}, "the sizes of the first gate")
    wait_until(
        lambda: [b.rsplit("/", 1)[1] for b in running.request_branches()] == [f"{again[:12]}-g1"],
        "the request of the new attempt alone",
    )
    approve(running, 1)
    running.wait_gate(3, "v2")


def ask(loop: Loop, send: Callable[[], Awaitable[Any]], *, at: int, gate: str, actor: str) -> None:
    """Let a client promote at a gate, and see the line that comes of it."""
    loop.wait_gate(at, "v2")
    wait_until(lambda: loop.status().get("pauseConditions"), f"the pause of gate {at}")
    before = len(engine_promotes(loop))

    async def sent() -> None:
        await send()

    asyncio.run(sent())
    wait_until(lambda: len(engine_promotes(loop)) > before, f"a line with gate={gate}")
    body = loop.git("log", "-1", "--format=%B", engine_promotes(loop)[0])
    assert f"gate={gate}\n" in body
    assert f"Rollout-Actor: {actor}\n" in body


def engine_promotes(loop: Loop) -> list[str]:
    """The commits that promote, newest first."""
    loop.git("fetch", "-q", "origin")
    return loop.git("log", "--format=%H", "--grep=^Rollout-Decision: promote ", "origin/main").split()


def test_check_20_kubectl_promote_is_undone_and_kubectl_abort_is_committed_with_its_actor(
    running: Loop, at_first_gate: Release
) -> None:
    """docs/decisions.md §4 "somebody promotes", "somebody aborts in the cluster": each verb as the plugin sends it."""
    at_first_gate("v2")
    sizes = running.pods_by_image()
    plugin = Plugin(running.cluster.api, running.namespace, manager="kubectl-argo-rollouts")
    events = f"/api/v1/namespaces/{running.namespace}/events"

    def told() -> int:
        return sum(e.get("count", 1) for e in running.cluster.get(events)["items"] if "gor promote" in e["message"])

    def again(verb: str) -> None:
        """Paused at the same gate, with nothing moved."""
        running.wait_gate(1, "v2")
        wait_until(lambda: running.status().get("pauseConditions"), f"the pause after {verb}")
        assert not running.status().get("promoteFull")
        assert running.pods_by_image() == sizes

    assert asyncio.run(plugin.promote()) == {"pauseConditions": None}
    wait_until(told, "an event that names the command")
    again("promote")
    asyncio.run(plugin.promote_full())
    wait_until(lambda: not running.status().get("promoteFull"), "promoteFull to be undone")
    again("promote --full")
    asyncio.run(plugin.patch_status(pauseConditions=None, currentStepIndex=2))
    again("promote in mid-step")
    head = running.git("rev-parse", "origin/main")
    running.git("fetch", "-q", "origin")
    assert running.git("rev-parse", "origin/main") == head, "no commit of all that"

    asyncio.run(plugin.abort())
    running.wait_phase("Degraded", "v2")
    wait_until(lambda: running.lines().get("abort"), "the abort line")
    wait_until(lambda: running.pods_by_image() == {"v1": 5}, "v1 alone")
    body = running.git("log", "-1", "--format=%B", "origin/main")
    assert "Rollout-Actor: kubectl-argo-rollouts\n" in body
    (shown,) = json.loads(running.gor("log", "web", "-n", running.namespace, "--verb", "abort", "-o", "json").stdout)
    assert (shown["actor"], shown["by"]) == ("kubectl-argo-rollouts", "gitops-rollouts[bot]")
    running.gor("retry", "web", "-n", running.namespace)
    running.wait_gate(1, "v2")
    assert "abort" not in running.lines()

    path = f"/apis/gitops-rollouts.io/v1alpha1/gitsyncs/{running.sync_name}"
    generation = running.cluster.merge(path, {"spec": {"clusterPromotions": "commit"}})["metadata"]["generation"]
    wait_until(lambda: running.sync()["status"].get("observedGeneration") == generation, "the policy to be read")
    ask(running, plugin.promote, at=1, gate="1", actor="a client of the cluster")
    ask(running, plugin.promote_full, at=3, gate="full", actor="kubectl-argo-rollouts")
    running.wait_phase("Healthy", "v2")
    running.wait_record()
    assert len(engine_promotes(running)) == 2, "each once"
    wait_until(
        lambda: '"promote"' not in running.rollout()["metadata"]["annotations"].get(f"{OWN}outbox", ""),
        "the outbox to forget what Git has",
    )
    wait_until(lambda: not running.request_branches(), "the requests to be void")
    found = running.cluster.get(events)["items"]
    said = [event["message"] for event in found if event["reason"] == "PromotionAsked"]
    assert len(said) == 2
    assert all(f"to Git of '{running.sync_name}'" in each for each in said)
