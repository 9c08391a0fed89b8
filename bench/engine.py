"""What one pass of the engine takes, in moments of a Rollout's life that are seen often.

No cluster: a pass is a function. Its seconds depend on the machine, so each run also times a yardstick, one JSON round
trip of the very Rollout, and the ratio is what should be compared.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from gitops_rollouts.api.names import POD_TEMPLATE_HASH
from gitops_rollouts.api.rollout import parse_rollout
from gitops_rollouts.api.status import encode_status
from gitops_rollouts.engine.observed import Observed, ReplicaSet, Service
from gitops_rollouts.engine.plan import (
    Action,
    CreateReplicaSet,
    DeleteReplicaSet,
    PatchReplicaSet,
    PatchRollout,
    Plan,
    PointService,
)
from gitops_rollouts.engine.step import step

Raw = dict[str, Any]
AIM_MICROSECONDS = 300.0
_ROUNDS = 7
_ROUND_SECONDS = 0.1
_UID = "9c0e2a52-0f1b-4b59-9a0c-3a5c3d5d9b11"
_SERVICES = ("stable", "canary", "active", "preview")
_STEPS: list[Raw] = [{"setWeight": 20}, {"pause": {}}, {"setWeight": 60}, {"pause": {"duration": "1h"}}]


@dataclass(frozen=True)
class EngineFigure:
    """One moment: microseconds of a pass and of the yardstick, the best of some rounds."""

    moment: str
    microseconds: float
    yardstick: float

    @property
    def ratio(self) -> float:
        """Passes against JSON round trips of the same Rollout."""
        return self.microseconds / self.yardstick


def measure_engine() -> list[EngineFigure]:
    """Every moment, some seconds in all."""
    basic: Raw = {"canary": {"steps": _STEPS}}
    routed: Raw = {
        "canary": {
            "steps": _STEPS,
            "canaryService": "canary",
            "stableService": "stable",
            "trafficRouting": {"plugins": {"example/router": {}}},
        }
    }
    blue_green: Raw = {
        "blueGreen": {"activeService": "active", "previewService": "preview", "autoPromotionEnabled": False}
    }
    return [
        _measure("basic canary, at rest", _Stage(basic).healthy()),
        _measure("basic canary, waiting in a pause", _Stage(basic).healthy().update("v2")),
        _measure("basic canary, the pass that scales", _Stage(basic).healthy().until_scaling("v2")),
        _measure("basic canary, 50 old ReplicaSets, in a pause", _Stage(basic).aged(50).update("v2")),
        _measure("routed canary, at rest", _Stage(routed).healthy()),
        _measure("routed canary, waiting in a pause", _Stage(routed).healthy().update("v2")),
        _measure("blue-green, at rest", _Stage(blue_green).healthy()),
        _measure("blue-green, waiting in a pause", _Stage(blue_green).healthy().update("v2")),
    ]


def _measure(moment: str, stage: _Stage) -> EngineFigure:
    observed, now = stage.observe(), stage.now
    text = orjson.dumps(stage.raw)
    took = _best(lambda: step(observed, now))
    yardstick = _best(lambda: orjson.dumps(orjson.loads(text)))
    return EngineFigure(moment, took * 1e6, yardstick * 1e6)


def _best(act: Callable[[], object]) -> float:
    """Seconds of one call: the mean of the best round."""
    start = time.perf_counter()
    act()
    calls = max(5, int(_ROUND_SECONDS / max(1e-7, time.perf_counter() - start)))
    rounds = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        for _ in range(calls):
            act()
        rounds.append((time.perf_counter() - start) / calls)
    return min(rounds)


class _Stage:
    """A Rollout and its ReplicaSets, whose pods are all available as soon as they are asked for."""

    def __init__(self, strategy: Raw) -> None:
        self.now = datetime(2026, 3, 1, 12, tzinfo=UTC)
        self._sets: dict[str, ReplicaSet] = {}
        self._services = {name: Service(name, {"app": "shop"}) for name in _SERVICES}
        self.raw: Raw = {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Rollout",
            "metadata": {"name": "shop", "namespace": "bench", "uid": _UID, "generation": 1, "annotations": {}},
            "spec": {
                "replicas": 10,
                "revisionHistoryLimit": 60,
                "selector": {"matchLabels": {"app": "shop"}},
                "template": _template("v1"),
                "strategy": strategy,
            },
            "status": {},
        }

    def healthy(self) -> _Stage:
        """Until nothing moves."""
        for _ in range(100):
            if not self._pass():
                return self
        raise AssertionError("the engine doesn't come to rest")

    def aged(self, versions: int) -> _Stage:
        """After so many other versions."""
        self.healthy()
        for version in range(versions):
            self._image(f"old-{version}")
            self.raw["status"]["promoteFull"] = True
            self.healthy()
            self.raw["status"]["promoteFull"] = True
            self.healthy()
        return self

    def update(self, image: str) -> _Stage:
        """With a new image, as long as anything moves."""
        self._image(image)
        return self.healthy()

    def until_scaling(self, image: str) -> _Stage:
        """With a new image, just before the pass that gives it its first pods."""
        self._image(image)
        while not any(isinstance(action, PatchReplicaSet) and action.replicas for action in self._plan().actions):
            self._pass()
        return self

    def observe(self) -> Observed:
        """The snapshot that is timed."""
        seen = tuple(
            replace(kept, current=kept.replicas, ready=kept.replicas, available=kept.replicas)
            for kept in self._sets.values()
        )
        return Observed(rollout=parse_rollout(self.raw), replica_sets=seen, services=dict(self._services))

    def _image(self, image: str) -> None:
        self.now += timedelta(hours=1)
        self.raw["spec"]["template"] = _template(image)
        self.raw["metadata"]["generation"] += 1

    def _pass(self) -> bool:
        before = (copy.deepcopy(self.raw), dict(self._sets), dict(self._services))
        plan = self._plan()
        for action in plan.actions:
            self._act(action)
        self._write(plan)
        return before != (self.raw, self._sets, self._services)

    def _plan(self) -> Plan:
        return step(self.observe(), self.now)

    def _write(self, plan: Plan) -> None:
        if plan.status is not None:
            self.raw["status"] = encode_status(plan.status)

    def _act(self, action: Action) -> None:
        if isinstance(action, CreateReplicaSet):
            metadata, spec = action.body["metadata"], action.body["spec"]
            self._sets[action.name] = ReplicaSet(
                name=action.name,
                uid=action.name,
                created=self.now,
                labels=metadata["labels"],
                annotations=metadata["annotations"],
                owner_uid=_UID,
                selector=spec["selector"],
                template=spec["template"],
                replicas=spec["replicas"],
            )
        elif isinstance(action, PatchReplicaSet):
            kept = self._sets[action.name]
            size = kept.replicas if action.replicas is None else action.replicas
            self._sets[action.name] = replace(
                kept, replicas=size, annotations=_merged(kept.annotations, action.annotations)
            )
        elif isinstance(action, DeleteReplicaSet):
            del self._sets[action.name]
        elif isinstance(action, PointService):
            selector = {**self._services[action.name].selector, POD_TEMPLATE_HASH: action.pod_hash}
            self._services[action.name] = Service(action.name, selector, managed_by=action.managed_by or "shop")
        elif isinstance(action, PatchRollout):
            metadata = self.raw["metadata"]
            metadata["annotations"] = _merged(metadata["annotations"], action.annotations)


def _merged(old: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    return {key: value for key, value in {**old, **changes}.items() if value is not None}


def _template(version: str) -> Raw:
    """Two containers with what containers have: the size of an ordinary template."""
    probe = {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 5}
    resources = {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}}
    web = {
        "name": "web",
        "image": f"registry.example.com/shop:{version}",
        "env": [{"name": f"SETTING_{number}", "value": f"value {number}"} for number in range(20)],
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": probe,
        "livenessProbe": probe,
        "resources": resources,
        "volumeMounts": [{"name": "config", "mountPath": "/etc/shop"}],
    }
    proxy = {
        "name": "proxy",
        "image": "registry.example.com/proxy:1.2",
        "resources": resources,
        "readinessProbe": probe,
    }
    return {
        "metadata": {"labels": {"app": "shop", "tier": "front"}, "annotations": {"example.com/team": "shop"}},
        "spec": {
            "containers": [web, proxy],
            "serviceAccountName": "shop",
            "volumes": [{"name": "config", "configMap": {"name": "shop"}}],
        },
    }
