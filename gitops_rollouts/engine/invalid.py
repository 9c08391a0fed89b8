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
    """The whole pass of an invalid Rollout; None if it is valid, or if only `check_analyses` has a say in it.

    ``spec_errors``: what is wrong with the spec alone, in order; only if nothing is, what it refers to is looked at.
    The condition tells the first error, as clients know it; a warning event tells the others too.
    """
    errors = spec_errors or _service_errors(observed)
    return _told(observed.rollout, errors, now) if errors else None


def check_analyses(observed: Observed, now: datetime) -> Plan | None:
    """The same of a Rollout that is valid but for its analysis templates; None if they are fine.

    Only for an update that goes forward: what goes back to a proven version needs no analysis and waits for none.
    """
    spec, templates = observed.rollout.spec, observed.templates
    errors = check_templates_exist(spec, templates) or check_templates(spec, templates)
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


def _service_errors(observed: Observed) -> list[FieldError]:
    """Whether all that is named exists, templates too, and only then what is in the Services; routers' objects last.

    These don't hold an abort: the other routers still move their traffic, and the one that can't says so.
    """
    rollout, services, templates = observed.rollout, observed.services, observed.templates
    routes = [] if rollout.status.abort else list(observed.route_errors)
    named = named_services(rollout.spec)
    missing = [FieldError(path, f'service "{name}" not found', name) for path, name in named if name not in services]
    if missing:
        return missing + check_templates_exist(rollout.spec, templates) + routes
    errors = [error for path, name in named for error in _of_service(rollout, path, services[name])]
    if not errors:
        return routes
    unknown = check_templates_exist(rollout.spec, templates)
    return (unknown + errors if unknown else errors + check_templates(rollout.spec, templates)) + routes


def _of_service(rollout: Rollout, path: str, service: Service) -> list[FieldError]:
    errors = check_service_selector(rollout.spec.template, path, service.name, service.selector)
    if service.managed_by is not None and service.managed_by != rollout.metadata.name:
        errors.append(FieldError(path, f'Service "{service.name}" is managed by another Rollout', service.name))
    return errors
