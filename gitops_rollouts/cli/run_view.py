"""AnalysisRuns and Experiments as people look at them: what `get`, `why` and the live tree show of them.

`read` and `gather` ask the cluster; everything else is a pure function of what was read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gitops_rollouts.api import names
from gitops_rollouts.api.analysis import COMPLETED, AnalysisRun, Metric, MetricResult, parse_analysis_run
from gitops_rollouts.api.evidence import Evidence, evidence_of
from gitops_rollouts.api.experiment import Experiment, parse_experiment
from gitops_rollouts.api.meta import ObjectMeta, Raw, format_time
from gitops_rollouts.errors import Forbidden, NotFound

if TYPE_CHECKING:
    from gitops_rollouts.kube.client import Client

UNREADABLE: Final = (NotFound, Forbidden)
_MOST_RUNS: Final = 50
"""Runs of one Experiment that are read one by one."""
_KINDS: Final = {
    "Step": "step",
    "Background": "background",
    "PrePromotion": "before promotion",
    "PostPromotion": "after promotion",
}


@dataclass(frozen=True, slots=True)
class RunView:
    """An AnalysisRun. ``role``: what it is for, such as ``step 2`` or ``background``; "" if nothing tells."""

    run: AnalysisRun
    raw: Raw
    role: str = ""

    @property
    def name(self) -> str:
        """The run's name."""
        return self.run.metadata.name

    @property
    def phase(self) -> str:
        """Its phase; Pending before it was looked at."""
        return self.run.status.phase or "Pending"

    @property
    def revision(self) -> int:
        """The revision of its Rollout; 0: unknown."""
        return revision_of(self.run.metadata)

    @property
    def pod_hash(self) -> str:
        """The version that it is for; "" if nothing tells, as with an Experiment's."""
        return self.run.metadata.labels.get(names.POD_TEMPLATE_HASH, "")

    @property
    def metrics(self) -> tuple[tuple[MetricResult, Metric], ...]:
        """Each metric that has a result, with what was asked of it, then those that have none yet."""
        asked = {metric.name: metric for metric in self.run.spec.metrics}
        results = self.run.status.metric_results
        started = {result.name for result in results}
        waiting = [
            (MetricResult(name=name, phase="Pending"), metric) for name, metric in asked.items() if name not in started
        ]
        return (*((result, asked.get(result.name, Metric())) for result in results), *waiting)

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """What its metrics came to, the worst first."""
        return evidence_of(self.run)


@dataclass(frozen=True, slots=True)
class ExperimentView:
    """An Experiment and its AnalysisRuns."""

    experiment: Experiment
    raw: Raw
    runs: tuple[RunView, ...] = ()

    @property
    def name(self) -> str:
        """The Experiment's name."""
        return self.experiment.metadata.name

    @property
    def phase(self) -> str:
        """Its phase; Pending before it was looked at."""
        return self.experiment.status.phase or "Pending"

    @property
    def pod_hash(self) -> str:
        """The version that it is for; "" if it has no Rollout."""
        return self.experiment.metadata.labels.get(names.POD_TEMPLATE_HASH, "")

    @property
    def revision(self) -> int:
        """The revision of its Rollout; 0: unknown, or it has none."""
        return revision_of(self.experiment.metadata)


def revision_of(metadata: ObjectMeta) -> int:
    """The revision that an object was made for; 0: none is told."""
    text = metadata.annotations.get(names.REVISION, "")
    return int(text) if text.isdecimal() and len(text) < 10 else 0


def run_view(raw: Raw) -> RunView:
    """An AnalysisRun as it was read."""
    run = parse_analysis_run(raw)
    labels = run.metadata.labels
    role = _KINDS.get(labels.get(names.ROLLOUT_TYPE, ""), "")
    step = labels.get(names.STEP_INDEX, "")
    return RunView(run, raw, f"{role} {step}" if role == "step" and step.isdecimal() else role)


def experiment_view(raw: Raw, runs: Iterable[Raw] = ()) -> ExperimentView:
    """An Experiment and its runs, as they were read."""
    experiment = parse_experiment(raw)
    roles = {entry.analysis_run: entry.name for entry in experiment.status.analysis_runs}
    views = [RunView(view.run, view.raw, roles.get(view.name, "")) for view in map(run_view, runs)]
    return ExperimentView(experiment, raw, tuple(sorted(views, key=_age_of_run)))


def owned(raws: Iterable[Raw], uid: str) -> list[Raw]:
    """Those that the owner of this uid controls."""
    return [raw for raw in raws if uid and _controller_uid(raw) == uid]


def ordered(runs: Iterable[RunView]) -> tuple[RunView, ...]:
    """The newest first."""
    return tuple(sorted(runs, key=_age_of_run, reverse=True))


def _age_of_run(view: RunView) -> tuple[str, str]:
    created = view.run.metadata.creation_timestamp
    return format_time(created) if created is not None else "", view.name


def _controller_uid(raw: Raw) -> str:
    metadata = raw.get("metadata")
    owners = metadata.get("ownerReferences") if isinstance(metadata, dict) else None
    listed = owners if isinstance(owners, list) else []
    return next((str(each.get("uid")) for each in listed if isinstance(each, dict) and each.get("controller")), "")


async def of_rollout(
    client: Client, namespace: str, uid: str, hashes: Sequence[str]
) -> tuple[tuple[RunView, ...], tuple[ExperimentView, ...]]:
    """The runs and Experiments of a Rollout. ``hashes``: those of its versions, as they label each of them.

    A cluster without these kinds, or that doesn't show them to us, has none.
    """
    from gitops_rollouts.kube.resources import ANALYSIS_RUNS, EXPERIMENTS

    if not hashes:
        return (), ()
    selector = f"{names.POD_TEMPLATE_HASH} in ({','.join(sorted(set(hashes)))})"
    try:
        runs = owned(await client.list(ANALYSIS_RUNS, namespace, selector), uid)
        experiments = owned(await client.list(EXPERIMENTS, namespace, selector), uid)
    except UNREADABLE:
        return (), ()
    views = [await with_runs(client, namespace, raw) for raw in experiments]
    newest_first = sorted(views, key=lambda each: (each.revision, each.name), reverse=True)
    return ordered(map(run_view, runs)), tuple(newest_first)


async def with_runs(client: Client, namespace: str, raw: Raw) -> ExperimentView:
    """An Experiment with the AnalysisRuns that its status names, as far as they can be read."""
    from gitops_rollouts.kube.resources import ANALYSIS_RUNS

    found: list[Raw] = []
    for entry in parse_experiment(raw).status.analysis_runs[:_MOST_RUNS]:
        if entry.analysis_run:
            try:
                found.append(await client.get(ANALYSIS_RUNS, namespace, entry.analysis_run))
            except UNREADABLE:
                continue
    return experiment_view(raw, found)


def run_data(view: RunView) -> dict[str, Any]:
    """One run for a program; the keys are stable."""
    status = view.run.status.encode()
    return {
        "name": view.name,
        "role": view.role,
        "revision": view.revision,
        "phase": view.phase,
        "message": view.run.status.message,
        "startedAt": status.get("startedAt"),
        "completedAt": status.get("completedAt"),
        "metrics": [_metric_data(result, metric) for result, metric in view.metrics],
    }


def experiment_data(view: ExperimentView) -> dict[str, Any]:
    """One Experiment for a program; the keys are stable."""
    status = view.experiment.status
    return {
        "name": view.name,
        "revision": view.revision,
        "phase": view.phase,
        "message": status.message,
        "templates": [
            {
                "name": each.name,
                "status": each.status,
                "message": each.message,
                "replicas": each.replicas,
                "available": each.available_replicas,
                "service": each.service_name,
                "hash": each.pod_template_hash,
            }
            for each in status.template_statuses
        ],
        "analysisRuns": [run_data(each) for each in view.runs],
    }


def _metric_data(result: MetricResult, metric: Metric) -> dict[str, Any]:
    return {
        "name": result.name,
        "phase": result.phase,
        "message": result.message,
        "dryRun": result.dry_run,
        "successCondition": metric.success_condition,
        "failureCondition": metric.failure_condition,
        "successful": result.successful,
        "failed": result.failed,
        "inconclusive": result.inconclusive,
        "error": result.error,
        "measurements": [each.encode() for each in result.measurements],
    }


def is_over(phase: str) -> bool:
    """Whether a phase never changes again."""
    return phase in COMPLETED
