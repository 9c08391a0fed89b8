"""Random lives of an Experiment: pods, runs, people, clocks and processes do as they like (docs/behaviour.md §19)."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from engine.experiment_world import ExperimentWorld, analysis, manifest, template
from gitops_rollouts.api.analysis import COMPLETED

ENDED = ("Successful", "Failed", "Error")
SPECS: list[dict[str, Any]] = [
    {},
    {"duration": "100s"},
    {"duration": "100s", "analyses": [analysis("a")]},
    {"duration": "100s", "analyses": [analysis("a", required=True), analysis("b")], "scaleDownDelaySeconds": 0},
    {"analyses": [analysis("a", required=True), analysis("b", required=True)], "progressDeadlineSeconds": 60},
    {"analyses": [analysis("a"), analysis("b")], "duration": "0s"},
]


class ExperimentLife(RuleBasedStateMachine):
    """What must always hold is asserted after every step; at the end everything comes to rest, with no pod left."""

    @initialize(spec=st.sampled_from(SPECS), replicas=st.integers(0, 3), served=st.booleans())
    def begin(self, spec: dict[str, Any], replicas: int, served: bool) -> None:
        extra = {"service": {}} if served else {}
        self.world = ExperimentWorld(manifest(template("one", replicas=replicas, **extra), template("two"), **spec))
        self.latest = self.world.now
        self.final = ""
        self.ended: dict[str, str] = {}

    @rule(times=st.integers(1, 5))
    def passes(self, times: int) -> None:
        for _ in range(times):
            self.world.once()

    @rule(only=st.integers(0, 4))
    def dies_in_a_pass(self, only: int) -> None:
        self.world.once(only=only)

    @rule()
    def pods_come_and_go(self) -> None:
        self.world.pods_follow()

    @rule(which=st.sampled_from(["trial-one", "trial-two"]), available=st.integers(0, 3))
    def pods_fail(self, which: str, available: int) -> None:
        found = self.world.sets.get(which)
        if found is not None:
            self.world.pods(**{which.removeprefix("trial-"): min(available, found.replicas)})

    @rule(which=st.sampled_from(["trial-one", "trial-two"]))
    def a_replica_set_is_deleted(self, which: str) -> None:
        self.world.sets.pop(which, None)

    @rule(which=st.integers(0, 3), phase=st.sampled_from([*sorted(COMPLETED), "Running", "Successful", ""]))
    def a_run_moves(self, which: int, phase: str) -> None:
        going = [name for name, run in self.world.runs.items() if run["status"].get("phase") not in COMPLETED]
        if going:
            self.world.judge(going[which % len(going)], phase)

    @rule(seconds=st.sampled_from([1, 31, 61, 101, 700, -50, -2000]))
    def the_clock_jumps(self, seconds: int) -> None:
        self.latest = max(self.latest, self.world.now)
        self.world.wait(seconds)

    @rule()
    def terminated(self) -> None:
        self.world.edit(terminate=True)

    @rule()
    def somebody_takes_the_services_away(self) -> None:
        self.world.services.clear()

    @invariant()
    def what_is_over_stays_over(self) -> None:
        if not hasattr(self, "world"):
            return
        world = self.world
        if self.final:
            assert world.phase == self.final
        if world.phase in COMPLETED:
            self.final = world.phase
        for name, state in world.states().items():
            assert self.ended.get(name, state) == state
            if state in ENDED:
                self.ended[name] = state
        assert len(world.runs) <= len(world.entries()) + 2

    @invariant()
    def runs_begin_only_once_everything_was_available(self) -> None:
        if hasattr(self, "world") and self.world.runs:
            assert self.world.status.get("availableAt") is not None

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        world = self.world
        world.edit(terminate=True)
        # deadlines that were written before the clock was set back are kept
        world.now = max(world.now, self.latest)
        for _ in range(30):
            world.run()
            for name, run in world.runs.items():
                if run["spec"].get("terminate") and run["status"].get("phase") not in COMPLETED:
                    world.judge(name, "Successful")
            world.wait(31)
        assert world.phase in COMPLETED, (world.status, world.plans[-1])
        assert not any(world.sizes().values())
        assert not any(found.available for found in world.sets.values())
        assert world.services == {}
        assert all(run["status"].get("phase") in COMPLETED for run in world.runs.values())
        last = world.once()
        assert last.status == world.observe().experiment.status
        assert (last.actions, last.events) == ((), ())


TestExperimentLife = ExperimentLife.TestCase
TestExperimentLife.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
