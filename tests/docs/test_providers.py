"""Examples of docs/providers.md and docs/plugins.md: `gor validate` accepts them, and their conditions can be read."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gitops_rollouts.analysis.conditions import compile_condition
from gitops_rollouts.api.analysis import Metric
from gitops_rollouts.api.validation.metric_providers import provider_problems

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.M | re.S)


def metrics(value: Any) -> Iterator[dict[str, Any]]:
    """Whatever has a provider, wherever it stands."""
    if isinstance(value, dict):
        if isinstance(value.get("provider"), dict):
            yield value
        for inner in value.values():
            yield from metrics(inner)
    if isinstance(value, list):
        for inner in value:
            yield from metrics(inner)


def examples(page: str) -> list[dict[str, Any]]:
    blocks = BLOCK.findall((DOCS / page).read_text())
    return [metric for block in blocks for metric in metrics(yaml.safe_load(textwrap.dedent(block)))]


@pytest.mark.parametrize("page", ["providers.md", "plugins.md"])
def test_examples_are_accepted(page: str) -> None:
    for example in examples(page):
        metric = Metric.model_validate({"name": "m", **example})
        assert list(provider_problems(metric.provider, "provider")) == []
        assert len(metric.provider.named) == 1
        for condition in (metric.success_condition, metric.failure_condition):
            if condition:
                compile_condition(condition)


def test_every_provider_has_an_example() -> None:
    shown = {kind for example in examples("providers.md") for kind in example["provider"]}
    assert {
        "prometheus", "web", "job", "datadog", "newRelic", "wavefront", "cloudWatch", "graphite", "influxdb",
        "skywalking", "kayenta", "plugin",
    } == shown  # fmt: skip
