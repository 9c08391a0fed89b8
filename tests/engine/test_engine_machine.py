"""Random lives of a Rollout: bounds hold in every pass, nothing is written at rest (docs/decisions.md §4 I1–I3, I8)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from engine.lives import SPECS, Life, RoughWorld, given, live
from engine.world import manifest
from gitops_rollouts.api.names import DESIRED_REPLICAS, POD_TEMPLATE_HASH
from gitops_rollouts.engine.arithmetic import approximate_weighted, bounds
from gitops_rollouts.engine.observed import Authority, ReplicaSet

STEPS: list[list[dict[str, Any]]] = [
    [],
    [{"setWeight": 20}, {"pause": {}}, {"setWeight": 60}, {"pause": {}}],
    [{"setWeight": 50}, {"pause": {"duration": "5s"}}, {"setWeight": 80}, {"pause": {}}],
    [{"pause": {}}, {"setWeight": 40}, {"setWeight": 10}, {"pause": {"duration": 3}}],
]


class BasicLife(Life):
    """A canary without traffic routing: the share of pods is the share of traffic."""

    @initialize(
        replicas=st.integers(1, 8),
        steps=st.sampled_from(STEPS),
        surge=st.sampled_from([0, 1, 2, "25%", "50"]),
        unavailable=st.sampled_from([0, 1, "25%", "50"]),
        services=st.booleans(),
        spec=SPECS,
        managed=st.booleans(),
        begun=st.sampled_from([True, True, True, False]),
    )
    def begin(
        self,
        replicas: int,
        steps: list[dict[str, Any]],
        surge: int | str,
        unavailable: int | str,
        services: bool,
        spec: dict[str, Any],
        managed: bool,
        begun: bool,
    ) -> None:
        if surge == 0 and unavailable == 0:
            surge = 1
        canary = {"maxSurge": surge, "maxUnavailable": unavailable}
        if services:
            canary |= {"canaryService": "canary", "stableService": "stable"}
        raw = manifest(replicas=replicas, steps=steps, canary=canary, **given(spec))
        self.world = RoughWorld(raw, authority=Authority("prod", fresh=True, applied=True) if managed else None)
        if begun:
            self.rest()

    # --- people

    @rule(steps=st.sampled_from(STEPS))
    def new_steps(self, steps: list[dict[str, Any]]) -> None:
        self.world.set_steps(steps)

    @rule(index=st.integers(0, 4))
    def client_moves_the_index(self, index: int) -> None:
        if "currentStepIndex" in self.world.status:
            steps = len(self.world.rollout.spec.steps)
            self.world.patch_status(pauseConditions=None, currentStepIndex=min(index, steps))

    # --- what must hold in each pass

    def checked_pass(self, *, only: int | None = None) -> None:
        """One pass: the bounds of §8.1, and what Git lets it do."""
        world = self.world
        before = {name: kept.spec for name, kept in world.sets.items()}
        pods = {name: sum(pod.available for pod in kept.pods) for name, kept in world.sets.items()}
        status = dict(world.status)
        world.once(only=only)
        after = {name: kept.spec for name, kept in world.sets.items()}
        spec = world.rollout.spec
        canary = spec.strategy.canary
        assert canary is not None
        limits = bounds(canary.surge, canary.unavailable, spec.desired_replicas)
        asked_before = sum(found.replicas for found in before.values())
        asked = sum(found.replicas for found in after.values())
        assert asked <= max(asked_before, spec.desired_replicas + limits.surge)
        if any(before[name].replicas != after[name].replicas for name in before if name in after):
            kept = sum(min(found.replicas, pods.get(name, 0)) for name, found in after.items())
            served = sum(min(found.replicas, pods.get(name, 0)) for name, found in before.items())
            assert kept >= min(served, spec.desired_replicas - limits.unavailable)
        if world.authority is not None:
            self._check_authority(world.authority, status, before, after)

    def _check_authority(
        self,
        authority: Authority,
        status: dict[str, Any],
        before: dict[str, ReplicaSet],
        after: dict[str, ReplicaSet],
    ) -> None:
        stable = status.get("stableRS", "")
        if not stable:
            return
        replicas = self.world.rollout.spec.desired_replicas
        if not authority.applied:
            assert set(after) <= set(before)
            assert self.world.status.get("stableRS") == stable
        for name, found in after.items():
            pod_hash = found.labels[POD_TEMPLATE_HASH]
            grown = found.replicas > (before[name].replicas if name in before else 0)
            if pod_hash == stable or not grown:
                continue
            assert pod_hash == status.get("currentPodHash")
            self._check_growth(authority, before[name], found, replicas)
        if not authority.fresh and status.get("currentPodHash") == self.world.status.get("currentPodHash"):
            assert self.world.status.get("stableRS") == stable

    def _check_growth(self, authority: Authority, before: ReplicaSet, after: ReplicaSet, replicas: int) -> None:
        told = int(before.annotations[DESIRED_REPLICAS])
        if not (authority.fresh and authority.applied):
            assert told > 0
            assert after.replicas * told <= before.replicas * replicas
            return
        assert authority.abort is None
        spec = self.world.rollout.spec
        window = spec.rollback_window.revisions if spec.rollback_window else 1
        stable = next(
            (
                found.spec
                for found in self.world.sets.values()
                if found.spec.labels[POD_TEMPLATE_HASH] == self.world.status.get("stableRS")
            ),
            None,
        )
        if authority.full or (window > 0 and stable is not None and after.created < stable.created):
            return
        highest = 0 if spec.steps else 100
        for gate, taken in enumerate(spec.steps):
            highest = max(highest, taken.set_weight or 0)
            if taken.is_indefinite_pause and gate > authority.approved_through:
                break
        else:
            highest = 100
        canary = spec.strategy.canary
        assert canary is not None
        limits = bounds(canary.surge, canary.unavailable, replicas)
        most = max(approximate_weighted(replicas, weight, limits.surge)[0] for weight in range(highest + 1))
        assert after.replicas <= most


def test_lives() -> None:
    live(BasicLife, 40, 30)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_long_lives() -> None:
    live(BasicLife, 400, 50)
