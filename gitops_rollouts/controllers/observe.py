"""What the informers keep, and how one Rollout's `Observed` is put together from it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from gitops_rollouts.api.analysis_templates import TemplateKey, templates_of
from gitops_rollouts.api.evidence import Evidence
from gitops_rollouts.api.meta import ObjectMeta, Raw, parse_time
from gitops_rollouts.api.names import (
    APPLIED,
    EXPERIMENT_NAME,
    INSTANCE_ID,
    MANAGED_BY_ROLLOUTS,
    OUTBOX,
    POD_TEMPLATE_HASH,
)
from gitops_rollouts.api.rollout import Rollout, parse_rollout
from gitops_rollouts.api.validation import FieldError
from gitops_rollouts.controllers.asked_by import abort_asked_by, promotion_asked_by
from gitops_rollouts.controllers.run_caches import Owned, RunCaches
from gitops_rollouts.engine.observed import Authority, Observed, Pod, ReplicaSet, Service, Workload
from gitops_rollouts.kube.informer import Informer

Key = tuple[str, str]
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class LiveRollout:
    """A Rollout as the cache holds it. ``status`` and ``spec`` are as stored, for patches and digests."""

    rollout: Rollout
    status: Raw
    spec: Raw
    version: str
    asked_by: str = ""
    """Who asked the cluster for the abort that the status shows; "" if nobody did."""
    promoted_by: str = ""
    """Likewise for a full promotion."""

    @property
    def key(self) -> Key:
        """(namespace, name)."""
        return self.rollout.metadata.namespace, self.rollout.metadata.name

    @property
    def stamp(self) -> str:
        """The ``applied`` annotation, ``""`` if sync never applied it."""
        return self.rollout.metadata.annotations.get(APPLIED, "")

    @property
    def outbox(self) -> str:
        """The ``outbox`` annotation, ``""`` if nothing waits."""
        return self.rollout.metadata.annotations.get(OUTBOX, "")


@dataclass(frozen=True, slots=True)
class LiveService:
    """A Service as far as it matters. ``version``: its resourceVersion.

    ``owner_uid``: of what controls it, None if nothing does. ``experiment``: it is one of an Experiment's (§19).
    """

    name: str
    selector: Mapping[str, str]
    managed_by: str | None
    version: str
    uid: str = ""
    owner_uid: str | None = None
    experiment: bool = False


def project_rollout(raw: Raw) -> LiveRollout:
    """Keep a Rollout. Total: a malformed field is as if absent (docs/behaviour.md §1)."""
    rollout = parse_rollout(raw)
    version = rollout.metadata.resource_version
    asked_by, promoted_by = abort_asked_by(raw), promotion_asked_by(raw)
    return LiveRollout(rollout, _dict(raw.get("status")), _dict(raw.get("spec")), version, asked_by, promoted_by)


def project_replica_set(raw: Raw) -> ReplicaSet:
    """Keep a ReplicaSet as the engine sees it."""
    meta, spec, status = _dict(raw.get("metadata")), _dict(raw.get("spec")), _dict(raw.get("status"))
    return ReplicaSet(
        name=meta["name"],
        uid=meta.get("uid") or "",
        created=_time(meta.get("creationTimestamp")),
        labels=meta.get("labels") or {},
        annotations=meta.get("annotations") or {},
        owner_uid=controller_uid(meta),
        selector=_dict(spec.get("selector")),
        template=_dict(spec.get("template")),
        replicas=spec.get("replicas", 1),
        min_ready_seconds=spec.get("minReadySeconds") or 0,
        current=status.get("replicas") or 0,
        ready=status.get("readyReplicas") or 0,
        available=status.get("availableReplicas") or 0,
        generation=meta.get("generation") or 0,
        observed_generation=status.get("observedGeneration") or 0,
        deleting=bool(meta.get("deletionTimestamp")),
        conditions=tuple(status.get("conditions") or ()),
    )


def project_service(raw: Raw) -> LiveService:
    """Keep a Service's selector and who manages it."""
    meta, spec = _dict(raw.get("metadata")), _dict(raw.get("spec"))
    annotations, owner_uid = meta.get("annotations") or {}, controller_uid(meta)
    return LiveService(
        name=meta["name"],
        selector=spec.get("selector") or {},
        managed_by=annotations.get(MANAGED_BY_ROLLOUTS),
        version=meta.get("resourceVersion") or "",
        uid=meta.get("uid") or "",
        owner_uid=owner_uid,
        experiment=owner_uid is not None and EXPERIMENT_NAME in annotations,
    )


def project_pod(raw: Raw, min_ready_seconds: int, now: datetime) -> Pod:
    """A Pod as the engine sees it; available: Ready for ``min_ready_seconds``."""
    meta, status = _dict(raw.get("metadata")), _dict(raw.get("status"))
    ready: Raw = next((c for c in status.get("conditions") or () if c.get("type") == "Ready"), {})
    since = _time(ready.get("lastTransitionTime"))
    return Pod(
        name=meta["name"],
        uid=meta.get("uid") or "",
        created=_time(meta.get("creationTimestamp")),
        owner_uid=controller_uid(meta),
        available=ready.get("status") == "True" and (now - since).total_seconds() >= min_ready_seconds,
        deleting=bool(meta.get("deletionTimestamp")),
        labels=meta.get("labels") or {},
        annotations=meta.get("annotations") or {},
    )


def controller_uid(meta: Mapping[str, Any]) -> str | None:
    """The uid of the owner that controls an object, None if none does."""
    for owner in meta.get("ownerReferences") or ():
        if owner.get("controller"):
            return owner.get("uid") or None
    return None


def service_names(rollout: Rollout) -> frozenset[str]:
    """The Services that a Rollout's spec names."""
    canary, blue_green = rollout.spec.strategy.canary, rollout.spec.strategy.blue_green
    named: list[str] = []
    if canary is not None:
        named += [canary.canary_service, canary.stable_service]
        if canary.ping_pong is not None:
            named += [canary.ping_pong.ping_service, canary.ping_pong.pong_service]
    if blue_green is not None:
        named += [blue_green.active_service, blue_green.preview_service]
    return frozenset(filter(None, named))


def is_ours(thing: Owned, instance_id: str) -> bool:
    """The instance label equals ours; without an instance id only unlabelled ones are ours (docs/behaviour.md §23)."""
    return thing.metadata.labels.get(INSTANCE_ID, "") == instance_id


class Caches:
    """The informers of Rollouts, ReplicaSets and Services with the indexes that a pass needs.

    ``on_rollout`` is called with a key when that Rollout should be looked at, ``on_service`` with a Service's key,
    ``on_owned`` with the uid of an owner that is no Rollout, when a ReplicaSet of it changed: what it is told
    differs in no more than counts if the second argument is true.
    """

    def __init__(
        self,
        rollouts: Informer[LiveRollout],
        replica_sets: Informer[ReplicaSet],
        services: Informer[LiveService],
        *,
        on_rollout: Callable[[Key], None],
        on_service: Callable[[Key], None],
        on_replicas: Callable[[Key], None],
        on_owned: Callable[[str, bool], None] = lambda _uid, _counts_only: None,
        runs: RunCaches | None = None,
    ) -> None:
        self.runs = runs
        self.rollouts = rollouts
        self.replica_sets = replica_sets
        self.services = services
        self._on_rollout = on_rollout
        self._on_service = on_service
        self._on_replicas = on_replicas
        self._on_owned = on_owned
        self._owned: dict[str, dict[Key, ReplicaSet]] = defaultdict(dict)
        self._orphans: dict[str, dict[str, ReplicaSet]] = defaultdict(dict)
        self._uids: dict[str, Key] = {}
        self._users: dict[Key, set[Key]] = defaultdict(set)
        rollouts.on_change(self._rollout_changed)
        replica_sets.on_change(self._replica_set_changed)
        services.on_change(self._service_changed)

    def observe(
        self,
        live: LiveRollout,
        *,
        taken_names: Iterable[str] = (),
        authority: Authority | None = None,
        refused: FieldError | None = None,
        workload: Workload | None = None,
    ) -> Observed:
        """The snapshot of one Rollout."""
        namespace = live.key[0]
        owner = live.rollout.metadata
        selector = live.rollout.spec.selector or (workload.selector if workload is not None else None)
        sets = list(self.replica_sets_of(owner))
        if selector is not None and not selector.is_empty:
            sets += [rs for rs in self._orphans.get(namespace, {}).values() if selector.matches(rs.labels)]
        runs = self.runs
        services: dict[str, Service] = {}
        for wanted in service_names(live.rollout):
            found = self.services.get(namespace, wanted)
            if found is not None:
                services[wanted] = Service(wanted, found.selector, found.managed_by)
        return Observed(
            rollout=live.rollout,
            replica_sets=tuple(sorted(sets, key=lambda rs: rs.name)),
            taken_names=frozenset(taken_names),
            services=services,
            authority=authority,
            refused=refused,
            workload=workload,
            analysis_runs=runs.runs_of(owner) if runs else (),
            experiments=runs.experiments_of(owner) if runs else (),
            evidence=runs.failures_of(owner) if runs else {},
            templates=runs.templates_for(namespace, templates_of(live.rollout)) if runs else {},
        )

    def evidence_under_way(self, live: LiveRollout) -> tuple[Evidence, ...]:
        """What the metrics of the version that is brought out came to; nothing once it is stable."""
        status = live.rollout.status
        if self.runs is None or status.stable_rs == status.current_pod_hash:
            return ()
        return self.runs.evidence_of(live.rollout.metadata, status.current_pod_hash)

    def replica_sets_of(self, owner: ObjectMeta) -> tuple[ReplicaSet, ...]:
        """The ReplicaSets that this owner controls, by name; one in another namespace only claims that it does."""
        owned = sorted(self._owned.get(owner.uid, {}).items())
        return tuple(found for key, found in owned if key[0] == owner.namespace)

    def rollout_with(self, uid: str) -> Key | None:
        """The key of the Rollout with this uid."""
        return self._uids.get(uid)

    def naming_template(self, namespace: str, template: TemplateKey) -> Iterator[Key]:
        """The Rollouts whose spec leads to this template; ``namespace`` is "" for a cluster's template."""
        for key, live in self.rollouts.items():
            named = tuple(templates_of(live.rollout)) if namespace in ("", key[0]) else ()
            if template in named or (self.runs is not None and template in self.runs.templates_for(key[0], named)):
                yield key

    def users_of(self, service: Key) -> frozenset[Key]:
        """The Rollouts, of any instance, whose spec names this Service."""
        return frozenset(self._users.get(service, ()))

    def _rollout_changed(self, key: Key, old: LiveRollout | None, new: LiveRollout | None) -> None:
        namespace = key[0]
        before = service_names(old.rollout) if old else frozenset[str]()
        after = service_names(new.rollout) if new else frozenset[str]()
        for name in before - after:
            self._users[namespace, name].discard(key)
            if not self._users[namespace, name]:
                del self._users[namespace, name]
            self._on_service((namespace, name))
        for name in after - before:
            self._users[namespace, name].add(key)
        if old is not None and (new is None or new.rollout.metadata.uid != old.rollout.metadata.uid):
            self._uids.pop(old.rollout.metadata.uid, None)
        if new is not None:
            self._uids[new.rollout.metadata.uid] = key
        self._on_rollout(key)

    def _replica_set_changed(self, key: Key, old: ReplicaSet | None, new: ReplicaSet | None) -> None:
        if old is not None:
            self._unindex(key, old)
        if new is not None:
            if new.owner_uid is None:
                self._orphans[key[0]][key[1]] = new
            else:
                self._owned[new.owner_uid][key] = new
        owners = {rs.owner_uid for rs in (old, new) if rs is not None}
        for owner in owners:
            if owner is None:
                self._orphan_changed(key[0], new or old)
                continue
            counts_only = old is not None and new is not None and _spec_of(old) == _spec_of(new)
            if owner not in self._uids:
                self._on_owned(owner, counts_only)
            else:
                (self._on_replicas if counts_only else self._on_rollout)(self._uids[owner])

    def _unindex(self, key: Key, old: ReplicaSet) -> None:
        if old.owner_uid is None:
            self._orphans[key[0]].pop(key[1], None)
            if not self._orphans[key[0]]:
                del self._orphans[key[0]]
            return
        owned = self._owned[old.owner_uid]
        owned.pop(key, None)
        if not owned:
            del self._owned[old.owner_uid]

    def _orphan_changed(self, namespace: str, orphan: ReplicaSet | None) -> None:
        if orphan is None:
            return
        for key, live in self.rollouts.items():
            selector = live.rollout.spec.selector
            if key[0] == namespace and selector is not None and selector.matches(orphan.labels):
                self._on_rollout(key)

    def _service_changed(self, key: Key, old: LiveService | None, new: LiveService | None) -> None:
        if old is not None and new is not None and (old.selector, old.managed_by) == (new.selector, new.managed_by):
            return
        for user in self._users.get(key, ()):
            self._on_rollout(user)
        if new is not None and POD_TEMPLATE_HASH in new.selector:
            self._on_service(key)


def _spec_of(rs: ReplicaSet) -> tuple[Any, ...]:
    return rs.uid, rs.replicas, rs.generation, rs.deleting, rs.owner_uid, rs.annotations, rs.labels


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _time(value: Any) -> datetime:
    try:
        return parse_time(value) if isinstance(value, str) else _EPOCH
    except ValueError:
        return _EPOCH
