"""One Rollout as people look at it: what `get`, `status` and `why` show, gathered from the cluster.

`gather` reads, everything else is a pure function of what was read. What comes from the cluster may lack
anything: an absent field is an empty one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from gitops_rollouts.api import names
from gitops_rollouts.api.gitsync import GitSync, OpenRequest, parse_gitsync
from gitops_rollouts.api.meta import Raw, parse_time
from gitops_rollouts.api.phase import phase_of
from gitops_rollouts.api.rollout import Rollout, parse_rollout
from gitops_rollouts.cli import routed_view
from gitops_rollouts.cli.routed_view import RoutedView
from gitops_rollouts.cli.run_view import ExperimentView, RunView, of_rollout
from gitops_rollouts.cli.traffic_view import new_share
from gitops_rollouts.decisions.gates import Gate, gate_at, wanted_weight
from gitops_rollouts.decisions.grammar import Malformed, Stable, parse_line
from gitops_rollouts.errors import ConfigError, Forbidden, NotFound

if TYPE_CHECKING:
    from gitops_rollouts.kube.client import Client

_UNREADABLE: Final = (NotFound, Forbidden)


@dataclass(frozen=True, slots=True)
class PodView:
    """A Pod: ``state`` is its phase or, where it says more, why a container waits."""

    name: str
    ready: str
    state: str
    restarts: int
    created: datetime | None


@dataclass(frozen=True, slots=True)
class ReplicaSetView:
    """A ReplicaSet of the Rollout. ``role``: stable, canary, active, preview or ``""``.

    A blue-green's stable one is ``active``, unless the Service points to the next version already. ``deadline``: until
    when it stays up though nothing needs it (docs/behaviour.md §8.7).
    """

    name: str
    hash: str
    revision: int
    role: str
    size: int
    ready: int
    available: int
    images: tuple[str, ...]
    created: datetime | None
    pods: tuple[PodView, ...] = ()
    deadline: datetime | None = None


@dataclass(frozen=True, slots=True)
class Stamp:
    """What the sync last applied to this Rollout, from its ``applied`` annotation. All texts may be empty."""

    target: str = ""
    commit: str = ""
    intent: str = ""
    template: str = ""
    steps: str = ""
    hash: str = ""


@dataclass(frozen=True, slots=True)
class RolloutView:
    """One Rollout with all that hangs on it."""

    rollout: Rollout
    raw: Mapping[str, Any]
    phase: str
    message: str
    replica_sets: tuple[ReplicaSetView, ...] = ()
    stamp: Stamp | None = None
    """None: no GitSync applies this Rollout."""
    gitsync: GitSync | None = None
    """None: none applies it, or it can't be read."""
    lines: Mapping[str, str] = field(default_factory=dict)
    """The decision annotations that the tree put on the live object, by key."""
    outbox: str = ""
    """What was decided in the cluster and isn't in Git yet, as the live object has it."""
    runs: tuple[RunView, ...] = ()
    """Its AnalysisRuns, the newest first."""
    experiments: tuple[ExperimentView, ...] = ()
    routed: tuple[RoutedView, ...] = ()
    """What its routers' objects say of the traffic."""

    @property
    def name(self) -> str:
        """The Rollout's name."""
        return self.rollout.metadata.name

    @property
    def namespace(self) -> str:
        """The Rollout's namespace."""
        return self.rollout.metadata.namespace

    @property
    def request(self) -> OpenRequest | None:
        """What asks for its approval at the gate where it waits, as the GitSync's status says."""
        if self.stamp is None or self.gitsync is None or self.gate is None:
            return None
        own = f"rollouts/promote/{self.stamp.target}/"
        branch = f"{own}{self.stamp.intent[:12]}-g{self.gate}"
        asks = self.gitsync.status.requests
        found = [one for one in asks if one.branch == branch or one.branch.startswith(f"{branch}-")]
        # last, since it may be about another gate of this Rollout: what is beyond the limit of requests
        found += [one for one in asks if one.branch.startswith(f"{own}rolling-")]
        named = [one for one in found if f"{self.namespace}/{self.name}" in one.rollouts]
        # of a large group the status names the first only
        unnamed = [one for one in found if one.rollout_count > len(one.rollouts)]
        return next(iter(named or unnamed), None)

    @property
    def strategy(self) -> str:
        """``canary``, ``blueGreen`` or ``none``."""
        strategy = self.rollout.spec.strategy
        if strategy.blue_green is not None:
            return "blueGreen"
        return "canary" if strategy.canary is not None else "none"

    @property
    def step(self) -> str:
        """``2/5``: steps done of all; ``""`` without steps."""
        return f"{self.steps_done}/{len(self.rollout.spec.steps)}" if self.rollout.spec.steps else ""

    @property
    def steps_done(self) -> int:
        """How many steps are done; none before the Rollout was looked at for the first time."""
        steps, status = self.rollout.spec.steps, self.rollout.status
        if status.current_step_index is None:
            return len(steps) if status.current_pod_hash else 0
        return min(status.current_step_index, len(steps))

    @property
    def gate(self) -> Gate | None:
        """What waits for a decision: a step's index, or ``active`` for blue-green; None: nothing does."""
        return gate_at(self.rollout)

    @property
    def switched(self) -> bool:
        """Whether blue-green's active Service selects the new version."""
        status = self.rollout.status
        return status.current_pod_hash != "" and status.blue_green.active_selector == status.current_pod_hash

    @property
    def set_weight(self) -> int:
        """The share of the new version that the steps ask for, in percent (docs/behaviour.md §8.2)."""
        if self.strategy == "blueGreen":
            return self.actual_weight
        return wanted_weight(self.rollout)

    @property
    def actual_weight(self) -> int:
        """The share of the new version: of the traffic where that is told, else of the pods."""
        status = self.rollout.status
        if self.strategy == "blueGreen":
            return 100 if self.switched else 0
        routed = new_share(self.rollout)
        if routed is not None:
            return routed
        if status.stable_rs in ("", status.current_pod_hash):
            return 100 if status.replicas or not self.rollout.spec.desired_replicas else 0
        return round(100 * status.updated_replicas / status.replicas) if status.replicas else 0

    def in_force(self, key: str) -> bool:
        """Whether the live object's decision line speaks of the version that is applied (docs/decisions.md §1.2).

        The cluster alone can't tell all; what it can't tell counts as in force, as does an abort that can't be read.
        """
        line, stamp = parse_line(key, self.lines.get(key, "")), self.stamp
        if isinstance(line, Malformed):
            return key == names.ABORT
        if stamp is None or isinstance(line, Stable):
            return True
        return (line.template, line.steps) == (stamp.template, stamp.steps)

    def replica_set_of(self, role: str) -> ReplicaSetView | None:
        """The ReplicaSet in this role; None if there is none."""
        return next((each for each in self.replica_sets if each.role == role), None)

    def images_of(self, role: str) -> tuple[str, ...]:
        """The images of the ReplicaSet in this role."""
        return next((each.images for each in self.replica_sets if each.role == role), ())


ELSEWHERE: Final = "gor get rollouts -A lists those that are there; -n names another namespace"
"""What to do where a Rollout of that name isn't there."""


async def gather(client: Client, namespace: str, name: str) -> RolloutView:
    """Read one Rollout with all that hangs on it, and the GitSync that applies it. Raises `NotFound`."""
    from gitops_rollouts.kube.resources import GITSYNCS, PODS, REPLICA_SETS, ROLLOUTS

    try:
        raw = await client.get(ROLLOUTS, namespace, name)
    except NotFound as error:
        error.remedy = error.remedy or ELSEWHERE
        raise
    workload = await workload_of(client, namespace, raw)
    rollout = _parsed(raw, workload)
    selector = selector_of(rollout)
    replica_sets = await client.list(REPLICA_SETS, namespace, selector) if selector else []
    pods = await client.list(PODS, namespace, selector) if selector else []
    stamp = stamp_of(rollout)
    sync: Raw | None = None
    if stamp is not None and stamp.target:
        try:
            sync = await client.get(GITSYNCS, None, stamp.target)
        except _UNREADABLE:
            sync = None
    seen = view(raw, replica_sets, pods, sync, workload)
    hashes = {each.hash for each in seen.replica_sets} | {rollout.status.current_pod_hash, rollout.status.stable_rs}
    runs, experiments = await of_rollout(client, namespace, rollout.metadata.uid, sorted(hashes - {""}))
    routed = await routed_view.of_rollout(client, rollout)
    return replace(seen, runs=runs, experiments=experiments, routed=routed)


async def workload_of(client: Client, namespace: str, raw: Raw) -> Raw | None:
    """What spec.workloadRef names; None: it names nothing that can be read."""
    from gitops_rollouts.cli import workloads

    reference = parse_rollout(raw).spec.workload_ref
    if reference is None:
        return None
    try:
        return await workloads.read(client, namespace, reference)
    except (*_UNREADABLE, ConfigError):
        return None


def _parsed(raw: Raw, workload: Raw | None) -> Rollout:
    from gitops_rollouts.cli import workloads

    rollout = parse_rollout(raw)
    return rollout if workload is None else workloads.resolved(rollout, workload)


def selector_of(rollout: Rollout) -> str:
    """The label selector of its ReplicaSets and Pods; ``""`` if the Rollout has none."""
    selector = rollout.spec.selector
    if selector is None or selector.is_empty:
        return "" if rollout.status.selector == "" else rollout.status.selector
    return str(selector)


def view(
    raw: Raw,
    replica_sets: Iterable[Raw] = (),
    pods: Iterable[Raw] = (),
    sync: Raw | None = None,
    workload: Raw | None = None,
) -> RolloutView:
    """Put together what `gather` read. The template of a referred workload counts as the Rollout's own."""
    rollout = _parsed(raw, workload)
    phase, message = phase_of(rollout)
    by_owner: dict[str, list[Raw]] = {}
    for pod in pods:
        by_owner.setdefault(_controller(pod), []).append(pod)
    owned = [each for each in replica_sets if _controller(each) == rollout.metadata.uid]
    views = [_replica_set(each, rollout, by_owner.get(_text(each, "metadata", "uid"), [])) for each in owned]
    return RolloutView(
        rollout=rollout,
        raw=raw,
        phase=phase,
        message=message,
        replica_sets=tuple(sorted(views, key=lambda each: (-each.revision, each.name))),
        stamp=stamp_of(rollout),
        gitsync=parse_gitsync(sync) if sync is not None else None,
        lines={
            key: rollout.metadata.annotations[key] for key in names.DECISION_KEYS if key in rollout.metadata.annotations
        },
        outbox=rollout.metadata.annotations.get(names.OUTBOX, ""),
    )


def stamp_of(rollout: Rollout) -> Stamp | None:
    """The ``applied`` stamp; None if there is none (docs/decisions.md §1.1)."""
    text = rollout.metadata.annotations.get(names.APPLIED)
    if text is None:
        return None
    tokens = dict(part.split("=", 1) for part in text.split() if "=" in part)
    return Stamp(**{key: tokens.get(key, "") for key in ("target", "commit", "intent", "template", "steps", "hash")})


def _replica_set(raw: Raw, rollout: Rollout, pods: list[Raw]) -> ReplicaSetView:
    labels = _map(raw, "metadata", "labels")
    pod_hash = str(labels.get(names.POD_TEMPLATE_HASH, ""))
    revision = str(_map(raw, "metadata", "annotations").get(names.REVISION, ""))
    return ReplicaSetView(
        name=_text(raw, "metadata", "name"),
        hash=pod_hash,
        revision=int(revision) if revision.isdecimal() and len(revision) < 10 else 0,
        role=_role(pod_hash, rollout),
        size=_number(raw, "spec", "replicas"),
        ready=_number(raw, "status", "readyReplicas"),
        available=_number(raw, "status", "availableReplicas"),
        images=images(_map(raw, "spec", "template")),
        created=_time(raw, "metadata", "creationTimestamp"),
        pods=tuple(sorted((_pod(each) for each in pods), key=lambda each: each.name)),
        deadline=_time(raw, "metadata", "annotations", names.SCALE_DOWN_DEADLINE),
    )


def _role(pod_hash: str, rollout: Rollout) -> str:
    status = rollout.status
    if rollout.spec.strategy.blue_green is not None:
        if pod_hash == status.blue_green.active_selector:
            return "active"
        if pod_hash == status.blue_green.preview_selector:
            return "preview"
        return "stable" if pod_hash and pod_hash == status.stable_rs else ""
    if pod_hash == status.stable_rs:
        return "stable"
    return "canary" if pod_hash == status.current_pod_hash else ""


def images(template: Mapping[str, Any]) -> tuple[str, ...]:
    """The images of a pod template's containers, in their order."""
    containers = _map(template, "spec").get("containers")
    listed = containers if isinstance(containers, list) else []
    return tuple(str(each["image"]) for each in listed if isinstance(each, dict) and each.get("image"))


def _pod(raw: Raw) -> PodView:
    statuses = _map(raw, "status").get("containerStatuses")
    listed = [each for each in statuses if isinstance(each, dict)] if isinstance(statuses, list) else []
    containers = _map(raw, "spec").get("containers")
    total = len(containers) if isinstance(containers, list) else len(listed)
    waiting = (_text(each, "state", "waiting", "reason") for each in listed)
    state = next((reason for reason in waiting if reason), _text(raw, "status", "phase"))
    if _text(raw, "metadata", "deletionTimestamp"):
        state = "Terminating"
    return PodView(
        name=_text(raw, "metadata", "name"),
        ready=f"{sum(each.get('ready') is True for each in listed)}/{total}",
        state=state,
        restarts=sum(_number(each, "restartCount") for each in listed),
        created=_time(raw, "metadata", "creationTimestamp"),
    )


def _controller(raw: Raw) -> str:
    owners = _map(raw, "metadata").get("ownerReferences")
    listed = owners if isinstance(owners, list) else []
    return next(
        (str(each.get("uid")) for each in listed if isinstance(each, dict) and each.get("controller") is True), ""
    )


def _map(raw: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    for key in path:
        found = raw.get(key)
        raw = found if isinstance(found, dict) else {}
    return raw


def _value(raw: Mapping[str, Any], *path: str) -> Any:
    return _map(raw, *path[:-1]).get(path[-1])


def _text(raw: Mapping[str, Any], *path: str) -> str:
    found = _value(raw, *path)
    return found if isinstance(found, str) else ""


def _number(raw: Mapping[str, Any], *path: str) -> int:
    found = _value(raw, *path)
    return found if isinstance(found, int) and not isinstance(found, bool) else 0


def _time(raw: Mapping[str, Any], *path: str) -> datetime | None:
    try:
        return parse_time(_text(raw, *path))
    except ValueError:
        return None
