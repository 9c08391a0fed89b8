"""Objects that routers need and that are missing or wrong: InvalidSpec on the control plane (§15.6, §20 (B))."""

from __future__ import annotations

from typing import Any, Final

import pytest

from controllers.running import Shown, rollout, running
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import ROLLOUTS, SERVICES, Resource
from gitops_rollouts.leader import Settings
from gitops_rollouts.local.cluster import Cluster
from traffic.crds import install
from traffic.istio.virtual_services import to
from waiting import eventually

pytestmark = pytest.mark.cluster
Raw = dict[str, Any]
VIRTUAL_SERVICES: Final = Resource("networking.istio.io", "v1", "virtualservices", "VirtualService", namespaced=True)
INGRESSES: Final = Resource("networking.k8s.io", "v1", "ingresses", "Ingress", namespaced=True)
ROUTING: Final = "spec.strategy.canary.trafficRouting"


def ingress(service: str) -> Raw:
    backend = {"service": {"name": service, "port": {"number": 80}}}
    rules = [{"http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": "edge"},
        "spec": {"rules": rules},
    }


def virtual_service(route: str, stable: int) -> Raw:
    entries = [to("web-stable", stable), to("web-canary", 100 - stable)]
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "mesh"},
        "spec": {"hosts": ["web"], "http": [{"name": route, "route": entries}]},
    }


async def test_what_is_missing_is_told_before_what_is_wrong_and_neither_holds_up_an_abort(
    client: Client, settings: Settings, crds: Cluster
) -> None:
    """§20 (B): router by router, each at its field; the Rollout goes on as soon as all is right."""
    install(crds, "istio")
    namespace = settings.namespace
    made = rollout("web", steps=[{"setWeight": 20}, {"pause": {}}])
    made["spec"]["strategy"]["canary"] |= {
        "canaryService": "web-canary",
        "stableService": "web-stable",
        "trafficRouting": {
            "istio": {"virtualService": {"name": "mesh", "routes": ["primary"]}},
            "nginx": {"stableIngress": "edge"},
        },
    }
    for name in ("web-canary", "web-stable"):
        spec = {"selector": {"app": "web"}, "ports": [{"port": 80}]}
        body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}
        await client.create(SERVICES, namespace, body)
    assert namespace is not None
    web = Shown(client, namespace)

    async def invalid(text: str) -> None:
        async def told() -> bool:
            return text in str((await web.get()).get("status", {}).get("message"))

        try:
            await eventually(told, deadline=60)
        except AssertionError as error:
            raise AssertionError(f"{error}: {(await web.get()).get('status')}") from error

    async def weights() -> tuple[list[int], str]:
        found = await client.get(VIRTUAL_SERVICES, namespace, "mesh")
        canary = await client.get(INGRESSES, namespace, "web-edge-canary")
        entries = found["spec"]["http"][0]["route"]
        return [one["weight"] for one in entries], canary["metadata"]["annotations"][
            "nginx.ingress.kubernetes.io/canary-weight"
        ]

    async def are(*wanted: Any) -> None:
        async def so() -> bool:
            return await weights() == wanted

        await eventually(so, deadline=60, what=f"the weights {wanted}")

    async with running(settings):
        await client.create(ROLLOUTS, namespace, made)
        await invalid(
            f'{ROUTING}.istio.virtualService.name: Invalid value: "mesh": virtualservices.networking.istio.io "mesh" '
            "not found"
        )
        await client.create(VIRTUAL_SERVICES, namespace, virtual_service("secondary", 100))
        await invalid(
            f'{ROUTING}.nginx.stableIngress: Invalid value: "edge": ingresses.networking.k8s.io "edge" not found'
        )
        await client.create(INGRESSES, namespace, ingress("other"))
        await invalid("HTTP Route 'primary' is not found in the defined Virtual Service.")
        right = virtual_service("primary", 100)
        await client.patch(VIRTUAL_SERVICES, namespace, "mesh", {"spec": right["spec"]})
        await invalid("ingress `edge` has no rules using service web-stable backend")
        await client.patch(INGRESSES, namespace, "edge", {"spec": ingress("web-stable")["spec"]})
        await web.phase("Healthy")

        await web.set_image("app:v2")
        await web.phase("Paused", step=1)
        await are([80, 20], "20")
        await client.delete(VIRTUAL_SERVICES, namespace, "mesh")
        await invalid('virtualservices.networking.istio.io "mesh" not found')
        await web.patch_status(abort=True)

        async def drained() -> bool:
            canary = await client.get(INGRESSES, namespace, "web-edge-canary")
            return bool(canary["metadata"]["annotations"]["nginx.ingress.kubernetes.io/canary-weight"] == "0")

        await eventually(drained, deadline=60, what="an abort to reach NGINX without the VirtualService")
        await client.create(VIRTUAL_SERVICES, namespace, virtual_service("primary", 30))
        await web.phase("Degraded", image="app:v2")
        await are([100, 0], "0")
