"""A kustomized Rollout: the same loop, with the lines in an overlay (docs/decisions.md §1.3)."""

from __future__ import annotations

import pytest
import yaml

from story.loop import MANIFEST, SERVICES, Loop, wait_until

pytestmark = pytest.mark.cluster

KUSTOMIZATION = """\
resources: [web.yaml, services.yaml]
images:
  - name: ghcr.io/acme/web
    newTag: v1
"""


def applied(loop: Loop) -> dict[str, str]:
    """T and S that sync applied last."""
    stamp = loop.rollout()["metadata"]["annotations"]["gitops-rollouts.io/applied"]
    tokens = dict(token.split("=", 1) for token in stamp.split())
    return {key: tokens[key] for key in ("template", "steps", "intent")}


def test_check_19_decisions_of_a_kustomized_rollout_land_in_the_overlay(loop: Loop) -> None:
    """docs/decisions.md §1.3: T stays what it was, and the live object shows the lines as a literal one would."""
    loop.write("envs/prod/web.yaml", MANIFEST.format(namespace=loop.namespace, tag="none", deadline=600))
    loop.write("envs/prod/services.yaml", SERVICES.format(namespace=loop.namespace))
    loop.write("envs/prod/kustomization.yaml", KUSTOMIZATION)
    loop.push("kustomize")
    loop.start()
    loop.create_sync()
    loop.wait_phase("Healthy", "v1")

    wait_until(lambda: loop.in_overlay("gitops-rollouts.io/stable"), "the record in the overlay")
    before = wait_until(
        lambda: loop.rollout()["metadata"]["annotations"]["gitops-rollouts.io/stable"], "the record on the live object"
    )
    assert before.startswith("template=")

    loop.gor("set-image", "web", "web=ghcr.io/acme/web:v2", "-n", loop.namespace)
    loop.wait_gate(1, "v2")
    loop.pull()
    assert "newTag: v2" in (loop.clone / "envs/prod/kustomization.yaml").read_text()
    branch = wait_until(loop.request_branches, "the request")[0]
    stamped = applied(loop)
    loop.merge(branch)
    loop.wait_gate(3, "v2")
    assert applied(loop) == stamped, "the decision changed neither T nor S"
    live = loop.rollout()["metadata"]["annotations"]
    overlay = yaml.safe_load(loop.git("show", f"origin/main:.rollouts/{loop.sync_name}/{loop.namespace}/web.yaml"))
    written = overlay["metadata"]["annotations"]
    assert set(written) == {"gitops-rollouts.io/promote", "gitops-rollouts.io/stable"}
    assert {key: live[key] for key in written} == written
    loop.gor("promote", "web", "-n", loop.namespace)
    loop.wait_phase("Healthy", "v2")
    wait_until(
        lambda: loop.rollout()["metadata"]["annotations"]["gitops-rollouts.io/stable"] != before, "the new record"
    )
    assert not loop.in_overlay("gitops-rollouts.io/promote")
    assert "gitops-rollouts.io" not in loop.git("show", "origin/main:envs/prod/web.yaml")
