"""Random lives in which the strategy changes, too: no way of it ends in a dead end (docs/behaviour.md §9.1, §10)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from engine.lives import SPECS, Life, RoughWorld, given, live
from engine.world import manifest
from gitops_rollouts.engine.observed import Authority

STEPS: list[dict[str, Any]] = [{"setWeight": 40}, {"pause": {}}]
ROUTED = {"trafficRouting": {"plugins": {"example/router": {}}}, "canaryService": "canary", "stableService": "stable"}
STRATEGIES: list[dict[str, Any]] = [
    {"canary": {"steps": STEPS}},
    {"canary": {"steps": STEPS, **ROUTED}},
    {"blueGreen": {"activeService": "active", "previewService": "preview", "autoPromotionEnabled": False}},
    {"blueGreen": {"activeService": "stable", "autoPromotionSeconds": 5}},
]


class SwitchingLife(Life):
    """Somebody changes their mind about how updates go."""

    @initialize(replicas=st.integers(1, 5), strategy=st.sampled_from(STRATEGIES), spec=SPECS, managed=st.booleans())
    def begin(self, replicas: int, strategy: dict[str, Any], spec: dict[str, Any], managed: bool) -> None:
        raw = manifest(replicas=replicas, **given(spec))
        raw["spec"]["strategy"] = strategy
        self.world = RoughWorld(raw, authority=Authority("prod", fresh=True, applied=True) if managed else None)
        self.rest()

    @rule(strategy=st.sampled_from(STRATEGIES))
    def another_strategy(self, strategy: dict[str, Any]) -> None:
        self.world.edit(strategy=strategy)


def test_switching_lives() -> None:
    live(SwitchingLife, 40, 25)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_long_switching_lives() -> None:
    live(SwitchingLife, 400, 40)
