"""The overlay files that hold the lines of rendered Rollouts (docs/decisions.md §1.3). Written whole, by us alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from gitops_rollouts.api.names import ARGO_API_VERSION, DECISION_KEYS, OVERLAY_ROOT, OWN_PREFIX
from gitops_rollouts.decisions.editing.place import RolloutId
from gitops_rollouts.decisions.editing.splice import annotations_of, remove_annotation, set_annotation
from gitops_rollouts.decisions.identity import Subject
from gitops_rollouts.decisions.state import TargetAt
from gitops_rollouts.errors import DecisionError
from gitops_rollouts.git.tree import Tree

ACCIDENT: Final = 5
"""More overlays than this, and over a fifth of all, losing their Rollout at once are left alone."""


def overlay_path(subject: Subject) -> str:
    """Where a Rollout's overlay stands. Raises DecisionError for names that make no path."""
    if not subject.is_valid:
        raise DecisionError(f"{subject} can't be a path: its parts must be DNS names")
    return f"{OVERLAY_ROOT}/{subject.target}/{subject.namespace}/{subject.name}.yaml"


def set_in_overlay(data: bytes | None, subject: Subject, key: str, value: str, comment: str) -> bytes:
    """The overlay with the line in it; a new file if there is none. Raises DecisionError if it can't be edited."""
    rollout = RolloutId(subject.namespace, subject.name)
    edited = set_annotation(_skeleton(subject) if data is None else data, rollout, key, value, comment)
    if edited is None:
        raise DecisionError(
            f"{overlay_path(subject)} can't be edited", remedy="remove what isn't ours from it, or remove the file"
        )
    return edited


def remove_from_overlay(data: bytes, subject: Subject, key: str) -> bytes | None:
    """The overlay without the line; None if nothing of ours is left in it, so that the file goes."""
    rollout = RolloutId(subject.namespace, subject.name)
    edited = remove_annotation(data, rollout, key)
    if edited is None:
        raise DecisionError(
            f"{overlay_path(subject)} can't be edited", remedy="remove the line by hand, or remove the file"
        )
    left = annotations_of(edited, rollout) or {}
    return edited if any(name.startswith(OWN_PREFIX) for name in left) else None


def lines_in_overlay(data: bytes, subject: Subject) -> Mapping[str, str]:
    """Our lines in an overlay, by key."""
    found = annotations_of(data, RolloutId(subject.namespace, subject.name)) or {}
    return {key: value for key, value in found.items() if key in DECISION_KEYS and isinstance(value, str)}


def orphans(tree: Tree, at: TargetAt) -> list[tuple[str, Subject]]:
    """Overlays of Rollouts that the target no longer holds, as (path, whose).

    They must go, so that a later namesake is a first deployment (§3 R9). None while anything of the tree can't be read,
    or while so many are gone at once that it looks like an accident.
    """
    root = f"{OVERLAY_ROOT}/{at.spec.name}/"
    if at.rendered.failed or at.rendered.incomplete:
        return []
    blocked = {(one.namespace, one.name) for one in at.rendered.blocked}
    found: list[tuple[str, Subject]] = []
    entries = [entry for entry in tree.entries(root) if entry.is_file and entry.path.endswith(".yaml")]
    for entry in entries:
        namespace, _, name = entry.path.removeprefix(root).removesuffix(".yaml").partition("/")
        subject = Subject(at.spec.name, namespace, name)
        if subject.is_valid and (namespace, name) not in at.rollouts and (namespace, name) not in blocked:
            found.append((entry.path, subject))
    return [] if len(found) > ACCIDENT and len(found) * 5 > len(entries) else found


def _skeleton(subject: Subject) -> bytes:
    return (
        f"# The decisions of gitops-rollouts on this Rollout; the file is written by it.\n"
        f"apiVersion: {ARGO_API_VERSION}\n"
        f"kind: Rollout\n"
        f"metadata:\n"
        f"  name: {json.dumps(subject.name)}\n"
        f"  namespace: {json.dumps(subject.namespace)}\n"
    ).encode()
