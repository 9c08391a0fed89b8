"""A Deployment as a Rollout: beside it by reference, or in its place by conversion (docs/behaviour.md §2.2).

Pure: from the Deployment's body and what is wanted to the Rollout's body and what a person has to know.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from gitops_rollouts.api.names import ARGO_API_VERSION, LAST_APPLIED_CONFIGURATION
from gitops_rollouts.api.validation import validate_rollout
from gitops_rollouts.errors import InputError

Raw = dict[str, Any]
Way = Literal["reference", "convert"]
ScaleDown = Literal["never", "onsuccess", "progressively"]

_CARRIED: Final = ("minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds", "paused")
_DEPLOYMENTS_OWN: Final = "deployment.kubernetes.io/"
_SERVER_METADATA: Final = ("name", "namespace", "labels", "annotations")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person asks for. ``steps``: of a canary. ``active`` makes it blue-green, with that Service."""

    way: Way = "reference"
    steps: tuple[Raw, ...] = ()
    active: str = ""
    preview: str = ""
    scale_down: ScaleDown = "onsuccess"


@dataclass(frozen=True, slots=True)
class Moved:
    """``rollout``: the manifest. ``notes``: what changes and what is to be done, in order, for people."""

    rollout: Raw
    notes: tuple[str, ...]


def is_deployment(raw: Any) -> bool:
    """Whether this is an ``apps`` Deployment."""
    group = str(raw.get("apiVersion") or "").rpartition("/")[0] if isinstance(raw, Mapping) else ""
    return group == "apps" and raw.get("kind") == "Deployment"


def move(deployment: Mapping[str, Any], wanted: Wanted) -> Moved:
    """The Rollout for a Deployment. Raises `InputError` for a Deployment that no Rollout can stand for."""
    spec = _mapping(deployment.get("spec"))
    strategy = _mapping(spec.get("strategy"))
    name = str(_mapping(deployment.get("metadata")).get("name") or "")
    if strategy.get("type") == "Recreate":
        raise InputError(
            f'The Deployment "{name}" has the strategy Recreate, and a Rollout always runs two versions side by side',
            field="spec.strategy.type",
            remedy="set RollingUpdate first, if the application bears it; else leave it a Deployment",
        )
    rollout: Raw = {
        "apiVersion": ARGO_API_VERSION,
        "kind": "Rollout",
        "metadata": _metadata(deployment),
        "spec": _spec(name, str(deployment.get("apiVersion")), spec, wanted),
    }
    _check(name, rollout, spec, wanted)
    return Moved(rollout, (*_notes_of_fields(spec, wanted), *_notes_of_way(name, spec, wanted)))


def strategy_of(deployment_spec: Mapping[str, Any], wanted: Wanted) -> Raw:
    """``spec.strategy`` of the Rollout: a canary with the Deployment's limits, or blue-green."""
    if wanted.active:
        blue_green: Raw = {"activeService": wanted.active}
        if wanted.preview:
            blue_green["previewService"] = wanted.preview
        return {"blueGreen": {**blue_green, "autoPromotionEnabled": False}}
    limits = _mapping(_mapping(deployment_spec.get("strategy")).get("rollingUpdate"))
    canary: Raw = {key: limits[key] for key in ("maxSurge", "maxUnavailable") if limits.get(key) is not None}
    if wanted.steps:
        canary["steps"] = copy.deepcopy(list(wanted.steps))
    return {"canary": canary}


def _metadata(deployment: Mapping[str, Any]) -> Raw:
    metadata = {
        key: copy.deepcopy(value)
        for key, value in _mapping(deployment.get("metadata")).items()
        if key in _SERVER_METADATA and value
    }
    annotations = {
        key: value
        for key, value in _mapping(metadata.get("annotations")).items()
        if key != LAST_APPLIED_CONFIGURATION and not str(key).startswith(_DEPLOYMENTS_OWN)
    }
    metadata.pop("annotations", None)
    return {**metadata, "annotations": annotations} if annotations else metadata


def _spec(name: str, api_version: str, spec: Mapping[str, Any], wanted: Wanted) -> Raw:
    found: Raw = {}
    if isinstance(spec.get("replicas"), int) or wanted.way == "reference":
        found["replicas"] = spec.get("replicas", 1)
    if wanted.way == "reference":
        found["workloadRef"] = {"apiVersion": api_version, "kind": "Deployment", "name": name}
        if wanted.scale_down != "never":
            found["workloadRef"]["scaleDown"] = wanted.scale_down
    else:
        found["selector"] = copy.deepcopy(spec.get("selector"))
        found["template"] = _template(spec)
    found |= {key: spec[key] for key in _CARRIED if spec.get(key) is not None and spec[key] is not False}
    return {**found, "strategy": strategy_of(spec, wanted)}


def _template(spec: Mapping[str, Any]) -> Raw:
    template: Raw = copy.deepcopy(dict(_mapping(spec.get("template"))))
    metadata = template.get("metadata")
    if isinstance(metadata, dict) and metadata.get("creationTimestamp", "") is None:
        del metadata["creationTimestamp"]
    return template


def _check(name: str, rollout: Raw, spec: Mapping[str, Any], wanted: Wanted) -> None:
    resolved = copy.deepcopy(rollout)
    if wanted.way == "reference":
        del resolved["spec"]["workloadRef"]
        resolved["spec"] |= {"selector": spec.get("selector"), "template": _template(spec)}
    errors = validate_rollout(resolved)
    if errors:
        raise InputError(
            f'The Rollout for the Deployment "{name}" would be refused: {errors[0].render()}', field=errors[0].path
        )


def _notes_of_fields(spec: Mapping[str, Any], wanted: Wanted) -> tuple[str, ...]:
    limits = _mapping(_mapping(spec.get("strategy")).get("rollingUpdate"))
    notes: list[str] = []
    if wanted.active:
        notes.append("an update waits, all of it beside the old version, until it is promoted; then the Service moves")
        notes += ["maxSurge and maxUnavailable are left out: blue-green doesn't know them"] if limits else []
    elif wanted.steps:
        notes.append(f"an update goes in {len(wanted.steps)} steps; maxSurge and maxUnavailable mean what they meant")
    else:
        notes.append("an update goes as the Deployment's did: no steps; add some with --steps 20,pause,60,10m")
    if spec.get("paused") is True:
        notes.append("the Deployment is paused, so the Rollout is: gor resume lets it go on")
    return tuple(notes)


def _notes_of_way(name: str, spec: Mapping[str, Any], wanted: Wanted) -> tuple[str, ...]:
    replicas = spec.get("replicas", 1)
    if wanted.way == "convert":
        return (
            f"the Rollout starts {replicas} pods of its own beside the Deployment's: room for both is needed",
            "Services that select the pod template's labels send to both while both run; they need no change",
            f"first apply the Rollout, then see `gor status {name} --watch` end with Healthy, only then delete the"
            " Deployment: the other way round nothing serves in between",
        )
    keeps = {
        "never": f"the Deployment keeps its pods: scale it to 0 yourself once `gor status {name}` says Healthy",
        "onsuccess": "the Deployment keeps its pods until the Rollout is Healthy, then it is scaled to 0: room for"
        " both is needed",
        "progressively": "the Deployment shrinks as the Rollout's pods get ready, and ends at 0",
    }[wanted.scale_down]
    return (
        "the Deployment stays: its pod template is the Rollout's, edit it there as before",
        keeps,
        "Services that select the pod template's labels send to both while both run; they need no change",
        "then write replicas: 0 where the Deployment's manifest is kept: applied with another number it starts the next"
        " version at once, past every step (a GitSync keeps it at 0 by itself)",
        "to go back: set workloadRef.scaleDown to never, scale the Deployment up, wait for its pods, then delete the"
        " Rollout",
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
