"""Random lives of a Rollout: bounds hold in every pass, nothing is written at rest (docs/decisions.md §4 I1–I3, I8)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from engine.world import World, manifest
from gitops_rollouts.api.names import DESIRED_REPLICAS, POD_TEMPLATE_HASH
from gitops_rollouts.api.status import encode_status
from gitops_rollouts.engine.arithmetic import approximate_weighted, bounds
from gitops_rollouts.engine.observed import Authority, ReplicaSet, TreeAbort
from gitops_rollouts.engine.step import step

STEPS: list[list[dict[str, Any]]] = [
    [],
    [{"setWeight": 20}, {"pause": {}}, {"setWeight": 60}, {"pause": {}}],
    [{"setWeight": 50}, {"pause": {"duration": "5s"}}, {"setWeight": 80}, {"pause": {}}],
    [{"pause": {}}, {"setWeight": 40}, {"setWeight": 10}, {"pause": {"duration": 3}}],
]
IMAGES = ["web:v1", "web:v2", "web:v3", "web:broken"]
BAD = TreeAbort("0123456789abcdef0123456789abcdef01234567", "bad")


class Life(RuleBasedStateMachine):
    """People, Git and the cluster act in any order; the engine makes its passes in between."""

    world: World

    @initialize(
        replicas=st.integers(1, 8),
        steps=st.sampled_from(STEPS),
        surge=st.sampled_from([0, 1, 2, "25%", "50"]),
        unavailable=st.sampled_from([0, 1, "25%", "50"]),
        managed=st.booleans(),
        abort=st.booleans(),
        window=st.sampled_from([None, 0, 1, 2]),
    )
    def begin(
        self,
        replicas: int,
        steps: list[dict[str, Any]],
        surge: int | str,
        unavailable: int | str,
        managed: bool,
        abort: bool,
        window: int | None,
    ) -> None:
        if surge == 0 and unavailable == 0:
            surge = 1
        canary = {"maxSurge": surge, "maxUnavailable": unavailable}
        spec: dict[str, Any] = {} if window is None else {"rollbackWindow": {"revisions": window}}
        raw = manifest(
            replicas=replicas,
            steps=steps,
            canary=canary,
            progressDeadlineSeconds=30,
            progressDeadlineAbort=abort,
            **spec,
        )
        authority = Authority("prod", fresh=True, applied=True) if managed else None
        self.world = World(raw, authority=authority)

    # --- the engine

    @rule(times=st.integers(1, 6))
    def passes(self, times: int) -> None:
        for _ in range(times):
            self._checked_pass()

    @rule(only=st.integers(0, 4))
    def dies_in_a_pass(self, only: int) -> None:
        self._checked_pass(only=only)

    @rule()
    def rests(self) -> None:
        for _ in range(300):
            before = self.world._state()
            self._checked_pass()
            if self.world._state() == before and not self.world.run_pods():
                break
        else:
            raise AssertionError(f"never rests: {self.world.plans[-4:]}")
        plan = step(self.world.observe(), self.world.now)
        assert plan.actions == ()
        assert plan.events == ()
        if plan.status is not None:
            assert encode_status(plan.status) == encode_status(self.world.rollout.status)

    @rule(seconds=st.sampled_from([1, 2, 5, 40, 700]))
    def time_passes(self, seconds: int) -> None:
        self.world.wait(seconds)

    @rule()
    def pods_move(self) -> None:
        self.world.run_pods()

    @rule(slow=st.booleans())
    def pods_get_slow(self, slow: bool) -> None:
        self.world.slow = slow

    @rule(which=st.integers(0, 30))
    def a_pod_fails(self, which: int) -> None:
        pods = [pod for kept in self.world.sets.values() for pod in kept.pods]
        if pods:
            pods[which % len(pods)].available = False

    # --- people and Git

    @rule(image=st.sampled_from(IMAGES))
    def new_image(self, image: str) -> None:
        self.world.wait()
        self.world.set_image(image)

    @rule(steps=st.sampled_from(STEPS))
    def new_steps(self, steps: list[dict[str, Any]]) -> None:
        self.world.set_steps(steps)

    @rule(replicas=st.integers(0, 9))
    def new_size(self, replicas: int) -> None:
        self.world.edit(replicas=replicas)

    @rule(paused=st.booleans())
    def pause(self, paused: bool) -> None:
        self.world.edit(paused=paused)

    @rule()
    def restart(self) -> None:
        self.world.edit(restartAt=self.world.now.strftime("%Y-%m-%dT%H:%M:%SZ"))

    @rule(abort=st.booleans())
    def client_aborts_or_retries(self, abort: bool) -> None:
        self.world.patch_status(abort=abort)

    @rule()
    def client_resumes(self) -> None:
        self.world.patch_status(pauseConditions=None)

    @rule(index=st.integers(0, 4))
    def client_moves_the_index(self, index: int) -> None:
        if "currentStepIndex" in self.world.status:
            steps = len(self.world.rollout.spec.steps)
            self.world.patch_status(pauseConditions=None, currentStepIndex=min(index, steps))

    @rule()
    def client_promotes_fully(self) -> None:
        self.world.patch_status(promoteFull=True)

    @precondition(lambda self: self.world.authority is not None)
    @rule(
        through=st.sampled_from([-1, -1, 1, 3]),
        full=st.sampled_from([False, False, True]),
        fresh=st.sampled_from([True, True, False]),
        applied=st.sampled_from([True, True, True, False]),
        abort=st.sampled_from([None, None, BAD]),
        withdrawn=st.booleans(),
    )
    def git_moves(
        self, through: int, full: bool, fresh: bool, applied: bool, abort: TreeAbort | None, withdrawn: bool
    ) -> None:
        aborted_at = self.world.status.get("abortedAt")
        self.world.authority = Authority(
            "prod",
            fresh=fresh,
            applied=applied,
            approved_through=through,
            full=full,
            abort=abort,
            withdrawn=frozenset({aborted_at}) if withdrawn and aborted_at else frozenset(),
        )

    # --- what must hold in each pass

    def _checked_pass(self, *, only: int | None = None) -> None:
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


def run(examples: int, steps: int) -> None:
    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_lives() -> None:
    run(25, 25)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_long_lives() -> None:
    run(250, 40)
