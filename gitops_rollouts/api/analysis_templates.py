"""From analysis templates to what one run measures (docs/behaviour.md §17.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from gitops_rollouts.api.analysis import AnalysisTemplate
from gitops_rollouts.api.analysis_refs import AnalysisTemplateRef, RolloutAnalysis
from gitops_rollouts.api.rollout import Rollout


class TemplateKey(NamedTuple):
    """Which template; ``cluster``: a ClusterAnalysisTemplate."""

    cluster: bool
    name: str


def templates_of(rollout: Rollout) -> Iterator[TemplateKey]:
    """The templates that a Rollout's spec names, in the order of the spec; those of experiment steps too."""
    for analysis in analyses_of(rollout):
        yield from map(key_of, analysis.templates)
    for step in rollout.spec.steps:
        for one in step.experiment.analyses if step.experiment is not None else ():
            yield TemplateKey(one.cluster_scope, one.template_name)


def analyses_of(rollout: Rollout) -> Iterator[RolloutAnalysis]:
    """The analyses of a Rollout's strategy."""
    canary, blue_green = rollout.spec.strategy.canary, rollout.spec.strategy.blue_green
    wanted: list[RolloutAnalysis | None] = []
    if canary is not None:
        wanted += [canary.analysis, *(step.analysis for step in canary.steps)]
    if blue_green is not None:
        wanted += [blue_green.pre_promotion_analysis, blue_green.post_promotion_analysis]
    yield from (one for one in wanted if one is not None)


def key_of(reference: AnalysisTemplateRef) -> TemplateKey:
    """The template that a reference names."""
    return TemplateKey(reference.cluster_scope, reference.template_name)


def reachable(
    named: Iterable[TemplateKey], find: Callable[[TemplateKey], AnalysisTemplate | None]
) -> dict[TemplateKey, AnalysisTemplate]:
    """The templates that are named, and those that they name in turn, as far as ``find`` knows them."""
    found: dict[TemplateKey, AnalysisTemplate] = {}
    waiting = list(named)
    while waiting:
        key = waiting.pop()
        template = None if key in found else find(key)
        if template is not None:
            found[key] = template
            waiting += map(key_of, template.spec.templates)
    return found
