"""Random lives of a blue-green Rollout: the active Service always has its pods (docs/behaviour.md §8.5, §10)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from engine.lives import SPECS, Glance, Life, RoughWorld, given, live
from engine.world import manifest
from gitops_rollouts.api.names import ROLLOUT_TYPE
from gitops_rollouts.engine.observed import Authority, RunKind

ANALYSIS = {"templates": [{"templateName": "smoke"}]}
PHASES = ["Running", "Successful", "Failed", "Error", "Inconclusive", "Successful"]


class BlueGreenLife(Life):
    """Two versions side by side, and one Service that tells which one people see."""

    @initialize(
        replicas=st.integers(1, 6),
        strategy=st.fixed_dictionaries(
            {
                "previewService": st.sampled_from([None, "preview"]),
                "previewReplicaCount": st.sampled_from([None, None, 1, 2]),
                "autoPromotionEnabled": st.sampled_from([None, True, False]),
                "autoPromotionSeconds": st.sampled_from([None, None, 5, 600]),
                "scaleDownDelaySeconds": st.sampled_from([None, None, 5, 600]),
                "abortScaleDownDelaySeconds": st.sampled_from([None, None, 0, 5]),
                "scaleDownDelayRevisionLimit": st.sampled_from([None, None, 1, 0]),
                "prePromotionAnalysis": st.sampled_from([None, None, ANALYSIS]),
                "postPromotionAnalysis": st.sampled_from([None, None, ANALYSIS]),
            }
        ),
        spec=SPECS,
        managed=st.booleans(),
        begun=st.sampled_from([True, True, True, False]),
    )
    def begin(self, replicas: int, strategy: dict[str, Any], spec: dict[str, Any], managed: bool, begun: bool) -> None:
        raw = manifest(replicas=replicas, **given(spec))
        raw["spec"]["strategy"] = {"blueGreen": {"activeService": "active", **given(strategy)}}
        self.world = RoughWorld(raw, authority=Authority("prod", fresh=True, applied=True) if managed else None)
        if begun:
            self.rest()

    # --- what clients and analyses say

    @rule(kind=st.sampled_from(["PrePromotion", "PostPromotion"]), phase=st.sampled_from(PHASES))
    def an_analysis_says(self, kind: RunKind, phase: str) -> None:
        self.world.runs.ends[kind] = (phase, "said so")

    @rule(kind=st.sampled_from(["PrePromotion", "PostPromotion"]))
    def an_analysis_is_gone(self, kind: RunKind) -> None:
        for name, raw in list(self.world.runs.kept.items()):
            if raw["metadata"]["labels"][ROLLOUT_TYPE] == kind:
                del self.world.runs.kept[name]

    @rule(auto=st.booleans(), seconds=st.sampled_from([0, 0, 5, 600]))
    def new_promotion(self, auto: bool, seconds: int) -> None:
        strategy = dict(self.world.raw["spec"]["strategy"]["blueGreen"])
        strategy |= {"autoPromotionEnabled": auto, "autoPromotionSeconds": seconds}
        self.world.edit(strategy={"blueGreen": strategy})

    @rule(
        hostile=st.sampled_from(
            [
                {"blueGreen": {"activeSelector": "nothing", "previewSelector": "nothing"}},
                {"blueGreen": {}},
                {"pauseConditions": [{"reason": "Nobody", "startTime": "0001-01-01T00:00:00Z"}]},
                {"currentStepIndex": -7},
            ]
        )
    )
    def hostile_status(self, hostile: dict[str, Any]) -> None:
        self.world.patch_status(**hostile)

    # --- what must hold

    def check(self, before: Glance, after: Glance) -> None:
        self._check_sizes(before, after)
        self._check_switch(before, after)
        self._check_promotion(before, after)

    def _check_sizes(self, before: Glance, after: Glance) -> None:
        """The active version keeps all of its pods (§8.5)."""
        replicas = self.world.rollout.spec.desired_replicas
        for pod_hash, size in after.sizes.items():
            old = before.sizes.get(pod_hash, 0)
            count = self._field("previewReplicaCount") or 0
            assert size <= max(old, replicas, count), (before, after)
            if size < old and pod_hash in (before.services["active"], after.services["active"]):
                assert after.serving(pod_hash) >= min(before.serving(pod_hash), replicas), (before, after)

    def _check_switch(self, before: Glance, after: Glance) -> None:
        """The active Service moves to a version that serves as much as is wanted, and only if it was let (§10)."""
        old, new = before.services["active"], after.services["active"]
        replicas = self.world.rollout.spec.desired_replicas
        if old == new:
            return
        if old and before.serving(old) > 0:
            assert before.serving(new) >= min(replicas, before.serving(old)), (before, after)
            assert before.serving(new) > 0 or replicas == 0

    def _check_promotion(self, before: Glance, after: Glance) -> None:
        """Promoted only as what people see (§10.9)."""
        if before.stable in ("", after.stable) or not before.services["active"]:
            return
        assert after.services["active"] == after.stable, (before, after)

    def _field(self, name: str) -> Any:
        return self.world.raw["spec"]["strategy"]["blueGreen"].get(name)

    def heal_more(self) -> None:
        for kind in ("PrePromotion", "PostPromotion"):
            self.world.runs.ends[kind] = ("Successful", "")

    def check_end(self) -> None:
        super().check_end()
        assert self.world.hash_behind("active") == self.world.status["stableRS"]
        if self._field("previewService"):
            assert self.world.hash_behind("preview") == self.world.status["stableRS"]


def test_blue_green_lives() -> None:
    live(BlueGreenLife, 40, 30)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_long_blue_green_lives() -> None:
    live(BlueGreenLife, 400, 50)
