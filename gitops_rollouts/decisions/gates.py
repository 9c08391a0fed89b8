"""Where a Rollout waits for a decision: which gates it has, and at which one it stands (docs/decisions.md §1.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from gitops_rollouts.api.analysis import INCONCLUSIVE as _INCONCLUSIVE
from gitops_rollouts.api.rollout import Rollout, RolloutSpec
from gitops_rollouts.api.steps import CanaryStep
from gitops_rollouts.decisions.grammar import ACTIVE

Gate = int | Literal["active"]
"""The index of the step that is being released, or `ACTIVE`, the one gate of blue-green."""

STEP_PAUSE: Final = "CanaryPauseStep"
PROMOTION_PAUSE: Final = "BlueGreenPause"
_UNDECIDED: Final = "InconclusiveAnalysisRun"
INCONCLUSIVE: Final = frozenset({_UNDECIDED, "InconclusiveExperiment"})
"""Reasons of pauses that no step asked for: an analysis didn't come to a verdict (docs/behaviour.md §11.7)."""


def read_gate(text: str) -> Gate | None:
    """A gate from its text in a branch' name or in a status; None if it is none."""
    if text == ACTIVE:
        return ACTIVE
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 4 else None


def has_active_gate(spec: RolloutSpec) -> bool:
    """Whether blue-green needs a person: only ``autoPromotionEnabled: false`` says so (docs/behaviour.md §2.3)."""
    blue_green = spec.strategy.blue_green
    return blue_green is not None and not blue_green.auto_promotion


def asks_person(rollout: Mapping[str, Any]) -> bool:
    """The same of a manifest, or of a live object's spec in such a shape. Total."""
    value: Any = rollout
    for key in ("spec", "strategy", "blueGreen"):
        value = value.get(key) if isinstance(value, Mapping) else None
    return isinstance(value, Mapping) and value.get("autoPromotionEnabled") is False


def is_checked(rollout: Mapping[str, Any]) -> bool:
    """Whether an analysis precedes blue-green's switch; without a verdict it asks a person (§1.1). Total."""
    value: Any = rollout
    for key in ("spec", "strategy", "blueGreen"):
        value = value.get(key) if isinstance(value, Mapping) else None
    return isinstance(value, Mapping) and bool(value.get("prePromotionAnalysis"))


def gates_of(spec: RolloutSpec) -> tuple[Gate, ...]:
    """The gates that every update comes to, in their order."""
    if spec.strategy.blue_green is not None:
        return (ACTIVE,) if has_active_gate(spec) else ()
    return tuple(index for index, step in enumerate(spec.steps) if step.is_indefinite_pause)


def gate_at(rollout: Rollout) -> Gate | None:
    """The gate at which the Rollout stands; None: it goes on by itself, or something else holds it.

    A background analysis without a verdict makes a gate of any step, and of the end: the number of steps.
    """
    spec, status = rollout.spec, rollout.status
    reasons = {pause.reason for pause in status.pause_conditions}
    if spec.strategy.blue_green is not None:
        shown = status.blue_green
        pre = None if shown.active_selector == status.current_pod_hash else shown.pre_promotion_analysis_run_status
        undecided = _UNDECIDED in reasons and pre is not None and pre.status == _INCONCLUSIVE
        return ACTIVE if undecided or (PROMOTION_PAUSE in reasons and has_active_gate(spec)) else None
    index = status.current_step_index or 0
    beside = status.canary.current_background_analysis_run_status
    if beside is not None and beside.status == _INCONCLUSIVE and _UNDECIDED in reasons:
        return index if 0 <= index <= len(spec.steps) else None
    if status.current_step_index is None or not 0 <= index < len(spec.steps):
        return None
    return index if _waits(spec.steps[index], reasons) else None


def _waits(step: CanaryStep, reasons: set[str]) -> bool:
    if step.is_indefinite_pause:
        return STEP_PAUSE in reasons
    return step.kind in ("analysis", "experiment") and not INCONCLUSIVE.isdisjoint(reasons)


def percent(spec: RolloutSpec, weight: int) -> int:
    """A weight as people read it: of 100, whatever the router's total is (docs/behaviour.md §2.6)."""
    canary = spec.strategy.canary
    routing = canary.traffic_routing if canary is not None else None
    most = 100 if routing is None else routing.max_weight
    return round(100 * weight / most) if most > 0 else weight


def weights(spec: RolloutSpec, gate: int) -> tuple[int, int]:
    """The canary's weight before and after a gate, in percent."""
    before = [step.set_weight for step in spec.steps[:gate] if step.set_weight is not None]
    after = [step.set_weight for step in spec.steps[gate + 1 :] if step.set_weight is not None]
    return (percent(spec, before[-1]) if before else 0), (percent(spec, after[0]) if after else 100)


def wanted_weight(rollout: Rollout) -> int:
    """The weight of the last setWeight step that was reached; 100 once all are done, 0 for an aborted update."""
    status, steps = rollout.status, rollout.spec.steps
    if status.stable_rs in ("", status.current_pod_hash):
        return 100
    if status.abort:
        return 0
    index = status.current_step_index
    if index is None or index >= len(steps):
        return 100
    reached = [step.set_weight for step in steps[: index + 1] if step.set_weight is not None]
    return percent(rollout.spec, reached[-1]) if reached else 0
