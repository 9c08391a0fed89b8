"""CloudWatch: what GetMetricData answers, with the field names of AWS' Go SDK (docs/behaviour.md §18)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from gitops_rollouts.analysis.conditions.values import Moment, Vector
from gitops_rollouts.analysis.provider import Order
from gitops_rollouts.analysis.providers.at_once import AtOnce
from gitops_rollouts.analysis.reading import Reading, as_float, number_text, rows, short, within
from gitops_rollouts.api.durations import parse_go_duration
from gitops_rollouts.api.metric_providers import CloudWatchMetric, CloudWatchQuery, CloudWatchStat
from gitops_rollouts.api.validation.metric_providers import seconds_of
from gitops_rollouts.aws import ALL_SECONDS, AwsCalls
from gitops_rollouts.errors import AwsError, MetricError

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def given(metric: CloudWatchMetric, now: datetime) -> dict[str, Any]:
    """The arguments of GetMetricData: the last ``interval``, 5 minutes unless it is set."""
    interval = parse_go_duration(metric.interval) if metric.interval else timedelta(minutes=5)
    return {
        "StartTime": now - interval,
        "EndTime": now,
        "MetricDataQueries": [_query(query) for query in metric.metric_data_queries],
    }


def _query(query: CloudWatchQuery) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "Id": query.id,
        "Expression": query.expression,
        "Label": query.label,
        "MetricStat": _stat(query.metric_stat) if query.metric_stat else None,
        "Period": seconds_of(query.period) or None,
        "ReturnData": query.return_data,
    }
    return {key: value for key, value in fields.items() if value is not None}


def _stat(stat: CloudWatchStat) -> dict[str, Any]:
    metric: dict[str, Any] = {
        "MetricName": stat.metric.metric_name,
        "Dimensions": [{"Name": each.name, "Value": each.value} for each in stat.metric.dimensions],
    }
    if stat.metric.namespace is not None:
        metric["Namespace"] = stat.metric.namespace
    fields: dict[str, Any] = {"Metric": metric, "Period": seconds_of(stat.period) or 0, "Stat": stat.stat}
    return {**fields, "Unit": stat.unit} if stat.unit else fields


def read(answer: Mapping[str, Any]) -> Reading:
    """The results as a list, each with Id, Label, StatusCode, Timestamps, Values and Messages. Raises `MetricError`."""
    given = answer.get("MetricDataResults")
    if not isinstance(given, list):
        raise MetricError("CloudWatch answered without MetricDataResults")
    results = [_result(each) for each in given]
    value = " ".join(f"[{' '.join(map(number_text, result['Values']))}]" for result in results)
    told = [_message(each) for each in (*rows(answer.get("Messages")), *(m for r in results for m in r["Messages"]))]
    return Reading(results, short(f"[{value}]"), {"messages": short("; ".join(told))} if told else {})


def _result(result: Any) -> dict[str, Any]:
    values = (as_float(value) for value in rows(within(result, "Values")))
    return {
        "Id": within(result, "Id"),
        "Label": within(result, "Label"),
        "Messages": rows(within(result, "Messages")),
        "StatusCode": within(result, "StatusCode") or "",
        "Timestamps": [_moment(each) for each in rows(within(result, "Timestamps")) if isinstance(each, datetime)],
        "Values": Vector(value for value in values if value is not None),
    }


def _moment(time: datetime) -> Moment:
    return Moment((time - _EPOCH) // timedelta(microseconds=1) * 1000)


def _message(message: Any) -> str:
    return f"{within(message, 'Code')}: {within(message, 'Value')}"


class Calls:
    """GetMetricData of CloudWatch."""

    def __init__(self, make_client: Callable[[], Any] | None = None, *, seconds: float = ALL_SECONDS) -> None:
        self._calls = AwsCalls("cloudwatch", "CloudWatch", make_client, seconds=seconds)

    async def ask(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """The answer. Raises `MetricError`."""
        try:
            answer = await self._calls.ask(lambda client: client.get_metric_data(**arguments))
        except AwsError as error:
            raise MetricError(error.message, remedy=error.remedy) from error
        return answer if isinstance(answer, Mapping) else {}


class CloudWatch(AtOnce):
    """Who asks is AWS' business: credentials and region of the controller's own environment."""

    kind = "cloudWatch"

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def read(self, order: Order, now: datetime) -> Reading:
        """The results of the queries. Raises `MetricError`."""
        metric = order.metric.provider.cloud_watch or CloudWatchMetric()
        return read(await self._calls.ask(given(metric, now)))
