"""A model of a cluster for the engine's tests: it carries out plans, runs ReplicaSets, and its pods get available.

Pods of an image that ends in ``:broken`` never do. Time stands still unless a test moves it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from engine.world_runs import Runs
from engine.world_trials import Trials
from gitops_rollouts.api.analysis import AnalysisTemplate, parse_analysis_template
from gitops_rollouts.api.analysis_templates import TemplateKey, reachable, templates_of
from gitops_rollouts.api.meta import format_time
from gitops_rollouts.api.names import DESIRED_REPLICAS, POD_TEMPLATE_HASH
from gitops_rollouts.api.rollout import Rollout, parse_rollout
from gitops_rollouts.api.status import encode_status, status_patch
from gitops_rollouts.engine.observed import (
    Authority,
    Observed,
    PluginAnswer,
    Pod,
    ReplicaSet,
    RoutersSeen,
    Service,
    Workload,
)
from gitops_rollouts.engine.plan import (
    Action,
    AdoptReplicaSet,
    CallStepPlugin,
    CreateReplicaSet,
    CreateRun,
    DeleteReplicaSet,
    DeleteRun,
    EmitEvent,
    EvictPod,
    ForgetPromotions,
    PatchPod,
    PatchReplicaSet,
    PatchRollout,
    Plan,
    PointService,
    RecordAbort,
    RecordPromotion,
    ReleaseReplicaSet,
    RemoveManagedRoutes,
    RouteTraffic,
    ScaleWorkload,
    TerminateRun,
)
from gitops_rollouts.engine.step import step

MEASURES_ONCE = parse_analysis_template({"spec": {"metrics": [{"name": "once", "provider": {"job": {"spec": {}}}}]}})
START = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


@dataclass
class WorldPod:
    name: str
    created: datetime
    available: bool = False
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)


@dataclass
class WorldReplicaSet:
    spec: ReplicaSet
    pods: list[WorldPod] = field(default_factory=list)

    @property
    def broken(self) -> bool:
        return any(container["image"].endswith(":broken") for container in self.spec.template["spec"]["containers"])


def manifest(
    *,
    replicas: int | None = 1,
    image: str = "web:v1",
    steps: list[dict[str, Any]] | None = None,
    canary: dict[str, Any] | None = None,
    blue_green: dict[str, Any] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    strategy = {**({"steps": steps} if steps else {}), **(canary or {})}
    whole: dict[str, Any] = {
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "image": image}]},
        },
        "strategy": {"canary": strategy} if blue_green is None else {"blueGreen": blue_green},
        **spec,
    }
    if replicas is not None:
        whole["replicas"] = replicas
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "metadata": {"name": "web", "namespace": "shop", "uid": "rollout-uid", "generation": 1, "annotations": {}},
        "spec": whole,
        "status": {},
    }


class World:
    """One Rollout and what belongs to it."""

    def __init__(self, raw: dict[str, Any], *, authority: Authority | None = None) -> None:
        self.raw = raw
        self.now = START
        self.authority = authority
        self.sets: dict[str, WorldReplicaSet] = {}
        self.taken: set[str] = set()
        self.services: dict[str, Service] = {}
        self.events: list[EmitEvent] = []
        self.records: list[RecordAbort] = []
        self.wished: list[RecordPromotion] = []
        """What waits in the outbox for its line."""
        self.statuses: list[dict[str, Any]] = []
        self.plans: list[Plan] = []
        self.slow = False
        self.workload: Workload | None = None
        self.templates: dict[TemplateKey, AnalysisTemplate | None] = {}
        """Analysis templates that differ from `MEASURES_ONCE`, which all others are; None: there is none."""
        self.runs = Runs()
        self.trials = Trials()
        self.routers = RoutersSeen()
        self.routed: list[RouteTraffic] = []
        """What the routers were told, each change once."""
        self.managed_routes: set[str] = set()
        self.calls: list[CallStepPlugin] = []
        """Calls of step plugins that nobody has answered yet."""
        self.answers: list[PluginAnswer] = []
        self.disabled: frozenset[str] = frozenset()
        self.loads_pods = False
        self.disrupted: set[str] = set()
        """Pods that a PodDisruptionBudget keeps."""
        self._evicted = 0
        self._serial = 0

    # --- what clients and people do

    def edit(self, **spec: Any) -> None:
        self.raw["spec"] = {**copy.deepcopy(self.raw["spec"]), **spec}
        self.raw["metadata"]["generation"] += 1

    def set_image(self, image: str) -> None:
        template = copy.deepcopy(self.raw["spec"]["template"])
        template["spec"]["containers"][0]["image"] = image
        self.edit(template=template)

    def set_steps(self, steps: list[dict[str, Any]]) -> None:
        self.edit(strategy={"canary": {**self.raw["spec"]["strategy"]["canary"], "steps": steps}})

    def patch_status(self, **changes: Any) -> None:
        for key, value in changes.items():
            if value is None:
                self.raw["status"].pop(key, None)
            else:
                self.raw["status"][key] = value

    def annotate(self, key: str, value: str) -> None:
        self.raw["metadata"]["annotations"][key] = value

    # --- what a test looks at

    @property
    def rollout(self) -> Rollout:
        return parse_rollout(self.raw)

    @property
    def status(self) -> dict[str, Any]:
        return self.raw["status"]

    def sizes(self) -> dict[str, int]:
        """Image → wanted size."""
        return {kept.spec.template["spec"]["containers"][0]["image"]: kept.spec.replicas for kept in self.sets.values()}

    def by_image(self, image: str) -> WorldReplicaSet:
        return next(
            kept for kept in self.sets.values() if kept.spec.template["spec"]["containers"][0]["image"] == image
        )

    def behind(self, service: str) -> str:
        """The image that a Service selects; "" for every version."""
        pod_hash = self.services[service].selector.get(POD_TEMPLATE_HASH, "")
        found = [kept.spec for kept in self.sets.values() if kept.spec.labels[POD_TEMPLATE_HASH] == pod_hash]
        return str(found[0].template["spec"]["containers"][0]["image"]) if found else pod_hash

    def condition(self, kind: str) -> dict[str, Any] | None:
        return next((found for found in self.status.get("conditions", []) if found["type"] == kind), None)

    def reasons(self) -> list[str]:
        """The reasons of the events since the last call."""
        found = [event.reason for event in self.events]
        self.events.clear()
        return found

    def available(self) -> int:
        return sum(pod.available for kept in self.sets.values() for pod in kept.pods)

    def asked(self) -> int:
        return sum(kept.spec.replicas for kept in self.sets.values())

    # --- time

    def observe(self) -> Observed:
        rollout = self.rollout
        restart = rollout.spec.restart_at
        pods = None
        if self.loads_pods or (restart is not None and restart != rollout.status.restarted_at):
            pods = tuple(
                Pod(
                    pod.name,
                    pod.name,
                    pod.created,
                    kept.spec.uid,
                    pod.available,
                    deleting=False,
                    labels=dict(pod.labels),
                    annotations=dict(pod.annotations),
                )
                for kept in self.sets.values()
                for pod in kept.pods
            )
        return Observed(
            rollout=rollout,
            replica_sets=tuple(self._seen(kept) for kept in self.sets.values()),
            taken_names=frozenset(self.taken),
            services=dict(self.services),
            pods=pods,
            authority=self.authority,
            workload=self.workload,
            templates=reachable(templates_of(rollout), lambda key: self.templates.get(key, MEASURES_ONCE)),
            analysis_runs=self.runs.observed(),
            experiments=self.trials.experiments(),
            routers=self.routers,
            plugin_answers=tuple(self.answers),
            disabled_plugins=self.disabled,
        )

    def _seen(self, kept: WorldReplicaSet) -> ReplicaSet:
        available = sum(pod.available for pod in kept.pods)
        return replace(
            kept.spec,
            current=len(kept.pods),
            ready=available,
            available=available,
            observed_generation=kept.spec.generation,
        )

    def once(self, *, only: int | None = None) -> Plan:
        """One pass; with ``only``, the process dies after that many writes."""
        plan = step(self.observe(), self.now)
        self.plans.append(plan)
        self.carry_out(plan, only=only)
        return plan

    def settle(self, limit: int = 200) -> int:
        """Passes and pods until nothing moves. Returns the number of passes."""
        for passes in range(limit):
            before = self._state()
            self.once()
            if self._state() == before and not self.run_pods():
                return passes
        raise AssertionError(f"still moving after {limit} passes: {self.plans[-4:]}")

    def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.settle()

    def wait(self, seconds: float = 1) -> None:
        """Let a moment pass, so that what is created afterwards is younger."""
        self.now += timedelta(seconds=seconds)

    def _state(self) -> tuple[Any, ...]:
        return (
            copy.deepcopy(self.raw),
            {name: (kept.spec, len(kept.pods)) for name, kept in self.sets.items()},
            dict(self.services),
            len(self.records),
            len(self.routed),
            frozenset(self.managed_routes),
            len(self.calls),
            self.workload,
            self.runs.state(),
            self.trials.state(),
        )

    def run_pods(self) -> bool:
        """The ReplicaSet controller, the kubelets and the controller of runs: whether anything moved."""
        moved = self.runs.run() | self.trials.run()
        for kept in self.sets.values():
            while len(kept.pods) > kept.spec.replicas:
                kept.pods.sort(key=lambda pod: pod.available, reverse=True)
                kept.pods.pop()
                moved = True
            for pod in kept.pods:
                if not pod.available and not kept.broken and not self.slow:
                    pod.available = moved = True
            while len(kept.pods) < kept.spec.replicas:
                self._serial += 1
                metadata = kept.spec.template.get("metadata") or {}
                kept.pods.append(
                    WorldPod(
                        f"{kept.spec.name}-{self._serial}",
                        self.now,
                        labels=dict(metadata.get("labels") or {}),
                        annotations=dict(metadata.get("annotations") or {}),
                    )
                )
                moved = True
        return moved

    # --- the executor

    def carry_out(self, plan: Plan, *, only: int | None = None) -> None:
        self._evicted = 0
        for done, action in enumerate(self.order(plan)):
            if only is not None and done >= only:
                return
            if action is None:
                self._write_status(plan)
            else:
                self._act(action)

    @staticmethod
    def order(plan: Plan) -> list[Action | None]:
        """What is done one after the other; None: the status is written."""
        steps: list[Action | None] = [action for action in plan.actions if isinstance(action, RecordAbort)]
        rest = [action for action in plan.actions if not isinstance(action, RecordAbort)]
        steps += [None, *rest] if plan.status_first else [*rest, None]
        return [*steps, *plan.events]

    def _write_status(self, plan: Plan) -> None:
        if plan.status is None:
            return
        old = encode_status(self.rollout.status)
        new = encode_status(plan.status)
        if status_patch(old, new) is not None:
            self.raw["status"] = new
            self.statuses.append(new)

    def _act(self, action: Action) -> None:
        if isinstance(action, EmitEvent):
            self.events.append(action)
        elif isinstance(action, RecordAbort | RecordPromotion | ForgetPromotions):
            self._act_on_outbox(action)
        elif isinstance(action, PointService):
            self._point(action)
        elif isinstance(action, PatchRollout):
            self._patch_rollout(action)
        elif isinstance(action, RouteTraffic | RemoveManagedRoutes | CallStepPlugin | ScaleWorkload):
            self._act_around(action)
        elif isinstance(action, EvictPod | PatchPod):
            self._act_on_pod(action)
        elif isinstance(action, CreateRun | TerminateRun | DeleteRun):
            (self.trials if action.kind == "Experiment" else self.runs).act(action, self.now)
        else:
            self._act_on_replica_set(action)

    def _act_on_outbox(self, action: RecordAbort | RecordPromotion | ForgetPromotions) -> None:
        """It has one entry for each decision. A promotion's gate does for its id here."""
        if isinstance(action, RecordAbort):
            self.records += [] if action in self.records else [action]
        elif isinstance(action, RecordPromotion):
            self.wished += [] if action in self.wished else [action]
        else:
            self.wished = [each for each in self.wished if each.gate not in action.ids]

    def _act_around(self, action: RouteTraffic | RemoveManagedRoutes | CallStepPlugin | ScaleWorkload) -> None:
        if isinstance(action, RouteTraffic):
            self._route(action)
        elif isinstance(action, RemoveManagedRoutes):
            self.managed_routes.clear()
        elif isinstance(action, CallStepPlugin):
            if action not in self.calls:
                self.calls.append(action)
        else:
            assert self.workload is not None
            self.workload = replace(self.workload, replicas=action.replicas)

    def _route(self, action: RouteTraffic) -> None:
        if not self.routed or self.routed[-1] != action:
            self.routed.append(action)
        for route in (action.header_route, action.mirror_route):
            if route is not None:
                (self.managed_routes.add if route.match else self.managed_routes.discard)(route.name)

    def _act_on_pod(self, action: EvictPod | PatchPod) -> None:
        if isinstance(action, EvictPod):
            if self._evicted >= action.at_most or action.name in self.disrupted:
                return
            self._evicted += 1
        for kept in self.sets.values():
            if isinstance(action, EvictPod):
                kept.pods = [pod for pod in kept.pods if pod.name != action.name]
                continue
            for pod in kept.pods:
                if pod.name == action.name:
                    pod.labels = _merged(pod.labels, action.labels)
                    pod.annotations = _merged(pod.annotations, action.annotations)

    def _act_on_replica_set(self, action: Action) -> None:
        if isinstance(action, CreateReplicaSet):
            self._create(action)
        elif isinstance(action, PatchReplicaSet):
            self._patch(action)
        elif isinstance(action, DeleteReplicaSet):
            assert not self.sets[action.name].pods
            del self.sets[action.name]
        elif isinstance(action, AdoptReplicaSet):
            self._own(action.name, "rollout-uid")
        elif isinstance(action, ReleaseReplicaSet):
            self._own(action.name, None)

    def _patch_rollout(self, action: PatchRollout) -> None:
        for key, value in action.annotations.items():
            if value is None:
                self.raw["metadata"]["annotations"].pop(key, None)
            else:
                self.annotate(key, value)
        if action.replicas is not None:
            self.edit(replicas=action.replicas)

    def _create(self, action: CreateReplicaSet) -> None:
        assert action.name not in self.sets
        assert action.name not in self.taken
        self._serial += 1
        metadata, spec = action.body["metadata"], action.body["spec"]
        self.sets[action.name] = WorldReplicaSet(
            ReplicaSet(
                name=action.name,
                uid=f"uid-{self._serial}",
                created=self.now.replace(microsecond=0),
                labels=metadata["labels"],
                annotations=metadata["annotations"],
                owner_uid="rollout-uid",
                selector=spec["selector"],
                template=spec["template"],
                replicas=spec["replicas"],
                min_ready_seconds=spec.get("minReadySeconds", 0),
            )
        )

    def _patch(self, action: PatchReplicaSet) -> None:
        kept = self.sets[action.name]
        annotations = {**kept.spec.annotations, **action.annotations}
        kept.spec = replace(
            kept.spec,
            annotations={key: value for key, value in annotations.items() if value is not None},
            template=_merge_patched(kept.spec.template, action.template),
            replicas=kept.spec.replicas if action.replicas is None else action.replicas,
            min_ready_seconds=(
                kept.spec.min_ready_seconds if action.min_ready_seconds is None else action.min_ready_seconds
            ),
        )

    def _own(self, name: str, uid: str | None) -> None:
        kept = self.sets[name]
        kept.spec = replace(kept.spec, owner_uid=uid)

    def _point(self, action: PointService) -> None:
        service = self.services[action.name]
        self.services[action.name] = replace(
            service,
            selector={**service.selector, POD_TEMPLATE_HASH: action.pod_hash},
            managed_by=action.managed_by or service.managed_by,
        )


def _merged(old: dict[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    return {key: value for key, value in {**old, **changes}.items() if value is not None}


def _merge_patched(old: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(old) if isinstance(old, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merge_patched(result.get(key), value)
    return result


def deployed(
    raw: dict[str, Any], *, image: str = "web:v1", authority: Authority | None = None, services: bool = False
) -> World:
    """A world in which the first version runs."""
    world = World(raw, authority=authority)
    blue_green = raw["spec"]["strategy"].get("blueGreen")
    named = ("stable", "canary") if services else ()
    if blue_green is not None:
        named = tuple(blue_green[key] for key in ("activeService", "previewService") if key in blue_green)
    for name in named:
        world.services[name] = Service(name, {"app": "web"})
    world.settle()
    assert world.status["phase"] == "Healthy", world.status
    assert world.sizes()[image] == raw["spec"].get("replicas", 1)
    world.wait()
    world.events.clear()
    world.statuses.clear()
    return world


def at(seconds: float) -> str:
    return format_time(START + timedelta(seconds=seconds))


DESIRED = DESIRED_REPLICAS
