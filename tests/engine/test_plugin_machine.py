"""Random lives of a routed canary with step plugins: late, failed, lost and useless answers (docs/behaviour.md §16)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import rule

from engine.lives import Glance, live
from engine.stepped_life import SteppedLife
from gitops_rollouts.engine.observed import PluginAnswer

JOB = {"plugin": {"name": "acme/job", "config": {"image": "smoke"}}}
MAIL = {"plugin": {"name": "acme/mail"}}
STEPS: list[list[dict[str, Any]]] = [
    [{"setWeight": 20}, JOB, {"setWeight": 60}, MAIL, {"pause": {}}],
    [JOB, {"setWeight": 50}, {"pause": {}}, JOB],
    [MAIL, JOB],
]
GOOD = {"phase": "Successful"}
ANSWERS: list[dict[str, Any]] = [
    GOOD,
    GOOD,
    {"phase": "Running"},
    {"phase": "Running", "requeue_after": timedelta(seconds=700), "status": {"job": 1}},
    {"phase": "Failed", "message": "no"},
    {"phase": "Error"},
    {"phase": ""},
    {"error": "it died"},
    {"error": "it is not installed", "transient": True},
]


class PluginLife(SteppedLife):
    """The same life as that of any routed canary, with steps that others play."""

    @rule(steps=st.sampled_from(STEPS))
    def steps_with_plugins(self, steps: list[dict[str, Any]]) -> None:
        self.world.set_steps(steps)

    @rule(
        steps=st.sampled_from(STEPS),
        answers=st.lists(st.sampled_from(ANSWERS), min_size=1, max_size=5),
        then=st.sampled_from(["", "", "abort", "promote", "resume"]),
    )
    def an_update_with_plugins(self, steps: list[dict[str, Any]], answers: list[dict[str, Any]], then: str) -> None:
        """Answer by answer some way towards a version that never was; then something else."""
        self.one_update(steps, answers, lambda answer: self.plugins_answer(answer, True))
        self.then(then)
        if then:
            for _ in range(3):
                self.plugins_answer(answers[0], True)
                self.passes_and_pods(2)

    @rule(
        steps=st.sampled_from(STEPS),
        first=st.sampled_from([GOOD, {"phase": "Running"}]),
        then=st.sampled_from(["abort", "promote"]),
    )
    def an_update_given_up(self, steps: list[dict[str, Any]], first: dict[str, Any], then: str) -> None:
        """What ran is aborted, or ended as nobody waits for it any more."""
        self.an_update_with_plugins(steps, [first], then)

    @rule(answer=st.sampled_from(ANSWERS), every=st.booleans())
    def plugins_answer(self, answer: dict[str, Any], every: bool) -> None:
        """However late: whether anybody still waits for it shows in the next pass, or in several if a write fails."""
        for (index, name, operation), call in list(self.world.plugin_calls.items()):
            if call.answer is None:
                call.answer = PluginAnswer(index, name, operation, self.world.now, **answer)  # type: ignore[arg-type]
                if not every:
                    return

    @rule()
    def the_process_ends(self) -> None:
        """Calls under way and answers that nobody has seen are lost."""
        self.world.plugin_calls.clear()

    @rule(disabled=st.sampled_from([frozenset(), frozenset(), frozenset({"acme/job"}), frozenset({"acme/mail"})]))
    def plugins_are_disabled(self, disabled: frozenset[str]) -> None:
        self.world.disabled = disabled

    # --- what must hold

    def check(self, before: Glance, after: Glance) -> None:
        super().check(before, after)
        self._check_step(before, after)
        self._check_failure(before, after)
        for one in plugin_statuses(after):
            if one["operation"] in ("Abort", "Terminate"):
                assert one.get("executions", 0) <= 1, one

    def _check_step(self, before: Glance, after: Glance) -> None:
        """A plugin's step ends when its Run did well, was brought to an end, or is disabled (§16)."""
        index = before.status.get("currentStepIndex")
        steps = self.world.raw["spec"]["strategy"]["canary"].get("steps", [])
        same = all(
            before.status.get(key) == after.status.get(key) for key in ("currentPodHash", "currentStepHash", "stableRS")
        )
        if not same or index is None or not 0 <= index < len(steps) or "plugin" not in steps[index]:
            return
        if after.status.get("currentStepIndex") != index + 1 or len(steps) == index + 1:
            return  # with the last step, a shortcut to the end looks the same
        found = [one for one in plugin_statuses(after) if one["index"] == index]
        run = [one for one in found if one["operation"] == "Run"]
        assert run, (before.status, after.status)
        ended = any(one["operation"] != "Run" and one.get("executions") for one in found)
        assert run[0].get("disabled") or run[0].get("phase") == "Successful" or ended, (before.status, after.status)

    def _check_failure(self, before: Glance, after: Glance) -> None:
        """A Run that failed is recorded together with the abort that it means."""
        failed, known = ({one["index"] for one in plugin_statuses(seen) if fails(one)} for seen in (after, before))
        if failed - known:
            assert after.status.get("abort"), (before.status, after.status)


def fails(status: dict[str, Any]) -> bool:
    return status["operation"] == "Run" and status.get("phase") == "Failed"


def plugin_statuses(seen: Glance) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (seen.status.get("canary") or {}).get("stepPluginStatuses", [])
    return found


def test_plugin_lives() -> None:
    live(PluginLife, 50, 30)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_long_plugin_lives() -> None:
    live(PluginLife, 400, 50)
