"""The texts of the events about an Experiment (docs/behaviour.md §19). Clients match on them."""

from __future__ import annotations

from gitops_rollouts.api.analysis import ERROR, FAILED, INCONCLUSIVE
from gitops_rollouts.engine.plan import EmitEvent

_BAD = frozenset({ERROR, FAILED, INCONCLUSIVE})


def replica_set_created(name: str) -> EmitEvent:
    """A template got its ReplicaSet."""
    return EmitEvent("NewReplicaSetCreated", f"Created ReplicaSet {name}")


def replica_set_refused(message: str) -> EmitEvent:
    """A ReplicaSet could not be created."""
    return EmitEvent("ReplicaSetCreateError", message, "Warning")


def scaled(name: str, before: int, after: int) -> EmitEvent:
    """A ReplicaSet got another size."""
    direction = "up" if after > before else "down"
    return EmitEvent("ScalingReplicaSet", f"Scaled {direction} ReplicaSet {name} from {before} to {after}")


def template_moved(name: str, before: str, after: str, message: str) -> EmitEvent:
    """A template came to another status."""
    return _moved(f"Template{after}", f"Template '{name}'", before, after, message)


def run_moved(analysis: str, before: str, after: str, message: str) -> EmitEvent:
    """The run of an analysis came to another phase."""
    return _moved(f"AnalysisRun{after}", f"AnalysisRun '{analysis}'", before, after, message)


def terminating(analysis: str) -> EmitEvent:
    """The run of an analysis is asked to end."""
    return EmitEvent("AnalysisRunTerminating", f"Terminating AnalysisRun '{analysis}'")


def moved(before: str, after: str) -> EmitEvent:
    """The Experiment came to another phase."""
    return _moved(f"Experiment{after}", "Experiment", before, after, "")


def invalid(name: str, message: str) -> EmitEvent:
    """The spec can't be carried out."""
    return EmitEvent("InvalidSpec", f'The Experiment "{name}" is invalid: {message}', "Warning")


def _moved(reason: str, what: str, before: str, after: str, message: str) -> EmitEvent:
    text = f"{what} transitioned from {before} -> {after}"
    return EmitEvent(reason, f"{text}: {message}" if message else text, "Warning" if after in _BAD else "Normal")
