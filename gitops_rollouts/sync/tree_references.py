"""What the Rollouts of a tree refer to, as far as the same tree has it (docs/behaviour.md §20 (B))."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gitops_rollouts.api.rollout import Rollout, parse_rollout
from gitops_rollouts.api.validation.references import check_service_selector, named_services
from gitops_rollouts.render.objects import Problem, RenderedObject
from gitops_rollouts.sync.validate import problem_at

_Objects = Mapping[tuple[str, str, str, str], RenderedObject]


@dataclass(frozen=True, slots=True)
class References:
    """``problems``: what doesn't fit. ``absent``: sentences on what the tree hasn't got; it may be in the cluster."""

    problems: tuple[Problem, ...]
    absent: tuple[str, ...]


def check_references(objects: Iterable[RenderedObject]) -> References:
    """Compare the Services that Rollouts name with those in the tree."""
    everything = tuple(objects)
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


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
