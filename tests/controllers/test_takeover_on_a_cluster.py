"""Taken over from another controller of this API and handed back: no pod, no template, no step suffers.

The objects stand as docs/behaviour.md §3 to §6 say that a controller leaves them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from controllers.laid_down import (
    AVAILABLE,
    HASH,
    NOT_COMPLETED,
    NOT_HEALTHY,
    PAUSED,
    Laid,
    Version,
    ago,
    recorded,
)
from controllers.running import Raw, Shown, rollout, running
from gitops_rollouts.api.hashing import step_hash
from gitops_rollouts.api.names import LOCK_NAME
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import CONFIG_MAPS, LEASES, PODS, REPLICA_SETS, ROLLOUTS, SERVICES
from gitops_rollouts.leader import Settings
from gitops_rollouts.manager import Manager
from plugin_site import importing_from, install_example
from waiting import eventually

pytestmark = pytest.mark.cluster

STEPS: list[Raw] = [{"setWeight": 25}, {"pause": {}}, {"setWeight": 50}, {"pause": {"duration": "1h"}}]
STEP_HASH = "6878d844fd"
RUNNING = {"rolloutStartedAt": ago(900)}
MANAGED_BY = "argo-rollouts.argoproj.io/managed-by-rollouts"


async def looked_at(manager: Manager, client: Client, namespace: str, *names: str) -> None:
    """Each was looked at twice; the second time because somebody put a label on it."""

    def passes(name: str) -> float:
        labels = {"namespace": namespace, "name": name}
        return manager.metrics.registry.get_sample_value("rollout_reconcile_count", labels) or 0.0

    async def once() -> bool:
        return all(passes(name) >= 1 for name in names)

    await eventually(once, deadline=60)
    before = {name: passes(name) for name in names}
    for name in names:
        await client.patch(ROLLOUTS, namespace, name, {"metadata": {"labels": {"looked": "at"}}}, field_manager="tests")

    async def again() -> bool:
        return all(passes(name) > before[name] for name in names)

    await eventually(again, deadline=60)


def paused_at_gate(**fields: object) -> tuple[tuple[tuple[str, str, str, str], ...], Raw]:
    """Conditions and fields of a canary that waits at its indefinite pause, step 1."""
    progressing = ("Progressing", "Unknown", "RolloutPaused", "Rollout is paused")
    return (AVAILABLE, NOT_HEALTHY, NOT_COMPLETED, progressing, PAUSED), {
        "currentStepIndex": 1,
        "currentStepHash": STEP_HASH,
        "pauseConditions": [{"reason": "CanaryPauseStep", "startTime": ago(300)}],
        "controllerPause": True,
        "phase": "Paused",
        "message": "CanaryPauseStep",
        "duration": {**RUNNING, "manualPauseStartedAt": ago(300)},
        **fields,
    }


async def lay_gate(client: Client, namespace: str, name: str, new: Version, **fields: object) -> Laid:
    laid = Laid(client, namespace, rollout(name, image="app:v2", steps=STEPS), [Version("app:v1", 1, 3), new])
    await laid.objects()
    conditions, status = paused_at_gate(**fields)
    await laid.status(*conditions, **status)
    return laid


async def test_objects_laid_down_as_documented_at_a_gate_stay_untouched_and_go_on_where_they_were(
    client: Client, settings: Settings, web: Shown
) -> None:
    """§9: at an indefinite pause, the same under an older library's hashes, and with Services that are managed."""
    namespace = web.namespace
    await lay_gate(client, namespace, "old", Version("app:v2", 2, 1, hash="6b8f9c7d54"))
    await lay_gate(client, namespace, "drift", Version("app:v2", 2, 1), currentStepHash="7d8f6b5c99")
    body = rollout("web", image="app:v2", steps=STEPS)
    body["metadata"]["annotations"] = {"team": "shop"}
    body["spec"]["strategy"]["canary"] |= {"stableService": "web", "canaryService": "web-canary"}
    team = {"team": "shop"}
    laid = Laid(client, namespace, body, [Version("app:v1", 1, 3), Version("app:v2", 2, 1, annotations=team)])
    for service, pod_hash in zip(("web", "web-canary"), laid.hashes, strict=True):
        made = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": service, "annotations": {MANAGED_BY: "web"}},
            "spec": {"selector": {"app": "web", HASH: pod_hash}, "ports": [{"port": 80}]},
        }
        await client.create(SERVICES, namespace, made)
    await laid.objects()
    conditions, status = paused_at_gate()
    await laid.status(*conditions, **status)
    names = ("old", "drift", "web")
    stored = {name: await client.get(ROLLOUTS, namespace, name) for name in names}

    async with recorded(client, namespace) as history, running(settings) as manager:
        await looked_at(manager, client, namespace, *names)
        for name in names:
            found = await client.get(ROLLOUTS, namespace, name)
            expected = stored[name]["status"] | ({"currentStepHash": STEP_HASH} if name == "drift" else {})
            assert found["status"] == expected, name
            assert found["spec"] == stored[name]["spec"]
            assert found["metadata"]["annotations"] == stored[name]["metadata"]["annotations"]
            assert set(history.reasons(name)) <= {"RolloutAddedToInformer"}
        kinds = {kind for kind, _, _ in history.entries}
        assert kinds <= {"Rollout", "Event"}, kinds

        for name in names:
            await Shown(client, namespace, name).patch_status(pauseConditions=None)
        for name in names:
            await Shown(client, namespace, name).phase("Paused", step=3)
            assert await Shown(client, namespace, name).sizes() == {"app:v1": 2, "app:v2": 2}
            assert history.indices(name) == [1, 2, 3]
            assert sorted(history.pods(name)) == [("ADDED", "app:v2"), ("DELETED", "app:v1")]
        assert await web.selector("web-canary") == laid.hashes[1]
        done = "RolloutStepCompleted"
        messages = [raw["message"] for _, raw in history.of("Event") if raw["reason"] == done]
        assert not [each for each in messages if "1/4" in each]

    # handed back: what is left is what the other knows, and nothing of ours
    left = [*await client.list(REPLICA_SETS, namespace), *await client.list(PODS, namespace)]
    left += [*await client.list(ROLLOUTS, namespace), *await client.list(SERVICES, namespace)]
    for raw in left:
        keys = {*raw["metadata"].get("annotations", {}), *raw["metadata"].get("labels", {})}
        assert not [key for key in keys if key.startswith("gitops-rollouts.io/")]
    assert len(await client.list(REPLICA_SETS, namespace)) == 6


async def test_objects_laid_down_as_documented_in_other_states_are_left_or_finished(
    client: Client, settings: Settings, namespace: str
) -> None:
    """§3: a timed pause, aborted, healthy with a collision and an old history; and one in the middle of a weight."""
    progressing = ("Progressing", "Unknown", "RolloutPaused", "Rollout is paused")
    timed = Laid(client, namespace, rollout("timed", image="app:v2", steps=STEPS),
                 [Version("app:v1", 1, 2), Version("app:v2", 2, 2)])  # fmt: skip
    await timed.objects()
    pause = [{"reason": "CanaryPauseStep", "startTime": ago(60)}]
    await timed.status(
        AVAILABLE, NOT_HEALTHY, NOT_COMPLETED, progressing, PAUSED,
        currentStepIndex=3, currentStepHash=STEP_HASH, pauseConditions=pause, controllerPause=True,
        phase="Paused", message="CanaryPauseStep", duration={**RUNNING, "totalManualPauseDurationSeconds": 0},
    )  # fmt: skip

    aborted = Laid(client, namespace, rollout("aborted", image="app:v2", steps=STEPS),
                   [Version("app:v1", 1, 4), Version("app:v2", 2, 0)])  # fmt: skip
    await aborted.objects()
    text = "Rollout aborted update to revision 2"
    await aborted.status(
        AVAILABLE, NOT_HEALTHY, NOT_COMPLETED, ("Progressing", "False", "RolloutAborted", text),
        currentStepIndex=0, currentStepHash=STEP_HASH, abort=True, abortedAt=ago(300),
        phase="Degraded", message=f"RolloutAborted: {text}",
        duration={**RUNNING, "finishedAt": ago(300), "completionStatus": "Aborted"},
    )  # fmt: skip

    third = Version("app:v1", 3, 4, collision=1, annotations={"rollout.argoproj.io/revision-history": "1"})
    history_of = [Version("app:v0", 1, 0), Version("app:v2", 2, 0), third]
    healthy = Laid(client, namespace, rollout("healthy", image="app:v1", steps=STEPS), history_of)
    await healthy.objects()
    newest = f"healthy-{healthy.hashes[-1]}"
    await healthy.status(
        AVAILABLE, ("Healthy", "True", "RolloutHealthy", "Rollout is healthy"),
        ("Progressing", "True", "NewReplicaSetAvailable", f'ReplicaSet "{newest}" has successfully progressed.'),
        ("Completed", "True", "RolloutCompleted", "RolloutCompleted"),
        ("Paused", "False", "RolloutPaused", "Rollout is paused"),
        currentStepIndex=4, currentStepHash=STEP_HASH, stableRS=healthy.hashes[-1], collisionCount=1,
        phase="Healthy", duration={**RUNNING, "finishedAt": ago(300), "completionStatus": "Promoted"},
    )  # fmt: skip

    weighing = Laid(client, namespace, rollout("weighing", image="app:v2", steps=STEPS),
                    [Version("app:v1", 1, 3), Version("app:v2", 2, 1)])  # fmt: skip
    await weighing.objects()
    text = f'ReplicaSet "weighing-{weighing.hashes[-1]}" is progressing.'
    await weighing.status(
        AVAILABLE, NOT_HEALTHY, NOT_COMPLETED, ("Paused", "False", "RolloutPaused", "Rollout is paused"),
        ("Progressing", "True", "ReplicaSetUpdated", text),
        currentStepIndex=2, currentStepHash=STEP_HASH, phase="Progressing",
        message="more replicas need to be updated", duration={**RUNNING, "totalManualPauseDurationSeconds": 120},
    )  # fmt: skip

    still = ("timed", "aborted", "healthy")
    stored = {name: await client.get(ROLLOUTS, namespace, name) for name in still}
    async with recorded(client, namespace) as history, running(settings) as manager:
        await looked_at(manager, client, namespace, *still)
        for name in still:
            found = await client.get(ROLLOUTS, namespace, name)
            assert found["status"] == stored[name]["status"], name
            assert found["metadata"]["annotations"] == stored[name]["metadata"]["annotations"], name
            assert set(history.reasons(name)) <= {"RolloutAddedToInformer"}, name
            assert history.pods(name) == []
            assert history.of("ReplicaSet", name) == []
        shown = Shown(client, namespace, "weighing")
        await shown.phase("Paused", step=3)
        assert await shown.sizes() == {"app:v1": 2, "app:v2": 2}
        assert history.indices("weighing") == [2, 3]
        assert sorted(history.pods("weighing")) == [("ADDED", "app:v2"), ("DELETED", "app:v1")]
        reasons = history.reasons("weighing")
        assert reasons.count("RolloutStepCompleted") == 1
        assert not {"RolloutUpdated", "NewReplicaSetCreated", "RolloutNotCompleted"} & set(reasons)
        # a retry of what the other had aborted begins at the first step, with the ReplicaSet that is there
        again = Shown(client, namespace, "aborted")
        await again.patch_status(abort=False)
        await again.phase("Paused", step=1)
        assert await again.sizes() == {"app:v1": 3, "app:v2": 1}
    assert len(await client.list(REPLICA_SETS, namespace)) == 2 + 2 + 3 + 2


async def lay_blue_green(client: Client, namespace: str, name: str, old: dict[str, str], **fields: object) -> Laid:
    """Two full ReplicaSets, v1 with the annotations ``old``, and both Services at what ``fields`` say (or v2)."""
    strategy = {"activeService": name, "previewService": f"{name}-preview", "autoPromotionEnabled": False}
    body = rollout(name, image="app:v2", strategy={"blueGreen": {**strategy, "scaleDownDelaySeconds": 3600}})
    laid = Laid(client, namespace, body, [Version("app:v1", 1, 4, annotations=old), Version("app:v2", 2, 4)])
    active = laid.hashes[0] if "pauseConditions" in fields else laid.hashes[1]
    for service, pod_hash in ((name, active), (f"{name}-preview", laid.hashes[1])):
        made = {
            "metadata": {"name": service, "annotations": {MANAGED_BY: name}},
            "spec": {"selector": {"app": name, HASH: pod_hash}, "ports": [{"port": 80}]},
        }
        await client.create(SERVICES, namespace, made)
    await laid.objects()
    conditions = fields.pop("conditions")
    assert isinstance(conditions, tuple)
    await laid.status(
        *conditions,
        stableRS=active,
        readyReplicas=4,
        availableReplicas=4,
        HPAReplicas=4,
        selector=f"app={name},{HASH}={active}",
        blueGreen={"activeSelector": active, "previewSelector": laid.hashes[1]},
        **fields,
    )
    return laid


async def test_blue_green_objects_laid_down_as_documented_keep_both_versions_and_their_services(
    client: Client, settings: Settings, namespace: str
) -> None:
    """§8.7, §10: in the preview; promoted with an old version that waits for its deadline, or has waited."""
    progressing = ("Progressing", "Unknown", "RolloutPaused", "Rollout is paused")
    preview = await lay_blue_green(
        client, namespace, "preview", {},
        conditions=(AVAILABLE, NOT_HEALTHY, NOT_COMPLETED, progressing, PAUSED),
        pauseConditions=[{"reason": "BlueGreenPause", "startTime": ago(60)}], controllerPause=True,
        phase="Paused", message="BlueGreenPause", duration={**RUNNING, "manualPauseStartedAt": ago(60)},
    )  # fmt: skip
    for name, deadline in (("after", ago(-3600)), ("late", ago(5))):
        await lay_blue_green(
            client, namespace, name, {"scale-down-deadline": deadline},
            conditions=(
                AVAILABLE, ("Healthy", "True", "RolloutHealthy", "Rollout is healthy"),
                ("Paused", "False", "RolloutPaused", "Rollout is paused"),
                ("Progressing", "True", "NewReplicaSetAvailable", "ReplicaSet has successfully progressed."),
                ("Completed", "True", "RolloutCompleted", "RolloutCompleted"),
            ),
            phase="Healthy", duration={**RUNNING, "finishedAt": ago(300), "completionStatus": "Promoted"},
        )  # fmt: skip
    stored = {name: await client.get(ROLLOUTS, namespace, name) for name in ("preview", "after")}
    async with recorded(client, namespace) as history, running(settings) as manager:
        await looked_at(manager, client, namespace, "preview", "after", "late")
        for name, before in stored.items():
            found = await client.get(ROLLOUTS, namespace, name)
            assert found["status"] == before["status"], name
            assert history.pods(name) == []
            assert set(history.reasons(name)) <= {"RolloutAddedToInformer"}, name
        await Shown(client, namespace, "late").has_sizes({"app:v2": 4})
        assert {what for what, _ in history.pods("late")} <= {"DELETED"}
        assert history.of("Service") == []
        waiting = [
            each["metadata"]["name"]
            for each in await client.list(REPLICA_SETS, namespace)
            if "scale-down-deadline" in each["metadata"]["annotations"]
        ]
        assert [name.partition("-")[0] for name in waiting] == ["after"]
        # the person's promotion is carried out by whoever leads
        shown = Shown(client, namespace, "preview")
        await shown.patch_status(pauseConditions=None)
        await shown.phase("Healthy")
        assert await shown.selector("preview") == preview.hashes[1]
        assert history.pods("preview") == []


async def test_while_the_other_controller_holds_the_lease_nothing_is_touched_and_afterwards_it_goes_on(
    client: Client, settings: Settings, web: Shown
) -> None:
    """§23: one Lease name for both, so that they never act at once from one namespace."""
    await lay_gate(client, web.namespace, "web", Version("app:v2", 2, 1))
    await web.patch_status(pauseConditions=None)
    before = await web.get()
    held = {"holderIdentity": "argo-rollouts-5b6f_1", "leaseDurationSeconds": 3, "leaseTransitions": 7}
    await client.create(LEASES, web.namespace, {"metadata": {"name": LOCK_NAME}, "spec": held})
    times = {"lease_seconds": 3.0, "renew_seconds": 2.0, "retry_seconds": 0.1}
    manager, stop = Manager(replace(settings, leader_elect=True, **times)), asyncio.Event()
    task = asyncio.create_task(manager.run(stop))
    for beat in range(25):
        renewed = {"spec": {"renewTime": f"2026-03-01T12:00:{beat:02}.000000Z"}}
        await client.patch(LEASES, web.namespace, LOCK_NAME, renewed, field_manager="other")
        looks = manager.client.requests["get", "leases"] if manager.client else 0

        async def looked(seen: int = looks) -> bool:
            return manager.client is not None and manager.client.requests["get", "leases"] > seen + 1

        await eventually(looked)
        assert not manager.leading.is_set()
    assert await web.get() == before
    # it stops without a word, as it does: the Lease runs out
    await asyncio.wait_for(manager.leading.wait(), 60)
    await web.phase("Paused", step=3)
    lease = (await client.get(LEASES, web.namespace, LOCK_NAME))["spec"]
    assert lease["leaseTransitions"] == 8
    stop.set()
    await asyncio.wait_for(task, 60)
    # and back: free at once for the other
    assert not (await client.get(LEASES, web.namespace, LOCK_NAME))["spec"].get("holderIdentity")


@pytest.fixture
def example_plugins(tmp_path: Path) -> Iterator[None]:
    """The plugins of docs/examples/plugins, as pip installs them."""
    install_example(tmp_path / "site")
    with importing_from(tmp_path / "site"):
        yield


@pytest.mark.usefixtures("example_plugins")
async def test_routed_objects_laid_down_as_documented_keep_their_weights_and_no_plugin_is_called_again(
    client: Client, settings: Settings, web: Shown
) -> None:
    """§15.1, §16: recorded weights and a finished plugin step, at a gate."""
    wait = {"plugin": {"name": "example/wait", "config": {"seconds": 0}}}
    steps = [{"setWeight": 25}, wait, {"pause": {}}, {"setWeight": 50}, {"pause": {"duration": "1h"}}]
    body = rollout(image="app:v2", steps=steps)
    routing = {"plugins": {"example/config-map": {"name": "edge"}}}
    named = {"stableService": "web", "canaryService": "web-canary"}
    body["spec"]["strategy"]["canary"] |= {**named, "trafficRouting": routing}
    laid = Laid(client, web.namespace, body, [Version("app:v1", 1, 4), Version("app:v2", 2, 1)])
    edge = {}
    weights: Raw = {}
    shares = ((75, "stable", "web", laid.hashes[0]), (25, "canary", "web-canary", laid.hashes[1]))
    for weight, role, service, pod_hash in shares:
        made = {
            "metadata": {"name": service, "annotations": {MANAGED_BY: "web"}},
            "spec": {"selector": {"app": "web", HASH: pod_hash}, "ports": [{"port": 80}]},
        }
        await client.create(SERVICES, web.namespace, made)
        edge |= {f"{role}-service": service, f"{role}-hash": pod_hash, f"{role}-weight": str(weight)}
        weights[role] = {"weight": weight, "serviceName": service, "podTemplateHash": pod_hash}
    before = await client.create(CONFIG_MAPS, web.namespace, {"metadata": {"name": "edge"}, "data": edge})
    await laid.objects()
    called = {
        "index": 1, "name": "example/wait", "operation": "Run", "phase": "Successful", "message": "done",
        "startedAt": ago(400), "updatedAt": ago(390), "finishedAt": ago(390), "executions": 1,
    }  # fmt: skip
    conditions, fields = paused_at_gate(
        currentStepIndex=2,
        currentStepHash=step_hash(steps),
        canary={"weights": weights, "stepPluginStatuses": [called]},
    )
    await laid.status(*conditions, **fields)
    stored = await web.get()

    async with recorded(client, web.namespace) as history, running(settings) as manager:
        await looked_at(manager, client, web.namespace, "web")
        assert (await web.get())["status"] == stored["status"]
        assert {kind for kind, _, _ in history.entries} <= {"Rollout", "Event"}
        edge_now = await client.get(CONFIG_MAPS, web.namespace, "edge")
        assert edge_now["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
        await web.patch_status(pauseConditions=None)
        now = await web.phase("Paused", step=4)
        assert await web.sizes() == {"app:v1": 4, "app:v2": 2}
        assert history.pods("web") == [("ADDED", "app:v2")]
        assert history.indices("web") == [2, 3, 4]
        assert now["status"]["canary"]["stepPluginStatuses"] == [called]
        data = (await client.get(CONFIG_MAPS, web.namespace, "edge"))["data"]
        assert (data["canary-weight"], data["stable-weight"]) == ("50", "50")
        assert "StepPluginTransition" not in history.reasons("web")
