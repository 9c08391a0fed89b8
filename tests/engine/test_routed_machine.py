"""Random lives of a routed canary: nobody is sent to pods that aren't there (docs/behaviour.md §8.4, §15)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from engine.lives import SPECS, Glance, Life, RoughWorld, given, live
from engine.slow_model import gate_open
from engine.world import manifest
from gitops_rollouts.engine.observed import Authority, RoutersSeen

HEADER = {"name": "testers", "match": [{"headerName": "x-tester", "headerValue": {"exact": "yes"}}]}
THRESHOLDS = [None, None, {"type": "Percent", "value": 50}, {"type": "Pods", "value": 1}]
SCALED = [{"setCanaryScale": {"replicas": 2}}, {"pause": {}}, {"setWeight": 40}]
STEPS: list[list[dict[str, Any]]] = [
    [],
    [{"setWeight": 20}, {"pause": {}}, {"setWeight": 60}, {"pause": {}}],
    [{"setWeight": 50}, {"pause": {"duration": "5s"}}, {"setWeight": 80}, {"pause": {"duration": "2h"}}],
    [
        {"setCanaryScale": {"replicas": 2}},
        {"pause": {}},
        {"setWeight": 40},
        {"setCanaryScale": {"matchTrafficWeight": True}},
    ],
    [{"setCanaryScale": {"weight": 50}}, {"setWeight": 10}, {"pause": {}}, {"setWeight": 90}],
    [
        {"setHeaderRoute": HEADER},
        {"pause": {}},
        {"setWeight": 30},
        {"setHeaderRoute": {"name": "testers"}},
        {"pause": {}},
    ],
    [{"setWeight": 100}, {"pause": {}}, {"setWeight": 5}, {"pause": {}}],
]


def scaled_apart(steps: list[dict[str, Any]]) -> bool:
    """Whether the canary's size is anything that its author wanted, whatever its weight."""
    return any("setCanaryScale" in step for step in steps)


class RoutedLife(Life):
    """A canary whose traffic goes where routers are told."""

    @initialize(
        replicas=st.integers(1, 8),
        steps=st.sampled_from(STEPS),
        canary=st.fixed_dictionaries(
            {
                "dynamicStableScale": st.booleans(),
                "scaleDownDelaySeconds": st.sampled_from([None, None, 5, 600]),
                "scaleDownDelayRevisionLimit": st.sampled_from([None, None, 1, 0]),
                "abortScaleDownDelaySeconds": st.sampled_from([None, None, 0, 5, 600]),
                "minPodsPerReplicaSet": st.sampled_from([None, None, 2]),
                "replicaProgressThreshold": st.sampled_from(THRESHOLDS),
            }
        ),
        ping_pong=st.booleans(),
        most=st.sampled_from([None, None, None, 1000]),
        spec=SPECS,
        managed=st.booleans(),
        begun=st.sampled_from([True, True, True, False]),
    )
    def begin(
        self,
        replicas: int,
        steps: list[dict[str, Any]],
        canary: dict[str, Any],
        ping_pong: bool,
        most: int | None,
        spec: dict[str, Any],
        managed: bool,
        begun: bool,
    ) -> None:
        routing: dict[str, Any] = {"plugins": {"example/router": {}}, "managedRoutes": [{"name": "testers"}]}
        if most is not None:
            routing["maxTrafficWeight"] = most
        if ping_pong:
            canary["pingPong"] = {"pingService": "ping", "pongService": "pong"}
        else:
            canary |= {"canaryService": "canary", "stableService": "stable"}
        if canary["dynamicStableScale"]:
            canary["scaleDownDelaySeconds"] = None
        raw = manifest(
            replicas=replicas, steps=steps, canary=given({"trafficRouting": routing, **canary}), **given(spec)
        )
        self.world = RoughWorld(raw, authority=Authority("prod", fresh=True, applied=True) if managed else None)
        if begun:
            self.rest()

    # --- routers

    @rule(down=st.booleans())
    def routers_fail(self, down: bool) -> None:
        self.world.routers_down = down

    @rule(
        verifies=st.booleans(), verified=st.sampled_from([None, True, False]), error=st.sampled_from(["", "", "gone"])
    )
    def routers_answer(self, verifies: bool, verified: bool | None, error: str) -> None:
        self.world.routers = RoutersSeen(verified=verified, verifies=verifies, error=error)

    # --- people

    @rule(steps=st.sampled_from(STEPS))
    def new_steps(self, steps: list[dict[str, Any]]) -> None:
        self.world.set_steps(steps)

    @rule(index=st.integers(0, 4))
    def client_moves_the_index(self, index: int) -> None:
        if "currentStepIndex" in self.world.status:
            steps = len(self.world.rollout.spec.steps)
            self.world.patch_status(pauseConditions=None, currentStepIndex=min(index, steps))

    @rule(
        hostile=st.sampled_from(
            [
                {"currentStepIndex": -7},
                {"currentStepIndex": 2_000_000_000},
                {"canary": {"weights": {"canary": {"weight": -5}, "stable": {"weight": 900}}}},
                {"canary": {}},
                {
                    "canary": {
                        "weights": {"canary": {"weight": 100, "podTemplateHash": "gone"}, "stable": {"weight": 0}}
                    }
                },
                {"pauseConditions": [{"reason": "Nobody", "startTime": "0001-01-01T00:00:00Z"}]},
                {"controllerPause": True},
            ]
        )
    )
    def hostile_status(self, hostile: dict[str, Any]) -> None:
        self.world.patch_status(**hostile)

    # --- what must hold

    def check(self, before: Glance, after: Glance) -> None:
        self._check_traffic(before, after)
        self._check_sizes(before, after)
        self._check_services(before, after)
        self._check_promotion(before, after)

    @property
    def _max_weight(self) -> int:
        return int(self.world.raw["spec"]["strategy"]["canary"]["trafficRouting"].get("maxTrafficWeight", 100))

    @property
    def _threshold(self) -> bool:
        return "replicaProgressThreshold" in self.world.raw["spec"]["strategy"]["canary"]

    def _check_traffic(self, before: Glance, after: Glance) -> None:
        """Weights add up, and grow only where pods serve (§15.1)."""
        replicas, most = self.world.rollout.spec.desired_replicas, self._max_weight
        if not self.world.routed:
            return
        last = self.world.routed[-1]
        assert (
            last.canary.weight + last.stable.weight + sum(place.weight for place in last.additional) == last.max_weight
        )
        assert 0 <= last.canary.weight <= last.max_weight
        if after.told == before.told or replicas == 0:
            return
        for pod_hash, share in after.told.items():
            if share <= before.told.get(pod_hash, 0):
                continue
            assert before.available.get(pod_hash, 0) > 0 or share == 0, (pod_hash, before, after)
            left = [other for other, part in before.told.items() if part and other != pod_hash]
            recorded = before.status.get("canary", {}).get("weights", {}).get("canary", {}).get("podTemplateHash")
            stranded = recorded == "gone" or not any(before.available.get(other) for other in left)
            if pod_hash == before.stable and not self._threshold and not stranded:
                assert gate_open(most - share, replicas, before.available[pod_hash], most)

    def _check_sizes(self, before: Glance, after: Glance) -> None:
        """No pod that traffic needs is taken (§8.4, §8.7)."""
        spec = self.world.rollout.spec
        replicas, most = spec.desired_replicas, self._max_weight
        apart = scaled_apart(self.world.raw["spec"]["strategy"]["canary"].get("steps", []))
        dynamic = bool(self.world.raw["spec"]["strategy"]["canary"].get("dynamicStableScale"))
        for pod_hash, size in after.sizes.items():
            old = before.sizes.get(pod_hash, 0)
            if size > old:
                fixed = 2 if apart else 0
                assert size <= max(replicas, fixed), (pod_hash, before, after)
            if size >= old or replicas == 0:
                continue
            share = max(after.told.get(pod_hash, 0), after.told_by_service.get(pod_hash, 0))
            needed = share * replicas // most
            if apart and pod_hash != after.stable:
                needed = min(needed, 1)
            if share > 0:
                needed = max(1, needed)
            if pod_hash == after.stable and not dynamic:
                needed = replicas
            assert after.serving(pod_hash) >= min(before.serving(pod_hash), needed), (pod_hash, share, before, after)

    def _check_services(self, before: Glance, after: Glance) -> None:
        """A Service that has pods isn't pointed at a version that has none (§14)."""
        if self.world.rollout.spec.desired_replicas == 0:
            return
        for name, pod_hash in after.services.items():
            old = before.services[name]
            if old and old != pod_hash and before.available.get(old, 0) > 0:
                if not self._carries(name, before) and not self._carries(name, after):
                    continue
                assert before.available.get(pod_hash, 0) > 0, (name, before, after)

    def _carries(self, service: str, _: Glance) -> bool:
        if not self.world.routed:
            return False
        last = self.world.routed[-1]
        return any(place.service == service and place.weight > 0 for place in (last.canary, last.stable))

    def _check_promotion(self, before: Glance, after: Glance) -> None:
        """Promoted only once it can serve everything (§9.3)."""
        if before.stable in ("", after.stable) or self._threshold:
            return
        assert before.available[after.stable] >= self.world.rollout.spec.desired_replicas

    def heal_more(self) -> None:
        self.world.routers = RoutersSeen(verified=True)

    def check_end(self) -> None:
        super().check_end()
        now = self.world.told()
        assert now == {} or {pod_hash for pod_hash, share in now.items() if share} == {self.world.status["stableRS"]}
        assert not self.world.managed_routes


def test_routed_lives() -> None:
    live(RoutedLife, 40, 30)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_long_routed_lives() -> None:
    live(RoutedLife, 400, 50)
