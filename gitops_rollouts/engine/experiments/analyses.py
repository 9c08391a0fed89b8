"""The AnalysisRuns of an Experiment: created once everything is available, followed, ended (docs/behaviour.md §19)."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from gitops_rollouts.api.analysis import COMPLETED, ERROR, PENDING, AnalysisRun, AnalysisRunSpec, Argument
from gitops_rollouts.api.analysis_refs import AnalysisRunMetadata
from gitops_rollouts.api.analysis_templates import TemplateKey, in_order, run_spec
from gitops_rollouts.api.experiment import ExperimentAnalysis, ExperimentAnalysisRunStatus
from gitops_rollouts.api.meta import Raw, format_time
from gitops_rollouts.api.names import INSTANCE_ID
from gitops_rollouts.api.templating import substitute
from gitops_rollouts.engine import moments
from gitops_rollouts.engine.experiments import texts
from gitops_rollouts.engine.experiments.observed import ExperimentAction
from gitops_rollouts.engine.experiments.scene import Scene
from gitops_rollouts.engine.plan import CreateRun, EmitEvent, TerminateRun
from gitops_rollouts.engine.scene import hash_of
from gitops_rollouts.errors import TemplateError

RUN: Final = "AnalysisRun"
ARRIVES_SECONDS: Final = 10
"""For how long a template that was created along with the Experiment may be unknown here."""


@dataclass(frozen=True, slots=True)
class Followed:
    """What a pass does for the analyses. ``events`` are told to the Rollout of the Experiment, too."""

    runs: tuple[ExperimentAnalysisRunStatus, ...]
    actions: tuple[ExperimentAction, ...] = ()
    events: tuple[EmitEvent, ...] = ()
    look_again: timedelta | None = None


def follow(scene: Scene) -> Followed:
    """The runs of all analyses, in the order of the spec."""
    stored = {one.name: one for one in scene.status.analysis_runs}
    entries: list[ExperimentAnalysisRunStatus] = []
    actions: list[ExperimentAction] = []
    emitted: list[EmitEvent] = []
    look_again: timedelta | None = None
    for analysis in scene.spec.analyses:
        before = stored.get(analysis.name)
        if before is not None:
            after: ExperimentAnalysisRunStatus | None = _followed(scene, before)
        elif scene.ending:
            after = None
        else:
            after, created, wait = _begun(scene, analysis)
            actions += created
            look_again = moments.soonest(look_again, wait)
        if after is None:
            continue
        entries.append(after)
        phase = "" if before is None else before.phase
        if after.phase != phase:
            emitted.append(texts.run_moved(analysis.name, phase, after.phase, after.message))
    actions += _ended(scene, tuple(entries))
    return Followed(tuple(entries), tuple(actions), tuple(emitted), look_again)


def _followed(scene: Scene, entry: ExperimentAnalysisRunStatus) -> ExperimentAnalysisRunStatus:
    """The entry as its run is now. One that has come to an end stays."""
    if entry.phase in COMPLETED:
        return entry
    run = next((one for one in scene.observed.analysis_runs if one.metadata.name == entry.analysis_run), None)
    if run is None:
        return entry.model_copy(update={"phase": ERROR, "message": f"AnalysisRun '{entry.analysis_run}' is gone"})
    if not run.status.phase:
        return entry
    return entry.model_copy(update={"phase": run.status.phase, "message": run.status.message})


def _begun(
    scene: Scene, analysis: ExperimentAnalysis
) -> tuple[ExperimentAnalysisRunStatus | None, tuple[ExperimentAction, ...], timedelta | None]:
    """An analysis without an entry: its templates must exist, and once everything is available it gets its run."""
    key = TemplateKey(analysis.cluster_scope, analysis.template_name)
    try:
        in_order((key,), scene.observed.templates)
    except TemplateError as error:
        wait = _may_arrive(scene)
        if wait is not None:
            return None, (), wait
        text = f"{key.kind} verification failed for analysis '{analysis.name}': {error.message}"
        return _failed(analysis, text), (), None
    present = {one.name for one in scene.spec.templates} <= set(scene.by_template)
    if scene.status.available_at is None or not present:
        return None, (), None
    try:
        spec = run_spec(
            (key,),
            scene.observed.templates,
            _arguments(scene, analysis),
            dry_run=scene.spec.dry_run,
            measurement_retention=scene.spec.measurement_retention,
        )
    except TemplateError as error:
        return _failed(analysis, _not_created(analysis, error.message)), (), None
    name = _run_name(scene, analysis, spec)
    refused = scene.observed.refused.get((RUN, name))
    if refused is not None:
        return _failed(analysis, _not_created(analysis, refused)), (), None
    entry = ExperimentAnalysisRunStatus(name=analysis.name, analysis_run=name, phase=PENDING)
    return entry, (CreateRun("AnalysisRun", name, _body(scene, spec)),), None


def _may_arrive(scene: Scene) -> timedelta | None:
    """How long a template may still be on its way here: it need not have been created before the Experiment."""
    created = scene.observed.experiment.metadata.creation_timestamp
    if created is None:
        return None
    return moments.until(moments.after(created, ARRIVES_SECONDS), scene.now) or None


def _failed(analysis: ExperimentAnalysis, message: str) -> ExperimentAnalysisRunStatus:
    return ExperimentAnalysisRunStatus(name=analysis.name, phase=ERROR, message=message)


def _not_created(analysis: ExperimentAnalysis, why: str) -> str:
    return f"Failed to create AnalysisRun for analysis '{analysis.name}': {why}"


def _arguments(scene: Scene, analysis: ExperimentAnalysis) -> Iterator[Argument]:
    """The values to pass; where one would come from otherwise is dropped."""
    values: dict[str, str] = {}
    for name, found in scene.by_template.items():
        values[f"templates.{name}.podTemplateHash"] = hash_of(found)
        values[f"templates.{name}.replicaset.name"] = found.name
    if scene.status.available_at is not None:
        values["experiment.availableAt"] = format_time(scene.status.available_at)
    if scene.ends_at is not None:
        values["experiment.finishedAt"] = format_time(scene.ends_at)
    for argument in analysis.args:
        value = None if argument.value is None else substitute(argument.value, values)
        yield Argument(name=argument.name, value=value)


def _run_name(scene: Scene, analysis: ExperimentAnalysis, spec: AnalysisRunSpec) -> str:
    """The first name that is free, or whose run is this very one: created, but not in the status yet."""
    base = f"{scene.name}-{analysis.name}"
    runs = {run.metadata.name: run for run in scene.observed.analysis_runs}
    name, count = base, 0
    while name in scene.observed.taken_runs or (name in runs and not _reusable(runs[name], spec)):
        count += 1
        name = f"{base}.{count}"
    return name


def _reusable(run: AnalysisRun, spec: AnalysisRunSpec) -> bool:
    here = run.spec
    same = (here.metrics, here.args, here.dry_run, here.measurement_retention) == (
        spec.metrics,
        spec.args,
        spec.dry_run,
        spec.measurement_retention,
    )
    return same and not run.status.completed and not here.terminate


def _body(scene: Scene, spec: AnalysisRunSpec) -> Raw:
    given = scene.spec.analysis_run_metadata or AnalysisRunMetadata()
    instance = scene.observed.experiment.metadata.labels.get(INSTANCE_ID)
    labels = dict(given.labels) | ({INSTANCE_ID: instance} if instance is not None else {})
    metadata: Raw = {"labels": labels} if labels else {}
    if given.annotations:
        metadata["annotations"] = dict(given.annotations)
    return {"metadata": metadata, "spec": spec.encode()}


def _ended(scene: Scene, entries: Collection[ExperimentAnalysisRunStatus]) -> Iterator[ExperimentAction]:
    """Runs that go on are asked to end once the Experiment ends; those that no analysis has, at once."""
    analysis_of = {entry.analysis_run: entry.name for entry in entries}
    for run in scene.observed.analysis_runs:
        name = run.metadata.name
        if run.status.completed or run.spec.terminate or not (scene.ending or name not in analysis_of):
            continue
        yield TerminateRun("AnalysisRun", name, run.metadata.uid)
        yield texts.terminating(analysis_of.get(name, name))
