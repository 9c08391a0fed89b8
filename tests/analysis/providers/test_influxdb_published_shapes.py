"""docs/behaviour.md §18, influxdb, against InfluxDB's documentation: "Query data" of its API, and "Annotated CSV"."""

from __future__ import annotations

from typing import Any

import pytest

from analysis.orders import NOW, order, secrets
from gitops_rollouts.analysis.http import Http
from gitops_rollouts.analysis.providers.influxdb import Influxdb, read, server_from
from gitops_rollouts.analysis.reading import Reading
from gitops_rollouts.errors import MetricError
from http_server import HttpServer, Reply, serving

TABLES = """\
#group,false,false,true,true,false,false,true,true\r
#datatype,string,long,dateTime:RFC3339,dateTime:RFC3339,dateTime:RFC3339,double,string,string\r
#default,mean,,,,,,,\r
,result,table,_start,_stop,_time,_value,_field,host\r
,,0,2022-12-31T05:41:24Z,2023-01-31T05:41:24.001Z,2023-01-01T00:52:00Z,15.43,mem,A\r
,,1,2022-12-31T05:41:24Z,2023-01-31T05:41:24.001Z,2023-01-01T00:52:00Z,59.25,mem,"B, ""x""
y"\r
\r
#group,false,false,false\r
#datatype,string,long,long\r
#default,_result,,\r
,result,table,_value\r
,,0,7\r
\r
"""


async def ask(http: Http, answer: str, status: int = 200, **spec: Any) -> tuple[Reading, HttpServer]:
    async with serving(lambda seen: Reply(answer, status)) as server:
        known = {"address": f"{server.url}/", "authToken": "t0k", "org": "my org"}
        provider = Influxdb(http, secrets(influxdb=known, other={**known, "org": "o2"}))
        return await provider.read(order("influxdb", {"query": 'from(bucket:"b")', **spec}), NOW), server


async def test_the_values_of_all_tables_in_order(http: Http) -> None:
    reading, server = await ask(http, TABLES)
    assert reading == Reading([15.43, 59.25, 7], "[15.43,59.25,7]")
    (seen,) = server.seen
    assert (seen.method, seen.path, seen.query) == ("POST", "/api/v2/query", {"org": "my org"})
    assert seen.headers["Authorization"] == "Token t0k"
    assert (seen.headers["Content-Type"], seen.headers["Accept"]) == ("application/json", "application/csv")
    assert seen.json == {
        "query": 'from(bucket:"b")',
        "type": "flux",
        "dialect": {"annotations": ["datatype", "group", "default"], "delimiter": ",", "header": True},
    }
    _, server = await ask(http, TABLES, profile="other")
    assert server.seen[0].query == {"org": "o2"}


@pytest.mark.parametrize(
    ("kind", "cells", "values"),
    [
        ("double", ["1.5", "NaN", "+Inf", "1e3"], ["1.5", "nan", "inf", "1000.0"]),
        ("long", ["-3", ""], ["-3", "None"]),
        ("unsignedLong", ["7", "18446744073709551615"], ["7", "1.8446744073709552e+19"]),
        ("boolean", ["true", "false", "T", "0"], ["True", "False", "True", "False"]),
        ("string", ["ok", ""], ["'ok'", "''"]),
        ("duration", ["1m", ""], ["'1m'", "None"]),
        ("dateTime:RFC3339", ["2023-01-01T00:52:00Z"], ["'2023-01-01T00:52:00Z'"]),
        ("base64Binary", ["eA=="], ["'eA=='"]),
        ("", ["5"], ["'5'"]),
    ],
)
def test_values_have_the_types_that_are_announced(kind: str, cells: list[str], values: list[str]) -> None:
    text = f"#datatype,string,{kind}\n#default,,\n,result,_value\n" + "".join(f",r,{cell}\n" for cell in cells)
    assert [repr(value) for value in read(text).result] == values


def test_defaults_stand_for_empty_cells_and_short_rows() -> None:
    assert read("#datatype,string,long\n#default,,9\n,result,_value\n,r,\n,r\n,r,4\n").result == [9, 9, 4]
    # without annotations, and without the column, a record still counts
    assert read(",result,_value\n,r,x\n").result == ["x"]
    assert read("#datatype,string,long\n,result,mean\n,r,3\n").result == [None]


@pytest.mark.parametrize(
    ("answer", "status", "told"),
    [
        ("", 200, "no values found"),
        ("\r\n\r\n", 200, "no values found"),
        ("#datatype,string,long\n#default,,\n,result,_value\n", 200, "no values found"),
        ("#datatype,string,string\n#group,true,true\n#default,,\n,error,reference\n,failed to read: x,897\n", 200,
         "InfluxDB could not answer the query: failed to read: x"),
        (TABLES + "error,reference\r\nengine: context deadline exceeded,\r\n", 200,
         "InfluxDB could not answer the query: engine: context deadline exceeded"),
        ("#datatype,string,long\n,result,_value\n,r,many\n", 200,
         "InfluxDB answered 'many' where it announced a long"),
        ("#datatype,string,boolean\n,result,_value\n,r,maybe\n", 200,
         "InfluxDB answered 'maybe' where it announced a boolean"),
        ("#datatype,string,string\n,result,_value\n,r," + "x" * 200_000, 200,
         "InfluxDB answered something that is no annotated CSV: field larger than field limit (131072)"),
        ('{"code":"unauthorized","message":"t0k is no token"}', 401,
         'InfluxDB answered with status 401: {"code":"unauthorized","message":"***** is no token"}'),
        ('{"code":"too many requests"}', 429, 'InfluxDB answered with status 429: {"code":"too many requests"}'),
        ('{"code":"invalid","message":"error @1:1"}', 400,
         'InfluxDB answered with status 400: {"code":"invalid","message":"error @1:1"}'),
    ],
)  # fmt: skip
async def test_errors_are_told_without_the_token(http: Http, answer: str, status: int, told: str) -> None:
    with pytest.raises(MetricError) as raised:
        await ask(http, answer, status)
    assert raised.value.message == told


def test_a_secret_needs_all_three_keys() -> None:
    with pytest.raises(MetricError, match="the Secret 'x' has no authToken and no org"):
        server_from({"address": "http://x", "org": " "}, "the Secret 'x'")
