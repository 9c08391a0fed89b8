"""Prometheus, and what speaks its API: an instant query or one over a span of time (docs/behaviour.md §18)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

from yarl import URL

from gitops_rollouts.analysis.conditions import Vector, evaluate_duration, evaluate_time
from gitops_rollouts.analysis.http import Answer, Http, Request, basic_auth
from gitops_rollouts.analysis.large_answers import read_beside
from gitops_rollouts.analysis.oauth2 import Tokens
from gitops_rollouts.analysis.provider import Order
from gitops_rollouts.analysis.providers.at_once import AtOnce
from gitops_rollouts.analysis.reading import Reading, decode, list_text, number_text, rows, short, within
from gitops_rollouts.analysis.sigv4 import Signer
from gitops_rollouts.api.metric_providers import PrometheusMetric, RangeQuery
from gitops_rollouts.errors import ConditionError, MetricError

ADDRESS_VARIABLE: Final = "ARGO_ROLLOUTS_PROMETHEUS_ADDRESS"
_TIMEOUT_SECONDS: Final = 30.0
_REFUSES_POST: Final = frozenset({403, 405, 501})
_MANAGED_BY_AWS: Final = "aps-workspaces"

T = TypeVar("T")


class Prometheus(AtOnce):
    """One query a measurement."""

    kind = "prometheus"

    def __init__(self, http: Http, tokens: Tokens, environ: Mapping[str, str]) -> None:
        self._http = http
        self._tokens = tokens
        self._signer = Signer()
        self._environ = environ

    async def read(self, order: Order, now: datetime) -> Reading:
        """A float of a scalar, a list of floats of a vector or a matrix. Raises `MetricError`."""
        metric = order.metric.provider.prometheus or PrometheusMetric()
        address = self._address(metric)
        path, form = _question(metric, now)
        answer = await self._ask(metric, address, path, form)
        return await read_beside(answer.body, lambda: _reading(answer))

    async def metadata(self, order: Order) -> Mapping[str, str]:
        """The query with its arguments."""
        metric = order.metric.provider.prometheus
        return {"ResolvedPrometheusQuery": short(metric.query)} if metric is not None and metric.query else {}

    def _address(self, metric: PrometheusMetric) -> URL:
        text = metric.address or self._environ.get(ADDRESS_VARIABLE, "")
        if not text:
            raise MetricError(
                "prometheus address is not configured",
                remedy=f"set address in the metric, or {ADDRESS_VARIABLE} for the controller",
            )
        try:
            url = URL(text.strip())
            if url.scheme in {"http", "https"} and url.host:
                return url.with_fragment(None)
        except ValueError:
            pass
        raise MetricError("prometheus address is not in url format, such as http://prometheus.monitoring:9090")

    async def _ask(self, metric: PrometheusMetric, address: URL, path: str, form: dict[str, str]) -> Answer:
        """By POST, as queries may be long; by GET where the server or what is before it wants no POST."""
        url = address.with_path(address.path.rstrip("/") + path, keep_query=True)
        posted = Request(
            str(url),
            "POST",
            (("Content-Type", "application/x-www-form-urlencoded"), *_given(metric)),
            urlencode(form).encode(),
            float(metric.timeout or _TIMEOUT_SECONDS),
            metric.insecure,
            repeatable=True,
        )
        answer = await self._send(metric, posted)
        if answer.status not in _REFUSES_POST:
            return answer
        got = replace(posted, url=str(url.extend_query(form)), method="GET", headers=_given(metric), body=None)
        return await self._send(metric, got)

    async def _send(self, metric: PrometheusMetric, request: Request) -> Answer:
        given = metric.authentication
        if given.basic_auth.username:
            value = basic_auth(given.basic_auth.username, given.basic_auth.password)
            return await self._http.send(_with(request, ("Authorization", value)))
        token = await self._tokens.header(given.oauth2, insecure=request.insecure, seconds=request.seconds)
        if token is not None:
            answer = await self._http.send(_with(request, token))
            if answer.status == 401:
                self._tokens.refused(given.oauth2, insecure=request.insecure)
            return answer
        if _MANAGED_BY_AWS in request.url:
            request = await self._signer.signed(given.sigv4, request)
        return await self._http.send(request)


def _given(metric: PrometheusMetric) -> tuple[tuple[str, str], ...]:
    return tuple((header.key, header.value) for header in metric.headers)


def _with(request: Request, header: tuple[str, str]) -> Request:
    return replace(request, headers=(*request.headers, header))


def _question(metric: PrometheusMetric, now: datetime) -> tuple[str, dict[str, str]]:
    """Path and form of the query. Raises `MetricError`."""
    if metric.range_query is None:
        return "/api/v1/query", {"query": metric.query, "time": _seconds(now)}
    return "/api/v1/query_range", {"query": metric.query, **_span(metric.range_query, now)}


def _span(given: RangeQuery, now: datetime) -> dict[str, str]:
    step = _asked("step", lambda: evaluate_duration(given.step))
    start = _asked("start", lambda: evaluate_time(given.start, now))
    end = _asked("end", lambda: evaluate_time(given.end, now))
    return {"start": _seconds(start), "end": _seconds(end), "step": number_text(step.total_seconds())}


def _asked(name: str, evaluate: Callable[[], T]) -> T:
    try:
        return evaluate()
    except ConditionError as error:
        raise MetricError(f"failed to parse rangeQuery.{name}: {error.message}") from None


def _seconds(moment: datetime) -> str:
    return f"{moment.timestamp():.3f}"


def _reading(answer: Answer) -> Reading:
    try:
        body: Any = decode(answer.body, "Prometheus")
    except MetricError:
        if answer.ok:
            raise
        body = None
    if within(body, "status") == "error":
        kind, text = (str(within(body, key) or "")[:2000] for key in ("errorType", "error"))
        raise MetricError(f"{kind}: {text}" if kind else text or "Prometheus answered with an error")
    if not answer.ok:
        side = "server" if answer.status >= 500 else "client"
        raise MetricError(f"{side}_error: {side} error: {answer.status} from {answer.url}")
    kind, result = within(body, "data", "resultType"), within(body, "data", "result")
    if kind == "scalar":
        number = _sample(result)
        found = Reading(number, number_text(number))
    elif kind == "vector":
        found = _listed([_sample(within(series, "value")) for series in rows(result)])
    elif kind == "matrix":
        found = _listed([_sample(point) for series in rows(result) for point in rows(within(series, "values"))])
    else:
        raise MetricError("Prometheus metric type not supported")
    warnings = ", ".join(f'"{text}"' for text in rows(within(body, "warnings")))
    return replace(found, metadata={"warnings": short(warnings)}) if warnings else found


def _listed(numbers: list[float]) -> Reading:
    return Reading(Vector(numbers), list_text(numbers))


def _sample(point: Any) -> float:
    """``[seconds, "1.5"]``. Raises `MetricError`: a native histogram has no such value."""
    text = within(point, 1)
    try:
        number = float(text) if isinstance(text, str) else math.nan
    except ValueError:
        text = None
    if not isinstance(text, str):
        raise MetricError("Prometheus answered with a sample that is no number, such as a histogram")
    return number
