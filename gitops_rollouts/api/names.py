"""The keys, labels, annotations and field managers that this program reads and writes (docs/behaviour.md §5)."""

from __future__ import annotations

from typing import Final

ARGO_GROUP: Final = "argoproj.io"
ARGO_API_VERSION: Final = "argoproj.io/v1alpha1"
GOR_GROUP: Final = "gitops-rollouts.io"
GOR_API_VERSION: Final = "gitops-rollouts.io/v1alpha1"

POD_TEMPLATE_HASH: Final = "rollouts-pod-template-hash"
REVISION: Final = "rollout.argoproj.io/revision"
REVISION_HISTORY: Final = "rollout.argoproj.io/revision-history"
DESIRED_REPLICAS: Final = "rollout.argoproj.io/desired-replicas"
EPHEMERAL_METADATA: Final = "rollout.argoproj.io/ephemeral-metadata"
WORKLOAD_GENERATION: Final = "rollout.argoproj.io/workload-generation"
SCALE_DOWN_DEADLINE: Final = "scale-down-deadline"
MANAGED_BY_ROLLOUTS: Final = "argo-rollouts.argoproj.io/managed-by-rollouts"
INSTANCE_ID: Final = "argo-rollouts.argoproj.io/controller-instance-id"
LAST_APPLIED_CONFIGURATION: Final = "kubectl.kubernetes.io/last-applied-configuration"
NOTIFIED: Final = "notified.notifications.argoproj.io"

OWN_PREFIX: Final = "gitops-rollouts.io/"
"""Every annotation of ours starts so; none is copied to a ReplicaSet or kept in a pod template."""
STABLE: Final = "gitops-rollouts.io/stable"
PROMOTE: Final = "gitops-rollouts.io/promote"
ABORT: Final = "gitops-rollouts.io/abort"
DECISION_KEYS: Final = (ABORT, PROMOTE, STABLE)
"""The lines that live in Git, in the order in which they stand in a manifest (docs/decisions.md §1.3)."""
APPLIED: Final = "gitops-rollouts.io/applied"
"""The stamp on a live Rollout: which commit's template and steps sync applied (docs/decisions.md §1.1)."""
OUTBOX: Final = "gitops-rollouts.io/outbox"
"""On a live Rollout: what the engine decided and Git doesn't show yet (docs/decisions.md §4)."""
PROVEN: Final = "gitops-rollouts.io/was-stable"
"""On a ReplicaSet of a Rollout that a GitSync applies: its version was the stable one (docs/behaviour.md §11.4)."""
INTENT: Final = "gitops-rollouts.io/intent"
"""On a ReplicaSet of a Rollout that a GitSync applies: the intent for which its update runs, or last ran."""
PRUNE: Final = "gitops-rollouts.io/prune"
"""``allow`` on a Namespace, CRD, PersistentVolume or -Claim: it may be pruned."""
FORCE: Final = "gitops-rollouts.io/force"
"""``true`` or ``false`` on an object: take over fields that another manager holds, whatever the GitSync says."""

APPLY_MANAGER: Final = "gitops-rollouts"
"""The field manager of everything that comes from Git."""
STAMP_MANAGER: Final = "gitops-rollouts-stamp"
"""The field manager of the ``applied`` stamp."""
OUTBOX_MANAGER: Final = "gitops-rollouts-outbox"
ENGINE_MANAGER: Final = "rollouts-controller"
"""The field manager of the progression engine's own writes."""
EVENT_COMPONENT: Final = "rollouts-controller"

LOCK_NAME: Final = "argo-rollouts-controller-lock"
"""The Lease of every controller of this API, ``-<instance id>`` may follow: never two in one namespace (§23)."""

OVERLAY_ROOT: Final = ".rollouts"
"""Decisions of rendered Rollouts stand at ``.rollouts/<target>/<namespace>/<name>.yaml`` (docs/decisions.md §1.3)."""
