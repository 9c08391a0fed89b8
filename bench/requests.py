"""How many API requests one whole update of one Rollout is, and what for; compared with the figures that are kept."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from bench.child import GorRun, gor_run
from bench.control_plane import Raw, control_plane, until_gone
from bench.fleet import Fleet, rollout, rollout_done
from bench.slow_server import slow_server
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import ANALYSIS_TEMPLATES, ROLLOUTS, SERVICES, Resource

ANALYSED = "analysed canary"
ROUTED = "canary by nginx"
KEPT = Path(__file__).with_name("requests.json")
INGRESSES = Resource("networking.k8s.io", "v1", "ingresses", "Ingress", namespaced=True)
_SCALE_DOWN_SECONDS = 5
_SETTLE_SECONDS = 20.0
"""The old version goes, and repeated events are sent, after the update is Healthy."""


_TEMPLATE: Raw = {
    "apiVersion": ANALYSIS_TEMPLATES.api_version,
    "kind": ANALYSIS_TEMPLATES.kind,
    "metadata": {"name": "value"},
    "spec": {
        "args": [{"name": "url"}],
        "metrics": [
            {
                "name": "value",
                "successCondition": "result == 1",
                "provider": {"web": {"url": "{{args.url}}", "jsonPath": "{$.value}"}},
            }
        ],
    },
}


@dataclass(frozen=True)
class Requests:
    """Of one update: requests by ``verb kind``, and those of the figures that are kept."""

    strategy: str
    now: dict[str, float]
    kept: dict[str, float]


async def measure_requests(folder: Path, rollouts: int, kubeconfig: Path | None) -> list[Requests]:
    """The mean over so many Rollouts: a canary's update, with an analysis, through a router; a blue-green one's."""
    kept = read_kept()
    found = []
    async with (
        control_plane(folder, kubeconfig) as (client, used),
        gor_run(used, folder) as gor,
        slow_server(0.0, 0.0) as server,
    ):
        bodies = (
            ("canary", rollout),
            (ANALYSED, partial(_analysed, server.url)),
            (ROUTED, _routed),
            ("blueGreen", _blue_green),
        )
        for strategy, body in bodies:
            now = await _update(client, gor, rollouts, body)
            found.append(Requests(strategy, now, kept.get(strategy, {})))
    return found


def read_kept() -> dict[str, dict[str, float]]:
    """By strategy the requests of one update by ``verb kind``, as they were kept last; empty if never."""
    return dict(orjson.loads(KEPT.read_bytes())) if KEPT.exists() else {}


def keep(found: list[Requests]) -> None:
    """Make these the figures that the next run is compared with."""
    figures = {requests.strategy: requests.now for requests in found}
    KEPT.write_bytes(orjson.dumps(figures, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n")


async def _update(client: Client, gor: GorRun, rollouts: int, body: Callable[[str, str], Raw]) -> dict[str, float]:
    async with Fleet(client, ROLLOUTS, rollouts, body, rollout_done) as fleet:
        for name in fleet.names:
            for service in (f"{name}-active", f"{name}-preview"):
                await client.create(SERVICES, fleet.namespace, _service(service, name))
            await client.create(INGRESSES, fleet.namespace, _ingress(name))
        await client.create(ANALYSIS_TEMPLATES, fleet.namespace, _TEMPLATE)
        await fleet.deploy()
        await asyncio.sleep(_SETTLE_SECONDS)
        before = await gor.cost()
        await fleet.update()
        await asyncio.sleep(_SETTLE_SECONDS)
        spent: Counter[tuple[str, str]] = (await gor.cost()).since(before).requests
    await until_gone(client, fleet.namespace)
    leases = {(verb, kind) for verb, kind in spent if kind.lower().startswith("lease")}
    return {
        f"{verb} {kind}": round(count / rollouts, 1)
        for (verb, kind), count in sorted(spent.items())
        if (verb, kind) not in leases
    }


def _analysed(url: str, name: str, version: str) -> Raw:
    """The canary with one measurement at its first weight."""
    body = rollout(name, version)
    first, *later = body["spec"]["strategy"]["canary"]["steps"]
    args = [{"name": "url", "value": f"{url}/{name}"}]
    analysis = {"analysis": {"templates": [{"templateName": "value"}], "args": args}}
    body["spec"]["strategy"]["canary"]["steps"] = [first, analysis, *later]
    return body


def _routed(name: str, version: str) -> Raw:
    """The canary with its weights in a canary Ingress."""
    body = rollout(name, version)
    body["spec"]["strategy"]["canary"] |= {
        "canaryService": f"{name}-preview",
        "stableService": f"{name}-active",
        "trafficRouting": {"nginx": {"stableIngress": name}},
        "scaleDownDelaySeconds": _SCALE_DOWN_SECONDS,
    }
    return body


def _ingress(name: str) -> Raw:
    backend = {"service": {"name": f"{name}-active", "port": {"number": 80}}}
    path = {"path": "/", "pathType": "Prefix", "backend": backend}
    return {
        "apiVersion": INGRESSES.api_version,
        "kind": INGRESSES.kind,
        "metadata": {"name": name},
        "spec": {"ingressClassName": "nginx", "rules": [{"host": f"{name}.example.com", "http": {"paths": [path]}}]},
    }


def _blue_green(name: str, version: str) -> Raw:
    body = rollout(name, version)
    body["spec"]["strategy"] = {
        "blueGreen": {
            "activeService": f"{name}-active",
            "previewService": f"{name}-preview",
            "autoPromotionSeconds": 5,
            "scaleDownDelaySeconds": _SCALE_DOWN_SECONDS,
        }
    }
    return body


def _service(name: str, app: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": app}, "ports": [{"port": 80}]},
    }
