"""`apply: false`: something else applies, this program progresses, reads and writes decisions.

The other applier is a stand-in that does what docs/beside-argo-cd.md and docs/beside-flux.md ask of Argo CD and Flux:
it applies the branch's tip again and again by server-side apply, with their field managers and their ignore rules.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import yaml

from gitops_rollouts.errors import KubeError
from story.loop import OWN, Loop, wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.long]

PATHS = {
    "Rollout": "/apis/argoproj.io/v1alpha1/namespaces/{}/rollouts/{}",
    "Service": "/api/v1/namespaces/{}/services/{}",
}
SELECTORS = [f"/api/v1/namespaces/{{}}/services/web-{role}" for role in ("stable", "canary")]


class StandIn(threading.Thread):
    """Applies what the branch says every second. ``kind``: whose manners it has."""

    def __init__(self, loop: Loop, kind: str) -> None:
        super().__init__(daemon=True)
        self._loop = loop
        self._kind = kind
        self._over = threading.Event()
        self.applied: list[str] = []

    def run(self) -> None:
        mirror = self._loop.logs / "applier"
        self._loop.git_out(["clone", "-q", self._loop.remote, str(mirror)], cwd=self._loop.logs)
        while not self._over.wait(1.0):
            self._loop.git_out(["pull", "-q", "--ff-only", "origin", "main"], cwd=mirror)
            for path in sorted((mirror / "envs/prod").glob("*.yaml")):
                for body in yaml.safe_load_all(path.read_text()):
                    self._apply(body)
            self.applied.append(self._loop.git_out(["rev-parse", "HEAD"], cwd=mirror))

    def stop(self) -> None:
        self._over.set()
        self.join(30)

    def _apply(self, body: dict[str, Any]) -> None:
        path = PATHS[body["kind"]].format(self._loop.namespace, body["metadata"]["name"])
        if body["kind"] == "Service" and (live := self._live(path)) is not None:
            if self._kind == "flux":
                return  # kustomize.toolkit.fluxcd.io/ssa: IfNotPresent
            body["spec"]["selector"] = live["spec"]["selector"]  # RespectIgnoreDifferences of /spec/selector
        manager = {"argo-cd": "argocd-controller", "flux": "kustomize-controller"}[self._kind]
        self._loop.cluster.api.request(
            "PATCH", f"{path}?fieldManager={manager}&force=true", body, content_type="application/apply-patch+yaml"
        )

    def _live(self, path: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self._loop.cluster.api.request("GET", path)
        except KubeError as error:
            if error.status == 404:
                return None
            raise
        return found


@contextmanager
def applying(loop: Loop, kind: str) -> Iterator[StandIn]:
    made = StandIn(loop, kind)
    made.start()
    try:
        yield made
    finally:
        made.stop()


@pytest.mark.parametrize("kind", ["argo-cd", "flux"])
def test_a_stand_in_for_the_other_tool_applies_and_decisions_go_their_way(loop: Loop, kind: str) -> None:
    """A release, its gates by merge, its record; an abort and its way back; and nobody undoes what the other did."""
    with applying(loop, kind) as other:
        loop.start()
        loop.create_sync(apply=False)
        loop.wait_phase("Healthy", "v1", 120)
        wait_until(lambda: loop.rollout()["metadata"]["annotations"][f"{OWN}applied"], "the stamp")
        loop.wait_record()

        loop.release("v2")
        loop.wait_gate(1, "v2")
        selectors = [loop.cluster.get(path.format(loop.namespace))["spec"]["selector"] for path in SELECTORS]
        assert selectors[0] != selectors[1], "each Service selects its own version"
        rounds = len(other.applied)
        # its own share of a field that was just changed is noted once
        wait_until(lambda: len(other.applied) >= rounds + 2, "two more rounds of the other one")
        before = [loop.cluster.get(path.format(loop.namespace))["metadata"]["resourceVersion"] for path in SELECTORS]
        rounds = len(other.applied)
        wait_until(lambda: len(other.applied) >= rounds + 5, "five more rounds of the other one")
        after = [loop.cluster.get(path.format(loop.namespace))["metadata"]["resourceVersion"] for path in SELECTORS]
        assert after == before, "five rounds changed no Service"
        assert loop.status()["currentStepIndex"] == 1

        loop.merge(wait_until(loop.request_branches, "the request")[0])
        loop.wait_gate(3, "v2")
        loop.gor("promote", "web", "-n", loop.namespace)
        loop.wait_phase("Healthy", "v2")
        loop.wait_record()
        managers = {one["manager"] for one in loop.rollout()["metadata"]["managedFields"]}
        assert "gitops-rollouts" not in managers, "we apply nothing"

        loop.release("v3")
        loop.wait_gate(1, "v3")
        loop.gor("abort", "web", "-n", loop.namespace)
        wait_until(lambda: loop.pods_by_image() == {"v2": 5}, loop.describe)
        wait_until(lambda: loop.lines().get("abort"), "the abort's line")
        loop.gor("undo", "web", "-n", loop.namespace)
        loop.wait_phase("Healthy", "v2")
        assert loop.pods_by_image() == {"v2": 5}
        loop.settled(seconds=5)

        # as the pages say: nobody brings the old version up first, where somebody else applies
        loop.revert(loop.git("log", "-1", "--format=%H", "--grep=Revert", "origin/main"))
        loop.gor("retry", "web", "-n", loop.namespace)
        loop.wait_gate(1, "v3")
        loop.cluster.delete(loop.rollout_path)
        wait_until(lambda: loop.pods_by_image() == {"v3": 5}, loop.describe, 120)
        loop.wait_phase("Healthy", "v3")
