"""A Rollout on a real API server that waits at a gate; its status is written by hand, no engine runs."""

from __future__ import annotations

import subprocess
from typing import Any

from cli.command import gor
from gitops_rollouts.local.api_server import ApiServer
from gitops_rollouts.local.cluster import Cluster

MERGE = "application/merge-patch+json"
SPEC = {
    "replicas": 2,
    "selector": {"matchLabels": {"app": "web"}},
    "template": {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "web", "image": "ghcr.io/acme/web:v2"}]},
    },
    "strategy": {"canary": {"steps": [{"setWeight": 50}, {"pause": {}}]}},
}
PAUSED = {
    "observedGeneration": "1",
    "phase": "Paused",
    "message": "CanaryPauseStep",
    "currentStepIndex": 1,
    "controllerPause": True,
    "pauseConditions": [{"reason": "CanaryPauseStep", "startTime": "2026-05-04T11:50:00Z"}],
    "currentPodHash": "new",
    "stableRS": "old",
    "replicas": 2,
    "updatedReplicas": 1,
    "availableReplicas": 2,
}


class Shop:
    """One namespace with a Rollout that waits at a gate."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.api: ApiServer = cluster.api_server()
        self.kubeconfig = cluster.kubeconfig
        self.namespace = namespace
        self.rollouts = f"/apis/argoproj.io/v1alpha1/namespaces/{namespace}/rollouts"
        self.api.request("POST", self.rollouts, {**self._head("Rollout", "argoproj.io/v1alpha1"), "spec": SPEC})
        self.status(PAUSED)

    def _head(self, kind: str, api_version: str) -> dict[str, Any]:
        return {"apiVersion": api_version, "kind": kind, "metadata": {"name": "web"}}

    def status(self, status: dict[str, Any]) -> None:
        self.api.request("PATCH", f"{self.rollouts}/web/status", {"status": status}, content_type=MERGE)

    def add_replica_set(self, pod_hash: str, revision: int, image: str = "ghcr.io/acme/web:v2") -> None:
        owner = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "web", "controller": True}
        uid = self.api.request("GET", f"{self.rollouts}/web")["metadata"]["uid"]
        labels = {"app": "web", "rollouts-pod-template-hash": pod_hash}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "web", "image": image}]}}
        body = {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": f"web-{pod_hash}",
                "labels": labels,
                "annotations": {"rollout.argoproj.io/revision": str(revision)},
                "ownerReferences": [{**owner, "uid": uid}],
            },
            "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template},
        }
        self.api.request("POST", f"/apis/apps/v1/namespaces/{self.namespace}/replicasets", body)

    def gor(self, *argv: str, **more: Any) -> subprocess.CompletedProcess[str]:
        return gor(*argv, "-n", self.namespace, KUBECONFIG=str(self.kubeconfig), **more)
