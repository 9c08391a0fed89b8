"""InfluxDB: the values of all records that a Flux query answers (docs/behaviour.md §18)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any, Final
from urllib.parse import urlencode

import orjson

from gitops_rollouts.analysis.hiding import note_secret
from gitops_rollouts.analysis.http import Http, Request
from gitops_rollouts.analysis.large_answers import MOST_VALUES, read_beside
from gitops_rollouts.analysis.provider import Order
from gitops_rollouts.analysis.providers.at_once import AtOnce
from gitops_rollouts.analysis.providers.refusing import refuse_status
from gitops_rollouts.analysis.reading import Reading, as_float, list_text, short
from gitops_rollouts.analysis.secrets import Secrets
from gitops_rollouts.api.metric_providers import InfluxdbMetric
from gitops_rollouts.errors import MetricError

DEFAULT_SECRET: Final = "influxdb"  # noqa: S105  a name
_TIMEOUT_SECONDS: Final = 30.0
_KEYS: Final = ("address", "authToken", "org")
_ERROR_IN_MIDSTREAM: Final = ["error", "reference"]
"""The header of an error that comes after records: it has neither annotations nor their column."""
_TRUE: Final = ("true", "t", "1")
_FALSE: Final = ("false", "f", "0")


@dataclass(frozen=True, slots=True)
class Server:
    """Who asks, and whom. The token is secret."""

    address: str
    token: str
    org: str


def server_from(data: Mapping[str, str], source: str) -> Server:
    """Read what a Secret holds; ``source`` names it. Raises `MetricError` if a key is missing."""
    missing = [key for key in _KEYS if not data.get(key, "").strip()]
    if missing:
        raise MetricError(f"{source} has no {' and no '.join(missing)}", remedy="put the address and token there")
    return Server(data["address"].strip(), data["authToken"].strip(), data["org"].strip())


def request(metric: InfluxdbMetric, server: Server) -> Request:
    """The query, to be answered in annotated CSV."""
    dialect = {"annotations": ["datatype", "group", "default"], "delimiter": ",", "header": True}
    body = orjson.dumps({"query": metric.query, "type": "flux", "dialect": dialect})
    headers = (
        ("Authorization", f"Token {server.token}"),
        ("Content-Type", "application/json"),
        ("Accept", "application/csv"),
    )
    url = f"{server.address.rstrip('/')}/api/v2/query?{urlencode({'org': server.org})}"
    return Request(url, "POST", headers, body, _TIMEOUT_SECONDS, repeatable=True)


def read(text: str) -> Reading:
    """The column ``_value`` of all records of all tables, in order. Raises `MetricError`."""
    values = list(islice(_values(text), MOST_VALUES + 1))
    if len(values) > MOST_VALUES:
        raise MetricError(f"InfluxDB answered with more than {MOST_VALUES} values", remedy="ask for fewer")
    if not values:
        raise MetricError("no values found")
    return Reading(values, list_text(values))


@dataclass(slots=True)
class _Table:
    """The columns of the tables that follow."""

    types: list[str] = field(default_factory=list)
    defaults: list[str] = field(default_factory=list)
    header: list[str] | None = None


def _values(text: str) -> Iterator[Any]:
    table = _Table()
    for row in _rows(text):
        if row[0].startswith("#"):
            if table.header is not None:
                table = _Table()
            if row[0] == "#datatype":
                table.types = row
            elif row[0] == "#default":
                table.defaults = row
        elif table.header is None or row == _ERROR_IN_MIDSTREAM:
            table.header = row
        else:
            yield _value(table, table.header, row)


def _rows(text: str) -> Iterator[list[str]]:
    """The lines as cells, without empty ones: those part tables, each of which begins with annotations."""
    try:
        yield from (row for row in csv.reader(io.StringIO(text, newline="")) if any(row))
    except csv.Error as error:
        raise MetricError(f"InfluxDB answered something that is no annotated CSV: {error}") from error


def _value(table: _Table, header: list[str], row: list[str]) -> Any:
    if "error" in header and "_value" not in header:
        told = dict(zip(header, row, strict=False)).get("error", "")
        raise MetricError(f"InfluxDB could not answer the query: {short(told) or 'no reason given'}")
    try:
        at = header.index("_value")
    except ValueError:
        return None
    cell = row[at] if at < len(row) else ""
    if cell == "":
        cell = table.defaults[at] if at < len(table.defaults) else ""
    return _typed(cell, table.types[at] if at < len(table.types) else "string")


def _typed(cell: str, kind: str) -> Any:
    """A cell as its ``#datatype`` says: numbers and booleans as such, all else as text; an empty one is null."""
    if kind == "string":
        return cell
    if cell == "":
        return None
    try:
        match kind:
            case "double":
                return float(cell)
            case "long" | "unsignedLong":
                return _whole(int(cell))
            case "boolean":
                return _boolean(cell)
    except ValueError:
        raise MetricError(f"InfluxDB answered {cell[:40]!r} where it announced a {kind}") from None
    return cell


def _whole(number: int) -> int | float:
    """A condition's ints have 64 bits."""
    return number if -(2**63) <= number < 2**63 else (as_float(number) or 0)


def _boolean(cell: str) -> bool:
    lower = cell.lower()
    if lower not in _TRUE + _FALSE:
        raise ValueError(cell)
    return lower in _TRUE


class Influxdb(AtOnce):
    """The server comes from the Secret that ``profile`` names."""

    kind = "influxdb"

    def __init__(self, http: Http, secrets: Secrets) -> None:
        self._http = http
        self._secrets = secrets

    async def read(self, order: Order, now: datetime) -> Reading:
        """The values of the query. Raises `MetricError`."""
        metric = order.metric.provider.influxdb or InfluxdbMetric()
        profile = metric.profile or DEFAULT_SECRET
        server = server_from(await self._secrets.read(profile), f"the Secret {profile!r}")
        note_secret(server.token)
        answer = await self._http.send(request(metric, server))
        refuse_status(answer, "InfluxDB", server.token)
        return await read_beside(answer.body, lambda: read(answer.text))
