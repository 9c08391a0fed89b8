"""What the Rollouts of a tree refer to, as far as the same tree has it (docs/behaviour.md §20 (B))."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gitops_rollouts.api.analysis import AnalysisTemplate, parse_analysis_template
from gitops_rollouts.api.analysis_templates import TemplateKey, key_of
from gitops_rollouts.api.names import ARGO_GROUP
from gitops_rollouts.api.rollout import Rollout, parse_rollout
from gitops_rollouts.api.validation.analysis import Known, check_analysis, missing_templates, named_analyses
from gitops_rollouts.api.validation.analysis_objects import check_use
from gitops_rollouts.api.validation.references import check_service_selector, named_services
from gitops_rollouts.render.objects import Problem, RenderedObject
from gitops_rollouts.sync.tree_routing import check_routing, tree_of
from gitops_rollouts.sync.validate import problem_at

_Objects = Mapping[tuple[str, str, str, str], RenderedObject]


@dataclass(frozen=True, slots=True)
class References:
    """``problems``: what doesn't fit. ``absent``: sentences on what the tree hasn't got; it may be in the cluster."""

    problems: tuple[Problem, ...]
    absent: tuple[str, ...]


def check_references(objects: Iterable[RenderedObject]) -> References:
    """Compare the Services, routed objects and analysis templates that Rollouts name with those in the tree."""
    everything = tuple(objects)
    templates = _templates(everything)
    routed = tree_of(everything)
    known = {(each.group, each.kind, each.namespace, each.name): each for each in everything}
    problems: list[Problem] = []
    absent: list[str] = []
    for item in everything:
        if not item.is_rollout:
            continue
        rollout = parse_rollout(item.raw)
        template = _template(rollout, item.namespace, known)
        for path, name in named_services(rollout.spec):
            service = known.get(("", "Service", item.namespace, name))
            if service is None:
                absent.append(f"{item.identity}: {path}: Service {name} isn't in this tree; the cluster must have it")
            elif template is not None:
                selector = _map(_map(service.raw).get("spec")).get("selector")
                errors = check_service_selector(template, path, name, _map(selector))
                problems += [problem_at(item, error) for error in errors]
        wrong, unseen = check_routing(item, routed)
        problems += [problem_at(item, error) for error in wrong]
        absent += [f"{item.identity}: {one} isn't in this tree; the cluster must have it" for one in unseen]
        found = _check_analyses(item, rollout, templates.get(item.namespace, {}) | templates.get(None, {}))
        problems += found.problems
        absent += found.absent
    return References(tuple(problems), tuple(absent))


def _template(rollout: Rollout, namespace: str, known: _Objects) -> Mapping[str, Any] | None:
    """The pod template; of a workload that the tree hasn't got, None."""
    reference = rollout.spec.workload_ref
    if reference is None:
        return rollout.spec.template or {}
    workload = known.get((reference.api_version.rpartition("/")[0], reference.kind, namespace, reference.name))
    if workload is None:
        return None
    holder = workload.raw if reference.kind == "PodTemplate" else _map(workload.raw.get("spec"))
    return _map(holder.get("template"))


def _templates(objects: Iterable[RenderedObject]) -> dict[str | None, dict[TemplateKey, AnalysisTemplate]]:
    """By namespace, those of the cluster under None."""
    found: dict[str | None, dict[TemplateKey, AnalysisTemplate]] = {}
    for each in objects:
        if each.group == ARGO_GROUP and each.kind in ("AnalysisTemplate", "ClusterAnalysisTemplate"):
            cluster = each.kind == "ClusterAnalysisTemplate"
            of_namespace = found.setdefault(None if cluster else each.namespace, {})
            of_namespace[TemplateKey(cluster, each.name)] = parse_analysis_template(each.raw)
    return found


def _check_analyses(item: RenderedObject, rollout: Rollout, known: Known) -> References:
    """What is wrong with each analysis whose templates are all here; which templates aren't."""
    problems: list[Problem] = []
    lacking: dict[str, None] = {}
    for named in named_analyses(rollout.spec):
        missing = [one for ref in named.analysis.templates for one in missing_templates(key_of(ref), known)]
        lacking |= {f"{named.path}: {one}": None for one in missing}
        if not missing:
            errors = check_analysis(named, known) or check_use(named, known)
            problems += [problem_at(item, error) for error in errors]
    for index, step in enumerate(rollout.spec.steps):
        for at, one in enumerate(step.experiment.analyses if step.experiment is not None else ()):
            path = f"spec.strategy.canary.steps[{index}].experiment.analyses[{at}].templateName"
            missing = list(missing_templates(TemplateKey(one.cluster_scope, one.template_name), known))
            lacking |= {f"{path}: {key}": None for key in missing}
    absent = tuple(f"{item.identity}: {one} isn't in this tree; the cluster must have it" for one in lacking)
    return References(tuple(problems), absent)


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
