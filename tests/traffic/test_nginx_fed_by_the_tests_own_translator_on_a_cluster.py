"""Real requests through a real nginx while a Rollout moves its Ingress weights (docs/behaviour.md §15.3).

What turns Ingresses into nginx's configuration is the test's own translator (`traffic.nginx_edge`), not ingress-nginx.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from controllers.running import Shown, rollout, running
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import ROLLOUTS, SERVICES
from gitops_rollouts.leader import Settings
from traffic.nginx_edge import HOST, INGRESSES, Edge, asked, edge, split
from waiting import eventually

WEIGHTS = (5, 20, 50, 100)
INGRESS = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "Ingress",
    "metadata": {"name": "edge"},
    "spec": {
        "ingressClassName": "nginx",
        "rules": [
            {
                "host": HOST,
                "http": {
                    "paths": [
                        {
                            "path": "/",
                            "pathType": "Prefix",
                            "backend": {"service": {"name": "web", "port": {"number": 80}}},
                        }
                    ]
                },
            }
        ],
    },
}


def test_the_translator_gives_each_service_its_share_however_many_pods_it_has() -> None:
    endpoints = {"web": Counter(v1=4), "web-canary": Counter(v2=1)}
    assert split(endpoints, {"web": 95, "web-canary": 5}) == {"v1": 19, "v2": 1}
    assert split(endpoints, {"web": 100, "web-canary": 0}) == {"v1": 1}
    assert split(endpoints, {"web": 80, "gone": 20}) == {"v1": 4, "": 1}
    assert split({"web": Counter(v1=3, v2=1)}, {"web": 100}) == {"v1": 3, "v2": 1}
    assert split({}, {"web": 100}) == {"": 1}


@pytest.mark.cluster
@pytest.mark.parametrize("dynamic", [False, True], ids=["", "dynamicStableScale"])
async def test_the_tests_own_translator_feeds_nginx_and_every_request_of_a_canary_and_an_abort_is_answered(
    client: Client, namespace: str, settings: Settings, tmp_path: Path, dynamic: bool
) -> None:
    """§11.10, §15.1, §15.3: the measured share is within 2 points of each weight, and no request fails at any time.

    Once all traffic is on a version that was promoted, none comes back to the one before it.
    """
    steps: list[dict[str, Any]] = [step for weight in WEIGHTS for step in ({"setWeight": weight}, {"pause": {}})]
    made = rollout(steps=steps)
    made["spec"]["strategy"]["canary"] |= {
        "canaryService": "web-canary",
        "stableService": "web",
        "abortScaleDownDelaySeconds": 3,
        "dynamicStableScale": dynamic,
        "trafficRouting": {"nginx": {"stableIngress": "edge"}},
    }
    for service in ("web", "web-canary"):
        body = {"metadata": {"name": service}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}}
        await client.create(SERVICES, namespace, {"apiVersion": "v1", "kind": "Service", **body})
    await client.create(INGRESSES, namespace, INGRESS)
    await client.create(ROLLOUTS, namespace, made)
    web = Shown(client, namespace)
    async with running(settings), edge(client, namespace, tmp_path, ["v1", "v2"]) as nginx:
        await web.phase("Healthy")
        await eventually(lambda: _leads_to(nginx, "v1"), deadline=60, what="v1 behind nginx")
        async with asked(nginx) as traffic:
            assert await traffic.share("v1") == 100

            await web.set_image("app:v2")
            for index, weight in enumerate(WEIGHTS):
                await web.phase("Paused", step=2 * index + 1)
                await nginx.caught_up()
                assert await traffic.share("v2") == pytest.approx(weight, abs=2)
                await web.patch_status(pauseConditions=None)
            before = traffic.answered["v1"]
            await web.phase("Healthy")
            await eventually(lambda: _is_alone(nginx), deadline=60, what="the canary Ingress to go with its update")
            assert await traffic.share("v2") == 100
            assert traffic.answered["v1"] == before

            # and the other way, which is given up half-way
            await web.set_image("app:v1")
            for index, weight in enumerate(WEIGHTS[:2]):
                await web.phase("Paused", step=2 * index + 1)
                await nginx.caught_up()
                assert await traffic.share("v1") == pytest.approx(weight, abs=2)
                if weight != WEIGHTS[1]:
                    await web.patch_status(pauseConditions=None)
            await web.patch_status(abort=True)
            await web.phase("Degraded")
            await web.has_sizes({"app:v2": 4})
            await nginx.caught_up()
            assert await traffic.share("v2") == 100
            assert "web-edge-canary" in nginx.seen
        assert traffic.failed == []


async def _leads_to(edge: Edge, version: str) -> bool:
    return edge.addresses[version] in edge.blocks


async def _is_alone(edge: Edge) -> bool:
    return list(edge.seen) == ["edge"]
