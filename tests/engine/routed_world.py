"""A model cluster for a canary with traffic routing, which watches that no traffic is ever without its pods."""

from __future__ import annotations

from typing import Any

from engine.world import World, manifest
from gitops_rollouts.api.names import POD_TEMPLATE_HASH
from gitops_rollouts.engine.observed import Authority, Service
from gitops_rollouts.engine.plan import Action, PatchReplicaSet, RouteTraffic

STEPS: list[dict[str, Any]] = [{"setWeight": 20}, {"pause": {}}, {"setWeight": 60}, {"pause": {}}]


def routed(
    *,
    replicas: int = 10,
    steps: list[dict[str, Any]] | None = None,
    routes: tuple[str, ...] = (),
    most: int | None = None,
    spec: dict[str, Any] | None = None,
    **canary: Any,
) -> dict[str, Any]:
    """A Rollout whose traffic goes through a plugin."""
    routing: dict[str, Any] = {"plugins": {"test/router": {}}, "managedRoutes": [{"name": name} for name in routes]}
    if most is not None:
        routing["maxTrafficWeight"] = most
    whole = {"canaryService": "canary", "stableService": "stable", "trafficRouting": routing, **canary}
    whole = {key: value for key, value in whole.items() if value is not None}
    return manifest(replicas=replicas, steps=STEPS if steps is None else steps, canary=whole, **(spec or {}))


class RoutedWorld(World):
    """``strict``: pods enough for the share of traffic, not only some, before weight comes and after it has gone."""

    def __init__(self, raw: dict[str, Any], *, authority: Authority | None = None, strict: bool = True) -> None:
        super().__init__(raw, authority=authority)
        self.strict = strict
        for name in ("stable", "canary", "ping", "pong"):
            self.services[name] = Service(name, {"app": "web"})

    def by_hash(self, pod_hash: str) -> str:
        """The ReplicaSet with this hash, by its name."""
        return next(name for name, kept in self.sets.items() if kept.spec.labels[POD_TEMPLATE_HASH] == pod_hash)

    def traffic(self) -> dict[str, float]:
        """What the routers send where: ReplicaSet → part of the whole."""
        if not self.routed:
            return {}
        told, found = self.routed[-1], dict[str, float]()
        for one in (told.canary, told.stable):
            if one.weight:
                name = self.by_hash(one.pod_hash)
                found[name] = found.get(name, 0) + one.weight / told.max_weight
        return found

    def _act(self, action: Action) -> None:
        if isinstance(action, RouteTraffic):
            self._check_route(action)
        if isinstance(action, PatchReplicaSet) and action.replicas is not None:
            self._check_size(action.name, action.replicas)
        super()._act(action)

    def _check_route(self, action: RouteTraffic) -> None:
        besides = sum(one.weight for one in action.additional)
        assert action.canary.weight + action.stable.weight + besides == action.max_weight
        assert min(one.weight for one in (action.canary, action.stable, *action.additional)) >= 0
        before = self.traffic()
        for one in (action.canary, action.stable):
            if one.weight == 0:
                continue
            kept = self.sets[self.by_hash(one.pod_hash)]
            grows = one.weight / action.max_weight > before.get(kept.spec.name, 0)
            available = sum(pod.available for pod in kept.pods)
            if grows:
                assert available >= 1, (action, before)
                if self.strict:
                    least = one.weight * self.raw["spec"]["replicas"] // action.max_weight
                    assert available >= least, (action, before)

    def _check_size(self, name: str, size: int) -> None:
        part = self.traffic().get(name, 0)
        if size < self.sets[name].spec.replicas and part:
            assert size >= 1, (name, size, part)
            if self.strict:
                assert size >= part * self.raw["spec"]["replicas"] - 1e-9, (name, size, part)

    # --- shorthands for tests

    def weights(self) -> list[int]:
        """The canary weights that the routers were told since the last call, repeats left out."""
        found: list[int] = []
        for told in self.routed:
            if not found or found[-1] != told.canary.weight:
                found.append(told.canary.weight)
        del self.routed[:-1]
        return found

    def resume(self) -> None:
        """``kubectl argo rollouts promote``"""
        self.patch_status(pauseConditions=None)
        self.settle()

    def abort(self) -> None:
        self.patch_status(abort=True)
        self.settle()

    def retry(self) -> None:
        self.patch_status(abort=None)
        self.settle()

    def update(self, image: str = "web:v2") -> None:
        self.wait()
        self.set_image(image)
        self.settle()

    def hash(self, image: str) -> str:
        return str(self.by_image(image).spec.labels[POD_TEMPLATE_HASH])

    def selects(self, service: str) -> str:
        return str(self.services[service].selector.get(POD_TEMPLATE_HASH, ""))

    def note(self, image: str, key: str) -> str | None:
        """An annotation of a version's ReplicaSet."""
        return self.by_image(image).spec.annotations.get(key)


def running(raw: dict[str, Any], *, authority: Authority | None = None, strict: bool = True) -> RoutedWorld:
    """A world in which the first version runs and gets all traffic."""
    world = RoutedWorld(raw, authority=authority, strict=strict)
    world.settle()
    assert world.status["phase"] == "Healthy", world.status
    world.wait()
    world.events.clear()
    world.statuses.clear()
    world.weights()
    return world
