"""A Rollout to which nothing happens costs nothing, whatever it is made of, however often it is looked at."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from controllers.running import Raw, Shown, rollout, running
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    EVENTS,
    PODS,
    REPLICA_SETS,
    ROLLOUTS,
    SERVICES,
)
from gitops_rollouts.leader import Settings
from gitops_rollouts.manager import Manager
from waiting import eventually

pytestmark = pytest.mark.cluster
GATE: Final[list[Raw]] = [{"setWeight": 50}, {"pause": {}}]
KINDS: Final = (ROLLOUTS, REPLICA_SETS, SERVICES, DEPLOYMENTS, PODS, EVENTS, CONFIG_MAPS)
NAMES: Final = ("plain", "dressed", "routed", "switched", "referring")
LOOKS: Final = 4


async def _service(client: Client, namespace: str, name: str, app: str) -> None:
    body = {"metadata": {"name": name}, "spec": {"selector": {"app": app}, "ports": [{"port": 80}]}}
    await client.create(SERVICES, namespace, {"apiVersion": "v1", "kind": "Service", **body})


async def _create_all(client: Client, namespace: str) -> None:
    """One of each strategy."""
    made = {name: rollout(name, steps=GATE, replicas=2) for name in NAMES}
    canary: dict[str, Raw] = {name: made[name]["spec"]["strategy"]["canary"] for name in NAMES}
    canary["dressed"] |= {
        "canaryMetadata": {"labels": {"role": "canary"}},
        "stableMetadata": {"labels": {"role": "stable"}},
    }
    canary["routed"] |= {
        "canaryService": "routed-canary",
        "stableService": "routed-stable",
        "trafficRouting": {"plugins": {"example/config-map": {"name": "edge"}}},
        "abortScaleDownDelaySeconds": 1,
    }
    made["switched"]["spec"]["strategy"] = {
        "blueGreen": {
            "activeService": "active",
            "previewService": "preview",
            "autoPromotionEnabled": False,
            "abortScaleDownDelaySeconds": 1,
        }
    }
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "referring", "scaleDown": "onsuccess"}
    spec = made["referring"]["spec"]
    body = {"replicas": 2, "selector": spec.pop("selector"), "template": spec.pop("template")}
    spec["workloadRef"] = reference
    meta: dict[str, Any] = {"name": "referring"}
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": body}
    await client.create(DEPLOYMENTS, namespace, deployment)
    for name in ("routed-canary", "routed-stable"):
        await _service(client, namespace, name, "routed")
    for name in ("active", "preview"):
        await _service(client, namespace, name, "switched")
    for one in made.values():
        await client.create(ROLLOUTS, namespace, one)


async def _versions(client: Client, namespace: str) -> dict[tuple[str, str], str]:
    return {
        (kind.plural, one["metadata"]["name"]): one["metadata"]["resourceVersion"]
        for kind in KINDS
        for one in await client.list(kind, namespace)
    }


def _looks(manager: Manager, namespace: str) -> list[float]:
    registry = manager.metrics.registry
    labels = [{"namespace": namespace, "name": name} for name in NAMES]
    return [registry.get_sample_value("rollout_reconcile_count", each) or 0.0 for each in labels]


def _spent(manager: Manager) -> dict[tuple[str, str], int]:
    assert manager.client is not None
    return {key: count for key, count in manager.client.requests.items() if key[1] != "leases" and count}


async def _comes_to_rest(manager: Manager, client: Client, namespace: str) -> None:
    """Every Rollout was looked at several times, and nothing was asked or written."""

    async def rests() -> bool:
        started, before = time.monotonic(), _looks(manager, namespace)
        spent, versions = _spent(manager), await _versions(client, namespace)

        async def looked_at() -> bool:
            return all(now >= was + LOOKS for now, was in zip(_looks(manager, namespace), before, strict=True))

        await eventually(looked_at, deadline=60, what="several looks at each Rollout")
        if (_spent(manager), await _versions(client, namespace)) != (spent, versions):
            return False
        # the resync of this test looks at each of them up to once a second; nothing else does
        most = max(now - was for now, was in zip(_looks(manager, namespace), before, strict=True))
        return most <= 2 + 1.5 * (time.monotonic() - started)

    await eventually(rests, deadline=90, what="rest")


async def test_rest_costs_nothing_at_any_stage(client: Client, settings: Settings, namespace: str, site: Path) -> None:
    """Healthy, at a gate, and after an abort; docs/behaviour.md §7."""
    await _create_all(client, namespace)
    shown = [Shown(client, namespace, name) for name in NAMES]
    async with running(replace(settings, resync_seconds=1.0)) as manager:
        for each in shown:
            await each.phase("Healthy")
        await _comes_to_rest(manager, client, namespace)

        for each in shown[:-1]:
            await each.set_image("app:v2")
        change = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "app:v2"}]
        await client.patch(DEPLOYMENTS, namespace, "referring", change, kind="json", field_manager="tests")
        for each in shown:
            await each.phase("Paused")
        await _comes_to_rest(manager, client, namespace)

        for each in shown:
            await each.patch_status(abort=True)
            await each.phase("Degraded")
        await _comes_to_rest(manager, client, namespace)
