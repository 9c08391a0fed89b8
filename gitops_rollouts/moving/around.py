"""What else knows a Deployment: autoscalers that size it, budgets and Services that select its pods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from gitops_rollouts.api.meta import LabelSelector
from gitops_rollouts.moving.deployment import Wanted

_TARGETS: Final = ("scaleTargetRef", "targetRef")
"""Where a HorizontalPodAutoscaler, a ScaledObject, a VerticalPodAutoscaler says what it sizes."""


def notes_around(deployment: Mapping[str, Any], others: Iterable[Mapping[str, Any]], wanted: Wanted) -> list[str]:
    """A sentence for each object of the same namespace that has to change, or that may stay as it is."""
    name = str(_map(deployment.get("metadata")).get("name") or "")
    labels = _map(_map(_map(_map(deployment.get("spec")).get("template")).get("metadata")).get("labels"))
    changes: list[str] = []
    stays: list[str] = []
    for raw in others:
        kind, other = str(raw.get("kind") or ""), str(_map(raw.get("metadata")).get("name") or "")
        spec = _map(raw.get("spec"))
        for key in _TARGETS:
            target = _map(spec.get(key))
            if target.get("kind", "Deployment") == "Deployment" and target.get("name") == name:
                changes.append(f"{kind} {other}: set spec.{key} to argoproj.io/v1alpha1 Rollout {name}{_when(wanted)}")
        if kind == "PodDisruptionBudget" and _selects(spec.get("selector"), labels):
            stays.append(f"{kind} {other} selects the pods of both: it may stay as it is")
        if kind == "Service" and spec.get("selector") and _map(spec["selector"]).items() <= labels.items():
            stays.append(f"{kind} {other} selects the pods of both: it may stay as it is")
    return changes + stays


def _when(wanted: Wanted) -> str:
    if wanted.way == "reference" and wanted.scale_down != "never":
        return " before the Rollout is applied, or it scales the Deployment up again"
    return " once the Rollout is Healthy"


def _selects(selector: Any, labels: Mapping[str, Any]) -> bool:
    if not isinstance(selector, Mapping):
        return False
    try:
        return LabelSelector.model_validate(selector).matches({str(k): str(v) for k, v in labels.items()})
    except ValueError:
        return False


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
