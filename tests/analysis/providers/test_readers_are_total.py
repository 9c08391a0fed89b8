"""docs/behaviour.md §18: answers are hostile, so that a reader gives a reading or a MetricError for anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.orders import NOW
from gitops_rollouts.analysis.providers import (
    cloud_watch,
    datadog,
    graphite,
    influxdb,
    kayenta,
    new_relic,
    skywalking,
    wavefront,
)
from gitops_rollouts.analysis.reading import LONGEST_TEXT, Reading, decode
from gitops_rollouts.errors import MetricError

WORDS = """
    data attributes columns type values name errors error status series pointlist actor account nrql results message
    timeseries errorType warnings target datapoints complete result judgeResult score canaryExecutionId id
    MetricDataResults Values Timestamps Messages Id Code Value
"""
KEYS = st.sampled_from(WORDS.split())
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8),
    st.sampled_from(["group", "number", "error", 0, 1, 10**400, -1.5, "\ud800"]),
)  # fmt: skip
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=30
)
READERS: dict[str, Callable[[Any], Any]] = {
    "datadog v1": datadog.read_v1,
    "datadog v2": datadog.read_v2,
    "newRelic": new_relic.read,
    "wavefront": lambda answer: wavefront.read(answer, NOW),
    "graphite": graphite.read,
    "skywalking": skywalking.read,
    "cloudWatch": lambda answer: cloud_watch.read(answer if isinstance(answer, dict) else {}),
    "kayenta score": kayenta.score_of,
    "kayenta start": kayenta.execution_id,
}
AROUND: dict[str, Callable[[Any], Any]] = {
    "datadog v1": lambda x: {"series": [{"pointlist": x}]},
    "datadog v2": lambda x: {"data": {"attributes": {"columns": x}}},
    "newRelic": lambda x: {"data": {"actor": {"account": {"nrql": {"results": x}}}}},
    "wavefront": lambda x: {"timeseries": [{"data": x}, x]},
    "graphite": lambda x: [{"datapoints": x}],
    "skywalking": lambda x: {"data": x},
    "cloudWatch": lambda x: {"MetricDataResults": x},
    "kayenta score": lambda x: {"complete": True, "result": x},
    "kayenta start": lambda x: {"canaryExecutionId": x},
}
CELLS = [
    "",
    "#datatype",
    "#default",
    "long",
    "double",
    "boolean",
    "string",
    "_value",
    "error",
    "r",
    "7",
    "x",
    '"',
    "\r",
]
CELLS += ["1e999", "9" * 30, "9" * 400, "reference", "nan"]
LINES = st.lists(st.lists(st.sampled_from(CELLS), max_size=5).map(",".join), max_size=8).map("\n".join)


def check(read: Callable[[], Any]) -> None:
    try:
        found = read()
    except MetricError:
        return
    if isinstance(found, Reading):
        assert len(found.value) <= LONGEST_TEXT
        # all of it can be kept in a status
        orjson.dumps([found.value, dict(found.metadata)])


@pytest.mark.parametrize("reader", READERS)
@given(answer=JSON)
def test_any_json(reader: str, answer: Any) -> None:
    check(lambda: READERS[reader](answer))
    check(lambda: READERS[reader](AROUND[reader](answer)))


@given(text=LINES | st.text())
def test_any_csv(text: str) -> None:
    check(lambda: influxdb.read(text))


@given(body=st.binary())
def test_any_body(body: bytes) -> None:
    check(lambda: decode(body, "it"))
