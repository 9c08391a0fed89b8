"""Random lives of a routed canary with experiments: good, bad, undecided, lost, cancelled (docs/behaviour.md §19)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import rule

from engine.lives import Glance, live
from engine.stepped_life import SteppedLife
from engine.world_trials import is_of_trial
from gitops_rollouts.api.analysis import COMPLETED

BESIDES = [{"name": "base", "specRef": "stable", "weight": 10}, {"name": "try", "specRef": "canary", "weight": 30}]
TRY = {"experiment": {"templates": BESIDES}}
DARK = {"experiment": {"templates": [{"name": "dark", "specRef": "canary"}], "duration": "5s"}}
STEPS: list[list[dict[str, Any]]] = [
    [{"setWeight": 20}, TRY, {"setWeight": 60}, {"pause": {}}],
    [TRY, {"pause": {}}, DARK, {"setWeight": 50}],
    [{"setWeight": 80}, TRY],
]
PHASES = ["Pending", "Running", "Running", "Successful", "Successful", "Failed", "Error", "Inconclusive"]


class TryingLife(SteppedLife):
    """The same life as that of any routed canary, with steps that try versions side by side."""

    @rule(steps=st.sampled_from(STEPS))
    def steps_with_experiments(self, steps: list[dict[str, Any]]) -> None:
        self.world.set_steps(steps)

    @rule(
        steps=st.sampled_from(STEPS),
        phases=st.lists(st.sampled_from(PHASES), min_size=1, max_size=5),
        then=st.sampled_from(["", "", "abort", "promote", "resume"]),
    )
    def an_update_with_experiments(self, steps: list[dict[str, Any]], phases: list[str], then: str) -> None:
        """Phase by phase some way towards a version that never was; then something else."""
        self.one_update(steps, phases, self.an_experiment_moves)
        self.then(then)

    @rule(phase=st.sampled_from(PHASES))
    def an_experiment_moves(self, phase: str) -> None:
        if self.world.trials.under_way():
            self.world.trials.say("Experiment", phase, "so")

    @rule()
    def an_experiment_is_deleted(self) -> None:
        if self.world.trials.kept:
            self.world.trials.kept.popitem()

    @rule()
    def a_client_ends_them(self) -> None:
        for raw in self.world.trials.under_way():
            raw["spec"]["terminate"] = True

    # --- what must hold

    def check(self, before: Glance, after: Glance) -> None:
        """As if the experiments' share were stable's, which keeps the pods for it; and what is said of them."""
        super().check(_without(before), _without(after))
        named = before.status.get("canary", {}).get("currentExperiment")
        if any(map(is_of_trial, after.told)) and after.told != before.told:
            assert named in self.world.trials.kept, (before, after)
        going = self.world.trials.wanted()
        assert len(going) <= 2, going
        index = before.status.get("currentStepIndex")
        steps = self.world.raw["spec"]["strategy"]["canary"].get("steps", [])
        same = all(
            before.status.get(key) == after.status.get(key) for key in ("currentPodHash", "currentStepHash", "stableRS")
        )
        if not same or index is None or not 0 <= index < len(steps) - 1 or "experiment" not in steps[index]:
            return
        if after.status.get("currentStepIndex") == index + 1 and self.world.authority is None:
            found = [raw["status"].get("phase") for raw in self.world.trials.kept.values()]
            assert "Successful" in found, (before.status, after.status)

    def check_end(self) -> None:
        super().check_end()
        assert all(raw["status"].get("phase") in COMPLETED for raw in self.world.trials.kept.values())
        assert not any(map(is_of_trial, self.world.told()))

    def unsettle(self) -> None:
        self.world.trials.ends.clear()

    def heal_more(self) -> None:
        super().heal_more()
        self.world.trials.ends["Experiment"] = ("Successful", "")


def _without(seen: Glance) -> Glance:
    def told(shares: dict[str, int]) -> dict[str, int]:
        kept = {pod_hash: share for pod_hash, share in shares.items() if not is_of_trial(pod_hash)}
        besides = sum(shares.values()) - sum(kept.values())
        return kept | ({seen.stable: kept.get(seen.stable, 0) + besides} if besides else {})

    return replace(seen, told=told(seen.told), told_by_service=told(seen.told_by_service))


def test_a_deadline_that_passes_with_the_steps_moves_no_traffic_any_more() -> None:
    """§11.2: nobody looked while the deadline passed; stable has no pod that could take what goes back later."""
    life = TryingLife()
    life.begin(
        replicas=1, ping_pong=False, canary={"dynamicStableScale": True}, begun=True, most=None, steps=[],
        managed=False, spec={"progressDeadlineSeconds": 30, "progressDeadlineAbort": True},
    )  # fmt: skip
    life.an_update_with_experiments(phases=["Inconclusive"], steps=[{"setWeight": 80}, TRY], then="")
    life.steps_with_experiments(steps=STEPS[0])
    life.a_pod_fails(which=0)
    life.passes(times=5)
    life.routers_answer(error="", verified=None, verifies=True)
    life.hostile_status(hostile={"currentStepIndex": 2_000_000_000})
    life.time_passes(seconds=172800)
    life.passes(times=1)
    assert life.world.status["abort"] is True
    assert life.world.routed[-1].canary.weight == 80
    life.passes(times=1)
    life.teardown()


def test_random_lives() -> None:
    """§15.1, §19."""
    live(TryingLife, 30, 25)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_many_random_lives() -> None:
    """§15.1, §19."""
    live(TryingLife, 1500, 40)
