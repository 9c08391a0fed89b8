"""What a metric's provider must say beyond its schema (docs/behaviour.md §18).

One place for `gor validate`, where a template may still have ``{{args.…}}`` in a field, and for a measurement, where
it has none: a field with a tag is not judged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, Final

from gitops_rollouts.api.durations import parse_go_duration
from gitops_rollouts.api.metric_providers import (
    DATADOG_AGGREGATORS,
    CloudWatchMetric,
    DatadogMetric,
    KayentaMetric,
    MetricProvider,
    NewRelicMetric,
    SkyWalkingMetric,
)
from gitops_rollouts.api.validation.asked_providers import prometheus_problems, web_problems
from gitops_rollouts.api.validation.errors import FieldError, forbidden, required, unsupported

_ID: Final = re.compile(r"[a-z][A-Za-z0-9_]*")
_DATADOG_VERSIONS: Final = ("", "v1", "v2")
_Rule = tuple[str, Any, Callable[[Any, str], Iterator[FieldError]]]
_AGGREGATORS: Final = ("", *DATADOG_AGGREGATORS)


def provider_problems(provider: MetricProvider, path: str) -> Iterator[FieldError]:
    """What is wrong with each provider that is set. ``path``: of ``provider``, such as ``metrics[0].provider``."""
    rules: tuple[_Rule, ...] = (
        ("datadog", provider.datadog, _datadog),
        ("newRelic", provider.new_relic, _new_relic),
        ("cloudWatch", provider.cloud_watch, _cloud_watch),
        ("skywalking", provider.skywalking, _skywalking),
        ("kayenta", provider.kayenta, _kayenta),
        ("graphite", provider.graphite, _addressed),
        ("wavefront", provider.wavefront, _addressed),
        ("influxdb", provider.influxdb, _queried),
        ("plugin", provider.plugin or None, _plugin),
        ("prometheus", provider.prometheus, prometheus_problems),
        ("web", provider.web, web_problems),
    )
    for kind, value, check in rules:
        if value is not None:
            yield from check(value, f"{path}.{kind}")


def _datadog(metric: DatadogMetric, path: str) -> Iterator[FieldError]:
    version = metric.api_version
    if not _templated(version) and version not in _DATADOG_VERSIONS:
        yield unsupported(f"{path}.apiVersion", version, _DATADOG_VERSIONS[1:])
    if metric.query and metric.queries:
        yield forbidden(path, "cannot have both query and queries: a query alone, or queries with a formula")
    if not metric.query and not metric.queries:
        yield required(path, "must have a query or queries")
    if version in ("", "v1"):
        newer = {"queries": metric.queries, "formula": metric.formula, "aggregator": metric.aggregator}
        for key in (key for key, value in newer.items() if value):
            yield forbidden(f"{path}.{key}", "only apiVersion v2 knows it; v1 takes one query")
    if metric.formula and not metric.queries:
        yield forbidden(f"{path}.formula", "a formula needs queries")
    if len(metric.queries) > 1 and not metric.formula:
        yield required(f"{path}.formula", "several queries need a formula")
    if not _templated(metric.aggregator) and metric.aggregator not in _AGGREGATORS:
        yield unsupported(f"{path}.aggregator", metric.aggregator, _AGGREGATORS[1:])
    if metric.secret_ref.namespaced and not metric.secret_ref.name:
        yield required(f"{path}.secretRef.name", "a Secret in the run's namespace needs a name")
    yield from _duration(metric.interval, f"{path}.interval", above_zero=False)
    yield from _duration(metric.request_timeout, f"{path}.requestTimeout", above_zero=True)


def _new_relic(metric: NewRelicMetric, path: str) -> Iterator[FieldError]:
    if metric.timeout is not None and metric.timeout < 0:
        yield FieldError(f"{path}.timeout", "must not be negative", metric.timeout)
    yield from _queried(metric, path)


def _cloud_watch(metric: CloudWatchMetric, path: str) -> Iterator[FieldError]:
    yield from _duration(metric.interval, f"{path}.interval", above_zero=True)
    if not metric.metric_data_queries:
        yield required(f"{path}.metricDataQueries", "must have at least one query")
    for index, query in enumerate(metric.metric_data_queries):
        at = f"{path}.metricDataQueries[{index}]"
        if not _templated(query.id) and not _ID.fullmatch(query.id):
            yield FieldError(f"{at}.id", "must be letters, digits and _ and begin with a lowercase letter", query.id)
        if (query.expression is None) == (query.metric_stat is None):
            yield required(at, "must have an expression or a metricStat, and not both")
        periods = {"period": query.period, "metricStat.period": query.metric_stat and query.metric_stat.period}
        for key, period in periods.items():
            if seconds_of(period) is None and not _templated(period):
                yield FieldError(f"{at}.{key}", "must be a number of seconds", period)


def _skywalking(metric: SkyWalkingMetric, path: str) -> Iterator[FieldError]:
    if not metric.interval:
        yield required(f"{path}.interval", "the span of time that is asked for")
    yield from _duration(metric.interval, f"{path}.interval", above_zero=True)
    yield from _addressed(metric, path)


def _kayenta(metric: KayentaMetric, path: str) -> Iterator[FieldError]:
    if not metric.address:
        yield required(f"{path}.address")


def _addressed(metric: Any, path: str) -> Iterator[FieldError]:
    if not metric.address:
        yield required(f"{path}.address")
    yield from _queried(metric, path)


def _queried(metric: Any, path: str) -> Iterator[FieldError]:
    if not metric.query.strip():
        yield required(f"{path}.query")


def _plugin(metric: dict[str, Any], path: str) -> Iterator[FieldError]:
    if len(metric) > 1:
        yield forbidden(path, f"must name exactly one plugin, not {len(metric)}")


def seconds_of(period: Any) -> int | None:
    """A CloudWatch period in seconds, which may be text for arguments; 0 if there is none, None if it is no number."""
    if period is None or period == "":
        return 0
    if isinstance(period, str) and period.isascii() and period.isdigit() and len(period) < 10:
        return int(period)
    return period if isinstance(period, int) and not isinstance(period, bool) and period >= 0 else None


def _duration(text: str, path: str, *, above_zero: bool) -> Iterator[FieldError]:
    if not text or _templated(text):
        return
    try:
        duration = parse_go_duration(text)
    except ValueError:
        yield FieldError(path, "must be a duration such as 5m", text)
        return
    if above_zero and duration <= timedelta():
        yield FieldError(path, "must be longer than 0", text)


def _templated(value: Any) -> bool:
    return isinstance(value, str) and "{{" in value
