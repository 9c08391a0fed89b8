"""What the engine decided, as data. The executor carries a plan out in order and stops at the first failure.

Order: ``status`` if ``status_first``; then ``actions``; then ``status`` if not ``status_first``; then ``events``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from gitops_rollouts.api.status import RolloutStatus


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
    """Set what isn't None: size, minReadySeconds, annotations (a value None removes the key). One request."""

    name: str
    replicas: int | None = None
    min_ready_seconds: int | None = None
    annotations: Mapping[str, str | None] = field(default_factory=dict)


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
class EvictPod:
    """Evict a Pod through the Eviction API; a 429 means: not now, go on with the next action."""

    name: str
    uid: str


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
    | EvictPod
    | PatchRollout
    | RecordAbort
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
