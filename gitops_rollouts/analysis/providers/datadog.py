"""Datadog: one number of a query, or one a group (docs/behaviour.md §18)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode

import orjson

from gitops_rollouts.analysis.conditions.values import Vector
from gitops_rollouts.analysis.hiding import note_secret
from gitops_rollouts.analysis.http import Answer, Http, Request
from gitops_rollouts.analysis.large_answers import read_beside
from gitops_rollouts.analysis.provider import Order
from gitops_rollouts.analysis.providers.at_once import AtOnce
from gitops_rollouts.analysis.reading import (
    Reading,
    as_float,
    decode,
    excerpt,
    json_text,
    list_text,
    number_text,
    rows,
    short,
    within,
)
from gitops_rollouts.analysis.secrets import Secrets
from gitops_rollouts.api.durations import parse_go_duration
from gitops_rollouts.api.metric_providers import DatadogMetric
from gitops_rollouts.errors import MetricError

DEFAULT_ADDRESS: Final = "https://api.datadoghq.com"
DEFAULT_SECRET: Final = "datadog"  # noqa: S105  a name
_TIMEOUT_SECONDS: Final = 10.0
_MOST_GROUPS: Final = 100
_LONGEST_NAME: Final = 100
_NOTHING: Final = Reading(None, "[]")


@dataclass(frozen=True, slots=True)
class Keys:
    """Who asks, and whom. Both keys are secret."""

    api_key: str
    app_key: str
    address: str = DEFAULT_ADDRESS


def keys_from(data: Mapping[str, str], source: str) -> Keys:
    """Read what a Secret holds; ``source`` names it. Raises `MetricError` if a key is missing."""
    missing = [key for key in ("api-key", "app-key") if not data.get(key, "").strip()]
    if missing:
        raise MetricError(f"{source} has no {' and no '.join(missing)}", remedy="put the keys of Datadog there")
    return Keys(data["api-key"].strip(), data["app-key"].strip(), data.get("address", "").strip() or DEFAULT_ADDRESS)


def keys_of_environment(environment: Mapping[str, str]) -> Keys | None:
    """``DD_API_KEY``, ``DD_APP_KEY`` and ``DD_ADDRESS``, if all three are set."""
    api_key, app_key, address = (environment.get(name, "") for name in ("DD_API_KEY", "DD_APP_KEY", "DD_ADDRESS"))
    return Keys(api_key, app_key, address) if api_key and app_key and address else None


def span(metric: DatadogMetric, now: datetime) -> tuple[datetime, datetime]:
    """From when to when: the last ``interval``."""
    interval = parse_go_duration(metric.interval) if metric.interval else timedelta(minutes=5)
    return now - interval, now


def request(metric: DatadogMetric, keys: Keys, now: datetime) -> Request:
    """API v1's query with times in seconds, or API v2's scalar request with times in milliseconds."""
    start, end = span(metric, now)
    address, seconds = keys.address.rstrip("/"), _seconds(metric)
    identity = (("DD-API-KEY", keys.api_key), ("DD-APPLICATION-KEY", keys.app_key))
    if metric.api_version != "v2":
        query = urlencode({"query": metric.query, "from": int(start.timestamp()), "to": int(end.timestamp())})
        return Request(f"{address}/api/v1/query?{query}", headers=identity, seconds=seconds)
    attributes: dict[str, Any] = {
        "from": int(start.timestamp() * 1000),
        "to": int(end.timestamp() * 1000),
        "queries": [
            {"aggregator": metric.aggregator or "last", "data_source": "metrics", "name": name, "query": query}
            for name, query in (metric.queries or {"query": metric.query}).items()
        ],
    }
    if metric.formula:
        attributes["formulas"] = [{"formula": metric.formula}]
    body = orjson.dumps({"data": {"type": "scalar_request", "attributes": attributes}})
    headers = (*identity, ("Content-Type", "application/json"))
    return Request(f"{address}/api/v2/query/scalar", "POST", headers, body, seconds, repeatable=True)


def _seconds(metric: DatadogMetric) -> float:
    return parse_go_duration(metric.request_timeout).total_seconds() if metric.request_timeout else _TIMEOUT_SECONDS


def read_v1(answer: Any) -> Reading:
    """The last point of the first series. Raises `MetricError`."""
    _refuse(within(answer, "error") if within(answer, "status") == "error" else None)
    _refuse(within(answer, "errors"))
    value = as_float(within(answer, "series", 0, "pointlist", -1, 1))
    return _NOTHING if value is None else Reading(value, number_text(value))


def read_v2(answer: Any) -> Reading:
    """The first number column: one value, or one a group if there is any group column. Raises `MetricError`."""
    _refuse(within(answer, "errors"))
    _refuse(within(answer, "data", "errors"))
    columns = rows(within(answer, "data", "attributes", "columns"))
    if not columns and not isinstance(within(answer, "data"), Mapping):
        raise MetricError("Datadog answered without data")
    groups = [rows(within(column, "values")) for column in columns if within(column, "type") == "group"]
    numbers = next((column for column in columns if within(column, "type") in ("number", None)), None)
    values = [as_float(value) for value in rows(within(numbers, "values"))]
    if groups:
        return _grouped(groups, values)
    first = next((value for value in values if value is not None), None)
    return _NOTHING if first is None else Reading(first, number_text(first))


def _grouped(groups: list[list[Any]], values: list[float | None]) -> Reading:
    named = [
        (",".join(_tags(column[row]) for column in groups if row < len(column)), value)
        for row, value in enumerate(values)
        if value is not None
    ]
    if not named:
        return _NOTHING
    shown, metadata = named, {}
    if len(named) > _MOST_GROUPS:
        ordered = sorted(named, key=lambda one: one[1])
        shown = ordered[: _MOST_GROUPS // 2] + ordered[-_MOST_GROUPS // 2 :]
        metadata["groups_truncated"] = "true"
    entries = [{"name": short(name, _LONGEST_NAME), "value": value} for name, value in shown]
    metadata["groups"] = orjson.dumps(entries).decode()
    numbers = [value for _, value in named]
    return Reading(Vector(numbers), list_text(numbers), metadata)


def _tags(value: Any) -> str:
    """A cell of a group column is a list of tag values."""
    return ",".join(str(tag) for tag in value) if isinstance(value, list) else str(value)


def refusal(answer: Answer, keys: Keys) -> MetricError | None:
    """What an HTTP status other than 200 means."""
    if answer.status == 200:
        return None
    told = f"{answer.status} {excerpt(answer.body, keys.api_key, keys.app_key)}".rstrip()
    if answer.status in (401, 403):
        return MetricError(f"received authentication error response code: {told}")
    return MetricError(f"received non 2xx response code: {told}")


def _refuse(errors: Any) -> None:
    if errors:
        raise MetricError(
            f"There were errors in your query: {errors if isinstance(errors, str) else json_text(errors)}"
        )


class Datadog(AtOnce):
    """Keys come from the Secret that the metric names, else from the environment, else from the Secret ``datadog``."""

    kind = "datadog"

    def __init__(self, http: Http, secrets: Secrets, environment: Mapping[str, str]) -> None:
        self._http = http
        self._secrets = secrets
        self._environment = environment

    async def read(self, order: Order, now: datetime) -> Reading:
        """The value of the query. Raises `MetricError`."""
        metric = order.metric.provider.datadog or DatadogMetric()
        keys = await self._keys(metric, order.namespace)
        note_secret(keys.api_key, keys.app_key)
        answer = await self._http.send(request(metric, keys, now))
        refused = refusal(answer, keys)
        if refused is not None:
            raise refused
        read = read_v2 if metric.api_version == "v2" else read_v1
        return await read_beside(answer.body, lambda: read(decode(answer.body, "Datadog")))

    async def _keys(self, metric: DatadogMetric, namespace: str) -> Keys:
        ref = metric.secret_ref
        if not ref.name:
            known = keys_of_environment(self._environment)
            if known is not None:
                return known
        name = ref.name or DEFAULT_SECRET
        data = await self._secrets.read(name, namespace if ref.namespaced else None)
        return keys_from(data, f"the Secret {name!r}")
