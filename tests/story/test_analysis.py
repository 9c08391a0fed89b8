"""Metrics decide a canary from Git, by a real Prometheus (docs/behaviour.md §17, docs/decisions.md §1.1, §6, §7)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gitops_rollouts.local.git_server import GitServer
from prometheus_server import PrometheusServer, prometheus_server
from story.loop import MANIFEST, Loop, wait_until

__all__ = ["prometheus_server"]
pytestmark = [pytest.mark.cluster, pytest.mark.long]

TEMPLATES = """\
apiVersion: argoproj.io/v1alpha1
kind: AnalysisTemplate
metadata: {name: error-rate}
spec:
  args: [{name: shop}, {name: hash}]
  metrics:
    - name: error-rate
      interval: 2s
      successCondition: result[0] <= 0.05
      provider: {prometheus: {address: URL, query: 'story_errors{shop="{{ args.shop }}"}'}}
---
apiVersion: argoproj.io/v1alpha1
kind: AnalysisTemplate
metadata: {name: latency}
spec:
  args: [{name: shop}]
  metrics:
    - name: latency
      interval: 1s
      count: 2
      successCondition: result[0] < 0.3
      failureCondition: result[0] > 0.8
      provider: {prometheus: {address: URL, query: 'story_latency{shop="{{ args.shop }}"}'}}
"""
STEPS = """\
  strategy:
    canary:
      stableService: web-stable
      canaryService: web-canary
      analysis:
        startingStep: 1
        templates: [{templateName: error-rate}]
        args:
          - {name: shop, value: NAMESPACE}
          - {name: hash, valueFrom: {podTemplateHashValue: Latest}}
      steps:
        - setWeight: 20
        - analysis:
            templates: [{templateName: latency}]
            args: [{name: shop, value: NAMESPACE}]
        - pause: {}
        - setWeight: 60
        - pause: {duration: 1s}
"""
INLINE, GATE = 1, 2


class Shop:
    """A loop whose canary is judged by two series of a real Prometheus."""

    def __init__(self, loop: Loop, server: PrometheusServer) -> None:
        self.loop = loop
        self._server = server

    def metrics(self, *, errors: float, latency: float) -> None:
        """From now on."""
        for name, value in (("errors", errors), ("latency", latency)):
            series = f'story_{name}{{shop="{self.loop.namespace}"}}'
            self._server.set(series, value)
            self._server.shows(series, value)

    def runs(self, kind: str) -> list[dict[str, Any]]:
        """The AnalysisRuns of a kind, the newest first."""
        path = f"/apis/argoproj.io/v1alpha1/namespaces/{self.loop.namespace}/analysisruns"
        found = self.loop.cluster.get(f"{path}?labelSelector=rollout-type%3D{kind}")["items"]
        return sorted(found, key=lambda each: str(each["metadata"]["creationTimestamp"]), reverse=True)

    def latest(self, kind: str) -> str:
        """The phase of the newest run of a kind."""
        return str((self.runs(kind)[0].get("status") or {}).get("phase", ""))


@pytest.fixture
def shop(loop: Loop, prometheus_server: PrometheusServer) -> Iterator[Shop]:
    """v1 with its analyses, deployed and recorded; the metrics are good."""
    made = Shop(loop, prometheus_server)
    made.metrics(errors=0.01, latency=0.1)
    head = MANIFEST.split("  strategy:\n")[0].format(namespace=loop.namespace, tag="v1", deadline=loop.deadline)
    loop.write("envs/prod/web.yaml", head + STEPS.replace("NAMESPACE", loop.namespace))
    loop.write("envs/prod/templates.yaml", TEMPLATES.replace("URL", prometheus_server.url))
    loop.push("web: judged by its metrics")
    loop.start()
    loop.create_sync()
    loop.wait_phase("Healthy", "v1")
    loop.wait_record()
    assert made.runs("Background") == made.runs("Step") == [], "a first deployment is judged by nothing"
    return made


def test_good_metrics_let_it_through_and_undecided_ones_ask_git(shop: Shop) -> None:
    """§11, §17.5: success goes to the end; inconclusive pauses, its gate opens a request, merging it promotes."""
    loop = shop.loop
    loop.release("v2")
    loop.wait_gate(GATE, "v2")
    assert shop.latest("Step") == "Successful"
    branch = wait_until(loop.request_branches, "the request")[0]
    loop.git("fetch", "-q", "origin")
    body = loop.git("log", "-1", "--format=%B", f"origin/{branch}")
    assert "Rollout-Evidence: latency Successful 2/2 last=[0.1] condition=result[0] < 0.3" in body
    assert "    latency     Successful  2/2" in body
    tree = loop.gor("get", "rollout", "web", "-n", loop.namespace).stdout
    assert "step 1  ✔ Successful" in tree
    assert "background  ◌ Running" in tree
    assert "is under way: error-rate" in loop.gor("why", "web", "-n", loop.namespace).stdout
    loop.merge(branch)
    loop.wait_phase("Healthy", "v2")
    loop.wait_record()
    wait_until(lambda: shop.latest("Background") == "Successful", "the background run to be ended with the update")

    # neither good nor bad: a person is asked, with the numbers
    shop.metrics(errors=0.01, latency=0.5)
    loop.release("v3")
    loop.wait_gate(INLINE, "v3")
    wait_until(lambda: loop.status().get("message") == "InconclusiveAnalysisRun", "the pause to name its reason")
    assert loop.pods_by_image() == {"v2": 4, "v3": 1}
    branch = wait_until(lambda: [each for each in loop.request_branches() if each.endswith(f"-g{INLINE}")], "a request")
    why = loop.gor("why", "web", "-n", loop.namespace).stdout
    assert "latency was undecided in 1 of 1 measurement (0 allowed): last value [0.5]" in why
    loop.git("fetch", "-q", "origin")
    body = loop.git("log", "-1", "--format=%B", f"origin/{branch[0]}")
    assert "Rollout-Evidence: latency Inconclusive 0/1 last=[0.5]" in body
    loop.merge(branch[0])
    loop.wait_gate(GATE, "v3")
    assert len(shop.runs("Step")) == 2, "what a person has decided isn't measured again"
    loop.gor("promote", "web", "-n", loop.namespace)
    loop.wait_phase("Healthy", "v3")
    loop.wait_record()
    loop.settled(3)


def test_a_bad_metric_takes_it_back_first_and_git_says_why(shop: Shop, git_server: GitServer, tmp_path: Path) -> None:
    """§11.7, decisions.md §0: the stable version serves everything before the commit exists, which names the metric."""
    loop = shop.loop
    loop.release("v2")
    loop.wait_gate(GATE, "v2")
    wait_until(lambda: shop.latest("Background") == "Running", "the background run")
    assert loop.pods_by_image() == {"v1": 4, "v2": 1}
    open_again = tmp_path / "open"
    git_server.set_pre_receive_hook(loop.namespace, f"#!/bin/sh\nuntil [ -e {open_again} ]; do sleep 0.1; done\n")
    shop.metrics(errors=0.42, latency=0.1)
    wait_until(lambda: loop.status().get("abort"), "the abort", 20)
    wait_until(lambda: loop.pods_by_image() == {"v1": 5}, lambda: f"stable alone; is {loop.describe()}")
    wait_until(lambda: loop.status().get("availableReplicas") == 5, "all stable pods to be available")
    assert "abort" not in loop.lines(), "its push waits for the hook"
    open_again.touch()

    line = wait_until(lambda: loop.lines().get("abort"), "the abort's line")
    assert f"at={GATE}" in line
    assert "AnalysisFailed" in line
    body = loop.git("log", "-1", "--format=%B", "origin/main")
    assert "AnalysisFailed: error-rate failed 1 of " in body
    assert "(0 allowed): last value [0.42], wanted result[0] <= 0.05" in body
    assert "Rollout-Evidence: error-rate Failed " in body
    assert "last=[0.42] condition=result[0] <= 0.05" in body
    assert "127.0.0.1" not in body
    assert "story_errors" not in body
    why = loop.gor("why", "web", "-n", loop.namespace).stdout
    assert "error-rate failed 1 of" in why
    assert "last value [0.42], wanted result[0] <= 0.05" in why

    # the verdict outlives the engine, and a better metric doesn't lift it: a person does
    loop.stop()
    shop.metrics(errors=0.01, latency=0.1)
    loop.start()
    wait_until(
        lambda: loop.sync()["status"].get("lastAppliedCommit") == loop.git("rev-parse", "origin/main"), "the tip"
    )
    loop.wait_phase("Degraded", "v2")
    assert loop.pods_by_image() == {"v1": 5}
    loop.gor("retry", "web", "-n", loop.namespace)
    loop.wait_gate(GATE, "v2")
    assert shop.latest("Step") == "Successful"
