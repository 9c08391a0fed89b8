"""What a prometheus or web metric must say beyond its schema (docs/behaviour.md §18)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gitops_rollouts.api.durations import parse_go_duration
from gitops_rollouts.api.metric_providers import Authentication, PrometheusMetric, WebMetric
from gitops_rollouts.api.validation.errors import FieldError, forbidden, required, unsupported

_METHODS: Final = ("GET", "POST", "PUT")


def prometheus_problems(metric: PrometheusMetric, path: str) -> Iterator[FieldError]:
    """The address may be missing: the environment can name one."""
    if not metric.query.strip():
        yield required(f"{path}.query")
    if metric.timeout is not None and metric.timeout < 0:
        yield FieldError(f"{path}.timeout", "prometheus timeout should not be negative", metric.timeout)
    yield from _authentication(metric.authentication, f"{path}.authentication")
    if metric.range_query is None:
        return
    at = f"{path}.rangeQuery"
    for name, text in (("start", metric.range_query.start), ("end", metric.range_query.end)):
        if not text:
            yield required(f"{at}.{name}", 'an expression such as now() - duration("1h")')
    step = metric.range_query.step
    try:
        good = "{{" in step or parse_go_duration(step).total_seconds() > 0
    except ValueError:
        good = False
    if not good:
        yield FieldError(f"{at}.step", "must be a duration above 0, such as 1m", step)


def web_problems(metric: WebMetric, path: str) -> Iterator[FieldError]:
    """The messages are those that people know."""
    method = metric.method or "GET"
    if not metric.url:
        yield required(f"{path}.url")
    if "{{" not in method and method not in _METHODS:
        yield unsupported(f"{path}.method", method, _METHODS)
    if metric.body and metric.json_body is not None:
        yield forbidden(path, "use either Body or JSONBody; both cannot exists for WebMetric payload")
    elif (metric.body or metric.json_body is not None) and method == "GET":
        yield forbidden(path, "Body/JSONBody can only be used with POST or PUT WebMetric Method types")
    yield from _authentication(metric.authentication, f"{path}.authentication")


def _authentication(given: Authentication, path: str) -> Iterator[FieldError]:
    basic, oauth2 = given.basic_auth, given.oauth2
    for name, one, other in (
        ("username", basic.username, basic.password),
        ("password", basic.password, basic.username),
    ):
        if other and not one:
            text = f"missing mandatory parameter in metric for basic auth setup: {name}"
            yield required(f"{path}.basicAuth.{name}", text)
    if oauth2.token_url and not (oauth2.client_id and oauth2.client_secret):
        yield required(f"{path}.oauth2", "missing mandatory parameter in metric for OAuth2 setup")
