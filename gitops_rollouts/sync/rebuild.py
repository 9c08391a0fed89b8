"""A Rollout that is gone from the cluster in mid-update comes back as it was: the recorded version first, then HEAD's.

Source: docs/decisions.md §1.5. The engine knows nothing of it: while the recorded version comes up, that version's
manifest is what is applied and what the board shows. Where it is known from: a mark in the ``applied`` stamp.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from gitops_rollouts.decisions.identity import digests
from gitops_rollouts.decisions.referred import reference_of, with_template
from gitops_rollouts.decisions.state import Attempt, InGit, TargetSpec
from gitops_rollouts.errors import GitError, InputError
from gitops_rollouts.git.repository import Mirror
from gitops_rollouts.render.objects import Problem, RenderedObject
from gitops_rollouts.render.renderer import Renderer
from gitops_rollouts.sync.stamp import stamp_of

UNAVAILABLE = "StableUnavailable"
_REMEDY = "bring the commit back or sign a right stable line, or accept what is in Git by removing the line"


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the recorded commit says of a Rollout: its manifest, and what Git would say if it were HEAD's."""

    item: RenderedObject
    state: InGit
    workload: RenderedObject | None = None
    """What its template is taken from; None if it is its own."""


def in_update(state: InGit) -> bool:
    """Whether Git holds a record of another version than the one that the tree wants."""
    return state.record is not None and not state.recorded


def is_needed(state: InGit, live: Mapping[str, Any] | None) -> bool:
    """Whether the recorded version has to be brought up before HEAD's. ``live``: the Rollout, None if it is gone."""
    if not in_update(state):
        return False
    if live is None:
        return True
    stamp = stamp_of(live)
    return stamp is not None and stamp.rebuild and stamp.target == state.target and not is_proven(live)


def is_proven(live: Mapping[str, Any]) -> bool:
    """Whether what is live serves: Healthy, seen by the engine as it is now, and stable."""
    status, metadata = live.get("status"), live.get("metadata")
    if not isinstance(status, Mapping) or not isinstance(metadata, Mapping):
        return False
    stable = status.get("stableRS")
    return (
        status.get("phase") == "Healthy"
        and bool(stable)
        and stable == status.get("currentPodHash")
        and str(status.get("observedGeneration")) == str(metadata.get("generation"))
    )


def read_recorded(mirror: Mirror, renderer: Renderer, spec: TargetSpec, item: RenderedObject, state: InGit) -> Recorded:
    """Render the Rollout at the recorded commit. Blocks. Raises `InputError`, `GitError` where that isn't possible."""
    record = state.record
    if record is None:
        raise InputError("Git holds no record of a stable version")
    tree = mirror.tree(record.commit)
    rendered = renderer.render(tree, target=spec.name, path=spec.path, target_namespace=spec.target_namespace)
    found = next((one for one in rendered.objects if one.identity == item.identity), None)
    if found is None:
        raise InputError(f"the recorded commit {record.commit} doesn't hold this Rollout")
    reference = reference_of(found.raw, found.namespace)
    workload = next((one for one in rendered.objects if one.identity == reference), None)
    if reference is not None and workload is None:
        raise InputError(f"the recorded commit {record.commit} doesn't hold the {reference.kind} that it refers to")
    whole = found.raw if reference is None or workload is None else with_template(found.raw, workload.raw, reference)
    template, steps = digests(whole)
    if template != record.template:
        raise InputError(f"the recorded commit {record.commit} renders to another version than the recorded one")
    attempt = Attempt(template, steps, rendered.commit)
    was = replace(
        state, attempt=attempt, promote=None, approved_through=-1, full=False, abort=None, abort_commit="", abort_by="",
        lifted_abort="", former=(),
    )  # fmt: skip
    return Recorded(found, was, workload)


def instead(fresh: list[RenderedObject], recorded: Recorded, *, applied: bool) -> list[RenderedObject]:
    """What is sent with the recorded version in place of HEAD's; nothing of it if it is applied and comes up."""
    parts = [one for one in (recorded.workload, recorded.item) if one is not None]
    replaced = {one.identity for one in parts}
    return [one for one in fresh if one.identity not in replaced] + ([] if applied else parts)


def unavailable(item: RenderedObject, err: InputError | GitError) -> Problem:
    """The problem of a Rollout whose recorded version can't be had: it is held, never guessed."""
    message = f"{UNAVAILABLE}: {err.message}"
    return Problem(item.source.path, item.source.line, "", message, _REMEDY, item.identity)
