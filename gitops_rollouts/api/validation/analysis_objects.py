"""AnalysisTemplates, AnalysisRuns and Experiments as they stand in Git (docs/behaviour.md §17.1, §17.2, §19).

Held to more than the cluster asks for: what can only end in an error is told before it is applied. What depends on an
argument that is given elsewhere is not complained about.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from pydantic.alias_generators import to_camel

from gitops_rollouts.api.analysis import AnalysisTemplate, Argument, Metric, parse_analysis_run, parse_analysis_template
from gitops_rollouts.api.analysis_refs import AnalysisRunArgument
from gitops_rollouts.api.analysis_templates import TemplateKey, flatten, key_of, secret_of, supply
from gitops_rollouts.api.durations import parse_go_duration
from gitops_rollouts.api.experiment import parse_experiment
from gitops_rollouts.api.meta import IntOrString
from gitops_rollouts.api.metric_rules import is_integer
from gitops_rollouts.api.rollout import parse_rollout
from gitops_rollouts.api.templating import HASHES, resolve_metric, substitute, values_of
from gitops_rollouts.api.validation.analysis import Known, NamedAnalysis, named_analyses
from gitops_rollouts.api.validation.errors import FieldError, duplicate, forbidden, unsupported
from gitops_rollouts.api.validation.experiment import check_experiment
from gitops_rollouts.api.validation.metric_providers import provider_problems
from gitops_rollouts.api.validation.metrics import metric_problems
from gitops_rollouts.api.validation.pod_template import check_pod_template
from gitops_rollouts.errors import TemplateError

_VERSIONS: Final = ("stable", "canary")
_JUDGE_THEMSELVES: Final = frozenset({"kayenta", "plugin"})
_COUNTS: Final = (
    "count",
    "failure_limit",
    "inconclusive_limit",
    "consecutive_error_limit",
    "consecutive_success_limit",
)


def validate_template(raw: Mapping[str, Any]) -> list[FieldError]:
    """What is wrong with an AnalysisTemplate or ClusterAnalysisTemplate whatever it is used with."""
    spec = parse_analysis_template(raw).spec
    alone = TemplateKey(cluster=False, name="")
    try:
        flatten([alone], {alone: AnalysisTemplate(spec=spec.model_copy(update={"templates": ()}))})
    except TemplateError as error:
        return [FieldError("spec", error.message)]
    if not spec.metrics:
        return [] if spec.templates else [FieldError("spec.metrics", "no metrics specified")]
    metrics = [settled(metric, _plain(spec.args)) for metric in spec.metrics]
    return _below_spec((*_no_numbers(metrics), *metric_problems(metrics, (), ()), *_of_providers(spec.metrics)))


def validate_run(raw: Mapping[str, Any]) -> list[FieldError]:
    """What would end an AnalysisRun before its first measurement."""
    if raw.get("status"):
        return [_written_by_the_cluster()]
    spec = parse_analysis_run(raw).spec
    try:
        values = values_of(spec.args)
    except TemplateError as error:
        return [FieldError("spec.args", error.message)]
    tags = _unknown_tags(spec.metrics, values)
    metrics = [settled(metric, values) for metric in spec.metrics]
    problems = metric_problems(metrics, spec.dry_run, spec.measurement_retention)
    return _below_spec((*tags, *_no_numbers(metrics), *problems, *_of_providers(spec.metrics)))


def conditions_of(raw: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The field path and the text of each condition in a template or a run, its arguments put in as far as known.

    Without those that depend on others, and those that a provider judges by rules of its own (§18).
    """
    spec = parse_analysis_run(raw).spec
    values = _plain(spec.args)
    for index, metric in enumerate(spec.metrics):
        if set(metric.provider.named) & _JUDGE_THEMSELVES:
            continue
        for key, text in (
            ("successCondition", metric.success_condition),
            ("failureCondition", metric.failure_condition),
        ):
            try:
                source = substitute(text, values)
            except TemplateError:
                continue
            if source:
                yield f"spec.metrics[{index}].{key}", source


def validate_experiment(raw: Mapping[str, Any]) -> list[FieldError]:
    """What an Experiment can't be carried out with, its pods included."""
    if raw.get("status"):
        return [_written_by_the_cluster()]
    experiment = parse_experiment(raw)
    errors = check_experiment(experiment)
    for index, template in enumerate(experiment.spec.templates):
        errors += check_pod_template(template.template, template.selector, f"spec.templates[{index}].template")
    return errors + check_duration(experiment.spec.duration, "spec.duration")


def validate_steps(raw: Mapping[str, Any]) -> list[FieldError]:
    """What of a Rollout's analyses and experiment steps would only fail, or never end, once they are there."""
    spec = parse_rollout(raw).spec
    errors: list[FieldError] = []
    for named in named_analyses(spec):
        errors += _check_hashes(named.analysis.args, named.path.removesuffix(".templates"))
    for index, step in enumerate(spec.steps):
        if step.experiment is None:
            continue
        path = f"spec.strategy.canary.steps[{index}].experiment"
        errors += check_duration(step.experiment.duration, f"{path}.duration")
        for which, template in enumerate(step.experiment.templates):
            if template.spec_ref not in _VERSIONS:
                errors.append(unsupported(f"{path}.templates[{which}].specRef", template.spec_ref, _VERSIONS))
        errors += _repeated(path, "templates", [one.name for one in step.experiment.templates])
        errors += _repeated(path, "analyses", [one.name for one in step.experiment.analyses])
        for which, analysis in enumerate(step.experiment.analyses):
            errors += _check_hashes(analysis.args, f"{path}.analyses[{which}]")
    return errors


def _written_by_the_cluster() -> FieldError:
    """These kinds have no status subresource: what Git says of the status would replace what is true."""
    return forbidden("status", "only the cluster knows it; take it out")


def _check_hashes(args: Sequence[AnalysisRunArgument], path: str) -> list[FieldError]:
    hashes = ((at, one.value_from.pod_template_hash_value) for at, one in enumerate(args) if one.value_from is not None)
    return [
        unsupported(f"{path}.args[{at}].valueFrom.podTemplateHashValue", given, HASHES)
        for at, given in hashes
        if given is not None and given not in HASHES
    ]


def _repeated(path: str, key: str, names: Sequence[str]) -> list[FieldError]:
    return [duplicate(f"{path}.{key}[{at}].name", name) for at, name in enumerate(names) if name in names[:at]]


def check_duration(text: str, path: str) -> list[FieldError]:
    """An Experiment's duration, which counts as none, so as for ever, if it can't be read (§19)."""
    try:
        if text:
            parse_go_duration(text)
    except ValueError as error:
        return [FieldError(path, str(error), text)]
    return []


def check_use(named: NamedAnalysis, known: Known) -> list[FieldError]:
    """What is wrong with templates as a Rollout uses them; each of them exists and gets its arguments."""
    path, analysis, _ = named
    flat = flatten(map(key_of, analysis.templates), known)
    args = supply(flat.args, [Argument(name=one.name, value=one.value) for one in analysis.args])
    tags = _unknown_tags(flat.metrics, values_of(args))
    later = {one.name for one in analysis.args if one.value_from is not None}
    plain = _plain(one for one in args if one.name not in later)
    metrics = [settled(metric, plain) for metric in flat.metrics]
    problems = metric_problems(
        metrics, analysis.dry_run + flat.dry_run, analysis.measurement_retention + flat.measurement_retention
    )
    return [FieldError(path, f"{one.path}: {one.message}", one.value) for one in (*tags, *problems)]


def settled(metric: Metric, values: Mapping[str, str]) -> Metric:
    """The metric with counts and times as far as they are known, and harmless ones where they aren't."""
    counts = {name: _count(getattr(metric, name), values) for name in _COUNTS}
    if metric.consecutive_success_limit is not None and counts["consecutive_success_limit"] is None:
        counts["failure_limit"] = None
    times = {name: _time(getattr(metric, name), values) for name in ("interval", "initial_delay")}
    return metric.model_copy(update={**counts, **times})


def _count(given: IntOrString | None, values: Mapping[str, str]) -> IntOrString | None:
    try:
        return substitute(given, values) if isinstance(given, str) else given
    except TemplateError:
        return None


def _time(given: str, values: Mapping[str, str]) -> str:
    try:
        return substitute(given, values)
    except TemplateError:
        return "1s"


def _unknown_tags(metrics: Sequence[Metric], values: Mapping[str, str]) -> Iterator[FieldError]:
    for index, metric in enumerate(metrics):
        try:
            resolve_metric(metric, values)
        except TemplateError as error:
            yield FieldError(f"metrics[{index}]", error.message, metric.name)


def _no_numbers(metrics: Sequence[Metric]) -> Iterator[FieldError]:
    """Counts and limits whose text would count as 0 (§17.2)."""
    for index, metric in enumerate(metrics):
        for name in _COUNTS:
            given = getattr(metric, name)
            if isinstance(given, str) and not is_integer(given):
                yield FieldError(f"metrics[{index}].{to_camel(name)}", "must be an integer", given)


def _of_providers(metrics: Sequence[Metric]) -> Iterator[FieldError]:
    """What each measurement would refuse (§18), as far as it depends on no argument."""
    for index, metric in enumerate(metrics):
        yield from provider_problems(metric.provider, f"metrics[{index}].provider")


def _plain(args: Iterable[Argument]) -> dict[str, str]:
    return {f"args.{one.name}": one.value for one in args if one.value is not None and secret_of(one) is None}


def _below_spec(problems: Iterable[FieldError]) -> list[FieldError]:
    return [replace(problem, path=f"spec.{problem.path}") for problem in problems]
