"""``gor migrate`` reads a real API server: Rollouts that another controller drives, and a live Deployment."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import yaml

from cli.command import gor
from controllers.laid_down import AVAILABLE, NOT_COMPLETED, NOT_HEALTHY, PAUSED, History, Laid, Version, ago, recorded
from controllers.running import Shown, rollout, running
from gitops_rollouts.api.names import INSTANCE_ID, LOCK_NAME, PRIMARY_CLUSTER
from gitops_rollouts.cli import exit_codes
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import DEPLOYMENTS, HPAS, LEASES, ROLLOUTS, SECRETS, SERVICES, Resource
from gitops_rollouts.leader import Settings
from gitops_rollouts.local.cluster import Cluster
from waiting import eventually

pytestmark = pytest.mark.cluster
STEPS: list[dict[str, Any]] = [{"setWeight": 25}, {"pause": {}}]
STEP_HASH = "77b4b4f4c6"


@pytest.fixture
async def client(kubeconfig: Path, crds: Cluster) -> AsyncIterator[Client]:
    async with await Client.connect(str(kubeconfig)) as connected:
        yield connected


async def run(kubeconfig: Path, namespace: str, *argv: str) -> CompletedProcess[str]:
    return await asyncio.to_thread(gor, "migrate", *argv, "-n", namespace, KUBECONFIG=str(kubeconfig))


def deployment(**spec: Any) -> dict[str, Any]:
    labels = {"app": "web"}
    containers = [{"name": "app", "image": "app:v1"}]
    template = {"metadata": {"labels": labels}, "spec": {"containers": containers}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "labels": labels},
        "spec": {"selector": {"matchLabels": labels}, "template": template, **spec},
    }


async def nobody_drives(kubeconfig: Path, namespace: str) -> CompletedProcess[str]:
    """The check once it is content. Leases of other tests' processes that were killed must run out first."""

    async def content() -> CompletedProcess[str] | None:
        done = await run(kubeconfig, namespace, "check")
        return done if done.returncode == exit_codes.OK else None

    found = await eventually(content, deadline=60)
    assert found is not None
    return found


async def lay(client: Client, namespace: str, name: str, **spec: Any) -> None:
    """A canary at its gate."""
    body = rollout(name, image="app:v2", steps=STEPS, **spec)
    laid = Laid(client, namespace, body, [Version("app:v1", 1, 3), Version("app:v2", 2, 1)])
    await laid.objects()
    progressing = ("Progressing", "Unknown", "RolloutPaused", "Rollout is paused")
    await laid.status(
        AVAILABLE, NOT_HEALTHY, NOT_COMPLETED, progressing, PAUSED,
        currentStepIndex=1, currentStepHash=STEP_HASH, controllerPause=True, phase="Paused",
        pauseConditions=[{"reason": "CanaryPauseStep", "startTime": ago(60)}], message="CanaryPauseStep",
    )  # fmt: skip


async def test_check_tells_what_becomes_of_each_rollout_and_who_is_to_be_stopped(
    client: Client, kubeconfig: Path, namespace: str
) -> None:
    """docs/behaviour.md §7, §23"""
    await lay(client, namespace, "gate")
    fine = await nobody_drives(kubeconfig, namespace)
    header, line = fine.stdout.splitlines()
    assert header.split()[:4] == ["NAME", "STRATEGY", "PHASE", "STEP"]
    assert line.split() == ["gate", "canary", "Paused", "1/2", "as", "is", "-"]

    await lay(client, namespace, "unsized")
    await client.patch(ROLLOUTS, namespace, "unsized", {"spec": {"replicas": 8}}, field_manager="tests")
    await lay(client, namespace, "edited")
    image = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "app:v3"}]
    await client.patch(ROLLOUTS, namespace, "edited", image, kind="json", field_manager="tests")
    refused = rollout("refused", steps=STEPS)
    canary = refused["spec"]["strategy"]["canary"]
    canary |= {"canaryService": "c", "stableService": "s", "trafficRouting": {"appMesh": {}}}
    await client.create(ROLLOUTS, namespace, refused)
    away = {"name": "mesh", "labels": {PRIMARY_CLUSTER: "true"}}
    await client.create(SECRETS, namespace, {"apiVersion": "v1", "kind": "Secret", "metadata": away})
    for name, routing in (
        ("unrouted", {"nginx": {"stableIngress": "gone"}}),
        ("meshed", {"istio": {"virtualService": {"name": "in-another-cluster"}}}),
    ):
        routed = rollout(name, steps=STEPS)
        for service in (name, f"{name}-canary"):
            spec = {"selector": {"app": name}, "ports": [{"port": 80}]}
            body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": service}, "spec": spec}
            await client.create(SERVICES, namespace, body)
        names = {"canaryService": f"{name}-canary", "stableService": name}
        routed["spec"]["strategy"]["canary"] |= {**names, "trafficRouting": routing}
        await client.create(ROLLOUTS, namespace, routed)
    bad = rollout("invalid", steps=[{"setWeight": 200}])
    await client.create(ROLLOUTS, namespace, bad)
    theirs = rollout("theirs")
    theirs["metadata"]["labels"] = {INSTANCE_ID: "blue"}
    await client.create(ROLLOUTS, namespace, theirs)
    lease = {
        "holderIdentity": "argo-rollouts-5b6f_1",
        "leaseDurationSeconds": 3600,
        "renewTime": ago(5)[:-1] + ".000000Z",
    }
    await client.create(LEASES, namespace, {"metadata": {"name": LOCK_NAME}, "spec": lease})
    before = {each["metadata"]["name"]: each["metadata"]["resourceVersion"]
              for each in await client.list(ROLLOUTS, namespace)}  # fmt: skip

    told = await run(kubeconfig, namespace, "check", "-o", "json")
    assert told.returncode == exit_codes.NEGATIVE
    data = json.loads(told.stdout)
    found = {each["name"]: each for each in data["rollouts"]}
    assert {name: each["verdict"] for name, each in found.items()} == {
        "gate": "as is",
        "unsized": "goes on",
        "edited": "starts anew",
        "refused": "refused",
        "unrouted": "refused",
        "meshed": "starts anew",
        "invalid": "refused",
        "theirs": "other instance",
    }
    assert any("scales the ReplicaSet" in each for each in found["unsized"]["reasons"])
    assert any(each.startswith("creates the ReplicaSet edited-") for each in found["edited"]["reasons"])
    assert any("acted on by nobody yet" in each for each in found["edited"]["reasons"])
    assert 'service "s" not found' in found["refused"]["reasons"][0]
    assert 'ingresses.networking.k8s.io "gone" not found' in found["unrouted"]["reasons"][0]
    assert "steps[0].setWeight" in found["invalid"]["reasons"][0]
    assert "--instance-id blue" in found["theirs"]["reasons"][0]
    (driver,) = [each for each in data["drivers"] if each["namespace"] == namespace]
    assert (driver["holder"], driver["alive"]) == ("argo-rollouts-5b6f_1", True)
    people = await run(kubeconfig, namespace, "check")
    assert f"argo-rollouts-5b6f_1 holds the Lease {namespace}/{LOCK_NAME}" in people.stderr
    assert "stop it first" in people.stderr
    after = {each["metadata"]["name"]: each["metadata"]["resourceVersion"]
             for each in await client.list(ROLLOUTS, namespace)}  # fmt: skip
    assert after == before

    await client.patch(LEASES, namespace, LOCK_NAME, {"spec": {"holderIdentity": ""}})
    for name in ("unsized", "edited", "refused", "unrouted", "meshed", "invalid"):
        await client.delete(ROLLOUTS, namespace, name)
    await nobody_drives(kubeconfig, namespace)


def fewest_ready(history: History, start: int) -> int:
    """The smallest number of ready pods at any moment of a watch that began with ``start`` of them."""
    ready: dict[str, bool] = {}
    least = count = start
    known = 0
    for what, raw in history.of("Pod"):
        name = raw["metadata"]["name"]
        conditions = (raw.get("status") or {}).get("conditions") or []
        now = what != "DELETED" and "deletionTimestamp" not in raw["metadata"]
        now = now and any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
        # a pod that is first told of as changed was there, and ready, before the watch
        was = ready.get(name, what != "ADDED")
        ready[name] = now
        count += int(now) - int(was)
        known += 1
        least = min(least, count)
    assert known
    return least


@pytest.mark.parametrize("scale_down", ["onsuccess", "progressively"])
async def test_a_deployment_hands_its_pods_over_and_gets_them_back_and_no_pod_is_ever_missing(
    client: Client, kubeconfig: Path, namespace: str, scale_down: str
) -> None:
    """docs/behaviour.md §2.2, and the commands of docs/migration.md."""
    await client.create(DEPLOYMENTS, namespace, deployment(replicas=4))

    async def size(resource: Resource, wanted: int) -> bool:
        found = await client.get(resource, namespace, "web")
        ready = (found.get("status") or {}).get("readyReplicas") or 0
        return bool(found["spec"]["replicas"] == wanted == ready)

    await eventually(lambda: size(DEPLOYMENTS, 4), deadline=60)
    done = await run(kubeconfig, namespace, "deployment", "web", "--steps", "50,pause", "--scale-down", scale_down)
    assert done.returncode == exit_codes.OK, done.stderr
    assert "write replicas: 0" in done.stderr
    manifest = yaml.safe_load(done.stdout)
    assert manifest["spec"]["workloadRef"]["scaleDown"] == scale_down
    settings = Settings(str(kubeconfig), namespace=namespace, metrics_port=0, healthz_port=0, leader_elect=False)
    web = Shown(client, namespace)
    async with recorded(client, namespace) as history, running(settings):
        await client.create(ROLLOUTS, namespace, manifest)
        await web.phase("Healthy")
        await eventually(lambda: size(DEPLOYMENTS, 0), deadline=60)
        assert (await web.phase("Healthy"))["status"]["availableReplicas"] == 4
        assert fewest_ready(history, 4) >= 4
        # the check knows where the template comes from
        told = json.loads((await run(kubeconfig, namespace, "check", "-o", "json")).stdout)
        assert [each["verdict"] for each in told["rollouts"]] == ["as is"]

        never = {"spec": {"workloadRef": {"scaleDown": "never"}}}
        await client.patch(ROLLOUTS, namespace, "web", never, field_manager="tests")
        await client.patch(DEPLOYMENTS, namespace, "web", {"spec": {"replicas": 4}}, field_manager="tests")
        await eventually(lambda: size(DEPLOYMENTS, 4), deadline=60)
        await web.phase("Healthy")
        assert await size(DEPLOYMENTS, 4)
        await client.delete(ROLLOUTS, namespace, "web")
        assert fewest_ready(history, 4) >= 4
        assert await size(DEPLOYMENTS, 4)


async def test_a_live_deployment_becomes_a_rollout_that_the_server_takes(
    client: Client, kubeconfig: Path, namespace: str
) -> None:
    limits = {"maxSurge": "50%", "maxUnavailable": 0}
    body = deployment(replicas=2, strategy={"type": "RollingUpdate", "rollingUpdate": limits})
    await client.create(DEPLOYMENTS, namespace, body)
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    scaler = {"metadata": {"name": "web"}, "spec": {"scaleTargetRef": target, "maxReplicas": 5}}
    await client.create(HPAS, namespace, scaler)
    done = await run(kubeconfig, namespace, "deployment", "web", "--convert", "--steps", "50,pause")
    assert done.returncode == exit_codes.OK, done.stderr
    assert "HorizontalPodAutoscaler web: set spec.scaleTargetRef" in done.stderr
    manifest = yaml.safe_load(done.stdout)
    made = await client.create(ROLLOUTS, namespace, manifest)
    assert made["spec"]["strategy"]["canary"] == {
        **limits,
        "steps": [{"setWeight": 50}, {"pause": {}}],
    }
    assert made["spec"]["selector"] == body["spec"]["selector"]
    missing = await run(kubeconfig, namespace, "deployment", "api")
    assert missing.returncode == exit_codes.NOT_FOUND
