"""Rollouts as the API server shows them, for the tests of what people see."""

from __future__ import annotations

from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

NOW = datetime(2026, 5, 4, 12, 0, 0, tzinfo=UTC)
INTENT = "3b70795a87de51b95eadd0726935dab8e7c12fa2"
COMMIT = "021fddb0000000000000000000000000000000aa"
STAMP = f"commit={COMMIT} template=abd11f90ce04efa7 steps=bfb225f9 intent={INTENT} target=prod hash=new"
STEPS = [{"setWeight": 20}, {"pause": {}}, {"setWeight": 60}, {"pause": {"duration": "10m"}}]

_STATUS: dict[str, Any] = {
    "observedGeneration": "3",
    "replicas": 5,
    "updatedReplicas": 1,
    "readyReplicas": 5,
    "availableReplicas": 5,
    "currentPodHash": "new",
    "stableRS": "old",
}


def rollout(*, stamp: str | None = STAMP, status: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """A canary of 5 pods between web:v1 and web:v2."""
    annotations = {"gitops-rollouts.io/applied": stamp} if stamp else {}
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "metadata": {"name": "web", "namespace": "shop", "uid": "u", "generation": 3, "annotations": annotations},
        "spec": {
            "replicas": 5,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"spec": {"containers": [{"name": "web", "image": "ghcr.io/acme/web:v2"}]}},
            "strategy": {"canary": {"steps": deepcopy(STEPS)}},
            **spec,
        },
        "status": {**deepcopy(_STATUS), **(status or {})},
    }


def at_gate(**more: Any) -> dict[str, Any]:
    """Waiting at step 1 for a decision."""
    pause = [{"reason": "CanaryPauseStep", "startTime": "2026-05-04T11:50:00Z"}]
    status = {"phase": "Paused", "message": "CanaryPauseStep", "currentStepIndex": 1, "pauseConditions": pause}
    return rollout(status={**status, "controllerPause": True}, **more)


def replica_set(pod_hash: str, revision: int, image: str, size: int) -> dict[str, Any]:
    """A ReplicaSet of that Rollout, all its pods available."""
    return {
        "metadata": {
            "name": f"web-{pod_hash}",
            "uid": f"rs-{pod_hash}",
            "labels": {"app": "web", "rollouts-pod-template-hash": pod_hash},
            "annotations": {"rollout.argoproj.io/revision": str(revision)},
            "creationTimestamp": "2026-05-04T11:00:00Z",
            "ownerReferences": [{"kind": "Rollout", "name": "web", "uid": "u", "controller": True}],
        },
        "spec": {"replicas": size, "template": {"spec": {"containers": [{"name": "web", "image": image}]}}},
        "status": {"replicas": size, "readyReplicas": size, "availableReplicas": size},
    }


REPLICA_SETS = [replica_set("old", 1, "ghcr.io/acme/web:v1", 4), replica_set("new", 2, "ghcr.io/acme/web:v2", 1)]


def pod(name: str, pod_hash: str, **status: Any) -> dict[str, Any]:
    """A Pod of one of those ReplicaSets."""
    return {
        "metadata": {
            "name": name,
            "creationTimestamp": "2026-05-04T11:59:00Z",
            "ownerReferences": [{"kind": "ReplicaSet", "name": "x", "uid": f"rs-{pod_hash}", "controller": True}],
        },
        "spec": {"containers": [{"name": "web"}]},
        "status": {"phase": "Running", "containerStatuses": [{"ready": True, "restartCount": 0}], **status},
    }


def gitsync(**more: Any) -> dict[str, Any]:
    """The GitSync prod, fetched half a minute ago."""
    spec = {"repo": "https://git.example.com/acme/deploy.git", "branch": "main", "path": "envs/prod"}
    status = {"lastFetched": "2026-05-04T11:59:30Z", "lastFetchedCommit": COMMIT}
    return {
        "metadata": {"name": "prod"},
        "spec": {**spec, **more.pop("spec", {})},
        "status": {**status, **more.pop("status", {})},
    }
