"""previewMetadata and activeMetadata: labels that go with the role, not with the version (docs/behaviour.md §13)."""

from __future__ import annotations

import json
from typing import Any

from engine.world import World, WorldReplicaSet, deployed, manifest
from gitops_rollouts.api.names import EPHEMERAL_METADATA

ACTIVE = {"labels": {"role": "active"}, "annotations": {"pager": "yes"}}
PREVIEW = {"labels": {"role": "preview"}}
STRATEGY: dict[str, Any] = {
    "activeService": "active",
    "previewService": "preview",
    "autoPromotionEnabled": False,
    "activeMetadata": ACTIVE,
    "previewMetadata": PREVIEW,
}


def roles(kept: WorldReplicaSet) -> set[tuple[str | None, str | None]]:
    """What the pods carry: role and pager."""
    return {(pod.labels.get("role"), pod.annotations.get("pager")) for pod in kept.pods}


def recorded(kept: WorldReplicaSet) -> Any:
    return json.loads(kept.spec.annotations.get(EPHEMERAL_METADATA, "{}"))


def at_the_pause() -> World:
    world = deployed(manifest(replicas=2, blue_green=STRATEGY))
    world.loads_pods = True
    world.set_image("web:v2")
    world.settle()
    assert world.status["message"] == "BlueGreenPause"
    return world


def test_a_version_changes_its_labels_with_its_role() -> None:
    world = at_the_pause()
    old, new = world.by_image("web:v1"), world.by_image("web:v2")
    assert (recorded(old), recorded(new)) == (ACTIVE, PREVIEW)
    assert (roles(old), roles(new)) == ({("active", "yes")}, {("preview", None)})
    names = {pod.name for pod in new.pods}
    world.patch_status(pauseConditions=None)
    world.settle()
    assert world.status["phase"] == "Healthy"
    assert recorded(new) == ACTIVE
    assert roles(new) == {("active", "yes")}
    assert {pod.name for pod in new.pods} == names, "relabelled, not replaced"


def test_an_aborted_preview_never_looks_like_the_active_version() -> None:
    world = at_the_pause()
    world.patch_status(abort=True)
    world.settle()
    assert roles(world.by_image("web:v1")) == {("active", "yes")}
    assert recorded(world.by_image("web:v2")) != ACTIVE
