"""Taken over from another controller of this API and handed back: no pod, no template, no step suffers.

The objects stand as docs/behaviour.md §3 to §6 say that a controller leaves them.
"""

from __future__ import annotations

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
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import PODS, REPLICA_SETS, ROLLOUTS, SERVICES
from gitops_rollouts.manager import Manager, Settings
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
