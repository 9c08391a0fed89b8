"""The stable Service just after a promotion (docs/behaviour.md §11.10).

What sends traffic to a Service learns of its pods some time after its selector has changed. Until then the Service
leads to the former version, or with dynamicStableScale to nobody, while the canary's has led to the new pods all along.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from gitops_rollouts.engine.scene import Scene

SETTLE: Final = timedelta(seconds=5)
"""Longer than endpoints and the configuration of proxies take in a cluster that works."""


def settles(scene: Scene) -> timedelta | None:
    """How long the weight stays where it is; None if it may go to the stable Service."""
    recorded, canary = scene.recorded, scene.canary
    if not scene.promoted or canary.ping_pong is not None or scene.new.available == 0 or recorded is None:
        return None
    if recorded.canary.weight <= 0 or recorded.canary.pod_template_hash != scene.pod_hash:
        return None
    if not canary.canary_service or canary.stable_service not in scene.observed.services:
        return None
    if scene.observed.selected(canary.stable_service) != scene.pod_hash:
        return SETTLE
    duration = scene.status.duration
    finished = None if duration is None else duration.finished_at
    if finished is None or not timedelta() <= scene.now - finished < SETTLE:
        return None
    return SETTLE - (scene.now - finished)
