"""Kayenta: a judgement of Spinnaker's canary analysis, begun once and looked at until it is there (§18)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import quote, urlencode

import orjson

from gitops_rollouts.analysis.http import Http, Request
from gitops_rollouts.analysis.large_answers import read_beside
from gitops_rollouts.analysis.provider import Order
from gitops_rollouts.analysis.providers.refusing import refuse_problems, refuse_status
from gitops_rollouts.analysis.reading import as_float, decode, rows, within
from gitops_rollouts.api.analysis import FAILED, INCONCLUSIVE, RUNNING, SUCCESSFUL, Measurement
from gitops_rollouts.api.durations import parse_go_duration
from gitops_rollouts.api.meta import format_time
from gitops_rollouts.api.metric_providers import KayentaMetric, KayentaScope, KayentaScopeDetail, KayentaThreshold
from gitops_rollouts.errors import MetricError

EXECUTION: Final = "canaryExecutionId"
"""The key of a measurement's metadata that holds which execution it waits for."""
WAIT: Final = timedelta(seconds=15)
_TIMEOUT_SECONDS: Final = 15.0
_LONGEST_ID: Final = 256


def configs_request(metric: KayentaMetric) -> Request:
    """All canary configurations of the application. Kayenta is asked for those of the storage account (§18)."""
    query = {"application": metric.application, "configurationAccountName": metric.storage_account_name}
    return Request(f"{_address(metric)}/canaryConfig?{urlencode(query)}", seconds=_TIMEOUT_SECONDS)


def config_id(answer: Any, metric: KayentaMetric) -> str:
    """The id of the configuration by its name. Raises `MetricError`."""
    for config in rows(answer):
        if within(config, "name") == metric.canary_config_name:
            return _id(within(config, "id"), "the id of a canary configuration")
    raise MetricError(
        f"Kayenta has no canary configuration {metric.canary_config_name!r} for the application {metric.application!r}"
    )


def start_request(metric: KayentaMetric, config: str, span: tuple[datetime, datetime]) -> Request:
    """Begins an execution; ``span``: see `span`."""
    accounts = {
        "application": metric.application,
        "metricsAccountName": metric.metrics_account_name,
        "configurationAccountName": metric.configuration_account_name,
        "storageAccountName": metric.storage_account_name,
    }
    body = {
        "scopes": {scope.name: _scope(scope, span) for scope in metric.scopes},
        "thresholds": {"pass": metric.threshold.pass_, "marginal": metric.threshold.marginal},
    }
    url = f"{_address(metric)}/canary/{quote(config, safe='')}?{urlencode(accounts)}"
    return Request(url, "POST", (("Content-Type", "application/json"),), orjson.dumps(body), _TIMEOUT_SECONDS)


def span(metric: KayentaMetric, interval: str, started: datetime | None, now: datetime) -> tuple[datetime, datetime]:
    """From the run's start with ``lookback``, else the last ``interval`` of the metric. Raises `MetricError`."""
    if metric.lookback:
        return started or now, now
    if not interval:
        if all(_has_times(scope) for scope in metric.scopes):
            return now, now
        raise MetricError("kayenta needs lookback, the metric's interval, or start and end in every scope")
    try:
        return now - parse_go_duration(interval), now
    except ValueError as error:
        raise MetricError(f"interval of the metric: {error}") from error


def execution_id(answer: Any) -> str:
    """What was begun. Raises `MetricError`."""
    return _id(within(answer, "canaryExecutionId"), "a canaryExecutionId")


def look_request(metric: KayentaMetric, execution: str) -> Request:
    """How far the execution is."""
    return Request(f"{_address(metric)}/canary/{quote(execution, safe='')}", seconds=_TIMEOUT_SECONDS)


def score_of(answer: Any) -> int | None:
    """The score of an execution that is complete, None of one that isn't. Raises `MetricError`."""
    if within(answer, "complete") is not True:
        if isinstance(answer, dict):
            return None
        raise MetricError("Kayenta answered something that is no execution")
    score = as_float(within(answer, "result", "judgeResult", "score", "score"))
    if score is None or not abs(score) < 2**31:
        status = within(answer, "status") or within(answer, "executionStatus")
        raise MetricError(f"the Kayenta execution ended without a score{f': {str(status)[:100]}' if status else ''}")
    return int(score)


def phase_of(score: int, threshold: KayentaThreshold) -> str:
    """What a score means; conditions have no part in it."""
    if score >= threshold.pass_:
        return SUCCESSFUL
    return INCONCLUSIVE if score >= threshold.marginal else FAILED


def _address(metric: KayentaMetric) -> str:
    return metric.address.rstrip("/")


def _has_times(scope: KayentaScope) -> bool:
    sides = (scope.control_scope, scope.experiment_scope)
    return all(side.start and side.end for side in sides)


def _scope(scope: KayentaScope, span: tuple[datetime, datetime]) -> dict[str, Any]:
    times = None if _has_times(scope) else span
    return {
        "controlScope": _side(scope.control_scope, times),
        "experimentScope": _side(scope.experiment_scope, times),
    }


def _side(side: KayentaScopeDetail, span: tuple[datetime, datetime] | None) -> dict[str, Any]:
    start, end = (side.start, side.end) if span is None else map(format_time, span)
    return {"scope": side.scope, "location": side.region, "step": side.step, "start": start, "end": end}


def _id(value: Any, what: str) -> str:
    if isinstance(value, str) and 0 < len(value) <= _LONGEST_ID and value.isascii() and value.isprintable():
        return value
    raise MetricError(f"Kayenta answered without {what}")


class Kayenta:
    """Begins an execution, and looks every 15 seconds whether it is complete. Without authentication."""

    kind = "kayenta"

    def __init__(self, http: Http) -> None:
        self._http = http

    async def run(self, order: Order, now: datetime) -> Measurement:
        """Begin. Raises `MetricError`."""
        refuse_problems(order.metric)
        metric = order.metric.provider.kayenta or KayentaMetric()
        times = span(metric, order.metric.interval, order.started_at, now)
        config = config_id(await self._ask(configs_request(metric)), metric)
        execution = execution_id(await self._ask(start_request(metric, config, times)))
        return Measurement(phase=RUNNING, metadata={EXECUTION: execution}, started_at=now, resume_at=now + WAIT)

    async def resume(self, order: Order, measurement: Measurement, now: datetime) -> Measurement:
        """Look whether there is a score. Raises `MetricError`."""
        metric = order.metric.provider.kayenta or KayentaMetric()
        execution = measurement.metadata.get(EXECUTION, "")
        if not execution:
            raise MetricError(f"the measurement has lost its {EXECUTION}: nothing can be looked at")
        score = score_of(await self._ask(look_request(metric, execution)))
        if score is None:
            return measurement.model_copy(update={"resume_at": now + WAIT})
        phase = phase_of(score, metric.threshold)
        return measurement.model_copy(
            update={"phase": phase, "value": str(score), "finished_at": now, "resume_at": None}
        )

    async def terminate(self, order: Order, measurement: Measurement, now: datetime) -> Measurement:
        """Stop waiting. Kayenta has no way to end an execution that was begun without a pipeline."""
        ended = {"phase": INCONCLUSIVE, "message": "Metric Terminated", "finished_at": now, "resume_at": None}
        return measurement.model_copy(update=ended)

    async def collect_garbage(self, order: Order, limit: int) -> None:
        """Executions are Kayenta's to keep."""

    async def metadata(self, order: Order) -> Mapping[str, str]:
        """Nothing: the execution's id is in each measurement."""
        return {}

    async def _ask(self, request: Request) -> Any:
        answer = await self._http.send(request)
        refuse_status(answer, "Kayenta")
        return await read_beside(answer.body, lambda: decode(answer.body, "Kayenta"))
