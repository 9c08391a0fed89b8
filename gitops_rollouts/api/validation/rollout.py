"""The rules for a Rollout's spec (docs/behaviour.md §20 (A)), in their order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gitops_rollouts.api.rollout import Rollout, RolloutSpec, parse_rollout
from gitops_rollouts.api.validation.errors import FieldError, required
from gitops_rollouts.api.validation.formats import check_selector, not_negative
from gitops_rollouts.api.validation.pod_template import check_pod_template
from gitops_rollouts.api.validation.strategy import check_strategy


def validate_rollout(rollout: Rollout | Mapping[str, Any], *, resolved: bool = False) -> list[FieldError]:
    """All errors of the spec, in order; what has a wrong type is as if absent (see `strict_problems` for that).

    ``resolved``: selector and template of a workloadRef were taken over from the workload (§2.2). Otherwise the
    Rollout is as it was written, and may have no template of its own beside the reference.
    """
    spec = (rollout if isinstance(rollout, Rollout) else parse_rollout(rollout)).spec
    errors = not_negative(spec.replicas, "spec.replicas")
    errors += _check_selector(spec)
    errors += _check_template(spec, resolved=resolved)
    errors += not_negative(spec.min_ready_seconds, "spec.minReadySeconds")
    errors += not_negative(spec.revision_history_limit, "spec.revisionHistoryLimit")
    errors += not_negative(spec.progress_deadline_seconds, "spec.progressDeadlineSeconds")
    if spec.progress_deadline <= spec.min_ready_seconds:
        text = "must be greater than minReadySeconds"
        errors.append(FieldError("spec.progressDeadlineSeconds", text, spec.progress_deadline))
    return errors + check_strategy(spec)


def _check_template(spec: RolloutSpec, *, resolved: bool) -> list[FieldError]:
    template = spec.template or {}
    if spec.workload_ref is None or (resolved and template):
        return check_pod_template(template, spec.selector, "spec.template")
    metadata = template.get("metadata")
    if isinstance(metadata, Mapping) and (metadata.get("labels") or metadata.get("annotations")):
        text = "template must be empty for workload reference rollout"
        return [FieldError("spec.template", text, kind="Internal error")]
    return []


def _check_selector(spec: RolloutSpec) -> list[FieldError]:
    if spec.selector is None:
        missing = required("spec.selector", "Rollout has missing field '.spec.selector'")
        return [] if spec.workload_ref is not None else [missing]
    errors = check_selector(spec.selector, "spec.selector")
    if spec.selector.is_empty:
        errors.append(FieldError("spec.selector", "empty selector is invalid for deployment", {}))
    if any(error.path.endswith(".operator") for error in errors):
        errors.append(FieldError("spec.selector", "invalid label selector", spec.selector.encode()))
    return errors
