"""A canary by weights from Git, end to end: gates, a step plugin, what is taken back (docs/decisions.md §2 to §4)."""

from __future__ import annotations

from pathlib import Path

import pytest

from plugin_site import importing_from, install_example
from story.loop import MANIFEST, Loop, wait_until

pytestmark = pytest.mark.cluster

STEPS = """\
  strategy:
    canary:
      stableService: web-stable
      canaryService: web-canary
      trafficRouting:
        maxTrafficWeight: 1000
        plugins:
          example/config-map: {name: web-edge}
      steps:
        - setWeight: 200
        - setCanaryScale: {replicas: 2}
        - pause: {}          # a person decides
        - plugin: {name: example/wait, config: {annotation: example.com/smoke}}
        - setCanaryScale: {matchTrafficWeight: true}
        - setWeight: 600
        - pause: {}
"""
GATE, LAST = 2, 6


@pytest.fixture
def routed(loop: Loop, tmp_path: Path) -> Loop:
    """v1 behind a router that keeps its weights in a ConfigMap, deployed and recorded."""
    install_example(tmp_path / "site")
    head = MANIFEST.split("  strategy:\n")[0].format(namespace=loop.namespace, tag="v1", deadline=loop.deadline)
    loop.write("envs/prod/web.yaml", head + STEPS)
    loop.push("web: by weights")
    with importing_from(tmp_path / "site"):
        loop.start()
    loop.create_sync()
    loop.wait_phase("Healthy", "v1")
    loop.wait_record()
    return loop


def weight(loop: Loop) -> int:
    """The canary's share as the router has it."""
    path = f"/api/v1/namespaces/{loop.namespace}/configmaps/web-edge"
    return int(loop.cluster.get(path)["data"]["canary-weight"])


def smoke(loop: Loop, said: str) -> None:
    """What the test of the plugin step waits for."""
    loop.cluster.merge(loop.rollout_path, {"metadata": {"annotations": {"example.com/smoke": said}}})


def test_weights_go_only_as_far_as_git_says_and_back_at_once(routed: Loop) -> None:
    """§0: forward needs Git, backward never waits. Stable keeps all its pods; a gate counts from the steps in Git."""
    loop = routed
    intent = loop.release("v2")
    loop.wait_gate(GATE, "v2")
    assert weight(loop) == 200
    assert loop.pods_by_image() == {"v1": 5, "v2": 2}
    branch = wait_until(loop.request_branches, "the request")[0]
    assert branch.endswith(f"{intent[:12]}-g{GATE}")
    loop.git("fetch", "-q", "origin")
    assert f"past step {GATE}: 20% -> 60%" in loop.git("diff", f"origin/main..origin/{branch}")

    # a client skips steps in the cluster: no more weight, no more pods
    loop.cluster.merge(f"{loop.rollout_path}/status", {"status": {"pauseConditions": None, "currentStepIndex": LAST}})
    loop.wait_gate(GATE, "v2")
    wait_until(lambda: loop.status().get("pauseConditions"), "the pause to come back")
    assert weight(loop) == 200

    # merged: on to the plugin, which waits for its word, and then to the next gate
    merged = loop.merge(branch)
    wait_until(lambda: loop.status().get("currentStepIndex") == GATE + 1, "the plugin step")
    assert weight(loop) == 200
    smoke(loop, "passed")
    loop.wait_gate(LAST, "v2")
    assert weight(loop) == 600
    assert loop.pods_by_image() == {"v1": 5, "v2": 3}

    # the promotion is reverted: back to its gate, with its weight and its pods
    loop.revert(merged)
    loop.wait_gate(GATE, "v2")
    wait_until(lambda: weight(loop) == 200, lambda: f"weight 200; is {weight(loop)}, {loop.describe()}")
    assert loop.pods_by_image()["v1"] == 5
    loop.gor("promote", "web", "-n", loop.namespace)
    loop.wait_gate(LAST, "v2")
    assert weight(loop) == 600

    # an abort: all traffic on v1 at once, one line, and the plugin step counts as a step
    loop.gor("abort", "web", "-n", loop.namespace)
    wait_until(lambda: weight(loop) == 0, "no weight", 15)
    loop.wait_phase("Degraded", "v2")
    assert f"at={LAST} " in wait_until(lambda: loop.lines().get("abort"), "the abort line")
    smoke(loop, "")
    loop.gor("retry", "web", "-n", loop.namespace)
    loop.wait_gate(GATE, "v2")
    assert weight(loop) == 200

    # the image is reverted: v1 alone, and no commit of the engine's
    before = loop.git("rev-parse", "origin/main")
    loop.revert(intent)
    loop.wait_phase("Healthy", "v1")
    wait_until(lambda: weight(loop) == 0, "no weight for what is no version any more", 15)
    wait_until(lambda: loop.request_branches() == [], "the request to go")
    loop.settled(seconds=3)
    assert loop.engine_commits(since=before) == []
