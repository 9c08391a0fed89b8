"""Canary and blue-green with `--aws-verify-target-group`, on the control plane (docs/behaviour.md §14.5, §15.3).

AWS is a stand-in with the published shapes of its API. What the AWS Load Balancer Controller does is done here, by
`following`, and only when a test lets it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from controllers.running import Shown, rollout, running
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import ENDPOINT_SLICES, ROLLOUTS, SERVICES, Resource
from gitops_rollouts.leader import Settings
from gitops_rollouts.local.cluster import Cluster
from gitops_rollouts.tasks import cancel
from traffic.crds import install
from traffic.elastic_load_balancing import Balancer, ElasticLoadBalancing, elastic_load_balancing
from traffic.test_alb_on_a_cluster import INGRESSES, ingress, path
from waiting import eventually

pytestmark = pytest.mark.cluster
BINDINGS = Resource("elbv2.k8s.aws", "v1beta1", "targetgroupbindings", "TargetGroupBinding", namespaced=True)
HOST = "k8s-edge-1.eu-west-1.elb.amazonaws.com"
PREFIX = "alb.ingress.kubernetes.io"


class Edge:
    """The Ingress ``edge`` and its load balancer, which follows it while ``follows``."""

    def __init__(self, client: Client, namespace: str, aws: ElasticLoadBalancing) -> None:
        self.follows = True
        self.balancer = Balancer("edge", HOST)
        aws.balancers = [self.balancer]
        self._client = client
        self._namespace = namespace

    async def live(self) -> dict[str, Any]:
        return await self._client.get(INGRESSES, self._namespace, "edge")

    async def annotation(self, key: str) -> Any:
        """A JSON annotation; None if it isn't there."""
        shown = (await self.live())["metadata"].get("annotations") or {}
        return json.loads(shown[f"{PREFIX}/{key}"]) if f"{PREFIX}/{key}" in shown else None

    async def weights(self) -> dict[str, int]:
        """By Service, as the Ingress has them."""
        action = await self.annotation("actions.root")
        groups = action["ForwardConfig"]["TargetGroups"] if action else []
        return {one["ServiceName"]: one["Weight"] for one in groups}

    async def has(self, **weights: int) -> None:
        """Wait for these weights in the Ingress."""

        async def there() -> bool:
            return await self.weights() == weights

        await eventually(there, deadline=60, what=f"weights {weights}")

    async def leads_to(self, *names: str) -> None:
        """Wait for these backends of the Ingress' paths."""

        async def there() -> bool:
            paths = (await self.live())["spec"]["rules"][0]["http"]["paths"]
            return tuple(one["backend"]["service"]["name"] for one in paths) == names

        await eventually(there, deadline=60, what=f"backends {names}")

    async def follow(self) -> None:
        """Be the AWS Load Balancer Controller."""
        while True:
            if self.follows and (weights := await self.weights()):
                shares = [(f"{self._namespace}/edge-{name}:80", weight) for name, weight in weights.items()]
                self.balancer.rules = [[self.balancer.splits(*shares)]]
            await asyncio.sleep(0.1)


@asynccontextmanager
async def following(edge: Edge) -> AsyncIterator[None]:
    task = asyncio.create_task(edge.follow())
    try:
        yield
    finally:
        await cancel([task])


def service(name: str) -> dict[str, Any]:
    spec = {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


async def test_ping_pong_with_header_routes_waits_for_aws(
    client: Client, settings: Settings, namespace: str, web: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    """§14.3, §15.1 step 6, §15.3: verified, not verified, and an abort that waits for nothing."""
    made = rollout("web")
    header = [{"headerName": "X-Beta", "headerValue": {"exact": "yes"}}]
    made["spec"]["strategy"] = {
        "canary": {
            "pingPong": {"pingService": "ping", "pongService": "pong"},
            "trafficRouting": {
                "alb": {"ingress": "edge", "servicePort": 80, "rootService": "root"},
                "managedRoutes": [{"name": "beta"}],
            },
            "steps": [
                {"setCanaryScale": {"replicas": 1}},
                {"setHeaderRoute": {"name": "beta", "match": header}},
                {"setWeight": 25},
                {"pause": {}},
            ],
        }
    }
    async with elastic_load_balancing(monkeypatch) as aws:
        for name in ("root", "ping", "pong"):
            await client.create(SERVICES, namespace, service(name))
        await client.create(INGRESSES, namespace, ingress("edge", "a.test", service="root"))
        address = {"status": {"loadBalancer": {"ingress": [{"hostname": HOST}]}}}
        await client.patch(INGRESSES, namespace, "edge", address, subresource="status", field_manager="tests")
        edge = Edge(client, namespace, aws)
        async with following(edge), running(replace(settings, verify_target_groups=True)):
            await client.create(ROLLOUTS, namespace, made)
            await web.phase("Healthy")
            await edge.has(pong=0, ping=100)
            edge.follows = False
            await web.set_image("app:v2")
            await edge.has(pong=25, ping=75)
            await edge.leads_to("beta", "api", "root")
            assert (await edge.live())["spec"]["rules"][0]["http"]["paths"][0] == path("/*", "beta")
            (target,) = (await edge.annotation("actions.beta"))["ForwardConfig"]["TargetGroups"]
            assert target == {"ServiceName": "pong", "ServicePort": "80", "Weight": 100}
            assert await edge.annotation("conditions.beta") == [
                {"field": "http-header", "httpHeaderConfig": {"httpHeaderName": "X-Beta", "values": ["yes"]}}
            ]

            async def unverified() -> bool:
                return bool((await web.get())["status"]["canary"]["weights"].get("verified") is False)

            await eventually(unverified, deadline=60, what="not verified")
            assert (await web.get())["status"]["currentStepIndex"] == 2
            edge.follows = True
            shown = (await web.phase("Paused", step=3))["status"]
            assert shown["canary"]["weights"]["verified"] is True
            (alb,) = shown["albs"]
            assert alb == shown["alb"]
            assert alb["ingress"] == "edge"
            assert alb["loadBalancer"]["fullName"] == "app/edge/50dc6c495c0c9188"
            assert alb["canaryTargetGroup"]["arn"] == edge.balancer.group(f"{namespace}/edge-pong:80")
            assert alb["stableTargetGroup"]["arn"] == edge.balancer.group(f"{namespace}/edge-ping:80")
            await web.patch_status(pauseConditions=None)
            await web.phase("Healthy", image="app:v2")
            await edge.has(ping=0, pong=100)
            await edge.leads_to("api", "root")
            assert await edge.annotation("conditions.beta") is None
            # AWS follows no more: an abort moves the weight all the same
            await web.set_image("app:v3")
            await web.phase("Paused", image="app:v3", step=3)
            await edge.has(ping=25, pong=75)
            edge.follows, aws.fails = False, ("Throttling", 400)
            await web.patch_status(abort=True)
            await edge.has(ping=0, pong=100)
            await web.phase("Degraded", image="app:v3")
            await edge.leads_to("api", "root")
            assert await edge.annotation("actions.beta") is None


async def test_blue_green_waits_until_aws_serves_the_new_pods(
    client: Client,
    settings: Settings,
    namespace: str,
    web: Shown,
    crds: Cluster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """§14.5: the old pods stay, and the new version isn't stable before the target group serves its pods."""
    install(crds, "alb")
    made = rollout("web", replicas=2)
    made["spec"]["strategy"] = {"blueGreen": {"activeService": "active", "scaleDownDelaySeconds": 1}}
    async with elastic_load_balancing(monkeypatch) as aws:
        arn = Balancer("edge", HOST).group(f"{namespace}/edge-active:80")
        aws.targets[arn] = {}
        await client.create(SERVICES, namespace, service("active"))
        refers = {"serviceRef": {"name": "active", "port": 80}, "targetGroupARN": arn, "targetType": "ip"}
        binding = {"apiVersion": "elbv2.k8s.aws/v1beta1", "kind": "TargetGroupBinding", "spec": refers}
        await client.create(BINDINGS, namespace, {**binding, "metadata": {"name": "active"}})
        async with running(replace(settings, verify_target_groups=True)):
            await client.create(ROLLOUTS, namespace, made)
            first = (await web.phase("Healthy"))["status"]["stableRS"]
            await web.set_image("app:v2")

            async def waits() -> bool:
                return "TargetGroupUnverified" in await web.events()

            await eventually(waits, deadline=60, what="TargetGroupUnverified")
            status = (await web.get())["status"]
            assert (status["stableRS"], status["blueGreen"]["activeSelector"]) == (first, status["currentPodHash"])
            assert await web.sizes() == {"app:v1": 2, "app:v2": 2}
            aws.targets[arn] = dict.fromkeys(await addresses(client, namespace, status), "healthy")
            shown = (await web.phase("Healthy", image="app:v2"))["status"]
            assert shown["stableRS"] == shown["currentPodHash"]
            await web.has_sizes({"app:v2": 2})
            assert "TargetGroupVerified" in await web.events()


async def addresses(client: Client, namespace: str, status: dict[str, Any]) -> list[tuple[str, int]]:
    """Where the new version's pods are, once the endpoints of the Service are theirs."""

    async def there() -> list[tuple[str, int]]:
        slices = await client.list(ENDPOINT_SLICES, namespace, "kubernetes.io/service-name=active")
        ends = [one for found in slices for one in found.get("endpoints") or []]
        new = [one for one in ends if status["currentPodHash"] in one["targetRef"]["name"]]
        return [(one["addresses"][0], 8080) for one in new] if len(new) == 2 else []

    found = await eventually(there, deadline=60, what="endpoints")
    assert found
    return found
