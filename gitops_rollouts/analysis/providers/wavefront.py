"""Wavefront: the point of each series that is nearest to now (docs/behaviour.md §18)."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode

from gitops_rollouts.analysis.conditions.values import Vector
from gitops_rollouts.analysis.hiding import note_secret
from gitops_rollouts.analysis.http import Http, Request
from gitops_rollouts.analysis.large_answers import read_beside
from gitops_rollouts.analysis.provider import Order
from gitops_rollouts.analysis.providers.at_once import AtOnce
from gitops_rollouts.analysis.providers.refusing import refuse_status
from gitops_rollouts.analysis.reading import Reading, as_float, decode, number_text, rows, short, within
from gitops_rollouts.analysis.secrets import Secrets
from gitops_rollouts.api.metric_providers import WavefrontMetric
from gitops_rollouts.errors import MetricError

SECRET: Final = "wavefront-api-tokens"  # noqa: S105  a name
"""One key an address, whose value is the token."""
_TIMEOUT_SECONDS: Final = 30.0


def request(metric: WavefrontMetric, token: str, now: datetime) -> Request:
    """One point at ``now``, to the second; series without a point in that second answer with an earlier one."""
    address = metric.address if "://" in metric.address else f"https://{metric.address}"
    moment = int(now.timestamp() * 1000)
    query = {"q": metric.query, "s": moment, "e": moment, "g": "s", "p": 1, "i": "true", "strict": "false"}
    url = f"{address.rstrip('/')}/api/v2/chart/api?{urlencode(query)}"
    return Request(url, headers=(("Authorization", f"Bearer {token}"),), seconds=_TIMEOUT_SECONDS)


def read(answer: Any, now: datetime) -> Reading:
    """A float, or a list of floats if there are several series. Raises `MetricError`."""
    if within(answer, "errorType"):
        told = within(answer, "errorMessage") or within(answer, "errorType")
        raise MetricError(f"Wavefront could not answer the query: {short(str(told))}")
    moment = int(now.timestamp())
    points = [
        point
        for series in rows(within(answer, "timeseries"))
        if (point := _nearest(rows(within(series, "data")), moment)) is not None
    ]
    if not points:
        raise MetricError("Wavefront found no data for the query")
    metadata = {
        "timestamps": short(",".join(number_text(time) for time, _ in points)),
        "drift": short(",".join(number_text(abs(time - moment)) for time, _ in points)),
    }
    if warnings := within(answer, "warnings"):
        metadata["warnings"] = short(str(warnings))
    values = [value for _, value in points]
    if len(values) == 1:
        return Reading(values[0], _two_digits(values[0]), metadata)
    return Reading(Vector(values), short(f"[{','.join(map(_two_digits, values))}]"), metadata)


def _nearest(points: list[Any], moment: int) -> tuple[float, float] | None:
    """``[seconds, value]`` of the point nearest to ``moment``."""
    read = [(as_float(within(point, 0)), as_float(within(point, 1))) for point in points]
    usable = [(time, value) for time, value in read if time is not None and value is not None]
    return min(usable, key=lambda point: abs(point[0] - moment), default=None)


def _two_digits(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else number_text(value)


class Wavefront(AtOnce):
    """The token comes from the Secret ``wavefront-api-tokens``, under the address."""

    kind = "wavefront"

    def __init__(self, http: Http, secrets: Secrets) -> None:
        self._http = http
        self._secrets = secrets

    async def read(self, order: Order, now: datetime) -> Reading:
        """The newest values of the query. Raises `MetricError`."""
        metric = order.metric.provider.wavefront or WavefrontMetric()
        token = (await self._secrets.read(SECRET)).get(metric.address, "").strip()
        if not token:
            raise MetricError(f"the Secret {SECRET!r} has no key {metric.address!r}", remedy="put the API token there")
        note_secret(token)
        answer = await self._http.send(request(metric, token, now))
        refuse_status(answer, "Wavefront", token)
        return await read_beside(answer.body, lambda: read(decode(answer.body, "Wavefront"), now))
