"""What several providers refuse: a metric that breaks its rules, an answer that is none (docs/behaviour.md §18)."""

from __future__ import annotations

from gitops_rollouts.analysis.http import Answer
from gitops_rollouts.analysis.reading import excerpt
from gitops_rollouts.api.analysis import Metric
from gitops_rollouts.api.validation.metric_providers import provider_problems
from gitops_rollouts.errors import MetricError


def refuse_problems(metric: Metric) -> None:
    """Refuse a provider that breaks its rules, which `gor validate` tells as well. Raises `MetricError`."""
    problem = next(provider_problems(metric.provider, "provider"), None)
    if problem is not None:
        raise MetricError(problem.render())


def refuse_status(answer: Answer, source: str, *secrets: str) -> None:
    """Refuse an answer that isn't 200; its beginning is told, without ``secrets``. Raises `MetricError`."""
    if answer.status != 200:
        told = excerpt(answer.body, *secrets)
        raise MetricError(f"{source} answered with status {answer.status}{f': {told}' if told else ''}")
