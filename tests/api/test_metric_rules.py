"""The rules of metrics, each limit and each message (docs/behaviour.md §17.2)."""

from __future__ import annotations

from typing import Any

import pytest

from gitops_rollouts.api.analysis import Metric
from gitops_rollouts.api.analysis_refs import DryRun, MeasurementRetention
from gitops_rollouts.api.meta import parse_tolerant
from gitops_rollouts.api.metric_rules import dry_run_names, integer, limits_of, retention_limits
from gitops_rollouts.api.validation.metrics import check_metrics
from gitops_rollouts.errors import TemplateError


def metric(**fields: Any) -> Metric:
    return parse_tolerant(Metric, {"name": "m", "provider": {"job": {}}, **fields})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"consecutiveSuccessLimit": -1}, "consecutiveSuccessLimit must be >= 0"),
        ({"failureLimit": -2}, "failureLimit must be >= 0, or -1 to be disabled"),
        ({"failureLimit": -1}, "failureLimit and consecutiveSuccessLimit cannot both be disabled"),
        ({"failureLimit": "-1"}, "failureLimit and consecutiveSuccessLimit cannot both be disabled"),
        ({"inconclusiveLimit": -1}, "inconclusiveLimit must be >= 0"),
        ({"consecutiveErrorLimit": -1}, "consecutiveErrorLimit must be >= 0"),
        (
            {"count": 4, "interval": "1s", "failureLimit": 2, "consecutiveSuccessLimit": 3},
            "count (4) must be >= failureLimit + consecutiveSuccessLimit (2 + 3) if both >= 0",
        ),
        (
            {"count": "2", "interval": "1s", "failureLimit": "3"},
            "count (2) must be >= failureLimit + consecutiveSuccessLimit (3 + 0) if both >= 0",
        ),
        (
            {"count": 2, "interval": "1s", "failureLimit": -1, "consecutiveSuccessLimit": 3},
            "count must be >= consecutiveSuccessLimit",
        ),
        ({"count": 2, "interval": "1s", "inconclusiveLimit": 3}, "count must be >= inconclusiveLimit"),
        ({"count": 2}, "interval must be specified when count > 1"),
        ({"interval": "5"}, "invalid interval string: invalid duration '5'"),
        ({"initialDelay": "soon"}, "invalid startDelay string: invalid duration 'soon'"),
        ({"provider": {}}, "no provider specified"),
        ({"provider": {"plugin": {}}}, "no provider specified"),
        ({"provider": {"job": {}, "web": {"url": "u"}}}, "multiple providers specified"),
    ],
)
def test_a_metric_that_cannot_be_carried_out_is_refused(fields: dict[str, Any], message: str) -> None:
    """§17.2: the messages, with the metric's place."""
    with pytest.raises(TemplateError) as error:
        check_metrics([metric(name="other"), metric(**fields)])
    assert error.value.message == f"Analysis spec invalid: metrics[1]: {message}"


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"count": 1},
        {"count": 0, "failureLimit": 3},
        {"interval": "1m", "failureLimit": 9},
        {"count": 5, "interval": "1s", "failureLimit": 2, "consecutiveSuccessLimit": 3},
        {"count": 3, "interval": "1s", "failureLimit": -1, "consecutiveSuccessLimit": 3},
        {"initialDelay": "1h30m"},
        {"provider": {"plugin": {"a/b": {}}}},
    ],
)
def test_a_metric_within_its_limits_is_accepted(fields: dict[str, Any]) -> None:
    """§17.2: the bounds themselves are allowed."""
    check_metrics([metric(**fields)])


def test_a_run_needs_metrics_of_different_names_and_rules_that_reach_one() -> None:
    """§17.2: patterns are RE2's, unanchored; one that can't be read reaches nothing."""
    with pytest.raises(TemplateError, match=r"^Analysis spec invalid: no metrics specified$"):
        check_metrics([])
    with pytest.raises(TemplateError, match=r"^Analysis spec invalid: metrics\[1\]: duplicate name 'm'$"):
        check_metrics([metric(), metric()])
    some = [metric(name="success-rate"), metric(name="latency")]
    check_metrics(some, [DryRun(metric_name=".*"), DryRun(metric_name="ten")])
    for pattern in ("*", "absent", "^rate", "(", "(?=l)"):
        with pytest.raises(TemplateError) as error:
            check_metrics(some, [DryRun(metric_name="rate$"), DryRun(metric_name=pattern)])
        assert error.value.message == "Analysis spec invalid: dryRun[1]: Rule didn't match any metric name(s)"
        with pytest.raises(TemplateError) as error:
            check_metrics(some, [], [MeasurementRetention(metric_name=pattern, limit=1)])
        assert error.value.message == (
            "Analysis spec invalid: measurementRetention[0]: Rule didn't match any metric name(s)"
        )


def test_rules_reach_metrics_by_pattern_and_the_first_limit_counts() -> None:
    """§17.1, §17.3: the Rollout's rules come first."""
    some = [metric(name="success-rate"), metric(name="latency"), metric(name="errors")]
    assert dry_run_names(some, [DryRun(metric_name="rat|lat")]) == {"success-rate", "latency"}
    rules = [("latency", 0), ("lat", 20), (".*y", 30), ("rate", 5)]
    limits = retention_limits(some, [MeasurementRetention(metric_name=name, limit=limit) for name, limit in rules])
    assert limits == {"success-rate": 5, "latency": 20}


@pytest.mark.parametrize(
    ("fields", "count"),
    [
        ({}, 1),
        ({"count": 0}, 1),
        ({"count": 3}, 3),
        ({"interval": "1m"}, None),
        ({"interval": "1m", "count": 0}, None),
        ({"interval": "1m", "count": "4"}, 4),
        ({"interval": "1m", "count": "many"}, None),
    ],
)
def test_without_a_count_the_interval_says_whether_there_is_an_end(fields: dict[str, Any], count: int | None) -> None:
    """§17.2: effectiveCount."""
    assert limits_of(metric(**fields)).count == count


def test_limits_that_are_not_given_have_their_defaults_and_text_counts_as_its_number() -> None:
    """§17.2: text that is no integer counts as 0."""
    limits = limits_of(metric())
    assert (limits.failure, limits.inconclusive, limits.consecutive_error, limits.consecutive_success) == (0, 0, 4, 0)
    texts = ["7", "+7", "-1", "", " 7", "7.0", "0x7", "٧", "9" * 30, "1_0"]
    assert [integer(text, 4) for text in texts] == [7, 7, -1, 0, 0, 0, 0, 0, 0, 0]
    assert integer(None, 4) == 4
