"""The loop with a template that stands in a Deployment (docs/behaviour.md §2.2, docs/decisions.md §1.1)."""

from __future__ import annotations

from typing import Any

import pytest

from story.loop import MANIFEST, SERVICES, Loop, wait_until

pytestmark = pytest.mark.cluster
WORKLOAD = """\
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: {namespace}}}
spec:
  replicas: 3
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      containers:
        - name: web
          image: ghcr.io/acme/web:v1   # the only line that a release changes
"""
REFERENCE = "  workloadRef: {apiVersion: apps/v1, kind: Deployment, name: web, scaleDown: progressively}\n"


def rollout_manifest(namespace: str) -> str:
    whole = MANIFEST.format(namespace=namespace, tag="none", deadline=600)
    before, rest = whole.split("  selector:")
    return f"{before}{REFERENCE}  strategy:{rest.split('  strategy:')[1]}"


def test_a_deployment_in_git_is_brought_out_step_by_step(loop: Loop) -> None:
    loop.write("envs/prod/web.yaml", rollout_manifest(loop.namespace))
    loop.write("envs/prod/workload.yaml", WORKLOAD.format(namespace=loop.namespace))
    loop.write("envs/prod/services.yaml", SERVICES.format(namespace=loop.namespace))
    loop.push("first")
    loop.start()
    loop.create_sync()
    path = f"/apis/apps/v1/namespaces/{loop.namespace}/deployments/web"

    def deployment() -> dict[str, Any]:
        return loop.cluster.get(path)

    def reached(phase: str, sizes: dict[str, int], step: int) -> None:
        def there() -> bool:
            now = loop.status()
            same = now.get("phase") == phase and now.get("currentStepIndex") == step
            return same and loop.pods_by_image() == sizes and deployment()["spec"]["replicas"] == 0

        wait_until(there, lambda: f"{phase} with {sizes}; is {loop.describe()}", 90)

    reached("Healthy", {"v1": 5}, 4)
    record = wait_until(lambda: loop.lines().get("stable"), "the record of v1")

    loop.gor("set-image", "web", "web=ghcr.io/acme/web:v2", "-n", loop.namespace)
    reached("Paused", {"v1": 4, "v2": 1}, 1)
    loop.pull()
    assert "acme/web:v2   # the only line" in (loop.clone / "envs/prod/workload.yaml").read_text()
    assert loop.lines()["stable"] == record
    branch = wait_until(loop.request_branches, "the request")[0]
    loop.merge(branch)
    reached("Paused", {"v1": 2, "v2": 3}, 3)
    loop.gor("promote", "web", "-n", loop.namespace)
    reached("Healthy", {"v2": 5}, 4)
    wait_until(lambda: loop.lines().get("stable") not in (None, record), "the record of v2")
    assert "replicas: 3" in (loop.clone / "envs/prod/workload.yaml").read_text(), "Git isn't told of the retreat"

    # an edit of the live workload is one outside Git: nothing of it is brought out. Not while sync applies the record,
    # which would put the workload right in passing
    loop.settled()
    containers = [{"name": "web", "image": "ghcr.io/acme/web:v9"}]
    loop.cluster.merge(path, {"spec": {"template": {"spec": {"containers": containers}}}})

    def answered() -> bool:
        """Held, as long as sync hasn't put the template of the tree back."""
        held = next((one for one in loop.status()["conditions"] if one["type"] == "HeldByGit"), None)
        image = str(deployment()["spec"]["template"]["spec"]["containers"][0]["image"])
        return image.endswith(":v2") or (held is not None and held["reason"] == "EditedOutsideGit")

    wait_until(answered, lambda: f"held or put right; is {loop.describe()}, with {deployment()['spec']['template']}")
    stamp = loop.rollout()["metadata"]["annotations"]["gitops-rollouts.io/applied"]
    loop.cluster.merge(loop.rollout_path, {"metadata": {"labels": {"touched": "yes"}}})
    wait_until(answered, "still held, or put right")
    assert loop.rollout()["metadata"]["annotations"]["gitops-rollouts.io/applied"] == stamp, "it was stamped as Git's"
    assert loop.pods_by_image() == {"v2": 5}
