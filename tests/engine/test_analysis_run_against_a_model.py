"""Random runs against a model that looks at the whole history each time (docs/behaviour.md §17.2, §17.3).

The model is written from the rules alone; it shares no code with the engine.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.lab import JOB, START, WEB, lab, metric
from gitops_rollouts.api.analysis import Measurement

ENDED = ("Successful", "Failed", "Inconclusive", "Error")


@dataclass
class Told:
    """What the model knows of one metric: its numbers, all that was measured, and how it ended."""

    name: str
    dry: bool
    count: int | None
    failure: int
    inconclusive: int
    error: int
    success: int
    job: bool
    history: list[str] = field(default_factory=list)
    open: bool = False
    ended: str = ""

    def in_a_row(self, phase: str) -> int:
        """How many of the last measurements are of this phase; errors interrupt no count but that of successes."""
        row = 0
        for one in reversed(self.history):
            if one != phase:
                break
            row += 1
        return row

    def broken(self) -> tuple[str, str] | None:
        if self.in_a_row("Error") > self.error:
            return "Error", f"consecutiveErrors ({self.in_a_row('Error')}) > consecutiveErrorLimit ({self.error})"
        found = self.history.count("Inconclusive")
        if found > self.inconclusive:
            return "Inconclusive", f"inconclusive ({found}) > inconclusiveLimit ({self.inconclusive})"
        found = self.history.count("Failed")
        if self.failure != -1 and found > self.failure:
            return "Failed", f"failed ({found}) > failureLimit ({self.failure})"
        return None

    def phase(self, terminating: bool) -> str:
        if self.ended or self.open:
            return self.ended or "Running"
        broken = self.broken()
        if broken:
            return broken[0]
        if self.success and self.in_a_row("Successful") >= self.success:
            return "Successful"
        if self.count is not None and len([one for one in self.history if one != "Error"]) >= self.count:
            if self.success and self.failure != -1:
                return "Inconclusive"
            return "Failed" if self.success else "Successful"
        return "Successful" if terminating else "Running"


@dataclass
class Model:
    """The run. `look` is one pass."""

    told: list[Told]
    asked: bool = False
    phase: str = ""
    message: str = ""

    def look(self, awaited: set[str]) -> None:
        """``awaited``: metrics of Jobs for which a call is under way that nobody answered."""
        if self.phase in ENDED:
            return
        bad = ("Failed", "Error", "Inconclusive")
        terminating = self.asked or any(one.ended in bad and not one.dry for one in self.told)
        for one in self.told:
            if one.history or one.open:
                phase = one.phase(terminating and one.name not in awaited)
                one.ended = phase if phase in ENDED else ""
        held = awaited | {one.name for one in self.told if one.open}
        if all(one.ended for one in self.told) or (terminating and not held):
            counting = [one for one in self.told if one.ended and not one.dry]
            self.phase = next(
                (bad for bad in ("Failed", "Error", "Inconclusive") if any(one.ended == bad for one in counting)),
                "Successful",
            )
            self.message = "Run Terminated" if self.asked else ""
            worst = next((one for one in counting if one.ended == self.phase), None)
            if worst is not None and (broken := worst.broken()) and self.phase != "Successful":
                self.message = f'Metric "{worst.name}" assessed {self.phase} due to {broken[1]}'
        else:
            self.phase = "Running"


@st.composite
def metrics(draw: st.DrawFn, name: str) -> tuple[dict[str, Any], Told]:
    """A metric that passes validation, and what the model is told of it."""
    job = draw(st.booleans())
    success = draw(st.sampled_from([0, 0, 1, 2]))
    failure = draw(st.sampled_from([0, 0, 1, 2, -1] if success else [0, 0, 1, 2]))
    inconclusive = draw(st.integers(0, 2))
    error = draw(st.integers(0, 2))
    least = max(1, failure + success, success, inconclusive)
    count = draw(st.none() | st.integers(least, least + 2))
    given_count: dict[str, Any] = {} if count is None else {"count": draw(st.sampled_from([count, str(count)]))}
    body = metric(
        name,
        provider=JOB if job else WEB,
        interval="5s",
        failureLimit=failure,
        inconclusiveLimit=inconclusive,
        consecutiveErrorLimit=error,
        consecutiveSuccessLimit=success,
        **given_count,
    )
    return body, Told(
        name, draw(st.sampled_from([False, False, True])), count, failure, inconclusive, error, success, job
    )


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_random_runs_end_as_the_rules_say(data: st.DataObject) -> None:
    """§17.3: verdict, message and metric phases, after every pass, for two or three metrics."""
    pairs = [data.draw(metrics(name)) for name in data.draw(st.sampled_from(["ab", "abc"]))]
    told = {one.name: one for _, one in pairs}
    rules = [{"metricName": f"^{one.name}$"} for one in told.values() if one.dry]
    run, model = lab(*(body for body, _ in pairs), dryRun=rules), Model([one for _, one in pairs])
    for _ in range(60):
        under_way = {name for name in run.busy if name in told}
        answers: dict[str, str | Measurement] = {}
        for name in sorted(data.draw(st.sets(st.sampled_from(sorted(under_way)))) if under_way else ()):
            one = told[name]
            if one.job and run.busy[name] != "Terminate" and data.draw(st.booleans()):
                answers[name] = Measurement(phase="Running", started_at=run.now)
                one.open = True
            else:
                phase = data.draw(st.sampled_from(ENDED))
                answers[name] = phase
                one.history.append(phase)
                one.open = False
        if not model.asked and data.draw(st.integers(0, 25)) == 0:
            model.asked = True
            run.ask_to_end()
        before = run.status
        waiting = {name for name, op in run.busy.items() if name not in answers and op == "Measure" and told[name].job}
        model.look(waiting)
        run.look(**answers)
        run.busy = {name: op for name, op in run.busy.items() if not _given_up(run, name)}
        assert (run.status.phase, run.status.message) == (model.phase, model.message)
        for one in model.told:
            if one.history or one.open:
                assert run.result(one.name).phase == (one.ended or "Running")
        assert [r.name for r in run.status.metric_results] == [
            one.name for one in model.told if one.history or one.open
        ]
        if model.phase in ENDED:
            counting = [one for one in model.told if not one.dry]
            assert run.status.run_summary.count == len(counting)
            assert run.status.run_summary.failed == _broken(counting, "Failed")
            assert run.status.run_summary.error == _broken(counting, "Error")
            assert run.status.completed_at == run.now.replace(microsecond=0)
            assert run.later(600).look().plan.status is None
            return
        quiet = run.status == before and not run.calls
        if quiet and not run.busy:
            assert run.plan.look_again is not None, "somebody has to look at it again"
        run.later(run.plan.look_again.total_seconds() if quiet and run.plan.look_again else 0)
    assert run.status.started_at == START


def _given_up(run: Any, name: str) -> bool:
    return any(type(action).__name__ == "GiveUp" and action.metric == name for action in run.plan.actions)


def _broken(told: list[Told], phase: str) -> int:
    return sum(1 for one in told if one.ended and (broken := one.broken()) and broken[0] == phase)
