"""What is wrong in Git or with Git costs only itself, is told once, and never takes away what runs."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gitops_rollouts.kube.resources import GITSYNCS, SECRETS
from gitops_rollouts.local.git_server import GitServer
from gitops_rollouts.render import kustomize
from gitops_rollouts.sync.live import LiveGitSync
from gitops_rollouts.sync.stamp import stamp_of
from sync.sync_bench import Bench
from waiting import eventually

pytestmark = pytest.mark.cluster


TEMPLATE = """\
apiVersion: argoproj.io/v1alpha1
kind: AnalysisTemplate
metadata: {name: errors}
spec:
  args: [{name: most}]
  metrics:
    - name: rate
      successCondition: result < 5
      provider: {prometheus: {address: "http://prometheus", query: "rate{{args.most}}"}}
"""


async def image(bench: Bench) -> str:
    live = await bench.rollout()
    assert live is not None
    return str(live["spec"]["template"]["spec"]["containers"][0]["image"])


async def problems(bench: Bench, name: str) -> dict[str, tuple[str, int]]:
    found = (await bench.status(name)).get("problems") or []
    return {one["path"]: (one.get("field", ""), one.get("line", 0)) for one in found}


async def test_bad_files_are_one_problem_each_and_the_rest_syncs(bench: Bench) -> None:
    name = await bench.sync()
    typo = bench.manifest(name="typo").replace("setWeight", "setWeigth")
    rule = bench.manifest(name="rule").replace("setWeight: 20", "setWeight: 200")
    errors = TEMPLATE.replace("result <", "result <<")
    files: dict[str, str | bytes | None] = {
        "envs/prod/web.yaml": bench.manifest(),
        "envs/prod/typo.yaml": typo,
        "envs/prod/rule.yaml": rule,
        "envs/prod/errors.yaml": errors,
        "envs/prod/latency.yaml": TEMPLATE.replace("errors", "latency"),
        "envs/prod/twice.yaml": bench.config_map("t") + "---\n" + bench.config_map("t"),
        "envs/prod/brackets.yaml": "[" * 30_000 + "]" * 30_000,
        "envs/prod/unknown.yaml": "apiVersion: example.org/v9\nkind: Flux\nmetadata: {name: f}\n",
        "envs/prod/server.yaml": bench.service("bad").replace("port: 80", "port: 800000"),
        "envs/prod/good.yaml": bench.config_map("good"),
    }
    commit = await bench.put(files, name)
    assert await problems(bench, name) == {
        "envs/prod/typo.yaml": ("spec.strategy.canary.steps[0].setWeigth", 19),
        "envs/prod/rule.yaml": ("spec.strategy.canary.steps[0].setWeight", 19),
        "envs/prod/errors.yaml": ("spec.metrics[0].successCondition", 8),
        "envs/prod/twice.yaml": ("metadata.name", 6),
        "envs/prod/brackets.yaml": ("", 1),
        "envs/prod/unknown.yaml": ("kind", 2),
        "envs/prod/server.yaml": ("", 1),
    }
    status = await bench.status(name)
    assert status["problemCount"] == 7
    assert "lastAppliedCommit" not in status
    assert await bench.config("good")
    assert await image(bench) == "web:v1"
    assert await bench.rollout("typo") is None
    ready = await bench.condition(name, "Ready")
    assert ready["status"] == "False"
    assert commit[:12] in ready["message"]
    gone: dict[str, str | bytes | None] = dict.fromkeys(await problems(bench, name))
    clean = await bench.put(gone, name)
    status = await bench.status(name)
    assert "problems" not in status
    assert status["lastAppliedCommit"] == clean


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("setWeight: 20", "setWeight: twenty"),
        ("kind: Rollout", "kind: Rollout\nkind: Rollout"),
        ("spec:\n", "spec: [\n"),
    ],
)
async def test_a_bad_edit_keeps_the_last_good_state(bench: Bench, old: str, new: str) -> None:
    name = await bench.sync(prune=True)
    first = await bench.put({"envs/prod/web.yaml": bench.manifest(), "envs/prod/a.yaml": bench.config_map("a")}, name)
    bad = bench.manifest("v2").replace(old, new, 1)
    await bench.put({"envs/prod/web.yaml": bad, "envs/prod/b.yaml": bench.config_map("b")}, name)
    assert await image(bench) == "web:v1"
    assert await bench.config("b")
    state = bench.board.get(bench.namespace, "web")
    assert state is not None
    assert state.blocked
    assert state.attempt.intent == first
    await bench.put({"envs/prod/web.yaml": bench.manifest("v2")}, name)
    assert await image(bench) == "web:v2"
    state = bench.board.get(bench.namespace, "web")
    assert state is not None
    assert not state.blocked


async def test_a_failed_render_changes_nothing(bench: Bench) -> None:
    name = await bench.sync(prune=True, path="app")
    first = await bench.put(
        {"app/kustomization.yaml": "resources: [a.yaml]\n", "app/a.yaml": bench.config_map("a")}, name
    )
    bad = await bench.put({"app/kustomization.yaml": "resources: [b.yaml]\n"}, name)
    assert (await bench.condition(name, "Rendered"))["reason"] == "RenderFailed"
    assert await problems(bench, name) == {"app/kustomization.yaml": ("resources[0]", 1)}
    status = await bench.status(name)
    assert (status["lastFetchedCommit"], status["lastAppliedCommit"]) == (bad, first)
    assert await bench.config("a")
    fetched = bench.board.fetched_at(name)
    bench.reconciler.look_now(name)
    await eventually(lambda: asked_again(bench, name, fetched), what="another answer of the remote")
    assert bench.board.fetched_at(name) == fetched, "a tree that can't be rendered isn't fresh"


async def asked_again(bench: Bench, name: str, before: Any) -> bool:
    at = bench.reconciler.poller.seen(name).at
    return at is not None and (before is None or at > before)


async def test_a_branch_that_is_gone_changes_nothing(bench: Bench) -> None:
    name = await bench.sync(prune=True)
    commit = await bench.put({"envs/prod/web.yaml": bench.manifest()}, name)
    bench.remote.git("push", "-q", "origin", ":refs/heads/main")
    bench.reconciler.look_now(name)

    async def told() -> bool:
        return (await bench.condition(name, "Fetched")).get("reason") == "RefMissing"

    await eventually(told, what="the missing branch to be told")
    assert await bench.rollout()
    assert bench.board.get(bench.namespace, "web") is not None
    status = await bench.status(name)
    assert status["lastFetchedCommit"] == commit
    assert "nothing is pruned" in status["message"]
    # a process that starts now has nothing but the mirror
    await bench.stop()
    await bench.start()

    async def shown() -> bool:
        return bench.board.get(bench.namespace, "web") is not None

    await eventually(shown, what="the last applied commit on the board")
    fetched = bench.board.fetched_at(name)
    assert fetched is not None
    assert fetched.year == 1970
    bench.remote.push()
    bench.reconciler.look_now(name)

    async def ready() -> bool:
        return (await bench.condition(name, "Ready")).get("status") == "True"

    await eventually(ready, what="the branch to be back")


@pytest.mark.parametrize(
    ("spec", "phrase"),
    [
        ({"repo": "ext::sh -c true"}, "repository"),
        ({"repo": "https://user:pass@example.org/x"}, ""),
        ({"branch": "--upload-pack=x"}, "branch"),
        ({"readSecretRef": {"name": "none", "namespace": "default"}}, "Secret default/none"),
        ({"path": "../.."}, "leaves the repository"),
        ({"path": "nowhere"}, "no such directory"),
    ],
)
async def test_a_bad_spec_is_told(bench: Bench, spec: dict[str, Any], phrase: str) -> None:
    bench.remote.put({"envs/prod/a.yaml": bench.config_map("a")})
    name = await bench.sync(**spec)

    async def told() -> bool:
        ready = await bench.condition(name, "Ready")
        return ready.get("status") == "False" and phrase in ready["message"]

    await eventually(told, what=f"{phrase!r}: {await bench.status(name)}")
    assert "pass@" not in str(await bench.status(name))


async def test_credentials_come_from_a_secret(bench: Bench, git_server: GitServer, namespace: str) -> None:
    git_server.user, git_server.password = "reader", "hush-hush"
    url = git_server.create_repository("private", {"envs/prod/a.yaml": bench.config_map("a")})
    name = await bench.sync(repo=url, readSecretRef={"name": "git", "namespace": namespace}, interval="1s")
    reason = {"name": "git", "namespace": namespace}
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": reason,
        "stringData": {"username": git_server.user, "password": git_server.password},
    }
    await bench.client.create(SECRETS, namespace, secret)
    await bench.set(name, interval="2s")

    async def applied() -> bool:
        return await bench.config("a") is not None

    await eventually(applied, what=f"the object: {await bench.status(name)}")
    assert git_server.password not in str(await bench.status(name))


async def test_a_secret_that_is_gone_stops_nothing_until_a_restart_and_then_all_rests(
    bench: Bench, git_server: GitServer, namespace: str
) -> None:
    """docs/gitsync.md "Secrets that are missing"."""
    git_server.user, git_server.password = "reader", "hush-hush"
    url = git_server.create_repository("guarded")

    def push(tag: str, **more: str | None) -> None:
        bench.remote.put({"envs/prod/web.yaml": bench.manifest(tag), **{f"envs/prod/{k}.yaml": more[k] for k in more}})
        bench.remote.git("push", "-q", str(git_server.path("guarded")), "HEAD:main")

    push("v1", a=bench.config_map("a"))
    named = {"name": "git", "namespace": namespace}
    content = {"username": git_server.user, "password": git_server.password}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": named, "stringData": content}
    await bench.client.create(SECRETS, namespace, secret)
    name = await bench.sync(repo=url, readSecretRef=named, interval="1s", prune=True)

    async def says(kind: str, status: str, part: str) -> bool:
        found = await bench.condition(name, kind)
        return found.get("status") == status and part in found["message"]

    async def waits(kind: str, status: str, part: str) -> None:
        await eventually(lambda: says(kind, status, part), what=f"{kind} {part!r}: {await bench.status(name)}")

    await waits("Ready", "True", "is what runs")
    await bench.client.delete(SECRETS, namespace, "git")
    bench.ahead += timedelta(minutes=2)
    bench.queue.add(name)
    await waits("Secrets", "False", f"spec.readSecretRef: the Secret {namespace}/git doesn't exist")
    push("v2", a=None)

    async def second() -> bool:
        return await image(bench) == "web:v2" and await bench.config("a") is None

    await eventually(second, what=f"v2 with what was read: {await bench.status(name)}")
    await waits("Ready", "True", "is what runs")

    await bench.stop()  # a process that starts now has nothing that opens the repository
    await bench.start()
    await waits("Ready", "False", "nothing is pruned")
    await waits("Fetched", "False", f"the Secret {namespace}/git doesn't exist")

    async def shown() -> bool:
        return bench.board.get(namespace, "web") is not None

    await eventually(shown, what="what was applied last, on the board")
    assert bench.board.fetched_at(name) == datetime(1970, 1, 1, tzinfo=UTC), "nothing moves forward"
    push("v3")
    await bench.client.create(SECRETS, namespace, secret)
    bench.queue.add(name)

    async def third() -> bool:
        return await image(bench) == "web:v3"

    await eventually(third, what=f"v3: {await bench.status(name)}")
    await waits("Secrets", "True", "can be used")
    assert git_server.password not in str(await bench.status(name))


async def test_suspended(bench: Bench) -> None:
    name = await bench.sync()
    await bench.put({"envs/prod/web.yaml": bench.manifest()}, name)
    await bench.set(name, suspend=True)

    async def suspended() -> bool:
        return (await bench.condition(name, "Ready")).get("reason") == "Suspended"

    await eventually(suspended, what="the suspension")
    commit = bench.remote.put({"envs/prod/web.yaml": bench.manifest("v2")})
    bench.reconciler.look_now(name)
    assert await image(bench) == "web:v1"
    await bench.set(name, suspend=False)
    await bench.seen(commit, name)
    assert await image(bench) == "web:v2"


async def test_a_restart_sends_the_same_again_and_keeps_the_intent(bench: Bench) -> None:
    name = await bench.sync()
    first = await bench.put({"envs/prod/web.yaml": bench.manifest()}, name)
    second = await bench.put({"envs/prod/a.yaml": bench.config_map("a")}, name)
    await bench.stop()
    before = (await bench.rollout() or {})["metadata"]["resourceVersion"]
    written = (await bench.status(name))["conditions"]
    await bench.start()
    await bench.seen(second, name)

    async def published() -> bool:
        return bench.board.fetched_at(name) is not None

    await eventually(published, what="the board")
    live = await bench.rollout()
    assert live is not None
    stamp = stamp_of(live)
    assert stamp is not None
    assert stamp.intent == first
    assert live["metadata"]["resourceVersion"] == before, "nothing was written"
    assert (await bench.status(name))["conditions"] == written


async def next_pass(bench: Bench, name: str, monkeypatch: pytest.MonkeyPatch) -> timedelta | None:
    """What one more pass says of when to look again."""
    real, said = bench.reconciler.reconcile, asyncio.Queue[timedelta | None]()

    async def reconcile(live: LiveGitSync) -> timedelta | None:
        again = await real(live)
        said.put_nowait(again)
        return again

    with monkeypatch.context() as patch:
        patch.setattr(bench.reconciler, "reconcile", reconcile)
        bench.queue.add(name)
        return await asyncio.wait_for(said.get(), 30)


@pytest.mark.parametrize(
    "files", [{"envs/prod/kustomization.yaml": "resources: [gone.yaml]\n"}, {"envs/prod/README.md": "nothing"}]
)
async def test_nothing_to_apply_is_no_reason_to_look_again_at_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, files: dict[str, str | bytes | None]
) -> None:
    name = await bench.sync()
    await bench.put({"envs/prod/a.yaml": bench.config_map("a")}, name)
    await bench.put({"envs/prod/a.yaml": None, **files}, name)
    bench.ahead = bench.full_pass * 2  # a full pass has long been due
    again = await next_pass(bench, name, monkeypatch)
    assert again is None or again >= timedelta(seconds=10)


async def test_a_render_that_failed_in_passing_is_tried_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    name = await bench.sync()
    files = {"envs/prod/kustomization.yaml": "resources: [a.yaml]\n", "envs/prod/a.yaml": bench.config_map("a")}
    with monkeypatch.context() as patch:
        patch.setattr(kustomize, "TIMEOUT_SECONDS", 0)
        await bench.put(files, name)
        assert "didn't end" in (await bench.condition(name, "Rendered"))["message"]
    assert await next_pass(bench, name, monkeypatch)
    assert await bench.config("a")


async def test_the_status_tells_of_the_spec_as_it_is(bench: Bench) -> None:
    name = await bench.sync()
    await bench.put({"envs/prod/a.yaml": bench.config_map("a")}, name)
    await bench.set(name, maxStaleness="11m")

    async def seen() -> bool:
        raw = await bench.client.get(GITSYNCS, None, name)
        return bool(raw["status"]["observedGeneration"] == raw["metadata"]["generation"])

    await eventually(seen, what="the new generation to be observed")


async def test_a_forge_s_token_that_is_gone_stops_nothing_that_git_says(bench: Bench) -> None:
    """docs/decisions.md §2: without its forge, commits go on; a revert must never wait for a Secret of another."""
    named = {"name": "forge", "namespace": bench.namespace}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": named, "stringData": {"token": "hush-hush"}}
    await bench.client.create(SECRETS, bench.namespace, secret)
    forge = {"kind": "gitea", "url": "http://127.0.0.1:1", "project": "acme/shop", "secretRef": named}
    name = await bench.sync(forge=forge)
    await bench.put({"envs/prod/web.yaml": bench.manifest()}, name)
    await bench.client.delete(SECRETS, bench.namespace, "forge")
    bench.ahead += timedelta(minutes=2)
    await bench.put({"envs/prod/web.yaml": bench.manifest("v2")}, name)
    assert await image(bench) == "web:v2"
