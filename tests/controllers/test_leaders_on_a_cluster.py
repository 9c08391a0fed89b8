"""Several ``gor run`` over one control plane: one leader at a time, hand-overs without a repeat, side by side.

docs/behaviour.md §23.
"""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from controllers.child import child
from controllers.laid_down import History, recorded
from controllers.running import Shown, rollout
from gitops_rollouts.api.names import INSTANCE_ID, LOCK_NAME
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import LEASES, REPLICA_SETS, ROLLOUTS, SERVICES, Resource
from gitops_rollouts.local.cluster import Cluster
from kube.line import Line
from waiting import eventually

pytestmark = pytest.mark.cluster

TIMED: list[dict[str, Any]] = [
    step for weight in (25, 50, 75) for step in ({"setWeight": weight}, {"pause": {"duration": 2}})
]
PATIENT = ("--leader-election-lease-duration", "300s", "--leader-election-renew-deadline", "200s")
"""So that who takes over has been handed the Lease, and didn't wait for its end."""
QUICK = ("--leader-election-lease-duration", "4s", "--leader-election-renew-deadline", "3s")
OFTEN = ("--leader-election-retry-period", "500ms")
ONCE = {"RolloutUpdated", "NewReplicaSetCreated", "RolloutNotCompleted", "RolloutCompleted"}
ROLES = Resource("rbac.authorization.k8s.io", "v1", "roles", "Role", namespaced=True)
BINDINGS = Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding", namespaced=True)
INGRESSES = Resource("networking.k8s.io", "v1", "ingresses", "Ingress", namespaced=True)
ACCOUNTS = Resource("", "v1", "serviceaccounts", "ServiceAccount", namespaced=True)


async def holder(client: Client, namespace: str, name: str = LOCK_NAME) -> str:
    lease = await client.get(LEASES, namespace, name)
    found: str = lease["spec"].get("holderIdentity") or ""
    return found


async def past(client: Client, web: Shown, index: int) -> None:
    async def so() -> bool:
        return ((await web.get())["status"].get("currentStepIndex") or 0) >= index

    await eventually(so, deadline=60, what=f"step {index}")


def nothing_twice(history: History, *, events_too: bool) -> None:
    """Of one update: the steps in order, each once; no version and, if asked, no event twice."""
    indices = [index for index in history.indices("web") if index is not None]
    start = indices.index(0)
    assert indices[start:] == sorted(set(indices[start:])), indices
    assert len([1 for what, _ in history.of("ReplicaSet") if what == "ADDED"]) == 1
    told = [raw for what, raw in history.of("Event") if raw["involvedObject"]["name"] == "web"]
    steps = Counter(raw["message"] for raw in told if raw["reason"] == "RolloutStepCompleted")
    counts = Counter(raw["reason"] for raw in told)
    assert all(count == 1 for count in steps.values()), steps
    if events_too:
        assert len(steps) == len(TIMED)
        assert all(counts[reason] == 1 for reason in ONCE), counts


async def test_a_leader_that_is_told_to_stop_in_the_middle_of_an_update_hands_over_at_once(
    client: Client, kubeconfig: Path, web: Shown
) -> None:
    await client.create(ROLLOUTS, web.namespace, rollout(steps=TIMED))
    async with child(kubeconfig, web.namespace, *PATIENT, *OFTEN) as first:
        await web.phase("Healthy")
        before = await holder(client, web.namespace)
        async with child(kubeconfig, web.namespace, *PATIENT, *OFTEN) as second:
            assert await second.metric('workqueue_adds_total{name="Rollouts"}') is None
            async with recorded(client, web.namespace) as history:
                await web.set_image("app:v2")
                await past(client, web, 3)
                first.process.send_signal(signal.SIGTERM)
                assert await first.ended() == 0, first.log
                assert await holder(client, web.namespace) != before
                await web.phase("Healthy", image="app:v2")
                await web.has_sizes({"app:v2": 4})
                assert await holder(client, web.namespace) not in {"", before}

                async def all_told() -> bool:
                    return history.reasons("web").count("RolloutCompleted") == 1

                await eventually(all_told)
                nothing_twice(history, events_too=True)
                assert history.reasons("web").count("RolloutStepCompleted") == len(TIMED)
            assert (await client.get(LEASES, web.namespace, LOCK_NAME))["spec"]["leaseTransitions"] == 1


async def test_a_killed_leader_is_replaced_after_the_lease_and_no_step_is_repeated(
    client: Client, kubeconfig: Path, web: Shown
) -> None:
    await client.create(ROLLOUTS, web.namespace, rollout(steps=TIMED))
    async with child(kubeconfig, web.namespace, *QUICK, *OFTEN) as first:
        await web.phase("Healthy")
        before = await holder(client, web.namespace)
        async with child(kubeconfig, web.namespace, *QUICK, *OFTEN), recorded(client, web.namespace) as history:
            await web.set_image("app:v2")
            await past(client, web, 3)
            first.process.kill()
            await first.ended()
            assert await holder(client, web.namespace) == before
            await web.phase("Healthy", image="app:v2")
            await web.has_sizes({"app:v2": 4})
            assert await holder(client, web.namespace) != before
            nothing_twice(history, events_too=False)


async def test_a_leader_that_loses_the_api_server_stops_acting_before_the_next_one_starts(
    client: Client, kubeconfig: Path, web: Shown, tmp_path: Path
) -> None:
    config = yaml.safe_load(kubeconfig.read_text())
    host, _, port = config["clusters"][0]["cluster"]["server"].removeprefix("https://").partition(":")
    line = Line(host, int(port))
    await line.start()
    config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{line.port}"
    (tmp_path / "lined").write_text(yaml.safe_dump(config))
    await client.create(ROLLOUTS, web.namespace, rollout())
    try:
        async with child(tmp_path / "lined", web.namespace, *QUICK, *OFTEN) as first:
            await web.phase("Healthy")
            await web.set_image("app:v2")
            await web.phase("Paused", step=1)
            async with child(kubeconfig, web.namespace, *QUICK, *OFTEN), recorded(client, web.namespace) as history:
                line.freeze()
                # what a person wants now is for whoever leads next
                await web.patch_status(abort=True)
                aborted = await web.phase("Degraded")
                assert await first.ended() != 0
                line.thaw()
                await web.has_sizes({"app:v1": 4})
                assert aborted["status"]["abort"] is True
                assert (await web.get())["status"]["phase"] == "Degraded"
                assert history.indices("web") == [1, 0]

                async def told() -> bool:
                    return history.reasons("web").count("RolloutAborted") == 1

                await eventually(told)
            said = "\n".join(first.log)
            assert "wasn't renewed in time" in said, said
            assert "Traceback" not in said
    finally:
        await line.stop()


async def test_two_instances_in_one_namespace_each_drive_their_own(
    client: Client, kubeconfig: Path, web: Shown
) -> None:
    namespace = web.namespace
    for service in ("web", "web-canary", "blue"):
        spec = {"selector": {"app": service.partition("-")[0]}, "ports": [{"port": 80}]}
        await client.create(SERVICES, namespace, {"metadata": {"name": service}, "spec": spec})
    ours = rollout()
    ours["spec"]["strategy"]["canary"] |= {"stableService": "web", "canaryService": "web-canary"}
    await client.create(ROLLOUTS, namespace, ours)
    labelled = rollout("blue")
    labelled["metadata"]["labels"] = {INSTANCE_ID: "blue"}
    labelled["spec"]["strategy"]["canary"] |= {"stableService": "blue"}
    await client.create(ROLLOUTS, namespace, labelled)
    # a mistake: it names a Service of the other instance's Rollout, whose pods it could even select
    thief = rollout("thief")
    thief["metadata"]["labels"] = {INSTANCE_ID: "blue"}
    thief["spec"]["selector"]["matchLabels"] = thief["spec"]["template"]["metadata"]["labels"] = {
        "app": "web",
        "t": "1",
    }
    thief["spec"]["strategy"]["canary"] |= {"stableService": "web"}
    blue = Shown(client, namespace, "blue")
    async with child(kubeconfig, namespace) as plain, child(kubeconfig, namespace, "--instance-id", "blue") as second:
        await web.phase("Healthy")
        await blue.phase("Healthy")
        await client.create(ROLLOUTS, namespace, thief)
        refused = await Shown(client, namespace, "thief").phase("Degraded")
        assert 'Service "web" is managed by another Rollout' in refused["status"]["message"]
        await client.delete(ROLLOUTS, namespace, "thief")
        await web.set_image("app:v2")
        await blue.set_image("app:v2")
        at_gate = await web.phase("Paused", step=1)
        await blue.phase("Paused", step=1)
        assert await web.selector("web") == at_gate["status"]["stableRS"]
        assert await web.selector("web-canary") == at_gate["status"]["currentPodHash"]
        for name in ("web", "blue"):
            assert (await Shown(client, namespace, name).events()).count("RolloutAddedToInformer") == 1
        assert await holder(client, namespace) != await holder(client, namespace, f"{LOCK_NAME}-blue")
        info = f'rollout_info_replicas_desired{{name="%s",namespace="{namespace}"}}'
        assert (await plain.metric(info % "web"), await plain.metric(info % "blue")) == (4.0, None)
        assert (await second.metric(info % "web"), await second.metric(info % "blue")) == (None, 4.0)

        # given to the other instance in the middle of its update: it goes on there, at the same step
        async with recorded(client, namespace) as history:
            labels = {"metadata": {"labels": {INSTANCE_ID: "blue"}}}
            await client.patch(ROLLOUTS, namespace, "web", labels, field_manager="tests")

            async def taken() -> bool:
                return await second.metric(info % "web") == 4.0

            await eventually(taken)
            await web.patch_status(pauseConditions=None)
            await web.phase("Healthy", image="app:v2")
            assert history.indices("web") == [1, 2, 3, 4]
        await client.delete(ROLLOUTS, namespace, "web")

        async def given_back() -> bool:
            return await web.selector("web") is None and await web.selector("web-canary") is None

        await eventually(given_back)
        assert await blue.selector("blue") == (await blue.get())["status"]["stableRS"]
        for one in (plain, second):
            assert not [line for line in one.log if '"level": "error"' in line or "Traceback" in line]
    assert len(await client.list(REPLICA_SETS, namespace)) >= 2


async def limited(client: Client, namespace: str) -> None:
    """A ServiceAccount, ``gor``, that has the engine's rights in one namespace alone."""
    base = Path(__file__).parents[2] / "deploy" / "base" / "engine-role.yaml"
    rules = [
        rule
        for document in yaml.safe_load_all(base.read_text())
        if document["kind"] in {"ClusterRole", "Role"}
        for rule in document["rules"]
        if rule["apiGroups"] != ["gitops-rollouts.io"]
    ]
    await client.create(ACCOUNTS, namespace, {"metadata": {"name": "gor"}})
    await client.create(ROLES, namespace, {"metadata": {"name": "gor"}, "rules": rules})
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "gor"}
    subjects = [{"kind": "ServiceAccount", "name": "gor", "namespace": namespace}]
    await client.create(BINDINGS, namespace, {"metadata": {"name": "gor"}, "roleRef": reference, "subjects": subjects})


async def test_one_namespace_with_a_role_of_that_namespace_alone(
    client: Client, kubeconfig: Path, control_plane: Cluster, web: Shown, tmp_path: Path
) -> None:
    """``--namespaced``: no right outside is needed, for a router's objects neither."""
    await limited(client, web.namespace)
    api = control_plane.api_server()
    path = f"/api/v1/namespaces/{web.namespace}/serviceaccounts/gor/token"
    token = api.request("POST", path, {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}})
    config = yaml.safe_load(kubeconfig.read_text())
    config["users"] = [{"name": config["contexts"][0]["context"]["user"], "user": {"token": token["status"]["token"]}}]
    (tmp_path / "limited").write_text(yaml.safe_dump(config))
    for service in ("web-canary", "web-stable"):
        spec = {"selector": {"app": "web"}, "ports": [{"port": 80}]}
        body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": service}, "spec": spec}
        await client.create(SERVICES, web.namespace, body)
    backend = {"service": {"name": "web-stable", "port": {"number": 80}}}
    rules = [{"http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}]
    ingress = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "edge"}}
    await client.create(INGRESSES, web.namespace, {**ingress, "spec": {"rules": rules}})
    made = rollout(steps=[{"setWeight": 50}, {"pause": {}}])
    routing = {"nginx": {"stableIngress": "edge"}}
    names = {"canaryService": "web-canary", "stableService": "web-stable"}
    made["spec"]["strategy"]["canary"] |= {**names, "trafficRouting": routing}
    await client.create(ROLLOUTS, web.namespace, made)
    async with child(tmp_path / "limited", web.namespace, "--namespaced") as one:
        await web.phase("Healthy")
        await web.set_image("app:v2")
        await web.phase("Paused", step=1)
        split = await client.get(INGRESSES, web.namespace, "web-edge-canary")
        assert split["metadata"]["annotations"]["nginx.ingress.kubernetes.io/canary-weight"] == "50"
        await web.patch_status(pauseConditions=None)
        await web.phase("Healthy", image="app:v2")

        async def gone() -> bool:
            return len(await client.list(INGRESSES, web.namespace)) == 1

        await eventually(gone, what="the canary Ingress to go")
        one.process.send_signal(signal.SIGTERM)
        assert await one.ended() == 0
    assert (await web.events()).count("RolloutCompleted") == 2
