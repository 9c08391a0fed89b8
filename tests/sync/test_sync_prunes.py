"""Pruning: off by default, never by accident, never what holds data; and who owns what."""

from __future__ import annotations

from typing import Any

import pytest

from gitops_rollouts.errors import KubeUnreachable, NotFound
from gitops_rollouts.kube.resources import CONFIG_MAPS, GITSYNCS, NAMESPACES, ROLLOUTS, Resource
from gitops_rollouts.sync.stamp import stamp_of
from sync.sync_bench import Bench
from waiting import eventually

pytestmark = pytest.mark.cluster

PVCS = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", True)


def many(bench: Bench, count: int) -> dict[str, str | bytes | None]:
    return {f"envs/prod/c{n}.yaml": bench.config_map(f"c{n}") for n in range(count)}


def without(count: int, start: int = 0) -> dict[str, str | bytes | None]:
    return {f"envs/prod/c{n}.yaml": None for n in range(start, start + count)}


async def left(bench: Bench) -> int:
    listed = await bench.client.list(CONFIG_MAPS, bench.namespace)
    return sum(1 for one in listed if one["metadata"]["name"].startswith("c"))


async def test_it_is_off_until_switched_on(bench: Bench) -> None:
    name = await bench.sync()
    await bench.put(many(bench, 3), name)
    await bench.put(without(1), name)
    assert await left(bench) == 3
    pruned = await bench.condition(name, "Pruned")
    assert (pruned["status"], pruned["reason"]) == ("False", "PruneOff")
    assert (await bench.condition(name, "Ready"))["status"] == "True"
    await bench.set(name, prune=True)

    async def gone() -> bool:
        return await left(bench) == 2

    await eventually(gone, what="the object to be pruned")

    async def listed() -> bool:
        return len((await bench.status(name))["inventory"]) == 2

    await eventually(listed, what="the inventory without it")


async def test_a_large_prune_waits_for_a_person(bench: Bench) -> None:
    name = await bench.sync(prune=True)
    await bench.put(many(bench, 20), name)
    await bench.put(without(5), name)
    assert await left(bench) == 15, "five may go"
    commit = await bench.put(without(6, 5), name)
    assert await left(bench) == 15
    assert (await bench.condition(name, "Pruned"))["reason"] == "PruneBlocked"
    ready = await bench.condition(name, "Ready")
    assert f"gor allow-prune {commit[:12]}" in ready["message"]
    # a later commit that has nothing to do with it
    later = await bench.put({"envs/prod/z.yaml": bench.config_map("z")}, name)
    assert await left(bench) == 15
    await bench.client.patch(
        GITSYNCS, None, name, {"status": {"allowedPrune": commit}}, subresource="status", field_manager="gor"
    )

    async def gone() -> bool:
        return await left(bench) == 9

    await eventually(gone, what="the allowed prune")
    # it allowed what was gone then, and no more
    await bench.put(without(6, 11), name)
    assert await left(bench) == 9
    assert (await bench.condition(name, "Pruned"))["reason"] == "PruneBlocked"
    assert later


async def test_never_on_an_empty_tree_or_while_something_is_wrong(bench: Bench) -> None:
    name = await bench.sync(prune=True)
    await bench.put(many(bench, 3), name)
    await bench.put({**without(3), "envs/prod/README.md": "nothing"}, name)
    assert await left(bench) == 3
    assert (await bench.condition(name, "Pruned"))["reason"] == "EmptyRender"
    await bench.put({"envs/prod/c1.yaml": bench.config_map("c1"), "envs/prod/bad.yaml": "a: ["}, name)
    assert await left(bench) == 3
    assert (await bench.condition(name, "Pruned"))["reason"] == "ProblemsFirst"
    await bench.put({"envs/prod/bad.yaml": None}, name)
    assert await left(bench) == 1


async def test_what_holds_data_stays_unless_the_tree_allowed_it(bench: Bench) -> None:
    name = await bench.sync(prune=True)

    def claim(one: str, annotation: str = "") -> str:
        return (
            f"apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: {one}, namespace: {bench.namespace}"
            f"{annotation}}}\nspec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Gi}}}}}}\n"
        )

    allow = ", annotations: {gitops-rollouts.io/prune: allow}"
    files: dict[str, str | bytes | None] = {
        "envs/prod/a.yaml": claim("a"),
        "envs/prod/b.yaml": claim("b", allow),
        "envs/prod/c1.yaml": bench.config_map("c1"),
        "envs/prod/kept.yaml": bench.config_map("kept").replace(
            "{name: kept", "{annotations: {helm.sh/resource-policy: keep}, name: kept"
        ),
        "envs/prod/ns.yaml": f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {bench.namespace}-y}}\n",
    }
    await bench.put(files, name)
    await bench.stop()
    await bench.start()  # what was allowed is known from Git, not from memory
    gone = ("a", "b", "kept", "ns")
    await bench.put({f"envs/prod/{one}.yaml": None for one in gone}, name)
    assert await bench.client.get(PVCS, bench.namespace, "a")
    assert await bench.client.get(CONFIG_MAPS, bench.namespace, "kept")
    assert (await bench.client.get(NAMESPACES, None, f"{bench.namespace}-y"))["status"]["phase"] == "Active"
    deleted = await maybe(bench, PVCS, "b")
    assert deleted is None or deleted["metadata"].get("deletionTimestamp")
    assert (await bench.condition(name, "Pruned"))["reason"] == "Protected"
    assert (await bench.condition(name, "Ready"))["status"] == "True"
    await bench.client.delete(NAMESPACES, None, f"{bench.namespace}-y")


async def maybe(bench: Bench, resource: Resource, name: str) -> dict[str, Any] | None:
    try:
        return await bench.client.get(resource, bench.namespace, name)
    except NotFound:
        return None


async def test_what_somebody_made_anew_is_not_ours(bench: Bench) -> None:
    name = await bench.sync(prune=True)
    await bench.put(many(bench, 2), name)
    await bench.client.delete(CONFIG_MAPS, bench.namespace, "c0")
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "c0", "namespace": bench.namespace},
        "data": {"theirs": "1"},
    }
    await bench.client.create(CONFIG_MAPS, bench.namespace, body, field_manager="somebody")
    await bench.put(without(1), name)
    assert await left(bench) == 2
    assert len((await bench.status(name))["inventory"]) == 1


async def test_an_object_that_is_only_a_name(bench: Bench) -> None:
    name = await bench.sync(prune=True)
    bare = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c0, namespace: {bench.namespace}}}\n"
    await bench.put({"envs/prod/c0.yaml": bare, "envs/prod/c1.yaml": bench.config_map("c1")}, name)
    patch = {"metadata": {"labels": {"by": "somebody"}}}
    await bench.client.patch(CONFIG_MAPS, bench.namespace, "c0", patch, field_manager="somebody")
    await bench.put(without(1), name)
    assert await left(bench) == 1


async def test_an_object_in_two_gitsyncs_is_refused_and_may_move(bench: Bench) -> None:
    one = await bench.sync(path="one", prune=True)
    files: dict[str, str | bytes | None] = {
        "one/c1.yaml": bench.config_map("c1", "one"),
        "one/x.yaml": bench.config_map("x"),
    }
    files["two/other.yaml"] = bench.config_map("other")
    await bench.put(files, one)
    two = await bench.sync(path="two", prune=True)
    await bench.put({"two/c1.yaml": bench.config_map("c1", "two")}, one, two)
    found = (await bench.status(two))["problems"]
    assert len(found) == 1
    assert one in found[0]["message"]
    assert two in found[0]["message"]
    assert (await bench.config("c1") or {})["data"]["value"] == "one"
    assert "problems" not in await bench.status(one)
    # a restart changes nothing: the inventory says whose it is
    await bench.stop()
    await bench.start()
    commit = await bench.put({"elsewhere/x": "x"}, one, two)
    assert len((await bench.status(two))["problems"]) == 1
    # it moves: given up here, taken there, never deleted in between
    uid = (await bench.config("c1") or {})["metadata"]["uid"]
    commit = await bench.put({"one/c1.yaml": None}, one)

    async def moved() -> bool:
        raw = await bench.config("c1")
        return raw is not None and raw["data"]["value"] == "two"

    await eventually(moved, what=f"the object to move at {commit}")
    assert (await bench.config("c1") or {})["metadata"]["uid"] == uid


async def test_a_rollout_that_git_lets_go_and_nobody_prunes_is_nobodys(bench: Bench) -> None:
    name = await bench.sync()
    await bench.put({**many(bench, 1), "envs/prod/web.yaml": bench.manifest()}, name)
    await bench.put({"envs/prod/web.yaml": None}, name)
    live = await bench.rollout()
    assert live is not None
    assert stamp_of(live) is None
    assert bench.board.get(bench.namespace, "web") is None
    await bench.put({"envs/prod/web.yaml": bench.manifest()}, name)
    live = await bench.rollout()
    assert live is not None
    assert stamp_of(live) is not None


async def test_deleting_the_gitsync_leaves_its_objects(bench: Bench) -> None:
    name = await bench.sync()
    await bench.put({**many(bench, 1), "envs/prod/web.yaml": bench.manifest()}, name)
    await bench.client.delete(GITSYNCS, None, name)

    async def released() -> bool:
        live = await bench.rollout()
        return live is not None and stamp_of(live) is None

    await eventually(released, what="the stamp to be taken off")
    assert await left(bench) == 1
    assert bench.board.get(bench.namespace, "web") is None


async def test_deleting_the_gitsync_deletes_its_objects_where_it_says_so(bench: Bench) -> None:
    name = await bench.sync(deletion="delete")
    await bench.put({**many(bench, 2), "envs/prod/web.yaml": bench.manifest()}, name)
    await bench.client.delete(GITSYNCS, None, name)

    async def gone() -> bool:
        try:
            await bench.client.get(GITSYNCS, None, name)
        except NotFound:
            return await left(bench) == 0 and await bench.rollout() is None
        return False

    await eventually(gone, what="everything to be gone")


async def test_what_something_else_applies_stays_when_the_gitsync_is_deleted(bench: Bench) -> None:
    name = await bench.sync(deletion="delete")
    await bench.put(many(bench, 1), name)
    await bench.set(name, apply=False)
    await bench.client.delete(GITSYNCS, None, name)

    async def gone() -> bool:
        try:
            await bench.client.get(GITSYNCS, None, name)
        except NotFound:
            return True
        return False

    await eventually(gone, what="the GitSync to be gone")
    assert await left(bench) == 1


async def test_a_stamp_that_cannot_be_taken_off_yet_is_taken_off_later(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = await bench.sync()
    await bench.put({"envs/prod/web.yaml": bench.manifest()}, name)
    real, failures = bench.client.patch, iter(range(2))

    async def patch(resource: Resource, *args: Any, **more: Any) -> dict[str, Any]:
        if resource == ROLLOUTS and next(failures, None) is not None:
            raise KubeUnreachable("no answer")
        return await real(resource, *args, **more)

    monkeypatch.setattr(bench.client, "patch", patch)
    await bench.client.delete(GITSYNCS, None, name)

    async def released() -> bool:
        live = await bench.rollout()
        return live is not None and stamp_of(live) is None

    await eventually(released, what="the stamp to be taken off")


async def test_what_was_allowed_is_allowed_once(bench: Bench) -> None:
    name = await bench.sync(prune=True)
    await bench.put(many(bench, 12), name)
    commit = await bench.put(without(10), name)
    assert (await bench.condition(name, "Pruned"))["reason"] == "PruneBlocked"
    await bench.client.patch(
        GITSYNCS, None, name, {"status": {"allowedPrune": commit}}, subresource="status", field_manager="gor"
    )

    async def used() -> bool:
        return "allowedPrune" not in await bench.status(name)

    await eventually(used, what="the allowance to be used up")
    assert await left(bench) == 2
    await bench.put(many(bench, 12), name)
    await bench.put(without(10), name)  # the allowed commit lacked these too
    assert (await bench.condition(name, "Pruned"))["reason"] == "PruneBlocked"
    assert await left(bench) == 12
