"""What an Experiment's spec must hold (docs/behaviour.md §19)."""

from __future__ import annotations

from gitops_rollouts.api.experiment import Experiment
from gitops_rollouts.api.validation.errors import FieldError


def check_experiment(experiment: Experiment) -> list[FieldError]:
    """What is wrong with an Experiment, in the order in which it is looked at; nothing if it can be carried out."""
    errors: list[FieldError] = []
    name, spec = experiment.metadata.name, experiment.spec
    seen: set[str] = set()
    for index, template in enumerate(spec.templates):
        if not template.name:
            errors.append(_told(f"Experiment {name} has empty template name at index {index}"))
        elif template.name in seen:
            errors.append(_told(f"Experiment {name} has repeated template name '{template.name}' in templates"))
        seen.add(template.name)
        if template.selector is None:
            errors.append(_told(f"Rollout has missing field '.Spec.Templates[{index}].Selector'"))
        elif template.selector.is_empty:
            text = f"This experiment is selecting all pods at index {index}. A non-empty selector is required."
            errors.append(_told(text))
        if template.min_ready_seconds > spec.progress_deadline:
            text = "MinReadySeconds cannot be longer than ProgressDeadlineSeconds. "
            errors.append(_told(f"{text}Check template index {index}"))
    named: set[str] = set()
    for index, analysis in enumerate(spec.analyses):
        if analysis.name in named or not analysis.name:
            what = f"repeated analysis name '{analysis.name}' in analyses" if analysis.name else "empty analysis name"
            errors.append(_told(f"Experiment {name} has {what} at index {index}"))
        named.add(analysis.name)
    return errors


def _told(message: str) -> FieldError:
    return FieldError("", message)
