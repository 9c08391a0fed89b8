"""What the informers keep of AnalysisRuns, Experiments and analysis templates, with the indexes that passes need."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from gitops_rollouts.api.analysis import (
    SUCCESSFUL,
    AnalysisRun,
    AnalysisTemplate,
    parse_analysis_run,
    parse_analysis_template,
)
from gitops_rollouts.api.analysis_templates import TemplateKey, reachable
from gitops_rollouts.api.evidence import Evidence, evidence_of, worst_first
from gitops_rollouts.api.experiment import Experiment, parse_experiment
from gitops_rollouts.api.meta import ObjectMeta, Raw
from gitops_rollouts.api.names import POD_TEMPLATE_HASH
from gitops_rollouts.kube.client import Client
from gitops_rollouts.kube.informer import Informer
from gitops_rollouts.kube.resources import (
    ANALYSIS_RUNS,
    ANALYSIS_TEMPLATES,
    CLUSTER_ANALYSIS_TEMPLATES,
    EXPERIMENTS,
)


@dataclass(frozen=True, slots=True)
class LiveRun:
    """An AnalysisRun as the cache holds it. ``spec`` and ``status`` are as stored; empty once it is completed.

    A completed one keeps its phase, message and times and, of its spec, ``ttlStrategy`` and ``terminate``; if it has an
    owner, ``evidence`` too.
    """

    run: AnalysisRun
    spec: Raw
    status: Raw
    evidence: tuple[Evidence, ...] = ()

    @property
    def metadata(self) -> ObjectMeta:
        """The run's metadata."""
        return self.run.metadata


@dataclass(frozen=True, slots=True)
class LiveExperiment:
    """An Experiment as the cache holds it. ``status`` is as stored."""

    experiment: Experiment
    status: Raw

    @property
    def metadata(self) -> ObjectMeta:
        """The Experiment's metadata."""
        return self.experiment.metadata


def project_run(raw: Raw) -> LiveRun:
    """Keep an AnalysisRun; of a completed one only what its owner and its end need (docs/behaviour.md §17.3)."""
    run = parse_analysis_run(raw)
    spec, status = raw.get("spec"), raw.get("status")
    if not run.status.completed:
        return LiveRun(run, spec if isinstance(spec, dict) else {}, status if isinstance(status, dict) else {})
    slim = run.spec.model_copy(update={"metrics": (), "args": (), "dry_run": (), "measurement_retention": ()})
    ended = run.status.model_copy(update={"metric_results": ()})
    evidence = evidence_of(run) if run.metadata.owner_references else ()
    return LiveRun(run.model_copy(update={"spec": slim, "status": ended}), {}, {}, evidence)


def project_experiment(raw: Raw) -> LiveExperiment:
    """Keep an Experiment; of a completed one no pod templates, since it makes no more pods."""
    experiment, status = parse_experiment(raw), raw.get("status")
    if experiment.status.completed:
        bare = tuple(one.model_copy(update={"template": {}}) for one in experiment.spec.templates)
        experiment = experiment.model_copy(update={"spec": experiment.spec.model_copy(update={"templates": bare})})
    return LiveExperiment(experiment, status if isinstance(status, dict) else {})


class Owned(Protocol):
    """What has metadata."""

    @property
    def metadata(self) -> ObjectMeta: ...


Key = tuple[str, str]
T = TypeVar("T", bound=Owned)


class ByOwner(Generic[T]):
    """An index of an informer by the uid of the controlling owner; ``on_owned`` is told that owner's uid.

    What claims an owner in another namespace is none of that owner's: whoever may write there has no say here.
    """

    def __init__(self, informer: Informer[T], on_owned: Callable[[str], None]) -> None:
        self._of: dict[str, dict[Key, T]] = defaultdict(dict)
        self._on_owned = on_owned
        informer.on_change(self._changed)

    def of(self, owner: ObjectMeta) -> tuple[T, ...]:
        """What this owner controls, by name."""
        owned = sorted(self._of.get(owner.uid, {}).items())
        return tuple(value for key, value in owned if key[0] == owner.namespace)

    def _changed(self, key: Key, old: T | None, new: T | None) -> None:
        before, after = owner_of(old), owner_of(new)
        if before is not None and before != after:
            self._of[before].pop(key, None)
            if not self._of[before]:
                del self._of[before]
        if after is not None and new is not None:
            self._of[after][key] = new
        for uid in {before, after} - {None}:
            if uid is not None:
                self._on_owned(uid)


def _ended_badly(live: LiveRun) -> bool:
    return live.run.status.completed and live.run.status.phase != SUCCESSFUL


def _is_for(owned: Owned, pod_hash: str) -> bool:
    return owned.metadata.labels.get(POD_TEMPLATE_HASH) == pod_hash


def owner_of(owned: Owned | None) -> str | None:
    """The uid of the owner that controls it."""
    if owned is None:
        return None
    return next((one.uid for one in owned.metadata.owner_references if one.controller and one.uid), None)


class RunCaches:
    """The informers. ``on_owned``: the uid of an owner whose runs or Experiments changed; ``on_template``: one changed.

    A cluster without these kinds, or that doesn't let us read them, has none.
    """

    def __init__(
        self,
        client: Client,
        *,
        namespace: str | None,
        on_owned: Callable[[str], None],
        on_template: Callable[[str, TemplateKey], None],
    ) -> None:
        self.runs: Informer[LiveRun] = Informer(client, ANALYSIS_RUNS, project_run, namespace=namespace, optional=True)
        self.experiments: Informer[LiveExperiment] = Informer(
            client, EXPERIMENTS, project_experiment, namespace=namespace, optional=True
        )
        self.templates: Informer[AnalysisTemplate] = Informer(
            client, ANALYSIS_TEMPLATES, parse_analysis_template, namespace=namespace, optional=True
        )
        self.cluster_templates: Informer[AnalysisTemplate] = Informer(
            client, CLUSTER_ANALYSIS_TEMPLATES, parse_analysis_template, optional=True
        )
        self._runs_of = ByOwner(self.runs, on_owned)
        self._experiments_of = ByOwner(self.experiments, on_owned)
        self.templates.on_change(lambda key, _old, _new: on_template(key[0], TemplateKey(cluster=False, name=key[1])))
        self.cluster_templates.on_change(lambda key, _old, _new: on_template("", TemplateKey(True, name=key[1])))

    @property
    def informers(self) -> tuple[Informer[LiveRun] | Informer[LiveExperiment] | Informer[AnalysisTemplate], ...]:
        """All of them, to be run."""
        return self.runs, self.experiments, self.templates, self.cluster_templates

    def runs_of(self, owner: ObjectMeta) -> tuple[AnalysisRun, ...]:
        """The AnalysisRuns that this owner controls."""
        return tuple(live.run for live in self._runs_of.of(owner))

    def evidence_of(self, owner: ObjectMeta, pod_hash: str) -> tuple[Evidence, ...]:
        """What the metrics of this owner's runs for a version have come to, those of its Experiments among them."""
        found = [live for live in self._runs_of.of(owner) if _is_for(live, pod_hash)]
        for experiment in self.experiments_of(owner):
            if _is_for(experiment, pod_hash):
                found += self._runs_of.of(experiment.metadata)
        return worst_first(each for live in found for each in live.evidence or evidence_of(live.run))

    def failures_of(self, owner: ObjectMeta) -> dict[str, tuple[Evidence, ...]]:
        """The evidence of this owner's runs and Experiments that ended without a yes, by their names."""
        found = {live.metadata.name: live.evidence for live in self._runs_of.of(owner) if _ended_badly(live)}
        for experiment in self.experiments_of(owner):
            if experiment.status.completed and experiment.status.phase != SUCCESSFUL:
                runs = [live for live in self._runs_of.of(experiment.metadata) if _ended_badly(live)]
                evidence = worst_first(each for live in runs for each in live.evidence)
                found[experiment.metadata.name] = evidence
        return found

    def experiments_of(self, owner: ObjectMeta) -> tuple[Experiment, ...]:
        """The Experiments that this owner controls."""
        return tuple(live.experiment for live in self._experiments_of.of(owner))

    def templates_for(self, namespace: str, named: Iterable[TemplateKey]) -> dict[TemplateKey, AnalysisTemplate]:
        """The templates of these names, and those that they name in turn, as far as they exist."""

        def find(key: TemplateKey) -> AnalysisTemplate | None:
            if key.cluster:
                return self.cluster_templates.get("", key.name)
            return self.templates.get(namespace, key.name)

        return reachable(named, find)
