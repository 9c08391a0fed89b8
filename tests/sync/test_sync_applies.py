"""From a push to objects in the cluster, their stamps and the GitSync's status."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gitops_rollouts.api.names import APPLIED, POD_TEMPLATE_HASH
from gitops_rollouts.decisions.identity import digests
from gitops_rollouts.errors import NotFound
from gitops_rollouts.kube.resources import (
    CONFIG_MAPS,
    CRDS,
    DEPLOYMENTS,
    HPAS,
    NAMESPACES,
    ROLLOUTS,
    SERVICES,
    Resource,
)
from gitops_rollouts.render.yaml_reader import Document, read_documents
from gitops_rollouts.sync.stamp import live_hash, stamp_of
from sync.sync_bench import Bench
from waiting import eventually

pytestmark = pytest.mark.cluster

WEBHOOKS = Resource(
    "admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations", "ValidatingWebhookConfiguration", False
)


async def test_first_sync(bench: Bench) -> None:
    name = await bench.sync()
    manifest = bench.manifest()
    files: dict[str, str | bytes | None] = {
        "envs/prod/web.yaml": manifest,
        "envs/prod/svc.yaml": bench.service(),
        "envs/prod/a.yaml": bench.config_map("a"),
    }
    commit = await bench.put(files, name)
    live = await bench.rollout()
    assert live is not None
    document = read_documents(manifest.encode())[0]
    assert isinstance(document, Document)
    stamp = stamp_of(live)
    assert stamp is not None
    assert (stamp.commit, (stamp.template, stamp.steps), stamp.target) == (commit, digests(document.data), name)
    assert stamp.intent == commit
    assert stamp.hash == live_hash(live) != ""
    status = await bench.status(name)
    ns = bench.namespace
    assert status["inventory"] == [
        f"argoproj.io/v1alpha1|Rollout|{ns}|web",
        f"v1|ConfigMap|{ns}|a",
        f"v1|Service|{ns}|web",
    ]
    assert status["lastAppliedCommit"] == commit
    assert {one["type"]: one["status"] for one in status["conditions"]} == dict.fromkeys(
        ("Ready", "Fetched", "Rendered", "Applied", "Pruned"), "True"
    )
    assert commit[:12] in status["message"]
    assert "problems" not in status
    state = bench.board.get(ns, "web")
    assert state is not None
    assert state.attempt.intent == commit


async def test_only_what_changed_is_sent(bench: Bench) -> None:
    name = await bench.sync()
    files: dict[str, str | bytes | None] = {f"envs/prod/{n}.yaml": bench.config_map(f"c{n}") for n in range(40)}
    await bench.put(files | {"envs/prod/web.yaml": bench.manifest()}, name)
    before = bench.client.requests.copy()
    await bench.put({"envs/prod/web.yaml": bench.manifest("v2")}, name)
    sent = bench.client.requests - before
    sent.pop(("get", "gitsyncs"))  # the test's own questions
    assert sent == {
        ("apply", "rollouts"): 1,
        ("patch", "rollouts"): 1,  # its stamp
        ("list", "horizontalpodautoscalers"): 1,
        ("patch", "gitsyncs"): 1,
    }
    before = bench.client.requests.copy()
    await bench.put({"elsewhere/x": "x"}, name)
    sent = bench.client.requests - before
    assert not [key for key in sent if key[0] in {"apply", "list"}]
    assert sent["patch", "gitsyncs"] == 1


async def test_namespaces_and_kinds_come_before_what_needs_them(bench: Bench) -> None:
    name = await bench.sync(targetNamespace=f"{bench.namespace}-x")
    group = f"{bench.namespace}.example.org"
    crd = f"""\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: things.{group}}}
spec:
  group: {group}
  names: {{kind: Thing, listKind: ThingList, plural: things, singular: thing}}
  scope: Namespaced
  versions: [{{name: v1, served: true, storage: true, schema: {{openAPIV3Schema: {{type: object}}}}}}]
"""
    files: dict[str, str | bytes | None] = {
        "envs/prod/a.yaml": f"apiVersion: {group}/v1\nkind: Thing\nmetadata: {{name: thing}}\n",
        "envs/prod/b.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n",
        "envs/prod/c.yaml": crd,
        "envs/prod/d.yaml": f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {bench.namespace}-x}}\n",
    }
    commit = await bench.put(files, name)
    status = await bench.status(name)
    assert status["lastAppliedCommit"] == commit, status["message"]
    assert f"{group}/v1|Thing|{bench.namespace}-x|thing" in status["inventory"]
    assert await bench.client.get(Resource(group, "v1", "things", "Thing", True), f"{bench.namespace}-x", "thing")
    await bench.client.delete(CRDS, None, f"things.{group}")
    await bench.client.delete(NAMESPACES, None, f"{bench.namespace}-x")


async def other_manager_sets(bench: Bench, name: str, n: str, manager: str = "somebody") -> None:
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": bench.namespace},
        "data": {"value": n},
    }
    await bench.client.apply(CONFIG_MAPS, bench.namespace, name, body, field_manager=manager, force=True)


async def test_conflicts(bench: Bench) -> None:
    name = await bench.sync(force=False)
    for one in ("a", "b", "c"):
        await other_manager_sets(bench, one, "theirs")
    forced = bench.config_map("b").replace(
        "metadata: {", 'metadata: {annotations: {gitops-rollouts.io/force: "true"}, '
    )
    files: dict[str, str | bytes | None] = {
        "envs/prod/a.yaml": bench.config_map("a"),
        "envs/prod/b.yaml": forced,
        "envs/prod/d.yaml": bench.config_map("d"),
    }
    await bench.put(files, name)
    problems = (await bench.status(name))["problems"]
    assert [(one["path"], one["field"]) for one in problems] == [("envs/prod/a.yaml", "data.value")]
    assert "somebody holds data.value" in problems[0]["message"]
    config = {one: await bench.config(one) for one in ("a", "b", "d")}
    assert {one: raw["data"]["value"] for one, raw in config.items() if raw} == {"a": "theirs", "b": "1", "d": "1"}
    await bench.set(name, force=True)
    await eventually(lambda: has_value(bench, "a", "1"), what="the field to be taken over")

    async def no_problem() -> bool:
        """The status follows the objects by a moment."""
        return "problems" not in await bench.status(name)

    await eventually(no_problem, what="a status without problems")


async def has_value(bench: Bench, name: str, value: str) -> bool:
    raw = await bench.config(name)
    return raw is not None and raw["data"]["value"] == value


@pytest.mark.parametrize("force", [True, False])
async def test_the_hash_in_a_selector_survives_and_a_race_is_tried_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, force: bool
) -> None:
    """The engine isn't somebody else: no force is needed beside it."""
    name = await bench.sync(force=force)
    await bench.put({"envs/prod/web.yaml": bench.manifest(), "envs/prod/svc.yaml": bench.service()}, name)

    async def point(pod_hash: str) -> None:
        patch = {"spec": {"selector": {POD_TEMPLATE_HASH: pod_hash}}}
        await bench.client.patch(SERVICES, bench.namespace, "web", patch)

    await point("aaa")
    real = bench.client.get
    races = iter(("bbb", "ccc"))

    async def get_then_lose_the_race(resource: Resource, namespace: str | None, name: str) -> dict[str, Any]:
        found = await real(resource, namespace, name)
        if resource == SERVICES and (pod_hash := next(races, None)) is not None:
            await point(pod_hash)
        return found

    monkeypatch.setattr(bench.client, "get", get_then_lose_the_race)
    await bench.put({"envs/prod/svc.yaml": bench.service().replace("port: 80", "port: 81")}, name)
    service = await real(SERVICES, bench.namespace, "web")
    assert service["spec"]["selector"] == {"app": "web", POD_TEMPLATE_HASH: "ccc"}
    assert service["spec"]["ports"][0]["port"] == 81
    assert "problems" not in await bench.status(name)


async def test_the_size_under_an_autoscaler_survives(bench: Bench) -> None:
    name = await bench.sync()
    await bench.put({"envs/prod/web.yaml": bench.manifest()}, name)
    scaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web", "namespace": bench.namespace},
        "spec": {
            "maxReplicas": 9,
            "scaleTargetRef": {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "web"},
        },
    }
    await bench.client.create(HPAS, bench.namespace, scaler)
    await bench.client.patch(ROLLOUTS, bench.namespace, "web", {"spec": {"replicas": 7}}, field_manager="autoscaler")
    await bench.put({"envs/prod/web.yaml": bench.manifest("v2")}, name)
    live = await bench.rollout()
    assert live is not None
    assert live["spec"]["replicas"] == 7
    assert live["spec"]["template"]["spec"]["containers"][0]["image"] == "web:v2"
    await bench.client.delete(HPAS, bench.namespace, "web")
    await bench.put({"envs/prod/web.yaml": bench.manifest("v3")}, name)
    live = await bench.rollout()
    assert live is not None
    assert live["spec"]["replicas"] == 2


async def test_a_deployment_that_a_rollout_refers_to_keeps_its_size_and_gets_its_new_template(bench: Bench) -> None:
    """docs/behaviour.md §2.2: with Git's size its own pods would start the new template, past every step."""
    deployment = (
        f"apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web, namespace: {bench.namespace}}}\nspec:\n"
        "  replicas: 3\n  selector: {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: web}}\n"
        '    spec: {containers: [{name: web, image: "web:v1"}]}\n'
    )
    name = await bench.sync()
    await bench.put({"envs/prod/web.yaml": deployment}, name)
    live = await bench.client.get(DEPLOYMENTS, bench.namespace, "web")
    assert live["spec"]["replicas"] == 3
    # the Rollout came by another way than this tree
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "scaleDown": "onsuccess"}
    spec = {"replicas": 3, "workloadRef": reference, "strategy": {"canary": {}}}
    head = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "web"}}
    await bench.client.create(ROLLOUTS, bench.namespace, {**head, "spec": spec})
    await bench.client.patch(DEPLOYMENTS, bench.namespace, "web", {"spec": {"replicas": 0}}, field_manager="engine")
    for text in (deployment, deployment.replace("  replicas: 3\n", "")):
        tag = "v2" if "replicas" in text else "v3"
        await bench.put({"envs/prod/web.yaml": text.replace("web:v1", f"web:{tag}")}, name)
        live = await bench.client.get(DEPLOYMENTS, bench.namespace, "web")
        assert live["spec"]["replicas"] == 0
        assert live["spec"]["template"]["spec"]["containers"][0]["image"] == f"web:{tag}"


async def test_drift_is_repaired_by_the_full_pass(bench: Bench) -> None:
    await bench.stop()
    bench.full_pass = bench.full_pass / 300
    await bench.start()
    name = await bench.sync()
    await bench.put({"envs/prod/a.yaml": bench.config_map("a"), "envs/prod/b.yaml": bench.config_map("b")}, name)
    await other_manager_sets(bench, "a", "edited")
    await bench.client.delete(CONFIG_MAPS, bench.namespace, "b")
    await eventually(lambda: has_value(bench, "a", "1"), what="the edit to be undone")
    await eventually(lambda: has_value(bench, "b", "1"), what="the object to come back")


async def test_a_rollout_edited_or_deleted_by_hand_is_healed_at_once(bench: Bench) -> None:
    name = await bench.sync()
    await bench.put({"envs/prod/web.yaml": bench.manifest()}, name)
    edit = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "web:hand"}]
    await bench.client.patch(ROLLOUTS, bench.namespace, "web", edit, kind="json", field_manager="kubectl-edit")
    bench.reconciler.heal(bench.namespace, "web")

    async def healed() -> bool:
        live = await bench.rollout()
        stamp = stamp_of(live) if live else None
        return live is not None and stamp is not None and stamp.hash == live_hash(live) and not live.get("hand")

    async def image() -> bool:
        live = await bench.rollout()
        return live is not None and live["spec"]["template"]["spec"]["containers"][0]["image"] == "web:v1"

    await eventually(image, what="the image to be Git's again")
    await bench.client.delete(ROLLOUTS, bench.namespace, "web")
    bench.reconciler.heal(bench.namespace, "web")
    await eventually(healed, what="the Rollout to come back, with its stamp")


async def test_the_same_content_under_a_new_intent_is_stamped_anew(bench: Bench) -> None:
    name = await bench.sync()
    first = await bench.put({"envs/prod/web.yaml": bench.manifest()}, name)
    bench.remote.write({"envs/prod/web.yaml": bench.manifest("v2")})
    commit = await bench.put({"envs/prod/web.yaml": bench.manifest()}, name)
    live = await bench.rollout()
    assert live is not None
    stamp = stamp_of(live)
    assert stamp is not None
    assert first != commit == stamp.intent


async def test_something_else_applies(bench: Bench) -> None:
    name = await bench.sync(apply=False, interval="1s")
    await bench.put({"envs/prod/web.yaml": bench.manifest(), "envs/prod/a.yaml": bench.config_map("a")}, name)
    assert await bench.rollout() is None
    assert await bench.config("a") is None
    assert (await bench.condition(name, "Applied"))["reason"] == "AppliedElsewhere"
    document = read_documents(bench.manifest().encode())[0]
    assert isinstance(document, Document)
    await bench.client.apply(ROLLOUTS, bench.namespace, "web", document.data, field_manager="argocd", force=True)
    bench.reconciler.heal(bench.namespace, "web")

    async def stamped() -> bool:
        live = await bench.rollout()
        return live is not None and APPLIED in (live["metadata"].get("annotations") or {})

    await eventually(stamped, what="the stamp")
    live = await bench.rollout()
    assert live is not None
    assert "gitops-rollouts" not in {one["manager"] for one in live["metadata"]["managedFields"]}
    assert "inventory" not in await bench.status(name)


async def test_missing_namespace(bench: Bench) -> None:
    name = await bench.sync()
    text = bench.config_map("a").replace(bench.namespace, "nobody-made-this")
    await bench.put({"envs/prod/a.yaml": text, "envs/prod/b.yaml": bench.config_map("b")}, name)
    problems = (await bench.status(name))["problems"]
    assert [one["message"] for one in problems] == [
        "ConfigMap nobody-made-this/a: the namespace nobody-made-this doesn't exist"
    ]
    with pytest.raises(NotFound):
        await bench.client.get(CONFIG_MAPS, "nobody-made-this", "a")
    assert await bench.config("b")


async def test_the_hash_in_a_selector_survives_a_rollout_that_cannot_be_used(bench: Bench) -> None:
    name = await bench.sync()
    await bench.put({"envs/prod/web.yaml": bench.manifest(), "envs/prod/svc.yaml": bench.service()}, name)
    patch = {"spec": {"selector": {POD_TEMPLATE_HASH: "aaa"}}}
    await bench.client.patch(SERVICES, bench.namespace, "web", patch)
    bad = bench.manifest().replace("setWeight: 20", "setWeight: 200")
    port = bench.service().replace("port: 80", "port: 81")
    await bench.put({"envs/prod/web.yaml": bad, "envs/prod/svc.yaml": port}, name)
    service = await bench.client.get(SERVICES, bench.namespace, "web")
    assert service["spec"]["ports"][0]["port"] == 81
    assert service["spec"]["selector"] == {"app": "web", POD_TEMPLATE_HASH: "aaa"}


async def test_handing_the_size_over_to_an_autoscaler_keeps_the_size(bench: Bench) -> None:
    name = await bench.sync()
    await bench.put({"envs/prod/web.yaml": bench.manifest().replace("replicas: 2", "replicas: 6")}, name)
    scaler = (
        f"apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {{name: web, namespace: "
        f"{bench.namespace}}}\nspec:\n  maxReplicas: 9\n"
        "  scaleTargetRef: {apiVersion: argoproj.io/v1alpha1, kind: Rollout, name: web}\n"
    )
    sizeless = bench.manifest().replace("  replicas: 2\n", "")
    await bench.put({"envs/prod/hpa.yaml": scaler, "envs/prod/web.yaml": sizeless}, name)
    live = await bench.rollout()
    assert live is not None
    assert live["spec"]["replicas"] == 6


@asynccontextmanager
async def broken_webhook(bench: Bench, group: str, version: str, plural: str) -> AsyncIterator[None]:
    """No write of an object of this kind with the label ``hooked`` comes through."""
    hook = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": bench.namespace},
        "webhooks": [
            {
                "name": "broken.example.com",
                "clientConfig": {"url": "https://127.0.0.1:1/"},
                "rules": [{"apiGroups": [group], "apiVersions": [version], "operations": ["*"], "resources": [plural]}],
                "objectSelector": {"matchLabels": {"hooked": bench.namespace}},
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
            }
        ],
    }
    await bench.client.create(WEBHOOKS, None, hook)
    try:
        yield
    finally:
        await bench.client.delete(WEBHOOKS, None, bench.namespace)


def hooked(manifest: str, bench: Bench) -> str:
    return manifest.replace("metadata:", f"metadata:\n  labels: {{hooked: {bench.namespace}}}", 1)


async def test_an_object_that_the_api_server_cannot_take_stops_no_other(bench: Bench) -> None:
    async with broken_webhook(bench, "argoproj.io", "v1alpha1", "rollouts"):
        name = await bench.sync()
        review = (
            "apiVersion: authorization.k8s.io/v1\nkind: SubjectAccessReview\nmetadata: {name: x}\nspec: {user: u}\n"
        )
        files = {
            "a": hooked(bench.manifest(name="a"), bench),
            "b": review,
            "web": bench.manifest(),
            "c": bench.config_map("c"),
        }
        await bench.put({f"envs/prod/{one}.yaml": text for one, text in files.items()}, name)
        assert await bench.config("c")
        assert await bench.rollout()
        told = {one["path"] for one in (await bench.status(name))["problems"]}
        assert told == {"envs/prod/a.yaml", "envs/prod/b.yaml"}


async def test_one_that_cannot_be_compared_stops_no_other_where_something_else_applies(bench: Bench) -> None:
    files = {"a": hooked(bench.manifest(name="a"), bench), "web": bench.manifest()}
    for manifest in files.values():
        document = read_documents(manifest.encode())[0]
        assert isinstance(document, Document)
        await bench.client.create(ROLLOUTS, bench.namespace, document.data)
    async with broken_webhook(bench, "argoproj.io", "v1alpha1", "rollouts"):
        name = await bench.sync(apply=False)
        await bench.put({f"envs/prod/{one}.yaml": text for one, text in files.items()}, name)

        async def stamped() -> bool:
            live = await bench.rollout()
            return live is not None and stamp_of(live) is not None

        await eventually(stamped, what="the other one's stamp")
        told = {one["path"] for one in (await bench.status(name))["problems"]}
        assert told == {"envs/prod/a.yaml"}
