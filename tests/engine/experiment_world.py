"""A model of a cluster with one Experiment: it carries out plans, and pods and AnalysisRuns do as a test says.

Pods become available when a test lets them, time stands still unless a test moves it.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from datetime import timedelta
from typing import Any

from engine.world import START
from gitops_rollouts.api.analysis import parse_analysis_run, parse_analysis_template
from gitops_rollouts.api.analysis_templates import TemplateKey, reachable
from gitops_rollouts.api.experiment import parse_experiment
from gitops_rollouts.api.meta import format_time
from gitops_rollouts.api.status import status_patch
from gitops_rollouts.engine.experiments.observed import (
    CreateService,
    DeleteService,
    ExperimentAction,
    ExperimentPlan,
    NamedService,
    ObservedExperiment,
)
from gitops_rollouts.engine.experiments.step import step
from gitops_rollouts.engine.observed import ReplicaSet
from gitops_rollouts.engine.plan import CreateReplicaSet, CreateRun, EmitEvent, PatchReplicaSet, TerminateRun

UID = "experiment-uid"


def template(name: str, *, replicas: int | None = None, **more: Any) -> dict[str, Any]:
    """A template of an Experiment; its pods listen on port 80."""
    pods = {
        "metadata": {"labels": {"app": "web", "variant": name}},
        "spec": {"containers": [{"name": "web", "image": f"web:{name}", "ports": [{"containerPort": 80}]}]},
    }
    given: dict[str, Any] = {
        "name": name,
        "selector": {"matchLabels": {"app": "web", "variant": name}},
        "template": pods,
        **({} if replicas is None else {"replicas": replicas}),
    }
    return given | more


def analysis(name: str, *, required: bool = False, **more: Any) -> dict[str, Any]:
    """An analysis of an Experiment, made from the template of the same name."""
    return {"name": name, "templateName": name, **({"requiredForCompletion": True} if required else {}), **more}


def manifest(*templates: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """An Experiment; ``status`` is the stored one."""
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Experiment",
        "metadata": {
            "name": "trial",
            "namespace": "shop",
            "uid": UID,
            "generation": 1,
            "creationTimestamp": format_time(START - timedelta(seconds=60)),
        },
        "spec": {"templates": list(templates) or [template("one")], **spec},
        "status": {},
    }


class ExperimentWorld:
    """One Experiment and what belongs to it."""

    def __init__(self, raw: dict[str, Any]) -> None:
        self.raw = raw
        self.now = START
        self.sets: dict[str, ReplicaSet] = {}
        self.services: dict[str, dict[str, Any]] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.known: dict[TemplateKey, Any] = {}
        self.foreign: set[str] = set()
        """Names of Services and ReplicaSets that somebody else has."""
        self.events: list[EmitEvent] = []
        self.owner_events: list[EmitEvent] = []
        self.plans: list[ExperimentPlan] = []
        self.phases: list[str] = []
        self._serial = 0
        for one in raw["spec"].get("analyses", ()):
            self.know(one["templateName"], cluster=one.get("clusterScope", False))

    # --- what a test reads

    @property
    def status(self) -> dict[str, Any]:
        return self.raw["status"]

    @property
    def phase(self) -> str:
        return self.status.get("phase", "")

    def states(self) -> dict[str, str]:
        return {one["name"]: one.get("status", "") for one in self.status.get("templateStatuses", ())}

    def entries(self) -> dict[str, dict[str, Any]]:
        return {one["name"]: one for one in self.status.get("analysisRuns", ())}

    def sizes(self) -> dict[str, int]:
        return {name: one.replicas for name, one in self.sets.items()}

    def condition(self, kind: str = "Progressing") -> dict[str, Any]:
        return next((one for one in self.status.get("conditions", ()) if one["type"] == kind), {})

    def told(self) -> list[str]:
        return [f"{event.reason}: {event.message}" for event in self.events]

    # --- what a test does

    def know(self, name: str, *, cluster: bool = False, **spec: Any) -> None:
        """An analysis template exists."""
        metric = {"name": "errors", "provider": {"web": {"url": "http://m"}}}
        body = {"metadata": {"name": name}, "spec": {"metrics": [metric], **spec}}
        self.known[TemplateKey(cluster, name)] = parse_analysis_template(body)

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def pods(self, **available: int) -> None:
        """The pods of these templates are all there, so many of them available."""
        for name, count in available.items():
            found = self.sets[f"trial-{name}"]
            self.sets[found.name] = replace(found, current=found.replicas, ready=count, available=count)

    def pods_follow(self) -> None:
        """Every pod that is wanted gets available, and the others go."""
        for name, found in self.sets.items():
            size = found.replicas
            self.sets[name] = replace(found, current=size, ready=size, available=size)

    def judge(self, run: str, phase: str, message: str = "") -> None:
        """The AnalysisRun comes to a phase."""
        self.runs[run]["status"] = {"phase": phase, **({"message": message} if message else {})}

    def edit(self, **spec: Any) -> None:
        self.raw["spec"] = {**self.raw["spec"], **spec}

    # --- passes

    def observe(self) -> ObservedExperiment:
        experiment = parse_experiment(copy.deepcopy(self.raw))
        named = [TemplateKey(one.cluster_scope, one.template_name) for one in experiment.spec.analyses]
        services = {name: NamedService(name, name, one["owner"]) for name, one in self.services.items()}
        services |= {name: NamedService(name, name, None) for name in self.foreign}
        return ObservedExperiment(
            experiment=experiment,
            replica_sets=tuple(self.sets.values()),
            services=services,
            analysis_runs=tuple(parse_analysis_run(run) for run in self.runs.values()),
            templates=reachable(named, self.known.get),
        )

    def once(self, *, only: int | None = None) -> ExperimentPlan:
        """One pass. ``only``: the process dies after so many writes, the status being the last one."""
        observed = self.observe()
        plan = step(observed, self.now)
        refused = {
            (kind, action.name): "it exists already"
            for action in plan.actions
            for kind, create in (("ReplicaSet", CreateReplicaSet), ("Service", CreateService))
            if isinstance(action, create) and action.name in self.foreign
        }
        if refused:
            plan = step(replace(observed, refused=refused), self.now)
        self.plans.append(plan)
        writes = 0
        for action in plan.actions:
            if isinstance(action, EmitEvent):
                self.events.append(action)
                continue
            if writes == only:
                return plan
            writes += 1
            self._act(action)
        if writes != only:
            self._write(plan)
        return plan

    def _write(self, plan: ExperimentPlan) -> None:
        if plan.status is not None:
            patch = status_patch(self.raw["status"], plan.status.encode())
            if patch is not None:
                self.raw["status"] = plan.status.encode()
        if not self.phases or self.phases[-1] != self.phase:
            self.phases.append(self.phase)
        self.events += plan.events
        self.owner_events += plan.owner_events

    def settle(self, limit: int = 40) -> None:
        """Passes until nothing more changes, while pods and runs stand still."""
        for _ in range(limit):
            before = self._state()
            self.once()
            if self._state() == before:
                return
        raise AssertionError(f"still moving after {limit} passes: {self.plans[-2:]}")

    def run(self, limit: int = 40) -> None:
        """The same, with pods that do as they are told."""
        for _ in range(limit):
            before = self._state()
            self.once()
            self.pods_follow()
            if self._state() == before:
                return
        raise AssertionError(f"still moving after {limit} passes: {self.plans[-2:]}")

    def _state(self) -> Any:
        return copy.deepcopy((self.raw, dict(self.sets), self.services, self.runs))

    def _act(self, action: ExperimentAction) -> None:
        match action:
            case CreateReplicaSet():
                self._create(action)
            case PatchReplicaSet():
                found = self.sets[action.name]
                kept = {**found.annotations, **action.annotations}
                annotations = {key: value for key, value in kept.items() if value is not None}
                size = found.replicas if action.replicas is None else action.replicas
                self.sets[action.name] = replace(found, replicas=size, annotations=annotations)
            case CreateService():
                assert action.name not in self.foreign, "this can't be created"
                self.services[action.name] = {"owner": UID, "body": action.body}
            case DeleteService():
                self.services.pop(action.name, None)
            case CreateRun():
                present = self.runs.get(action.name)
                if present is None:
                    meta = {**action.body["metadata"], "name": action.name, "uid": action.name}
                    self.runs[action.name] = copy.deepcopy({**action.body, "metadata": meta, "status": {}})
            case TerminateRun():
                self.runs[action.name]["spec"]["terminate"] = True

    def _create(self, action: CreateReplicaSet) -> None:
        assert action.name not in self.sets, "a second ReplicaSet of a template"
        assert action.name not in self.foreign, "this can't be created"
        self._serial += 1
        meta, spec = action.body["metadata"], action.body["spec"]
        self.sets[action.name] = ReplicaSet(
            name=action.name,
            uid=action.name,
            created=self.now + timedelta(microseconds=self._serial),
            labels=meta["labels"],
            annotations=meta["annotations"],
            owner_uid=UID,
            selector=spec["selector"],
            template=spec["template"],
            replicas=spec["replicas"],
        )
