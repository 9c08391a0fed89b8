"""A spec that can't be carried out: say so and touch nothing (docs/behaviour.md §4.1, §7.3, §20)."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from gitops_rollouts.api.names import POD_TEMPLATE_HASH
from gitops_rollouts.api.phase import calculate_phase
from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.api.validation import FieldError
from gitops_rollouts.engine import conditions
from gitops_rollouts.engine.observed import Observed, Service
from gitops_rollouts.engine.plan import Plan

_AGAIN: Final = timedelta(seconds=20)


def check(observed: Observed, spec_error: FieldError | None, now: datetime) -> Plan | None:
    """The whole pass of an invalid Rollout; None if it is valid. Only the first error is told."""
    error = spec_error or _reference_error(observed)
    return None if error is None else _told(observed.rollout, error, now)


def _told(rollout: Rollout, error: FieldError, now: datetime) -> Plan:
    status = rollout.status
    text = f'The Rollout "{rollout.metadata.name}" is invalid: {error.render()}'
    generation = str(rollout.metadata.generation)
    before = conditions.find(status.conditions, conditions.INVALID_SPEC)
    if before is None or before.message != text or status.observed_generation != generation:
        told = conditions.with_condition(
            status.conditions, conditions.INVALID_SPEC, "True", "InvalidSpec", text, now, refresh=True
        )
        status = status.model_copy(update={"conditions": told, "observed_generation": generation})
        phase, message = calculate_phase(rollout.spec, status)
        status = status.model_copy(update={"phase": phase, "message": message})
    return Plan(status=status, look_again=_AGAIN)


def _reference_error(observed: Observed) -> FieldError | None:
    canary = observed.rollout.spec.strategy.canary
    if canary is None:
        return None
    named = tuple(
        (f"spec.strategy.canary.{key}", name)
        for key, name in (("stableService", canary.stable_service), ("canaryService", canary.canary_service))
        if name
    )
    for path, name in named:
        if name not in observed.services:
            return FieldError(path, f'service "{name}" not found', name)
    for path, name in named:
        error = _service_error(observed.rollout, path, observed.services[name])
        if error is not None:
            return error
    return None


def _service_error(rollout: Rollout, path: str, service: Service) -> FieldError | None:
    labels = _labels(rollout.spec.template)
    for key in sorted(service.selector):
        if key != POD_TEMPLATE_HASH and labels.get(key) != service.selector[key]:
            return FieldError(path, f'Service "{service.name}" has unmatch label "{key}" in rollout', service.name)
    if service.managed_by is not None and service.managed_by != rollout.metadata.name:
        return FieldError(path, f'Service "{service.name}" is managed by another Rollout', service.name)
    return None


def _labels(template: dict[str, Any] | None) -> dict[str, Any]:
    metadata = (template or {}).get("metadata")
    labels = metadata.get("labels") if isinstance(metadata, dict) else None
    return labels if isinstance(labels, dict) else {}
