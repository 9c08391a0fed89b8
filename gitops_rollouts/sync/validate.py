"""Rules that a manifest must keep before anything of it is applied, with file, line and field path."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from gitops_rollouts.analysis.conditions import compile_condition
from gitops_rollouts.analysis.expressions import expression_problems
from gitops_rollouts.api.analysis import parse_analysis_template
from gitops_rollouts.api.meta import Raw
from gitops_rollouts.api.names import ARGO_GROUP, GOR_GROUP
from gitops_rollouts.api.validation import (
    FieldError,
    strict_problems,
    validate_gitsync,
    validate_rollout,
)
from gitops_rollouts.api.validation.analysis_objects import (
    conditions_of,
    validate_experiment,
    validate_run,
    validate_steps,
    validate_template,
)
from gitops_rollouts.errors import ConditionError
from gitops_rollouts.render.objects import Problem, RenderedObject

MAX_PER_OBJECT: Final = 5
"""One misplaced indent can break twenty rules; a person needs the first few."""


def _of_rollout(raw: Raw) -> list[FieldError]:
    return validate_rollout(raw) or validate_steps(raw)


def _of_template(raw: Raw) -> list[FieldError]:
    return validate_template(raw) + _of_conditions(raw) + _of_expressions(raw)


def _of_run(raw: Raw) -> list[FieldError]:
    return validate_run(raw) + _of_conditions(raw) + _of_expressions(raw)


def _of_conditions(raw: Raw) -> list[FieldError]:
    """A condition that holds for no result whatever would make every measurement an error (§17.4)."""
    errors: list[FieldError] = []
    for path, source in conditions_of(raw):
        try:
            compile_condition(source)
        except ConditionError as error:
            errors.append(FieldError(path, error.message, source))
    return errors


def _of_expressions(raw: Raw) -> list[FieldError]:
    """JSONPaths and spans that can't be read (§18). A run has metrics where a template has them."""
    metrics = enumerate(parse_analysis_template(raw).spec.metrics)
    return [
        FieldError(f"spec.metrics[{index}].{field}", message, text)
        for index, metric in metrics
        for field, text, message in expression_problems(metric)
    ]


_RULES: Final[Mapping[tuple[str, str], Callable[[Raw], list[FieldError]]]] = {
    (ARGO_GROUP, "Rollout"): _of_rollout,
    (ARGO_GROUP, "AnalysisTemplate"): _of_template,
    (ARGO_GROUP, "ClusterAnalysisTemplate"): _of_template,
    (ARGO_GROUP, "AnalysisRun"): _of_run,
    (ARGO_GROUP, "Experiment"): validate_experiment,
    (GOR_GROUP, "GitSync"): validate_gitsync,
}


def problems_of(item: RenderedObject, most: int = MAX_PER_OBJECT) -> list[Problem]:
    """What is wrong with one object, ``most`` problems: its schema first, then the rules of docs/behaviour.md §20.

    Only for the kinds that this program has rules for; the API server checks all others.
    """
    rules = _RULES.get((item.group, item.kind))
    if rules is None:
        return []
    raw = dict(item.raw)
    errors = strict_problems(raw) or rules(raw)
    return [problem_at(item, error) for error in errors[:most]]


def problem_at(item: RenderedObject, error: FieldError) -> Problem:
    """A field error of this object with its place in the file."""
    path = _as_written(item.raw, error.path)
    line = item.source.line_of(path)
    message = f"{error.kind}: {error.message}" if error.message else error.kind  # never the value: it may be secret
    return Problem(item.source.path, line, path, message, "correct the field", item.identity)


def _as_written(raw: Mapping[str, Any], path: str) -> str:
    """The path as it stands in the manifest: the rules of §20 leave out which strategy a field belongs to."""
    start, _, rest = path.partition("spec.strategy.")
    spec = raw.get("spec")
    strategy = spec.get("strategy") if isinstance(spec, Mapping) else None
    if start or not rest or not isinstance(strategy, Mapping):
        return path
    name = rest.partition(".")[0].partition("[")[0]
    if name in strategy:
        return path
    kind = next((kind for kind in ("canary", "blueGreen") if isinstance(strategy.get(kind), Mapping)), "")
    return f"spec.strategy.{kind}.{rest}" if kind else path
