"""What clients match on, read as they read it, by watches: events, phases, sizes (docs/behaviour.md §4.2, §4.3).

No Git here: these Rollouts are driven by the patches that the plugin sends (docs/behaviour.md §21).
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from controllers.running import Shown, rollout, running
from controllers.watched import watching
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.resources import ROLLOUTS, SERVICES
from gitops_rollouts.leader import Settings

pytestmark = pytest.mark.cluster


async def exit_code(kubeconfig: Path, namespace: str, *more: str) -> tuple[int, str]:
    """``gor status web`` as a pipeline runs it."""
    argv = [sys.executable, "-m", "gitops_rollouts.cli.main", "status", "web", "-n", namespace, *more]
    argv += ["--kubeconfig", str(kubeconfig)]
    done = await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.strip()


async def test_a_basic_canary_update_abort_retry_and_promotion_by_itself(
    client: Client, settings: Settings, web: Shown, kubeconfig: Path
) -> None:
    """§4.3 "Observed orders": [setWeight 50, pause 12s], each occurrence one ADDED or MODIFIED."""
    steps = [{"setWeight": 50}, {"pause": {"duration": "12s"}}]
    async with watching(client, web.namespace) as seen, running(settings):
        await client.create(ROLLOUTS, web.namespace, rollout(steps=steps, replicas=1))
        await web.phase("Healthy")
        await seen.told(
            ["RolloutAddedToInformer", "RolloutUpdated", "NewReplicaSetCreated", "RolloutNotCompleted",
             "ScalingReplicaSet", "RolloutCompleted"]
        )  # fmt: skip
        await seen.comes(lambda: seen.phases()[-1:], [("Healthy", "")])
        assert ("Progressing", "more replicas need to be updated") in seen.phases()
        await seen.comes(lambda: seen.sizes("app:v1"), [0, 1])
        assert await exit_code(kubeconfig, web.namespace) == (0, "Healthy")

        seen.mark()
        await web.set_image("app:v2")
        await web.phase("Paused", step=1)
        await seen.told(
            ["RolloutUpdated", "NewReplicaSetCreated", "RolloutNotCompleted", "ScalingReplicaSet",
             "RolloutStepCompleted", "RolloutPaused"]
        )  # fmt: skip
        await seen.comes(lambda: seen.phases()[-1:], [("Paused", "CanaryPauseStep")])
        await seen.comes(lambda: seen.indices()[-2:], [0, 1])
        assert await exit_code(kubeconfig, web.namespace) in ((7, "Paused - CanaryPauseStep"), (7, "Progressing"))

        seen.mark()
        await web.patch_status(abort=True)
        await web.phase("Degraded")
        await web.has_sizes({"app:v1": 1})
        await seen.told(["ScalingReplicaSet", "RolloutAborted"])
        await seen.comes(
            lambda: seen.phases()[-1:], [("Degraded", "RolloutAborted: Rollout aborted update to revision 2")]
        )
        assert await exit_code(kubeconfig, web.namespace, "--watch") == (1, " - ".join(seen.phases()[-1]))

        seen.mark()
        await web.patch_status(abort=False)
        await web.phase("Paused", step=1)
        await seen.told(["ScalingReplicaSet", "RolloutStepCompleted", "RolloutPaused"])

        seen.mark()
        await web.phase("Healthy")
        await seen.told(["RolloutStepCompleted", "RolloutResumed", "ScalingReplicaSet", "RolloutCompleted"])
        await seen.comes(lambda: seen.indices()[-1:], [2])
        await seen.comes(lambda: seen.sizes("app:v1")[-1:], [0])
        assert await exit_code(kubeconfig, web.namespace, "--watch") == (0, "Healthy")


def service(name: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
    }


async def test_a_blue_green_update_switch_and_way_back(
    client: Client, settings: Settings, web: Shown, kubeconfig: Path
) -> None:
    """§4.3 "Observed orders" for blue-green; §2.3, §10: the switch, stableRS and Healthy come in one write."""
    await client.create(SERVICES, web.namespace, service("active"))
    strategy = {"blueGreen": {"activeService": "active", "scaleDownDelaySeconds": 60}}
    async with watching(client, web.namespace) as seen, running(settings):
        await client.create(ROLLOUTS, web.namespace, rollout(replicas=2, strategy=strategy))
        first = (await web.phase("Healthy"))["status"]["stableRS"]
        await seen.told(
            ["RolloutAddedToInformer", "RolloutUpdated", "NewReplicaSetCreated", "ScalingReplicaSet",
             "RolloutCompleted", "SwitchService"]
        )  # fmt: skip
        await seen.comes(lambda: seen.selected("active"), [first])
        await seen.comes(lambda: seen.sizes("app:v1"), [0, 2])

        seen.mark()
        await web.set_image("app:v2")
        second = (await web.phase("Healthy", image="app:v2"))["status"]["stableRS"]
        await seen.told(
            ["RolloutUpdated", "NewReplicaSetCreated", "RolloutNotCompleted", "ScalingReplicaSet", "SwitchService",
             "RolloutCompleted"]
        )  # fmt: skip
        await seen.comes(lambda: seen.selected("active"), [second])
        await seen.comes(lambda: seen.sizes("app:v2"), [0, 2])
        assert await web.sizes() == {"app:v1": 2, "app:v2": 2}
        await seen.comes(lambda: seen.phases()[-1:], [("Healthy", "")])
        shown = [(s.get("stableRS"), (s.get("blueGreen") or {}).get("activeSelector")) for s in seen.statuses()]
        assert all(stable == active for stable, active in shown), "the switch and the promotion are one write"
        assert await exit_code(kubeconfig, web.namespace, "--watch") == (0, "Healthy")

        seen.mark()
        await web.set_image("app:v1")
        back = (await web.phase("Healthy", image="app:v1"))["status"]
        assert back["stableRS"] == back["blueGreen"]["activeSelector"] == first
        assert seen.sizes("app:v1") in ([2], []), "within its delay no pod of it goes"
        await seen.last_told("RolloutCompleted")
        reasons = seen.reasons()
        assert reasons.index("SwitchService") < reasons.index("RolloutCompleted")
        assert "RolloutPaused" not in reasons


async def test_a_blue_green_preview_that_waits_and_is_aborted(
    client: Client, settings: Settings, web: Shown, kubeconfig: Path
) -> None:
    """§10, §11: BlueGreenPause until a person resumes; an abort takes nothing from the active version."""
    for name in ("active", "preview"):
        await client.create(SERVICES, web.namespace, service(name))
    how = {"activeService": "active", "previewService": "preview", "previewReplicaCount": 1,
           "autoPromotionEnabled": False, "abortScaleDownDelaySeconds": 1, "scaleDownDelaySeconds": 1}  # fmt: skip
    async with watching(client, web.namespace) as seen, running(settings):
        await client.create(ROLLOUTS, web.namespace, rollout(replicas=2, strategy={"blueGreen": how}))
        first = (await web.phase("Healthy"))["status"]["stableRS"]
        seen.mark()
        await web.set_image("app:v2")
        waiting = (await web.phase("Paused"))["status"]
        second = waiting["currentPodHash"]

        await seen.comes(lambda: seen.phases()[-1:], [("Paused", "BlueGreenPause")])
        assert await web.sizes() == {"app:v1": 2, "app:v2": 1}
        await seen.comes(lambda: seen.selected("preview"), [second])
        assert seen.selected("active") == []
        assert await exit_code(kubeconfig, web.namespace) == (7, "Paused - BlueGreenPause")

        await web.patch_status(abort=True)
        await web.phase("Degraded")
        await web.has_sizes({"app:v1": 2})
        assert await web.selector("active") == first
        assert await web.selector("preview") == second
        code, line = await exit_code(kubeconfig, web.namespace)
        assert (code, line) == (1, "Degraded - RolloutAborted: Rollout aborted update to revision 2")

        await web.patch_status(abort=False)
        await web.phase("Paused")
        await web.has_sizes({"app:v1": 2, "app:v2": 1})
        await seen.last_told("RolloutPaused")
        seen.mark()
        await web.patch_status(pauseConditions=None)
        await web.phase("Healthy", image="app:v2")
        await web.has_sizes({"app:v2": 2})
        await seen.comes(lambda: seen.sizes("app:v2"), [2])
        await seen.comes(lambda: seen.selected("active"), [second])
        reasons = seen.reasons()
        assert reasons[:3] == ["ScalingReplicaSet", "SwitchService", "RolloutCompleted"], reasons
