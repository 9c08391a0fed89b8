"""docs/behaviour.md §18, cloudWatch, against AWS' API reference of GetMetricData, asked by the real boto3."""

from __future__ import annotations

import asyncio
import sys
import threading
from datetime import UTC, datetime
from typing import Any

import pytest

from analysis.orders import NOW, SECONDS, order
from gitops_rollouts.analysis.conditions.values import Moment
from gitops_rollouts.analysis.providers import cloud_watch
from gitops_rollouts.analysis.providers.cloud_watch import Calls, CloudWatch
from gitops_rollouts.analysis.reading import Reading
from gitops_rollouts.errors import MetricError
from http_server import HttpServer, Reply, serving

STAT = {
    "id": "rate",
    "metricStat": {
        "metric": {
            "namespace": "app", "metricName": "ErrorCount",
            "dimensions": [{"name": "service", "value": "web"}, {"name": "hash", "value": "abc"}],
        },
        "period": "300", "stat": "p99", "unit": "Count",
    },
    "returnData": False,
}  # fmt: skip
EXPRESSION = {"id": "e1", "expression": "rate / 2", "label": "half", "period": 60}
ANSWER = {
    "MetricDataResults": [
        {"Id": "rate", "Label": "half", "Timestamps": [SECONDS - 60.0, SECONDS - 120.5], "Values": [1.0, 2.0],
         "StatusCode": "Complete"},
        {"Id": "e2", "Label": "e2", "Timestamps": [SECONDS - 60], "Values": [3.25], "StatusCode": "PartialData",
         "Messages": [{"Code": "ArithmeticError", "Value": "One or more data-points have been dropped"}]},
    ],
    "Messages": [{"Code": "MaxMetricsExceeded", "Value": "The maximum number of metrics was reached"}],
}  # fmt: skip


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """Credentials as boto3 finds them, and nothing of this machine's."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "s3cr3t", "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_CONFIG_FILE": str(tmp_path / "none"), "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_SESSION_TOKEN", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)


async def read(
    monkeypatch: pytest.MonkeyPatch, answer: Any, status: int = 200, **spec: Any
) -> tuple[Reading, HttpServer]:
    reply = Reply(answer, status) if isinstance(answer, str) else Reply.of(answer, status)
    reply.headers["Content-Type"] = "application/x-amz-json-1.0"
    async with serving(lambda seen: reply) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        given = {"metricDataQueries": [STAT, EXPRESSION], **spec}
        try:
            return await CloudWatch(Calls()).read(order("cloudWatch", given), NOW), server
        finally:
            assert len(server.seen) == 1  # nothing is asked twice


async def test_a_list_of_results_with_the_names_of_the_go_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, server = await read(monkeypatch, ANSWER)
    assert reading.value == "[[1 2] [3.25]]"
    first, second = reading.result
    assert first == {
        "Id": "rate", "Label": "half", "Messages": [], "StatusCode": "Complete",
        "Timestamps": [Moment((SECONDS - 60) * 10**9), Moment((SECONDS - 121) * 10**9 + 500_000_000)],
        "Values": (1.0, 2.0),
    }  # fmt: skip
    assert (second["StatusCode"], second["Values"][0]) == ("PartialData", 3.25)
    assert reading.metadata == {
        "messages": "MaxMetricsExceeded: The maximum number of metrics was reached; "
        "ArithmeticError: One or more data-points have been dropped"
    }
    (seen,) = server.seen
    assert (seen.method, seen.path) == ("POST", "/")
    assert seen.headers["X-Amz-Target"] == "GraniteServiceVersion20100801.GetMetricData"
    assert "AKIDEXAMPLE/" in seen.headers["Authorization"]
    assert "/eu-west-1/monitoring/" in seen.headers["Authorization"]
    assert seen.json == {
        "StartTime": SECONDS - 300,
        "EndTime": SECONDS,
        "MetricDataQueries": [
            {
                "Id": "rate",
                "MetricStat": {
                    "Metric": {
                        "Namespace": "app", "MetricName": "ErrorCount",
                        "Dimensions": [{"Name": "service", "Value": "web"}, {"Name": "hash", "Value": "abc"}],
                    },
                    "Period": 300, "Stat": "p99", "Unit": "Count",
                },
                "ReturnData": False,
            },
            {"Id": "e1", "Expression": "rate / 2", "Label": "half", "Period": 60},
        ],
    }  # fmt: skip


async def test_a_condition_reads_it_as_users_write_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(lambda seen: Reply.of(ANSWER)) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        asked = order(
            "cloudWatch",
            {"metricDataQueries": [EXPRESSION], "interval": "30m"},
            successCondition="all(result[0].Values, {# <= 2}) && result[1].Id == 'e2' && len(result[0].Timestamps) > 1",
        )
        taken = await CloudWatch(Calls()).run(asked, NOW)
        assert (taken.phase, taken.value, taken.finished_at) == ("Successful", "[[1 2] [3.25]]", NOW)
        assert server.seen[0].json["StartTime"] == SECONDS - 1800


@pytest.mark.parametrize(
    ("answer", "value", "values"),
    [
        ({"MetricDataResults": []}, "[]", []),
        ({"MetricDataResults": [{"Id": "a"}]}, "[[]]", [()]),
        ({"MetricDataResults": [{"Id": "a", "Values": []}, {"Values": [0]}]}, "[[] [0]]", [(), (0.0,)]),
    ],
)
async def test_no_data_is_empty(monkeypatch: pytest.MonkeyPatch, answer: Any, value: str, values: Any) -> None:
    reading, _ = await read(monkeypatch, answer)
    assert (reading.value, [each["Values"] for each in reading.result]) == (value, values)


@pytest.mark.parametrize(
    ("answer", "status", "told"),
    [
        ({"__type": "AccessDenied", "message": "User: arn:x is not authorized"}, 403,
         "An error occurred (AccessDenied) when calling the GetMetricData"),
        ({"__type": "Throttling", "message": "Rate exceeded"}, 400, "(Throttling) when calling the GetMetricData"),
        ("<html>", 503, "CloudWatch could not be asked: "),
        ({}, 200, "CloudWatch answered without MetricDataResults"),
        ("<html>", 200, "CloudWatch answered without MetricDataResults"),
        ({"MetricDataResults": 7}, 200, "CloudWatch could not be asked: "),
    ],
)  # fmt: skip
async def test_errors_are_told_and_nothing_is_tried_twice(
    monkeypatch: pytest.MonkeyPatch, answer: Any, status: int, told: str
) -> None:
    with pytest.raises(MetricError) as raised:
        await read(monkeypatch, answer, status)
    assert told in raised.value.message
    assert "s3cr3t" not in raised.value.message


async def test_without_boto3_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(MetricError, match="CloudWatch needs boto3, which is not installed") as raised:
        await CloudWatch(Calls()).read(order("cloudWatch", {"metricDataQueries": [EXPRESSION]}), NOW)
    assert raised.value.remedy == "install gitops-rollouts[aws] and restart"


async def test_without_a_region_or_credentials_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = order("cloudWatch", {"metricDataQueries": [EXPRESSION]})
    for gone, told in (("AWS_ACCESS_KEY_ID", "credentials"), ("AWS_DEFAULT_REGION", "You must specify a region")):
        monkeypatch.delenv(gone)
        with pytest.raises(MetricError, match=told):
            await CloudWatch(Calls()).read(asked, NOW)


async def test_a_call_that_hangs_holds_neither_the_loop_nor_the_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    class Hanging:
        def get_metric_data(self, **_: Any) -> Any:
            release.wait(30)
            return {}

    provider = CloudWatch(Calls(Hanging, seconds=0.2))
    asked = order("cloudWatch", {"metricDataQueries": [EXPRESSION]})
    try:
        results = await asyncio.gather(*(provider.read(asked, NOW) for _ in range(6)), return_exceptions=True)
    finally:
        release.set()
    assert {str(each) for each in results} == {"no answer from CloudWatch within 0.2 seconds"}


def test_times_are_exact() -> None:
    moment = datetime(2026, 3, 1, 12, 30, 15, 250_000, tzinfo=UTC)
    read = cloud_watch.read({"MetricDataResults": [{"Timestamps": [moment, "x"], "Values": [True, "1", None, 2]}]})
    assert read.result[0]["Timestamps"] == [Moment(SECONDS * 10**9 + 250_000_000)]
    assert read.value == "[[2]]"
