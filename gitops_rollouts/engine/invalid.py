"""A spec that can't be carried out: say so and touch nothing (docs/behaviour.md §4.1, §7.3, §20)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from gitops_rollouts.api.phase import calculate_phase
from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.api.validation import FieldError
from gitops_rollouts.api.validation.analysis import check_templates, check_templates_exist
from gitops_rollouts.api.validation.references import check_service_selector, named_services
from gitops_rollouts.engine import conditions, events
from gitops_rollouts.engine.observed import Observed, Service
from gitops_rollouts.engine.plan import Plan

_AGAIN: Final = timedelta(seconds=20)


def check(observed: Observed, spec_errors: Sequence[FieldError], now: datetime) -> Plan | None:
    """The whole pass of an invalid Rollout; None if it is valid.

    ``spec_errors``: what is wrong with the spec alone, in order; only if nothing is, what it refers to is looked at.
    The condition tells the first error, as clients know it; a warning event tells the others too.
    """
    errors = spec_errors or _reference_errors(observed)
    return _told(observed.rollout, errors, now) if errors else None


def _told(rollout: Rollout, errors: Sequence[FieldError], now: datetime) -> Plan:
    status, name = rollout.status, rollout.metadata.name
    text = f'The Rollout "{name}" is invalid: {errors[0].render()}'
    generation = str(rollout.metadata.generation)
    before = conditions.find(status.conditions, conditions.INVALID_SPEC)
    if before is not None and before.message == text and status.observed_generation == generation:
        return Plan(status=status, look_again=_AGAIN)
    told = conditions.with_condition(
        status.conditions, conditions.INVALID_SPEC, "True", "InvalidSpec", text, now, refresh=True
    )
    status = status.model_copy(update={"conditions": told, "observed_generation": generation})
    phase, message = calculate_phase(rollout.spec, status)
    status = status.model_copy(update={"phase": phase, "message": message})
    event = events.invalid(name, [error.render() for error in errors])
    return Plan(status=status, events=(event,), look_again=_AGAIN)


def _reference_errors(observed: Observed) -> list[FieldError]:
    """Of Services and analysis templates: whether all of them exist, and only then what is in them."""
    spec, services, templates = observed.rollout.spec, observed.services, observed.templates
    named = named_services(spec)
    missing = [FieldError(path, f'service "{name}" not found', name) for path, name in named if name not in services]
    missing += check_templates_exist(spec, templates)
    if missing:
        return missing
    errors = [error for path, name in named for error in _service_errors(observed.rollout, path, services[name])]
    return errors + check_templates(spec, templates)


def _service_errors(rollout: Rollout, path: str, service: Service) -> list[FieldError]:
    errors = check_service_selector(rollout.spec.template, path, service.name, service.selector)
    if service.managed_by is not None and service.managed_by != rollout.metadata.name:
        errors.append(FieldError(path, f'Service "{service.name}" is managed by another Rollout', service.name))
    return errors
