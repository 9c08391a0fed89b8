"""A model of an API server with one GitSync and its Rollouts: what sync and the engine write, and who dies of it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, cast

from engine.world import World, _merge_patched
from gitops_rollouts.api.hashing import pod_template_hash
from gitops_rollouts.api.meta import format_time
from gitops_rollouts.api.names import APPLY_MANAGER, POD_TEMPLATE_HASH
from gitops_rollouts.api.status import encode_status
from gitops_rollouts.engine.observed import Service
from gitops_rollouts.engine.plan import CreateReplicaSet, PatchRollout, Plan
from gitops_rollouts.errors import AlreadyExists, Conflict, KubeUnreachable, NotFound, UnknownKind
from gitops_rollouts.kube.resources import GITSYNCS, ROLLOUTS, Resource
from invariants.fate import Fate

Key = tuple[str, str]


class ServedWorld(World):
    """One Rollout's model, whose writes can be the process' last."""

    fate: Fate
    down: Callable[[], bool]
    version: Callable[[], str]
    seen = ""
    """The resourceVersion that the pass under way began with, or wrote since."""

    @property
    def image(self) -> str:
        """What the spec wants."""
        return str(self.raw["spec"]["template"]["spec"]["containers"][0]["image"])

    @property
    def wanted_hash(self) -> str:
        """The hash of the version in the spec."""
        return pod_template_hash(self.raw["spec"]["template"], None)

    def size_of(self, pod_hash: str) -> int:
        """Wanted size of a version's ReplicaSet."""
        return next((s.spec.replicas for s in self.sets.values() if s.spec.labels[POD_TEMPLATE_HASH] == pod_hash), 0)

    def serving(self, pod_hash: str) -> int:
        """Pods of a version that serve and that its ReplicaSet keeps."""
        kept = next((s for s in self.sets.values() if s.spec.labels[POD_TEMPLATE_HASH] == pod_hash), None)
        return min(kept.spec.replicas, sum(pod.available for pod in kept.pods)) if kept else 0

    def template_of(self, pod_hash: str) -> Any:
        """The template of a version's ReplicaSet."""
        return next(s.spec.template for s in self.sets.values() if s.spec.labels[POD_TEMPLATE_HASH] == pod_hash)

    def carry_out(self, plan: Plan, *, only: int | None = None) -> None:
        for action in self.order(plan):
            if self.down():
                raise KubeUnreachable("the API server is away")
            what = type(action).__name__ if action is not None else "the status"
            self.fate.before(what)
            if action is None:
                self._write_status(plan)
            else:
                self._act(action)
            self.fate.after(what)

    def _own(self, name: str, uid: str | None) -> None:
        super()._own(name, self.raw["metadata"]["uid"] if uid is not None else None)

    def _write_status(self, plan: Plan) -> None:
        before = self.raw["status"]
        if plan.status is not None and encode_status(plan.status) != encode_status(self.rollout.status):
            self._is_as_seen()
        super()._write_status(plan)
        if self.raw["status"] is not before:
            self._wrote()

    def _patch_rollout(self, action: PatchRollout) -> None:
        self._is_as_seen()
        super()._patch_rollout(action)
        self._wrote()

    def _is_as_seen(self) -> None:
        if self.raw["metadata"]["resourceVersion"] != self.seen:
            raise Conflict("the object has been modified", status=409)

    def _wrote(self) -> None:
        self.seen = self.raw["metadata"]["resourceVersion"] = self.version()

    def _act_on_replica_set(self, action: Any) -> None:
        known = self.sets.get(action.name)
        if isinstance(action, CreateReplicaSet):
            if known is not None:
                raise AlreadyExists(f"ReplicaSet {action.name} exists already", status=409)
        elif known is None or getattr(action, "uid", known.spec.uid) != known.spec.uid:
            raise NotFound(f"ReplicaSet {action.name} not found", status=404)
        super()._act_on_replica_set(action)
        if isinstance(action, CreateReplicaSet):
            self._own(action.name, "ours")


class ModelApi:
    """Answers as `kube.client.Client` does, for what sync asks of it."""

    def __init__(self, fate: Fate, sync: dict[str, Any]) -> None:
        self.fate = fate
        self.down = False
        self.sync = sync
        self.worlds: dict[Key, ServedWorld] = {}
        self.applied: dict[Key, set[str]] = {}
        self.deleting: Callable[[Key], None] = lambda key: None
        """Called before a Rollout is deleted."""
        self.gone: Callable[[Key], None] = lambda key: None
        self._serial = 0

    # --- what sync asks ----------------------------------------------------------------------------------------

    async def get(self, resource: Resource, namespace: str | None, name: str) -> dict[str, Any]:
        self._reach()
        return copy.deepcopy(self._raw(resource, (namespace or "", name)))

    async def list(self, resource: Resource, namespace: str | None = None, label_selector: str = "") -> list[Any]:
        self._reach()
        if resource != ROLLOUTS:
            return []
        return [copy.deepcopy(world.raw) for key, world in self.worlds.items() if namespace in (None, key[0])]

    async def apply(
        self, resource: Resource, namespace: str | None, name: str, body: dict[str, Any], **how: Any
    ) -> dict[str, Any]:
        assert resource == ROLLOUTS, resource
        self._reach()
        self.fate.before("the apply")
        key = (namespace or "", name)
        body = copy.deepcopy(body)
        uid = body["metadata"].pop("uid", None)
        world = self.worlds.get(key)
        if uid is not None and (world is None or world.raw["metadata"]["uid"] != uid):
            raise Conflict("Precondition failed: UID in precondition", status=409)
        if world is None:
            world = self._create(key, body)
        self._merge(key, world, body)
        self._wrote(world)
        self.fate.after("the apply")
        return copy.deepcopy(world.raw)

    async def patch(
        self, resource: Resource, namespace: str | None, name: str, body: dict[str, Any], **how: Any
    ) -> dict[str, Any]:
        self._reach()
        key = (namespace or "", name)
        what = f"the patch of a {resource.kind}"
        self.fate.before(what)
        raw = self._raw(resource, key)
        meta = body.get("metadata") or {}
        if meta.get("uid") not in (None, raw["metadata"]["uid"]):
            raise Conflict("the UID differs", status=409)
        if meta.get("resourceVersion") not in (None, raw["metadata"]["resourceVersion"]):
            raise Conflict("the object has been modified", status=409)
        clean = {**body, "metadata": {k: v for k, v in meta.items() if k not in ("uid", "resourceVersion")}}
        merged = _merge_patched(raw, clean)
        if resource == GITSYNCS:
            self.sync = merged
            merged["metadata"]["resourceVersion"] = self._version()
        else:
            self.worlds[key].raw = merged
            self._wrote(self.worlds[key])
        self.fate.after(what)
        return copy.deepcopy(merged)

    async def delete(
        self, resource: Resource, namespace: str | None, name: str, *, uid: str | None = None, **how: Any
    ) -> None:
        self._reach()
        key = (namespace or "", name)
        raw = self._raw(resource, key)
        if uid is not None and raw["metadata"]["uid"] != uid:
            raise Conflict("the UID differs", status=409)
        self.fate.before("the deletion")
        self.deleting(key)
        self.remove(key)
        self.fate.after("the deletion")

    async def resolve(self, api_version: str, kind: str) -> Resource:
        """As `kube.discovery.Discovery` does."""
        self._reach()
        if kind != "Rollout":
            raise UnknownKind(f"the cluster serves no {kind}")
        return ROLLOUTS

    def forget(self, api_version: str) -> None:
        """As `kube.discovery.Discovery` does."""

    # --- what happens to a cluster -----------------------------------------------------------------------------

    def remove(self, key: Key) -> None:
        """A Rollout and its pods are gone."""
        self.worlds.pop(key, None)
        self.applied.pop(key, None)
        self.gone(key)

    def wipe(self) -> None:
        """Another cluster, empty but for the GitSync."""
        for key in list(self.worlds):
            self.remove(key)
        self.sync = {key: value for key, value in self.sync.items() if key != "status"}
        self.sync["metadata"]["uid"] = f"sync-{self._version()}"

    # --- inside ------------------------------------------------------------------------------------------------

    def _reach(self) -> None:
        if self.down:
            raise KubeUnreachable("the API server is away")

    def _raw(self, resource: Resource, key: Key) -> dict[str, Any]:
        if resource == GITSYNCS:
            return self.sync
        if resource != ROLLOUTS or key not in self.worlds:
            raise NotFound(f"{resource.plural} {key[1]!r} not found", status=404)
        return self.worlds[key].raw

    def _create(self, key: Key, body: dict[str, Any]) -> ServedWorld:
        self._serial += 1
        metadata = {"namespace": key[0], "name": key[1], "uid": f"rollout-{self._serial}", "generation": 0}
        metadata["annotations"] = {}
        raw = {"apiVersion": body["apiVersion"], "kind": "Rollout", "metadata": metadata, "spec": {}, "status": {}}
        world = self.worlds[key] = ServedWorld(cast("dict[str, Any]", raw))
        world.fate, world.down, world.version = self.fate, lambda: self.down, self._version
        world.runs._serial = 1000 * self._serial  # no two runs have the same uid
        metadata["creationTimestamp"] = format_time(world.now)
        return world

    def _merge(self, key: Key, world: ServedWorld, body: dict[str, Any]) -> None:
        """Server-side apply by the one manager that does so."""
        meta, sent = world.raw["metadata"], body["metadata"]
        annotations = sent.get("annotations") or {}
        for gone in self.applied.get(key, set()) - annotations.keys():
            meta["annotations"].pop(gone, None)
        meta["annotations"] |= annotations
        self.applied[key] = set(annotations)
        meta["labels"] = sent.get("labels") or {}
        meta["managedFields"] = [{"manager": APPLY_MANAGER, "operation": "Apply"}]
        if world.raw["spec"] != body["spec"]:
            world.raw["spec"] = body["spec"]
            meta["generation"] += 1
            active = body["spec"]["strategy"].get("blueGreen", {}).get("activeService")
            if active is not None:
                world.services.setdefault(active, Service(active, {"app": key[1]}))

    def _wrote(self, world: ServedWorld) -> None:
        world.raw["metadata"]["resourceVersion"] = self._version()

    def _version(self) -> str:
        self._serial += 1
        return str(self._serial)
