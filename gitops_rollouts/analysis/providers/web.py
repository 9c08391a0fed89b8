"""Any HTTP server that answers with JSON or text (docs/behaviour.md §18)."""

from __future__ import annotations

import json
import math
from datetime import datetime
from typing import Any, Final

import orjson

from gitops_rollouts.analysis.http import Answer, Http, Request
from gitops_rollouts.analysis.jsonpath import PathError
from gitops_rollouts.analysis.jsonpath_search import find
from gitops_rollouts.analysis.large_answers import read_beside, refuse_many_values
from gitops_rollouts.analysis.oauth2 import Tokens
from gitops_rollouts.analysis.provider import Order
from gitops_rollouts.analysis.providers.at_once import AtOnce
from gitops_rollouts.analysis.reading import Reading, json_text, short
from gitops_rollouts.api.metric_providers import WebMetric
from gitops_rollouts.errors import MetricError

_TIMEOUT_SECONDS: Final = 10.0
_WHOLE: Final = "{$}"


class Web(AtOnce):
    """One request a measurement."""

    kind = "web"

    def __init__(self, http: Http, tokens: Tokens) -> None:
        self._http = http
        self._tokens = tokens

    async def read(self, order: Order, now: datetime) -> Reading:
        """What the path finds in a JSON answer, else the answer's text. Raises `MetricError`."""
        metric = order.metric.provider.web or WebMetric()
        request = _request(metric)
        oauth2 = metric.authentication.oauth2
        token = await self._tokens.header(oauth2, insecure=metric.insecure, seconds=request.seconds)
        answer = await self._http.send(_request(metric, token))
        if answer.status == 401 and token is not None:
            self._tokens.refused(oauth2, insecure=metric.insecure)
        if not answer.ok:
            raise MetricError(f"received non 2xx response code: {answer.status}")
        return await read_beside(answer.body, lambda: _reading(answer, metric.json_path or _WHOLE))


def _request(metric: WebMetric, token: tuple[str, str] | None = None) -> Request:
    headers = [(header.key, header.value) for header in metric.headers]
    body = metric.body.encode(errors="replace") if metric.body else None
    if metric.json_body is not None:
        headers.append(("Content-Type", "application/json"))
        body = orjson.dumps(metric.json_body)
    if token is not None:
        headers.append(token)
    seconds = float(metric.timeout_seconds) if metric.timeout_seconds > 0 else _TIMEOUT_SECONDS
    return Request(metric.url, metric.method or "GET", tuple(headers), body, seconds, metric.insecure)


def _reading(answer: Answer, path: str) -> Reading:
    text = answer.text
    if text[:1024].lstrip()[:1] in ("[", "{"):
        refuse_many_values(answer.body, answer.url)
    try:
        document = json.loads(text, parse_int=_number, parse_float=_number, parse_constant=_number)
    except (ValueError, RecursionError):
        return Reading(text, short(text))
    try:
        found = find(path, document)
    except PathError as error:
        raise MetricError(f"Could not find JSONPath in body: {error.message}") from None
    if not found:
        raise MetricError("result of web metric produced no value")
    return Reading(found[0], _value(found[0]))


def _number(text: str) -> float:
    """Every number is a float. One that is too large for it, NaN and Infinity are no JSON."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _value(result: Any) -> str:
    """The result as JSON, whole numbers without a fraction."""
    try:
        return json_text(_whole(result))
    except RecursionError:
        return short(repr(type(result).__name__))


def _whole(value: Any) -> Any:
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 1e15 else value
    if isinstance(value, list):
        return [_whole(one) for one in value]
    return {key: _whole(one) for key, one in value.items()} if isinstance(value, dict) else value
