"""The rules for a Rollout's spec (docs/behaviour.md §20 (A)), in their order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gitops_rollouts.api.rollout import Rollout, RolloutSpec, parse_rollout
from gitops_rollouts.api.validation.errors import FieldError, required
from gitops_rollouts.api.validation.formats import check_selector, not_negative
from gitops_rollouts.api.validation.pod_template import check_pod_template
from gitops_rollouts.api.validation.strategy import check_strategy


def validate_rollout(rollout: Rollout | Mapping[str, Any]) -> list[FieldError]:
    """All errors of the spec, in order; what has a wrong type is as if absent (see `strict_problems` for that)."""
    spec = (rollout if isinstance(rollout, Rollout) else parse_rollout(rollout)).spec
    errors = not_negative(spec.replicas, "spec.replicas")
    errors += _check_selector(spec)
    if spec.workload_ref is None:
        errors += check_pod_template(spec.template or {}, spec.selector, "spec.template")
    errors += not_negative(spec.min_ready_seconds, "spec.minReadySeconds")
    errors += not_negative(spec.revision_history_limit, "spec.revisionHistoryLimit")
    errors += not_negative(spec.progress_deadline_seconds, "spec.progressDeadlineSeconds")
    if spec.progress_deadline <= spec.min_ready_seconds:
        text = "must be greater than minReadySeconds"
        errors.append(FieldError("spec.progressDeadlineSeconds", text, spec.progress_deadline))
    return errors + check_strategy(spec)


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
