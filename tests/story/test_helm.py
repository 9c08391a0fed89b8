"""A Rollout out of a chart: the same loop, decisions in an overlay, and a cluster that is lost in mid-canary."""

from __future__ import annotations

import pytest

from helm_program import helm as helm  # noqa: PLC0414 - a fixture
from story.loop import MANIFEST, OWN, SERVICES, Loop, wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.long, pytest.mark.usefixtures("helm")]

RELEASE = "chart: ../../charts/web\nvaluesFiles: [values.yaml]\n"
VALUES = """\
# Dana's, comments and all
image:
  repository: ghcr.io/acme/web   # never changes
  tag: v1                        # every release changes this
"""


def templated(text: str) -> str:
    """A manifest with what a chart puts in."""
    filled = text.format(namespace="{{ .Release.Namespace }}", tag="TAG", deadline=600)
    return filled.replace("ghcr.io/acme/web:TAG", "{{ .Values.image.repository }}:{{ .Values.image.tag }}")


def test_check_19_from_a_chart_in_git_to_the_cluster_and_back(loop: Loop) -> None:
    """docs/decisions.md §1.3 overlay, §1.5 rebuild, §3 R1 (a revert of the values in mid-canary), §8 number 19."""
    values = "envs/prod/values.yaml"
    loop.write("charts/web/Chart.yaml", "apiVersion: v2\nname: web\nversion: 1.0.0\n")
    loop.write("charts/web/templates/web.yaml", templated(MANIFEST))
    loop.write("charts/web/templates/services.yaml", templated(SERVICES))
    loop.write("envs/prod/gor-helm.yaml", RELEASE)
    loop.write(values, VALUES)
    loop.push("a chart")
    loop.start()
    loop.create_sync()
    loop.wait_phase("Healthy", "v1")

    def annotation(key: str) -> str:
        return str(loop.rollout()["metadata"]["annotations"].get(OWN + key, ""))

    def gate(index: int) -> str:
        suffix = f"-g{index}"
        wait_until(lambda: any(one.endswith(suffix) for one in loop.request_branches()), f"the branch of gate {index}")
        return loop.merge(next(one for one in loop.request_branches() if one.endswith(suffix)))

    wait_until(lambda: loop.in_overlay(f"{OWN}stable"), "the record in the overlay")
    record = wait_until(lambda: annotation("stable"), "the record on the live object")
    loop.pull()
    loop.gor("validate", "envs/prod")
    shown = loop.gor("diff", "envs/prod", "--target-namespace", loop.namespace, "--target", loop.sync_name, check=False)
    assert shown.returncode == 0, shown.stdout + shown.stderr

    # a release, a gate by merge, and the cluster is lost: the old version first, then the canary with its decisions
    loop.gor("set-image", "web", "web=ghcr.io/acme/web:v2", "-n", loop.namespace)
    loop.wait_gate(1, "v2")
    loop.pull()
    released = loop.git("rev-parse", "HEAD")
    assert (loop.clone / values).read_text() == VALUES.replace("tag: v1", "tag: v2")
    gate(1)
    loop.wait_gate(3, "v2")
    wait_until(lambda: annotation("promote"), "the approval on the live object")
    assert loop.in_overlay(f"{OWN}promote")
    loop.cluster.delete(loop.rollout_path)
    wait_until(lambda: "rebuild=yes" in annotation("applied"), "the recorded version to be brought up")
    loop.wait_gate(3, "v2", seconds=120)
    wait_until(lambda: loop.pods_by_image() == {"v1": 2, "v2": 3}, loop.describe)

    # a revert of the values is a rollback
    loop.revert(released)
    loop.wait_phase("Healthy", "v1")
    wait_until(lambda: loop.pods_by_image() == {"v1": 5}, "all pods to be v1's")
    assert annotation("stable").split()[0] == record.split()[0]

    # the same again is a new attempt, which goes through
    loop.write(values, VALUES.replace("tag: v1", "tag: v2"))
    loop.push("v2 again")
    loop.wait_gate(1, "v2")
    loop.gor("promote", "web", "--full", "-n", loop.namespace)
    loop.wait_phase("Healthy", "v2")
    wait_until(lambda: annotation("stable") != record and loop.in_overlay(annotation("stable")), "the new record")
    wait_until(lambda: not loop.in_overlay(f"{OWN}promote"), "the approval to be taken out")
    loop.settled(seconds=4)
    assert "gitops-rollouts.io" not in loop.git("show", "origin/main:charts/web/templates/web.yaml")
    assert loop.git("diff", "--name-only", released, "origin/main", "--", "charts", "envs") == ""
