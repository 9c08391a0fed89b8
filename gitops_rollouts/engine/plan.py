"""What the engine decided, as data. The executor carries a plan out in order and stops at the first failure.

Order: ``status`` if ``status_first``; then ``actions``; then ``status`` if not ``status_first``; then ``events``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from gitops_rollouts.api.evidence import Evidence
from gitops_rollouts.api.status import RolloutStatus, StepPluginStatus
from gitops_rollouts.api.steps import SetHeaderRoute, SetMirrorRoute
from gitops_rollouts.engine.observed import PluginOperation

RunResource = Literal["AnalysisRun", "Experiment"]


@dataclass(frozen=True, slots=True)
class CreateReplicaSet:
    """Create a ReplicaSet that the Rollout controls. ``body`` is the whole object less its ownerReferences."""

    name: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AdoptReplicaSet:
    """Make the Rollout the controller of an orphan."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class ReleaseReplicaSet:
    """Give up a ReplicaSet that the selector no longer matches: drop the owner reference."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class PatchReplicaSet:
    """Set what isn't None: size, minReadySeconds, annotations (a value None removes the key). One request.

    ``template``: a JSON merge patch of ``spec.template``, for what doesn't reach the hash (docs/behaviour.md §13).
    """

    name: str
    replicas: int | None = None
    min_ready_seconds: int | None = None
    annotations: Mapping[str, str | None] = field(default_factory=dict)
    template: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DeleteReplicaSet:
    """Delete an old ReplicaSet of size 0."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class PointService:
    """Put ``pod_hash`` into the Service's selector and, if ``managed_by`` is given, the managed-by annotation."""

    name: str
    pod_hash: str
    managed_by: str | None = None


@dataclass(frozen=True, slots=True)
class PatchPod:
    """Set labels and annotations of a Pod (None removes); one that is gone meanwhile is no error (§13)."""

    name: str
    uid: str
    labels: Mapping[str, str | None] = field(default_factory=dict)
    annotations: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ScaleWorkload:
    """Give the referred Deployment another size (§2.2 ``scaleDown``). A failure is logged and stops nothing."""

    name: str
    uid: str
    replicas: int


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a share of the traffic goes. ``service`` is "" where only the hash tells (subsets)."""

    service: str
    pod_hash: str
    weight: int


@dataclass(frozen=True, slots=True)
class RouteTraffic:
    """What every router has to make true, in the order of §2.6 (§15.1 steps 2 to 4).

    Emitted in every pass that routes: a router compares with what is there and writes only what differs. A failure
    ends the plan before the status. ``drain_first``: the canary has no pod left, so its weight goes before the
    hashes move. ``short``: the canary's ReplicaSet, if it lacks the pods for its weight; its hash may have to wait.
    """

    canary: Destination
    stable: Destination
    additional: tuple[Destination, ...] = ()
    max_weight: int = 100
    drain_first: bool = False
    header_route: SetHeaderRoute | None = None
    mirror_route: SetMirrorRoute | None = None
    short: str = ""


@dataclass(frozen=True, slots=True)
class RemoveManagedRoutes:
    """Take out the header and mirror routes that steps have set (§15.1). Nothing to do if there are none."""


@dataclass(frozen=True, slots=True)
class CallStepPlugin:
    """Ask for a call of a step plugin (§16). It goes on by itself; its `PluginAnswer` is seen by a later pass.

    A call of the same index, name and operation that is under way already isn't repeated.
    """

    index: int
    name: str
    operation: PluginOperation
    status: StepPluginStatus
    """The stored status of this operation; its ``status`` is handed back to the plugin."""


@dataclass(frozen=True, slots=True)
class CreateRun:
    """Create an AnalysisRun or Experiment that the Rollout controls; ``body``: the whole object less its owner.

    One of this name that isn't the Rollout's: the name is taken, as with ReplicaSets. One that is: nothing to do.
    """

    kind: RunResource
    name: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TerminateRun:
    """Ask an AnalysisRun or Experiment to end (``spec.terminate``, §17.5). One that is gone meanwhile is no error.

    It is marked as `CANCELLED`, so that however it ends, that is never taken for a verdict.
    """

    kind: RunResource
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class DeleteRun:
    """Delete an AnalysisRun or Experiment that is no longer kept (§17.7)."""

    kind: RunResource
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class EvictPod:
    """Evict a Pod through the Eviction API; a 429 means: not now, go on with the next action.

    Nothing to do once this plan has evicted ``at_most`` Pods: what follows is for those that can't be evicted now.
    """

    name: str
    uid: str
    at_most: int = 1


@dataclass(frozen=True, slots=True)
class PatchRollout:
    """Patch the Rollout itself: annotations (None removes) and, if given, ``spec.replicas``."""

    annotations: Mapping[str, str | None] = field(default_factory=dict)
    replicas: int | None = None


@dataclass(frozen=True, slots=True)
class RecordAbort:
    """Lay the abort into the outbox before it takes effect, so that its commit can follow (docs/decisions.md §4).

    Only emitted for a Rollout that a GitSync applies. ``at``: index of the step at which it happened.
    A failure to write it is logged and does not stop the plan.
    """

    at: int
    aborted_at: datetime
    reason: str
    """A word such as ``ProgressDeadlineExceeded`` or ``Requested``."""
    message: str
    told: str = ""
    """The id under which the tree holds it: added to what is recorded, so that once it is taken back it is known."""
    evidence: tuple[Evidence, ...] = ()
    """What the metrics came to, where they decided."""
    run: str = ""
    """The uid of the AnalysisRun that decided it: what makes this abort another than the one before it."""


@dataclass(frozen=True, slots=True)
class RecordPromotion:
    """Lay into the outbox that a client asked for a promotion, so that its line can follow (docs/decisions.md §4).

    It is undone in the same plan. A failure to write it is told by the event ``failed`` and doesn't stop the plan;
    only a version that has changed meanwhile does: the next pass sees the request again.
    """

    gate: str
    """Index of the step, ``active`` or ``full``."""
    intent: str
    """The first 12 digits of the attempt's intent."""
    text: str
    """What is said once it is written; ``{actor}`` in it stands for who asked."""
    failed: EmitEvent


@dataclass(frozen=True, slots=True)
class ForgetPromotions:
    """Take promotions that need nothing more out of the outbox, by their ids. A failure is logged: tried again."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EmitEvent:
    """A core/v1 Event about the Rollout (docs/behaviour.md §4.3)."""

    reason: str
    message: str
    type: Literal["Normal", "Warning"] = "Normal"


Action = (
    CreateReplicaSet
    | AdoptReplicaSet
    | ReleaseReplicaSet
    | PatchReplicaSet
    | DeleteReplicaSet
    | PointService
    | RouteTraffic
    | RemoveManagedRoutes
    | CallStepPlugin
    | PatchPod
    | ScaleWorkload
    | CreateRun
    | TerminateRun
    | DeleteRun
    | EvictPod
    | PatchRollout
    | RecordAbort
    | RecordPromotion
    | ForgetPromotions
    | EmitEvent
)


@dataclass(frozen=True, slots=True)
class Plan:
    """One pass: what to do, the complete new status, and when to look again."""

    actions: tuple[Action, ...] = ()
    status: RolloutStatus | None = None
    """The complete new status; None or equal to the old one: nothing to write."""
    status_first: bool = False
    events: tuple[EmitEvent, ...] = ()
    """Sent only after the status was written."""
    look_again: timedelta | None = None
    """None: the next change of an observed object is enough. Zero: at once."""
