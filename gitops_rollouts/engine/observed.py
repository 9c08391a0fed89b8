"""What the engine is told: a frozen snapshot of one Rollout and of all that its rules look at.

Controllers build it from their caches and from Git; nothing in here is read lazily.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from gitops_rollouts.api.analysis import AnalysisRun, AnalysisTemplate
from gitops_rollouts.api.analysis_templates import TemplateKey
from gitops_rollouts.api.evidence import Evidence
from gitops_rollouts.api.experiment import Experiment
from gitops_rollouts.api.meta import LabelSelector
from gitops_rollouts.api.names import POD_TEMPLATE_HASH
from gitops_rollouts.api.rollout import Rollout
from gitops_rollouts.api.status import AlbStatus
from gitops_rollouts.api.validation import FieldError

RunKind = Literal["Step", "Background", "PrePromotion", "PostPromotion", "Experiment"]
"""Where an AnalysisRun stands in an update (label ``rollout-type``), or that it is a step's Experiment."""
PluginOperation = Literal["Run", "Terminate", "Abort"]


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
    """A Pod of the Rollout; only loaded while a rule needs Pods. ``available``: ready for minReadySeconds."""

    name: str
    uid: str
    created: datetime
    owner_uid: str | None
    available: bool
    deleting: bool
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Workload:
    """The object that ``spec.workloadRef`` names (docs/behaviour.md §2.2). ``replicas``: None if its kind has none."""

    kind: str
    name: str
    uid: str
    generation: int
    template: Mapping[str, Any]
    selector: LabelSelector | None = None
    replicas: int | None = None


@dataclass(frozen=True, slots=True)
class TargetsSeen:
    """Whether load balancers of AWS serve the pods behind ``service``, which was switched to them (§14.5).

    ``waits``: what they don't serve yet, ``""`` if they serve all of them. ``switched``: whether it was looked at.
    """

    service: str
    waits: str = ""
    error: str = ""
    """Why that could not be found out; "" if it could."""
    switched: bool = True

    @property
    def proven(self) -> bool:
        """Whether nothing has to wait."""
        return not (self.waits or self.error)


@dataclass(frozen=True, slots=True)
class RoutersSeen:
    """What the routers said before this pass of the weights in ``status.canary.weights`` (§15.1 step 6).

    ``verified``: None if no router checks them. ``verifies``: whether a router will check new weights, so that they
    count only once it has.
    """

    verified: bool | None = None
    verifies: bool = False
    error: str = ""
    """Why they could not be asked; "" if they could."""
    missing: str = ""
    """Which load balancer isn't there yet; "" if none is missed."""
    albs: tuple[AlbStatus, ...] = ()
    """The load balancers of AWS that were found so far."""
    targets: TargetsSeen | None = None
    """None: nothing waits for that."""


@dataclass(frozen=True, slots=True)
class PluginAnswer:
    """What a call of a step plugin came to (§16). ``error``: it could not be called, or answered nonsense."""

    index: int
    name: str
    operation: PluginOperation
    finished_at: datetime
    phase: str = ""
    message: str = ""
    requeue_after: timedelta | None = None
    status: Any = None
    error: str = ""
    transient: bool = False
    """Nothing is recorded of it: the plugin isn't there, or its answer can't be read (§16 "Transient errors")."""


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
    approved_active: bool = False
    """The tree approves a blue-green Rollout's one gate: that the active Service moves to this attempt's version."""
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
    goes_after: str = ""
    """The GitSync whose Rollouts come first (``spec.after``, §5); "" if none does."""
    waits: str = ""
    """What an update that hasn't begun still waits for there, a sentence without its full stop; "" if it may begin."""
    behind: bool = False
    """Git was read, but what it wants now isn't what was applied. Only with ``fresh`` False."""
    commits_promotions: bool = False
    """A promotion that a client asks for at a gate becomes a line in Git (§4)."""
    why_not: str = ""
    """Why it doesn't although the GitSync says so, a sentence without its full stop; "" if it does, or nobody said so.
    """
    asked_over: tuple[str, ...] = ()
    """The ids of promotions in the outbox that need nothing more: granted, or of an attempt that is gone."""
    asked_refused: tuple[str, ...] = ()
    """Their gates as far as a person took the promotion back in Git, for people."""
    unconfirmed: bool = False
    """Git was read, and a forge has to say first who approved what it wants (§6). Only with ``fresh`` False."""
    unsaid: bool = False
    """That is so for such a short time that it is no news: all holds, and no status says so yet."""


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
    """None: not loaded (no rule needs them)."""
    authority: Authority | None = None
    refused: FieldError | None = None
    """What the spec asks for and this installation can't carry out; the Rollout is invalid then."""
    route_errors: tuple[FieldError, ...] = ()
    """What is wrong with the objects that the routers refer to (§20 (B)); whatever isn't there first."""
    workload: Workload | None = None
    """None: no workloadRef, or what it names doesn't exist."""
    analysis_runs: tuple[AnalysisRun, ...] = ()
    """Those that this Rollout controls; of finished ones no metrics and no measurements."""
    experiments: tuple[Experiment, ...] = ()
    """Those that this Rollout controls; of finished ones no pod templates."""
    evidence: Mapping[str, tuple[Evidence, ...]] = field(default_factory=dict)
    """What the metrics came to, of the AnalysisRuns and Experiments that ended without a yes; by their names."""
    taken_runs: frozenset[str] = frozenset()
    """Names of AnalysisRuns and Experiments in the namespace that this Rollout doesn't control."""
    refused_runs: Mapping[str, str] = field(default_factory=dict)
    """Why the API server didn't take an AnalysisRun or Experiment of this name in this very pass."""
    templates: Mapping[TemplateKey, AnalysisTemplate] = field(default_factory=dict)
    """The analysis templates that the spec names, and those that they name, as far as they exist."""
    routers: RoutersSeen = RoutersSeen()
    plugin_answers: tuple[PluginAnswer, ...] = ()
    """Answers to calls that earlier passes asked for and whose outcome isn't in the status yet."""
    disabled_plugins: frozenset[str] = frozenset()
    """Step plugins that this installation's configuration turned off: their steps are skipped (§16)."""

    def selected(self, service: str) -> str:
        """The pod-template hash in this Service's selector; "" if it has none, or there is no such Service."""
        found = self.services.get(service)
        return found.selector.get(POD_TEMPLATE_HASH, "") if found is not None else ""
