"""The verbs on a Rollout that no GitSync applies: the same requests as the API's other clients send.

Each function is pure: from the Rollout as it is to the patches that are to be sent, in their order
(docs/behaviour.md §21). No patch: there is nothing to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from gitops_rollouts.api.meta import Raw, format_time
from gitops_rollouts.api.rollout import ObjectRef, Rollout
from gitops_rollouts.errors import ConfigError, DecisionError

if TYPE_CHECKING:
    from gitops_rollouts.kube.client import Client

_CONTAINER_LISTS = ("containers", "initContainers", "ephemeralContainers")
_PLAIN = "gor promote without -c or -a goes on"


@dataclass(frozen=True, slots=True)
class Patch:
    """One PATCH of the Rollout, or of the workload that it refers to (``workload``)."""

    body: Raw | Sequence[Raw]
    kind: Literal["merge", "json"] = "merge"
    subresource: str = ""
    workload: ObjectRef | None = None


async def send(client: Client, rollout: Rollout, patches: Iterable[Patch], field_manager: str) -> None:
    """Send the patches in order; the first that fails ends it."""
    from gitops_rollouts.cli import workloads
    from gitops_rollouts.kube.resources import ROLLOUTS

    metadata = rollout.metadata
    for each in patches:
        resource, name = ROLLOUTS, metadata.name
        if each.workload is not None:
            resource, name = workloads.resource_of(each.workload), each.workload.name
        await client.patch(
            resource,
            metadata.namespace,
            name,
            each.body,
            kind=each.kind,
            subresource=each.subresource,
            field_manager=field_manager,
        )


def promote(rollout: Rollout) -> tuple[Patch, ...]:
    """End the pause, or skip the current step if nothing pauses."""
    patches: list[Patch] = []
    change = _promotion(rollout)
    if change:
        patches.append(_status(change))
    if rollout.spec.paused:
        patches.append(_spec({"paused": False}))
    return tuple(patches)


def _promotion(rollout: Rollout) -> Raw:
    status, steps = rollout.status, rollout.spec.steps
    following = min((status.current_step_index or 0) + 1, len(steps))
    run = status.canary.current_step_analysis_run_status
    if status.pause_conditions:
        if run is not None and run.status == "Inconclusive" and status.controller_pause:
            return {"pauseConditions": None, "controllerPause": False, "currentStepIndex": following}
        return {"pauseConditions": None}
    if steps and status.current_step_index is not None and status.current_step_index < len(steps):
        return {"pauseConditions": None, "currentStepIndex": following}
    return {}


def skipped(rollout: Rollout) -> str:
    """What a promotion leaves undone: a step that doesn't wait for anybody, such as a plugin's; "": nothing."""
    index, steps = rollout.status.current_step_index, rollout.spec.steps
    change = _promotion(rollout)
    if index is None or not 0 <= index < len(steps) or "currentStepIndex" not in change:
        return ""
    return f"step {index} ({steps[index].describe()}) was not done yet and is skipped"


def promote_full(rollout: Rollout) -> tuple[Patch, ...]:
    """Skip everything that is left."""
    status = rollout.status
    patches = [] if status.current_pod_hash == status.stable_rs else [_status({"promoteFull": True})]
    return (*patches, _spec({"paused": False})) if rollout.spec.paused else tuple(patches)


def skip(rollout: Rollout, *, every: bool) -> tuple[Patch, ...]:
    """Move on by one step, or past ``every`` step, whatever the current one waits for. Raises `DecisionError`."""
    if rollout.spec.strategy.blue_green is not None:
        raise DecisionError(
            f'"{rollout.metadata.name}" is blue-green: it has no steps to skip', remedy="leave -c, -a out"
        )
    steps, index = len(rollout.spec.steps), rollout.status.current_step_index or 0
    if not steps:
        raise DecisionError(f'"{rollout.metadata.name}" has no steps to skip', remedy=_PLAIN)
    following = steps if every else min(index + 1, steps)
    return (_status({"currentStepIndex": following}),) if following != index else ()


def abort(rollout: Rollout) -> tuple[Patch, ...]:
    """Go back to the stable version; nothing where that serves everything already."""
    return () if rollout.status.abort or is_stable(rollout) else (_status({"abort": True}),)


def is_stable(rollout: Rollout) -> bool:
    """Whether the present version is the stable one, so that nothing is on its way."""
    status = rollout.status
    promoted = status.stable_rs != "" and status.stable_rs == status.current_pod_hash
    return promoted and status.observed_generation == str(rollout.metadata.generation)


def retry(rollout: Rollout) -> tuple[Patch, ...]:
    """Try an aborted update again, from its first step."""
    return (_status({"abort": False}),) if rollout.status.abort else ()


def pause(rollout: Rollout) -> tuple[Patch, ...]:
    """Set ``spec.paused``."""
    return () if rollout.spec.paused else (_spec({"paused": True}),)


def resume(rollout: Rollout) -> tuple[Patch, ...]:
    """Clear ``spec.paused``."""
    return (_spec({"paused": False}),) if rollout.spec.paused else ()


def restart(at: datetime) -> tuple[Patch, ...]:
    """Replace every Pod that is older than ``at``."""
    return (_spec({"restartAt": format_time(at)}),)


def undo(rollout: Rollout, replica_sets: Iterable[Raw], revision: int | None) -> tuple[Patch, ...]:
    """Put a former revision's template back, where the Rollout has it: in itself, or in the workload it refers to.

    ``replica_sets`` are those that the Rollout controls. Without ``revision`` the second newest is meant. What the
    engine put into a ReplicaSet for its pods' role, or to keep them off a node, stays out (docs/behaviour.md §13).
    Raises `DecisionError` if there is no such revision.
    """
    from gitops_rollouts.controllers.as_written import template_as_written

    by_revision = {_revision(each): each for each in replica_sets}
    by_revision.pop(0, None)
    if revision is None:
        former = sorted(by_revision)[:-1]
        if not former:
            raise DecisionError(f'No former revision of "{rollout.metadata.name}" is kept')
        revision = former[-1]
    if revision not in by_revision:
        kept = ", ".join(str(each) for each in sorted(by_revision)) or "none"
        remedy = f"these are kept: {kept}"
        raise DecisionError(f'Revision {revision} of "{rollout.metadata.name}" is not kept', remedy=remedy)
    template = template_as_written(by_revision[revision])
    if template == rollout.spec.template:
        return ()
    reference = rollout.spec.workload_ref
    change = {"op": "replace", "path": _template_path(reference), "value": template}
    return (Patch([change], kind="json", workload=reference),)


def set_image(rollout: Rollout, images: Mapping[str, str]) -> tuple[Patch, ...]:
    """Give containers, by name, another image; ``*`` means all. A test operation makes a race a refusal.

    Raises `ConfigError` for a container that the template doesn't have.
    """
    template, reference = rollout.spec.template or {}, rollout.spec.workload_ref
    spec = template.get("spec")
    operations: list[Raw] = []
    found: set[str] = set()
    for key in _CONTAINER_LISTS:
        listed = spec.get(key) if isinstance(spec, dict) else None
        for index, container in enumerate(listed if isinstance(listed, list) else []):
            name = str(container.get("name", "")) if isinstance(container, dict) else ""
            image = images.get(name, images.get("*"))
            if image is None:
                continue
            found.add(name)
            if container.get("image") != image:
                path = f"{_template_path(reference)}/spec/{key}/{index}"
                operations.append({"op": "test", "path": f"{path}/name", "value": name})
                operations.append({"op": "add", "path": f"{path}/image", "value": image})
    missing = sorted(set(images) - found - {"*"})
    if missing:
        raise ConfigError(f'The Rollout "{rollout.metadata.name}" has no container {", ".join(missing)}')
    return (Patch(operations, kind="json", workload=reference),) if operations else ()


def _revision(replica_set: Raw) -> int:
    from gitops_rollouts.api.names import REVISION

    annotations = (replica_set.get("metadata") or {}).get("annotations") or {}
    text = str(annotations.get(REVISION, ""))
    return int(text) if text.isdecimal() and len(text) < 10 else 0


def _template_path(reference: ObjectRef | None) -> str:
    return "/template" if reference is not None and reference.kind == "PodTemplate" else "/spec/template"


def _status(change: Raw) -> Patch:
    return Patch({"status": change}, subresource="status")


def _spec(change: Raw) -> Patch:
    return Patch({"spec": change})
