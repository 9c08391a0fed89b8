"""What Git says of one Rollout at one commit: the type that travels from sync to controllers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from gitops_rollouts.decisions.gates import Gate
from gitops_rollouts.decisions.grammar import ACTIVE, Abort, Promote, Stable
from gitops_rollouts.decisions.identity import BLUE_GREEN, Subject
from gitops_rollouts.decisions.policy import Policy
from gitops_rollouts.render.objects import Rendered

Key = tuple[str, str]
"""(namespace, name) of a Rollout."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to bring a version out (docs/decisions.md §1.1): T, S, and the full id of the intent commit."""

    template: str
    steps: str
    intent: str

    @property
    def content(self) -> tuple[str, str]:
        """(T, S)."""
        return self.template, self.steps

    @property
    def blue_green(self) -> bool:
        """Whether a Service is switched, instead of steps taken."""
        return self.steps == BLUE_GREEN


@dataclass(frozen=True, slots=True)
class Ignored:
    """A line under one of our keys that has no effect, and why: for ``gor why``."""

    key: str
    value: str
    reason: str
    unauthorised: bool = False
    """Nobody who may decide brought it in, or took it away (docs/decisions.md §6)."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the next line goes (§1.3). ``path``: the manifest; ``overlay``: the file under ``.rollouts/``.

    ``why`` names what keeps the line out of the manifest; it is empty for a literal one.
    """

    literal: bool
    path: str
    overlay: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Other:
    """Another GitSync of the same branch, of whatever cluster (§5). ``problem``: why its part can't be found."""

    name: str
    path: str = ""
    target_namespace: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Promotion:
    """Where the images of a GitSync's Rollouts come from, once they have been stable there for ``soak`` (§5)."""

    source: Other
    soak: timedelta = timedelta()


@dataclass(frozen=True, slots=True)
class TargetSpec:
    """What of a repository a GitSync reads: its name, branch, directory and default namespace.

    ``policy``: who may decide, None where everybody who can push may. ``after``: whose Rollouts come first.
    """

    name: str
    branch: str
    path: str
    target_namespace: str = ""
    policy: Policy | None = None
    after: Other | None = None


@dataclass(frozen=True, slots=True)
class InGit:
    """One Rollout of one GitSync at one commit. Only lines in force are set; the others are in ``ignored``."""

    target: str
    namespace: str
    name: str
    head: str = field(compare=False)
    """The commit that was read. Two states that differ in it alone are equal: nothing changed for the Rollout."""
    attempt: Attempt
    placement: Placement
    promote: Promote | None = None
    """The approval in force for this attempt, if any."""
    approved_through: int = -1
    """The highest step index that it approves; -1: none."""
    full: bool = False
    """It approves skipping everything that is left."""
    gated: bool = False
    """The manifest says that blue-green waits for a person: ``autoPromotionEnabled: false``."""
    checked: bool = False
    """The manifest has an analysis before blue-green's switch, which asks a person if it comes to no verdict."""
    abort: Abort | None = None
    """The abort in force for this attempt. A malformed one appears with ``at`` 0 and an empty ``id``."""
    abort_commit: str = ""
    """The first-parent commit that introduced it, full id; empty if it isn't known."""
    abort_by: str = ""
    """The author of that commit, for people."""
    dropped: bool = False
    """The abort in force stood at the head that was synced before, and a rewritten history lacks it: to be written
    again. Only where a policy says who may take it away."""
    record: Stable | None = None
    """The engine's record for this target, if there is one."""
    ignored: tuple[Ignored, ...] = ()
    image: str = ""
    """The first container's image, for people."""
    lifted_abort: str = ""
    """The id (or, if malformed, the value) of an abort that was in force for the same (T, S) at the head that was
    synced before this one, and no longer is: whatever abort the cluster shows was taken back (§3 R4)."""

    former: tuple[str, ...] = ()
    """What this intent was called before history was rewritten (§3 R6), full ids, newest last: the attempt is the
    same."""
    unanchored: frozenset[str] = frozenset()
    """Keys of lines in force that name a commit which a rewritten history lacks (§3 R6): to be carried over to it."""
    goes_after: str = ""
    """The GitSync whose Rollout comes first, if one does (§5)."""
    waits: str = ""
    """What an update that hasn't begun waits for there, without a full stop; empty: it may begin."""
    unconfirmed: str = ""
    """What the forge has to say first, if anything (§6): until then the Rollout holds, and nothing is written."""
    awaits: tuple[str, str] | None = None
    """What that is about: the key of the decision, and the commit that brought it in or took it away."""
    blocked: bool = False
    """The tree names this Rollout but it can't be used now (or it may be in a file that can't be read): all else is
    as it was before, and nothing is written."""

    @property
    def key(self) -> Key:
        """(namespace, name)."""
        return self.namespace, self.name

    @property
    def subject(self) -> Subject:
        """What its lines carry as ``for``."""
        return Subject(self.target, self.namespace, self.name)

    @property
    def abort_text(self) -> str:
        """The abort in a few words, for status messages; empty if there is none."""
        if self.abort is None:
            return ""
        by = f" by {self.abort_commit[:7]}" if self.abort_commit else ""
        who = f" ({self.abort_by})" if self.abort_commit and self.abort_by else ""
        at = f" at step {self.abort.at}" if self.abort.id and not self.attempt.blue_green else ""
        return f"aborted{at}{by}{who}"

    @property
    def approved_active(self) -> bool:
        """Whether blue-green may switch: ``gate=active`` is approved, or everything is."""
        return self.full or (self.promote is not None and self.promote.gate == ACTIVE)

    def approves(self, gate: Gate) -> bool:
        """Whether the tree lets this attempt past a gate."""
        return self.approved_active if gate == ACTIVE else self.full or self.approved_through >= gate

    @property
    def recorded(self) -> bool:
        """Whether the record names the template that stands in the tree."""
        return self.record is not None and self.record.template == self.attempt.template


@dataclass(frozen=True, slots=True)
class TargetAt:
    """One GitSync's part of one commit: what it renders to, and every Rollout in it.

    ``previous`` is the synced head that intents were carried over from, None if there was none; ``rewritten``: it is no
    ancestor of this commit.
    """

    spec: TargetSpec
    commit: str
    rendered: Rendered
    rollouts: Mapping[Key, InGit] = field(default_factory=dict)
    previous: str | None = None
    rewritten: bool = False
    news: int = 0
    """`TargetReader.news` as it was read."""
