"""What the engine is told: a frozen snapshot of one Rollout and of all that its rules look at.

Controllers build it from their caches and from Git; nothing in here is read lazily.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from gitops_rollouts.api.rollout import Rollout


@dataclass(frozen=True, slots=True)
class ReplicaSet:
    """A ReplicaSet as far as a rule needs it. ``template`` is the raw PodTemplateSpec as the API server stores it.

    ``owner_uid`` is the uid of the controlling owner, None if there is none.
    """

    name: str
    uid: str
    created: datetime
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    owner_uid: str | None
    selector: Mapping[str, Any]
    template: Mapping[str, Any]
    replicas: int
    min_ready_seconds: int = 0
    current: int = 0
    """``status.replicas``"""
    ready: int = 0
    available: int = 0
    generation: int = 0
    observed_generation: int = 0
    deleting: bool = False
    conditions: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Service:
    """A Service that the Rollout refers to. ``managed_by``: the value of the managed-by annotation, if any."""

    name: str
    selector: Mapping[str, str]
    managed_by: str | None = None


@dataclass(frozen=True, slots=True)
class Pod:
    """A Pod of the Rollout; only loaded while a restart is wanted. ``available``: ready for minReadySeconds."""

    name: str
    uid: str
    created: datetime
    owner_uid: str | None
    available: bool
    deleting: bool


@dataclass(frozen=True, slots=True)
class TreeAbort:
    """An abort line in force for the applied attempt. ``commit`` introduced it; ``text`` is for people."""

    commit: str
    text: str
    id: str = ""
    """The decision's id; empty if the line is malformed."""
    noted: bool = False
    """The outbox already says of the live Rollout's abort that Git has it under this id."""


@dataclass(frozen=True, slots=True)
class Authority:
    """What the tree says of the applied attempt; None in its place means that no GitSync applies this Rollout.

    Source: docs/decisions.md §1.1, §1.2, §2, §4.
    """

    target: str
    """The GitSync's name."""
    fresh: bool
    """The last good fetch is younger than maxStaleness. False: nothing moves forward (§4)."""
    applied: bool
    """The live template and steps are those that sync applied. False: edited outside Git, hold."""
    approved_through: int = -1
    """Highest gate (step index) that the tree approves for this attempt; -1: none."""
    full: bool = False
    """The tree approves skipping all steps (``gate=full``)."""
    abort: TreeAbort | None = None
    withdrawn: frozenset[str] = frozenset()
    """``status.abortedAt`` values (RFC 3339) whose abort was committed and then taken back in Git: retry."""
    promote_command: str = "gor promote"
    """The command that a person should use instead of patching the cluster."""
    intent: str = ""
    """The first 12 digits of the applied attempt's intent; "" if it isn't known now."""
    former: frozenset[str] = frozenset()
    """What this very intent was called before history was rewritten, 12 digits each (§3 R6): no new attempt."""
    behind: bool = False
    """Git was read, but what it wants now isn't what was applied. Only with ``fresh`` False."""


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything that `step` may look at."""

    rollout: Rollout
    replica_sets: tuple[ReplicaSet, ...] = ()
    """Those that this Rollout controls, and orphans with the hash label that its selector matches."""
    taken_names: frozenset[str] = frozenset()
    """Names of ReplicaSets in the namespace that this Rollout doesn't control."""
    services: Mapping[str, Service] = field(default_factory=dict)
    """The Services that the spec names and that exist, by name."""
    pods: tuple[Pod, ...] | None = None
    """None: not loaded (no restart is wanted)."""
    authority: Authority | None = None
