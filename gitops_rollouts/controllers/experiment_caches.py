"""How one Experiment's `ObservedExperiment` is put together from the caches, and who tells that it changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from gitops_rollouts.api.analysis_templates import TemplateKey
from gitops_rollouts.api.experiment import Experiment
from gitops_rollouts.controllers.observe import Caches, Key, LiveService
from gitops_rollouts.controllers.run_caches import LiveExperiment, RunCaches
from gitops_rollouts.engine.experiments.observed import NamedService, ObservedExperiment
from gitops_rollouts.engine.experiments.templates import service_names
from gitops_rollouts.kube.resources import ANALYSIS_RUNS, EXPERIMENTS, REPLICA_SETS, SERVICES, Resource

COALESCE_SECONDS: Final = 0.05


class ExperimentCaches:
    """``on_experiment``: a key that should be looked at after so many seconds."""

    def __init__(self, caches: Caches, runs: RunCaches, on_experiment: Callable[[Key, float], None]) -> None:
        self.caches = caches
        self.runs = runs
        self._on_experiment = on_experiment
        self._uids: dict[str, Key] = {}
        runs.experiments.on_change(self._changed)
        caches.services.on_change(self._service_changed)

    def get(self, key: Key) -> LiveExperiment | None:
        """The Experiment of this key."""
        return self.runs.experiments.get(*key)

    def observe(self, live: LiveExperiment, taken_runs: Iterable[str] = ()) -> ObservedExperiment:
        """The snapshot of one Experiment."""
        experiment = live.experiment
        namespace = experiment.metadata.namespace
        services: dict[str, NamedService] = {}
        for name in service_names(experiment):
            found = self.caches.services.get(namespace, name)
            if found is not None:
                services[name] = NamedService(name, found.uid, found.owner_uid)
        return ObservedExperiment(
            experiment=experiment,
            replica_sets=self.caches.replica_sets_of(experiment.metadata),
            services=services,
            analysis_runs=self.runs.runs_of(experiment.metadata),
            taken_runs=frozenset(taken_runs),
            templates=self.runs.templates_for(namespace, _named(experiment)),
        )

    def positions(self) -> Mapping[Resource, int]:
        """How far each cache is."""
        return {
            EXPERIMENTS: self.runs.experiments.position,
            ANALYSIS_RUNS: self.runs.runs.position,
            REPLICA_SETS: self.caches.replica_sets.position,
            SERVICES: self.caches.services.position,
        }

    def owned_changed(self, uid: str, counts_only: bool = False) -> None:
        """Something that this owner controls changed; of interest if the owner is an Experiment."""
        key = self._uids.get(uid)
        if key is not None:
            self._on_experiment(key, COALESCE_SECONDS if counts_only else 0.0)

    def template_changed(self, namespace: str, template: TemplateKey) -> None:
        """An analysis template changed; ``namespace`` is "" for a cluster's template."""
        for key in self._naming(namespace, template):
            self._on_experiment(key, 0.0)

    def _naming(self, namespace: str, template: TemplateKey) -> Iterator[Key]:
        for key, live in self.runs.experiments.items():
            if namespace not in ("", key[0]) or live.experiment.status.completed:
                continue
            named = tuple(_named(live.experiment))
            if template in named or template in self.runs.templates_for(key[0], named):
                yield key

    def _changed(self, key: Key, old: LiveExperiment | None, new: LiveExperiment | None) -> None:
        if old is not None and (new is None or new.metadata.uid != old.metadata.uid):
            self._uids.pop(old.metadata.uid, None)
        if new is not None:
            self._uids[new.metadata.uid] = key
        self._on_experiment(key, 0.0)

    def _service_changed(self, _key: Key, old: LiveService | None, new: LiveService | None) -> None:
        for owner in {service.owner_uid for service in (old, new) if service is not None} - {None}:
            self.owned_changed(owner or "")


def _named(experiment: Experiment) -> Iterator[TemplateKey]:
    return (TemplateKey(one.cluster_scope, one.template_name) for one in experiment.spec.analyses)
