"""Checks 6, 7 and 13: a metric says no in mid-canary, with Git and without (docs/decisions.md §0, §3 R4, §4)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gitops_rollouts.local.git_server import GitServer
from http_server import HttpServer, Reply, serving_in_thread
from story.loop import MANIFEST, OWN, Loop, wait_until

pytestmark = pytest.mark.cluster

TEMPLATE = """\
apiVersion: argoproj.io/v1alpha1
kind: AnalysisTemplate
metadata: {{name: error-rate, namespace: {namespace}}}
spec:
  metrics:
    - name: error-rate
      interval: 1s
      successCondition: result <= 0.05
      provider: {{web: {{url: "{url}/errors", jsonPath: "{{$.value}}"}}}}
"""
JUDGED = """\
    canary:
      analysis: {startingStep: 1, templates: [{templateName: error-rate}]}
"""


class Judged:
    """A loop whose canary is judged by one metric that the test sets."""

    def __init__(self, loop: Loop, server: HttpServer) -> None:
        self.loop = loop
        self._server = server
        self.errors(0.01)

    def errors(self, rate: float) -> None:
        """From now on."""
        self._server.answer = lambda _: Reply.of({"value": rate})

    def deploy(self, pause: str = "pause: {}", **spec: str) -> None:
        """v1 with its analysis, recorded. ``pause``: what stands between 20 and 60 percent."""
        loop = self.loop
        text = MANIFEST.format(namespace=loop.namespace, tag="v1", deadline=loop.deadline)
        text = text.replace("    canary:\n", JUDGED).replace("pause: {}          # a person decides", pause)
        loop.write("envs/prod/web.yaml", text)
        loop.write("envs/prod/errors.yaml", TEMPLATE.format(namespace=loop.namespace, url=self._server.url))
        loop.push("web: judged by its errors")
        loop.start()
        loop.create_sync(**spec)
        loop.wait_phase("Healthy", "v1")
        loop.wait_record()

    def canary(self, tag: str) -> None:
        """Wait until this version has its first pods and is measured."""
        asked = len(self._server.seen)
        wait_until(lambda: self.loop.pods_by_image() == {"v1": 4, tag: 1}, self.loop.describe)
        wait_until(lambda: len(self._server.seen) > asked, "the analysis to ask")

    def stable_alone(self) -> None:
        loop = self.loop
        wait_until(lambda: loop.pods_by_image() == {"v1": 5}, lambda: f"v1 alone; is {loop.describe()}")
        wait_until(lambda: loop.status().get("availableReplicas") == 5, "all its pods to be available")

    def aborts(self) -> list[str]:
        """The ids that commits of the engine brought in as aborts, oldest first."""
        patches = [self.loop.git("show", "--format=", "-U0", commit) for commit in self.loop.engine_commits()]
        return [text.split("id=")[1][:12] for text in patches if f"+    {OWN}abort" in text]


@pytest.fixture
def judged(loop: Loop) -> Iterator[Judged]:
    with serving_in_thread(lambda _: Reply()) as server:
        yield Judged(loop, server)


def test_checks_6_and_7_a_failed_analysis_is_off_traffic_before_its_commit_and_a_revert_tries_once_more(
    judged: Judged, git_server: GitServer, tmp_path: Path
) -> None:
    loop = judged.loop
    judged.deploy()
    loop.release("v2")
    loop.wait_gate(1, "v2")
    judged.canary("v2")
    wait_until(loop.request_branches, "the request")
    # its push waits until all of v1 is back: an order in which the commit came first would hang here
    open_again = tmp_path / "open"
    git_server.set_pre_receive_hook(loop.namespace, f"#!/bin/sh\nuntil [ -e {open_again} ]; do sleep 0.1; done\n")
    judged.errors(0.42)
    judged.stable_alone()
    assert "abort" not in loop.lines()
    open_again.touch()
    wait_until(lambda: len(judged.aborts()) == 1, "the abort's commit")
    assert "error-rate failed 1 of " in loop.git("log", "-1", "--format=%B", "origin/main")

    loop.stop()
    loop.start()
    loop.settled(seconds=8)
    assert loop.phase() == "Degraded"
    assert loop.pods_by_image() == {"v1": 5}
    assert len(judged.aborts()) == 1

    # check 7: the revert of the abort is one more try, from step 0, and a second failure is a second decision
    loop.revert(loop.git("log", "-1", "--format=%H", "--grep=^Rollout-Decision: abort ", "origin/main"))
    wait_until(lambda: loop.pods_by_image().get("v2"), "one more try")
    wait_until(lambda: len(judged.aborts()) == 2, "a second abort commit", 90)
    judged.stable_alone()
    first, second = judged.aborts()
    assert first != second
    loop.wait_phase("Degraded", "v2")
    loop.settled(seconds=5)
    assert len(judged.aborts()) == 2


def test_check_13_without_git_no_weight_grows_a_failed_analysis_acts_at_once_and_its_commit_follows(
    judged: Judged, git_server: GitServer
) -> None:
    loop = judged.loop
    judged.deploy("pause: {duration: 20s}", maxStaleness="10s")
    loop.release("v2")
    judged.canary("v2")
    started = wait_until(lambda: loop.status()["pauseConditions"][0]["startTime"], "the pause")
    git_server.stop()
    try:
        wait_until(lambda: _fetched(loop) == "False", "the outage in the status")
        # the pause is over, and the last good fetch older than it may be
        wait_until(lambda: _age(started) > 32, "twelve seconds after the pause", 90)
        assert loop.pods_by_image() == {"v1": 4, "v2": 1}
        assert loop.status()["currentStepIndex"] == 1
        judged.errors(0.42)
        began = time.monotonic()
        wait_until(lambda: loop.status().get("abort"), "the abort", 20)
        judged.stable_alone()
        assert time.monotonic() - began < 30
    finally:
        git_server.start()
    wait_until(judged.aborts, "the abort's commit after the outage", 90)
    loop.settled(seconds=6)
    assert len(judged.aborts()) == 1
    assert loop.pods_by_image() == {"v1": 5}


def _fetched(loop: Loop) -> str:
    return next(str(c["status"]) for c in loop.sync()["status"]["conditions"] if c["type"] == "Fetched")


def _age(stamp: str) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(stamp)).total_seconds()
