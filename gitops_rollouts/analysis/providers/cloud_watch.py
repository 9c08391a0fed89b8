"""CloudWatch: what GetMetricData answers, with the field names of AWS' Go SDK (docs/behaviour.md §18)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from gitops_rollouts.analysis.conditions.values import Moment, Vector
from gitops_rollouts.analysis.provider import Order
from gitops_rollouts.analysis.providers.at_once import AtOnce
from gitops_rollouts.analysis.reading import Reading, as_float, number_text, rows, short, within
from gitops_rollouts.api.durations import parse_go_duration
from gitops_rollouts.api.metric_providers import CloudWatchMetric, CloudWatchQuery, CloudWatchStat
from gitops_rollouts.api.validation.metric_providers import seconds_of
from gitops_rollouts.errors import MetricError

_CONNECT_SECONDS: Final = 5
_READ_SECONDS: Final = 20
_ALL_SECONDS: Final = 60.0
"""The credentials of a pod or a machine come by further requests."""
_THREADS: Final = 8
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
    """GetMetricData through boto3, which finds credentials, region and AWS_ENDPOINT_URL as ever.

    Its calls block, so that they are made in a few threads of their own; each ends within seconds.
    """

    def __init__(self, make_client: Callable[[], Any] | None = None, *, seconds: float = _ALL_SECONDS) -> None:
        self._make_client = make_client or boto_client
        self._seconds = seconds
        self._client: Any = None
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="cloudwatch")

    async def ask(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """The answer. Raises `MetricError`."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._seconds):
                return await loop.run_in_executor(self._threads, self._call, arguments)
        except TimeoutError as error:
            raise MetricError(f"no answer from CloudWatch within {self._seconds:g} seconds") from error

    def _call(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            if self._client is None:
                # two threads may make one each at first: the last stays
                self._client = self._make_client()
            answer = self._client.get_metric_data(**arguments)
        except MetricError:
            raise
        except Exception as error:  # noqa: BLE001  boto3's are no family of their own
            raise MetricError(
                f"CloudWatch could not be asked: {short(str(error), 500) or type(error).__name__}"
            ) from None
        return answer if isinstance(answer, Mapping) else {}


def boto_client() -> Any:
    """A client of CloudWatch without retries. Raises `MetricError` if boto3 isn't installed."""
    try:
        import boto3  # noqa: PLC0415  an extra
        from botocore.config import Config  # noqa: PLC0415
    except ImportError:
        raise MetricError(
            "CloudWatch needs boto3, which is not installed", remedy="install gitops-rollouts[aws] and restart"
        ) from None
    limits = Config(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        retries={"total_max_attempts": 1},
        max_pool_connections=_THREADS,
    )
    return boto3.session.Session().client("cloudwatch", config=limits)


class CloudWatch(AtOnce):
    """Who asks is AWS' business: credentials and region of the controller's own environment."""

    kind = "cloudWatch"

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def read(self, order: Order, now: datetime) -> Reading:
        """The results of the queries. Raises `MetricError`."""
        metric = order.metric.provider.cloud_watch or CloudWatchMetric()
        return read(await self._calls.ask(given(metric, now)))
