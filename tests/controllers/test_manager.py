"""The engine on a real control plane, driven by the patches that the plugin sends. No Git here."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import yaml

from controllers.running import Shown, rollout, running
from gitops_rollouts.api.names import LOCK_NAME
from gitops_rollouts.errors import LeadershipLost, NotFound
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import EVENTS, LEASES, REPLICA_SETS, ROLLOUTS, SERVICES
from gitops_rollouts.leader import Settings
from gitops_rollouts.manager import Manager
from kube.line import Line
from waiting import eventually

pytestmark = pytest.mark.cluster


async def test_first_deploy_update_gate_resume(client: Client, settings: Settings, web: Shown) -> None:
    await client.create(ROLLOUTS, web.namespace, rollout())
    async with running(settings):
        first = await web.phase("Healthy")
        assert await web.sizes() == {"app:v1": 4}
        await web.set_image("app:v2")
        gate = await web.phase("Paused", step=1)
        assert await web.sizes() == {"app:v1": 3, "app:v2": 1}
        assert gate["status"]["stableRS"] == first["status"]["stableRS"]
        assert gate["status"]["pauseConditions"][0]["reason"] == "CanaryPauseStep"
        await web.patch_status(pauseConditions=None)
        done = await web.phase("Healthy")
        assert await web.sizes() == {"app:v2": 4}
        assert done["status"]["stableRS"] == done["status"]["currentPodHash"] != first["status"]["stableRS"]
        assert done["metadata"]["annotations"]["rollout.argoproj.io/revision"] == "2"
    reasons = await web.events()
    for reason in ("RolloutAddedToInformer", "NewReplicaSetCreated", "RolloutPaused", "RolloutCompleted"):
        assert reason in reasons


async def test_abort_and_retry(client: Client, settings: Settings, web: Shown) -> None:
    await client.create(ROLLOUTS, web.namespace, rollout())
    async with running(settings):
        await web.phase("Healthy")
        await web.set_image("app:v2")
        await web.phase("Paused", step=1)
        await web.patch_status(abort=True)
        aborted = await web.phase("Degraded")
        assert aborted["status"]["message"] == "RolloutAborted: Rollout aborted update to revision 2"
        await web.has_sizes({"app:v1": 4})
        await web.patch_status(abort=False)
        await web.phase("Paused", step=1)
        await web.has_sizes({"app:v1": 3, "app:v2": 1})
        await web.set_image("app:v1")
        back = await web.phase("Healthy", image="app:v1")
        assert back["status"]["stableRS"] == back["status"]["currentPodHash"]
        await web.has_sizes({"app:v1": 4})


async def test_a_broken_image_runs_into_the_deadline(client: Client, settings: Settings, web: Shown) -> None:
    await client.create(ROLLOUTS, web.namespace, rollout(progressDeadlineSeconds=2, minReadySeconds=0))
    async with running(settings):
        await web.phase("Healthy")
        await web.set_image("app:broken")
        late = await web.phase("Degraded")
        hashed = late["status"]["currentPodHash"]
        assert late["status"]["message"] == (
            f'ProgressDeadlineExceeded: ReplicaSet "web-{hashed}" has timed out progressing.'
        )
        assert await web.sizes() == {"app:v1": 3, "app:broken": 1}
        await web.set_image("app:v1")
        await web.phase("Healthy")
        await web.has_sizes({"app:v1": 4})


async def test_another_process_goes_on_where_the_first_stopped(client: Client, settings: Settings, web: Shown) -> None:
    await client.create(ROLLOUTS, web.namespace, rollout())
    async with running(settings):
        await web.phase("Healthy")
        await web.set_image("app:v2")
        await web.phase("Progressing")
    async with running(settings):
        await web.phase("Paused", step=1)
    await web.patch_status(pauseConditions=None)
    async with running(settings):
        await web.phase("Healthy")
        assert await web.sizes() == {"app:v2": 4}
    assert len(await client.list(REPLICA_SETS, web.namespace)) == 2


async def test_services_follow_and_are_given_back(client: Client, settings: Settings, web: Shown) -> None:
    for name in ("stable", "canary"):
        body = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
        }
        await client.create(SERVICES, web.namespace, body)
    body = rollout()
    body["spec"]["strategy"]["canary"] |= {"stableService": "stable", "canaryService": "canary"}
    await client.create(ROLLOUTS, web.namespace, body)

    async def points(service: str, pod_hash: str | None) -> None:
        async def so() -> bool:
            return await web.selector(service) == pod_hash

        await eventually(so, what=f"{service} at {pod_hash}")

    async with running(settings):
        first = (await web.phase("Healthy"))["status"]["stableRS"]
        await points("stable", first)
        await points("canary", first)
        await web.set_image("app:v2")
        second = (await web.phase("Paused", step=1))["status"]["currentPodHash"]
        await points("canary", second)
        await points("stable", first)
        await client.delete(ROLLOUTS, web.namespace, "web")
        await points("stable", None)
        await points("canary", None)
        service = await client.get(SERVICES, web.namespace, "stable")
        assert service["spec"]["selector"] == {"app": "web"}
        assert not service["metadata"].get("annotations")


async def warned(shown: Shown) -> bool:
    return "InvalidSpec" in await shown.events()


async def test_an_invalid_rollout_says_so_and_stops_no_other(client: Client, settings: Settings, web: Shown) -> None:
    bad = rollout("bad")
    del bad["spec"]["selector"]
    odd = rollout("odd")
    odd["spec"]["strategy"] = {"blueGreen": {"activeService": "x"}}
    for body in (bad, odd, rollout()):
        await client.create(ROLLOUTS, web.namespace, body)
    async with running(settings):
        await web.phase("Healthy")
        for name in ("bad", "odd"):
            status = (await Shown(client, web.namespace, name).phase("Degraded"))["status"]
            assert status["message"].startswith(f'InvalidSpec: The Rollout "{name}" is invalid: ')
            shown = Shown(client, web.namespace, name)
            await eventually(partial(warned, shown), what=f"an event about {name}")


async def test_a_refused_replica_set_is_told(client: Client, settings: Settings, web: Shown) -> None:
    body = rollout()
    body["spec"]["template"]["spec"]["containers"][0]["ports"] = [{"containerPort": 80, "name": "NOT_A_NAME"}]
    await client.create(ROLLOUTS, web.namespace, body)
    async with running(settings):

        async def told() -> bool:
            conditions = (await web.get()).get("status", {}).get("conditions") or []
            return any(c["reason"] in {"ReplicaSetCreateError", "InvalidSpec"} and c["message"] for c in conditions)

        await eventually(told)


async def test_a_name_that_is_taken_is_gone_round(client: Client, settings: Settings, web: Shown) -> None:
    async with running(settings):
        await client.create(ROLLOUTS, web.namespace, rollout())
        first = (await web.phase("Healthy"))["status"]["currentPodHash"]
    await client.delete(ROLLOUTS, web.namespace, "web")

    async def gone() -> bool:
        return not await client.list(REPLICA_SETS, web.namespace)

    # the garbage collector of a new cluster learns of our kinds only after a while
    await eventually(gone, deadline=120, what="its ReplicaSets gone")
    stranger = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": f"web-{first}"},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": "other"}},
            "template": {
                "metadata": {"labels": {"app": "other"}},
                "spec": {"containers": [{"name": "c", "image": "other"}]},
            },
        },
    }
    await client.create(REPLICA_SETS, web.namespace, stranger)
    await client.create(ROLLOUTS, web.namespace, rollout())
    async with running(settings):
        status = (await web.phase("Healthy"))["status"]
    assert status["collisionCount"] == 1
    assert status["currentPodHash"] != first


async def test_only_labelled_rollouts_with_an_instance_id(client: Client, settings: Settings, web: Shown) -> None:
    labelled = rollout("labelled")
    labelled["metadata"]["labels"] = {"argo-rollouts.argoproj.io/controller-instance-id": "blue"}
    for body in (labelled, rollout()):
        await client.create(ROLLOUTS, web.namespace, body)
    ours = Shown(client, web.namespace, "labelled")
    async with running(replace(settings, instance_id="blue")):
        await ours.phase("Healthy")
        assert "status" not in await web.get()
    async with running(settings):
        await web.phase("Healthy")


async def test_one_of_two_replicas_works_and_the_other_takes_over(
    client: Client, settings: Settings, web: Shown
) -> None:
    settings = replace(settings, leader_elect=True, retry_seconds=0.05)
    second, stop = Manager(settings), asyncio.Event()
    async with running(settings):
        await client.create(ROLLOUTS, web.namespace, rollout())
        await web.phase("Healthy")
        waiting = asyncio.create_task(second.run(stop))

        async def asked() -> bool:
            return second.client is not None and second.client.requests["get", "leases"] > 2

        await eventually(asked)
        assert not second.leading.is_set()
    await asyncio.wait_for(second.leading.wait(), 30)
    await web.set_image("app:v2")
    await web.phase("Paused", step=1)
    stop.set()
    await asyncio.wait_for(waiting, 30)
    lease = await client.get(LEASES, web.namespace, LOCK_NAME)
    assert not lease["spec"].get("holderIdentity")


async def test_a_lost_lease_ends_the_process(client: Client, settings: Settings, web: Shown) -> None:
    settings = replace(settings, leader_elect=True, retry_seconds=0.05)
    manager, stop = Manager(settings), asyncio.Event()
    running_manager = asyncio.create_task(manager.run(stop))
    await asyncio.wait_for(manager.leading.wait(), 60)
    await client.patch(LEASES, web.namespace, LOCK_NAME, {"spec": {"holderIdentity": "somebody-else"}})
    with pytest.raises(LeadershipLost):
        await asyncio.wait_for(running_manager, 60)
    lease = await client.get(LEASES, web.namespace, LOCK_NAME)
    assert lease["spec"]["holderIdentity"] == "somebody-else"


async def test_a_line_that_breaks_again_and_again_delays_and_spoils_nothing(
    client: Client, settings: Settings, web: Shown, tmp_path: Path
) -> None:
    config = yaml.safe_load(Path(settings.kubeconfig or "").read_text())
    host, _, port = config["clusters"][0]["cluster"]["server"].removeprefix("https://").partition(":")
    line = Line(host, int(port))
    await line.start()
    config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{line.port}"
    (tmp_path / "lined").write_text(yaml.safe_dump(config))
    await client.create(ROLLOUTS, web.namespace, rollout())
    try:
        async with running(replace(settings, kubeconfig=str(tmp_path / "lined"))):
            await web.phase("Healthy")
            await web.set_image("app:v2")

            async def cut_until(phase: str) -> None:
                async def there() -> bool:
                    line.cut()
                    status = (await web.get())["status"]
                    return bool(status["phase"] == phase)

                await eventually(there, deadline=60)

            await cut_until("Progressing")
            line.cut()
            await web.phase("Paused", step=1)
            line.cut()
            await web.patch_status(pauseConditions=None)
            await web.phase("Healthy", image="app:v2")
            await web.has_sizes({"app:v2": 4})
    finally:
        await line.stop()
    assert len(await client.list(REPLICA_SETS, web.namespace)) == 2


async def test_an_update_costs_few_requests_and_rest_costs_none(client: Client, settings: Settings, web: Shown) -> None:
    steps = [{"setWeight": 20}, {"pause": {"duration": 1}}, {"setWeight": 60}, {"pause": {"duration": 1}}]
    await client.create(ROLLOUTS, web.namespace, rollout(steps=steps, replicas=5))
    async with running(settings) as manager:
        await web.phase("Healthy")
        assert manager.client is not None
        requests = manager.client.requests

        def spent_so_far() -> int:
            """Without the looks around of a process that has just begun to lead, which an update may overtake."""
            return sum(n for (verb, kind), n in requests.items() if kind and verb not in ("list", "watch"))

        before = spent_so_far()
        await web.set_image("app:v2")
        await web.phase("Healthy", image="app:v2")
        await web.has_sizes({"app:v2": 5})

        assert spent_so_far() - before <= 46, requests
        rest = dict(requests)
        # a change that concerns nobody makes the caches move on; nothing may follow from it
        other = rollout("other", replicas=0)
        await client.create(ROLLOUTS, web.namespace, other)
        await Shown(client, web.namespace, "other").phase("Healthy")
        await client.delete(ROLLOUTS, web.namespace, "other")

        async def deleted() -> bool:
            found = await client.list(EVENTS, web.namespace)
            return any(e["reason"] == "RolloutDeleted" for e in found)

        await eventually(deleted)
        assert requests["patch", "replicasets"] == rest["patch", "replicasets"]
    with pytest.raises(NotFound):
        await client.get(ROLLOUTS, web.namespace, "other")
