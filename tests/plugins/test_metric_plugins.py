"""docs/behaviour.md §18, plugin: metric providers that are Python packages, called in processes of their own."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gitops_rollouts.analysis.provider import Order
from gitops_rollouts.analysis.providers.plugin import PluginMetrics
from gitops_rollouts.api.analysis import Measurement, Metric
from gitops_rollouts.errors import LeadershipLost, MetricError
from gitops_rollouts.plugins.catalogue import METRIC_PROVIDERS, discover
from gitops_rollouts.plugins.configuration import read_configuration
from gitops_rollouts.plugins.pool import Plugins
from http_server import Reply, Seen, serving
from plugin_site import importing_from, install_example
from plugins.conftest import Fence

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(minutes=1)


def order(name: str, config: Any, **more: Any) -> Order:
    metric = {"name": "m", "successCondition": "result > 0", "provider": {"plugin": {name: config}}}
    body = {"metadata": {"name": "run", "namespace": "shop", "uid": "u1"}, "spec": {}, "status": {}}
    return Order("shop", "run", "u1", Metric.model_validate(metric), body=body, **more)


@pytest.fixture
def metrics(plugins: Plugins) -> PluginMetrics:
    """The provider, over the odd plugins."""
    return PluginMetrics(plugins)


async def test_a_plugin_gets_run_and_metric_and_judges_by_itself(metrics: PluginMetrics) -> None:
    taken = await metrics.run(order("odd/whole", {"do": "judges"}, taken=3), NOW)
    assert (taken.phase, taken.value, taken.message) == ("Successful", "0.25", "fine")
    assert (taken.started_at, taken.finished_at, taken.resume_at) == (NOW, NOW, None)
    pid = taken.metadata.pop("pid")
    assert taken.metadata == {"uid": "u1", "condition": "result > 0", "taken": "3"}
    assert int(pid) != os.getpid()
    assert await metrics.metadata(order("odd/whole", {"do": "judges"})) == {"query": "judges"}
    # neither without the method nor with one that fails is the measurement lost
    assert await metrics.metadata(order("odd/metric", {"do": "judges"})) == {}
    assert await metrics.metadata(order("odd/whole", {"do": "mute"})) == {}
    assert await metrics.metadata(order("odd/none", {})) == {}


async def test_a_running_measurement_is_resumed_with_what_it_told_before(metrics: PluginMetrics) -> None:
    began = await metrics.run(order("odd/whole", {"do": "begins"}), NOW)
    assert (began.phase, began.metadata, began.finished_at) == ("Running", {"job": "j1"}, None)
    assert began.resume_at == NOW + timedelta(seconds=10)
    again = await metrics.resume(order("odd/whole", {"do": "begins", "later": 90}), began, LATER)
    assert (again.phase, again.resume_at, again.started_at) == ("Running", LATER + timedelta(seconds=90), NOW)
    over = await metrics.resume(order("odd/whole", {"do": "begins"}), again, LATER)
    assert (over.phase, over.value, over.message, over.metadata) == ("Failed", "7", "Running j1", {"job": "j1"})
    assert (over.started_at, over.finished_at, over.resume_at) == (NOW, LATER, None)


async def test_a_running_measurement_is_ended(metrics: PluginMetrics, notes: Path) -> None:
    began = Measurement(phase="Running", started_at=NOW, metadata={"job": "j1"}, resume_at=LATER)
    ended = await metrics.terminate(order("odd/whole", {"end": "Successful"}), began, LATER)
    assert (ended.phase, ended.message, ended.finished_at) == ("Successful", "ended j1", LATER)
    with pytest.raises(MetricError, match="failed to terminate via plugin: plugin odd/whole answered with the phase"):
        await metrics.terminate(order("odd/whole", {"end": "Running"}), began, LATER)
    # a plugin without the method still lets the run end
    ended = await metrics.terminate(order("odd/metric", {}), began, LATER)
    assert (ended.phase, ended.message, ended.resume_at) == ("Inconclusive", "Metric Terminated", None)
    await metrics.collect_garbage(order("odd/whole", {}), 4)
    await metrics.collect_garbage(order("odd/metric", {}), 4)
    assert notes.read_text() == "collect 4;"


@pytest.mark.parametrize(
    ("name", "do", "told"),
    [
        ("odd/whole", "raises", "failed to run via plugin: plugin odd/whole: ValueError: no such query"),
        ("odd/whole", "invents", "plugin odd/whole answered with the phase 'Perfect'"),
        ("odd/whole", "nonsense", "failed to run via plugin: plugin odd/whole: TypeError: the answer is a dict"),
        ("odd/whole", "hoards", "more than 16 KiB of metadata"),
        ("odd/whole", "hangs", "failed to run via plugin: plugin odd/whole took longer than 2s for run"),
        ("odd/half", "x", "failed to run via plugin: plugin odd/half: "),
        ("odd/none", "x", "failed to run via plugin: plugin 'odd/none' is not installed"),
    ],
)
async def test_what_goes_wrong_is_an_error_of_the_measurement(
    metrics: PluginMetrics, name: str, do: str, told: str
) -> None:
    with pytest.raises(MetricError) as raised:
        await metrics.run(order(name, {"do": do}), NOW)
    assert told in raised.value.message


async def test_answers_are_cut_to_what_a_status_can_hold(metrics: PluginMetrics) -> None:
    taken = await metrics.run(order("odd/whole", {"do": "floods"}), NOW)
    assert (len(taken.value), len(taken.message)) == (4096, 4096)
    failed = await metrics.run(order("odd/whole", {"do": "fails"}), NOW)
    assert (failed.phase, failed.message, failed.finished_at) == ("Error", "the source is down", NOW)


async def test_other_methods_tell_their_failures_too(metrics: PluginMetrics) -> None:
    began = Measurement(phase="Running", started_at=NOW, metadata={"job": "j1"})
    with pytest.raises(MetricError, match="failed to resume via plugin: plugin odd/whole: LookupError: no such job"):
        await metrics.resume(order("odd/whole", {"gone": True}), began, NOW)
    with pytest.raises(MetricError, match="failed to resume via plugin: plugin odd/metric has no method resume"):
        await metrics.resume(order("odd/metric", {}), began, NOW)
    two = order("odd/whole", {})
    two = replace(two, metric=Metric.model_validate({"name": "m", "provider": {"plugin": {"a/b": 1, "c/d": 2}}}))
    with pytest.raises(MetricError, match="must name exactly one plugin, not 2"):
        await metrics.run(two, NOW)


async def test_no_call_begins_once_the_lease_is_lost(metrics: PluginMetrics, fence: Fence) -> None:
    fence.error = LeadershipLost("the Lease is gone")
    with pytest.raises(LeadershipLost):
        await metrics.run(order("odd/whole", {"do": "judges"}), NOW)


def test_metric_plugins_are_listed_and_the_configuration_is_compared_with_them(site: Path) -> None:
    found = discover()
    assert found[METRIC_PROVIDERS, "odd/whole"].kind == "metric"
    said = read_configuration(
        {"metricProviderPlugins": "- {name: odd/whole}\n- {name: a/b, location: 'file:///x'}"}, found
    )
    assert len(said.problems) == 1
    assert "metricProviderPlugins names 'a/b', and no installed Python package provides it" in said.problems[0]


@pytest.fixture
async def example(tmp_path: Path) -> AsyncIterator[PluginMetrics]:
    """The provider, over the example of docs/plugins.md."""
    site = tmp_path / "site"
    install_example(site)
    with importing_from(site):
        plugins = Plugins(discover(), lambda: None, limit=20.0)
        yield PluginMetrics(plugins)
        await plugins.close()


async def test_the_example_has_a_load_test_run_elsewhere(example: PluginMetrics) -> None:
    tests: dict[str, Any] = {}

    def answer(seen: Seen) -> Reply:
        if seen.method == "PUT":
            tests.setdefault(seen.path, json.loads(seen.body))
        elif seen.method == "DELETE":
            return Reply(json.dumps(tests.pop(seen.path) and None))
        return Reply.of({"over": "p95" in tests[seen.path], **tests[seen.path]})

    async with serving(answer) as server:
        asked = order("example/load-test", {"url": f"{server.url}/tests", "script": "checkout", "below": 250}, taken=1)
        began = await example.run(asked, NOW)
        # an answer that got lost: the same test is found again
        assert await example.run(asked, NOW) == began
        assert tests == {"/tests/u1-m-1": {"script": "checkout"}}
        running = await example.resume(asked, began, LATER)
        assert (running.phase, running.resume_at) == ("Running", LATER + timedelta(seconds=5))
        tests["/tests/u1-m-1"]["p95"] = 310
        over = await example.resume(asked, running, LATER)
        assert (over.phase, over.value, over.message) == ("Failed", "310 ms", "310 ms, limit 250 ms")
        assert (await example.terminate(asked, began, LATER)).phase == "Inconclusive"
        assert tests == {}
        assert await example.metadata(asked) == {"script": "checkout"}
