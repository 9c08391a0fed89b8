"""The GitSync: binds one repository, branch and path to one cluster (docs/architecture.md "Git access")."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any

from pydantic import Field

from gitops_rollouts.api.durations import parse_go_duration
from gitops_rollouts.api.meta import REQUIRED, Bool, Int64, Model, ObjectMeta, Raw, Time, encode, parse_tolerant
from gitops_rollouts.api.names import GOR_API_VERSION
from gitops_rollouts.api.status import Condition

MAX_PROBLEMS = 50
"""As many problems are listed in the status; ``problem_count`` counts all."""
SHORTEST_INTERVAL = timedelta(seconds=1)


class SecretRef(Model):
    """A Secret with credentials for the repository."""

    name: str = Field("", json_schema_extra=REQUIRED)
    namespace: str = Field("", json_schema_extra=REQUIRED)


class KeysRef(Model):
    """A ConfigMap or a Secret that holds allowed signers."""

    kind: str = Field("ConfigMap", json_schema_extra={"enum": ["ConfigMap", "Secret"]})
    name: str = Field("", json_schema_extra=REQUIRED)
    namespace: str = Field("", json_schema_extra=REQUIRED)
    key: str = "allowed_signers"
    """Which of its keys."""


class GpgKey(Model):
    """Somebody's public GPG key."""

    principal: str = Field("", json_schema_extra=REQUIRED)
    """Whose it is."""
    key: str = Field("", json_schema_extra=REQUIRED)
    """One public key in ASCII armour."""


class ForgeApprover(Model):
    """Somebody whose approval of a request counts."""

    login: str = Field("", json_schema_extra=REQUIRED)
    """What the forge calls them."""
    principal: str = ""
    """As in the allowed signers: a version whose commit they signed isn't theirs to approve."""


class GitSyncAuthority(Model):
    """Who may let traffic grow: by the keys that sign commits, or by who approved the request on the forge."""

    allowed_signers: str = ""
    """Public keys and their principals, as OpenSSH's allowed signers file has them."""
    allowed_signers_ref: KeysRef | None = None
    """More of them."""
    gpg_keys: tuple[GpgKey, ...] = ()
    """Public GPG keys and their principals."""
    promoters: tuple[str, ...] = ()
    """Principals who may add a promotion or take an abort away."""
    forge_approvers: tuple[ForgeApprover, ...] = ()
    """Who may approve it on the forge: what it merges with their approval counts as theirs. Needs ``spec.forge``."""
    engines: tuple[str, ...] = ()
    """Principals of engines, whose records are trusted; empty: any record is."""


class GitSyncPromotion(Model):
    """From which GitSync the Rollouts of this one get what is stable there, by a request that a person merges."""

    from_: str = Field("", alias="from", json_schema_extra=REQUIRED)
    """A GitSync of the same branch."""
    fields: tuple[Annotated[str, Field(json_schema_extra={"enum": ["image"]})], ...] = ("image",)
    """What is copied: the images of the containers that both have."""
    soak: str = "0s"
    """For how long it must have been stable there. A Go duration."""


class GitSyncElsewhere(Model):
    """A GitSync of another cluster that reads the same branch."""

    name: str = Field("", json_schema_extra=REQUIRED)
    path: str = ""
    """Its ``spec.path``."""
    target_namespace: str = ""
    """Its ``spec.targetNamespace``."""


class GitSyncForge(Model):
    """The forge that the repository is on, for pull requests, approvals and commit statuses."""

    kind: str = Field("", json_schema_extra={"enum": ["", "github", "gitlab", "gitea", "bitbucket"]})
    """Empty: by the repository's host, if it is a public forge. Forgejo is a ``gitea``."""
    url: str = ""
    """Where it is; empty: at the repository's host."""
    project: str = ""
    """``owner/name``; empty: as in the repository's address."""
    secret_ref: SecretRef | None = None
    """Its token, under ``token`` (or ``password``); absent: the password that writes to the repository."""
    statuses: Bool = True
    """Show on each commit what became of the update that it began."""


class GitSyncSpec(Model):
    """What to sync, and what may be written back."""

    repo: str = Field("", json_schema_extra=REQUIRED)
    """URL of the repository: https, ssh or file."""
    branch: str = "main"
    """The branch that is followed."""
    path: str = ""
    """Directory in the repository; empty: its root."""
    target_namespace: str = ""
    """For namespaced objects that name no namespace."""
    interval: str = "30s"
    """How often the branch is looked at: a Go duration, at least 1s."""
    suspend: Bool = False
    """Look at nothing, apply nothing, write nothing."""
    apply: Bool = True
    """False: something else applies; progress, read and write decisions only."""
    write: str = Field("all", json_schema_extra={"enum": ["all", "none"]})
    """``none``: a read-only remote; decisions stay in the cluster."""
    gates: str = Field("request", json_schema_extra={"enum": ["request", "commit"]})
    """``request``: a gate opens a promotion branch. ``commit``: wait for `gor promote`."""
    cluster_promotions: str = Field("undo", json_schema_extra={"enum": ["undo", "commit"]})
    """What becomes of a promotion that a client of the cluster asks for at a gate: nothing, or a line in Git."""
    prune: Bool = False
    """Delete what the tree no longer has."""
    force: Bool = True
    """Take over fields that another manager holds."""
    deletion: str = Field("orphan", json_schema_extra={"enum": ["orphan", "delete"]})
    """What deleting the GitSync does to its objects."""
    max_staleness: str = "10m"
    """Without a fetch for longer than this, nothing moves forward. A Go duration."""
    read_secret_ref: SecretRef | None = None
    """Credentials to read; absent: none, or those of files."""
    write_secret_ref: SecretRef | None = None
    """Credentials to write; absent: those to read."""
    signing_secret_ref: SecretRef | None = None
    """An SSH or GPG key without a passphrase that signs the engine's commits; absent: they aren't signed."""
    webhook_secret_ref: SecretRef | None = None
    """The secret that webhooks are signed with, under ``secret`` or ``token``; absent: none are taken."""
    forge: GitSyncForge | None = None
    """Absent: decisions are branches and commits, and nothing else."""
    authority: GitSyncAuthority | None = None
    """Who may decide; absent: whoever can push."""
    after: str = ""
    """A GitSync of the same branch whose Rollouts come first: an update here begins when that one's is stable."""
    elsewhere: tuple[GitSyncElsewhere, ...] = ()
    """Those of other clusters that ``after`` and ``promotion.from`` name."""
    promotion: GitSyncPromotion | None = None
    """Absent: people and pipelines change what stands here."""

    def interval_duration(self) -> timedelta:
        """``interval``, never below 1 s. Raises ValueError if it is no Go duration."""
        return max(SHORTEST_INTERVAL, parse_go_duration(self.interval))

    def staleness_duration(self) -> timedelta:
        """``maxStaleness``. Raises ValueError if it is no Go duration."""
        return parse_go_duration(self.max_staleness)


class Problem(Model):
    """Something in the tree, or in the cluster, that keeps an object from being applied."""

    path: str = ""
    """File, relative to the repository's root."""
    line: Int64 = 0
    """From 1; absent: unknown."""
    field: str = ""
    message: str = Field("", json_schema_extra=REQUIRED)
    remedy: str = ""


class Hold(Model):
    """A promotion request that a person closed: the gate waits until another is asked for."""

    namespace: str = Field("", json_schema_extra=REQUIRED)
    name: str = Field("", json_schema_extra=REQUIRED)
    intent: str = Field("", json_schema_extra=REQUIRED)
    gate: str = Field("", json_schema_extra=REQUIRED)
    """Index of the step, or a gate's name."""
    by: str = ""
    """Who closed it, where a forge tells."""
    since: Time | None = None


class OpenRequest(Model):
    """A request that waits for its merge: a pull request, or without a forge a branch alone."""

    branch: str = Field("", json_schema_extra=REQUIRED)
    gate: str = ""
    """Empty for a rolling request, which is about many."""
    rollouts: tuple[str, ...] = ()
    """``namespace/name`` of those for which it counts, the first of them."""
    rollout_count: Int64 = 0
    state: str = ""
    """``open``; ``waiting`` until the forge shows it; ``closed`` by a person: it holds; ``merged``, not yet fetched."""
    url: str = ""


class Proposal(Model):
    """Images that a Rollout lacks and that are stable in the GitSync which ``promotion`` names."""

    namespace: str = Field("", json_schema_extra=REQUIRED)
    name: str = Field("", json_schema_extra=REQUIRED)
    version: str = Field("", json_schema_extra=REQUIRED)
    """Tells these images from others."""
    image: str = ""
    since: Time | None = None
    """When they were first seen to be stable there."""
    state: str = ""
    """``soaking``; ``proposed`` by a request; ``held``, as somebody closed it; ``failed``."""
    reason: str = ""


class GitSyncStatus(Model):
    """What was fetched, applied and written, and what stands in the way."""

    observed_generation: Int64 = 0
    last_fetched: Time | None = None
    """When the branch was last read without an error."""
    last_fetched_commit: str = ""
    last_applied_commit: str = ""
    last_applied_time: Time | None = None
    conditions: tuple[Condition, ...] = ()
    """Ready, Fetched, Rendered, Applied, Pruned, WriteBack."""
    message: str = ""
    """One sentence for people."""
    problems: tuple[Problem, ...] = ()
    problem_count: Int64 = 0
    inventory: tuple[str, ...] = ()
    """``group/version|Kind|namespace|name`` of each applied object."""
    allowed_prune: str = ""
    """The commit for which a person allowed a large prune."""
    holds: tuple[Hold, ...] = ()
    requests: tuple[OpenRequest, ...] = ()
    proposals: tuple[Proposal, ...] = ()

    def condition(self, kind: str) -> Condition | None:
        """The condition of this type, if there is one."""
        return next((condition for condition in self.conditions if condition.type == kind), None)


class GitSync(Model):
    """A GitSync, cluster-scoped."""

    api_version: str = GOR_API_VERSION
    kind: str = "GitSync"
    metadata: ObjectMeta = Field(default_factory=ObjectMeta)
    spec: GitSyncSpec = Field(default_factory=GitSyncSpec)
    status: GitSyncStatus = Field(default_factory=GitSyncStatus)


def parse_gitsync(raw: Mapping[str, Any]) -> GitSync:
    """Read a GitSync from the cluster or the config file. Total: what has a wrong type is as if absent."""
    return parse_tolerant(GitSync, raw)


def encode_gitsync_status(status: GitSyncStatus) -> Raw:
    """The status as it is stored: no more than `MAX_PROBLEMS` problems, the rest counted."""
    count = max(status.problem_count, len(status.problems))
    return encode(status.model_copy(update={"problems": status.problems[:MAX_PROBLEMS], "problem_count": count}))
