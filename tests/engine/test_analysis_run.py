"""One pass after the other over one AnalysisRun, rule by rule (docs/behaviour.md §17.2, §17.3, §17.6)."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from engine.lab import JOB, START, Lab, lab, metric
from gitops_rollouts.api.analysis import Measurement, RunSummary
from gitops_rollouts.engine.analysis.observed import CollectGarbage, GiveUp
from gitops_rollouts.engine.plan import DeleteRun

S, F, U, E = "Successful", "Failed", "Inconclusive", "Error"


def test_first_pass_starts_the_run_and_measures() -> None:
    """§17.3: startedAt is set, the run is Running, metrics without a delay are measured at once."""
    run = lab(metric()).look()
    assert (run.status.phase, run.status.started_at, run.status.metric_results) == ("Running", START, ())
    assert run.calls == {"m": "Measure"}
    assert run.status.run_summary == RunSummary(count=1)
    assert run.status.dry_run_summary == RunSummary()
    assert run.status.encode()["dryRunSummary"] == {}


def test_a_call_under_way_is_not_asked_for_again() -> None:
    run = lab(metric()).look().later(5).look()
    assert run.plan.actions == ()
    assert run.plan.look_again is None


def test_one_measurement_without_interval_or_count() -> None:
    """§17.2: the default count is 1."""
    run = lab(metric()).look().later(2).look(m=S)
    assert (run.status.phase, run.status.message, run.status.completed_at) == (S, "", START + timedelta(seconds=2))
    assert run.status.run_summary == RunSummary(count=1, successful=1)
    assert run.events == [
        "N MetricSuccessful: Metric 'm' Completed. Result: Successful",
        "N AnalysisRunSuccessful: Analysis Completed. Result: Successful",
    ]


def test_initial_delay_never_starts_in_the_first_pass() -> None:
    run = lab(metric(initialDelay="0s")).look()
    assert run.calls == {}
    assert run.look().calls == {"m": "Measure"}


def test_initial_delay_counts_from_the_start_of_the_run() -> None:
    run = lab(metric(initialDelay="30s")).look()
    assert run.later(29).look().calls == {}
    assert run.plan.look_again == timedelta(seconds=1)
    assert run.later(1).look().calls == {"m": "Measure"}


def test_interval_counts_from_the_end_of_the_last_measurement() -> None:
    """§17.3: due once finishedAt + interval has passed, and we look again just then."""
    run = lab(metric(interval="20s")).look().later(7).look(m=S)
    assert run.plan.look_again == timedelta(seconds=20, milliseconds=1)
    assert run.later(20).look().calls == {}
    assert run.later(0.001).look().calls == {"m": "Measure"}


def test_an_error_is_followed_by_ten_seconds_whatever_the_interval() -> None:
    run = lab(metric(interval="1h")).look().look(m=E)
    assert run.plan.look_again == timedelta(seconds=10, milliseconds=1)
    assert run.later(10.1).look().calls == {"m": "Measure"}


def test_a_clock_that_was_ahead_delays_no_measurement() -> None:
    """§17.3: the next leader's clock is right, and nobody would look at the metric for an hour."""
    run = lab(metric(interval="1m", count=3)).look().later(3600).look(m="Successful").later(-3600)
    assert run.look().calls == {"m": "Measure"}


def test_an_interval_below_a_second_acts_as_one() -> None:
    """§24: without a pause a run would do nothing but measure."""
    run = lab(metric(interval="1ms")).look().look(m=S)
    assert run.plan.look_again == timedelta(seconds=1, milliseconds=1)


def test_interval_without_count_never_ends_by_itself() -> None:
    run = lab(metric(interval="10s")).look().measure(*[S] * 30)
    assert run.status.phase == "Running"
    assert (run.result().count, run.result().successful, len(run.result().measurements)) == (30, 30, 10)


@pytest.mark.parametrize(
    ("spec", "taken", "phase", "message"),
    [
        ({}, [F], F, "failed (1) > failureLimit (0)"),
        ({"failureLimit": 2, "count": 9}, [F, S, F, F], F, "failed (3) > failureLimit (2)"),
        ({"failureLimit": "1", "count": "9"}, [F, F], F, "failed (2) > failureLimit (1)"),
        ({"failureLimit": "no number", "count": 9}, [F], F, "failed (1) > failureLimit (0)"),
        ({"failureLimit": -1, "consecutiveSuccessLimit": 2, "count": 4}, [F, S, F, S], F, ""),
        ({"failureLimit": -1, "consecutiveSuccessLimit": 2, "count": 9}, [F, F, F, S, S], S, ""),
        ({"failureLimit": 3, "consecutiveSuccessLimit": 2, "count": 5}, [F, S, F, S, F], U, ""),
        ({"failureLimit": 1, "consecutiveSuccessLimit": 2, "count": 5}, [F, F], F, "failed (2) > failureLimit (1)"),
        ({"consecutiveSuccessLimit": 3}, [S, S, S], S, ""),
        ({"consecutiveSuccessLimit": 2, "inconclusiveLimit": 5}, [S, U, S, E, S, S], S, ""),
        ({"count": 3}, [S, S, S], S, ""),
        ({"count": 3, "failureLimit": 1}, [S, F, S], S, ""),
        ({}, [U], U, "inconclusive (1) > inconclusiveLimit (0)"),
        ({"count": 3, "inconclusiveLimit": 1}, [U, S, U], U, "inconclusive (2) > inconclusiveLimit (1)"),
        ({}, [E] * 5, E, "consecutiveErrors (5) > consecutiveErrorLimit (4)"),
        ({"consecutiveErrorLimit": 0}, [E], E, "consecutiveErrors (1) > consecutiveErrorLimit (0)"),
        ({"consecutiveErrorLimit": 1, "count": 3}, [E, S, E, S, E, S], S, ""),
        ({"count": 1}, [E, S], S, ""),
    ],
)
def test_when_a_metric_is_complete(spec: dict[str, Any], taken: list[str], phase: str, message: str) -> None:
    """§17.2 and "Metric phase" of §17.3: limits, then successes in a row, then the count; errors count apart."""
    run = lab(metric(**{"interval": "5s", **spec} if len(taken) > 1 and taken != [E] * 5 else spec)).look()
    run.measure(*taken[:-1])
    assert run.status.phase == "Running"
    run.measure(taken[-1])
    assert run.status.phase == run.result().phase == phase
    assert run.status.message == (f'Metric "m" assessed {phase} due to {message}' if message else "")
    assert run.later(3600).look().plan.actions == ()


def test_counters() -> None:
    """§17.3 "Counters": an error is no count; whatever is no success ends the row of them."""
    run = lab(metric(interval="5s", failureLimit=9, inconclusiveLimit=9)).look().measure(S, S, F, E, E, U, S)
    result = run.result()
    counted = (result.count, result.successful, result.failed, result.inconclusive, result.error)
    assert counted == (5, 3, 1, 1, 2)
    assert (result.consecutive_error, result.consecutive_success) == (0, 1)
    assert run.measure(E).result().consecutive_error == 1
    assert run.result().consecutive_success == 0


def test_of_several_broken_limits_the_last_in_order_wins() -> None:
    """§17.3: failed, inconclusive, error. A status from elsewhere may have broken several at once."""
    run = lab(metric(interval="5s", consecutiveErrorLimit=1)).look().measure(E)
    many = run.result().model_copy(update={"failed": 3, "inconclusive": 2, "phase": "Running"})
    run.run = run.run.model_copy(update={"status": run.status.model_copy(update={"metric_results": (many,)})})
    assert run.look().result().phase == U
    assert "due to inconclusive (2) > inconclusiveLimit (0)" in run.status.message
    worse = many.model_copy(update={"consecutive_error": 2})
    run.run = run.run.model_copy(
        update={"status": run.status.model_copy(update={"phase": "Running", "metric_results": (worse,)})}
    )
    assert run.look().result().phase == E


def test_message_names_the_last_measurements_error() -> None:
    failed = Measurement(phase=F, message="too slow", value="0.2")
    run = lab(metric()).look().look(m=failed)
    assert run.status.message == (
        'Metric "m" assessed Failed due to failed (1) > failureLimit (0): "Error Message: too slow"'
    )
    assert run.result().message == "too slow"
    assert run.result().measurements[0].finished_at == START
    assert run.events[-1] == "W AnalysisRunFailed: Analysis Completed. Result: Failed"


def test_a_failed_metric_ends_the_others_in_the_next_pass() -> None:
    """§17.3 "Terminating": as known at the start of the pass; one that never started stays without a result."""
    run = lab(metric("a"), metric("b", interval="60s"), metric("c", initialDelay="1h")).look()
    run.look(b=S).look(a=F)
    assert run.status.phase == "Running"
    assert (run.result("a").phase, run.result("b").phase) == (F, "Running")
    run.look()
    assert (run.status.phase, run.result("b").phase, len(run.status.metric_results)) == (F, S, 2)
    assert run.status.message == 'Metric "a" assessed Failed due to failed (1) > failureLimit (0)'
    assert run.status.run_summary == RunSummary(count=3, successful=1, failed=1)


def test_a_query_under_way_does_not_hold_up_the_end() -> None:
    """A slow server must not delay what another metric decided; there is nothing of a query to be ended."""
    run = lab(metric("a"), metric("b")).look().look(a=F).look()
    assert run.plan.actions == (GiveUp("b"),)
    assert run.status.phase == F


def test_a_job_in_flight_is_ended_before_the_run() -> None:
    """§17.3: in-flight measurements are terminated at once; the Job's end makes it Inconclusive."""
    running = Measurement(phase="Running", started_at=START, resume_at=START + timedelta(seconds=9))
    run = lab(metric("a"), metric("job", provider=JOB)).look().look(job=running).look(a=F)
    assert run.calls == {}
    run.look()
    assert run.calls == {"job": "Terminate"}
    assert run.look().calls == {}
    assert run.status.phase == "Running"
    run.look(job=Measurement(phase=U, message="Metric Terminated"))
    assert (run.status.phase, run.result("job").phase) == (F, U)
    assert run.result("job").measurements[0].started_at == START


def test_a_job_that_may_just_be_created_is_waited_for() -> None:
    run = lab(metric("a"), metric("job", provider=JOB)).look().look(a=F).look()
    assert (run.plan.actions, run.status.phase) == ((), "Running")
    run.look(job=Measurement(phase="Running", started_at=START))
    assert (run.calls, run.status.phase) == ({"job": "Terminate"}, "Running")
    assert run.look(job=U).status.phase == F


def test_a_resume_under_way_gives_way_to_the_end() -> None:
    run = lab(metric("job", provider=JOB)).look().look(job=Measurement(phase="Running", started_at=START))
    assert run.calls == {"job": "Resume"}
    assert run.ask_to_end().look().calls == {"job": "Terminate"}
    run.look(job=U)
    assert run.status.phase == U
    assert run.status.message == 'Metric "job" assessed Inconclusive due to inconclusive (1) > inconclusiveLimit (0)'


def test_resume_at_its_moment_or_at_once_without_one() -> None:
    running = Measurement(phase="Running", started_at=START, resume_at=START + timedelta(seconds=9))
    run = lab(metric("job", provider=JOB)).look().look(job=running)
    assert (run.result("job").phase, run.result("job").count) == ("Running", 0)
    assert run.plan.look_again == timedelta(seconds=9)
    assert run.later(9).look().calls == {"job": "Resume"}
    run.look(job=Measurement(phase="Running", started_at=START))
    assert run.calls == {"job": "Resume"}
    run.look(job=S)
    assert (run.status.phase, run.result("job").count, len(run.result("job").measurements)) == (S, 1, 1)


def test_terminated_by_a_person() -> None:
    """§17.3, §17.5: no new measurements; what did not fail ends Successful."""
    run = lab(metric(interval="10s")).look().measure(S).ask_to_end().look()
    assert (run.status.phase, run.status.message) == (S, "Run Terminated")
    assert run.events[-1].startswith("N AnalysisRunSuccessful")


def test_terminated_before_anything_was_measured() -> None:
    run = lab(metric(initialDelay="1h"), metric("n")).look().ask_to_end().look()
    assert (run.status.phase, run.status.message, run.status.metric_results) == (S, "Run Terminated", ())
    assert run.status.completed_at == START


def test_terminated_in_the_first_pass() -> None:
    run = lab(metric()).ask_to_end().look()
    assert (run.plan.actions, run.status.phase, run.status.started_at) == ((), S, START)


def test_the_reason_of_a_failure_stands_though_somebody_ends_the_run() -> None:
    run = lab(metric("a"), metric("b", interval="9s")).look().look(a=F).ask_to_end().look()
    assert run.status.message == 'Metric "a" assessed Failed due to failed (1) > failureLimit (0)'


def test_dry_run_never_worsens_the_run() -> None:
    """§17.3: it counts in its own summary, and tells in its own message what it would have meant."""
    run = lab(metric("dry-a"), metric("b", count=2, interval="5s"), dryRun=[{"metricName": "^dry"}]).look()
    run.look(**{"dry-a": Measurement(phase=F, message="bad")}).measure(S, S, name="b")
    assert (run.status.phase, run.status.message) == (S, "")
    dry = run.result("dry-a")
    assert (dry.phase, dry.dry_run) == (F, True)
    assert dry.message == 'Metric assessed Failed due to failed (1) > failureLimit (0): "Error Message: bad"'
    assert run.status.run_summary == RunSummary(count=1, successful=1)
    assert run.status.dry_run_summary == RunSummary(count=1, failed=1)
    assert "W MetricFailed: Metric 'dry-a' Completed. Result: Failed" in run.events


def test_a_run_waits_for_its_dry_metrics_and_a_run_of_only_those_succeeds() -> None:
    run = lab(metric("a"), metric("b"), dryRun=[{"metricName": ".*"}]).look().look(a=E)
    assert run.status.phase == "Running"
    run.look(b=F)
    assert run.status.phase == "Running"
    run.later(11).look().look(a=U)
    assert (run.status.phase, run.status.run_summary) == (S, RunSummary())
    assert run.status.dry_run_summary == RunSummary(count=2, failed=1, inconclusive=1)


def test_worst_metric_decides_and_the_first_of_equals_tells_why() -> None:
    """§17.3 "Run phase": Successful < Inconclusive < Error < Failed."""
    run = lab(*(metric(name, consecutiveErrorLimit=0) for name in "abcd")).look()
    run.look(a=U, b=F, c=E, d=F)
    assert run.status.phase == F
    assert run.status.message.startswith('Metric "b" assessed')
    assert run.status.run_summary == RunSummary(count=4, failed=2, inconclusive=1, error=1)


def test_measurements_are_trimmed_and_what_jobs_left_is_collected() -> None:
    """§17.3 "Measurements": 10, or a retention limit above 0."""
    rules = [{"metricName": "j", "limit": 2}, {"metricName": "w", "limit": 0}]
    run = lab(metric("j", provider=JOB, interval="5s"), metric("w", interval="5s"), measurementRetention=rules).look()
    run.measure(S, S, name="j")
    assert not any(isinstance(action, CollectGarbage) for action in run.plan.actions)
    run.measure(S, name="j")
    assert CollectGarbage("j", 2) in run.plan.actions
    assert (len(run.result("j").measurements), run.result("j").count) == (2, 3)
    run.measure(*[S] * 11, name="w")
    assert len(run.result("w").measurements) == 10
    assert not any(isinstance(action, CollectGarbage) for action in run.plan.actions)


def test_old_measurements_lose_their_texts_before_the_object_gets_too_large() -> None:
    """A status that can't be stored would keep a run from ever ending."""
    run = lab(
        metric("a", interval="5s"), metric("b", interval="5s"), measurementRetention=[{"metricName": ".*", "limit": 99}]
    )
    run.look()
    for _ in range(40):
        long = Measurement(phase=S, value="v" * 8000, message="m" * 2000, metadata={"k": "x" * 6000})
        run.look(a=long, b=long).later(60).look()
    measurements = run.result("a").measurements
    assert (len(measurements), run.result("a").count) == (40, 40)
    assert [len(one.value) for one in measurements][-8:] == [8000] * 8
    assert [len(one.value) for one in measurements][:28] == [0] * 28
    assert len(str(run.status.encode())) < 500_000


@pytest.mark.parametrize("looked_at", [False, True])
def test_a_spec_that_cannot_be_carried_out(looked_at: bool) -> None:
    """§17.2: Error at once, without completedAt; in the first pass without startedAt."""
    run = lab(metric(interval="5s"))
    if looked_at:
        run.look().measure(S)
    run.problem = "Analysis spec invalid: no metrics specified"
    run.look()
    assert (run.status.phase, run.status.message, run.status.completed_at) == (E, run.problem, None)
    assert run.status.started_at == (START if looked_at else None)
    assert run.events[-1] == "W AnalysisRunError: Analysis Completed. Result: Error"
    assert run.later(60).look().plan.status is None


def test_a_run_that_is_being_deleted_is_left_alone() -> None:
    run = lab(metric())
    meta = run.run.metadata.model_copy(update={"deletion_timestamp": START})
    run.run = run.run.model_copy(update={"metadata": meta})
    assert run.look().plan.status is None


def test_an_answer_to_nothing_that_is_asked_changes_nothing() -> None:
    """A call that began before the process ended may answer into another state."""
    run = lab(metric(interval="5s", count=2)).look().measure(S)
    before = run.status
    run.busy["m"] = "Resume"
    assert run.look(m=F).status == before


def test_what_is_stored_beyond_the_spec_stays() -> None:
    run = lab(metric("a"), metric("b", interval="5s")).look().measure(S, name="b").look(a=S)
    only_b = run.run.spec.model_copy(update={"metrics": run.run.spec.metrics[1:]})
    run.run = run.run.model_copy(update={"spec": only_b})
    run.measure(S, name="b")
    assert [result.name for result in run.status.metric_results] == ["b", "a"]


def test_final_results_are_never_rewritten() -> None:
    run = lab(metric("a"), metric("b", interval="5s")).look().look(a=S).measure(S, name="b")
    run.busy["a"] = "Measure"
    assert run.look(a=F).result("a").phase == S


@pytest.mark.parametrize(
    ("phase", "ttl", "seconds"),
    [
        (S, {"secondsAfterSuccess": 5, "secondsAfterCompletion": 60}, 6),
        (F, {"secondsAfterFailure": 7, "secondsAfterSuccess": 1}, 8),
        (F, {"secondsAfterCompletion": 9, "secondsAfterSuccess": 1}, 10),
        (U, {"secondsAfterCompletion": 3, "secondsAfterFailure": 1}, 4),
        (S, {"secondsAfterCompletion": 0}, 1),
        (S, {"secondsAfterFailure": 1}, None),
        (S, {}, None),
    ],
)
def test_time_to_live(phase: str, ttl: dict[str, int], seconds: int | None) -> None:
    """§17.6: deleted when whole seconds of age are more than the time to live, and we look again just then (§24)."""
    run = lab(metric(), ttlStrategy=ttl).look().look(m=phase).look()
    assert run.plan.actions == ()
    assert run.plan.look_again == (None if seconds is None else timedelta(seconds=seconds))
    run.later(seconds or 10**9).look()
    assert run.plan.actions == (() if seconds is None else (DeleteRun("AnalysisRun", "run", "u"),))


def test_a_run_that_ended_without_completed_at_is_kept() -> None:
    run: Lab = lab(metric(), ttlStrategy={"secondsAfterCompletion": 1})
    run.problem = "Analysis spec invalid: no metrics specified"
    run.look().later(10**6).look()
    assert (run.plan.actions, run.plan.look_again) == ((), None)


def test_a_run_of_very_many_metrics_still_fits_into_an_object() -> None:
    """§17.3: with a status that can't be stored a run would never end, and what waits for it neither."""
    run = lab(
        *(metric(f"m{n}", interval="1s", count=50, failureLimit=9) for n in range(500)),
        measurementRetention=[{"metricName": ".*", "limit": 1000}],
    ).look()
    told = Measurement(phase="Failed", message="é" * 2048, value="\x01" * 8192, metadata={"k": "v" * 16000})
    for _ in range(10):
        run.look(**{f"m{n}": told for n in range(500)}).later(60).look()
    assert len(json.dumps(run.run.encode()["status"], ensure_ascii=False).encode()) < 1_000_000
    assert (run.status.phase, run.result("m7").phase, run.result("m7").failed) == (F, F, 10)
    assert run.result("m7").measurements
    one = lab(metric(interval="1s", count=3, failureLimit=2)).look()
    assert one.look(m=told).result().measurements[0].message == told.message, "one metric has room"
