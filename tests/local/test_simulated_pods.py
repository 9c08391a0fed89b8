"""A Pod of the local control plane does what its manifest says."""

from __future__ import annotations

from typing import Any

import pytest

from gitops_rollouts.errors import KubeError
from gitops_rollouts.local.cluster import Cluster
from waiting import wait_for


class Pods:
    """Pods and Jobs of one namespace."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.api = cluster.api_server()
        self.base = f"/api/v1/namespaces/{namespace}"
        self.jobs = f"/apis/batch/v1/namespaces/{namespace}/jobs"

    def create(self, name: str, image: str = "web:v1", *, delay: int = 0, gates: tuple[str, ...] = ()) -> None:
        container: dict[str, Any] = {"name": "app", "image": image}
        if delay:
            container["readinessProbe"] = {"initialDelaySeconds": delay, "tcpSocket": {"port": 80}}
        spec = {"containers": [container], "readinessGates": [{"conditionType": gate} for gate in gates]}
        self.api.request("POST", f"{self.base}/pods", {"metadata": {"name": name}, "spec": spec})

    def get(self, name: str) -> dict[str, Any]:
        return self.api.request("GET", f"{self.base}/pods/{name}")

    def condition(self, name: str, kind: str = "Ready") -> str:
        conditions = self.get(name).get("status", {}).get("conditions", [])
        return next((each["status"] for each in conditions if each["type"] == kind), "")

    def wait_ready(self, name: str, wanted: str = "True") -> None:
        wait_for(lambda: self.condition(name) == wanted, what=f"{name} Ready={wanted}")

    def create_job(self, name: str, result: str | None) -> None:
        labels = {"gitops-rollouts.io/job-result": result} if result else {}
        pod = {"restartPolicy": "Never", "containers": [{"name": "app", "image": "check:v1"}]}
        spec = {"backoffLimit": 0, "template": {"metadata": {"labels": labels}, "spec": pod}}
        self.api.request("POST", self.jobs, {"metadata": {"name": name}, "spec": spec})

    def job_status(self, name: str) -> dict[str, Any]:
        return dict(self.api.request("GET", f"{self.jobs}/{name}").get("status", {}))


@pytest.fixture
def pods(control_plane: Cluster, namespace: str) -> Pods:
    return Pods(control_plane, namespace)


def container_state(pod: dict[str, Any]) -> dict[str, Any]:
    return dict(pod["status"]["containerStatuses"][0])


def test_a_pod_is_placed_has_an_address_and_is_ready(pods: Pods) -> None:
    pods.create("web")
    pods.wait_ready("web")
    pod = pods.get("web")
    assert pod["spec"]["nodeName"] in {"node-1", "node-2", "node-3"}
    assert pod["status"]["phase"] == "Running"
    assert pod["status"]["podIP"]
    assert container_state(pod)["ready"] is True


@pytest.mark.parametrize(
    "image", ["web:broken", "web:broken-2", "registry.example.com:5000/web:broken", "web:broken@sha256:" + "a" * 64]
)
def test_a_broken_image_runs_and_is_never_ready(pods: Pods, image: str) -> None:
    pods.create("bad", image)
    pods.wait_ready("bad", "False")
    # A later pod, and one with a delay, are ready: the broken one had its time.
    pods.create("good")
    pods.create("slow", delay=1)
    pods.wait_ready("good")
    pods.wait_ready("slow")
    pod = pods.get("bad")
    assert pods.condition("bad") == "False"
    assert pods.condition("bad", "ContainersReady") == "False"
    assert pod["status"]["phase"] == "Running"
    assert "running" in container_state(pod)["state"]


@pytest.mark.parametrize("image", ["web:unbroken", "web:brokenish", "broken:v1", "broken/web:v1"])
def test_an_image_that_only_looks_broken_is_not(pods: Pods, image: str) -> None:
    pods.create("web", image)
    pods.wait_ready("web")


def test_a_missing_image_is_never_pulled(pods: Pods) -> None:
    pods.create("bad", "web:missing")
    pods.wait_ready("bad", "False")
    pod = pods.get("bad")
    assert pod["status"]["phase"] == "Pending"
    assert container_state(pod)["state"]["waiting"]["reason"] == "ErrImagePull"


def test_readiness_waits_for_the_probes_initial_delay(pods: Pods) -> None:
    """Order, not time: the one with the longer delay is created first and is ready last."""
    pods.create("slow", delay=3)
    pods.create("quick")
    pods.wait_ready("quick")
    assert pods.condition("slow") != "True"
    pods.create("medium", delay=1)
    pods.wait_ready("medium")
    assert pods.condition("slow") == "False"
    pods.wait_ready("slow")
    assert container_state(pods.get("slow"))["ready"] is True


def test_a_readiness_gate_is_left_to_whoever_owns_it(pods: Pods) -> None:
    pods.create("web", gates=("example.com/registered",))
    wait_for(lambda: pods.condition("web", "ContainersReady") == "True", what="containers ready")
    assert pods.condition("web") == "False"
    for status in ("True", "False", "True"):
        gate = {"type": "example.com/registered", "status": status}
        pods.api.request(
            "PATCH",
            f"{pods.base}/pods/web/status",
            {"status": {"conditions": [gate]}},
            content_type="application/strategic-merge-patch+json",
        )
        pods.wait_ready("web", status)


def test_jobs_end_as_their_pods_label_says(pods: Pods) -> None:
    for name, result in (("endless", "runs-forever"), ("bad", "failed"), ("good", "succeeded"), ("plain", None)):
        pods.create_job(name, result)
    wait_for(lambda: pods.job_status("good").get("succeeded") == 1, what="the Job to succeed")
    wait_for(lambda: pods.job_status("plain").get("succeeded") == 1, what="a Job without the label to succeed")
    wait_for(lambda: pods.job_status("bad").get("failed") == 1, what="the Job to fail")
    wait_for(lambda: pods.job_status("endless").get("active") == 1, what="the Job to run")
    assert "completionTime" not in pods.job_status("endless")


def test_a_deleted_pod_is_gone_without_its_grace_period(pods: Pods) -> None:
    pods.create("web")
    pods.wait_ready("web")
    pods.api.request("DELETE", f"{pods.base}/pods/web")

    def is_gone() -> bool:
        try:
            pods.get("web")
        except KubeError as error:
            return error.status == 404
        return False

    wait_for(is_gone, deadline=10, what="the pod to be gone")


def test_controllers_run_deployments_garbage_and_namespaces(pods: Pods) -> None:
    """What a rollout leans on: ReplicaSets make pods, owners take their dependents along."""
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "app", "image": "web:v1"}]}}
    spec = {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    base = pods.base.replace("/api/v1", "/apis/apps/v1")
    pods.api.request("POST", f"{base}/replicasets", {"metadata": {"name": "web"}, "spec": spec})
    wait_for(
        lambda: pods.api.request("GET", f"{base}/replicasets/web")["status"].get("availableReplicas") == 3,
        what="three available replicas",
    )
    body = {"propagationPolicy": "Background"}
    pods.api.request("DELETE", f"{base}/replicasets/web", body)
    wait_for(lambda: not pods.api.request("GET", f"{pods.base}/pods")["items"], what="its pods to be collected")
