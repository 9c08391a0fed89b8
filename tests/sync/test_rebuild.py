"""A cluster that was wiped in mid-update: the recorded version comes first, then HEAD's (docs/decisions.md §1.5)."""

from __future__ import annotations

import pytest

from gitops_rollouts.decisions.identity import digests
from gitops_rollouts.kube.resources import ROLLOUTS
from gitops_rollouts.render.yaml_reader import Document, read_documents
from gitops_rollouts.sync.source import Cached
from gitops_rollouts.sync.stamp import Stamp, stamp_of
from sync.sync_bench import Bench
from waiting import eventually

pytestmark = pytest.mark.cluster


def recorded(bench: Bench, tag: str, template: str, commit: str, target: str) -> str:
    line = f'"template={template} commit={commit[:12]} for={target}/{bench.namespace}/web"'
    annotation = f"  annotations:\n    gitops-rollouts.io/stable: {line}\nspec:\n"
    return bench.manifest(tag).replace("spec:\n", annotation, 1)


def template_of(text: str) -> str:
    document = read_documents(text.encode())[0]
    assert isinstance(document, Document)
    return digests(document.data)[0]


async def live(bench: Bench) -> tuple[str, Stamp | None]:
    found = await bench.rollout()
    if found is None:
        return "", None
    return found["spec"]["template"]["spec"]["containers"][0]["image"], stamp_of(found)


async def becomes(bench: Bench, image: str) -> None:
    async def so() -> bool:
        found, stamp = await live(bench)
        return found == image and stamp is not None

    await eventually(so, what=f"{image}, stamped")


async def say_healthy(bench: Bench) -> None:
    """What the engine would write once the version that is live serves."""
    found = await bench.rollout()
    assert found is not None
    status = {
        "phase": "Healthy",
        "stableRS": "abc",
        "currentPodHash": "abc",
        "observedGeneration": str(found["metadata"]["generation"]),
    }
    await bench.client.patch(ROLLOUTS, bench.namespace, "web", {"status": status}, subresource="status")


async def start_in_mid_update(bench: Bench) -> tuple[str, str, str]:
    """v1 is recorded, v2 is HEAD's, the cluster is empty. Returns the GitSync's name and both commits."""
    name = await bench.sync(interval="1s")
    await bench.stop()
    first = bench.remote.put({"envs/prod/web.yaml": bench.manifest("v1"), "envs/prod/svc.yaml": bench.service()})
    head = bench.remote.put(
        {"envs/prod/web.yaml": recorded(bench, "v2", template_of(bench.manifest("v1")), first, name)}
    )
    await bench.start()
    return name, first, head


async def test_the_recorded_version_comes_first(bench: Bench) -> None:
    name, first, head = await start_in_mid_update(bench)
    await becomes(bench, "web:v1")
    _, stamp = await live(bench)
    assert stamp is not None
    assert (stamp.rebuild, stamp.commit, stamp.template) == (True, first, template_of(bench.manifest("v1")))
    shown = bench.board.get(bench.namespace, "web")
    assert shown is not None
    assert (shown.attempt.template, shown.recorded, shown.abort) == (stamp.template, True, None)

    async def rebuilding() -> bool:
        """The status follows the objects by a moment."""
        applied = await bench.condition(name, "Applied")
        return (applied.get("status"), applied.get("reason")) == ("False", "Rebuilding")

    await eventually(rebuilding, what="the condition to say what happens")
    # a restart in between changes nothing
    await bench.stop()
    await bench.start()

    async def shows_recorded() -> bool:
        state = bench.board.get(bench.namespace, "web")
        return state is not None and state.recorded

    await eventually(shows_recorded, what="the recorded version on the board")
    assert (await live(bench))[0] == "web:v1"
    await say_healthy(bench)
    await becomes(bench, "web:v2")

    async def done() -> bool:
        _, stamp = await live(bench)
        state = bench.board.get(bench.namespace, "web")
        return stamp is not None and not stamp.rebuild and state is not None and not state.recorded

    await eventually(done, what="HEAD's version, stamped and on the board")
    await bench.seen(head, name)
    assert (await bench.condition(name, "Ready"))["status"] == "True"


async def test_a_rollout_that_is_there_is_updated_as_usual(bench: Bench) -> None:
    name = await bench.sync()
    first = await bench.put({"envs/prod/web.yaml": bench.manifest("v1")}, name)
    await bench.put({"envs/prod/web.yaml": recorded(bench, "v2", template_of(bench.manifest("v1")), first, name)}, name)
    found, stamp = await live(bench)
    assert found == "web:v2"
    assert stamp is not None
    assert not stamp.rebuild


async def test_a_cache_that_is_late_does_not_bring_up_an_unproven_version(bench: Bench) -> None:
    name = await bench.sync(interval="1s")
    first = await bench.put({"envs/prod/web.yaml": bench.manifest("v1")}, name)
    uid = (await bench.rollout() or {})["metadata"]["uid"]
    key = (bench.namespace, "web")
    bench.cached[key] = Cached(uid, "")
    before = bench.client.requests["get", "rollouts"]
    text = recorded(bench, "v2", template_of(bench.manifest("v1")), first, name)
    await bench.put({"envs/prod/web.yaml": text}, name)
    assert (await live(bench))[0] == "web:v2"
    assert bench.client.requests["get", "rollouts"] == before + 1, "the test's own"
    await bench.client.delete(ROLLOUTS, bench.namespace, "web")
    await bench.put({"envs/prod/web.yaml": text.replace("replicas: 2", "replicas: 3")}, name)
    assert await bench.rollout() is None, "the cache still has it"
    del bench.cached[key]
    bench.reconciler.heal(*key)
    await becomes(bench, "web:v1")


@pytest.mark.parametrize(("template", "commit"), [("0" * 16, ""), ("", "f" * 40)])
async def test_a_record_that_cannot_be_rendered_holds(bench: Bench, template: str, commit: str) -> None:
    name = await bench.sync()
    first = bench.remote.write({"envs/prod/web.yaml": bench.manifest("v1")})
    text = recorded(bench, "v2", template or template_of(bench.manifest("v1")), commit or first, name)
    await bench.put({"envs/prod/web.yaml": text, "envs/prod/a.yaml": bench.config_map("a")}, name)
    assert await bench.rollout() is None
    assert await bench.config("a")
    problem = (await bench.status(name))["problems"][0]
    assert "StableUnavailable" in problem["message"]
    # the way out: accept what is in Git
    await bench.put({"envs/prod/web.yaml": bench.manifest("v2")}, name)
    assert (await live(bench))[0] == "web:v2"
