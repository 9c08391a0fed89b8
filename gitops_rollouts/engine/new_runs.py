"""Beginning an AnalysisRun: its name, labels, arguments and what it measures (docs/behaviour.md §5, §6, §17.1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from gitops_rollouts.api.analysis import AnalysisRun, AnalysisRunSpec, Argument, parse_analysis_run
from gitops_rollouts.api.analysis_refs import AnalysisRunArgument, RolloutAnalysis
from gitops_rollouts.api.analysis_templates import key_of, run_spec
from gitops_rollouts.api.field_paths import field_of
from gitops_rollouts.api.names import INSTANCE_ID, POD_TEMPLATE_HASH, REVISION, ROLLOUT_TYPE, STEP_INDEX
from gitops_rollouts.engine.observed import RunKind
from gitops_rollouts.engine.plan import CreateRun
from gitops_rollouts.engine.run_names import pick
from gitops_rollouts.engine.scene import Scene
from gitops_rollouts.errors import TemplateError

_SUFFIX: Final[Mapping[RunKind, str]] = {"Background": "", "PrePromotion": "-pre", "PostPromotion": "-post"}


@dataclass(frozen=True, slots=True)
class Begun:
    """A run that begins: to be created, or found as an earlier pass has left it. ``error``: why it can't be."""

    name: str = ""
    created: CreateRun | None = None
    found: AnalysisRun | None = None
    error: str = ""


def begin(scene: Scene, kind: RunKind, analysis: RolloutAnalysis) -> Begun:
    """Begin the run of this kind for the new version, or say why that is impossible now."""
    try:
        spec = run_spec(
            map(key_of, analysis.templates),
            scene.observed.templates,
            arguments(scene, analysis.args),
            dry_run=analysis.dry_run,
            measurement_retention=analysis.measurement_retention,
        )
    except TemplateError as error:
        return Begun(error=f"{kind} analysis can't begin: {error.message}")
    encoded = spec.encode()
    # compared as it comes back from the API server
    wanted = parse_analysis_run({"spec": encoded}).spec
    index = scene.status.current_step_index or 0
    suffix = f"-{index}" if kind == "Step" else _SUFFIX[kind]
    base = f"{scene.observed.rollout.metadata.name}-{scene.pod_hash}-{scene.revision}{suffix}"
    observed = scene.observed
    name, found = pick(base, ".", observed.analysis_runs, observed.taken_runs, lambda run: _reusable(run, wanted))
    if found is not None:
        return Begun(name, found=found)
    if name in observed.refused_runs:
        return Begun(error=f"{kind} analysis can't begin: {observed.refused_runs[name]}")
    metadata = {"labels": _labels(scene, kind, analysis), "annotations": _annotations(scene, analysis)}
    return Begun(name, created=CreateRun("AnalysisRun", name, {"metadata": metadata, "spec": encoded}))


def _reusable(run: AnalysisRun, wanted: AnalysisRunSpec) -> bool:
    """Whether it is the run that is wanted: under way, asked by nobody to end, and of the same content."""
    if run.status.completed or run.spec.terminate or run.metadata.deletion_timestamp is not None:
        return False
    spec = run.spec
    return (spec.metrics, spec.args, spec.dry_run, spec.measurement_retention) == (
        wanted.metrics,
        wanted.args,
        wanted.dry_run,
        wanted.measurement_retention,
    )


def arguments(scene: Scene, args: Iterable[AnalysisRunArgument]) -> tuple[Argument, ...]:
    """What a Rollout passes to templates, as plain values of this moment (§17.1). Raises TemplateError."""
    return tuple(Argument(name=argument.name, value=_value(scene, argument)) for argument in args)


def _value(scene: Scene, argument: AnalysisRunArgument) -> str:
    source = argument.value_from
    if source is None:
        return argument.value
    if source.pod_template_hash_value == "Latest":
        return scene.pod_hash
    if source.pod_template_hash_value == "Stable":
        return scene.status.stable_rs
    if source.field_ref is not None:
        return field_of(scene.observed.rollout, source.field_ref.field_path)
    raise TemplateError(
        f"args.{argument.name}: valueFrom names neither podTemplateHashValue Latest or Stable nor a fieldRef",
        remedy="give the argument a value",
    )


def _labels(scene: Scene, kind: RunKind, analysis: RolloutAnalysis) -> dict[str, str]:
    """The selector wins over everything else, and by what kind of run it is we know it again."""
    labels = analysis.analysis_run_metadata.labels | {POD_TEMPLATE_HASH: scene.pod_hash, ROLLOUT_TYPE: kind}
    if kind == "Step":
        labels[STEP_INDEX] = str(scene.status.current_step_index or 0)
    instance = scene.observed.rollout.metadata.labels.get(INSTANCE_ID)
    if instance is not None:
        labels[INSTANCE_ID] = instance
    selector = scene.spec.selector
    return labels | (selector.match_labels if selector is not None else {})


def _annotations(scene: Scene, analysis: RolloutAnalysis) -> dict[str, str]:
    return {REVISION: str(scene.revision)} | analysis.analysis_run_metadata.annotations
