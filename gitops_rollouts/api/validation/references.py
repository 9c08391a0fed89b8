"""What a Rollout refers to, and what must hold of it (docs/behaviour.md §20 (B))."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gitops_rollouts.api.names import POD_TEMPLATE_HASH
from gitops_rollouts.api.rollout import RolloutSpec
from gitops_rollouts.api.validation.errors import FieldError


def named_services(spec: RolloutSpec) -> list[tuple[str, str]]:
    """The field path and the name of each Service that the spec names, in the order in which they are checked."""
    canary, blue_green = spec.strategy.canary, spec.strategy.blue_green
    named: list[tuple[str, str]] = []
    if blue_green is not None:
        path = "spec.strategy.blueGreen"
        named.append((f"{path}.activeService", blue_green.active_service))
        if blue_green.preview_service:
            named.append((f"{path}.previewService", blue_green.preview_service))
    if canary is not None:
        path = "spec.strategy.canary"
        pairs = [(f"{path}.stableService", canary.stable_service), (f"{path}.canaryService", canary.canary_service)]
        if canary.ping_pong is not None:
            pairs.append((f"{path}.pingPong.pingService", canary.ping_pong.ping_service))
            pairs.append((f"{path}.pingPong.pongService", canary.ping_pong.pong_service))
        named += [(where, name) for where, name in pairs if name]
    return named


def check_service_selector(
    template: Mapping[str, Any] | None, path: str, name: str, selector: Mapping[str, Any]
) -> list[FieldError]:
    """Every label that the Service selects by, except the hash, is in the pod template."""
    labels = _labels(template)
    return [
        FieldError(path, f'Service "{name}" has unmatch label "{key}" in rollout', name)
        for key in sorted(selector)
        if key != POD_TEMPLATE_HASH and labels.get(key) != selector[key]
    ]


def _labels(template: Mapping[str, Any] | None) -> Mapping[str, Any]:
    metadata = (template or {}).get("metadata")
    labels = metadata.get("labels") if isinstance(metadata, Mapping) else None
    return labels if isinstance(labels, Mapping) else {}
